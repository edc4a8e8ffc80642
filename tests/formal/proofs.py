"""What is proved of the stream blocks, and the faults that every proof must find."""

from __future__ import annotations

from dataclasses import replace

from tests.formal.prover import Fault, Proof

SKID = Proof(
    "vp_skid",
    "proof_skid",
    ("vp_skid", "vp_stage"),
    faults=(
        Fault("vp_skid", "assign in_ready  = in_ready_q;", "assign in_ready  = 1'b1;", "p_lose"),
        Fault("vp_skid", "out_data_q <= spare_full_q ? spare_data_q : in_data", "out_data_q <= in_data", "p_data"),
        Fault("vp_skid", "spare_full_q || take;", "spare_full_q || take || out_valid_q;", "p_invent"),
        Fault("vp_skid", "move = !out_valid_q || out_ready;", "move = !out_valid_q || out_ready || spare_full_q;", "p_hold"),
        Fault("vp_skid", "in_ready_q   <= !spare_full_d;", "in_ready_q   <= in_ready_q && !spare_full_d;", "in.p_progress"),
        Fault("vp_skid", "            spare_full_q <= 1'b0;\n", "", "p_invent"),
        Fault("vp_skid", "in_ready_q   <= 1'b0;", "in_ready_q   <= 1'b1;", "p_quiet"),
    ),
)
STAGE = Proof(
    "vp_stage",
    "proof_skid",
    ("vp_skid", "vp_stage"),
    {"STAGE": 1},
    faults=(
        Fault("vp_stage", "assign in_ready  = !valid_q || out_ready;", "assign in_ready  = 1'b1;", "p_lose"),
        Fault("vp_stage", "if (in_ready) data_q <= in_data;", "data_q <= in_data;", "p_hold"),
        Fault("vp_stage", "valid_q <= in_valid;", "valid_q <= in_valid || valid_q;", "p_invent"),
        Fault("vp_stage", "!valid_q || out_ready;", "!valid_q;", "in.p_progress"),
        Fault("vp_stage", "if (!rst_n) valid_q <= 1'b0;\n        else if", "if", "p_invent"),
    ),
)
CROSSING = Proof(
    "vp_crossing",
    "proof_crossing",
    ("vp_skid", "vp_crossing"),
    faults=(
        Fault("vp_crossing", ".out_ready(ready[i+1])", ".out_ready(1'b1)", "p_lose"),
        Fault("vp_crossing", ".in_valid(valid[i])", ".in_valid(valid[0])", "p_invent"),
        Fault("vp_crossing", ".in_data(data[i])", ".in_data(data[0])", "p_data"),
        Fault("vp_crossing", "PADDED'(data[STAGES]);", "{(PADDED / WIDTH) {data[STAGES]}};", "p_padding"),
        Fault("vp_crossing", ".rst_n(rst_n[i])", ".rst_n(i == 0 || rst_n[i])", "p_quiet"),
    ),
)
RESET = Proof(
    "vp_reset",
    "proof_reset_registers",
    ("vp_reset",),
    cycles=32,
    faults=(
        Fault("vp_reset", "assign out = rst_n_q[STAGES-1];", "assign out = rst_n_q[STAGES-2];", "p_delay"),
        Fault("vp_reset", "{rst_n_q, {WIDTH{in}}}", "{rst_n_q, WIDTH'(in)}", "p_delay"),
        Fault("vp_reset", "    initial rst_n_q = '0;\n", "", "p_delay"),
    ),
)
FIFO_FILES = ("vp_skid", "vp_ram", "vp_fifo", "vp_stream_fifo")
FIFO = Proof(
    "vp_stream_fifo, LUTRAM",
    "proof_fifo",
    FIFO_FILES,
    {"DEPTH": 5},
    faults=(
        Fault("vp_fifo", "waddr_q <= waddr_q == ADDR_W'(WORDS - 1)", "waddr_q <= waddr_q == ADDR_W'(WORDS - 2)", "p_data"),
        Fault(
            "vp_fifo",
            "in_ready_q <= !write || count_q != COUNT_W'(WORDS - 1);",
            "in_ready_q <= !write || count_q != COUNT_W'(WORDS);",
            "p_lose",
        ),
        Fault("vp_fifo", "WORDS = DEPTH - STAGES;", "WORDS = DEPTH - STAGES - 1;", "room.p_progress"),
        Fault("vp_fifo", "has_q      <= write || count_q != COUNT_W'(1);", "has_q      <= 1'b1;", "p_invent"),
        Fault("vp_fifo", "move[i] ? filled[i] : valid_q[i]", "filled[i]", "p_hold"),
        Fault("vp_fifo", "wire logic read = has_q && move[0];", "wire logic read = has_q;", "p_data"),
        Fault("vp_stream_fifo", "PADDED'(data[PARTS]);", "{(PADDED / WIDTH) {data[PARTS]}};", "p_padding"),
    ),
)
FIFO_PARTS = Proof(
    "vp_stream_fifo, in two parts",
    "proof_fifo",
    FIFO_FILES,
    {"DEPTH": 6, "PARTS": 2, "SHOWS": 3, "TAKES": 2, "ROOM": 1},
    faults=(
        Fault("vp_stream_fifo", ".in_valid(valid[i])", ".in_valid(valid[0])", "p_invent"),
        Fault("vp_stream_fifo", ".out_ready(ready[i+1])", ".out_ready(1'b1)", "p_lose"),
        Fault("vp_stream_fifo", "(DEPTH + PARTS - 1) / PARTS", "DEPTH / PARTS - 1", "room.p_progress"),
    ),
)
FIFO_BLOCK = Proof(
    "vp_stream_fifo, block RAM",
    "proof_fifo",
    FIFO_FILES,
    {"DEPTH": 5, "STYLE": '"block"', "SHOWS": 2},
    faults=(
        Fault("vp_ram", "if (re[i]) later_q[i]", "later_q[i]", "p_hold"),
        Fault("vp_fifo", "WORDS = DEPTH - STAGES;", "WORDS = DEPTH - STAGES + 1;", "p_lose"),
        Fault("vp_fifo", "!full_q[i];", "!full_q[0];", "p_hold"),
    ),
)
FIFO_ULTRA = Proof(
    "vp_stream_fifo, rows of UltraRAMs",
    "proof_fifo",
    FIFO_FILES,
    {"DEPTH": 6, "STYLE": '"ultra"', "READ_LATENCY": 3, "SHOWS": 3},
    faults=(
        Fault("vp_ram", "if (re[i]) later_q[i]", "later_q[i]", "p_hold"),
        Fault("vp_fifo", "move[i] ? filled[i]", "move[i] ? filled[0]", "p_data"),
        Fault("vp_fifo", "!full_q[i];", "!full_q[0];", "p_hold"),
        Fault("vp_fifo", "&valid_d[STAGES-1:i]", "&valid_q[STAGES-1:i]", "p_hold"),
    ),
)
CREDIT_FILES = ("vp_skid", "vp_ram", "vp_fifo", "vp_credit_fifo")
CREDIT_FIFO = Proof(
    "vp_credit_fifo",
    "proof_credit_fifo",
    CREDIT_FILES,
    faults=(
        Fault("vp_credit_fifo", "can_take_q <= free_q != COUNT_W'(1);", "can_take_q <= 1'b1;", "p_places"),
        Fault("vp_credit_fifo", "free_q     <= free_q + 1'b1;", "free_q     <= free_q;", "room.p_progress"),
        Fault("vp_credit_fifo", "give && !take", "out_valid && !take", "p_places"),
        Fault("vp_credit_fifo", "can_take_q <= free_q != '0;", "can_take_q <= can_take_q;", "room.p_progress"),
        Fault("vp_credit_fifo", ".DEPTH(DEPTH + 1)", ".DEPTH(DEPTH - 1)", "p_data"),
        Fault("vp_credit_fifo", "            free_q     <= COUNT_W'(DEPTH);\n", "", "p_places"),
    ),
)
CREDIT_FIFO_STEADY = Proof(
    "vp_credit_fifo, a pipeline of 2 cycles at full throughput",
    "proof_credit_fifo",
    CREDIT_FILES,
    {"PIPE": 2},
    never=("order.c_full",),
    faults=(
        Fault("vp_credit_fifo", "free_q     <= COUNT_W'(DEPTH);", "free_q     <= COUNT_W'(DEPTH - 1);", "p_steady"),
        Fault("vp_credit_fifo", "take && !give", "take", "p_steady"),
    ),
)
FORK = Proof(
    "vp_fork",
    "proof_fork",
    ("vp_fork",),
    faults=(
        Fault("vp_fork", "in_ready ? '0 : taken;", "'0;", "p_invent"),
        Fault("vp_fork", "assign in_ready  = &taken;", "assign in_ready  = |taken;", "p_lose"),
        Fault("vp_fork", "{NUM{in_valid}} & ~done_q;", "{NUM{in_valid && in_ready}} & ~done_q;", "out.p_progress"),
    ),
)
STREAM_FORK = Proof(
    "vp_stream_fork",
    "proof_stream_fork",
    ("vp_skid", "vp_fork", "vp_stage", "vp_stream_fork"),
    faults=(
        Fault("vp_stream_fork", ".in_valid(copy_valid[1])", ".in_valid(copy_valid[0])", "p_invent"),
        Fault(
            "vp_stream_fork",
            ".out_data(copy), .out_valid(copy_valid), .out_ready(copy_ready)",
            ".out_data(copy), .out_valid(copy_valid), .out_ready(copy_valid)",
            "p_lose",
        ),
    ),
)
WIDTH_FILES = ("vp_skid", "vp_width")
WIDTH_UP = Proof(
    "vp_width, 1 to 3",
    "proof_width",
    WIDTH_FILES,
    {"IN": 1, "OUT": 3},
    faults=(
        Fault("vp_width", "{in_data, data_q[OUT_BEAT_W-1:IN_BEAT_W]}", "{data_q[OUT_BEAT_W-IN_BEAT_W-1:0], in_data}", "p_data"),
        Fault("vp_width", "count_q == COUNT_W'(RATIO - 1)", "count_q == COUNT_W'(RATIO - 2)", "p_invent"),
        Fault("vp_width", "if (in_ready) valid_q <= take && last;", "valid_q <= take && last;", "p_hold"),
        Fault("vp_width", "                count_q <= '0;\n", "", "p_data"),
    ),
)
WIDTH_DOWN = Proof(
    "vp_width, 3 to 1",
    "proof_width",
    WIDTH_FILES,
    {"IN": 3, "OUT": 1},
    faults=(
        Fault("vp_width", "data_q >> OUT_BEAT_W", "data_q >> (2 * OUT_BEAT_W)", "p_data"),
        Fault("vp_width", "COUNT_W'(RATIO - 1) : '0", "COUNT_W'(RATIO - 2) : '0", "out.p_progress"),
        Fault("vp_width", "!valid_q || (last && out_ready)", "!valid_q", "in.p_progress"),
    ),
)
STREAM_WIDTH = Proof(
    "vp_stream_width, 3 to 2",
    "proof_stream_width",
    ("vp_skid", "vp_width", "vp_stream_width"),
    {"TAKES": 3},
    faults=(
        Fault(
            "vp_stream_width",
            ".out_data(word), .out_valid(word_valid), .out_ready(word_ready)",
            ".out_data(word), .out_valid(word_valid), .out_ready(1'b1)",
            "p_data",
        ),
        Fault("vp_stream_width", ".in_data(word), .in_valid(word_valid)", ".in_data(word), .in_valid(1'b1)", "p_invent"),
    ),
)
SHARED_BLOCKS = (
    "vp_skid",
    "vp_stage",
    "vp_fork",
    "vp_ram",
    "vp_fifo",
    "vp_engine_tags",
    "vp_delay",
    "vp_load_hop",
    "vp_load_region",
    "vp_engine_values",
)
"""What every stage of an engine is made of."""
ENGINE_STAGE = (*SHARED_BLOCKS, "vp_engine_table")
SPLIT_FILES = (*ENGINE_STAGE, "vp_engine_frame", "vp_stream_split")
SPLIT = Proof(
    "vp_stream_split",
    "proof_stream_split",
    SPLIT_FILES,
    faults=(
        Fault("vp_stream_split", "BEAT_W'(shape.first_end)", "BEAT_W'(shape.first_end + 1)", "p_lose"),
        Fault("vp_stream_split", "second_q ? ready1 : known && (ready0 || dropped)", "known && (ready1 || ready0)", "p_data"),
        Fault("vp_stream_split", "x_valid && second_q)", "x_valid)", "p_invent"),
        Fault("vp_stream_split", "            second_q <= 1'b0;\n            last_q ", "            last_q ", "p_progress"),
    ),
)
SPLIT_CUT = Proof(
    "vp_stream_split, both parts of two tokens of three",
    "proof_stream_split",
    SPLIT_FILES,
    {"TOKEN": 4, "FIRST": 3, "TOKENS": 3, "BOTH": 2},
    never=("g_out[1].order.c_full",),
    faults=(
        Fault("vp_stream_split", "!second_q && !dropped)", "!second_q)", "p_invent"),
        Fault("vp_stream_split", "known && (ready0 || dropped)", "known && ready0", "pass.p_progress"),
        Fault("vp_stream_split", "!frame_end && (cut_q", "(cut_q", "p_lose"),
        Fault("vp_stream_split", "token == TOKEN_W'(shape.last_whole)", "token == '0", "p_data"),
        Fault("vp_engine_frame", "count_q == before_last", "count_q == '0", "p_lose"),
    ),
)
SELECT = Proof(
    "vp_select_token",
    "proof_select_token",
    (*ENGINE_STAGE, "vp_select_token"),
    faults=(
        Fault("vp_select_token", "beat_q == BEAT_W'(shape.last_passed))", "beat_q == BEAT_W'(shape.last))", "p_invent"),
        Fault("vp_select_token", "(!chosen || y_ready)", "y_ready", "pass.p_progress"),
        Fault("vp_select_token", "beat_q == BEAT_W'(shape.last);", "beat_q == BEAT_W'(shape.last - 1);", "p_data"),
    ),
)
ENGINE_FRAME = Proof(
    "vp_engine_frame, three encoders",
    "proof_engine_frame",
    (*ENGINE_STAGE, "vp_engine_frame"),
    faults=(
        Fault("vp_engine_frame", "none = shape[SHAPE_W-32];", "none = 1'b0;", "p_none"),
        Fault("vp_engine_frame", "one = shape[SHAPE_W-64];", "one = 1'b0;", "p_last"),
        Fault("vp_engine_frame", "count_q == before_last", "count_q == before_last + 1'b1", "p_last"),
        Fault("vp_engine_frame", "last ? '0 : count_q + 1'b1", "count_q + 1'b1", "p_count"),
        Fault("vp_engine_frame", "none || (step && last)", "step && last", "frames.p_lose"),
        Fault("vp_engine_values", "encoder == TAG_W'(e)", "encoder >= TAG_W'(e)", "frames.g_element[0].p_data"),
        Fault("vp_engine_tags", ".out_data(own)", ".out_data()", "on.g_element[0].p_data"),
        Fault("vp_engine_tags", ".in_valid(valid[0])", ".in_valid(tag_valid)", "frames.p_invent"),
        Fault("vp_engine_tags", ".in_valid(tag_valid)", ".in_valid(tag_valid && next)", "go.p_progress"),
    ),
)
SHARED_SELECT = Proof(
    "vp_select_token, two encoders",
    "proof_shared_select",
    (*ENGINE_STAGE, "vp_select_token"),
    faults=(
        Fault("vp_select_token", "beat_q >= BEAT_W'(shape.first_passed)", "beat_q >= 1", "passed.p_lose"),
        Fault("vp_select_token", "beat_q == BEAT_W'(shape.last_passed))", "beat_q == 2)", "passed.p_invent"),
        Fault("vp_select_token", "x_ready = known && (", "x_ready = (", "passed.p_lose"),
        Fault("vp_select_token", "!frame_end && (passed_q", "(passed_q", "passed.p_lose"),
        Fault("vp_select_token", "known && x_valid && chosen", "x_valid && chosen", "passed.p_invent"),
        Fault("vp_select_token", "take && frame_end)", "take)", "stays.g_output.p_hold"),
    ),
)
SHARED_SPLIT = Proof(
    "vp_stream_split, two encoders",
    "proof_shared_split",
    SPLIT_FILES,
    faults=(
        Fault("vp_stream_split", "BEAT_W'(shape.first_end)", "BEAT_W'(0)", "p_lose"),
        Fault("vp_stream_split", "TOKEN_W'(shape.last_whole)", "TOKEN_W'(shape.last_whole + 1)", "p_invent"),
        Fault("vp_stream_split", "known && (ready0 || dropped)", "ready0 || dropped", "p_lose"),
        Fault("vp_stream_split", "cut_q <= !frame_end && (", "cut_q <= (", "p_lose"),
        Fault("vp_engine_frame", "one || last_q", "last_q", "frames.g_element[0].p_data"),
    ),
)
SWITCH = Proof(
    "vp_engine_switch, three encoders",
    "proof_branches",
    (*ENGINE_STAGE, "vp_engine_frame", "vp_engine_switch"),
    faults=(
        Fault("vp_engine_switch", "known && x_valid && branch[b])", "known && x_valid)", "p_invent"),
        Fault("vp_engine_switch", ".out_ready(known && |(branch & ready))", ".out_ready(|(branch & ready))", "p_lose"),
        Fault("vp_engine_switch", ".out_ready(known && |(branch & ready))", ".out_ready(known && &ready)", "p_data"),
        Fault("vp_engine_switch", "take = known && x_valid && |(branch & ready)", "take = known && x_valid && &ready", "pass.p_progress"),
    ),
)
MERGE = Proof(
    "vp_engine_merge, three encoders",
    "proof_branches",
    (*ENGINE_STAGE, "vp_engine_frame", "vp_engine_merge"),
    {"MERGE": 1},
    faults=(
        Fault("vp_engine_merge", "known && branch[b] && room", "known && room", "p_lose"),
        Fault("vp_engine_merge", "if (branch[b]) chosen |= data[b]", "chosen |= data[b]", "p_data"),
        Fault("vp_engine_merge", "known && |(branch & valid)", "|(branch & valid)", "p_invent"),
        Fault("vp_engine_merge", "known && |(branch & valid)", "known && &valid", "pass.p_progress"),
        Fault("vp_engine_merge", ".step(chosen_valid && room)", ".step(chosen_valid)", "p_lose"),
    ),
)
ADD = Proof(
    "vp_stream_add",
    "proof_stream_add",
    ("vp_skid", "vp_stage", "vp_saturating_add", "vp_stream_add"),
    faults=(
        Fault("vp_saturating_add", "over = s[BITS] != s[BITS-1];", "over = 1'b0;", "p_data"),
        Fault("vp_stream_add", "take = both && sum_ready;", "take = sum_ready;", "p_lose"),
        Fault("vp_stream_add", ".in_data(sum), .in_valid(both)", ".in_data(sum), .in_valid(a_valid || b_valid)", "p_invent"),
    ),
)
FRAME_CHECK = Proof(
    "vp_frame_check",
    "proof_frame_check",
    ("vp_skid", "vp_frame_check"),
    never=("c_long", "c_drops"),
    faults=(
        Fault("vp_frame_check", "in0_V_tlast && !last;", "in0_V_tlast;", "p_wrong"),
        Fault("vp_frame_check", "fill_q ? !(pass && last) : early", "fill_q ? !pass : early", "p_leaves"),
        Fault("vp_frame_check", "if (pass) beat_q", "if (pass && !fill_q) beat_q", "p_invent"),
        Fault("vp_frame_check", "ready && !fill_q;", "ready;", "p_data"),
        Fault("vp_frame_check", "fill_q ? '0 : in0_tdata[WIDTH-1:0]", "in0_tdata[WIDTH-1:0]", "p_data"),
        Fault("vp_frame_check", "EACH && seen_q", "seen_q", "p_wrong"),
        Fault("vp_frame_check", "            fill_q  <= 1'b0;\n", "", "p_invent"),
        Fault("vp_frame_check", "            beat_q  <= '0;\n", "", "p_wrong"),
        Fault("vp_frame_check", "BEAT_W'(BEATS - 1)", "BEAT_W'(BEATS - 2)", "p_wrong"),
    ),
)
FRAME_CHECK_EACH = Proof(
    "vp_frame_check, every frame ends with TLAST",
    "proof_frame_check",
    ("vp_skid", "vp_frame_check"),
    {"EACH": 1},
    faults=(
        Fault("vp_frame_check", "drop_q ? !(take && in0_V_tlast) : late", "drop_q ? !take : late", "p_invent"),
        Fault("vp_frame_check", "ready && !fill_q;", "ready && !fill_q && !drop_q;", "in.p_progress"),
        Fault("vp_frame_check", "(in0_tvalid && !drop_q));", "in0_tvalid);", "p_invent"),
        Fault("vp_frame_check", "in_valid(fill_q || (in0_tvalid && !drop_q))", "in_valid(fill_q || in0_tvalid)", "p_invent"),
        Fault("vp_frame_check", "32'(early || late)", "32'(early)", "p_wrong"),
        Fault("vp_frame_check", "EACH && seen_q", "EACH", "p_wrong"),
        Fault("vp_frame_check", "            drop_q  <= 1'b0;\n", "", "p_leaves"),
    ),
)

