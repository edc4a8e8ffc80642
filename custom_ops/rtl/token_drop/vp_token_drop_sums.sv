// Simple dual-port RAM whose read register can load zero instead of a word: sums that start at 0 need
// no gate behind the RAM. Read and write of one address in the same cycle is undefined: do not. rdata
// holds its value while re is low. STYLE: "distributed" or "block".
`default_nettype none

module vp_token_drop_sums #(
    int unsigned DEPTH = 48,
    int unsigned WIDTH = 96,
    parameter    STYLE = "block",
    localparam int unsigned AW = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input  wire logic             clk,
    input  wire logic             we,
    input  wire logic [AW-1:0]    waddr,
    input  wire logic [WIDTH-1:0] wdata,
    input  wire logic             re,
    input  wire logic             zero,  // with re: load zero
    input  wire logic [AW-1:0]    raddr,
    output      logic [WIDTH-1:0] rdata
);
    (* ram_style = STYLE *) logic [WIDTH-1:0] mem[DEPTH];
    logic [WIDTH-1:0] rdata_q;

    always_ff @(posedge clk) begin
        if (we) mem[waddr] <= wdata;
        if (re) rdata_q <= zero ? '0 : mem[raddr];
    end
    assign rdata = rdata_q;
endmodule

`default_nettype wire
