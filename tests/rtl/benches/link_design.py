"""A link with nothing behind it: what its host sends and what a design would give go in, images and answers come out; and what must come."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from finn_vitprune.custom_ops.op.rtl_sources import rtl_sources
from finn_vitprune.link.frames import (
    CRC,
    HEADER,
    START,
    WORD_BYTES,
    Cause,
    FrameReader,
    FrameType,
    LinkFrame,
    LinkStatus,
    RegisterAccess,
    cause_of,
)
from finn_vitprune.sim import Port, SimResult, Simulator, Stimulus, compile_top
from tests.rtl.benches.link_model import ERROR, SILENCE, Expected, expected

HOST, LOGITS, IMAGES, ANSWERS, WRITES = "in0", "in1", "out0", "out1", "out2"
DESIGN = 0xC0FFEE42
WAIT = [SILENCE] * 12
MARGIN = 40
"""Cycles that a silence lasts longer than it must."""


@dataclass(frozen=True)
class Sizes:
    """Of a link, and of the line before it: cycles of a bit in 256ths, of the board and of the host; 0 where bytes come without a line.
    words: of an access to registers."""

    in_bytes: int = 3
    in_beats: int = 4
    out_bytes: int = 2
    out_beats: int = 6
    images: int = 4
    tags: int = 16
    words: int = 0
    bit: int = 0
    host_bit: int = 0

    @property
    def image_bytes(self) -> int:
        return self.in_bytes * self.in_beats

    @property
    def logit_bytes(self) -> int:
        return self.out_bytes * self.out_beats

    @property
    def quiet(self) -> int:
        """Cycles of silence that end a frame."""
        return 128 * (self.bit // 256) if self.bit else 600

    @property
    def top(self) -> str:
        return "board_bench" if self.bit else "link_bench"

    @property
    def ports(self) -> tuple[list[Port], list[Port]]:
        outputs = [Port(IMAGES, 8 * self.in_bytes), Port(ANSWERS, 16), Port(WRITES, 40)]
        return [Port(HOST, 16), Port(LOGITS, 8 * self.out_bytes)], outputs[: None if self.words else 2]

    @property
    def access_bytes(self) -> int:
        return 4 * self.words + 4 if self.words else 0

    @property
    def reader(self) -> FrameReader:
        lengths = {FrameType.LOGITS: self.logit_bytes + 4, FrameType.STATUS: LinkStatus.LAYOUT.size, FrameType.REFUSED: 4}
        return FrameReader(lengths | {FrameType.WORD: WORD_BYTES})


def sources(sizes: Sizes, folder: Path) -> list[Path]:
    """RTL and, last, the top round it, which is written to ``folder``."""
    path = folder / f"{sizes.top}.sv"
    path.write_text(_board_text(sizes) if sizes.bit else _link_text(sizes))
    return [*rtl_sources("vp_board_uart" if sizes.bit else "vp_link"), path]


def compiled(sizes: Sizes, folder: Path) -> Simulator:
    return compile_top(sizes.top, sources(sizes, folder), *sizes.ports)


def bytes_of(frames: Sequence[LinkFrame]) -> list[int]:
    """After an access the host waits until its answer, behind others, must be there."""
    return [symbol for frame in frames for symbol in (*frame.encoded, *(WAIT if frame.type == FrameType.ACCESS else []))]


def run(
    simulator: Simulator,
    sizes: Sizes,
    symbols: Sequence[int],
    stimulus: Stimulus = Stimulus(),
    room: int | None = None,
    access_room: int = 1 << 16,
) -> Expected:
    """Send ``symbols``, and random logits for every image that gets through; assert that images, answers, tags, accesses and counts are right.

    A last query after a silence tells the counts. With ``room`` the design gives no logits, and so many images get through; where the
    stimulus stalls them for ever they are not taken, and neither are writes, so that an access is never answered.
    """
    last = LinkFrame(FrameType.QUERY, 0xBEEF)
    symbols = [*symbols, SILENCE, *last.encoded]
    want = expected(symbols, sizes.image_bytes, 1 << 16 if room is None else room, sizes.access_bytes, access_room)
    images = np.frombuffer(b"".join(want.images), np.uint8).reshape(-1, sizes.in_bytes)
    logits = np.random.default_rng(3).integers(
        0, 256, (len(want.images) * sizes.out_beats * (room is None), sizes.out_bytes), dtype=np.uint8
    )
    frames = [logits[i : i + sizes.out_beats].tobytes() for i in range(0, len(logits), sizes.out_beats)]
    held = stimulus.stall == {IMAGES: 1.0}
    size = len(HEADER.pack(0, 0, 0, 0)) + CRC.size
    total = sum(size + (4 if cause else LinkStatus.LAYOUT.size) for cause, _ in want.answers)
    total += len(frames) * (size + 4 + sizes.logit_bytes)
    unwritten = stimulus.stall == {WRITES: 1.0}
    total += 0 if unwritten else len(want.reads) * (size + WORD_BYTES)
    writes = np.array([list(struct.pack("<IB", word, address)) for address, word in want.writes], np.uint8).reshape(-1, 5)
    outputs = {IMAGES: 0 if held else images, ANSWERS: total} | ({WRITES: 0 if unwritten else writes} if sizes.words else {})
    result = simulator.run(
        {HOST: _packed(symbols), LOGITS: logits},
        outputs,
        stimulus=stimulus,
        idle_limit=4 * sizes.quiet + 60 * max(sizes.bit, sizes.host_bit) // 256 + 2000,
    )
    assert result.ok, f"{stimulus}: {result.deadlock}, {result.mismatches}, {result.extra_beats}, {result.violations}"
    _check_answers(result, sizes, want, frames)
    return want


def _check_answers(result: SimResult, sizes: Sizes, want: Expected, logits: list[bytes]) -> None:
    out = result.outputs[ANSWERS]
    assert not out[:, 1].any(), "the line of the board breaks in no byte"
    found = sizes.reader.feed(out[:, 0].tobytes())
    assert sum(len(frame.encoded) for frame in found) == len(out), "all that comes is frames, and right"
    given = [frame for frame in found if frame.type == FrameType.LOGITS]
    assert [(f.number, CRC.unpack(f.payload[:4])[0]) for f in given] == want.tags[: len(given)] and len(given) == len(logits)
    assert [f.payload[4:] for f in given] == logits
    reads = [(frame.number, int.from_bytes(frame.payload, "little")) for frame in found if frame.type == FrameType.WORD]
    assert reads == want.reads[: len(reads)] and len(reads) in (0, len(want.reads))
    answers = [frame for frame in found if frame.type not in (FrameType.LOGITS, FrameType.WORD)]
    told = [(cause_of(f) if f.type == FrameType.REFUSED else None, f.number) for f in answers]
    assert told == want.answers, (told, want.answers)
    assert all(f.payload[1:] == bytes(3) for f in answers if f.type == FrameType.REFUSED)
    states = [LinkStatus.decode(f.payload) for f in answers if f.type == FrameType.STATUS]
    for state in states:
        assert (state.version, state.design, state.quiet) == (1, DESIGN, 128 if sizes.bit else 77)
        assert (state.image_bytes, state.logit_bytes, state.images) == (sizes.image_bytes, sizes.logit_bytes, sizes.images)
        assert 0 <= state.pending <= len(want.images)
    assert {None: states[-1].right, **states[-1].refused} == want.counts
    if not logits:
        assert states[-1].pending == len(want.images)


def _packed(symbols: Sequence[int]) -> np.ndarray:
    return np.array(symbols, "<u2").view(np.uint8).reshape(-1, 2)


# --- what the checks send ---


def frames_of(sizes: Sizes, seed: int, count: int, queries: int = 0, accesses: int = 0) -> list[LinkFrame]:
    """``count`` images of random bytes, START often among them, ``queries`` between them, and where there are registers ``accesses``."""
    rng = np.random.default_rng(seed)
    made = [LinkFrame(FrameType.IMAGE, int(rng.integers(1 << 16)), _noise(rng, sizes.image_bytes)) for _ in range(count)]
    for _ in range(queries):
        made.insert(int(rng.integers(len(made) + 1)), LinkFrame(FrameType.QUERY, int(rng.integers(1 << 16))))
    for _ in range(accesses if sizes.words else 0):
        made.insert(int(rng.integers(len(made) + 1)), access_of(sizes, rng))
    return made


def access_of(sizes: Sizes, rng: np.random.Generator) -> LinkFrame:
    """An access to some of four registers."""
    words = tuple(int.from_bytes(_noise(rng, 4), "little") for _ in range(rng.integers(sizes.words + 1)))
    write, read = (4 * int(rng.choice([0, 2, 3, 41])) for _ in range(2))
    return LinkFrame(FrameType.ACCESS, int(rng.integers(1 << 16)), RegisterAccess(write, words, read).encoded(sizes.words))


def _noise(rng: np.random.Generator, size: int) -> bytes:
    drawn = rng.integers(0, 256, size)
    return bytes(np.where(rng.random(size) < 0.2, START, drawn).astype(np.uint8))


def damaged(frame: LinkFrame, rng: np.random.Generator) -> list[int]:
    """A frame with a fault: a bit flipped, bytes lost, doubled or put in, the end cut off, the line broken, another type or length."""
    data = list(frame.encoded)
    at = int(rng.integers(len(data)))
    match int(rng.integers(8)):
        case 0:
            data[at] ^= 1 << int(rng.integers(8))
        case 1:
            del data[at : at + int(rng.integers(1, 4))]
        case 2:
            data.insert(at, data[at])
        case 3:
            data[at:at] = _noise(rng, int(rng.integers(1, 12)))
        case 4:
            del data[at:]
        case 5:
            data[at] |= ERROR
        case 6:
            data[1] = int(rng.integers(3, 256))
        case _:
            data[4 + int(rng.integers(4))] ^= 1 << int(rng.integers(8))
    return data


STALLS = (
    Stimulus(),
    Stimulus(seed=11, pause=0.3, stall=0.3),
    Stimulus(seed=12, pause={LOGITS: 0.6, HOST: 0.1}, stall=0.6),
    Stimulus(seed=13, pause=0.2, stall=0.2, burst=17),
    Stimulus(seed=14, stall={IMAGES: 0.97}),
)


def _stimuli(sizes: Sizes) -> list[Stimulus]:
    """A line waits for nobody: what the board answers is taken as it comes."""
    return [replace(s, stall={IMAGES: s.stall}) if sizes.bit and isinstance(s.stall, float) else s for s in STALLS]


def check_frames(simulator: Simulator, sizes: Sizes) -> None:
    """Right frames back to back, with queries between them, under every kind of traffic; a reset in the middle, then all of them again."""
    for i, stimulus in enumerate(_stimuli(sizes)):
        accesses = 3 if sizes.words else 0
        want = run(simulator, sizes, bytes_of(frames_of(sizes, i, 4, 2, accesses)), stimulus)
        assert len(want.images) == 4 and len(want.reads) == accesses and want.counts[None] == 7 + accesses
    for at in (37, 200, 901):
        run(simulator, sizes, bytes_of(frames_of(sizes, at, 4, 1, 2)), Stimulus(seed=at, pause=0.1, reset_at=at))


def check_damage(simulator: Simulator, sizes: Sizes, runs: int = 30) -> set[Cause | None]:
    """Damaged frames, silences and noise between right ones: what the design gets and what is told is by the rules. Which causes came."""
    seen: set[Cause | None] = set()
    stimuli = _stimuli(sizes)
    for seed in range(runs):
        rng = np.random.default_rng([7, seed])
        symbols: list[int] = []
        for i, frame in enumerate(frames_of(sizes, seed, 4, 2, 2)):
            symbols += damaged(frame, rng) if i % 2 == seed % 2 else frame.encoded
            if frame.type == FrameType.ACCESS:
                symbols += WAIT
            elif rng.random() < 0.5:
                symbols.append(SILENCE)
        want = run(simulator, sizes, symbols, stimuli[seed % len(stimuli)])
        seen |= {cause for cause, count in want.counts.items() if count}
    return seen


def check_next_is_right(simulator: Simulator, sizes: Sizes) -> None:
    """After any damage and a silence the next image gets through; without a silence it does where no byte is missing."""
    for seed in range(24):
        rng = np.random.default_rng([8, seed])
        first, second = frames_of(sizes, 100 + seed, 2)
        want = run(simulator, sizes, [*damaged(first, rng), SILENCE, *second.encoded])
        assert want.images[-1] == second.payload
        flipped = [b ^ (1 << seed % 8) if i == 8 + seed % 12 else b for i, b in enumerate(first.encoded)]
        want = run(simulator, sizes, [*_noise(rng, seed), *flipped, *second.encoded])
        assert want.images[-1] == second.payload


def check_room(simulator: Simulator, sizes: Sizes) -> None:
    """Images that there is no room for are refused, those before them are not lost: before the design, and inside of it; damaged ones are
    refused for that."""
    for room, stimulus in ((sizes.images, Stimulus(stall={IMAGES: 1.0})), (sizes.tags, Stimulus())):
        if room == sizes.images and sizes.image_bytes <= 2 * sizes.in_bytes:
            continue  # registers before the design hold an image, too
        frames = frames_of(sizes, 5, room + 2)
        broken = LinkFrame(FrameType.IMAGE, 1, frames[0].payload).encoded[:-1] + bytes([frames[0].encoded[-1] ^ 1])
        want = run(simulator, sizes, [*bytes_of(frames), *broken], stimulus, room)
        assert want.counts[Cause.ROOM] == 2 and len(want.images) == room


def check_one_access(simulator: Simulator, sizes: Sizes) -> None:
    """While an access waits for the design, further ones are refused, and images go through. Writes that wait for ever are not taken."""
    if not sizes.words:
        return
    rng = np.random.default_rng(6)
    first = LinkFrame(FrameType.ACCESS, 7, RegisterAccess(8, (1,), 8).encoded(sizes.words))
    others = [access_of(sizes, rng), *frames_of(sizes, 6, 1), access_of(sizes, rng)]
    want = run(simulator, sizes, bytes_of([first, *others]), Stimulus(stall={WRITES: 1.0}), access_room=1)
    assert want.counts[Cause.ROOM] == 2 and len(want.images) == 1


def check_no_gaps(simulator: Simulator, sizes: Sizes) -> None:
    """A frame begins when all of it is there: however slow the design is, its bytes follow each other."""
    frames = frames_of(sizes, 9, 4)
    logits = np.zeros((4 * sizes.out_beats, sizes.out_bytes), np.uint8)
    images = np.frombuffer(b"".join(frame.payload for frame in frames), np.uint8).reshape(-1, sizes.in_bytes)
    size = len(LinkFrame(FrameType.LOGITS, 0, bytes(4 + sizes.logit_bytes)).encoded)
    for pause in (0.0, 0.9):
        stimulus = Stimulus(pause={LOGITS: pause}, burst=40)
        outputs = {IMAGES: images, ANSWERS: 4 * size} | ({WRITES: 0} if sizes.words else {})
        result = simulator.run({HOST: _packed(bytes_of(frames)), LOGITS: logits}, outputs, stimulus=stimulus)
        assert result.ok, (result.deadlock, result.mismatches, result.extra_beats)
        gaps = np.diff(result.out_cycles[ANSWERS].reshape(4, size), axis=1)
        assert gaps.max() <= max(3, 11 * sizes.bit / 256), gaps.max()


CHECKS: tuple[Callable[[Simulator, Sizes], object], ...] = (
    check_frames,
    check_damage,
    check_next_is_right,
    check_room,
    check_one_access,
    check_no_gaps,
)
SIZES = {
    "bytes": Sizes(),
    "one byte, one beat": Sizes(1, 1, 1, 1, images=1, tags=4),
    "wide beats": Sizes(8, 3, 5, 3, images=4, tags=5),
    "serial": Sizes(2, 5, 3, 2, images=4, tags=4, bit=4 * 256 + 70, host_bit=4 * 256 + 70),
    "registers": Sizes(2, 3, 2, 4, words=3),
    "registers, serial": Sizes(words=1, bit=4 * 256 + 70, host_bit=4 * 256 + 70),
}


def _parameters(sizes: Sizes, more: str) -> str:
    return (
        f".IN_BYTES({sizes.in_bytes}), .IN_BEATS({sizes.in_beats}), .OUT_BYTES({sizes.out_bytes}), .OUT_BEATS({sizes.out_beats}),"
        f" .IMAGES({sizes.images}), .TAGS({sizes.tags}), .WORDS({sizes.words}), .DESIGN(64'd{DESIGN}), {more}"
    )


def _head(sizes: Sizes) -> str:
    return f"""module {sizes.top} (
    input wire ap_clk, input wire ap_rst_n, input wire [15:0] in0_tdata, input wire in0_tvalid, output wire in0_tready,
    input wire [{8 * sizes.out_bytes - 1}:0] in1_tdata, input wire in1_tvalid, output wire in1_tready,
    output wire [{8 * sizes.in_bytes - 1}:0] out0_tdata, output wire out0_tvalid, input wire out0_tready,
    output wire [15:0] out1_tdata, output wire out1_tvalid, input wire out1_tready{WRITES_PORT if sizes.words else ""}
);
    localparam int SILENT = {sizes.quiet + MARGIN};
{REGISTERS if sizes.words else NO_REGISTERS}"""


REGISTER_PINS = """
        .m_axilite_AWADDR(awaddr), .m_axilite_AWVALID(awvalid), .m_axilite_AWREADY(awready), .m_axilite_WDATA(wdata), .m_axilite_WVALID(wvalid),
        .m_axilite_WREADY(wready), .m_axilite_BVALID(bvalid), .m_axilite_BREADY(bready), .m_axilite_ARADDR(araddr),
        .m_axilite_ARVALID(arvalid), .m_axilite_ARREADY(arready), .m_axilite_RDATA(rdata), .m_axilite_RVALID(rvalid), .m_axilite_RREADY(rready)"""
WRITES_PORT = ", output wire [39:0] out2_tdata, output wire out2_tvalid, input wire out2_tready"
WIRES = """    wire [7:0] awaddr, araddr;
    wire [31:0] wdata, rdata;
    wire awvalid, awready, wvalid, wready, bvalid, bready, arvalid, arready, rvalid, rready;