LINK_IMAGES = Proof(
    "vp_link_images",
    "proof_link_images",
    ("vp_ram", "vp_link_images"),
    faults=(
        Fault("vp_link_images", "if (keep) base_q", "if (keep || forget) base_q", "p_data"),
        Fault("vp_link_images", "if (forget) waddr_q <= base_q;\n            else if", "if", "p_data"),
        Fault("vp_link_images", "if (keep != left)", "if (keep)", "p_invent"),
        Fault("vp_link_images", "keep != left", "keep || left", "p_invent"),
        Fault("vp_link_images", "move = out_ready || !valid_q;", "move = 1'b1;", "p_hold"),
        Fault("vp_link_images", "full_q != COUNT_W'(IMAGES);", "full_q != COUNT_W'(IMAGES - 1);", "p_room"),
        Fault("vp_link_images", "last = byte_q == BYTE_W'(IMAGE_BYTES - 1);", "last = byte_q == '0;", "p_progress"),
        Fault("vp_link_images", "waddr_q == ADDR_W'(SIZE - 1)", "waddr_q == ADDR_W'(SIZE - 2)", "p_data"),
        Fault("vp_link_images", "            full_q  <= '0;\n", "", "p_invent"),
        Fault("vp_link_images", "            valid_q <= 1'b0;\n", "", "p_quiet"),
    ),
)
LINK_RECEIVE = Proof(
    "vp_link_receive, any CRC",
    "proof_link_receive",
    ("vp_crc32", "vp_link_receive"),
    reach=40,
    free=("dut.right",),
    faults=(
        Fault("vp_link_receive", "take && room_q && left_q", "take && left_q", "p_write"),
        Fault("vp_link_receive", "write        = payload && image_q;", "write        = payload;", "p_one"),
        Fault("vp_link_receive", "access_write = payload && access_q;", "access_write = payload;", "p_one"),
        Fault("vp_link_receive", "access_keep  = good && access_q;", "access_keep  = good;", "p_access_keep"),
        Fault("vp_link_receive", ": is_access ? access_room :", ": is_access ? 1'b1 :", "p_access_write"),
        Fault("vp_link_receive", "left_q > LEFT_W'(4);", "left_q > LEFT_W'(3);", "p_write"),
        Fault("vp_link_receive", "left_q > LEFT_W'(4);", "left_q > LEFT_W'(5);", "p_keep"),
        Fault("vp_link_receive", "(state_q == BODY || state_q == DONE) && cause != NONE;", "state_q == BODY && cause != NONE;", "p_write"),
        Fault("vp_link_receive", "else if (!room_q) cause = NO_ROOM;", "", "p_keep"),
        Fault("vp_link_receive", "keep         = good && image_q;", "keep         = good;", "p_keep"),
        Fault("vp_link_receive", "if (count_q == 4'd1) state_q <= BODY;", "if (count_q == 4'd0) state_q <= BODY;", "in.p_progress"),
        Fault("vp_link_receive", "            started_q <= 1'b0;\n", "", "p_quiet"),
        Fault(
            "vp_link_receive",
            "told_q  <= cause != NONE || (good && !image_q && !access_q);",
            "told_q  <= good && !image_q && !access_q;",
            "p_forget",
        ),
        Fault(
            "vp_link_receive", "told_q  <= cause != NONE || (good && !image_q && !access_q);", "told_q  <= cause != NONE || good;", "p_told"
        ),
    ),
)
LOAD_HOP = Proof(
    "vp_load_hop, 2 of 3 words of 40 bits",
    "proof_load_hop",
    ("vp_delay", "vp_load_hop"),
    reach=40,
    faults=(
        Fault("vp_load_hop", "valid && !keeping_q}", "valid}", "p_control"),
        Fault("vp_load_hop", "{start, valid && !keeping_q}", "{start && !keeping_q, valid && !keeping_q}", "p_control"),
        Fault("vp_load_hop", "out_q[31:0]  <= word;", "out_q[31:0]  <= load_in[31:0];", "p_pass"),
        Fault("vp_load_hop", "            keeping_q <= 1'b0;\n", "", "p_control"),
        Fault("vp_load_hop", "            keeping_q <= 1'b1;\n", "", "p_control"),
        Fault("vp_load_hop", "            part_q     <= PARTS'(1);\n", "", "p_write"),
        Fault("vp_load_hop", "            addr_q     <= '0;\n", "", "p_place"),
        Fault("vp_load_hop", "            bank_q     <= BANKS'(1);\n", "", "p_write"),
        Fault("vp_load_hop", "ADDR_W'(DEPTH - 2)", "ADDR_W'(DEPTH - 3)", "p_write"),
        Fault("vp_load_hop", "bank_end ? '0 : addr_q", "addr_q", "p_place"),
        Fault("vp_load_hop", "keeping_q <= !bank_q[BANKS-1];", "keeping_q <= 1'b1;", "p_control"),
        Fault("vp_load_hop", "if (keep && part_q[i])", "if (keep)", "p_word"),
        Fault("vp_load_hop", "rst_n && whole ? bank_q", "rst_n && keep ? bank_q", "p_write"),
        Fault("vp_load_hop", "waddr_q <= addr_q;", "waddr_q <= addr_q + 1'b1;", "p_place"),
    ),
)
LOAD_END = Proof(
    "vp_load_end",
    "proof_load_end",
    ("vp_skid", "vp_delay", "vp_load_end"),
    faults=(
        Fault("vp_load_end", "out0_tvalid && out0_tready && last;", "out0_tvalid && last;", "p_left"),
        Fault("vp_load_end", "BEAT_W'(BEATS - 1)", "BEAT_W'(BEATS - 2)", "p_left"),
        Fault("vp_load_end", "if (!rst_n) beat_q <= '0;\n        else if", "if", "p_left"),
        Fault("vp_load_end", ".LENGTH(STAGES + 1)", ".LENGTH(STAGES)", "p_back"),
        Fault("vp_load_end", "PADDED'(out_data);", "{(PADDED / WIDTH) {out_data}};", "p_padding"),
    ),
)

