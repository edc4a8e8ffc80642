// Op top of VitLoadPort, the first unit of a design whose memories are loaded: an AXI4-Lite slave, the head of the load
// chain, and the gate of the input stream (docs/loading.md has the registers). A load: the gate closes after the frame that
// has begun; when every frame has left, start goes down the chain; when it is back, words are taken: header, WORDS data
// words, which the hops keep, and CRC-32 of all before, which comes back from the end of the chain. The gate opens when the
// header is that of DESIGN and the checksum that came back is right. Every access is answered OKAY at once; strobes do not count.
// With 6 address bits there is a further register, wrong_frames (vp_frame_check).
// In reset nothing is taken: a host may begin before the reset has gone through the registers in front of this unit.
`default_nettype none

module vp_load_port #(
    int unsigned WIDTH  = 8,           // bits of a beat
    int unsigned BEATS  = 4,           // beats of a frame
    int unsigned WORDS  = 16,          // data words
    logic [63:0] DESIGN = 64'd0,       // number of the design, 32 bits
    int unsigned STAGES = 1,           // registers before what comes back
    int unsigned FRAME_BITS = 16,      // of the number of frames inside; the gate closes some frames before it is full
    int unsigned ADDRESS_BITS = 5,
    localparam int unsigned PADDED = (WIDTH + 7) / 8 * 8
) (
    input  wire logic              clk, rst_n,
    input  wire logic [PADDED-1:0] in0_tdata,
    input  wire logic              in0_tvalid,
    output      logic              in0_tready,
    output      logic [PADDED-1:0] out0_tdata,
    output      logic              out0_tvalid,
    input  wire logic              out0_tready,
    input  wire logic              s_axilite_AWVALID,
    output      logic              s_axilite_AWREADY,
    input  wire logic [ADDRESS_BITS-1:0] s_axilite_AWADDR,
    input  wire logic              s_axilite_WVALID,
    output      logic              s_axilite_WREADY,
    input  wire logic [31:0]       s_axilite_WDATA,
    input  wire logic [3:0]        s_axilite_WSTRB,
    output      logic              s_axilite_BVALID,
    input  wire logic              s_axilite_BREADY,
    output      logic [1:0]        s_axilite_BRESP,
    input  wire logic              s_axilite_ARVALID,
    output      logic              s_axilite_ARREADY,
    input  wire logic [ADDRESS_BITS-1:0] s_axilite_ARADDR,
    output      logic              s_axilite_RVALID,
    input  wire logic              s_axilite_RREADY,
    output      logic [31:0]       s_axilite_RDATA,
    output      logic [1:0]        s_axilite_RRESP,
    input  wire logic [33:0]       load_in,
    output      logic [33:0]       load_out,
    input  wire logic              frame_left,
    input  wire logic [31:0]       wrong_frames
);
    localparam logic [31:0] MAGIC = 32'h646c7076, VERSION = 32'd1, POLYNOMIAL = 32'hedb88320;
    localparam logic [3:0] CONTROL = 4'd0, STATUS = 4'd1, DATA = 4'd2, TAKEN = 4'd3, NUMBER = 4'd4, CHECKSUM = 4'd5,
        TOTAL = 4'd6, FRAMES = 4'd7;
    localparam logic [3:0] EMPTY = 4'd0, DRAINING = 4'd1, STARTING = 4'd2, LOADING = 4'd3, CHECKING = 4'd4, OPEN = 4'd5,
        WRONG_DESIGN = 4'd6, WRONG_CHECKSUM = 4'd7, TOO_EARLY = 4'd8;
    localparam int unsigned BEAT_W = vp_pkg::width(BEATS);

    if (BEATS < 1 || WORDS < 1 || FRAME_BITS < 3)
        $error("vp_load_port: BEATS %0d and WORDS %0d must be at least 1, FRAME_BITS %0d at least 3", BEATS, WORDS, FRAME_BITS);
    if (ADDRESS_BITS < 5 || ADDRESS_BITS > 6) $error("vp_load_port: ADDRESS_BITS %0d must be 5 or 6", ADDRESS_BITS);

    // --- writes: address and data come in any order, one of each is held, and counts a cycle after both are there ---
    logic aw_full_q, w_full_q, b_q;
    logic take_q, begins_q, put_q;  // a write counts: any, one that begins a load, one of a word
    logic [3:0] index_q;
    logic [31:0] w_q;
    wire logic take = aw_full_q && w_full_q && !take_q && (!b_q || s_axilite_BREADY);
    assign s_axilite_AWREADY = rst_n && !aw_full_q;
    assign s_axilite_WREADY  = rst_n && !w_full_q;
    assign s_axilite_BVALID  = b_q;
    assign s_axilite_BRESP   = 2'b00;
    always_ff @(posedge clk) begin
        if (s_axilite_AWVALID && !aw_full_q) index_q <= 4'(s_axilite_AWADDR[ADDRESS_BITS-1:2]);
        if (s_axilite_WVALID && !w_full_q) w_q <= s_axilite_WDATA;
        if (!rst_n) begin
            aw_full_q <= 1'b0;
            w_full_q  <= 1'b0;
            b_q       <= 1'b0;
            take_q    <= 1'b0;
            begins_q  <= 1'b0;
            put_q     <= 1'b0;
        end else begin
            aw_full_q <= aw_full_q ? !take_q : s_axilite_AWVALID;
            w_full_q  <= w_full_q ? !take_q : s_axilite_WVALID;
            b_q       <= take_q || (b_q && !s_axilite_BREADY);
            take_q    <= take;
            begins_q  <= take && index_q == CONTROL && w_q[0];
            put_q     <= take && index_q == DATA;
        end
    end

    // --- frames inside, and the gate: open to the frame that has begun, and to further ones in state OPEN ---
    logic [3:0] state_q;
    logic [BEAT_W-1:0] beat_q;
    logic [FRAME_BITS-1:0] frames_q;
    logic begun_q, crowded_q, skid_ready, left;
    wire logic allow = begun_q || (state_q == OPEN && !crowded_q);
    wire logic enters = in0_tvalid && in0_tready;
    wire logic last = beat_q == BEAT_W'(BEATS - 1);
    wire logic idle = !begun_q && frames_q == '0;
    always_ff @(posedge clk) begin
        crowded_q <= &frames_q[FRAME_BITS-1:2];
        if (!rst_n) begin
            beat_q   <= '0;
            begun_q  <= 1'b0;
            frames_q <= '0;
        end else begin
            if (enters) begin
                beat_q  <= last ? '0 : beat_q + 1'b1;
                begun_q <= !last;
            end
            frames_q <= frames_q + FRAME_BITS'(enters && !begun_q) - FRAME_BITS'(left);
        end
    end
    logic [WIDTH-1:0] out_data;
    vp_skid #(.WIDTH(WIDTH)) skid (
        .clk, .rst_n, .in_data(in0_tdata[WIDTH-1:0]), .in_valid(in0_tvalid && allow), .in_ready(skid_ready),
        .out_data, .out_valid(out0_tvalid), .out_ready(out0_tready)
    );
    assign in0_tready = skid_ready && allow;
    assign out0_tdata = PADDED'(out_data);

    // --- place of the next word: header, data, checksum ---
    logic [2:0] head_q;    // header words taken
    logic [31:0] taken_q;  // data words taken
    logic full_q;          // all data words are taken
    wire logic word = put_q && state_q == LOADING;
    wire logic header = word && !head_q[2];
    wire logic body = word && head_q[2];
    logic [31:0] wanted;
    always_comb begin
        unique case (head_q[1:0])
            2'd0:    wanted = MAGIC;
            2'd1:    wanted = VERSION;
            2'd2:    wanted = DESIGN[31:0];
            default: wanted = 32'(WORDS);
        endcase
    end
    logic unwanted_q;
    always_ff @(posedge clk) begin
        unwanted_q <= rst_n && header && w_q != wanted;
        if (!rst_n || state_q == STARTING) begin
            head_q  <= '0;
            taken_q <= '0;
            full_q  <= 1'b0;
        end else begin
            if (header) head_q <= head_q + 1'b1;
            if (body && !full_q) begin
                taken_q <= taken_q + 1'b1;
                full_q  <= taken_q == 32'(WORDS - 1);
            end
        end
    end

    // --- checksum of all words but itself: each bit of the next one is a sum of bits of the last one and of the word ---
    function automatic logic [31:0][31:0] crc_rows();
        logic [31:0][31:0] rows;
        logic [31:0] crc;
        for (int unsigned column = 0; column < 32; column++) begin
            crc = 32'd1 << column;
            for (int unsigned i = 0; i < 32; i++) crc = {1'b0, crc[31:1]} ^ (crc[0] ? POLYNOMIAL : 32'd0);
            for (int unsigned row = 0; row < 32; row++) rows[row][column] = crc[row];
        end
        return rows;
    endfunction
    localparam logic [31:0][31:0] ROWS = crc_rows();
    logic [31:0] crc_q, crc_d;
    for (genvar i = 0; i < 32; i++) begin : g_crc
        assign crc_d[i] = ^(ROWS[i] & (crc_q ^ w_q));
    end
    always_ff @(posedge clk) begin
        if (!rst_n || state_q == STARTING) crc_q <= '1;
        else if (word && !full_q) crc_q <= crc_d;
    end

    // --- the chain: start alone, then data and checksum ---
    logic [33:0] out_q, back;
    wire logic drained = state_q == DRAINING && idle;
    always_ff @(posedge clk) begin
        out_q[31:0]  <= w_q;
        out_q[33:32] <= rst_n ? {drained, body} : '0;
    end
    assign load_out = out_q;
    vp_delay #(.WIDTH(35), .LENGTH(STAGES)) load_later (.clk, .rst_n, .in({frame_left, load_in}), .out({left, back}));
    logic back_q, same_q;
    always_ff @(posedge clk) begin
        back_q <= rst_n && back[32];
        same_q <= back[31:0] == ~crc_q;
    end

    // --- state ---
    logic filled;  // memories have their contents without a load
`ifdef SYNTHESIS
    assign filled = 1'b0;
