// Joins branches to one stream in the order of the tags: a frame of an encoder comes from its branch. SHAPES are
// those of vp_engine_frame, its number the branch, one hot.
`default_nettype none

module vp_engine_merge #(
    int unsigned WIDTH    = 8,
    int unsigned ENCODERS = 2,
    int unsigned FRAMES   = 4,   // tags that wait
    int unsigned BRANCHES = 2,
    int unsigned COUNT_W  = 4,   // of a frame's beats
    parameter logic [ENCODERS*128-1:0] SHAPES = '0,
    bit          LOADED   = 1'b0,  // what differs by encoder comes through the load chain
    parameter    UNIT     = "",    // of files from which simulations fill it
    int unsigned LOAD_STAGES = 1,  // registers before the first hop
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8,
    localparam int unsigned TAG_W = ENCODERS > 1 ? $clog2(ENCODERS) : 1
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
    input  wire logic                       tags_out_tready,
    input  wire logic [33:0]                load_in,
    output      logic [33:0]                load_out
);
    logic [33:0] chain;
    vp_delay #(.WIDTH(34), .LENGTH(LOAD_STAGES)) load_later (.clk, .rst_n, .in(load_in), .out(chain));

    logic [BRANCHES-1:0] valid;
    logic [BRANCHES-1:0][WIDTH-1:0] data;
    logic known, unused_last, room;
    logic [COUNT_W-1:0] unused_count;
    logic [TAG_W-1:0] unused_of;
    logic [31:0] number;
    logic [WIDTH-1:0] chosen, y;
    wire logic [BRANCHES-1:0] branch = number[BRANCHES-1:0];
    wire logic chosen_valid = known && |(branch & valid);
    vp_engine_frame #(
        .ENCODERS(ENCODERS), .FRAMES(FRAMES), .COUNT_W(COUNT_W), .SHAPES(SHAPES), .LOADED(LOADED), .FILE({UNIT, "_shapes.fill"})
    ) frame (
        .clk, .rst_n, .load_in(chain), .load_out, .tags_in_tdata, .tags_in_tvalid, .tags_in_tready, .tags_out_tdata, .tags_out_tvalid, .tags_out_tready,
        .value(number), .of(unused_of), .known, .step(chosen_valid && room), .count(unused_count), .last(unused_last)
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
