"""An array alone: several layers on one matrix unit, frames of all of them against each layer's golden model."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.bench.cycles import simulator_of
from finn_vitprune.custom_ops.engine.array import VitArray, VitArray_rtl
from finn_vitprune.custom_ops.engine.array_times import ArrayTimes
from finn_vitprune.custom_ops.op.finn_op import TAGS
from finn_vitprune.custom_ops.op.token_times import LATE, TokenTimes
from finn_vitprune.sim import SimResult, Simulator, Stimulus, beats
from finn_vitprune.sim.loads import read_loads
from tests.rtl.benches.helper import PART, SHORT_RESET, build_node, random_stream
from tests.rtl.benches.shared_helper import Use

START_CYCLES = 24
"""From the start of a simulation to the first choice: the tags on their way to the ports, the first program of the unit."""


@dataclass(frozen=True)
class BuiltArray:
    """An array with generated HDL and a compiled simulator; ``uses`` by layer; ``folder`` lives as long as the object."""

    op: VitArray_rtl
    uses: tuple[Use, ...]
    simulator: Simulator
    folder: Path
    _keep: tempfile.TemporaryDirectory

    def drawn(self, tags: Sequence[int], seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Frames of these passes: beats that go in, and those that must come out, by the name of the port."""
        layers, ports = self.op.by_encoder(), range(self.op.port_count)
        feed: dict[str, list[np.ndarray]] = {f"in{p}_V": [] for p in ports}
        want: dict[str, list[np.ndarray]] = {f"out{p}_V": [] for p in ports}
        for number, tag in enumerate(tags):
            for port in ports:
                if (layer := self.op.layer_at.get((port, tag))) is None:
                    continue
                op = layers[layer]
                (source,), (sink,) = op.in_streams(), op.out_streams()
                x = random_stream(source, 1, 97 * seed + 31 * number + port)
                (y,) = op.compute(np.asarray(x, np.int64), *(np.asarray(i, np.int64) for i in self.uses[layer].initialisers))
                feed[f"in{port}_V"].append(beats.pack(x, source))
                want[f"out{port}_V"].append(beats.pack(y, sink))
        sent = beats.pack(np.array(tags)[:, None, None], TAGS)
        feed[f"in{len(ports)}_V"], want[f"out{len(ports)}_V"] = [sent], [sent]
        both = [{name: np.concatenate(parts) for name, parts in side.items()} for side in (feed, want)]
        return both[0], both[1]

    def run(self, tags: Sequence[int], stimulus: Stimulus = Stimulus(), seed: int = 0) -> SimResult:
        """Feed frames of these passes; every output is compared (see ``result.ok``)."""
        feed, want = self.drawn(tags, seed)
        limit = 8 * sum(own.cycles for own in self.op.fold().each) + 4000
        return self.simulator.run(feed, want, data_dir=self.folder, stimulus=stimulus, loads=read_loads(self.folder), idle_limit=limit)


def array_of(
    layers: Sequence[Sequence[Use | None]], frames: int = 4, loaded: bool = False
) -> tuple[VitArray_rtl, ModelWrapper, tuple[Use, ...]]:  # fmt: skip
    """An array by port and tag, in a model of its own, and its uses by layer; ``loaded``: all of its contents are."""
    ops, constants, uses = [], {}, []
    for port, own in enumerate(layers):
        ops.append([])
        for tag, use in enumerate(own):
            if use is None:
                ops[-1].append(None)
                continue
            op, model = build_node("BlockSparseMVAU", use.attrs, use.initialisers, f"layer{len(uses)}")
            for i, name in enumerate(op.onnx_node.input):
                if name.startswith("param"):
                    op.onnx_node.input[i] = f"p{port}_t{tag}_{name}"
                    constants[op.onnx_node.input[i]] = model.get_initializer(name)
            ops[-1].append(op)
            uses.append(use)
    names = [[f"{side}{port}" for port in range(len(layers))] for side in ("in", "out")]
    roles = [f"role_{port}" for port in range(len(layers))]
    node = VitArray.of("dut", ops, roles, [*names[0], "tags"], [*names[1], "tags_on"], frames)
    model = ModelWrapper(helper.make_model(helper.make_graph([node], "unit", [], [])))
    for name, value in constants.items():
        model.set_initializer(name, value)
    array = getCustomOp(model.graph.node[0])
    array.set_nodeattr("loaded", int(loaded))
    return array, model, tuple(uses)


