"""A small design that is loaded, its weights or all its contents: two matrix units in a row, x INT4 to x W V, load port and end."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from finn.transformation.fpgadataflow.prepare_ip import PrepareIP
from onnx import TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune import load_port
from finn_vitprune.builds.stitched.stitch import StitchedDesign, stitch
from finn_vitprune.custom_ops.op.rtl_backend import RESET_STAGES
from finn_vitprune.custom_ops.registry import make_node
from finn_vitprune.sim import BusPort, Port, SimResult, Simulator, Stimulus, bus
from finn_vitprune.sim.beats import pack, unpack
from finn_vitprune.sim.contents import Contents
from finn_vitprune.transforms.streams.insert_load_port import InsertLoadPort, design_number
from tests.reloads import of_loads
from tests.rtl.benches.helper import PART, SHORT_RESET

INPUT, OUTPUT, BUS = "s_axis_0", "m_axis_0", "s_axilite_0"
SIDE = 16
FOLDS = {
    "one bank each": ({"SIMD": 4, "PE": 2, "in_width": 2, "out_width": 2},) * 2,
    "two banks of 48 bits, words of 12": (
        {"SIMD": 8, "PE": 3, "block": 24, "in_width": 8, "out_width": 3, "mac_style": "dsp48e2"},
        {"SIMD": 3, "PE": 1, "block": 24, "in_width": 3, "out_width": 1},
    ),
    "all contents": ({"SIMD": 4, "PE": 2, "block": 4, "in_width": 2, "out_width": 2, "ram_style": "auto", "loaded": 1},) * 2,
}  # fmt: skip
"""Of both units. Where all contents are loaded, each network has other kept blocks, so that the programs differ, too."""


def two_matrices(seed: int, fold: str = "one bank each") -> tuple[ModelWrapper, np.ndarray]:
    """x INT4 [1, 4, n] times W [n, n], then that times V [n, n]; and W V."""
    folds = FOLDS[fold]
    side = max(SIDE, *(f.get("block", 0) for f in folds))
    rng = np.random.default_rng(seed)
    weights = rng.integers(-8, 8, (2, side, side))
    if folds[0].get("loaded"):
        block = folds[0]["block"]
        weights *= np.kron(rng.random((2, side // block, side // block)) < 0.6, np.ones((block, block), int))
    types = [("INT4", "INT16"), ("INT16", "INT32")]
    nodes = [
        make_node(
            "BlockSparseMVAU_rtl",
            [x, f"w{i}", "bias"],
            [y],
            name=f"BlockSparseMVAU_rtl_{i}",
            requant=0,
            inputDataType=types[i][0],
            weightDataType="INT4",
            outputDataType=types[i][1],
            **{"tokens": 4, "MW": side, "MH": side, "block": 8, "ram_style": "ultra", **folds[i]},
        )
        for i, (x, y) in enumerate([("x", "y"), ("y", "z")])
    ]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 4, side)) for n in ("x", "y", "z")]
    model = ModelWrapper(helper.make_model(helper.make_graph(nodes, "two", infos[:1], infos[2:], value_info=infos[1:2])))
    for i in range(2):
        model.set_initializer(f"w{i}", weights[i].astype(np.float32))
    model.set_initializer("bias", np.zeros(side, np.float32))
    for name, kind in (("x", "INT4"), ("y", "INT16"), ("z", "INT32")):
        model.set_tensor_datatype(name, DataType[kind])
    return model, weights[0] @ weights[1]


@dataclass(frozen=True)
class Loadable:
    """The stitched design in a folder of its own, two contents for it, and the product of each.

    ``simulator`` is what runs; None compiles the design.
    """

    design: StitchedDesign
    contents: tuple[Contents, Contents]
    products: tuple[np.ndarray, np.ndarray]
    _keep: tempfile.TemporaryDirectory
    simulator: Simulator | None = None

    @property
    def words(self) -> tuple[np.ndarray, np.ndarray]:
        """What goes to the port, header and checksum included."""
        return self.contents[0].words, self.contents[1].words

    @cached_property
    def ports(self) -> tuple[list[Port], list[Port], list[BusPort]]:
        """Streams and load port."""
        ins, outs = Port(INPUT, self.design.input.tdata_bits), Port(OUTPUT, self.design.output.tdata_bits)
        return [ins], [outs], [BusPort(load.port, load.address_bits) for load in self.design.loads]

    @property
    def sources(self) -> list[Path]:
        """RTL files, the top last."""
        return [self.design.folder / name for name in [*self.design.sources, "finn_design.v"]]

    def frames(self, count: int, seed: int = 1) -> np.ndarray:
        """Random codes ``[count, tokens, channels]``."""
        shape = (count, self.design.input.tokens, self.design.input.channels)
        return np.random.default_rng(seed).integers(-8, 8, shape)

    def run(
        self, steps: Sequence[np.ndarray], frames: np.ndarray, stimulus: Stimulus = Stimulus(), product: int = 0, fill: bool = False
    ) -> SimResult:
        """Execute ``steps`` at the load port and feed ``frames``; what should come out is that of ``contents[product]``."""
        want = pack(frames @ self.products[product], self.design.output)
        return self.simulator.run(
            {INPUT: pack(frames, self.design.input)},
            {OUTPUT: want},
            data_dir=self.design.folder,
            stimulus=stimulus,
            idle_limit=3000,
            loads={BUS: np.concatenate(steps)} if steps else {},
            fill=fill,
        )

    def results(self, result: SimResult) -> np.ndarray:
        """What came out, ``[frames, tokens, channels]`` of the whole frames."""
        beats = self.design.output.beats
        out = result.outputs[OUTPUT]
        return unpack(out[: len(out) // beats * beats], self.design.output)


def loadable(fold: str = "one bank each", reset_stages: int = RESET_STAGES) -> Loadable:
    """The design with two contents, not compiled; its reset passes so many registers."""
    keep = tempfile.TemporaryDirectory(prefix="vitprune-load-")
    models, products = zip(*(two_matrices(7 + i, fold) for i in range(2)))
    number = None
    if FOLDS[fold][0].get("loaded"):  # programs too, so that the networks have other numbers, but one design
        _made_for_all(models)
        number = design_number(models[0])
    stitched = []
    for i, model in enumerate(models):
        model = model.transform(InsertLoadPort(number))
        for node in model.graph.node:
            getCustomOp(node).set_nodeattr("reset_stages", reset_stages)
        stitched.append(stitch(model.transform(PrepareIP(PART, 5.0)), Path(keep.name) / f"stitched_{i}"))
    texts = [{path.name: path.read_text() for path in design.folder.glob("*.v")} for design in stitched]
    assert texts[0] == texts[1]
    contents = tuple(Contents.load(design.folder) for design in stitched)
    assert contents[0].design == contents[1].design and not np.array_equal(contents[0].data, contents[1].data)
    return Loadable(stitched[0], contents, products, keep)


def _made_for_all(models: Sequence[ModelWrapper]) -> None:
    """Every unit has room for what that unit is loaded with in any of ``models``."""
    networks = [[getCustomOp(node) for node in model.graph.node] for model in models]
    for model, ops in zip(models, networks):
        for op in ops:
            op.fit(model)
    for ops in networks:
        for others in networks:
            for op, other in zip(ops, others, strict=True):
                op.widen(other)


# --- what a load must hold: each raises AssertionError ---

PAUSED = Stimulus(seed=5, pause=0.4, stall=0.3, load_first=False)
AT_ONCE = Stimulus(seed=6, load_first=False)
STATE = bus.read(load_port.STATUS)


def begin(wait: int = load_port.LOADING) -> np.ndarray:
    """Begin a load and wait for a state."""
    return np.concatenate([bus.write(load_port.CONTROL, load_port.BEGIN), bus.poll(load_port.STATUS, wait)])


def put(words: np.ndarray) -> np.ndarray:
    """Write words of contents."""
    return bus.writes(load_port.DATA, words)


def check_loads(d: Loadable) -> None:
    """The input is closed until the last word is in; then the results are those of what was loaded last."""
    frames = d.frames(3)
    first, second = d.words
    n = len(first)
    whole = [STATE, bus.load(first), STATE]
    resets = (replace(PAUSED, reset_at=n, reset_cycles=SHORT_RESET), replace(AT_ONCE, reset_at=1 << 30, reset_cycles=SHORT_RESET))
    for stimulus in (AT_ONCE, PAUSED, *resets):
        result = d.run(whole, frames, stimulus)
        assert result.ok, (stimulus, result.deadlock, result.violations)
        assert result.in_cycles[INPUT][0] >= 2 * n
        assert result.loads[BUS].reads == (load_port.EMPTY, load_port.OPEN)
    extra = [bus.load(first), put(first[:3]), STATE]
    restarted = [begin(), put(second[: n // 2]), bus.load(first), STATE]
    other_first = [bus.load(second), bus.load(first), STATE]
    refused = [begin(), put(second ^ 1), bus.load(first), STATE]
    for steps in (extra, restarted, other_first, refused):
        for stimulus in (Stimulus(), replace(PAUSED, load_first=True)):
            result = d.run(steps, frames, stimulus)
            assert result.ok and result.loads[BUS].reads[-1] == load_port.OPEN, (stimulus, result.deadlock, result.violations)
    wrong = d.run([bus.load(second)], frames)
    assert wrong.deadlock is None and len(wrong.mismatches[OUTPUT])


def check_refusals(d: Loadable) -> None:
    """What is cut off, damaged or for another design opens nothing, and the port says why."""
    words = d.words[0]
    n = len(words)
    k = 5 + int(np.flatnonzero(np.diff(words[5:-1].astype(np.int64)))[0])  # a data word that is not the next one
    refused = {
        load_port.LOADING: [words[: n - 1], words[: n // 2], words[:0], np.delete(words, 9), np.delete(words, n - 2)],
        load_port.WRONG_DESIGN: [
            words ^ flip for flip in (_flip(n, i, bit) for i, bit in ((0, 0), (1, 31), (2, 0), (2, 31), (3, 0), (3, 16)))
        ] + [np.delete(words, i) for i in range(4)],
        load_port.WRONG_CHECKSUM: [
            words ^ flip for flip in (_flip(n, i, bit) for i, bit in ((4, 0), (7, 31), (n - 2, 5), (n - 1, 0), (n - 1, 31)))
        ] + [np.concatenate([words[: k + 1], words[k:-2], words[-1:]]), np.concatenate([words[:k], words[[k + 1, k]], words[k + 2 :]])],
    }  # fmt: skip
    for state, cases in refused.items():
        for case in cases:
            for steps in ([begin(), put(case)], [bus.load(words), begin(), put(case)]):
                result = d.run([*steps, bus.wait(200), STATE], d.frames(1))
                assert result.loads[BUS].reads == (state,), (state, case, result.loads)
                assert not len(result.in_cycles[INPUT]) and not result.violations
    early = [bus.write(load_port.CONTROL, load_port.BEGIN), put(words), bus.wait(200), STATE]
    for steps in ([put(words), bus.wait(200), STATE], [bus.write(load_port.CONTROL, 0), put(words), STATE]):
        result = d.run(steps, d.frames(1))
        assert result.loads[BUS].reads == (load_port.EMPTY,) and not len(result.in_cycles[INPUT])
    result = d.run(early, d.frames(1))
    assert result.loads[BUS].reads[0] in (load_port.LOADING, load_port.WRONG_DESIGN, load_port.TOO_EARLY)
    assert not len(result.in_cycles[INPUT])


def check_registers(d: Loadable) -> None:
    """Data words taken, number, checksum and total at each stage, frames inside while the output stands still."""
    words = d.words[0]
    n = len(words)
    head, some = 4, 7
    taken = [bus.read(a) for a in (load_port.TAKEN, load_port.DESIGN, load_port.CHECKSUM, load_port.TOTAL, load_port.FRAMES)]
    steps = [
        *taken,
        begin(),
        put(words[:head]),
        *taken,
        put(words[head : head + some]),
        *taken,
        put(words[head + some :]),
        bus.poll(load_port.STATUS, load_port.OPEN),
        *taken,
    ]
    for stimulus in (Stimulus(), PAUSED):
        found = np.reshape(d.run(steps, d.frames(1), replace(stimulus, load_first=True)).loads[BUS].reads, (4, 5)).tolist()
        crc = [zlib.crc32(words[:k].tobytes()) for k in (0, head, head + some, n - 1)]
        design, total = d.contents[0].design, n - head - 1
        assert found == [[t, design, c, total, 0] for t, c in zip((0, 0, some, total), crc)]
    stuck = Stimulus(stall=1.0, load_first=False)
    read = [
        bus.load(words),
        bus.wait(400),
        bus.read(load_port.FRAMES),
        bus.write(load_port.CONTROL, load_port.BEGIN),
        bus.wait(100),
        STATE,
        put(words[:1]),
        STATE,
        put(words),
        bus.write(load_port.CONTROL, load_port.BEGIN),
        STATE,
    ]
    result = d.run(read, d.frames(8), stuck)
    inside = -(-len(result.in_cycles[INPUT]) // d.design.input.beats)
    assert result.loads[BUS].reads == (inside, load_port.DRAINING, load_port.TOO_EARLY, load_port.DRAINING) and inside > 1
    beats, frames = d.design.output.beats, d.frames(40)
    late = int(d.run([bus.load(words)], frames, AT_ONCE).out_cycles[OUTPUT][beats - 2]) + 1
    count = [bus.load(words), bus.wait(6 * late), bus.read(load_port.FRAMES)]
    stopped = 0
    for seed in range(40, 140):  # a reset in a frame that leaves, but for its last beat; then the output stops for good
        stops = Stimulus(seed, stall=0.5 / late, burst=1 << 30, load_first=False, reset_at=late, reset_cycles=SHORT_RESET)
        result = d.run(count, frames, stops)
        out = result.out_cycles[OUTPUT]
        if len(out) and out[-1] < 6 * late:  # before the number is read
            entered, left = -(-len(result.in_cycles[INPUT]) // d.design.input.beats), len(out) // beats
            assert result.loads[BUS].reads == (entered - left,), (stops, entered, left)
            stopped += len(out) % beats > 0
        if seed >= 55 and stopped > 2:
            break
    assert stopped > 2


def check_reload(d: Loadable, waits: Sequence[int] = (0, 37, 90, 151, 260, 333)) -> None:
    """Loads between frames, of the first contents, the second, and the first again: each frame is of those that were loaded when it
    entered, and none comes too late or too early.
    """
    frames = d.frames(16, seed=3)
    wanted = [frames @ d.products[i] for i in (0, 1, 0)]
    counts = []
    for i, after in enumerate(waits):
        stimulus = Stimulus(seed=20 + i, pause=0.15 * (i % 3), stall=(0.0, 0.2, 0.8)[i % 3], load_first=False)
        first, second = d.words
        steps = [bus.load(first), bus.wait(after + 1), bus.load(second), bus.wait(after + 60), bus.load(first)]
        result = d.run(steps, frames, stimulus)
        assert result.deadlock is None and not result.violations and not result.extra_beats[OUTPUT]
        found = of_loads(d.results(result), wanted)
        assert not found.mismatches, (after, found)
        counts.append(found.frames)
    assert len({count[0] for count in counts}) > 2 and all(map(any, zip(*counts))), counts


def _flip(n: int, place: int, bit: int) -> np.ndarray:
    """One bit of one of ``n`` words."""
    mask = np.zeros(n, np.uint32)
    mask[place] = np.uint32(1) << np.uint32(bit)
    return mask
