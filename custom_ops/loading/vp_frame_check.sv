// Op top of VitFrameCheck, the first unit of a design that counts frames whose beats do not add up: TLAST of the input stream says where a
// frame ends. With EACH it does so for every frame, else for some: a source that moves several frames at once ends the last one alone, and one
// without TLAST is not checked. What leaves is whole frames of BEATS beats, whatever comes:
// - a frame that TLAST ends too early is filled up with zeros;
// - with EACH, of one that does not end with its last beat all further beats are dropped, up to TLAST; not before the first TLAST, so that
//   a source without it is not checked.
// Each of these counts in wrong_frames (modulo 2**32), and the frame after it begins with the beat after TLAST. Without EACH what comes after a
// frame is another frame: a beat too many makes a frame of its own, filled up and counted.
`default_nettype none

module vp_frame_check #(
    int unsigned WIDTH = 8,
    int unsigned BEATS = 4,  // of a frame
    bit          EACH  = 1'b0,
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8
) (
    input  wire logic              clk, rst_n,
    input  wire logic [PADDED-1:0] in0_tdata,
    input  wire logic              in0_tvalid,
    output      logic              in0_tready,
    input  wire logic              in0_V_tlast,
    output      logic [PADDED-1:0] out0_tdata,
    output      logic              out0_tvalid,
    input  wire logic              out0_tready,
    output      logic [31:0]       wrong_frames
);
    localparam int unsigned BEAT_W = vp_pkg::width(BEATS);

    if (BEATS < 1) $error("vp_frame_check: BEATS is %0d, it must be at least 1", BEATS);

    logic [BEAT_W-1:0] beat_q;  // of the frame that leaves
    logic fill_q;               // the frame is filled up
    logic drop_q;               // beats are dropped
    logic seen_q;               // TLAST came since reset
    logic [31:0] wrong_q;
    logic ready;
    wire logic last = beat_q == BEAT_W'(BEATS - 1);
    wire logic take = in0_tvalid && in0_tready;
    wire logic pass = ready && (fill_q || (in0_tvalid && !drop_q));
    wire logic early = pass && !fill_q && in0_V_tlast && !last;
    wire logic late = EACH && seen_q && pass && !fill_q && !in0_V_tlast && last;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            beat_q  <= '0;
            fill_q  <= 1'b0;
            drop_q  <= 1'b0;
            seen_q  <= 1'b0;
            wrong_q <= '0;
        end else begin
            if (pass) beat_q <= last ? '0 : beat_q + 1'b1;
            fill_q  <= fill_q ? !(pass && last) : early;
            drop_q  <= drop_q ? !(take && in0_V_tlast) : late;
            seen_q  <= seen_q || (take && in0_V_tlast);
            wrong_q <= wrong_q + 32'(early || late);
        end
    end
    assign in0_tready   = ready && !fill_q;
    assign wrong_frames = wrong_q;

    logic [WIDTH-1:0] out_data;
    vp_skid #(.WIDTH(WIDTH)) skid (
        .clk, .rst_n, .in_data(fill_q ? '0 : in0_tdata[WIDTH-1:0]), .in_valid(fill_q || (in0_tvalid && !drop_q)), .in_ready(ready),
        .out_data, .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    assign out0_tdata = PADDED'(out_data);
endmodule

`default_nettype wire