LOAD_PORT = Proof(
    "vp_load_port",
    "proof_load_port",
    ("vp_skid", "vp_delay", "vp_load_port"),
    cycles=16,
    reach=40,
    free=("dut.crc_d",),
    faults=(
        Fault("vp_load_port", "(!b_q || s_axilite_BREADY)", "1'b1", "p_lose_address"),
        Fault("vp_load_port", "take_q || (b_q && !s_axilite_BREADY)", "take_q", "b.g_output.p_hold"),
        Fault("vp_load_port", "assign s_axilite_AWREADY = rst_n && !aw_full_q;", "assign s_axilite_AWREADY = 1'b1;", "p_lose_address"),
        Fault("vp_load_port", "assign s_axilite_WREADY  = rst_n && !w_full_q;", "assign s_axilite_WREADY  = 1'b1;", "p_lose_data"),
        Fault("vp_load_port", "if (s_axilite_ARVALID && !r_q) rdata_q", "rdata_q", "r.g_output.p_hold"),
        Fault("vp_load_port", "r_q ? !s_axilite_RREADY : s_axilite_ARVALID", "r_q || s_axilite_ARVALID", "p_read"),
        Fault("vp_load_port", "assign s_axilite_ARREADY = rst_n && !r_q;", "assign s_axilite_ARREADY = 1'b1;", "p_lose_read"),
        Fault("vp_load_port", "assign s_axilite_AWREADY = rst_n && !", "assign s_axilite_AWREADY = !", "p_quiet"),
        Fault("vp_load_port", "assign s_axilite_ARREADY = rst_n && !", "assign s_axilite_ARREADY = !", "p_quiet"),
        Fault("vp_load_port", "4'(s_axilite_ARADDR[ADDRESS_BITS-1:2])", "4'(s_axilite_ARADDR[4:2])", "p_wrong_frames"),
    ),
)
LOAD_GATE = replace(
    LOAD_PORT,
    name="vp_load_port, a frame begins only when it is open",
    only="p_closed",
    cycles=None,
    faults=(
        Fault("vp_load_port", "4'(s_axilite_AWADDR[ADDRESS_BITS-1:2])", "4'(s_axilite_AWADDR[4:2])", "p_closed"),
        Fault("vp_load_port", "begun_q || (state_q == OPEN && !crowded_q)", "begun_q || state_q >= CHECKING", "p_closed"),
        Fault("vp_load_port", "state_q <= same_q ? OPEN : WRONG_CHECKSUM", "state_q <= OPEN", "p_closed"),
        Fault("vp_load_port", "header && w_q != wanted", "header && w_q[0] != wanted[0]", "p_closed"),
        Fault("vp_load_port", "begins_q && state_q != DRAINING", "begins_q && state_q != OPEN && state_q != DRAINING", "p_closed"),
        Fault("vp_load_port", "DRAINING: if (put_q) state_q <= TOO_EARLY; else if (idle)", "DRAINING: if (idle)", "p_closed"),
        Fault("vp_load_port", "state_q == DRAINING && idle", "state_q == DRAINING", "p_drained"),
        Fault("vp_load_port", "!begun_q && frames_q == '0", "frames_q == '0", "p_drained"),
        Fault("vp_load_port", "? {drained, body}", "? {drained, header}", "p_sent"),
        Fault("vp_load_port", "crowded_q <= &frames_q[FRAME_BITS-1:2];", "crowded_q <= 1'b0;", "p_drained"),
    ),
)
LOAD_SUM = replace(
    LOAD_PORT,
    name="vp_load_port, the checksum stands when all words are there",
    only="p_sum",
    cycles=None,
    faults=(Fault("vp_load_port", "word && !full_q) crc_q", "word) crc_q", "p_sum"),),
)

