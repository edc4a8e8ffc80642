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

// An AXI4-Lite port; it is written, and read for its status.
struct LoaderPort {
    uint8_t *awvalid, *awready, *awaddr, *wvalid, *wready, *wdata, *wstrb, *bvalid, *bready;
    uint8_t *arvalid, *arready, *rvalid, *rready, *rdata;
    size_t address_bits, address_bytes;  // of the address, and of its storage
};

struct Dut {
    void (*eval)();
    void (*finish)();
    uint8_t* clk;
    uint8_t* rst_n;
    std::vector<StreamPort> inputs, outputs;
    std::vector<LoaderPort> loads;
    // Monitor ports of a stitched design (null without edges): bit 2i producer side, 2i+1 consumer side.
    const uint8_t* mon_valid = nullptr;
    const uint8_t* mon_ready = nullptr;
    const uint8_t* tap_data = nullptr;
    std::vector<size_t> edge_bytes;
};

// Generated for each design: constructs the model and fills the pointers.
void bind_dut(VerilatedContext* context, Dut& dut);
