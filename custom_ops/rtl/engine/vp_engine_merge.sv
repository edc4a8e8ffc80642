// Joins branches to one stream in the order of the tags: a frame of encoder e, of BEATS[e] beats, comes from branch BRANCH[e].
`default_nettype none

module vp_engine_merge #(
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
    input  wire logic [BRANCHES*PADDED-1:0] in_tdata,    // branch 0 lowest
    input  wire logic [BRANCHES-1:0]        in_tvalid,
    output      logic [BRANCHES-1:0]        in_tready,
    output      logic [PADDED-1:0]          out0_tdata,
    output      logic                       out0_tvalid,
    input  wire logic                       out0_tready,
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

    logic [BRANCHES-1:0] branch, valid;
    logic [BRANCHES-1:0][WIDTH-1:0] data;
    logic known, unused_last, room;
    logic [COUNT_W-1:0] unused_count;
    logic [WIDTH-1:0] chosen, y;
    wire logic chosen_valid = known && |(branch & valid);
    vp_engine_frame #(
        .ENCODERS(ENCODERS), .FRAMES(FRAMES), .COUNT_W(COUNT_W), .WIDTH(BRANCHES), .STEPS(BEATS), .VALUES(branches())
    ) frame (
        .clk, .rst_n, .tags_in_tdata, .tags_in_tvalid, .tags_in_tready, .tags_out_tdata, .tags_out_tvalid, .tags_out_tready,
        .value(branch), .known, .step(chosen_valid && room), .count(unused_count), .last(unused_last)
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
