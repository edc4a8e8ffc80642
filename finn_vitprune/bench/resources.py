"""Resources and logic depth of units in Yosys: arrays, what is around them, and weight memory.

A unit is synthesised as one array and the unit with its arrays as black boxes, and is the sum of the two, the
array as often as there are lanes. Arrays begin and end in registers, so that no logic is shared across; they
are the same for every keep rate, and the largest part of a unit by far.

Depth is what abc9 says in the log of ``synth_xilinx``: LUT levels of the worst path (the last ``lev``) and
the same with carry blocks counted as levels (``levB``). It stands in for timing, which only place and route
knows.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event

import numpy as np
from qonnx.core.datatype import DataType

from finn_vitprune import finn_env
from finn_vitprune.bench.units import PART, Unit, node
from finn_vitprune.custom_ops.base import Memory, VitRTLBackend
from finn_vitprune.custom_ops.memory import rom_bram18, rom_luts
from finn_vitprune.custom_ops.mvau_estimate import URAM_BITS
from finn_vitprune.synth.resources import Resources, total
from finn_vitprune.synth.yosys import NodeJob, SynthesisError, cache_key

TIMEOUT_S = 4 * 3600.0
BRAM36_BITS = 36 * 1024
LUT_BITS = 64
"""Bits of a ROM that a LUT holds."""

MAC, ARRAY, BOX = "vp_mac", "vp_bench_array", "vp_bench_box"
"""Module of the arrays in a unit; top that holds an array alone; what stands for an array."""

TAG_BITS = 4
"""Bits that travel beside the operands of an array, as vp_mvau_lane has it."""

_SYNTH = "synth_xilinx -family xcup -noiopad -flatten"
_DEPTH = re.compile(r"Mapping \(K=\d+\).*\blev =\s*(\d+)(?:.*\blevB =\s*(\d+))?")


@dataclass(frozen=True)
class Netlist:
    """A synthesised module: what it occupies, LUT levels of its worst path, the same with carry blocks."""

    resources: Resources
    depth_lut: int
    depth_carry: int

    def around(self, array: Netlist, lanes: int) -> Netlist:
        """This with ``lanes`` times ``array`` in place of its black boxes."""
        return Netlist(
            total([self.resources, *[array.resources] * lanes]),
            max(self.depth_lut, array.depth_lut),
            max(self.depth_carry, array.depth_carry),
        )


@dataclass(frozen=True)
class Cost:
    """A netlist with the names of the benchmark's rows; ``lut`` are LUTs used as logic, ``lut_sites`` all."""

    dsp: int
    lut: int
    lutram_sites: int
    srl: int
    lut_sites: int
    ff: int
    bram36: float
    uram: int
    depth_lut: int
    depth_carry: int

    @classmethod
    def of(cls, netlist: Netlist) -> Cost:
        r = netlist.resources
        return cls(
            dsp=r.DSP,
            lut=r.LUT - r.LUTRAM - r.SRL,
            lutram_sites=r.LUTRAM,
            srl=r.SRL,
            lut_sites=r.LUT,
            ff=r.FF,
            bram36=r.BRAM36,
            uram=r.URAM,
            depth_lut=netlist.depth_lut,
            depth_carry=netlist.depth_carry,
        )


@dataclass(frozen=True)
class Estimate:
    """What the op says it occupies."""

    dsp: int
    lut_sites: int
    bram36: float
    uram: int

    @classmethod
    def of(cls, op: VitRTLBackend) -> Estimate:
        return cls(
            dsp=int(op.dsp_estimation(PART)),
            lut_sites=int(op.lut_estimation(PART)),
            bram36=op.bram_estimation(PART) / 2,
            uram=int(op.uram_estimation(PART)),
        )


@dataclass(frozen=True)
class WeightMemory:
    """Weights of the kept blocks and where they are.

    Attributes:
        weight_bits: kept weights times their width. index_bits: programs of lanes and of the collect stage.
        memory_bits: capacity of the block RAMs (UltraRAMs, LUTs) that hold the weights. memory_bram36: these
            block RAMs.
    """

    weight_bits: int
    index_bits: int
    memory_bits: int
    memory_bram36: float


