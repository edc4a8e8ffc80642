// vp_link_receive, whatever comes and whenever it stops: it writes an image only where there was room for it, IMAGE_BYTES bytes before it keeps
// it, and what it began and does not keep it forgets before it writes again. What it keeps it says nothing of; all else that it ends it
// answers. Bytes are taken in time.
`default_nettype none

module proof_link_receive #(
    int unsigned IMAGE_BYTES = 2,
    int unsigned TIMEOUT     = 16
) (
    input wire logic       clk,
    input wire logic       rst_n,
    input wire logic [7:0] in_data,
    input wire logic       in_error,
    input wire logic       in_valid,
    input wire logic       room
);
    localparam int unsigned COUNT_W = $clog2(IMAGE_BYTES + 2);
    logic in_ready, write, keep, forget, answer_valid;
    logic [7:0] data;
    logic [47:0] tag;
    logic [18:0] answer;
    logic [7:0][15:0] counts;
    vp_link_receive #(.IMAGE_BYTES(IMAGE_BYTES), .TIMEOUT(TIMEOUT)) dut (.*);

    logic [COUNT_W-1:0] count_q;  // bytes written of an image
    logic room_q;                 // there was room, and nothing was kept since
    logic kept_q, forgot_q;       // in the cycle before: what becomes of an image is told a cycle later
    always_ff @(posedge clk) begin
        if (!rst_n || keep || forget) count_q <= '0;
        else if (write) count_q <= count_q + 1'b1;
        room_q   <= rst_n && room && !keep;
        kept_q   <= rst_n && keep;
        forgot_q <= rst_n && forget;
    end
    always_comb if (room_q) a_room : assume (room);  // only a kept image takes it

    proof_reset reset (.clk, .rst_n);
    proof_quiet #(.PINS(4)) quiet (.clk, .rst_n, .pins({in_ready, write, keep, answer_valid}));
    proof_hold #(.WIDTH(9), .ASSUME(1'b1)) source (
        .clk, .rst_n, .data({in_error, in_data}), .valid(in_valid), .ready(in_ready)
    );
    proof_progress #(.LIMIT(9)) in (.clk, .rst_n, .want(in_valid), .done(in_ready));
    always_comb begin
        if (rst_n) begin
            p_write : assert (!write || (in_valid && in_ready && data == in_data && room && count_q < COUNT_W'(IMAGE_BYTES)));
            p_keep : assert (!keep || (count_q == COUNT_W'(IMAGE_BYTES) && !write && !forget));
            p_forget : assert (!forgot_q || (answer_valid && answer[18:16] != '0));
            p_told : assert (!kept_q || !answer_valid);
            c_write : cover (write && count_q == COUNT_W'(IMAGE_BYTES - 1));
            c_forget : cover (forget && count_q == COUNT_W'(IMAGE_BYTES));
            c_silence : cover (forgot_q && answer[18:16] == 3'd6);
        end
    end
endmodule

`default_nettype wire
