// Room for IMAGES images of IMAGE_BYTES bytes between a link and a design. Bytes are written one after another; with keep the image is
// whole and may leave, with forget it never was. Images leave in order, a byte a cycle, registered. room: one more image may begin.
// Who writes keeps to room, and writes IMAGE_BYTES bytes before keep.
`default_nettype none

module vp_link_images #(
    int unsigned IMAGE_BYTES = 4,
    int unsigned IMAGES      = 2
) (
    input  wire logic       clk,
    input  wire logic       rst_n,
    input  wire logic [7:0] data,
    input  wire logic       write,
    input  wire logic       keep,
    input  wire logic       forget,
    output      logic       room,
    output      logic [7:0] out_data,
    output      logic       out_valid,
    input  wire logic       out_ready
);
    localparam int unsigned SIZE = IMAGE_BYTES * IMAGES;
    localparam int unsigned ADDR_W = vp_pkg::width(SIZE);
    localparam int unsigned BYTE_W = vp_pkg::width(IMAGE_BYTES);
    localparam int unsigned COUNT_W = $clog2(IMAGES + 1);

    if (IMAGE_BYTES < 1 || IMAGES < 1) begin : g_check
        $error("vp_link_images: IMAGE_BYTES %0d and IMAGES %0d must be at least 1", IMAGE_BYTES, IMAGES);
    end

    logic [ADDR_W-1:0] base_q, waddr_q, raddr_q;  // where the image begins that is written; the next bytes
    logic [BYTE_W-1:0] byte_q;                    // of the image that is read
    logic [COUNT_W-1:0] full_q;                   // images that are whole and not read to their end
    logic valid_q;
    wire logic move = out_ready || !valid_q;
    wire logic read = move && full_q != '0;
    wire logic last = byte_q == BYTE_W'(IMAGE_BYTES - 1);
    wire logic left = read && last;

    always_ff @(posedge clk) begin
        if (!rst_n) begin
            base_q  <= '0;
            waddr_q <= '0;
            raddr_q <= '0;
            byte_q  <= '0;
            full_q  <= '0;
            valid_q <= 1'b0;
        end else begin
            if (keep) base_q <= waddr_q;
            if (forget) waddr_q <= base_q;
            else if (write) waddr_q <= waddr_q == ADDR_W'(SIZE - 1) ? '0 : waddr_q + 1'b1;
            if (read) begin
                raddr_q <= raddr_q == ADDR_W'(SIZE - 1) ? '0 : raddr_q + 1'b1;
                byte_q  <= last ? '0 : byte_q + 1'b1;
            end
            if (keep != left) full_q <= keep ? full_q + 1'b1 : full_q - 1'b1;
            if (move) valid_q <= read;
        end
    end
    vp_ram #(.DEPTH(SIZE), .WIDTH(8), .STYLE("auto")) ram (
        .clk, .we(write), .waddr(waddr_q), .wdata(data), .re(move), .zero(1'b0), .raddr(raddr_q), .rdata(out_data)
    );
    assign out_valid = valid_q;
    assign room      = full_q != COUNT_W'(IMAGES);
endmodule

`default_nettype wire