"""
NO_REGISTERS = f"""{WIRES}    assign {{awready, wready, bvalid, arready, rdata, rvalid}} = 37'd0;
"""
REGISTERS = f"""{WIRES}    reg [31:0] memory [64];
    reg [15:0] noise;
    reg aw_full, w_full, b_full, b_late, ar_full, r_late;
    reg [7:0] aw, ar;
    reg [31:0] w;
    assign awready = !aw_full && noise[0];
    assign wready = !w_full && noise[3];
    assign out2_tdata = {{aw, w}};
    assign out2_tvalid = aw_full && w_full && !b_full;
    assign bvalid = b_full && b_late;
    assign arready = !ar_full && noise[5];
    assign rvalid = ar_full && r_late;
    assign rdata = rvalid ? memory[ar[7:2]] : {{2{{noise}}}};
    always @(posedge ap_clk) begin
        noise <= ap_rst_n ? {{noise[14:0], noise[15] ^ noise[13] ^ noise[12] ^ noise[10]}} : 16'hace1;
        if (!ap_rst_n) begin
            for (int i = 0; i < 64; i++) memory[i] <= 32'd0;
            {{aw_full, w_full, b_full, b_late, ar_full, r_late}} <= 6'd0;
        end else begin
            if (awvalid && awready) {{aw_full, aw}} <= {{1'b1, awaddr}};
            if (wvalid && wready) {{w_full, w}} <= {{1'b1, wdata}};
            if (out2_tvalid && out2_tready) begin
                memory[aw[7:2]] <= w;
                b_full <= 1'b1;
            end
            b_late <= b_full && (b_late || noise[7]);
            if (bvalid && bready) {{aw_full, w_full, b_full, b_late}} <= 4'd0;
            if (arvalid && arready) {{ar_full, ar}} <= {{1'b1, araddr}};
            r_late <= ar_full && (r_late || noise[9]);
            if (rvalid && rready) {{ar_full, r_late}} <= 2'd0;
        end
    end
"""
"""What is behind a link with registers: 64 of them, slow by chance, and a stream of what was written."""


def _link_text(sizes: Sizes) -> str:
    """A silence is a beat that waits and is dropped."""
    return f"""{_head(sizes)}
    reg [31:0] silent;
    wire is_silence = in0_tdata[9];
    wire ready;
    always @(posedge ap_clk) silent <= !ap_rst_n || !in0_tvalid || in0_tready ? 32'd0 : silent + 32'd1;
    assign in0_tready = is_silence ? silent == SILENT : ready;
    vp_link #({_parameters(sizes, f".TIMEOUT({sizes.quiet}), .QUIET(77)")}) link (
        .clk(ap_clk), .rst_n(ap_rst_n), .in_data(in0_tdata[7:0]), .in_error(in0_tdata[8]), .in_valid(in0_tvalid && !is_silence),
        .in_ready(ready), .out_data(out1_tdata[7:0]), .out_valid(out1_tvalid), .out_ready(out1_tready),
        .m_tdata(out0_tdata), .m_tvalid(out0_tvalid), .m_tready(out0_tready),
        .s_tdata(in1_tdata), .s_tvalid(in1_tvalid), .s_tready(in1_tready),{REGISTER_PINS}
    );
    assign out1_tdata[15:8] = 8'd0;
endmodule
"""


def _board_text(sizes: Sizes) -> str:
    """The host's ends of the line, in 256ths of a cycle, written otherwise than the board's. With an error the stop bit is low."""
    return f"""{_head(sizes)}
    localparam int BIT = {sizes.host_bit};
    wire tx;
    reg rx;
    reg [31:0] t, silent;
    reg [8:0] bits;  // to come
    reg [3:0] to_come;
    reg busy;
    wire is_silence = in0_tdata[9];
    assign in0_tready = ap_rst_n && !busy && (!is_silence || silent == SILENT);
    always @(posedge ap_clk) begin
        silent <= !ap_rst_n || busy || in0_tready ? 32'd0 : in0_tvalid ? silent + 32'd1 : silent;
        if (!ap_rst_n) begin
            busy <= 1'b0;
            rx <= 1'b1;
        end else if (in0_tvalid && in0_tready && !is_silence) begin
            busy <= 1'b1;
            bits <= {{!in0_tdata[8], in0_tdata[7:0]}};
            rx <= 1'b0;
            to_come <= in0_tdata[8] ? 4'd11 : 4'd10;  // behind a broken byte the line is high for a bit
            t <= 32'd256;
        end else if (busy) begin
            if (t + 32'd256 > BIT) begin
                t <= t + 32'd256 - BIT;
                bits <= {{1'b1, bits[8:1]}};
                rx <= bits[0];
                to_come <= to_come - 4'd1;
                if (to_come == 4'd1) begin
                    busy <= 1'b0;
                    rx <= 1'b1;
                end
            end else t <= t + 32'd256;
        end
    end

    reg [31:0] u;
    reg [3:0] left;
    reg [8:0] got;
    reg [15:0] byte_out;
    reg valid;
    always @(posedge ap_clk) begin
        if (!ap_rst_n) begin
            left <= 4'd0;
            valid <= 1'b0;
        end else begin
            if (out1_tready) valid <= 1'b0;
            if (left == 4'd0) begin
                if (!tx) left <= 4'd10;
                u <= BIT / 2 + 32'd256;
            end else if (u + 32'd256 > BIT) begin
                u <= u + 32'd256 - BIT;
                left <= left - 4'd1;
                got <= {{tx, got[8:1]}};
                if (left == 4'd10 && tx) left <= 4'd0;
                if (left == 4'd1) begin
                    valid <= 1'b1;
                    byte_out <= {{7'd0, !tx || (valid && !out1_tready), got[8:1]}};
                end
            end else u <= u + 32'd256;
        end
    end
    assign out1_tdata = byte_out;
    assign out1_tvalid = valid;
    vp_board_uart #({_parameters(sizes, f".CLKS_PER_BIT({sizes.bit // 256}), .CLKS_FRACTION({sizes.bit % 256}), .QUIET_BITS(128)")}) board (
        .clk(ap_clk), .rst_n(ap_rst_n), .rx(rx), .tx(tx),
        .m_tdata(out0_tdata), .m_tvalid(out0_tvalid), .m_tready(out0_tready),
        .s_tdata(in1_tdata), .s_tvalid(in1_tvalid), .s_tready(in1_tready),{REGISTER_PINS}
    );
endmodule
"""