ENGINE_FILES = (*SHARED_BLOCKS, "vp_engine_entry", "vp_engine_exit")
ENGINE = Proof(
    "an engine of three encoders, batches of 2",
    "proof_engine",
    ENGINE_FILES,
    cycles=32,
    reach=40,
    without="out.p_progress",
    faults=(
        Fault("vp_engine_entry", "entered_q == FRAME_W'(BATCH) || ", "", "p_room"),
        Fault("vp_engine_entry", "begin_frame && fresh_q ? beats", "begin_frame ? beats", "p_counted"),
        Fault("vp_engine_entry", "fresh_q ? new_data : old_data", "new_data", "p_encoder"),
        Fault("vp_engine_entry", ".in_data(encoder_q)", ".in_data('0)", "p_encoder"),
        Fault("vp_engine_tags", ".out_data(encoder)", ".out_data()", "p_encoder"),
        Fault("vp_engine_exit", "leaves_q <= encoder == TAG_W'(ENCODERS - 1);", "leaves_q <= encoder == TAG_W'(ENCODERS - 2);", "p_passes"),
    ),
)
ENGINE_PROGRESS = Proof(
    "an engine of two encoders, no image stays",
    "proof_engine",
    ENGINE_FILES,
    {"ENCODERS": 2, "ENTER": "64'h200000002", "LEAVE": "64'h100000002", "LIMIT": 18},
    cycles=36,
    reach=30,
    only="out.p_progress",
    faults=(
        Fault("vp_engine_entry", ".in_valid(begin_frame)", ".in_valid(begin_frame && fresh_q)", "p_progress"),
        Fault("vp_engine_entry", " || alone", "", "p_progress"),
        Fault("vp_engine_entry", "!entering_q && !waits_q", "!new_valid", "p_progress"),
    ),
)
ENGINE_ALONE = replace(
    ENGINE_PROGRESS,
    name="an engine of two encoders, one image in flight, no image stays",
    parameters=ENGINE_PROGRESS.parameters | {"BATCH": 1, "LIMIT": 13},
    never=("c_cut",),
    faults=ENGINE_PROGRESS.faults[:1],
)

