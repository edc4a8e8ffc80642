// Joins branches to one stream in the order of the tags: a frame of an encoder comes from its branch. SHAPES are
// those of vp_engine_frame, its number the branch, one hot.
`default_nettype none

module vp_engine_merge #(
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
    input  wire logic [BRANCHES*PADDED-1:0] in_tdata,    // branch 0 lowest
    input  wire logic [BRANCHES-1:0]        in_tvalid,
    output      logic [BRANCHES-1:0]        in_tready,
    output      logic [PADDED-1:0]          out0_tdata,
    output      logic                       out0_tvalid,
    input  wire logic                       out0_tready,
    input  wire logic [vp_pkg::width(ENCODERS)-1:0] encoder,  // of the next frame
    input  wire logic                       encoder_valid,
    output      logic                       encoder_ready,
    input  wire logic [33:0]                load_in,
    output      logic [33:0]                load_out
);
    logic [BRANCHES-1:0] valid;
    logic [BRANCHES-1:0][WIDTH-1:0] data;
    logic known, room;
    logic [31:0] number;
    logic [WIDTH-1:0] chosen, y;
    wire logic [BRANCHES-1:0] branch = number[BRANCHES-1:0];
    wire logic chosen_valid = known && |(branch & valid);
    vp_engine_frame #(
        .ENCODERS(ENCODERS), .COUNT_W(COUNT_W), .SHAPES(SHAPES), .LOADED(LOADED), .FILE({UNIT, "_shapes.fill"})
    ) frame (
        .clk, .rst_n, .load_in, .load_out, .encoder, .encoder_valid, .encoder_ready,
        .value(number), .of(), .known, .step(chosen_valid && room), .count(), .last()
    );
    for (genvar b = 0; b < BRANCHES; b++) begin : g_branch
        vp_skid #(.WIDTH(WIDTH)) skid (
            .clk, .rst_n, .in_data(in_tdata[b*PADDED+:WIDTH]), .in_valid(in_tvalid[b]), .in_ready(in_tready[b]),
            .out_data(data[b]), .out_valid(valid[b]), .out_ready(known && branch[b] && room)
        );
    end
    always_comb begin
        chosen = '0;
        for (int unsigned b = 0; b < BRANCHES; b++) if (branch[b]) chosen |= data[b];
    end
    vp_stage #(.WIDTH(WIDTH)) stage (
        .clk, .rst_n, .in_data(chosen), .in_valid(chosen_valid), .in_ready(room),
        .out_data(y), .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    assign out0_tdata = PADDED'(y);
endmodule

`default_nettype wire
