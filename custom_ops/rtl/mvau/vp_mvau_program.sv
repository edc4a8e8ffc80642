// Reads a program of the sparse-block matrix unit over and over: entry is the present one, next moves on to the one after it,
// in every cycle if need be. A word is {wrap, entry}; wrap says that the entry four places on is the first again, which
// leaves time for a ROM with an output register. The length is thus data, at least 4: contents repeat shorter programs.
`default_nettype none

module vp_mvau_program #(
    int unsigned ENTRIES = 32,  // most entries
    int unsigned WIDTH   = 8,   // bits of one
    parameter    FILE    = "",
    parameter    STYLE   = "auto"
) (
    input  wire logic             clk,
    input  wire logic             rst_n,
    input  wire logic             next,
    output      logic [WIDTH-1:0] entry,
    output      logic             valid
);
    localparam int unsigned ADDR_W = ENTRIES > 1 ? $clog2(ENTRIES) : 1;

    logic [ADDR_W-1:0] addr_q;
    logic [WIDTH:0] word, word_q;
    logic [2:0] valid_q;
    wire logic en = next || !valid_q[2];

    vp_rom #(.DEPTH(ENTRIES), .WIDTH(WIDTH + 1), .FILE(FILE), .STYLE(STYLE), .READ_LATENCY(2)) rom (
        .clk, .en({2{en}}), .addr(addr_q), .data(word)
    );
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            addr_q  <= '0;
            valid_q <= '0;
        end else if (en) begin
            addr_q  <= valid_q[2] && word_q[WIDTH] ? '0 : addr_q + 1'b1;
            valid_q <= {valid_q[1:0], 1'b1};
        end
    end
    always_ff @(posedge clk) if (en) word_q <= word;
    assign entry = word_q[WIDTH-1:0];
    assign valid = valid_q[2];
endmodule

`default_nettype wire
