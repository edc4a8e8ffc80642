// What a link tells its host (docs/link.md has the frames): logits with the tag of their image, the status, or that a frame was refused
// and why, or a word that was read. Answers go first, then words. A frame of logits begins when all of it is there (whole), so that
// nothing waits in the middle of a frame. sent: the logits of an image are on their way. The status is made of words, each of which is
// what it was in one cycle.
`default_nettype none

module vp_link_send #(
    int unsigned IMAGE_BYTES  = 4,
    int unsigned LOGIT_BYTES  = 4,
    int unsigned IMAGES       = 2,
    int unsigned QUIET        = 0,
    logic [63:0] DESIGN       = 64'd0  // number of the design, 32 bits
) (
    input  wire logic             clk,
    input  wire logic             rst_n,
    input  wire logic [18:0]      answer,  // cause (0: a query), sequence number
    input  wire logic             answer_valid,
    output      logic             answer_ready,
    input  wire logic [47:0]      access,  // the word, sequence number
    input  wire logic             access_valid,
    output      logic             access_ready,
    input  wire logic [47:0]      tag,     // CRC and sequence number of the image
    input  wire logic             whole,   // tag and logits of an image are there
    output      logic             sent,
    input  wire logic [7:0]       logit_data,
    input  wire logic             logit_valid,
    output      logic             logit_ready,
    input  wire logic [31:0]      pending, // images of which the logits are still to come
    input  wire logic [7:0][15:0] counts,
    output      logic [7:0]       out_data,
    output      logic             out_valid,
    input  wire logic             out_ready
);
    localparam logic [7:0] START = 8'ha5, LOGITS = 8'h81, STATUS = 8'h82, REFUSED = 8'h83, WORD = 8'h84;
    localparam logic [31:0] VERSION = 32'd1;
    localparam logic [3:0] SHORT = 4'd2, LONG = 4'd12;  // the last word before logits and CRC
    localparam int unsigned LEFT_W = $clog2(LOGIT_BYTES + 1);

    if (IMAGE_BYTES < 1 || LOGIT_BYTES < 1) begin : g_check
        $error("vp_link_send: IMAGE_BYTES %0d and LOGIT_BYTES %0d must be at least 1", IMAGE_BYTES, LOGIT_BYTES);
    end

    typedef enum logic [1:0] {IDLE, WORDS, BYTES, CHECK} state_t;
    state_t state_q;
    logic [7:0] type_q;
    logic [3:0] index_q;        // of the word
    logic [1:0] place_q;        // of its byte
    logic [31:0] word_q;        // what is left of it
    logic [LEFT_W-1:0] left_q;  // logits to come
    logic [31:0] crc_q, crc;
    wire logic logits = type_q == LOGITS;
    wire logic status = type_q == STATUS;
    wire logic [3:0] next_index = state_q == IDLE ? 4'd0 : index_q + 1'b1;
    wire logic [7:0] next_type = answer_valid ? (answer[18:16] == '0 ? STATUS : REFUSED) : access_valid ? WORD : LOGITS;
    wire logic [15:0] number = answer_valid ? answer[15:0] : access_valid ? access[15:0] : tag[15:0];

    logic [31:0] word;
    always_comb begin
        case (next_index)
            4'd0: word = {number, next_type, START};
            4'd1: word = logits ? 32'(LOGIT_BYTES) + 32'd4 : status ? 32'(4 * (LONG - SHORT + 1)) : 32'd4;
            4'd2: word = logits ? tag[47:16] : status ? VERSION : type_q == WORD ? access[47:16] : 32'(answer[18:16]);
            4'd3: word = DESIGN[31:0];
            4'd4: word = 32'(IMAGE_BYTES);
            4'd5: word = 32'(LOGIT_BYTES);
            4'd6: word = 32'(IMAGES);
            4'd7: word = 32'(QUIET);
            4'd8: word = pending;
            default: word = counts[2*(next_index-4'd9)+:2];
        endcase
    end

    logic ready;
    wire logic [7:0] data = state_q == BYTES ? logit_data : word_q[7:0];
    wire logic valid = state_q == BYTES ? logit_valid : state_q != IDLE;
    wire logic give = valid && ready;
    wire logic ends = place_q == 2'd3;
    vp_crc32 next_crc (.crc(crc_q), .data, .next(crc));

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            state_q <= IDLE;
        end else begin
            case (state_q)
                IDLE:    if (answer_valid || access_valid || whole) state_q <= WORDS;
                WORDS:   if (give && ends && index_q == (status ? LONG : SHORT)) state_q <= logits ? BYTES : CHECK;
                BYTES:   if (give && left_q == LEFT_W'(1)) state_q <= CHECK;
                default: if (give && ends) state_q <= IDLE;
            endcase
        end
    end
    always_ff @(posedge clk) begin
        if (state_q == IDLE) begin
            type_q  <= next_type;
            index_q <= '0;
            place_q <= '0;
            word_q  <= word;
            left_q  <= LEFT_W'(LOGIT_BYTES);
        end else if (give) begin
            if (state_q == BYTES) left_q <= left_q - 1'b1;
            else place_q <= place_q + 1'b1;
            if (state_q == WORDS && ends) index_q <= next_index;
            if (state_q == WORDS && ends && index_q != (status ? LONG : SHORT)) word_q <= word;
            else if (state_q == CHECK || !(ends || state_q == BYTES)) word_q <= word_q >> 8;
            else word_q <= ~crc;  // of the last byte before it
            crc_q <= state_q == WORDS && index_q == '0 && place_q == '0 ? '1 : crc;
        end
    end

    vp_skid #(.WIDTH(8)) skid (
        .clk, .rst_n, .in_data(data), .in_valid(valid), .in_ready(ready), .out_data, .out_valid, .out_ready
    );
    assign logit_ready  = state_q == BYTES && ready;
    wire logic gone = state_q == CHECK && give && ends;
    assign access_ready = gone && type_q == WORD;
    assign answer_ready = gone && type_q != WORD && !logits;
    assign sent         = gone && logits;
endmodule

`default_nettype wire
