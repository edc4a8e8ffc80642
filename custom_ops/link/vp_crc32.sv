// One byte more in a CRC-32 (IEEE 802.3, as zlib's): next is the register after data. No register of its own; the register begins with
// all ones, and a frame's CRC is its complement, sent lowest byte first. After a frame with its CRC the register is 32'hdebb20e3.
`default_nettype none

module vp_crc32 (
    input  wire logic [31:0] crc,
    input  wire logic [7:0]  data,
    output      logic [31:0] next
);
    localparam logic [31:0] POLYNOMIAL = 32'hedb88320;

    always_comb begin
        next = crc ^ {24'd0, data};
        for (int unsigned i = 0; i < 8; i++) next = (next >> 1) ^ (next[0] ? POLYNOMIAL : 32'd0);
    end
endmodule

`default_nettype wire
