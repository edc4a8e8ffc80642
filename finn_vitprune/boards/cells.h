// Cells of a Lattice ECP5 that are more than a gate, for 64 boards that are simulated side by side: bit l of a word belongs to board l.
// The Verilog of a routed netlist calls these functions (SystemVerilog's DPI). Memories are found by their number.
#pragma once
#include <cstdint>

namespace ecp5 {

using Word = std::uint64_t;  // one bit of each board

}  // namespace ecp5

// Reads the contents of all block RAMs, <number>.hex in the folder: 1,024 words of 18 bits. Small RAMs hold zeros. False: a file is missing.
extern "C" bool ecp5_load(const char* folder, int block_rams, int small_rams);