`else
    initial filled = $test$plusargs("fill") != 0;
`endif
    always_ff @(posedge clk) begin
        if (!rst_n) begin
            state_q <= filled ? OPEN : EMPTY;
        end else if (begins_q && state_q != DRAINING && state_q != STARTING) begin
            state_q <= DRAINING;
        end else begin
            unique case (state_q)
                DRAINING: if (put_q) state_q <= TOO_EARLY; else if (idle) state_q <= STARTING;
                STARTING: if (put_q) state_q <= TOO_EARLY; else if (back[33]) state_q <= LOADING;
                LOADING:
                    if (unwanted_q) state_q <= WRONG_DESIGN;
                    else if (back_q) state_q <= WRONG_CHECKSUM;
                    else if (body && full_q) state_q <= CHECKING;
                CHECKING: if (back_q) state_q <= same_q ? OPEN : WRONG_CHECKSUM;
                default: ;
            endcase
        end
    end

    // --- reads ---
    logic r_q;
    logic [31:0] rdata_q, register;
    always_comb begin
        unique case (4'(s_axilite_ARADDR[ADDRESS_BITS-1:2]))
            STATUS:   register = 32'(state_q);
            TAKEN:    register = taken_q;
            NUMBER:   register = DESIGN[31:0];
            CHECKSUM: register = ~crc_q;
            TOTAL:    register = 32'(WORDS);
            CONTROL, DATA, FRAMES: register = 32'(frames_q);
            default:  register = wrong_frames;
        endcase
    end
    assign s_axilite_ARREADY = rst_n && !r_q;
    assign s_axilite_RVALID  = r_q;
    assign s_axilite_RDATA   = rdata_q;
    assign s_axilite_RRESP   = 2'b00;
    always_ff @(posedge clk) begin
        if (s_axilite_ARVALID && !r_q) rdata_q <= register;
        r_q <= rst_n && (r_q ? !s_axilite_RREADY : s_axilite_ARVALID);
    end
endmodule

`default_nettype wire
