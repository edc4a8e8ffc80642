"""A board in simulation: the RTL of the link with a real network behind it, driven through the two pins of its serial line."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finn_vitprune import cache
from finn_vitprune.boards.gate import BUTTON, DAMAGED
from finn_vitprune.boards.place import REGISTERS
from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.builds.stitched.stitch import TOP, StitchedDesign
from finn_vitprune.custom_ops.op.rtl_sources import rtl_sources
from finn_vitprune.link.frames import ACCESS_WORDS
from finn_vitprune.sim import compile as sim_compile
from finn_vitprune.sim import toolchain
from tests.vit_models import random_vit

CLKS, QUIET_BITS, IMAGES = 4, 256, 4
CLOCK_HZ = 12e6
"""Of the board that is simulated: its line has 3 Mbaud."""
TIMEOUT_S = 0.0008
BROKEN, RESET = DAMAGED, BUTTON
"""Symbols beside bytes, the same as of a simulated netlist."""
BENCH = Path(__file__).with_name("bench.cpp")
PART = "xcu250-figd2104-2L-e"


@dataclass(frozen=True)
class Tiny:
    """A network of one encoder, built to RTL, and images of its size."""

    folder: Path
    images: np.ndarray

    @property
    def design(self) -> StitchedDesign:
        return StitchedDesign.load(BuildFolder(self.folder.resolve()).stitched)


def tiny(folder: Path, seed: int = 0, **options) -> Tiny:
    """Build a network in ``folder``, with further options of a build."""
    model, _ = random_vit(depth=1, dim=8, heads=1, drop_at=(), seed=seed)
    model.save(str(folder / "model.onnx"))
    build(
        BuildOptions(
            model=folder / "model.onnx",
            output_dir=folder / "build",
            fpga_part=PART,
            target_fps=100_000,
            stop_step="step_stitch",
            synth="none",
            **options,
        )
    )
    return Tiny(folder / "build", np.random.default_rng(seed).integers(0, 256, (64, 4, 4, 1), dtype=np.uint8))


def compiled(design: StitchedDesign) -> Path:
    """The simulator of a board that holds ``design``."""
    bus, pins = _registers(design)
    top = f"""module board (input wire clk, input wire rst_n, input wire rx, output wire tx);
    wire [{design.input.tdata_bits - 1}:0] in; wire [{design.output.tdata_bits - 1}:0] out;
    wire in_valid, in_ready, out_valid, out_ready;
    wire [7:0] awaddr, araddr;
    wire [31:0] wdata, rdata;
    wire awvalid, awready, wvalid, wready, bvalid, bready, arvalid, arready, rvalid, rready;
    vp_board_uart #(
        .CLKS_PER_BIT({CLKS}), .IN_BYTES({design.input.tdata_bits // 8}), .IN_BEATS({design.input.beats}),
        .OUT_BYTES({design.output.tdata_bits // 8}), .OUT_BEATS({design.output.beats}), .IMAGES({IMAGES}), .QUIET_BITS({QUIET_BITS}),
        .WORDS({ACCESS_WORDS if design.loads else 0}), .DESIGN(64'd{design.number})
    ) link (
        .clk(clk), .rst_n(rst_n), .rx(rx), .tx(tx), .m_tdata(in), .m_tvalid(in_valid), .m_tready(in_ready),
        .s_tdata(out), .s_tvalid(out_valid), .s_tready(out_ready), {pins}
    );
    {TOP} accelerator (
        .ap_clk(clk), .ap_rst_n(rst_n), .s_axis_0_tdata(in), .s_axis_0_tvalid(in_valid), .s_axis_0_tready(in_ready),
        .m_axis_0_tdata(out), .m_axis_0_tvalid(out_valid), .m_axis_0_tready(out_ready){bus}
    );
endmodule
"""
    sources = [*rtl_sources("vp_board_uart"), *(design.folder / name for name in [*design.sources, f"{TOP}.v"])]
    files = [*sim_compile._distinct(sources), ("board.v", top.encode())]
    bench = f"constexpr unsigned CLKS = {CLKS};\n{BENCH.read_text()}"
    key = toolchain.digest(bench, *(part for name, content in files for part in (name, content)), toolchain.runtime_key())

    def make(folder: Path) -> None:
        generated = sim_compile._verilate(folder, "board", files, (), lint=False)
        objects = sim_compile._compile(generated, bench, sim_compile._groups)
        runtime = [path for path in toolchain.runtime_objects() if path.stem != "driver"]
        toolchain.link([*objects, *runtime], folder / "sim")
        sim_compile._forget_code(folder)

    return cache.entry(f"verilator/board-{key}", make) / "sim"


def _registers(design: StitchedDesign) -> tuple[str, str]:
    """How the load port is connected, of the accelerator and of the link."""
    if not design.loads:
        zero = "'0"
        return "", ", ".join(f".m_axilite_{pin}({'' if driven else zero})" for pin, (_, driven) in REGISTERS.items())
    (load,) = design.loads
    bits = f"[{load.address_bits - 1}:0]"
    port = "".join(f", .{load.port}_{pin}({pin.lower()}{bits if pin.endswith('ADDR') else ''})" for pin in REGISTERS)
    link = ", ".join(f".m_axilite_{pin}({pin.lower()})" for pin in REGISTERS)
    return f"{port}, .{load.port}_WSTRB(4'hf), .{load.port}_BRESP(), .{load.port}_RRESP()", link


class SimulatedBoard:
    """A transport whose other end is a simulation: time passes only while it is read. ``symbols`` may be more than bytes."""

    def __init__(self, simulator: Path, design: StitchedDesign) -> None:
        self.name, self.bit_s, self.cycle = "the simulated board", CLKS / CLOCK_HZ, 0
        self._process = subprocess.Popen([simulator], cwd=design.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def symbols(self, symbols: Sequence[int]) -> None:
        """Send bytes, BROKEN ones (no stop bit), RESETs of the board."""
        self._process.stdin.write(b"W" + struct.pack(f"<I{len(symbols)}H", len(symbols), *symbols))

    def write(self, data: bytes) -> None:
        self.symbols(list(data))

    def read(self, seconds: float) -> bytes:
        self._process.stdin.write(b"R" + struct.pack("<Q", max(1, round(seconds * CLOCK_HZ))))
        self._process.stdin.flush()
        self.cycle, count = struct.unpack("<QI", self._process.stdout.read(12))
        return self._process.stdout.read(count)

    def now(self) -> float:
        return self.cycle / CLOCK_HZ

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait()
