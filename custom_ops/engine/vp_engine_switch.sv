// Deals the frames of a stream to branches: a frame of an encoder goes to its branch. SHAPES are those of vp_engine_frame,
// its number the branch, one hot; where an encoder has no frame here, its tag just passes.
`default_nettype none

module vp_engine_switch #(
    int unsigned WIDTH    = 8,
    int unsigned ENCODERS = 2,
    int unsigned BRANCHES = 2,
    int unsigned COUNT_W  = 4,   // of a frame's beats
    parameter logic [ENCODERS*128-1:0] SHAPES = '0,
    bit          LOADED   = 1'b0,  // what differs by encoder comes through the load chain
    parameter    UNIT     = "",    // of files from which simulations fill it
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8
) (
    input  wire logic                       clk, rst_n,
    input  wire logic [PADDED-1:0]          in0_tdata,
    input  wire logic                       in0_tvalid,
    output      logic                       in0_tready,
    output      logic [BRANCHES*PADDED-1:0] out_tdata,   // branch 0 lowest
    output      logic [BRANCHES-1:0]        out_tvalid,
    input  wire logic [BRANCHES-1:0]        out_tready,
    input  wire logic [vp_pkg::width(ENCODERS)-1:0] encoder,  // of the next frame
    input  wire logic                       encoder_valid,
    output      logic                       encoder_ready,
    input  wire logic [33:0]                load_in,
    output      logic [33:0]                load_out
);
    logic [BRANCHES-1:0] ready;
    logic known;
    logic [31:0] number;
    logic [WIDTH-1:0] x;
    logic x_valid;
    wire logic [BRANCHES-1:0] branch = number[BRANCHES-1:0];
    wire logic take = known && x_valid && |(branch & ready);
    vp_engine_frame #(
        .ENCODERS(ENCODERS), .COUNT_W(COUNT_W), .SHAPES(SHAPES), .LOADED(LOADED), .FILE({UNIT, "_shapes.fill"})
    ) frame (
        .clk, .rst_n, .load_in, .load_out, .encoder, .encoder_valid, .encoder_ready,
        .value(number), .of(), .known, .step(take), .count(), .last()
    );
    vp_skid #(.WIDTH(WIDTH)) skid (
        .clk, .rst_n, .in_data(in0_tdata[WIDTH-1:0]), .in_valid(in0_tvalid), .in_ready(in0_tready),
        .out_data(x), .out_valid(x_valid), .out_ready(known && |(branch & ready))
    );
    for (genvar b = 0; b < BRANCHES; b++) begin : g_branch
        logic [WIDTH-1:0] y;
        vp_stage #(.WIDTH(WIDTH)) stage (
            .clk, .rst_n, .in_data(x), .in_valid(known && x_valid && branch[b]), .in_ready(ready[b]),
            .out_data(y), .out_valid(out_tvalid[b]), .out_ready(out_tready[b])
        );
        assign out_tdata[b*PADDED+:PADDED] = PADDED'(y);
    end
endmodule

`default_nettype wire
