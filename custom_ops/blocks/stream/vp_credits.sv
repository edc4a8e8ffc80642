// Counts free places: take uses one, give returns one. can_take is a register and says whether one is free; take only while
// it is high. COUNT places at most, FREE of them free after reset. With a stream's beats as places and FREE = 0 it says
// whether one is there.
`default_nettype none

module vp_credits #(
    int unsigned COUNT = 4,
    int unsigned FREE  = COUNT
) (
    input  wire logic clk, rst_n,
    input  wire logic take,
    input  wire logic give,
    output      logic can_take
);
    if (COUNT < 1 || FREE > COUNT) $error("vp_credits: COUNT %0d must be at least 1 and FREE %0d at most COUNT", COUNT, FREE);
    localparam int unsigned COUNT_W = $clog2(COUNT + 1);

    logic [COUNT_W-1:0] free_q;
    logic can_take_q;
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            free_q     <= COUNT_W'(FREE);
            can_take_q <= FREE != 0;
        end else if (take && !give) begin
            free_q     <= free_q - 1'b1;
            can_take_q <= free_q != COUNT_W'(1);
        end else if (give && !take) begin
            free_q     <= free_q + 1'b1;
            can_take_q <= 1'b1;
        end
    end
    assign can_take = can_take_q;

`ifdef VERILATOR
    always_ff @(posedge clk) begin
        if (rst_n && take && !can_take_q) $fatal(1, "vp_credits: a place was taken that was not free");
        if (rst_n && give && !take && free_q == COUNT_W'(COUNT)) $fatal(1, "vp_credits: a place was given back twice");
    end
`endif
endmodule

`default_nettype wire