def generate(
    layers: Sequence[Sequence[Use | None]], frames: int = 4, loaded: bool = False
) -> tuple[VitArray_rtl, tuple[Use, ...], tempfile.TemporaryDirectory]:
    """The array with HDL, its uses by layer, and the folder of the HDL."""
    op, model, uses = array_of(layers, frames, loaded)
    op.verify_node()
    keep = tempfile.TemporaryDirectory(prefix="vitprune-op-")
    op.set_nodeattr("code_gen_dir_ipgen", keep.name)
    op.code_generation_ipgen(model, PART, 5.0)
    return op, uses, keep


def build_array(layers: Sequence[Sequence[Use | None]], frames: int = 4, loaded: bool = False) -> BuiltArray:
    """The array with HDL and simulator."""
    op, uses, keep = generate(layers, frames, loaded)
    return BuiltArray(op, uses, simulator_of(op), Path(keep.name), keep)


def check_array(built: BuiltArray, tags: Sequence[int], patterns: Sequence[Stimulus], seed: int = 0) -> None:
    """Assert that an array equals the golden models of its layers under every kind of traffic, also where rows of a port come late or
    leave late, where tags come late, and after a reset amid its work."""
    first = built.run(tags, seed=seed)
    assert first.ok, f"{first.deadlock}, {first.mismatches}, {first.violations}"
    ports, middle = range(built.op.port_count), max(3, first.cycles // 2)
    late = [Stimulus(seed=30 + p, pause={f"in{p}_V": 0.9}, burst=max(1, first.cycles // 8)) for p in (*ports, len(ports))]
    slow = [Stimulus(seed=40 + p, stall={f"out{p}_V": 0.9}, burst=max(1, first.cycles // 8)) for p in ports]
    resets = (
        Stimulus(seed=21, reset_at=middle, reset_cycles=SHORT_RESET),
        Stimulus(seed=22, pause=0.2, stall=0.3, reset_at=2 * middle // 3, reset_cycles=SHORT_RESET),
    )
    for stimulus in (*patterns, *late, *slow, *resets):
        result = built.run(tags, stimulus, seed)
        assert result.ok, f"{stimulus}: {result.deadlock}, {result.mismatches}, {result.extra_beats}, {result.violations}"


def check_choice(built: BuiltArray) -> None:
    """Assert that frames of all passes, which wait at their ports, are through in the cycles of the arbiter's rule, within 3 % or some
    cycles."""
    tags = list(range(built.op.get_nodeattr("engine_tags"))) * 2
    while len(tags) > built.op.get_nodeattr("frames"):  # all ports know of all
        tags.pop()
    result = built.run(tags)
    assert result.ok
    times, layers = ArrayTimes(built.op), built.op.by_encoder()
    times.begin(tags)
    came: dict[tuple[int, int], TokenTimes] = {}
    free = [0.0] * built.op.port_count
    for number, tag in enumerate(tags):
        for port in range(built.op.port_count):
            if (at := built.op.layer_at.get((port, tag))) is not None:
                source = layers[at].in_streams()[0]
                came[number, port] = TokenTimes.steady(source.tokens, source.token_beats).served(source.token_beats, 0, start=free[port])
                free[port] = came[number, port].last[-1] + 1
    while (choice := times.choice(lambda *at: came.get(at), times.times)).when < LATE:
        times.take(choice)
    expected = START_CYCLES + max(last[-1] for _, last in times.left.values())
    assert abs(result.cycles - expected) <= max(0.03 * expected, 21), f"{result.cycles} cycles, by the rule {expected}"
