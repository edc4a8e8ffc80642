// vp_link_images: the bytes of the images that were kept leave in order, each once, none else: none of an image that was forgotten, however far
// it had come. Who writes begins an image where there is room, and keeps it when all of its bytes are there.
`default_nettype none

module proof_link_images #(
    int unsigned WIDTH       = 2,
    int unsigned IMAGE_BYTES = 3,
    int unsigned IMAGES      = 2
) (
    input wire logic             clk,
    input wire logic             rst_n,
    input wire logic [$clog2(2*IMAGE_BYTES)-1:0] pick,
    input wire logic [WIDTH-1:0] byte_in,
    input wire logic             write,
    input wire logic             keep,
    input wire logic             forget,
    input wire logic             out_ready
);
    localparam int unsigned COUNT_W = $clog2(IMAGE_BYTES + 1);
    localparam int unsigned HOLDS = IMAGES * IMAGE_BYTES + 1;  // one byte more in the register at the output
    localparam int unsigned BITS = $clog2(HOLDS + IMAGE_BYTES + (1 << $clog2(2 * IMAGE_BYTES)) + 1);
    logic room, out_valid;
    logic [7:0] out_data;
    logic [BITS-1:0] held;
    vp_link_images #(.IMAGE_BYTES(IMAGE_BYTES), .IMAGES(IMAGES)) dut (.data(8'(byte_in)), .*);

    logic [COUNT_W-1:0] count_q;                // bytes of the image that is written
    logic [IMAGE_BYTES-1:0][WIDTH-1:0] image_q;  // the last ones, the first lowest
    always_ff @(posedge clk) begin
        if (!rst_n || keep || forget) count_q <= '0;
        else if (write) count_q <= count_q + 1'b1;
        if (write) image_q <= {byte_in, image_q[IMAGE_BYTES-1:1]};
    end
    always_comb begin
        a_write : assume (!write || (count_q != COUNT_W'(IMAGE_BYTES) && room));
        a_keep : assume (!keep || (count_q == COUNT_W'(IMAGE_BYTES) && !write && !forget));
    end

    proof_reset reset (.clk, .rst_n);
    proof_quiet #(.PINS(1)) quiet (.clk, .rst_n, .pins(out_valid));
    proof_hold #(.WIDTH(8)) hold (.clk, .rst_n, .data(out_data), .valid(out_valid), .ready(out_ready));
    proof_order #(.WIDTH(WIDTH), .IN(IMAGE_BYTES), .CAPACITY(HOLDS)) order (
        .clk, .rst_n, .pick, .push(keep), .push_data(image_q), .pop_valid(out_valid), .pop(out_valid && out_ready),
        .pop_data(out_data[WIDTH-1:0]), .held
    );
    proof_progress #(.LIMIT(1)) out (.clk, .rst_n, .want(held != '0), .done(out_valid));
    always_comb begin
        if (rst_n) begin
            p_room : assert (room || held > BITS'((IMAGES - 1) * IMAGE_BYTES));
            c_forgets : cover (forget && count_q == COUNT_W'(IMAGE_BYTES - 1) && held != '0);
            c_full : cover (!room);
        end
    end
endmodule

`default_nettype wire
