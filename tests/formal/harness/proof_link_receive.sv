// vp_link_receive, whatever comes and whenever it stops: it writes an image or an access only where there was room for it, all of its bytes
// before it keeps it, and what it began and does not keep it forgets before it writes again. What it keeps it says nothing of; all else that
// it ends it answers. Bytes are taken in time.
`default_nettype none

module proof_link_receive #(
    int unsigned IMAGE_BYTES  = 2,
    int unsigned ACCESS_BYTES = 1,
    int unsigned TIMEOUT      = 16
) (
    input wire logic       clk,
    input wire logic       rst_n,
    input wire logic [7:0] in_data,
    input wire logic       in_error,
    input wire logic       in_valid,
    input wire logic       room,
    input wire logic       access_room
);
    localparam int unsigned COUNT_W = $clog2(IMAGE_BYTES + 2);
    logic in_ready, write, keep, access_write, access_keep, forget, answer_valid;
    logic [7:0] data;
    logic [47:0] tag;
    logic [18:0] answer;
    logic [7:0][15:0] counts;
    vp_link_receive #(.IMAGE_BYTES(IMAGE_BYTES), .ACCESS_BYTES(ACCESS_BYTES), .TIMEOUT(TIMEOUT)) dut (.*);

    logic [COUNT_W-1:0] count_q;  // bytes written of an image
    logic [COUNT_W-1:0] access_q; // the same of an access
    logic room_q, free_q;         // there was room for an image and for an access, and nothing was kept since
    logic kept_q, forgot_q;       // in the cycle before: what becomes of an image is told a cycle later
    always_ff @(posedge clk) begin
        if (!rst_n || keep || forget) count_q <= '0;
        else if (write) count_q <= count_q + 1'b1;
        if (!rst_n || access_keep || forget) access_q <= '0;
        else if (access_write) access_q <= access_q + 1'b1;
        room_q   <= rst_n && room && !keep;
        free_q   <= rst_n && access_room && !access_keep;
        kept_q   <= rst_n && (keep || access_keep);
        forgot_q <= rst_n && forget;
    end
    always_comb begin
        a_room : assume (room || !room_q);  // only a kept image takes it
        a_access_room : assume (access_room || !free_q);
    end

    proof_reset reset (.clk, .rst_n);
    proof_quiet #(.PINS(6)) quiet (
        .clk, .rst_n, .pins({in_ready, write, keep, access_write, access_keep, answer_valid})
    );
    proof_hold #(.WIDTH(9), .ASSUME(1'b1)) source (
        .clk, .rst_n, .data({in_error, in_data}), .valid(in_valid), .ready(in_ready)
    );
    proof_progress #(.LIMIT(9)) in (.clk, .rst_n, .want(in_valid), .done(in_ready));
    always_comb begin
        if (rst_n) begin
            p_write : assert (!write || (in_valid && in_ready && data == in_data && room && count_q < COUNT_W'(IMAGE_BYTES)));
            p_keep : assert (!keep || (count_q == COUNT_W'(IMAGE_BYTES) && !write && !forget));
            p_access_write :
            assert (!access_write || (in_valid && in_ready && data == in_data && access_room && access_q < COUNT_W'(ACCESS_BYTES)));
            p_access_keep : assert (!access_keep || (access_q == COUNT_W'(ACCESS_BYTES) && !access_write && !forget));
            p_one : assert ((!write || access_q == '0) && (!access_write || count_q == '0) && !(write && access_write));
            p_forget : assert (!forgot_q || (answer_valid && answer[18:16] != '0));
            p_told : assert (!kept_q || !answer_valid);
            c_write : cover (write && count_q == COUNT_W'(IMAGE_BYTES - 1));
            c_access : cover (access_keep);
            c_forget : cover (forget && count_q == COUNT_W'(IMAGE_BYTES));
            c_silence : cover (forgot_q && answer[18:16] == 3'd6);
        end
    end
endmodule

`default_nettype wire