ARRAY = Proof(
    "vp_engine_array of two ports",
    "proof_array",
    (*ENGINE_STAGE, "vp_engine_frame", "vp_engine_arbiter", "vp_engine_array"),
    cycles=20,
    reach=20,
    faults=(
        Fault("vp_engine_arbiter", "there_q >= group_beats[p]", "there_q != '0", "rows.p_progress"),
        Fault("vp_engine_arbiter", " && free_q >= group_results[p]", "", "p_place"),
        Fault("vp_engine_arbiter", "held_q < HELD_W'(HELD) && ", "", "p_credit"),
        Fault("vp_engine_arbiter", "may_q & ~(may_q - 1'b1)", "may_q", "p_invent"),
        Fault("vp_engine_arbiter", "held_q + HELD_W'(pick) - HELD_W'(freed)", "held_q + HELD_W'(pick)", "choice.p_progress"),
        Fault("vp_engine_array", ".in_data({port, results})", ".in_data({port[0], port[1], results})", "p_invent"),
    ),
)

EMBEDDING_FILES = (*ENGINE_STAGE, "vp_engine_frame", "vp_engine_merge", "vp_engine_tag_fork", "vp_engine_entry", "vp_engine_exit")
EMBEDDING = replace(
    ENGINE,
    name="an engine of two encoders with a pass before them, batches of 2",
    sources=EMBEDDING_FILES,
    parameters={"EMBEDS": 1, "ENTER": "96'h2_00000001_00000002", "LEAVE": "96'h1_00000001_00000001"},
    cycles=30,
    faults=(
        Fault("vp_engine_entry", "(new_valid && !entering_q)", "new_valid", "p_counted"),
        Fault("vp_engine_entry", "entered_q == FRAME_W'(BATCH) || alone", "alone", "order.p_lose"),
        Fault("vp_engine_entry", "codes[c-1] = !new_data[c-1]", "codes[c-1] = new_data[c-1]", "p_encoder"),
        Fault("vp_engine_tag_fork", ".in_valid(valid[1] && !skipped)", ".in_valid(valid[1])", "p_encoder"),
    ),
)

