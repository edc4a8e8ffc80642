// A board in simulation: commands come from standard input, bytes of the host go through the pins of a serial line.
// W n symbols: to be sent, 16 bits each: a byte, +256 without a stop bit, 512 a reset of the board. R cycles: run so long, or until a
// byte came; the answer is the cycle (8 bytes), the number of bytes (4) and the bytes.
#include <cstdint>
#include <cstdio>
#include <deque>
#include <vector>

#include "Vdut.h"
#include "verilated.h"

namespace {

constexpr unsigned RESET_CYCLES = 64, AFTER_RESET = 16;  // the host sends nothing in either

bool take(void* data, size_t size) { return std::fread(data, 1, size, stdin) == size; }

}  // namespace

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    context.randReset(2);
    context.randSeed(1);
    Vdut top{&context};
    std::deque<uint16_t> queue;
    std::vector<uint8_t> received;
    uint64_t cycle = 0;
    unsigned resetting = RESET_CYCLES + AFTER_RESET, sent = 0, send_left = 0, bits = 0, got = 0, get_left = 0, get_bits = 0;
    top.rx = 1;
    top.clk = 0;
    auto step = [&] {
        if (resetting == 0 && send_left == 0 && !queue.empty()) {
            uint16_t symbol = queue.front();
            queue.pop_front();
            if (symbol & 512) {
                resetting = RESET_CYCLES + AFTER_RESET;
            } else {
                bits = (symbol & 256 ? 0x400 : 0x600) | (symbol & 255) << 1;  // a bit more behind the stop bit where it was not one
                send_left = (symbol & 256 ? 11 : 10) * CLKS;
                sent = 0;
            }
        }
        top.rst_n = resetting <= AFTER_RESET;
        if (resetting) --resetting;
        top.rx = send_left ? bits >> sent / CLKS & 1 : 1;
        if (send_left) --send_left, ++sent;
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
        ++cycle;
        if (get_left == 0) {
            if (!top.tx) get_left = 10 * CLKS - 1, got = 0, get_bits = 0;
        } else {
            ++got;
            --get_left;
            if (got % CLKS == CLKS / 2) get_bits |= unsigned(top.tx) << got / CLKS;
            if (got == 9 * CLKS + CLKS / 2) {
                get_left = 0;
                received.push_back(get_bits >> 1 & 255);
            }
        }
    };
    for (char command; take(&command, 1);) {
        if (command == 'W') {
            uint32_t count = 0;
            if (!take(&count, 4)) return 1;
            std::vector<uint16_t> symbols(count);
            if (!take(symbols.data(), 2 * count)) return 1;
            queue.insert(queue.end(), symbols.begin(), symbols.end());
        } else {
            uint64_t cycles = 0;
            if (!take(&cycles, 8)) return 1;
            for (; cycles && received.empty(); --cycles) step();
            uint32_t count = received.size();
            std::fwrite(&cycle, 8, 1, stdout);
            std::fwrite(&count, 4, 1, stdout);
            std::fwrite(received.data(), 1, count, stdout);
            std::fflush(stdout);
            received.clear();
        }
    }
    return 0;
}