@dataclass(frozen=True)
class Job:
    """A module to synthesise and more options for the front end."""

    node: NodeJob
    options: str = ""

    @property
    def key(self) -> str:
        """Hash of all that the netlist depends on."""
        return cache_key(self.node) + ("-" + re.sub(r"\W+", "", self.options) if self.options else "")


def unit_op(unit: Unit, fold: dict[str, int], kept: list[int], lane_slots: int):
    """``(op, model)`` of a unit with ``kept`` blocks by column and room for ``lane_slots`` parts a lane."""
    mask = np.arange(unit.grid[0])[:, None] < np.asarray(kept)
    rng = np.random.default_rng(0)
    attributes = unit.attributes(fold, column_blocks=kept, lane_slots=lane_slots)
    return node("BlockSparseMVAU", attributes, [unit.weights(mask, rng), *unit.constants(rng)])


def sources(op: VitRTLBackend, model, folder: Path) -> tuple[Path, ...]:
    """HDL of an op in ``folder``, leaves first."""
    folder.mkdir(parents=True, exist_ok=True)
    op.set_nodeattr("code_gen_dir_ipgen", str(folder))
    op.generate_hdl(model, "", 0.0)
    return tuple(Path(f) for f in op.get_rtl_file_list(abspath=True))


def array_source(op: VitRTLBackend, folder: Path) -> Path:
    """A top :data:`ARRAY` that holds one lane's multiply-accumulate array and nothing else."""
    p = op.rtl_parameters()
    path = folder / f"{ARRAY}.sv"
    path.write_text(f"""module {ARRAY} ({_array_ports(p, TAG_BITS)});
    vp_mac #(
        .BODY("{p["MAC_BODY"]}"), .CHAIN({p["MAC_CHAIN"]}), .TOKENS_PER({p["MAC_TOKENS"]}),
        .OUTPUTS_PER({p["MAC_OUTPUTS"]}), .TOKENS({p["TOKENS"]}), .SIMD({p["SIMD"]}), .PE({p["PE"]}),
        .X_BITS({p["X_BITS"]}), .X_SIGNED(1'b{p["X_SIGNED"]}), .W_BITS({p["W_BITS"]}),
        .ACC_BITS({p["ACC_BITS"]}), .TAG_BITS({TAG_BITS})
    ) mac (.*);
endmodule
""")
    return path


