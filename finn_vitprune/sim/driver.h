// What the driver needs to know of a compiled design: pointers into the Verilated model's ports.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

class VerilatedContext;

struct StreamPort {
    uint8_t* data;   // little-endian storage of tdata
    size_t bytes;    // bytes of one beat
    uint8_t* valid;
    uint8_t* ready;
};

// An AXI4-Lite port.
struct BusPort {
    uint8_t *awvalid, *awready, *awaddr, *wvalid, *wready, *wdata, *wstrb, *bvalid, *bready;
    uint8_t *arvalid, *arready, *araddr, *rvalid, *rready, *rdata;
    size_t address_bits, address_bytes;  // of an address, and of its storage
};

// Both ends of a load chain, {start, valid, 32-bit word}, in 8 bytes each.
struct ChainPort {
    uint8_t *in, *out;
};

struct Ports {
    uint8_t* clk;
    uint8_t* rst_n;
    std::vector<StreamPort> inputs, outputs;
    std::vector<BusPort> buses;
    std::vector<ChainPort> chains;
};

// A unit of a design that is simulated unit by unit, from the library of its structure. What it does depends on the bytes
// of state alone, in which its pins are, too; without any it depends on something else.
struct Unit : Ports {
    void* model;
    void (*eval)(void* model);
    void (*finish)(void* model);
    const uint8_t* state;
    size_t state_bytes;
};

// How often a unit of a design was evaluated, and how often it was not because that would have changed nothing.
struct Evaluations {
    int64_t done = 0, skipped = 0;
};

struct Dut : Ports {
    void (*eval)();
    void (*finish)();
    // Monitor ports of a stitched design (null without edges): bit 2i producer side, 2i+1 consumer side.
    const uint8_t* mon_valid = nullptr;
    const uint8_t* mon_ready = nullptr;
    const uint8_t* tap_data = nullptr;
    std::vector<size_t> edge_bytes;
    // Of a design that is simulated unit by unit, else null.
    void (*skip)(bool on) = nullptr;  // whether units may be skipped: off, every unit is evaluated in every cycle
    uint64_t (*pins)() = nullptr;     // digest of what is at the pins of all units
    std::vector<Evaluations> (*evaluations)() = nullptr;  // unit by unit
};

// Generated for a design in one piece, in units.cpp for one of units: constructs the model and fills the pointers.
void bind_dut(VerilatedContext* context, Dut& dut);

// Generated for each structure, the one symbol of its library.
extern "C" void bind_unit(VerilatedContext* context, Unit& unit);
