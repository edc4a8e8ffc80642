// Reciprocals of row sums, in order: floor(num / z), or with UP ceil(num / z) (num is a power of two then). ITEMS at most may
// be inside: who pushes a row sum knows that one of them is taken. A division starts every ceil(WIDTH / STAGES) + 1 cycles.
// num is that of the row sum's encoder.
`default_nettype none

module vp_attention_reciprocal #(
    int unsigned ENCODERS  = 1,
    int unsigned Z_WIDTH   = 16,
    int unsigned NUM_WIDTH = 40,
    parameter logic [ENCODERS*64-1:0] NUMS = '0,  // by encoder
    bit          LOADED    = 1'b0,  // they come through the load chain
    parameter    FILE      = "",
    bit          UP        = 1'b0,
    int unsigned WIDTH     = 25,
    int unsigned STAGES    = 1,
    int unsigned ITEMS     = 4,
    localparam int unsigned TAG_W = vp_pkg::width(ENCODERS)
) (
    input  wire logic               clk, rst_n,
    input  wire logic [33:0]        load_in,
    output      logic [33:0]        load_out,
    input  wire logic               z_valid,
    input  wire logic [Z_WIDTH-1:0] z,
    input  wire logic [TAG_W-1:0]   encoder,
    output      logic [WIDTH-1:0]   recip,
    output      logic               recip_valid,
    input  wire logic               recip_ready
);
    localparam int unsigned SUM_W = ENCODERS > 1 ? Z_WIDTH + TAG_W : Z_WIDTH;  // with its encoder, if it may be another one
    logic [SUM_W-1:0] sum;
    logic [Z_WIDTH-1:0] den;
    logic [TAG_W-1:0] sum_encoder;
    logic [63:0] dividend;
    logic [WIDTH-1:0] quotient;
    logic z_room, den_valid, den_ready, quotient_valid, quotient_room;
    assign {sum_encoder, den} = (TAG_W + Z_WIDTH)'(sum);
    wire logic [NUM_WIDTH-1:0] num = dividend[NUM_WIDTH-1:0] | (UP ? NUM_WIDTH'(den - 1'b1) : '0);
    vp_engine_values #(.ENCODERS(ENCODERS), .FIELDS(2), .VALUES(NUMS), .LOADED(LOADED), .FILE(FILE)) num_of (
        .clk, .rst_n, .load_in, .load_out, .encoder(sum_encoder), .value(dividend)
    );

    // One more than items: a FIFO refuses a beat in the cycle in which its last word moves to the output.
    vp_fifo #(.WIDTH(SUM_W), .DEPTH(ITEMS + 1), .STYLE("distributed")) sums (
        .clk, .rst_n, .in_data(SUM_W'({encoder, z})), .in_valid(z_valid), .in_ready(z_room),
        .out_data(sum), .out_valid(den_valid), .out_ready(den_ready)
    );
    vp_divide #(.NUM_WIDTH(NUM_WIDTH), .DEN_WIDTH(Z_WIDTH), .QUOT_WIDTH(WIDTH), .STAGES(STAGES)) divide (
        .clk, .rst_n, .num, .den, .in_valid(den_valid), .in_ready(den_ready), .quot(quotient), .out_valid(quotient_valid)
    );
    vp_fifo #(.WIDTH(WIDTH), .DEPTH(ITEMS + 1), .STYLE("distributed")) recips (
        .clk, .rst_n, .in_data(quotient), .in_valid(quotient_valid), .in_ready(quotient_room),
        .out_data(recip), .out_valid(recip_valid), .out_ready(recip_ready)
    );

`ifdef VERILATOR
    always_ff @(posedge clk) begin
        if (rst_n && z_valid && !z_room) $fatal(1, "vp_attention_reciprocal: a row sum found no place");
        if (rst_n && quotient_valid && !quotient_room) $fatal(1, "vp_attention_reciprocal: a reciprocal found no place");
    end
`endif
endmodule

`default_nettype wire
