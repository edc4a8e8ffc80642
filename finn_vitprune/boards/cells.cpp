#include "cells.h"

#include <array>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace ecp5 {
namespace {

constexpr int BOARDS = 64, WORDS = 1024, BITS = 18;

// 16 x 1 bits; 1,024 x 18 bits.
using SmallRam = std::array<Word, 16>;
using BlockRam = std::vector<Word>;

std::vector<SmallRam> small_rams;
std::vector<BlockRam> block_rams;

// Whether these bits are the same on all boards.
bool same(const Word* bits, int from, int to) {
    for (int k = from; k < to; k++)
        if (bits[k] != 0 && bits[k] != ~Word{0}) return false;
    return true;
}

int number(const Word* bits, int count, int board) {
    int value = 0;
    for (int k = 0; k < count; k++) value |= int(bits[k] >> board & 1) << k;
    return value;
}

// Pins of an address below the first that chooses a word, by the width of the port.
int unused_pins(int width) {
    switch (width) {
        case 1: return 0;
        case 2: return 1;
        case 4: return 2;
        case 9: return 3;
        case 18: return 4;
        case 36: return 5;
        default: throw std::runtime_error("block RAM port of " + std::to_string(width) + " bits");
    }
}

// The first bit of the word that a board addresses. A byte has nine bits, of which ports of 4, 2 and 1 bits use eight.
int place(const Word* address, int width, int board) {
    const int at = number(address, 14, board) >> unused_pins(width) << unused_pins(width);
    return (at >> 4) * BITS + (at >> 3 & 1) * 9 + (at & 7);
}

void read(const BlockRam& ram, const Word* address, int width, Word* found) {
    if (same(address, unused_pins(width), 14)) {
        std::memcpy(found, &ram[place(address, width, 0)], sizeof(Word) * width);
        return;
    }
    std::memset(found, 0, sizeof(Word) * width);
    for (int l = 0; l < BOARDS; l++) {
        const int at = place(address, width, l);
        for (int k = 0; k < width; k++) found[k] |= ram[at + k] & Word{1} << l;
    }
}

// Bytes of words of 18 and 36 bits have enables of their own, at the lowest pins of the address.
void write(BlockRam& ram, const Word* address, int width, Word enable, const Word* data) {
    const bool everywhere = same(address, unused_pins(width), 14);
    for (int l = 0; l < (everywhere ? 1 : BOARDS); l++) {
        const Word boards = everywhere ? enable : enable & Word{1} << l;
        if (boards == 0) continue;
        const int at = place(address, width, l);
        for (int k = 0; k < width; k++) {
            const Word bits = width >= BITS ? boards & address[k / 9] : boards;
            ram[at + k] = (ram[at + k] & ~bits) | (data[k] & bits);
        }
    }
}

void update(Word* output, const Word* found, Word enable, Word reset, int bits) {
    for (int k = 0; k < bits; k++) output[k] = ((output[k] & ~enable) | (found[k] & enable)) & ~reset;
}

// p = a b modulo 2^36, 18 bits each, signed or not.
void multiply(bool signed_a, bool signed_b, const Word* a, const Word* b, Word* p) {
    // Rows are added bit by bit. Products with one sign bit count negative: they are inverted, and what that adds is taken off at first.
    std::uint64_t start = 0;
    if (signed_a) for (int i = 0; i < 17 + !signed_b; i++) start -= Word{1} << (17 + i);
    if (signed_b) for (int j = 0; j < 17 + !signed_a; j++) start -= Word{1} << (17 + j);
    for (int k = 0; k < 36; k++) p[k] = start >> k & 1 ? ~Word{0} : 0;
    for (int i = 0; i < 18; i++) {
        Word carry = 0;
        for (int j = 0; j < 18; j++) {
            const Word inverted = (signed_a && j == 17) != (signed_b && i == 17) ? ~Word{0} : 0;
            const Word term = (a[j] & b[i]) ^ inverted, old = p[i + j], both = old ^ term;
            p[i + j] = both ^ carry;
            carry = (old & term) | (carry & both);
        }
        for (int k = i + 18; k < 36 && carry != 0; k++) {
            const Word old = p[k];
            p[k] = old ^ carry;
            carry &= old;
        }
    }
}

}  // namespace
}  // namespace ecp5

// --- what the Verilog calls; vectors come as words of 32 bits ---

using ecp5::Word;

