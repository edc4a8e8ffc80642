// The registers of a design behind a link (docs/link.md): frames of the host write words to one register and then read one. Keeps one
// frame until its CRC was right (keep, with its sequence number; forget: it never was), then writes its words in order, reads, and gives
// the word with the number of the frame. busy until then. Every write is answered before the next begins; responses are not looked at.
// Payload: address written, words to write, address read, a byte without meaning; WORDS words, those beyond the number are not written.
`default_nettype none

module vp_link_access #(
    int unsigned WORDS = 32,
    localparam int unsigned BYTES = 4 * WORDS + 4
) (
    input  wire logic        clk,
    input  wire logic        rst_n,
    input  wire logic [7:0]  data,
    input  wire logic        write,
    input  wire logic        keep,
    input  wire logic        forget,
    input  wire logic [15:0] number,  // valid with keep
    output      logic        room,
    output      logic [47:0] answer,  // the word, the number
    output      logic        answer_valid,
    input  wire logic        answer_ready,
    output      logic [7:0]  m_axilite_AWADDR,
    output      logic        m_axilite_AWVALID,
    input  wire logic        m_axilite_AWREADY,
    output      logic [31:0] m_axilite_WDATA,
    output      logic        m_axilite_WVALID,
    input  wire logic        m_axilite_WREADY,
    input  wire logic        m_axilite_BVALID,
    output      logic        m_axilite_BREADY,
    output      logic [7:0]  m_axilite_ARADDR,
    output      logic        m_axilite_ARVALID,
    input  wire logic        m_axilite_ARREADY,
    input  wire logic [31:0] m_axilite_RDATA,
    input  wire logic        m_axilite_RVALID,
    output      logic        m_axilite_RREADY
);
    if (WORDS < 1 || WORDS > 255) begin : g_check
        $error("vp_link_access: WORDS %0d must be 1 to 255", WORDS);
    end

    // GATHER takes the bytes of a word, the head first; PUT writes it, READ reads, TELL answers.
    typedef enum logic [2:0] {GATHER, PUT, WRITTEN, READ, GOT, TELL} state_t;
    state_t state_q;
    logic [31:0] word_q;       // the last bytes, first one lowest
    logic [1:0] place_q;       // of the next byte
    logic head_q;              // the head is there
    logic [7:0] done_q;        // words of the frame that are over
    logic [7:0] address_q, count_q, read_q;
    logic [15:0] number_q;
    logic busy_q;
    logic addressed_q, sent_q; // of a write: address and word are taken
    logic [7:0] byte_data;
    logic byte_valid, empty;

    vp_link_images #(.IMAGE_BYTES(BYTES), .IMAGES(1)) frame (
        .clk, .rst_n, .data, .write, .keep, .forget, .room(empty), .out_data(byte_data), .out_valid(byte_valid),
        .out_ready(state_q == GATHER)
    );
    wire logic take = state_q == GATHER && byte_valid;
    wire logic whole = take && place_q == 2'd3;
    wire logic counts = done_q < count_q;
    wire logic over = done_q == 8'(WORDS - 1);
    wire logic aw = m_axilite_AWREADY || addressed_q;
    wire logic w = m_axilite_WREADY || sent_q;
    wire logic told = answer_valid && answer_ready;

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            state_q     <= GATHER;
            place_q     <= '0;
            head_q      <= 1'b0;
            done_q      <= '0;
            busy_q      <= 1'b0;
            addressed_q <= 1'b0;
            sent_q      <= 1'b0;
        end else begin
            if (keep) busy_q <= 1'b1;
            else if (told) busy_q <= 1'b0;
            if (take) place_q <= place_q + 1'b1;
            addressed_q <= state_q == PUT && aw && !w;
            sent_q      <= state_q == PUT && w && !aw;
            case (state_q)
                GATHER:
                if (whole && !head_q) head_q <= 1'b1;
                else if (whole) begin
                    if (counts) state_q <= PUT;
                    else if (over) state_q <= READ;
                    else done_q <= done_q + 1'b1;
                end
                PUT:     if (aw && w) state_q <= WRITTEN;
                WRITTEN:
                if (m_axilite_BVALID) begin
                    state_q <= over ? READ : GATHER;
                    if (!over) done_q <= done_q + 1'b1;
                end
                READ:    if (m_axilite_ARREADY) state_q <= GOT;
                GOT:     if (m_axilite_RVALID) state_q <= TELL;
                default:
                if (answer_ready) begin
                    state_q <= GATHER;
                    head_q  <= 1'b0;
                    done_q  <= '0;
                end
            endcase
        end
    end
    always_ff @(posedge clk) begin
        if (keep) number_q <= number;
        if (take) word_q <= {byte_data, word_q[31:8]};
        else if (state_q == GOT) word_q <= m_axilite_RDATA;
        if (whole && !head_q) {read_q, count_q, address_q} <= word_q[31:8];  // the byte that comes has no meaning
    end

    assign room              = empty && !busy_q;
    assign answer            = {word_q, number_q};
    assign answer_valid      = state_q == TELL;
    assign m_axilite_AWADDR  = address_q;
    assign m_axilite_AWVALID = state_q == PUT && !addressed_q;
    assign m_axilite_WDATA   = word_q;
    assign m_axilite_WVALID  = state_q == PUT && !sent_q;
    assign m_axilite_BREADY  = state_q == WRITTEN;
    assign m_axilite_ARADDR  = read_q;
    assign m_axilite_ARVALID = state_q == READ;
    assign m_axilite_RREADY  = state_q == GOT;
endmodule

`default_nettype wire
