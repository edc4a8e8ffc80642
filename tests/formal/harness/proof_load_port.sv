// vp_load_port against its contract: the harness pairs addresses and data itself and takes a write as done when its answer
// appears, one cycle after the block performed it. The rest of the design is anything that keeps its promises: frames leave
// that are inside, and what comes back from the chain is any word at any time. A frame begins only when the port is open:
// after begin the frames inside left, then start went out and came back, then came the header, WORDS words and a checksum, in
// this order and no other, and the first word that came back was that of what was written.
`default_nettype none

module proof_load_port #(
    int unsigned WIDTH  = 2,
    int unsigned BEATS  = 2,
    int unsigned WORDS  = 2,
    int unsigned STAGES = 0,
    int unsigned FRAME_BITS = 3,
    int unsigned ADDRESS_BITS = 6,
    logic [63:0] DESIGN = 64'h5
) (
    input wire logic        clk,
    input wire logic        rst_n,
    input wire logic        pick,
    input wire logic [7:0]  in0_tdata,
    input wire logic        in0_tvalid,
    input wire logic        out0_tready,
    input wire logic        awvalid,
    input wire logic [ADDRESS_BITS-1:0] awaddr,
    input wire logic        wvalid,
    input wire logic [31:0] wdata,
    input wire logic        bready,
    input wire logic        arvalid,
    input wire logic [ADDRESS_BITS-1:0] araddr,
    input wire logic        rready,
    input wire logic [33:0] load_in,
    input wire logic        frame_left,
    input wire logic [31:0] wrong_frames
);
    logic in0_tready, out0_tvalid, awready, wready, bvalid, arready, rvalid;
    logic [7:0] out0_tdata;
    logic [1:0] bresp, rresp;
    logic [31:0] rdata;
    logic [33:0] load_out;
    vp_load_port #(
        .WIDTH(WIDTH), .BEATS(BEATS), .WORDS(WORDS), .DESIGN(DESIGN), .STAGES(STAGES), .FRAME_BITS(FRAME_BITS), .ADDRESS_BITS(ADDRESS_BITS)
    ) dut (
        .clk, .rst_n, .in0_tdata, .in0_tvalid, .in0_tready, .out0_tdata, .out0_tvalid, .out0_tready,
        .s_axilite_AWVALID(awvalid), .s_axilite_AWREADY(awready), .s_axilite_AWADDR(awaddr), .s_axilite_WVALID(wvalid),
        .s_axilite_WREADY(wready), .s_axilite_WDATA(wdata), .s_axilite_WSTRB(4'hf), .s_axilite_BVALID(bvalid),
        .s_axilite_BREADY(bready), .s_axilite_BRESP(bresp), .s_axilite_ARVALID(arvalid), .s_axilite_ARREADY(arready),
        .s_axilite_ARADDR(araddr), .s_axilite_RVALID(rvalid), .s_axilite_RREADY(rready), .s_axilite_RDATA(rdata),
        .s_axilite_RRESP(rresp), .load_in, .load_out, .frame_left, .wrong_frames
    );

    proof_reset reset (.clk, .rst_n);
    proof_hold #(.WIDTH(8), .ASSUME(1'b1)) source (
        .clk, .rst_n, .data(in0_tdata), .valid(in0_tvalid), .ready(in0_tready)
    );
    proof_hold #(.WIDTH(ADDRESS_BITS), .ASSUME(1'b1)) aw (.clk, .rst_n, .data(awaddr), .valid(awvalid), .ready(awready));
    proof_hold #(.WIDTH(32), .ASSUME(1'b1)) w (.clk, .rst_n, .data(wdata), .valid(wvalid), .ready(wready));
    proof_hold #(.WIDTH(ADDRESS_BITS), .ASSUME(1'b1)) ar (.clk, .rst_n, .data(araddr), .valid(arvalid), .ready(arready));
    proof_hold #(.WIDTH(8)) hold (.clk, .rst_n, .data(out0_tdata), .valid(out0_tvalid), .ready(out0_tready));
    proof_hold #(.WIDTH(2)) b (.clk, .rst_n, .data(bresp), .valid(bvalid), .ready(bready));
    proof_hold #(.WIDTH(34)) r (.clk, .rst_n, .data({rresp, rdata}), .valid(rvalid), .ready(rready));

    // --- the stream passes ---
    logic [2:0] held;
    wire logic enters = in0_tvalid && in0_tready;
    proof_order #(.WIDTH(WIDTH), .CAPACITY(2)) order (
        .clk, .rst_n, .pick, .push(enters), .push_data(in0_tdata[WIDTH-1:0]),
        .pop_valid(out0_tvalid), .pop(out0_tvalid && out0_tready), .pop_data(out0_tdata[WIDTH-1:0]), .held
    );

    // --- every write is answered once, and so is every read ---
    logic waits_q, aw_q, w_q, read_q;
    logic [ADDRESS_BITS-1:0] addr_q;
    logic count_read_q;  // the word that is read is the count of frames whose beats did not add up
    logic [31:0] count_word_q;
    logic [31:0] word_q;
    wire logic done = bvalid && !waits_q;
    always_ff @(posedge clk) begin
        waits_q <= rst_n && bvalid && !bready;
        aw_q    <= rst_n && ((awvalid && awready) || (aw_q && !done));
        w_q     <= rst_n && ((wvalid && wready) || (w_q && !done));
        read_q  <= rst_n && ((arvalid && arready) || (read_q && !(rvalid && rready)));
        if (awvalid && awready) addr_q <= awaddr;
        if (wvalid && wready) word_q <= wdata;
        if (arvalid && arready) count_read_q <= 8'(araddr) == 8'h20;
        if (arvalid && arready) count_word_q <= wrong_frames;
    end
    always_comb begin
        if (rst_n) begin
            p_answer : assert (!done || (aw_q && w_q));
            p_lose_address : assert (!(awvalid && awready && aw_q && !done));
            p_lose_data : assert (!(wvalid && wready && w_q && !done));
            p_read : assert (rvalid == read_q);
            p_lose_read : assert (!(arvalid && arready && read_q && !(rvalid && rready)));
            p_okay : assert (bresp == '0 && rresp == '0);
            p_wrong_frames : assert (!rvalid || !count_read_q || rdata == count_word_q);
            c_wrong_frames : cover (rvalid && count_read_q && rdata[0]);
        end
    end
    proof_progress #(.LIMIT(2)) answer (.clk, .rst_n, .want(aw_q && w_q && (!bvalid || bready)), .done);
    proof_progress #(.LIMIT(2)) take_address (
        .clk, .rst_n, .want(awvalid && (!aw_q || w_q) && (!bvalid || bready)), .done(awready)
    );
    proof_progress #(.LIMIT(2)) take_data (
        .clk, .rst_n, .want(wvalid && (!w_q || aw_q) && (!bvalid || bready)), .done(wready)
    );
    proof_progress #(.LIMIT(1)) take_read (.clk, .rst_n, .want(arvalid && (!rvalid || rready)), .done(arready));

    // --- frames inside, those of which a beat went in; only such a frame leaves ---
    logic [7:0] beat_q, frames_q;
    wire logic begins_frame = enters && beat_q == '0;
    always_ff @(posedge clk) begin
        if (!rst_n) {beat_q, frames_q} <= '0;
        else begin
            if (enters) beat_q <= beat_q == 8'(BEATS - 1) ? '0 : beat_q + 1'b1;
            frames_q <= frames_q + 8'(begins_frame) - 8'(frame_left);
        end
    end
    always_comb if (frame_left) a_left : assume (rst_n && frames_q != '0);

    // --- where a load stands, a cycle after the port performed what moved it ---
    localparam logic [2:0] CLOSED = 3'd0, DRAINS = 3'd1, STARTED = 3'd2, TAKES = 3'd3, CHECKS = 3'd4, OPEN = 3'd5;
    logic [2:0] stage_q, stage;
    logic [3:0] count_q;
    logic [31:0] wanted;
    logic [1:0] back_q, right_q;  // a word came back, that of the port's checksum, which may be anything here
    logic start_back_q;
    logic [31:0] sum_q;
    wire logic start = done && 8'(addr_q[ADDRESS_BITS-1:2]) == 8'd0 && word_q[0];
    wire logic put = done && 8'(addr_q[ADDRESS_BITS-1:2]) == 8'd2;
    always_comb begin
        unique case (count_q)
            4'd0:    wanted = 32'h646c7076;
            4'd1:    wanted = 32'd1;
            4'd2:    wanted = DESIGN[31:0];
            default: wanted = 32'(WORDS);
        endcase
        stage = stage_q;
        if (start && stage_q != DRAINS && stage_q != STARTED) stage = DRAINS;
        else begin
            unique case (stage_q)
                DRAINS:  if (put) stage = CLOSED; else if (load_out[33]) stage = STARTED;
                STARTED: if (put) stage = CLOSED; else if (start_back_q) stage = TAKES;
                TAKES: begin
                    if (back_q[1]) stage = CLOSED;
                    else if (put && count_q < 4 && word_q != wanted) stage = CLOSED;
                    else if (put && count_q == 4'(WORDS + 4)) stage = CHECKS;
                end
                CHECKS:  if (back_q[1]) stage = right_q[1] ? OPEN : CLOSED;
                default: ;
            endcase
        end
    end
    always_ff @(posedge clk) begin
        start_back_q <= rst_n && load_in[33];
        back_q       <= rst_n ? {back_q[0], load_in[32]} : '0;
        right_q      <= {right_q[0], load_in[31:0] == ~dut.crc_q};
        stage_q      <= rst_n ? stage : CLOSED;
        sum_q        <= dut.crc_q;
        if (!rst_n || stage_q == STARTED) count_q <= '0;
        else if (put && stage_q == TAKES && count_q != 4'(WORDS + 4)) count_q <= count_q + 4'd1;
    end
    always_comb begin
        if (rst_n) begin
            p_closed : assert (!begins_frame || stage == OPEN);
            p_drained : assert (!load_out[33] || (frames_q == '0 && beat_q == '0));
            p_sum : assert (count_q != 4'(WORDS + 4) || (stage_q != TAKES && stage_q != CHECKS) || dut.crc_q == sum_q);
            p_alone : assert (load_out[33:32] != 2'b11);
            c_open : cover (begins_frame && frames_q == 8'd1);
            c_drains : cover (stage_q == DRAINS && frames_q == 8'd2);
            c_wrong : cover (stage_q == CHECKS && stage == CLOSED);
            c_other : cover (stage_q == TAKES && stage == CLOSED && count_q == 4'd2);
            c_early : cover (stage_q == STARTED && stage == CLOSED);
        end
    end
    proof_progress #(.LIMIT(3), .TIGHT(1'b0)) open (
        .clk, .rst_n, .want(in0_tvalid && out0_tready && (beat_q != '0 || (stage_q == OPEN && frames_q < 8'd2))), .done(in0_tready)
    );

    // --- what goes down the chain: the words after the header, each once, at once ---
    logic ran_q;
    always_ff @(posedge clk) ran_q <= rst_n;
    wire logic sent = put && stage_q == TAKES && count_q >= 4;
    always_comb begin
        if (rst_n && ran_q) begin
            p_sent : assert (!sent || (load_out[32] && load_out[31:0] == word_q));
            p_invent_word : assert (!load_out[32] || (put && stage_q == TAKES));
        end
    end
endmodule

`default_nettype wire
