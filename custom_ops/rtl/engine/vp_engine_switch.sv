// Deals the frames of a stream to branches: a frame of encoder e, of BEATS[e] beats, goes to branch BRANCH[e]. An encoder with 0
// beats has no frame here, its tag just passes (vp_engine_frame).
`default_nettype none

module vp_engine_switch #(
    int unsigned WIDTH    = 8,
    int unsigned ENCODERS = 2,
    int unsigned FRAMES   = 4,   // tags that wait
    int unsigned BRANCHES = 2,
    int unsigned COUNT_W  = 4,   // of a frame's beats
    parameter logic [ENCODERS*32-1:0] BEATS = {ENCODERS{32'd1}}, BRANCH = '0,
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8
) (
    input  wire logic                       clk,
    input  wire logic                       rst_n,
    input  wire logic [PADDED-1:0]          in0_tdata,
    input  wire logic                       in0_tvalid,
    output      logic                       in0_tready,
    output      logic [BRANCHES*PADDED-1:0] out_tdata,   // branch 0 lowest
    output      logic [BRANCHES-1:0]        out_tvalid,
    input  wire logic [BRANCHES-1:0]        out_tready,
    input  wire logic [7:0]                 tags_in_tdata,
    input  wire logic                       tags_in_tvalid,
    output      logic                       tags_in_tready,
    output      logic [7:0]                 tags_out_tdata,
    output      logic                       tags_out_tvalid,
    input  wire logic                       tags_out_tready
);
    function automatic logic [ENCODERS-1:0][BRANCHES-1:0] branches();  // one hot
        for (int unsigned e = 0; e < ENCODERS; e++) branches[e] = BRANCHES'(1) << BRANCH[e*32+:32];
    endfunction

    logic [BRANCHES-1:0] branch, ready;
    logic known, unused_last;
    logic [COUNT_W-1:0] unused_count;
    logic [WIDTH-1:0] x;
    logic x_valid;
    wire logic take = known && x_valid && |(branch & ready);
    vp_engine_frame #(
        .ENCODERS(ENCODERS), .FRAMES(FRAMES), .COUNT_W(COUNT_W), .WIDTH(BRANCHES), .STEPS(BEATS), .VALUES(branches())
    ) frame (
        .clk, .rst_n, .tags_in_tdata, .tags_in_tvalid, .tags_in_tready, .tags_out_tdata, .tags_out_tvalid, .tags_out_tready,
        .value(branch), .known, .step(take), .count(unused_count), .last(unused_last)
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