DROP_FILES = (
    "vp_skid",
    "vp_load_hop",
    "vp_load_region",
    "vp_delay",
    "vp_token_drop_lane",
    "vp_token_drop_fuse",
    "vp_token_drop_requant",
    "vp_token_drop",
)
DROP_FIFO = ("vp_fifo", "vp_credit_fifo")
RANK_FILES = ("vp_ram", "vp_token_drop_insert", "vp_token_drop_histogram", "vp_token_drop_rank")
DROP_PATH = Proof(
    "vp_token_drop, any decisions",
    "proof_drop_path",
    ("vp_ram", *DROP_FILES),
    models=("any_credit_fifo",),
    without="p_progress",
    free=("dut.g_drop.fused", "dut.g_drop.out.willing"),
    seconds=2000,
    reach=26,
    faults=(
        Fault("vp_token_drop", "pass_q       <= (take && keep) || fused_valid;", "pass_q       <= take || fused_valid;", "p_kept"),
        Fault("vp_token_drop", "spare_full_q <= left;", "spare_full_q <= spare_full_q || (in0_tvalid && in_ready_q);", "p_kept"),
        Fault(
            "vp_token_drop",
            "x_q <= fused_valid ? fused : use_spare_q ? spare_q : in0_tdata;",
            "x_q <= fused_valid ? fused : in0_tdata;",
            "p_kept",
        ),
        Fault(
            "vp_token_drop",
            "if (end_token && last_token && !shape.all[0]) ask_q <= 1'b1;",
            "if (end_token && !shape.all[0]) ask_q <= 1'b1;",
            "p_kept",
        ),
        Fault("vp_token_drop", "else if (fused_last) emit_q <= 1'b0;", "else if (fused_valid) emit_q <= 1'b0;", "p_kept"),
        Fault("vp_token_drop", "known && can_take && !emit_q", "known && !emit_q", "p_kept"),
    ),
)
DROP_RANK = Proof(
    "vp_token_drop_rank, one of two",
    "proof_drop_rank",
    RANK_FILES,
    {"COUNT": 2},
    without="p_progress",
    seconds=2000,
    reach=26,
    faults=(
        Fault("vp_token_drop_rank", "key >= threshold_q", "key > threshold_q", "p_keep"),
        Fault("vp_token_drop_rank", "if (frame_done) read_bank_q <= !read_bank_q;", "", "p_keep"),
        Fault("vp_token_drop_rank", "result_valid && !known_q && !wait_valid_q;", "result_valid;", "p_keep"),
        Fault("vp_token_drop_rank", "(first_q || known_q || passes) && !wait_valid_q;", "(first_q || known_q || passes);", "p_last"),
        Fault("vp_token_drop_insert", "above = key_q[i] > cell_q[i]", "above = key_q[i] < cell_q[i]", "p_keep"),
    ),
)
DROP = Proof(
    "vp_token_drop, never paused",
    "proof_token_drop",
    (*RANK_FILES, *DROP_FIFO, *DROP_FILES),
    {"TOKENS": 3, "STEADY": 1, "X_BITS": 2, "SCORE_WIDTH": 3, "RANK_WIDTH": 3, "LIMIT": 4, "SHIFT": 2},
    cycles=150,
    reach=40,
    never=("hold.g_output.c_waits",),
    faults=(
        Fault("vp_token_drop_requant", "rounded[0] && !between", "rounded[0]", "p_fused"),
        Fault("vp_token_drop", "else if (fused_last) fresh_q <= 1'b1;", "", "p_fused"),
        Fault("vp_token_drop_lane", "d[3] ? (d[2] ? ~s1 : ~s2)", "d[3] ? (d[2] ? ~s2 : ~s1)", "p_fused"),
    ),
)

