// Stream FIFO that holds exactly DEPTH beats (a DEPTH of 1 is built with 2), full throughput.
// Valid, data and in_ready are registered. DEPTH up to 2 is a vp_skid; deeper ones are a RAM whose
// read register is the output (LUTRAM), with one more output register after block RAM or URAM, whose
// own output is slow. STYLE: "auto" (LUTRAM up to 64 deep or 1,024 bits, else block), "distributed",
// "block" or "ultra".
`default_nettype none

module vp_fifo #(
    int unsigned WIDTH = 8,
    int unsigned DEPTH = 32,
    parameter    STYLE = "auto"
) (
    input  wire logic             clk,
    input  wire logic             rst_n,
    input  wire logic [WIDTH-1:0] in_data,
    input  wire logic             in_valid,
    output      logic             in_ready,
    output      logic [WIDTH-1:0] out_data,
    output      logic             out_valid,
    input  wire logic             out_ready
);
    if (WIDTH < 1 || DEPTH < 1) begin : g_check
        $error("vp_fifo: WIDTH %0d and DEPTH %0d must be at least 1", WIDTH, DEPTH);
    end
    if (STYLE != "auto" && STYLE != "block" && STYLE != "distributed"
        && STYLE != "ultra") begin : g_check_style
        $error("vp_fifo: STYLE is %s, use auto, block, distributed or ultra", STYLE);
    end

    if (DEPTH <= 2) begin : g_skid
        vp_skid #(.WIDTH(WIDTH)) skid (.*);
    end else begin : g_ram
        localparam bit SMALL = DEPTH <= 64 || DEPTH * WIDTH <= 1024;
        localparam bit LUTRAM = STYLE == "distributed" || (STYLE == "auto" && SMALL) || DEPTH == 3;
        localparam bit ULTRA = STYLE == "ultra";
        localparam int unsigned WORDS = LUTRAM ? DEPTH - 1 : DEPTH - 2;  // the rest sits in registers
        localparam int unsigned ADDR_W = WORDS > 1 ? $clog2(WORDS) : 1;
        localparam int unsigned COUNT_W = $clog2(WORDS + 1);

        logic [ADDR_W-1:0] waddr_q, raddr_q;
        logic [COUNT_W-1:0] count_q;
        logic has_q, in_ready_q, head_valid_q, head_ready;
        logic [WIDTH-1:0] head_data;

        wire logic write = in_valid && in_ready_q;
        wire logic read = has_q && (!head_valid_q || head_ready);

        if (LUTRAM) begin : g_lutram
            vp_ram #(.DEPTH(WORDS), .WIDTH(WIDTH), .STYLE("distributed")) ram (
                .clk, .we(write), .waddr(waddr_q), .wdata(in_data), .re(read), .zero(1'b0), .raddr(raddr_q),
                .rdata(head_data)
            );
        end else if (ULTRA) begin : g_ultra
            vp_ram #(.DEPTH(WORDS), .WIDTH(WIDTH), .STYLE("ultra")) ram (
                .clk, .we(write), .waddr(waddr_q), .wdata(in_data), .re(read), .zero(1'b0), .raddr(raddr_q),
                .rdata(head_data)
            );
        end else begin : g_block
            vp_ram #(.DEPTH(WORDS), .WIDTH(WIDTH), .STYLE("block")) ram (
                .clk, .we(write), .waddr(waddr_q), .wdata(in_data), .re(read), .zero(1'b0), .raddr(raddr_q),
                .rdata(head_data)
            );
        end

        always_ff @(posedge clk) begin
            if (!rst_n) begin
                waddr_q      <= '0;
                raddr_q      <= '0;
                count_q      <= '0;
                has_q        <= 1'b0;
                in_ready_q   <= 1'b0;
                head_valid_q <= 1'b0;
            end else begin
                if (write) waddr_q <= waddr_q == ADDR_W'(WORDS - 1) ? '0 : waddr_q + 1'b1;
                if (read) raddr_q <= raddr_q == ADDR_W'(WORDS - 1) ? '0 : raddr_q + 1'b1;
                if (write && !read) begin
                    count_q    <= count_q + 1'b1;
                    has_q      <= 1'b1;
                    in_ready_q <= count_q != COUNT_W'(WORDS - 1);
                end else if (read && !write) begin
                    count_q    <= count_q - 1'b1;
                    has_q      <= count_q != COUNT_W'(1);
                    in_ready_q <= 1'b1;
                end else begin
                    in_ready_q <= count_q != COUNT_W'(WORDS);
                end
                if (read) head_valid_q <= 1'b1;
                else if (head_ready) head_valid_q <= 1'b0;
            end
        end
        assign in_ready = in_ready_q;

        if (!LUTRAM) begin : g_extra
            logic out_valid_q;
            logic [WIDTH-1:0] out_data_q;
            assign head_ready = !out_valid_q || out_ready;
            always_ff @(posedge clk) begin
                if (!rst_n) out_valid_q <= 1'b0;
                else if (head_ready) out_valid_q <= head_valid_q;
            end
            always_ff @(posedge clk) begin
                if (head_ready) out_data_q <= head_data;
            end
            assign out_valid = out_valid_q;
            assign out_data  = out_data_q;
        end else begin : g_direct
            assign head_ready = out_ready;
            assign out_valid  = head_valid_q;
            assign out_data   = head_data;
        end
    end
endmodule

`default_nettype wire
