// E = table[largest - logit] of PE keys a cycle, 0 of those that are padding in the last group. Logits come a cycle after early, their
// item's encoder; largest, the item's row maximum, beside early; last with of, which is early a cycle later. Two cycles after its
// logits e_now has their E, e a cycle later, from a register beside that of the multipliers.
// A key whose encoder chooses its part of the table has a copy of it.
`default_nettype none

module vp_attention_exp #(
    int unsigned ENCODERS    = 1,
    int unsigned PE          = 1,
    int unsigned LOGIT_WIDTH = 8,
    parameter logic [ENCODERS*32*((PE+31)/32)-1:0] PADDING = '0,  // by encoder, a bit a key of the last group: there is none
    bit          LOADED      = 1'b0,  // it and the table come through the load chain
    parameter    UNIT        = "",    // of files from which simulations fill PADDING
    parameter    EXP_FILE    = "",
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS)
) (
    input  wire logic                      clk, rst_n,
    input  wire logic [33:0]               load_in,
    output      logic [33:0]               load_out,
    input  wire logic [TAG_W-1:0]          early,
    output      logic [TAG_W-1:0]          of,
    input  wire logic [LOGIT_WIDTH-1:0]    largest,
    input  wire logic [PE*LOGIT_WIDTH-1:0] logits,
    input  wire logic                      last,
    output      logic [PE*8-1:0]           e_now, e
);
    localparam int unsigned PADDING_WORDS = (PE + 31) / 32;
    localparam int unsigned ENTRIES = ENCODERS << LOGIT_WIDTH;
    logic [33:0] chain;
    logic [32*PADDING_WORDS-1:0] padding;
    logic [PE-1:0] pad_q;
    logic [LOGIT_WIDTH-1:0] largest_q;
    logic [PE*LOGIT_WIDTH-1:0] diff_q;
    logic [PE*8-1:0] entry;
    logic we;
    logic [$clog2(ENTRIES)-1:0] waddr;
    logic [7:0] wdata;
    always_ff @(posedge clk) begin
        of        <= early;
        largest_q <= largest;
        pad_q     <= last ? padding[PE-1:0] : '0;
    end
    vp_engine_values #(
        .ENCODERS(ENCODERS), .FIELDS(PADDING_WORDS), .VALUES(PADDING), .LOADED(LOADED), .FILE({UNIT, "_padding.fill"})
    ) padding_of (
        .clk, .rst_n, .load_in, .load_out(chain), .encoder(of), .value(padding)
    );
    vp_load_region #(.LOADED(LOADED), .DEPTH(ENTRIES), .WIDTH(8)) region (
        .clk, .rst_n, .load_in(chain), .load_out, .we, .waddr, .data(wdata), .filled()
    );
    for (genvar i = 0; i < PE; i++) begin : g_key
        logic [TAG_W-1:0] table_of;
        if (ENCODERS == 1) begin : g_one
            assign table_of = '0;
        end else begin : g_several
            vp_copy #(.WIDTH(TAG_W)) copy (.clk, .in(early), .out(table_of));
        end
        always_ff @(posedge clk)
            diff_q[i*LOGIT_WIDTH+:LOGIT_WIDTH] <= largest_q - logits[i*LOGIT_WIDTH+:LOGIT_WIDTH];
        vp_contents #(.LOADED(LOADED), .DEPTH(ENTRIES), .WIDTH(8), .FILE(EXP_FILE), .STYLE("distributed")) exp (
            .clk, .we, .waddr, .wdata, .en(1'b1), .addr($bits(waddr)'({table_of, diff_q[i*LOGIT_WIDTH+:LOGIT_WIDTH]})),
            .data(entry[i*8+:8])
        );
        assign e_now[i*8+:8] = pad_q[i] ? 8'd0 : entry[i*8+:8];
    end
    vp_copy #(.WIDTH(PE * 8)) e_later (.clk, .in(e_now), .out(e));
endmodule

`default_nettype wire
