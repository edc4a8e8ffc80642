// The hop of a memory region that is loaded, or with LOADED 0, of one that is built in, a piece of the load chain's wire.
// filled says that the region has its contents, of the last load that began; what reads them ahead waits for that. A reset changes
// neither contents nor filled.
`default_nettype none

module vp_load_region #(
    bit          LOADED = 1'b0,
    int unsigned BANKS  = 1,
    int unsigned DEPTH  = 12,
    int unsigned WIDTH  = 80,
    localparam int unsigned ADDR_W = vp_pkg::width(DEPTH)
) (
    input  wire logic              clk, rst_n,
    input  wire logic [33:0]       load_in,
    output      logic [33:0]       load_out,
    output      logic [BANKS-1:0]  we,
    output      logic [ADDR_W-1:0] waddr,
    output      logic [WIDTH-1:0]  data,
    output      logic              filled
);
    if (LOADED) begin : g_loaded
        vp_load_hop #(.BANKS(BANKS), .DEPTH(DEPTH), .WIDTH(WIDTH), .STAGES(0)) hop (
            .clk, .rst_n, .load_in, .load_out, .we, .waddr, .data
        );
        logic filled_q;
        initial begin
            filled_q = 1'b0;
`ifndef SYNTHESIS
            filled_q = $test$plusargs("fill") != 0;
`endif
        end
        always @(posedge clk) begin  // no always_ff: initial writes filled_q, too
            if (load_in[33]) filled_q <= 1'b0;
            else if (we[BANKS-1] && waddr == ADDR_W'(DEPTH - 1)) filled_q <= 1'b1;
        end
        assign filled = filled_q;
    end else begin : g_built_in
        assign filled   = 1'b1;
        assign load_out = load_in;
        assign we       = '0;
        assign waddr    = '0;
        assign data     = '0;
    end
endmodule

`default_nettype wire
