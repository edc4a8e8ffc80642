// A design behind a serial line, for boards without a processor: rx and tx of a UART, the design's input stream (m) and its output
// stream (s). docs/link.md has the frames. Another transport is a module like this one, with its own in the place of the two UARTs.
// With WORDS its registers are at m_axilite. tdata is the design's: IN_BYTES and OUT_BYTES are the bytes of a beat, IN_BEATS and OUT_BEATS
// the beats of an image and its logits.
`default_nettype none

module vp_board_uart #(
    int unsigned CLKS_PER_BIT  = 8,
    int unsigned CLKS_FRACTION = 0,      // of a bit, in 256ths of a cycle
    int unsigned IN_BYTES      = 1,
    int unsigned IN_BEATS      = 4,
    int unsigned OUT_BYTES     = 1,
    int unsigned OUT_BEATS     = 4,
    int unsigned IMAGES        = 4,      // that wait before the design
    int unsigned TAGS          = 16,     // images that may be here and in the design
    int unsigned WORDS         = 0,      // of a frame that accesses registers; 0: the design has none
    int unsigned QUIET_BITS    = 32768,  // of silence that end a frame, in bits of the line
    logic [63:0] DESIGN        = 64'd0   // number of the design, 32 bits
) (
    input  wire logic                   clk,
    input  wire logic                   rst_n,
    input  wire logic                   rx,
    output      logic                   tx,
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
    logic reset_n, in_error, in_valid, in_ready, out_valid, out_ready;
    logic [7:0] in_data, out_data;

    vp_reset registers (.clk, .in(rst_n), .out(reset_n));
    vp_uart_rx #(.CLKS_PER_BIT(CLKS_PER_BIT), .CLKS_FRACTION(CLKS_FRACTION)) receiver (
        .clk, .rst_n(reset_n), .rx, .out_data(in_data), .out_error(in_error), .out_valid(in_valid), .out_ready(in_ready)
    );
    vp_link #(
        .IN_BYTES(IN_BYTES), .IN_BEATS(IN_BEATS), .OUT_BYTES(OUT_BYTES), .OUT_BEATS(OUT_BEATS), .IMAGES(IMAGES), .TAGS(TAGS),
        .WORDS(WORDS), .TIMEOUT(QUIET_BITS * CLKS_PER_BIT), .QUIET(QUIET_BITS), .DESIGN(DESIGN)
    ) link (
        .clk, .rst_n(reset_n), .in_data, .in_error, .in_valid, .in_ready, .out_data, .out_valid, .out_ready,
        .m_tdata, .m_tvalid, .m_tready, .s_tdata, .s_tvalid, .s_tready,
        .m_axilite_AWADDR, .m_axilite_AWVALID, .m_axilite_AWREADY, .m_axilite_WDATA, .m_axilite_WVALID, .m_axilite_WREADY,
        .m_axilite_BVALID, .m_axilite_BREADY, .m_axilite_ARADDR, .m_axilite_ARVALID, .m_axilite_ARREADY, .m_axilite_RDATA,
        .m_axilite_RVALID, .m_axilite_RREADY
    );
    vp_uart_tx #(.CLKS_PER_BIT(CLKS_PER_BIT), .CLKS_FRACTION(CLKS_FRACTION)) sender (
        .clk, .rst_n(reset_n), .in_data(out_data), .in_valid(out_valid), .in_ready(out_ready), .tx
    );
endmodule

`default_nettype wire
