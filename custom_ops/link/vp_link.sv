// A design behind a link that carries bytes: frames of the host become images at the design's input, its logits become frames
// (docs/link.md). It knows nothing of the transport: in and out are streams of bytes, in_error marks a byte that the transport knows to be
// damaged. An image reaches the design only when its CRC was right, and its sequence number and CRC go back with its logits.
// Holds IMAGES images before the design, and the tags of TAGS images before and inside of it; the host keeps to IMAGES, which the
// status tells, else images are refused. With WORDS the host also reaches the registers of the design (vp_link_access), WORDS words a
// frame. Answers that do not fit are dropped: refusals are counted, queries come again.
`default_nettype none

module vp_link #(
    int unsigned IN_BYTES  = 1,         // bytes of a beat of the design's input
    int unsigned IN_BEATS  = 4,         // beats of an image
    int unsigned OUT_BYTES = 1,
    int unsigned OUT_BEATS = 4,
    int unsigned IMAGES    = 4,
    int unsigned TAGS      = 16,
    int unsigned WORDS     = 0,         // of a frame that accesses registers; 0: the design has none
    int unsigned TIMEOUT   = 1024,      // cycles of silence that end a frame
    int unsigned QUIET     = 0,         // the same as the host is told of it, in the units of the transport
    logic [63:0] DESIGN    = 64'd0      // number of the design, 32 bits
) (
    input  wire logic                   clk,
    input  wire logic                   rst_n,
    input  wire logic [7:0]             in_data,
    input  wire logic                   in_error,
    input  wire logic                   in_valid,
    output      logic                   in_ready,
    output      logic [7:0]             out_data,
    output      logic                   out_valid,
    input  wire logic                   out_ready,
    output      logic [IN_BYTES*8-1:0]  m_tdata,
    output      logic                   m_tvalid,
    input  wire logic                   m_tready,
    input  wire logic [OUT_BYTES*8-1:0] s_tdata,
    input  wire logic                   s_tvalid,
    output      logic                   s_tready,
    output      logic [7:0]             m_axilite_AWADDR,
    output      logic                   m_axilite_AWVALID,
    input  wire logic                   m_axilite_AWREADY,
    output      logic [31:0]            m_axilite_WDATA,
    output      logic                   m_axilite_WVALID,
    input  wire logic                   m_axilite_WREADY,
    input  wire logic                   m_axilite_BVALID,
    output      logic                   m_axilite_BREADY,
    output      logic [7:0]             m_axilite_ARADDR,
    output      logic                   m_axilite_ARVALID,
    input  wire logic                   m_axilite_ARREADY,
    input  wire logic [31:0]            m_axilite_RDATA,
    input  wire logic                   m_axilite_RVALID,
    output      logic                   m_axilite_RREADY
);
    localparam int unsigned IMAGE_BYTES = IN_BYTES * IN_BEATS;
    localparam int unsigned LOGIT_BYTES = OUT_BYTES * OUT_BEATS;
    localparam int unsigned BEAT_W = vp_pkg::width(OUT_BEATS);
    localparam int unsigned INSIDE_W = $clog2(TAGS + 4);  // tags, and those in registers of their FIFO

    if (IN_BYTES < 1 || IN_BEATS < 1 || OUT_BYTES < 1 || OUT_BEATS < 1) begin : g_check
        $error("vp_link: IN_BYTES %0d, IN_BEATS %0d, OUT_BYTES %0d and OUT_BEATS %0d must be at least 1", IN_BYTES, IN_BEATS, OUT_BYTES,
               OUT_BEATS);
    end
    if (TAGS < IMAGES || TAGS < 4) begin : g_check_tags
        $error("vp_link: TAGS %0d must be at least 4 and IMAGES, which is %0d", TAGS, IMAGES);
    end

    // --- host to design ---
    logic [7:0] data, image_data;
    logic write, keep, forget, room, tag_room, image_valid, image_ready;
    logic access_write, access_keep, access_room, access_valid, access_ready;
    logic [47:0] new_tag, tag, access;
    logic [18:0] new_answer, answer;
    logic new_answer_valid, answer_valid, answer_ready, tag_valid, sent;
    logic [7:0][15:0] counts;

    vp_link_receive #(.IMAGE_BYTES(IMAGE_BYTES), .ACCESS_BYTES(WORDS == 0 ? 0 : 4 * WORDS + 4), .TIMEOUT(TIMEOUT)) receive (
        .clk, .rst_n, .in_data, .in_error, .in_valid, .in_ready, .room(room && tag_room), .access_room, .data, .write, .keep,
        .access_write, .access_keep, .forget, .tag(new_tag), .answer(new_answer), .answer_valid(new_answer_valid), .counts
    );
    vp_link_images #(.IMAGE_BYTES(IMAGE_BYTES), .IMAGES(IMAGES)) images (
        .clk, .rst_n, .data, .write, .keep, .forget, .room, .out_data(image_data), .out_valid(image_valid), .out_ready(image_ready)
    );
    vp_width #(.IN_ELEMS(1), .OUT_ELEMS(IN_BYTES), .ELEM_WIDTH(8)) beats (
        .clk, .rst_n, .in_data(image_data), .in_valid(image_valid), .in_ready(image_ready),
        .out_data(m_tdata), .out_valid(m_tvalid), .out_ready(m_tready)
    );
    vp_fifo #(.WIDTH(48), .DEPTH(TAGS), .STYLE("distributed")) tags (
        .clk, .rst_n, .in_data(new_tag), .in_valid(keep), .in_ready(tag_room), .out_data(tag), .out_valid(tag_valid), .out_ready(sent)
    );
    vp_fifo #(.WIDTH(19), .DEPTH(8), .STYLE("distributed")) answers (
        .clk, .rst_n, .in_data(new_answer), .in_valid(new_answer_valid), .in_ready(),
        .out_data(answer), .out_valid(answer_valid), .out_ready(answer_ready)
    );

    // --- registers of the design ---
    if (WORDS != 0) begin : g_access
        vp_link_access #(.WORDS(WORDS)) registers (
            .clk, .rst_n, .data, .write(access_write), .keep(access_keep), .forget, .number(new_tag[15:0]), .room(access_room),
            .answer(access), .answer_valid(access_valid), .answer_ready(access_ready),
            .m_axilite_AWADDR, .m_axilite_AWVALID, .m_axilite_AWREADY, .m_axilite_WDATA, .m_axilite_WVALID, .m_axilite_WREADY,
            .m_axilite_BVALID, .m_axilite_BREADY, .m_axilite_ARADDR, .m_axilite_ARVALID, .m_axilite_ARREADY, .m_axilite_RDATA,
            .m_axilite_RVALID, .m_axilite_RREADY
        );
    end else begin : g_no_access
        assign access_room       = 1'b0;
        assign access            = '0;
        assign access_valid      = 1'b0;
        assign m_axilite_AWADDR  = '0;
        assign m_axilite_AWVALID = 1'b0;
        assign m_axilite_WDATA   = '0;
        assign m_axilite_WVALID  = 1'b0;
        assign m_axilite_BREADY  = 1'b0;
        assign m_axilite_ARADDR  = '0;
        assign m_axilite_ARVALID = 1'b0;
        assign m_axilite_RREADY  = 1'b0;
    end

    // --- design to host: logits wait until those of an image are whole ---
    logic [OUT_BYTES*8-1:0] beat;
    logic beat_valid, beat_ready, logit_valid, logit_ready;
    logic [7:0] logit;
    logic [BEAT_W-1:0] beat_q;
    logic [2:0] whole_q;  // images whose logits are there: two in the FIFO and, with one beat each, one after it
    logic [INSIDE_W-1:0] inside_q;
    vp_fifo #(.WIDTH(8 * OUT_BYTES), .DEPTH(2 * OUT_BEATS)) logits (
        .clk, .rst_n, .in_data(s_tdata), .in_valid(s_tvalid), .in_ready(s_tready),
        .out_data(beat), .out_valid(beat_valid), .out_ready(beat_ready)
    );
    vp_width #(.IN_ELEMS(OUT_BYTES), .OUT_ELEMS(1), .ELEM_WIDTH(8)) bytes (
        .clk, .rst_n, .in_data(beat), .in_valid(beat_valid), .in_ready(beat_ready),
        .out_data(logit), .out_valid(logit_valid), .out_ready(logit_ready)
    );
    wire logic last = beat_q == BEAT_W'(OUT_BEATS - 1);
    wire logic comes = s_tvalid && s_tready;
    wire logic whole = comes && last;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            beat_q   <= '0;
            whole_q  <= '0;
            inside_q <= '0;
        end else begin
            if (comes) beat_q <= last ? '0 : beat_q + 1'b1;
            if (whole != sent) whole_q <= whole ? whole_q + 1'b1 : whole_q - 1'b1;
            if (keep != sent) inside_q <= keep ? inside_q + 1'b1 : inside_q - 1'b1;
        end
    end
    vp_link_send #(
        .IMAGE_BYTES(IMAGE_BYTES), .LOGIT_BYTES(LOGIT_BYTES), .IMAGES(IMAGES), .QUIET(QUIET), .DESIGN(DESIGN)
    ) send (
        .clk, .rst_n, .answer, .answer_valid, .answer_ready, .access, .access_valid, .access_ready, .tag, .whole(whole_q != '0 && tag_valid), .sent,
        .logit_data(logit), .logit_valid, .logit_ready, .pending(32'(inside_q)), .counts, .out_data, .out_valid, .out_ready
    );
endmodule

`default_nettype wire