BLOCKS = (
    SKID,
    STAGE,
    RESET,
    CROSSING,
    FIFO,
    FIFO_BLOCK,
    FIFO_ULTRA,
    FIFO_PARTS,
    CREDIT_FIFO,
    CREDIT_FIFO_STEADY,
    FORK,
    STREAM_FORK,
    WIDTH_UP,
    WIDTH_DOWN,
    STREAM_WIDTH,
    SPLIT,
    SPLIT_CUT,
    SELECT,
    ADD,
    FRAME_CHECK,
    FRAME_CHECK_EACH,
    LINK_IMAGES,
    LINK_RECEIVE,
    LOAD_HOP,
    LOAD_END,
    LOAD_PORT,
    LOAD_GATE,
    LOAD_SUM,
    ENGINE,
    ENGINE_PROGRESS,
    ENGINE_ALONE,
    EMBEDDING,
    ARRAY,
    ENGINE_FRAME,
    SHARED_SELECT,
    SHARED_SPLIT,
    SWITCH,
    MERGE,
)
"""The stream blocks and what loads a design or runs an engine: proofs of seconds each, most of them for all time."""

DROPS = (DROP_PATH, DROP_RANK, DROP)
"""The token drop."""


QUICK = (*BLOCKS, replace(DROP_PATH, cycles=16), replace(DROP_RANK, cycles=12), replace(DROP, cycles=32))
"""What the test suite proves."""


def _resized(proof: Proof, name: str, **parameters: int | str) -> Proof:
    """Another size, for which the faults are not tried again."""
    return replace(proof, name=f"{proof.name}{name}", parameters=proof.parameters | parameters, faults=())


