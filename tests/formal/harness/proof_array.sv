// vp_engine_array of two ports round a unit that gives every beat of a group as its result, whenever it likes, and holds two groups in its
// row buffers. Port 0 has three beats in encoder 0, groups of two, and one in encoder 1; port 1 has two beats in encoder 1 alone. Beats leave
// by the port at which they came, in order; the tag of a group is that of its rows; a group that was taken waits neither for rows nor
// for a place, so what the unit has leaves it; and a group whose rows are there is taken while port 0 has none.
`default_nettype none

module proof_array (
    input wire logic       clk,
    input wire logic       rst_n,
    input wire logic [1:0] pick,
    input wire logic [1:0] in_bit,
    input wire logic [1:0] in_tvalid,
    input wire logic [1:0] out_tready,
    input wire logic       encoder,
    input wire logic       encoder_valid,
    input wire logic       works      // the unit does, in this cycle
);
    localparam int unsigned BEAT_W = 3, DEPTH = 4, ROOM = 2;
    typedef struct packed {
        logic [31:0] none, one, before_last;
        logic [31:0] group, last_group, beats, last_beats, results, last_results;
    } shape_t;
    // Of port 1, encoder 1 and 0, and of port 0 likewise. Tags of groups: 0 and 1 of port 0, encoder 0; 2 of its encoder 1; 3 of port 1.
    localparam shape_t [1:0][1:0] SHAPES = {
        shape_t'{0, 1, 0, 3, 3, 2, 2, 2, 2}, shape_t'{1, 0, 0, 0, 0, 0, 0, 0, 0},
        shape_t'{0, 1, 0, 2, 2, 1, 1, 1, 1}, shape_t'{0, 0, 0, 0, 1, 2, 1, 2, 1}
    };
    logic [1:0] in_tready, out_tvalid;
    logic [1:0][7:0] in_tdata, out_tdata;
    logic [7:0] rows_tdata, results_tdata;
    logic encoder_ready, rows_tvalid, rows_tready, group_valid, freed, results_tvalid, results_tready;
    logic [1:0] group;
    assign in_tdata = {7'b0, in_bit[1], 7'b0, in_bit[0]};
    vp_engine_array #(
        .PORTS(2), .ENCODERS(2), .FRAMES(2), .GROUPS(4), .BEAT_W(BEAT_W), .COUNT_W(1), .IN_BITS(1), .OUT_ELEMS(1), .OUT_BITS(1),
        .PORT_BITS({32'd1, 32'd1}), .IN_DEPTHS({32'(DEPTH), 32'(DEPTH)}), .OUT_DEPTHS({32'(ROOM), 32'(ROOM)}), .SHAPES(SHAPES)
    ) dut (.load_in('0), .load_out(), .*);

    // --- the unit: the groups in its row buffers, and the beats of the first that are still to come ---
    function automatic logic [1:0] beats_of(logic [1:0] tag);
        return tag == 2'd0 || tag == 2'd3 ? 2'd2 : 2'd1;
    endfunction
    logic [1:0][1:0] held_q;   // tags
    logic [1:0] count_q, done_q;  // groups; beats of the first that went through
    assign rows_tready    = works && count_q != '0 && results_tready;
    assign results_tvalid = works && count_q != '0 && rows_tvalid;
    assign results_tdata  = rows_tdata;
    wire logic pass = rows_tvalid && rows_tready;
    wire logic over = pass && done_q == beats_of(held_q[0]) - 1'b1;
    assign freed = over;
    wire logic [1:0] left = count_q - 2'(over);
    always_ff @(posedge clk) begin
        if (!rst_n) {count_q, done_q} <= '0;
        else begin
            count_q <= left + 2'(group_valid);
            if (pass) done_q <= over ? '0 : done_q + 1'b1;
        end
        if (over) held_q[0] <= held_q[1];
        if (group_valid) held_q[left[0]] <= group;
    end

    proof_reset reset (.clk, .rst_n);
    proof_quiet #(.PINS(5)) quiet (.clk, .rst_n, .pins({in_tready, out_tvalid, group_valid}));
    proof_hold #(.WIDTH(1), .ASSUME(1'b1)) tags (.clk, .rst_n, .data(encoder), .valid(encoder_valid), .ready(encoder_ready));
    logic [1:0][3:0] held;
    for (genvar p = 0; p < 2; p++) begin : g_port
        proof_hold #(.WIDTH(1), .ASSUME(1'b1)) source (
            .clk, .rst_n, .data(in_bit[p]), .valid(in_tvalid[p]), .ready(in_tready[p])
        );
        proof_hold #(.WIDTH(8)) hold (.clk, .rst_n, .data(out_tdata[p]), .valid(out_tvalid[p]), .ready(out_tready[p]));
        proof_order #(.WIDTH(1), .CAPACITY(DEPTH + ROOM)) order (
            .clk, .rst_n, .pick(pick[p]), .push(in_tvalid[p] && in_tready[p]), .push_data(in_bit[p]),
            .pop_valid(out_tvalid[p]), .pop(out_tvalid[p] && out_tready[p]), .pop_data(out_tdata[p][0]), .held(held[p])
        );
    end
    // The port whose rows pass the unit is that of the tag.
    wire logic [1:0] port = held_q[0] == 2'd3 ? 2'b10 : 2'b01;
    logic [1:0] passed_q;
    always_ff @(posedge clk) passed_q <= pass ? port : '0;
    always_comb begin
        if (rst_n) begin
            p_place : assert ((dut.put_q & ~dut.put_room) == '0);
            p_known : assert (!dut.taken || dut.order_room);
            p_credit : assert (!group_valid || left < 2'd2);
            p_port : assert (dut.put_q == '0 || passed_q == '0 || dut.put_q == passed_q);
            c_both : cover (count_q == 2'd2 && held_q[0] == 2'd3 && held_q[1] == 2'd0);
        end
    end
    proof_progress #(.LIMIT(0)) rows (.clk, .rst_n, .want(dut.feeding_q && dut.ready), .done(dut.chosen_valid));
    proof_progress #(.LIMIT(0)) results (.clk, .rst_n, .want(works && count_q != '0 && rows_tvalid), .done(results_tready));
    // What may be taken is, as long as the unit works: whatever the sink of the other port does.
    proof_progress #(.LIMIT(8), .TIGHT(1'b0)) choice (.clk, .rst_n, .want(works && |dut.arbiter.may_q), .done(dut.arbiter.pick));
endmodule

`default_nettype wire
