// What all modules share.
`default_nettype none

package vp_pkg;
    // Bits of a number below n; one where n is 1.
    function automatic int unsigned width(int unsigned n);
        return n > 1 ? $clog2(n) : 1;
    endfunction

    // Whether registers of slices and RAMs have to be kept out of shift registers in LUTs by name: Yosys knows no shreg_extract, and
    // Vivado would keep them out of slices and RAMs.
`ifdef VP_YOSYS
    localparam KEEP = "true";
`else
    localparam KEEP = "false";
`endif
endpackage

`default_nettype wire