LARGE = (
    _resized(SKID, ", 8 bits", WIDTH=8),
    _resized(CROSSING, ", one stage", STAGES=1),
    _resized(CROSSING, ", 4 stages", STAGES=4),
    _resized(FIFO, ", depth 3", DEPTH=3),
    _resized(FIFO, ", depth 4", DEPTH=4),
    _resized(FIFO, ", depth 7", DEPTH=7),
    _resized(FIFO_BLOCK, ", depth 4", DEPTH=4),
    _resized(FIFO_BLOCK, ", depth 7", DEPTH=7),
    _resized(FIFO_BLOCK, ", read in one cycle", READ_LATENCY=1, SHOWS=1),
    _resized(FIFO_ULTRA, ", depth 5", DEPTH=5),
    _resized(FIFO_ULTRA, ", read in four cycles", READ_LATENCY=4, SHOWS=4),
    _resized(CREDIT_FIFO, ", 3 places", DEPTH=3),
    _resized(CREDIT_FIFO, ", 2 places", DEPTH=2),
    replace(_resized(CREDIT_FIFO_STEADY, "", PIPE=4, DEPTH=7), name="vp_credit_fifo, a pipeline of 4 cycles at full throughput"),
    _resized(FIFO, ", depth 1", DEPTH=1, SHOWS=0),
    _resized(FORK, ", 5 outputs", NUM=5),
    _resized(WIDTH_UP, "; 2 to 8", IN=2, OUT=8),
    _resized(WIDTH_DOWN, "; 8 to 2", IN=8, OUT=2),
    _resized(STREAM_WIDTH, "; 2 to 3", IN=2, OUT=3, TAKES=2),
    replace(_resized(STREAM_WIDTH, "; 4 to 2", IN=4, OUT=2, COMMON=4, TAKES=2, SHOWS=1), never=("order.c_full",)),
    replace(
        _resized(SPLIT, ", 1 of 2", TOKEN=2, FIRST=1),
        never=("g_out[0].order.c_full", "g_out[1].order.c_full"),  # of two neighbours one is the other's
    ),
    replace(_resized(SPLIT, ", 6 of 7", TOKEN=7, FIRST=6), never=("g_out[1].order.c_full",)),
    replace(_resized(SELECT, ", the first of 4", TOKENS=4, INDEX=0, BEATS=1), never=("order.c_full", "pass.c_progress")),
    _resized(SELECT, ", the last of 3", INDEX=2, BEATS=3),
    replace(_resized(SELECT, ", the only one", TOKENS=1, INDEX=0), never=("pass.c_progress",)),
    _resized(ADD, ", 4 bits", WIDTH=4),
    replace(_resized(FRAME_CHECK, ", a beat a frame", BEATS=1), never=("c_cut", "c_long", "c_drops", "c_again", "c_ends")),
    _resized(FRAME_CHECK_EACH, ", 5 beats", BEATS=5),
    replace(_resized(FRAME_CHECK_EACH, ", a beat a frame", BEATS=1), never=("c_cut",)),
    _resized(ENGINE_FRAME, ", four tags wait", FRAMES=4),
    replace(_resized(ENGINE_FRAME, "", ENCODERS=2, STEPS="64'h200000003"), name="vp_engine_frame, two encoders", never=("c_none",)),
    _resized(
        SHARED_SELECT,
        ", four tags wait, all tokens and the last",
        FRAMES=4,
        FIRST="64'h200000000",
        LAST="64'h200000001",
        FRAME="64'h300000002",
    ),
    _resized(SHARED_SPLIT, ", four tags wait", FRAMES=4),
    _resized(SHARED_SPLIT, ", three tokens and two", TOKENS="64'h200000003", BOTH="64'h200000001"),
    _resized(SWITCH, ", four tags wait", FRAMES=4),
    _resized(MERGE, ", four tags wait", FRAMES=4),
    *(
        replace(
            LOAD_HOP,
            name=f"vp_load_hop, {b} of {d} words of {w} bits",
            parameters=p,
            faults=(),
            never=("c_restart",) if b * d * w <= 32 else (),  # a region of one part is never half filled
        )
        for b, d, w in ((1, 1, 8), (1, 3, 40), (3, 2, 8), (1, 2, 80), (2, 2, 80))
        for p in [{"BANKS": b, "DEPTH": d, "WIDTH": w, "STAGES": b % 2}]
    ),
    _resized(LOAD_END, ", a beat a frame", BEATS=1),
    replace(_resized(LOAD_PORT, ", no frame check", ADDRESS_BITS=5), never=("c_wrong_frames",)),
    *(
        replace(LOAD_PORT, name=f"{LOAD_PORT.name}, {what}", only=only, cycles=None, faults=())
        for only, what in (
            ("p_answer", "every answer is that of a write"),
            ("p_drained", "start goes out when no frame is inside"),
            ("p_sent", "what is taken goes down the chain"),
            ("p_data", "the stream passes"),
        )
    ),
    _resized(DROP_PATH, ", a beat a token", BEATS=1),
    _resized(DROP_PATH, ", two of four kept", TOKENS=4, KEEP=2, BEATS=1),
    replace(
        DROP_PATH,
        name="vp_token_drop, every frame ends",
        sources=("vp_ram", *DROP_FIFO, *DROP_FILES),
        models=(),
        free=("dut.g_drop.fused",),
        only="p_progress",
        without="",
        cycles=48,
        faults=(
            Fault(
                "vp_token_drop",
                "if (end_token && last_token && !shape.all[0]) emit_q <= 1'b1;",
                "if (end_token && !shape.all[0]) emit_q <= 1'b1;",
                "p_progress",
            ),
        ),
    ),
    replace(_resized(DROP_RANK, ", decides in time"), only="p_progress", without=""),
    replace(_resized(DROP_RANK, "", COUNT=3), name="vp_token_drop_rank, one of three"),
    replace(_resized(DROP_RANK, "", COUNT=3, KEEP=2), name="vp_token_drop_rank, two of three"),
    replace(_resized(DROP_RANK, "", PADS=1), name="vp_token_drop_rank, a cell too many", reach=40),
    replace(_resized(DROP_RANK, "", LEVELS=2, DIGITS=0x11), name="vp_token_drop_rank, histograms", cycles=50, reach=70),
    _resized(DROP, ", two of four kept", TOKENS=4, KEEP=2, LIMIT=6),
    _resized(DROP, ", two beats a token", BEATS=2),
    replace(_resized(DROP, "", STEADY=0), name="vp_token_drop, with pauses", cycles=34, reach=30, never=()),
)
"""More sizes and properties of the same."""

_SPARE_WORD = Fault("vp_credit_fifo", ".DEPTH(DEPTH + 1)", ".DEPTH(DEPTH)", "")
NO_FAULTS = (
    (CREDIT_FIFO, _SPARE_WORD),
    (_resized(CREDIT_FIFO, ", 2 places", DEPTH=2), _SPARE_WORD),
    (_resized(CREDIT_FIFO, ", 3 places", DEPTH=3), _SPARE_WORD),
)
"""Changes under which a contract still holds, for all time: mutants that no test can find."""
