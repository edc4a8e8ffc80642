// Runs a routed netlist, 64 boards side by side, through its pins: bytes of a serial line go to rx, bytes come from tx.
//
// Standard input has numbers: clocks of a bit in 256ths, clocks that an exchange goes on once all bytes that are expected came, clocks of
// silence that end it before that, block RAMs, small RAMs, faults; for each fault its board (64: none) and value. Then come exchanges, until
// standard input ends. An exchange has for each board the bytes that are expected of it, the number of messages, and of each message its
// length, how many bytes of the exchange must have come before it is sent, and its symbols: a byte, with 256 more one without its stop
// bit, and 512 is the button that begins the board again. Boards stay as the exchange before left them.
//
// Standard output has for each exchange a line for each board with the number of bytes that came and each of them (256 more where
// its stop bit is missing), a line with its clocks, and a line with the clock of the last byte of each board.
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
constexpr unsigned BROKEN = 256, BUTTON = 512;
constexpr std::uint64_t PRESSED = 64, AFTER_PRESSED = 16;  // clocks; a host sends nothing in either

struct Message {
    std::vector<std::uint16_t> symbols;
    std::size_t after;  // bytes that have come before it is sent
};

std::uint64_t number() {
    std::uint64_t value = 0;
    if (!(std::cin >> value)) throw std::runtime_error("standard input ends too early");
    return value;
}

// One end of a serial line, 8 bits, no parity, one stop bit. Times are in 256ths of a clock.
struct Line {
    std::vector<Message> messages;
    std::vector<std::uint16_t> received;
    std::size_t expected = 0;
    std::size_t message = 0, symbol = 0;
    int out_left = 0, in_left = 0;
    unsigned out_bits = 0, in_bits = 0;
    std::uint64_t out_next = 0, in_next = 0, last = 0, pressed = 0;
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
        const unsigned data = messages[message].symbols[symbol++];
        if (symbol == messages[message].symbols.size()) {
            message++;
            symbol = 0;
        }
        const bool on_time = out_next + bit > time && out_next <= time;
        if (data == BUTTON) {
            out_bits = 1;
            out_left = 1;
            pressed = time / PART + PRESSED;
            out_next = (pressed + AFTER_PRESSED) * PART;
            return true;
        }
        // behind a stop bit that is none the line is high for a bit
        out_bits = (data & BROKEN ? 1U << 10 : 1U << 9) | (data & 255) << 1;
        out_left = BITS + (data & BROKEN ? 1 : 0);
        out_next = (on_time ? out_next : time) + bit;
        return false;
    }

    void begin() {
        received.clear();
        expected = number();
        messages.resize(number());
        message = symbol = 0;
        for (Message& one : messages) {
            one.symbols.resize(number());
            one.after = number();
            for (std::uint16_t& value : one.symbols) value = std::uint16_t(number());
        }
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
    std::uint64_t clock = 0;
    constexpr std::uint64_t START = 64;  // clocks after which a host sends
    board->clk = 0;
    while (!(std::cin >> std::ws).eof()) {
        for (Line& line : lines) line.begin();
        const std::uint64_t begun = clock;
        std::uint64_t busy = clock, done = clock;  // of the last sign of a board that is waited for, of the last byte that is still missing
        for (; clock < busy + silence && clock <= done + grace; clock++) {
            const std::uint64_t time = clock * PART;
            Word rx = ~Word{0}, rst = 0;
            const Word tx = board->tx;
            for (int l = 0; l < BOARDS; l++) {
                Line& line = lines[l];
                if (clock >= START && !line.send(time, bit)) rx &= ~(Word{1} << l);
                if (clock < line.pressed) rst |= Word{1} << l;
                if (line.in_left != 0 || line.broken || !(tx >> l & 1)) line.receive(tx >> l & 1, time, bit);
                if (line.received.size() < line.expected) done = clock;
                if (line.expected != 0 && (line.sending() || line.in_left != 0)) busy = clock;
            }
            board->rx = rx;
            board->rst = rst;
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
        std::cout << clock - begun << '\n';
        for (const Line& line : lines) std::cout << (line.last > begun ? line.last - begun : 0) << ' ';
        std::cout << std::endl;
    }
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
