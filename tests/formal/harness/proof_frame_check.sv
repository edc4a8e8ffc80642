// vp_frame_check: what leaves is whole frames, each beat what the frames that came make of it, and the count is theirs. A queue holds what is to
// leave: a beat when it comes, and with the last beat of a frame that ends early the zeros behind it.
`default_nettype none

module proof_frame_check #(
    int unsigned WIDTH = 2,
    int unsigned BEATS = 3,
    bit          EACH  = 1'b0
) (
    input wire logic       clk,
    input wire logic       rst_n,
    input wire logic [7:0] in0_tdata,
    input wire logic       in0_tvalid,
    input wire logic       in0_V_tlast,
    input wire logic       out0_tready
);
    localparam int unsigned PLACES = BEATS + 2;  // two beats in the block, zeros that are still to leave, a beat that comes
    logic in0_tready, out0_tvalid;
    logic [7:0] out0_tdata;
    logic [31:0] wrong_frames;
    vp_frame_check #(.WIDTH(WIDTH), .BEATS(BEATS), .EACH(EACH)) dut (.*);

    logic [PLACES:0][WIDTH-1:0] queue_q, queue;
    logic [7:0] held_q, held, place_q, out_place_q;
    logic [3:0] wrong_q;
    logic dropping_q, seen_q;
    wire logic take = in0_tvalid && in0_tready;
    wire logic pop = out0_tvalid && out0_tready;
    wire logic last = place_q == 8'(BEATS - 1);
    wire logic keep = take && !dropping_q;
    wire logic cut = keep && in0_V_tlast && !last;
    wire logic long = EACH && seen_q && keep && !in0_V_tlast && last;
    always_comb begin
        queue = pop ? queue_q >> WIDTH : queue_q;
        held  = held_q - 8'(pop);
        for (int unsigned i = 0; i <= PLACES; i++) if (keep && held == 8'(i)) queue[i] = in0_tdata[WIDTH-1:0];
        if (keep) held = held + 8'd1 + (cut ? 8'(BEATS - 1) - place_q : 8'd0);
    end
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            queue_q <= '0;
            {held_q, place_q, out_place_q, wrong_q, dropping_q, seen_q} <= '0;
        end else begin
            queue_q <= queue;  // zeros are behind what is held
            held_q  <= held;
            if (keep) place_q <= last || in0_V_tlast ? '0 : place_q + 1'b1;
            if (pop) out_place_q <= out_place_q == 8'(BEATS - 1) ? '0 : out_place_q + 1'b1;
            dropping_q <= dropping_q ? !(take && in0_V_tlast) : long;
            if (take && in0_V_tlast) seen_q <= 1'b1;
            wrong_q    <= wrong_q + 4'(cut || long);
        end
    end
    proof_reset reset (.clk, .rst_n);
    proof_hold #(.WIDTH(9), .ASSUME(1'b1)) source (
        .clk, .rst_n, .data({in0_V_tlast, in0_tdata}), .valid(in0_tvalid), .ready(in0_tready)
    );
    proof_hold #(.WIDTH(8)) hold (.clk, .rst_n, .data(out0_tdata), .valid(out0_tvalid), .ready(out0_tready));
    always_comb begin
        if (rst_n) begin
            p_invent : assert (!out0_tvalid || held_q != '0);
            p_leaves : assert (out0_tvalid || held_q == '0);
            p_data : assert (!out0_tvalid || out0_tdata == 8'(queue_q[0]));
            p_lose : assert (held <= 8'(PLACES - 1));
            p_wrong : assert (wrong_frames[3:0] == wrong_q);
            c_cut : cover (cut && place_q == '0);
            c_long : cover (long);
            c_drops : cover (dropping_q && take && !in0_V_tlast);
            c_again : cover (keep && wrong_q != '0 && last && in0_V_tlast);
            c_unmarked : cover (keep && last && !in0_V_tlast);
            c_ends : cover (pop && out_place_q == 8'(BEATS - 1) && wrong_q != '0);
        end
    end
    // Whole frames leave: where no beat of a frame is held, none of it has left.
    always_comb if (rst_n && held_q == '0) p_whole : assert (out_place_q == place_q);
    proof_progress #(.LIMIT(BEATS + 1), .TIGHT(1'b0)) in (.clk, .rst_n, .want(in0_tvalid && out0_tready), .done(in0_tready));
endmodule

`default_nettype wire