def boxed(op: VitRTLBackend, files: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    """The sources of a unit with its arrays as black boxes :data:`BOX`."""
    [mac] = [path for path in files if path.stem == MAC]
    text = mac.read_text()
    header = text[text.index(f"module {MAC}") : text.index(");\n", text.index(") (")) + 3]
    box = folder / f"{BOX}.sv"
    box.write_text(
        f"(* blackbox *)\nmodule {BOX} ({_array_ports(op.rtl_parameters(), TAG_BITS)});\nendmodule\n"
        f"{header}    {BOX} box (.*);\nendmodule\n"
    )
    kept = [path for path in files if not path.stem.startswith((MAC, "vp_dsp48e2"))]
    return (box, *kept)


def _array_ports(p: dict[str, int | str], tag_bits: int) -> str:
    """Ports of an array of a unit with parameters ``p``."""
    tokens, simd, pe, acc = (p[name] for name in ("TOKENS", "SIMD", "PE", "ACC_BITS"))
    return f"""
    input wire clk, rst_n, first,
    input wire [{tokens * simd * p["X_BITS"] - 1}:0] x,
    input wire [{pe * simd * p["W_BITS"] - 1}:0] w,
    input wire [{tag_bits - 1}:0] tag,
    output wire [{tokens * pe * acc - 1}:0] acc,
    output wire [{tag_bits - 1}:0] tag_out
"""


def weight_memory(op: VitRTLBackend, model) -> WeightMemory:
    """The unit's weight memories: bits needed, and the block RAMs, UltraRAMs or LUTs that hold them."""
    memories = op.memories(model)
    weights = [m for name, m in memories.items() if name.startswith("weights")]
    bits = DataType[op.get_nodeattr("weightDataType")].bitwidth()
    style = op.rtl_parameters()["W_STYLE"]
    bram36 = sum(rom_bram18(*_shape(m), style) for m in weights) / 2
    luts = 0 if bram36 else sum(rom_luts(*_shape(m), style) for m in weights)
    return WeightMemory(
        weight_bits=op.param_counts()["weights"] * bits,
        index_bits=sum(_bits(memories[name]) for name in ("program", "collect")),
        memory_bits=int(bram36 * BRAM36_BITS) + luts * LUT_BITS + int(op.uram_estimation(PART)) * URAM_BITS,
        memory_bram36=bram36,
    )


def _shape(memory: Memory) -> tuple[int, int]:
    return len(memory.words), memory.width


def _bits(memory: Memory) -> int:
    return len(memory.words) * memory.width


def synthesise(jobs: Sequence[Job], workers: int, done: Callable[[Job, Netlist], None]) -> None:
    """Synthesise in ``workers`` processes; equal jobs run once, results are kept in the cache.

    Args:
        done: called in this thread for each job as its netlist is there.

    Raises:
        SynthesisError: the first failure; the other processes are stopped.
    """
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.key, []).append(job)
    stop = Event()
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        futures = {pool.submit(netlist, group[0], stop): group for group in groups.values()}
        for future in as_completed(futures):
            for job in futures[future]:
                done(job, future.result())
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def netlist(job: Job, stop: Event) -> Netlist:
    """One module, from the cache if an equal one was synthesised before.

    Raises:
        SynthesisError: Yosys fails or takes too long.
    """
    cached = finn_env.cache_dir() / "bench" / f"{job.key}.json"
    if cached.is_file():
        content = json.loads(cached.read_text())
        return Netlist(Resources.from_dict(content.pop("resources")), **content)
    cells, log = _run(job, stop)
    known = {name: count for name, count in cells.items() if name != BOX}
    found = Netlist(Resources.from_cells(known), *depth(log))
    cached.parent.mkdir(parents=True, exist_ok=True)
    partial = cached.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(asdict(found)))
    partial.replace(cached)
    return found


def depth(log: str) -> tuple[int, int]:
    """LUT levels of the worst path, and the same with carry blocks, from Yosys' log; 0 without LUTs."""
    levels = _DEPTH.findall(log)
    if not levels:
        return 0, 0
    lut, carry = levels[-1]
    return int(lut), int(carry or lut)


def _run(job: Job, stop: Event) -> tuple[dict[str, int], str]:
    """Cell type to count, and Yosys' log."""
    top, files = job.node.top, " ".join(str(path.resolve()) for path in job.node.sources)
    synth = f"{_SYNTH} -uram" if '"ultra"' in job.node.sources[-1].read_text() else _SYNTH
    commands = [f"read_slang -D VP_SYNTH {job.options} --top {top} {files}", f"{synth} -top {top}"]
    with tempfile.TemporaryDirectory(prefix="vitprune-bench-yosys-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps({"commands": commands}))
        log, stat = folder / "log", folder / "stat.json"
        command = [sys.executable, "-m", "finn_vitprune.synth.worker", "job.json", "stat.json"]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
            _wait(process, job, stop)
        text = log.read_text(errors="replace")
        if process.returncode or not stat.is_file():
            lines = [line for line in text.splitlines() if "ERROR" in line]
            reason = lines[0].strip() if lines else f"Yosys ended with exit code {process.returncode}"
            raise SynthesisError(f"synthesis of {top}: {reason}")
        return json.loads(stat.read_text())["design"]["num_cells_by_type"], text


def _wait(process: subprocess.Popen, job: Job, stop: Event) -> None:
    """Wait for the process; stop it with its children on time-out, on ``stop`` or on an exception."""
    waited = 0.0
    try:
        while process.poll() is None and not stop.wait(0.2):
            waited += 0.2
            if waited > TIMEOUT_S:
                raise SynthesisError(f"synthesis of {job.node.top}: Yosys took longer than {TIMEOUT_S:g} s")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
