// Runs a routed netlist, 64 boards side by side, through its pins: bytes of a serial line go to rx, bytes come from tx.
//
// Standard input has numbers, then the bytes of each board: clocks of a bit in 256ths, clocks that the run goes on once all
// bytes that are expected came, clocks of silence that end it before that, block RAMs, small RAMs, faults; for each fault its board (64: none) and value; for each board the bytes that are expected of
// it, the number of messages, and of each message its length and how many bytes must have come before it is sent. Standard output has for each board the number of bytes that came and each of them
// (256 more where its stop bit is missing), then the clocks of the whole run and, for each board, the clock of its last byte.
#include <algorithm>
#include <array>
#include <cstdint>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "Vgate.h"
#include "cells.h"
#include "verilated.h"

namespace {

using ecp5::Word;
constexpr int BOARDS = 64, BITS = 10;
constexpr std::uint64_t PART = 256;

struct Message {
    std::vector<std::uint8_t> bytes;
    std::size_t after;  // bytes that have come before it is sent
};

// One end of a serial line, 8 bits, no parity, one stop bit. Times are in 256ths of a clock.
struct Line {
    std::vector<Message> messages;
    std::vector<std::uint16_t> received;
    std::size_t expected = 0;
    std::size_t message = 0, byte = 0;
    int out_left = 0, in_left = 0;
    unsigned out_bits = 0, in_bits = 0;
    std::uint64_t out_next = 0, in_next = 0, last = 0;
    bool broken = true;

    bool sending() const { return out_left != 0 || (message < messages.size() && received.size() >= messages[message].after); }

    // The level of the line to the board at a time.
    bool send(std::uint64_t time, std::uint64_t bit) {
        if (out_left != 0 && time < out_next) return out_bits & 1;
        if (out_left > 1) {
            out_bits >>= 1;
            out_left--;
            out_next += bit;
            return out_bits & 1;
        }
        out_left = 0;
        if (!sending()) return true;
        const std::uint8_t data = messages[message].bytes[byte++];
        if (byte == messages[message].bytes.size()) {
            message++;
            byte = 0;
        }
        out_bits = (1U << 9) | unsigned(data) << 1;
        out_left = BITS;
        out_next = (out_next + bit > time && out_next <= time ? out_next : time) + bit;
        return false;
    }

    // Sees the level of the line from the board at a time.
    void receive(bool level, std::uint64_t time, std::uint64_t bit) {
        if (in_left == 0) {
            if (level) broken = false;
            else if (!broken) {
                in_left = BITS;
                in_next = time + bit / 2;
            }
        } else if (time >= in_next) {
            in_bits = in_bits >> 1 | unsigned(level) << 9;
            in_next += bit;
            if (--in_left == BITS - 1 && level) in_left = 0;  // no start bit
            else if (in_left == 0) {
                received.push_back((in_bits >> 1 & 255) | (level ? 0 : 256));
                broken = !level;
                last = time / PART;
            }
        }
    }
};

std::uint64_t number() {
    std::uint64_t value = 0;
    if (!(std::cin >> value)) throw std::runtime_error("standard input ends too early");
    return value;
}

int run() {
    const std::uint64_t bit = number(), grace = number(), silence = number();
    const int block_rams = int(number()), small_rams = int(number()), faults = int(number());
    if (!ecp5_load(".", block_rams, small_rams)) throw std::runtime_error("contents of a block RAM are missing");
    VerilatedContext context;
    const std::unique_ptr<Vgate> board{new Vgate{&context}};
    for (int k = 0; k < std::max(faults, 1); k++) board->stuck0[k] = board->stuck1[k] = 0;
    for (int k = 0; k < faults; k++) {
        const std::uint64_t at = number();
        const Word boards = at < BOARDS ? Word{1} << at : 0;
        (number() ? board->stuck1[k] : board->stuck0[k]) = boards;
    }
    std::array<Line, BOARDS> lines;
    for (Line& line : lines) {
        line.expected = number();
        line.messages.resize(number());
        for (Message& message : line.messages) {
            message.bytes.resize(number());
            message.after = number();
            for (std::uint8_t& byte : message.bytes) byte = std::uint8_t(number());
        }
    }
    std::uint64_t clock = 0, busy = 0, done = 0;  // clocks: now, of the last sign of a board that is waited for
    const std::uint64_t start = 64;  // clocks after which a host sends
    board->clk = 0;
    for (; clock < busy + silence && clock <= done + grace; clock++) {
        const std::uint64_t time = clock * PART;
        Word rx = ~Word{0};
        const Word tx = board->tx;
        for (int l = 0; l < BOARDS; l++) {
            Line& line = lines[l];
            if (clock >= start && !line.send(time, bit)) rx &= ~(Word{1} << l);
            if (line.in_left != 0 || line.broken || !(tx >> l & 1)) line.receive(tx >> l & 1, time, bit);
            if (line.received.size() < line.expected) done = clock;
            if (line.expected != 0 && (line.sending() || line.in_left != 0)) busy = clock;
        }
        board->rx = rx;
        board->clk = 1;
        board->eval();
        board->clk = 0;
        board->eval();
    }
    for (const Line& line : lines) {
        std::cout << line.received.size();
        for (std::uint16_t value : line.received) std::cout << ' ' << value;
        std::cout << '\n';
    }
    std::cout << clock << '\n';
    for (const Line& line : lines) std::cout << line.last << '\n';
    return 0;
}

}  // namespace

int main() {
    try {
        return run();
    } catch (const std::exception& error) {
        std::cerr << "ERROR: " << error.what() << '\n';
        return 1;
    }
}
