// Stream FIFO that holds exactly DEPTH beats (a DEPTH of 1 is built with 2), full throughput.
// Valid, data and in_ready are registered. DEPTH up to 2 is a vp_skid; deeper ones are a RAM whose read registers
// are the last stages of the FIFO, each with a valid: a stage moves on where one after it is empty, or the output
// is taken. LUTRAM has one; block RAM and UltraRAM have READ_LATENCY of them. STYLE: "auto" (LUTRAM up to 64 deep or
// 1,024 bits, else block), "distributed", "block" or "ultra".
`default_nettype none

module vp_fifo #(
    int unsigned WIDTH = 8,
    int unsigned DEPTH = 32,
    parameter    STYLE = "auto",
    int unsigned READ_LATENCY = 2  // registers of a read of block RAM or UltraRAM
) (
    input  wire logic             clk, rst_n,
    input  wire logic [WIDTH-1:0] in_data,
    input  wire logic             in_valid,
    output      logic             in_ready,
    output      logic [WIDTH-1:0] out_data,
    output      logic             out_valid,
    input  wire logic             out_ready
);
    if (WIDTH < 1 || DEPTH < 1) $error("vp_fifo: WIDTH %0d and DEPTH %0d must be at least 1", WIDTH, DEPTH);
    if (STYLE != "auto" && STYLE != "block" && STYLE != "distributed" && STYLE != "ultra")
        $error("vp_fifo: STYLE is %s, use auto, block, distributed or ultra", STYLE);

    if (DEPTH <= 2) begin : g_skid
        vp_skid #(.WIDTH(WIDTH)) skid (.*);
    end else begin : g_ram
        localparam bit SMALL = DEPTH <= 64 || DEPTH * WIDTH <= 1024;
        localparam bit LUTRAM = STYLE == "distributed" || (STYLE == "auto" && SMALL) || DEPTH == 3;
        localparam bit ULTRA = STYLE == "ultra";
        localparam int unsigned STAGES = LUTRAM ? 1 : READ_LATENCY;
        localparam int unsigned WORDS = DEPTH - STAGES;  // the rest sits in registers
        localparam int unsigned ADDR_W = vp_pkg::width(WORDS);
        localparam int unsigned COUNT_W = $clog2(WORDS + 1);

        logic [ADDR_W-1:0] waddr_q, raddr_q;
        logic [COUNT_W-1:0] count_q;
        logic has_q, in_ready_q;
        // move[i]: stage i takes what is before it. full_q[i]: stages i and later are valid; a register, so that no
        // enable of a RAM waits for that of another stage.
        logic [STAGES-1:0] valid_q, valid_d, full_q, full_d, move, re;

        if (DEPTH < STAGES + 2) $error("vp_fifo: DEPTH %0d is too little for READ_LATENCY %0d: use %0d or more", DEPTH, STAGES, STAGES + 2);

        wire logic write = in_valid && in_ready_q;
        wire logic read = has_q && move[0];
        wire logic [STAGES:0] filled = {valid_q, has_q};
        for (genvar i = 0; i < STAGES; i++) begin : g_stage
            assign move[i]    = out_ready || !full_q[i];
            assign re[i]      = move[i];  // also of an empty RAM: what is read then is not valid
            assign valid_d[i] = move[i] ? filled[i] : valid_q[i];
            assign full_d[i]  = &valid_d[STAGES-1:i];
        end

        if (LUTRAM) begin : g_lutram
            vp_ram #(.DEPTH(WORDS), .WIDTH(WIDTH), .STYLE("distributed")) ram (
                .clk, .we(write), .waddr(waddr_q), .wdata(in_data), .re, .zero(1'b0), .raddr(raddr_q),
                .rdata(out_data)
            );
        end else if (ULTRA) begin : g_ultra
            vp_ram #(.DEPTH(WORDS), .WIDTH(WIDTH), .STYLE("ultra"), .READ_LATENCY(STAGES)) ram (
                .clk, .we(write), .waddr(waddr_q), .wdata(in_data), .re, .zero(1'b0), .raddr(raddr_q),
                .rdata(out_data)
            );
        end else begin : g_block
            vp_ram #(.DEPTH(WORDS), .WIDTH(WIDTH), .STYLE("block"), .READ_LATENCY(STAGES)) ram (
                .clk, .we(write), .waddr(waddr_q), .wdata(in_data), .re, .zero(1'b0), .raddr(raddr_q),
                .rdata(out_data)
            );
        end

        always_ff @(posedge clk) begin
            if (!rst_n) begin
                waddr_q    <= '0;
                raddr_q    <= '0;
                count_q    <= '0;
                has_q      <= 1'b0;
                in_ready_q <= 1'b0;
                valid_q    <= '0;
                full_q     <= '0;
            end else begin
                if (write) waddr_q <= waddr_q == ADDR_W'(WORDS - 1) ? '0 : waddr_q + 1'b1;
                if (read) raddr_q <= raddr_q == ADDR_W'(WORDS - 1) ? '0 : raddr_q + 1'b1;
                if (write != read) begin
                    count_q    <= write ? count_q + 1'b1 : count_q - 1'b1;
                    has_q      <= write || count_q != COUNT_W'(1);
                    in_ready_q <= !write || count_q != COUNT_W'(WORDS - 1);
                end else begin
                    in_ready_q <= count_q != COUNT_W'(WORDS);
                end
                valid_q <= valid_d;
                full_q  <= full_d;
            end
        end
        assign in_ready  = in_ready_q;
        assign out_valid = valid_q[STAGES-1];
    end
endmodule

`default_nettype wire
