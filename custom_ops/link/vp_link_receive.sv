// What a link does with the bytes of its host (docs/link.md has the frames): finds frames, checks type, length and CRC, and says what
// became of each. An image's bytes are written as they come, and kept only when the CRC is right; tag is then the CRC and the sequence
// number, which travel to its logits. An access (vp_link_access) is written and kept alike; it has ACCESS_BYTES, 0: there are none.
// answer is what the host is told: cause (0: a query that is to be answered) and sequence number; it does not wait. counts are the
// frames that were right (0) and those refused by cause, modulo 65,536.
//
// A header is looked for in the last eight bytes, so that bytes too many before it do no harm. The first byte that cannot be of a frame
// is told once (START, TYPE, LENGTH, or LINE where the line says so), then nothing until a header is found or the line was silent for
// TIMEOUT cycles. A silence in a frame ends it.
`default_nettype none

module vp_link_receive #(
    int unsigned IMAGE_BYTES  = 4,
    int unsigned ACCESS_BYTES = 0,
    int unsigned TIMEOUT      = 1024
) (
    input  wire logic             clk,
    input  wire logic             rst_n,
    input  wire logic [7:0]       in_data,
    input  wire logic             in_error,
    input  wire logic             in_valid,
    output      logic             in_ready,
    input  wire logic             room,    // for an image and its tag
    input  wire logic             access_room,
    output      logic [7:0]       data,
    output      logic             write,
    output      logic             keep,
    output      logic             access_write,
    output      logic             access_keep,
    output      logic             forget,
    output      logic [47:0]      tag,     // valid with keep and access_keep
    output      logic [18:0]      answer,
    output      logic             answer_valid,
    output      logic [7:0][15:0] counts
);
    localparam logic [7:0] START = 8'ha5, IMAGE = 8'h01, QUERY = 8'h02, ACCESS = 8'h03;
    localparam logic [2:0] NONE = 3'd0, BAD_LINE = 3'd1, BAD_START = 3'd2, BAD_TYPE = 3'd3, BAD_LENGTH = 3'd4, BAD_CRC = 3'd5,
        BAD_SILENCE = 3'd6, NO_ROOM = 3'd7;
    localparam logic [31:0] RIGHT = 32'hdebb20e3;
    localparam int unsigned LEFT_W = $clog2((IMAGE_BYTES > ACCESS_BYTES ? IMAGE_BYTES : ACCESS_BYTES) + 5);
    localparam int unsigned QUIET_W = $clog2(TIMEOUT + 1);

    if (IMAGE_BYTES < 1 || TIMEOUT < 16) begin : g_check
        $error("vp_link_receive: IMAGE_BYTES %0d must be at least 1, TIMEOUT %0d at least 16", IMAGE_BYTES, TIMEOUT);
    end

    // FIND takes a byte of a header, LOOK looks at the last eight, HEAD counts them into the CRC, BODY takes payload and CRC.
    typedef enum logic [2:0] {FIND, LOOK, HEAD, BODY, DONE} state_t;
    state_t state_q;
    logic [63:0] last_q;          // the last bytes, first one lowest
    logic [3:0] count_q;          // of them, those after the last frame, at most 8
    logic lost_q;                 // not in step: the host knows
    logic error_q;                // of the last byte
    logic image_q, access_q;      // what the frame is
    logic room_q;                 // there is room for it
    logic [15:0] number_q;
    logic [LEFT_W-1:0] left_q;    // bytes of the body to come
    logic [QUIET_W-1:0] quiet_q;  // cycles without a byte
    logic started_q;              // a reset is over
    logic [18:0] answer_q;        // what became of a frame, a cycle later: it is told, it is counted
    logic told_q, ended_q;
    logic [31:0] crc_q, crc;

    wire logic take = in_valid && in_ready;
    wire logic late = quiet_q == QUIET_W'(TIMEOUT) && !take;
    wire logic is_image = last_q[15:8] == IMAGE;
    wire logic is_query = last_q[15:8] == QUERY;
    wire logic is_access = ACCESS_BYTES != 0 && last_q[15:8] == ACCESS;
    wire logic known = is_image || is_query || is_access;
    wire logic [31:0] length = is_image ? 32'(IMAGE_BYTES) : is_access ? 32'(ACCESS_BYTES) : 32'd0;
    wire logic found = last_q[7:0] == START && known && last_q[63:32] == length;
    wire logic right = crc_q == RIGHT;

    vp_crc32 next_crc (.crc(crc_q), .data(state_q == HEAD ? last_q[7:0] : in_data), .next(crc));

    logic [2:0] cause;
    always_comb begin
        cause = NONE;
        case (state_q)
            FIND: if (late && count_q != '0 && !lost_q) cause = BAD_SILENCE;
            LOOK:
            if (!lost_q) begin
                if (error_q) cause = BAD_LINE;
                else if (count_q == 4'd1 && last_q[63:56] != START) cause = BAD_START;
                else if (count_q == 4'd8 && !found) cause = known ? BAD_LENGTH : BAD_TYPE;
            end
            BODY: begin
                if (late) cause = BAD_SILENCE;
                else if (take && in_error) cause = BAD_LINE;
            end
            DONE: begin
                if (!right) cause = BAD_CRC;
                else if (!room_q) cause = NO_ROOM;
            end
            default: cause = NONE;
        endcase
    end
    wire logic good = state_q == DONE && cause == NONE;
    wire logic payload = state_q == BODY && take && room_q && left_q > LEFT_W'(4);

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            state_q   <= FIND;
            count_q   <= '0;
            lost_q    <= 1'b0;
            quiet_q   <= '0;
            started_q <= 1'b0;
            told_q    <= 1'b0;
            ended_q   <= 1'b0;
            counts    <= '0;
        end else begin
            started_q <= 1'b1;
            if (take) quiet_q <= '0;
            else if (quiet_q != QUIET_W'(TIMEOUT)) quiet_q <= quiet_q + 1'b1;
            case (state_q)
                FIND:
                if (take) begin
                    state_q <= LOOK;
                    if (count_q != 4'd8) count_q <= count_q + 1'b1;
                end else if (late) begin
                    count_q <= '0;
                    lost_q  <= 1'b0;
                end
                LOOK: begin
                    state_q <= FIND;
                    if (error_q) count_q <= '0;
                    else if (count_q == 4'd8 && found) state_q <= HEAD;
                    if (cause != NONE) lost_q <= 1'b1;
                end
                HEAD: begin
                    count_q <= count_q - 1'b1;
                    if (count_q == 4'd1) state_q <= BODY;
                end
                BODY:
                if (cause != NONE) begin
                    state_q <= FIND;
                    lost_q  <= cause == BAD_LINE;
                end else if (take && left_q == LEFT_W'(1)) begin
                    state_q <= DONE;
                end
                default: begin
                    state_q <= FIND;
                    lost_q  <= !right;
                end
            endcase
            told_q  <= cause != NONE || (good && !image_q && !access_q);
            ended_q <= cause != NONE || good;
            for (int unsigned i = 0; i < 8; i++) begin
                if (ended_q && answer_q[18:16] == 3'(i)) counts[i] <= counts[i] + 1'b1;
            end
        end
    end
    always_ff @(posedge clk) begin
        error_q  <= in_error;
        answer_q <= {cause, state_q == BODY || state_q == DONE ? number_q : 16'd0};
        if (take) last_q <= {in_data, last_q[63:8]};
        else if (state_q == HEAD) last_q <= {8'd0, last_q[63:8]};
        if (state_q == LOOK) begin
            image_q  <= is_image;
            access_q <= is_access;
            room_q   <= is_image ? room : is_access ? access_room : 1'b1;
            number_q <= last_q[31:16];
            left_q   <= LEFT_W'(length[LEFT_W-1:0]) + LEFT_W'(4);
        end else if (take) begin
            left_q <= left_q - 1'b1;
        end
        if (state_q == HEAD && count_q == 4'd8) crc_q <= '1;  // the CRC begins after START
        else if (state_q == HEAD || take) crc_q <= crc;
    end

    assign in_ready     = started_q && (state_q == FIND || state_q == BODY);
    assign data         = in_data;
    assign write        = payload && image_q;
    assign keep         = good && image_q;
    assign access_write = payload && access_q;
    assign access_keep  = good && access_q;
    assign forget       = (state_q == BODY || state_q == DONE) && cause != NONE;
    assign tag          = {last_q[63:32], number_q};
    assign answer       = answer_q;
    assign answer_valid = told_q;
endmodule

`default_nettype wire
