// Changes the width of a stream from IN_ELEMS to OUT_ELEMS elements a beat; one divides the other.
// Element order is kept, lowest bits first. One register of the wider width, full throughput on the
// narrower side. Valid and data are registered; in_ready passes through from out_ready.
// With equal widths it is a vp_skid.
`default_nettype none

module vp_width #(
    int unsigned IN_ELEMS   = 1,
    int unsigned OUT_ELEMS  = 1,
    int unsigned ELEM_WIDTH = 8
) (
    input  wire logic                            clk, rst_n,
    input  wire logic [IN_ELEMS*ELEM_WIDTH-1:0]  in_data,
    input  wire logic                            in_valid,
    output      logic                            in_ready,
    output      logic [OUT_ELEMS*ELEM_WIDTH-1:0] out_data,
    output      logic                            out_valid,
    input  wire logic                            out_ready
);
    if (IN_ELEMS < 1 || OUT_ELEMS < 1 || ELEM_WIDTH < 1 || (IN_ELEMS % OUT_ELEMS != 0 && OUT_ELEMS % IN_ELEMS != 0))
        $error("vp_width: IN_ELEMS %0d and OUT_ELEMS %0d must divide one another", IN_ELEMS, OUT_ELEMS);

    localparam int unsigned IN_BEAT_W = IN_ELEMS * ELEM_WIDTH;
    localparam int unsigned OUT_BEAT_W = OUT_ELEMS * ELEM_WIDTH;

    if (IN_BEAT_W == OUT_BEAT_W) begin : g_same
        vp_skid #(.WIDTH(IN_BEAT_W)) skid (.*);
    end else if (IN_BEAT_W > OUT_BEAT_W) begin : g_down
        localparam int unsigned RATIO = IN_BEAT_W / OUT_BEAT_W;
        localparam int unsigned COUNT_W = $clog2(RATIO);
        logic [IN_BEAT_W-1:0] data_q;
        logic valid_q;
        logic [COUNT_W-1:0] left_q;  // beats left after the one at the output
        wire logic last = left_q == '0;
        assign in_ready  = !valid_q || (last && out_ready);
        assign out_valid = valid_q;
        assign out_data  = data_q[OUT_BEAT_W-1:0];
        always_ff @(posedge clk) begin
            if (!rst_n) begin
                valid_q <= 1'b0;
                left_q  <= '0;
            end else if (in_ready) begin
                valid_q <= in_valid;
                left_q  <= in_valid ? COUNT_W'(RATIO - 1) : '0;
            end else if (out_ready) begin
                left_q <= left_q - 1'b1;
            end
        end
        always_ff @(posedge clk) begin
            if (in_ready) data_q <= in_data;
            else if (out_ready) data_q <= data_q >> OUT_BEAT_W;
        end
    end else begin : g_up
        localparam int unsigned RATIO = OUT_BEAT_W / IN_BEAT_W;
        localparam int unsigned COUNT_W = $clog2(RATIO);
        logic [OUT_BEAT_W-1:0] data_q;
        logic valid_q;
        logic [COUNT_W-1:0] count_q;  // beats of the next output word that are in data_q
        assign in_ready  = !valid_q || out_ready;
        assign out_valid = valid_q;
        assign out_data  = data_q;
        wire logic take = in_valid && in_ready;
        wire logic last = count_q == COUNT_W'(RATIO - 1);
        always_ff @(posedge clk) begin
            if (!rst_n) begin
                valid_q <= 1'b0;
                count_q <= '0;
            end else begin
                if (in_ready) valid_q <= take && last;
                if (take) count_q <= last ? '0 : count_q + 1'b1;
            end
        end
        always_ff @(posedge clk) begin
            if (take) data_q <= {in_data, data_q[OUT_BEAT_W-1:IN_BEAT_W]};
        end
    end
endmodule

`default_nettype wire