extern "C" {

bool ecp5_load(const char* folder, int blocks, int smalls) {
    ecp5::small_rams.assign(smalls, ecp5::SmallRam{});
    ecp5::block_rams.assign(blocks, ecp5::BlockRam(ecp5::WORDS * ecp5::BITS));
    for (int n = 0; n < blocks; n++) {
        std::ifstream file(std::string(folder) + "/" + std::to_string(n) + ".hex");
        unsigned word = 0;
        for (int i = 0; i < ecp5::WORDS; i++) {
            if (!(file >> std::hex >> word)) return false;
            for (int k = 0; k < ecp5::BITS; k++) ecp5::block_rams[n][i * ecp5::BITS + k] = word >> k & 1 ? ~Word{0} : 0;
        }
    }
    return true;
}

void ecp5_mult18(unsigned char signed_a, unsigned char signed_b, const std::uint32_t* a, const std::uint32_t* b, std::uint32_t* p) {
    Word factors[2][18], product[36];
    std::memcpy(factors[0], a, sizeof factors[0]);
    std::memcpy(factors[1], b, sizeof factors[1]);
    ecp5::multiply(signed_a, signed_b, factors[0], factors[1], product);
    std::memcpy(p, product, sizeof product);
}

// tick changes with every clock, so that what was written is read.
unsigned long long ecp5_ram16_read(int number, unsigned char, unsigned long long a3, unsigned long long a2, unsigned long long a1,
                                   unsigned long long a0) {
    const Word address[4] = {a0, a1, a2, a3};
    const ecp5::SmallRam& ram = ecp5::small_rams[number];
    if (ecp5::same(address, 0, 4)) return ram[ecp5::number(address, 4, 0)];
    Word found[16];
    std::memcpy(found, ram.data(), sizeof found);
    for (int k = 3; k >= 0; k--)
        for (int i = 0; i < 1 << k; i++) found[i] = (found[i] & ~address[k]) | (found[i + (1 << k)] & address[k]);
    return found[0];
}

void ecp5_ram16_write(int number, unsigned long long we, unsigned long long wd, unsigned long long a3, unsigned long long a2,
                      unsigned long long a1, unsigned long long a0) {
    if (we == 0) return;
    const Word address[4] = {a0, a1, a2, a3};
    ecp5::SmallRam& ram = ecp5::small_rams[number];
    const bool everywhere = ecp5::same(address, 0, 4);
    for (int i = 0; i < 16; i++) {
        Word chosen = we;
        for (int k = 0; k < 4; k++) chosen &= i >> k & 1 ? address[k] : ~address[k];
        if (everywhere && chosen == 0) continue;
        ram[i] = (ram[i] & ~chosen) | (wd & chosen);
    }
}

// Both ports read what was there before the clock. A port that writes keeps its output (mode 0), reads the old word (1) or the new one
// (2). With 36 bits port A writes and port B reads: the lower half is at A's data pins, the upper half at B's.
void ecp5_ebr(int number, int width_a, int width_b, int mode_a, int mode_b, unsigned long long ce_a, unsigned long long we_a,
              unsigned long long rst_a, const std::uint32_t* ad_a, const std::uint32_t* di_a, unsigned long long ce_b,
              unsigned long long we_b, unsigned long long rst_b, const std::uint32_t* ad_b, const std::uint32_t* di_b,
              const std::uint32_t* old_a, const std::uint32_t* old_b, std::uint32_t* do_a, std::uint32_t* do_b) {
    ecp5::BlockRam& ram = ecp5::block_rams[number];
    Word address[2][14], data[36] = {}, output[2][18], found[2][36] = {};
    std::memcpy(address[0], ad_a, sizeof address[0]);
    std::memcpy(address[1], ad_b, sizeof address[1]);
    std::memcpy(data, di_a, sizeof(Word) * 18);
    std::memcpy(data + 18, di_b, sizeof(Word) * 18);
    std::memcpy(output[0], old_a, sizeof output[0]);
    std::memcpy(output[1], old_b, sizeof output[1]);
    const bool wide = width_a == 36 || width_b == 36;
    const Word write_a = ce_a & we_a, write_b = wide ? 0 : ce_b & we_b;
    const bool reads_a = width_a != 0 && !wide;
    if (reads_a && ce_a != 0) ecp5::read(ram, address[0], width_a, found[0]);
    if (width_b != 0 && ce_b != 0) ecp5::read(ram, address[1], width_b, found[1]);
    if (width_a != 0) ecp5::write(ram, address[0], width_a, write_a, data);
    if (width_b != 0) ecp5::write(ram, address[1], width_b, write_b, data + 18);
    if (reads_a && mode_a == 2 && write_a != 0) ecp5::read(ram, address[0], width_a, found[0]);
    if (mode_b == 2 && width_b != 0 && write_b != 0) ecp5::read(ram, address[1], width_b, found[1]);
    const Word enable_a = mode_a == 0 ? ce_a & ~write_a : ce_a, enable_b = mode_b == 0 ? ce_b & ~write_b : ce_b;
    if (width_b == 36) {
        ecp5::update(output[0], found[1], enable_b, rst_b, 18);
        ecp5::update(output[1], found[1] + 18, enable_b, rst_b, 18);
    } else {
        if (reads_a) ecp5::update(output[0], found[0], enable_a, rst_a, 18);
        if (width_b != 0) ecp5::update(output[1], found[1], enable_b, rst_b, 18);
    }
    std::memcpy(do_a, output[0], sizeof output[0]);
    std::memcpy(do_b, output[1], sizeof output[1]);
}

}  // extern "C"
