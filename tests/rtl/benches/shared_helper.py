"""One way to test a unit that several encoders share: frames of all of them in any order, against each one's golden model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from finn.util.basic import getHWCustomOp
from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.bench.cycles import simulator_of
from finn_vitprune.custom_ops.op.finn_op import TAGS
from finn_vitprune.custom_ops.op.shared import SharedOp
from finn_vitprune.sim import SimResult, Simulator, Stimulus, beats
from finn_vitprune.sim.contents import CHAIN, Contents
from finn_vitprune.sim.loads import read_loads
from tests.rtl.benches.helper import PART, PATTERNS, SHORT_RESET, build_node, random_stream


@dataclass(frozen=True)
class Use:
    """What an encoder needs of a unit: attributes, initialisers, and a draw of its streams by seed where uniform codes do not do."""

    attrs: dict
    initialisers: tuple[np.ndarray, ...] = ()
    drawn: Callable[[int], tuple[np.ndarray, ...]] | None = None


@dataclass(frozen=True)
class Frame:
    """A frame of an encoder: ``[1, tokens, channels]`` for each input stream."""

    encoder: int
    streams: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class BuiltShared:
    """A shared unit with generated HDL and a compiled simulator; ``folder`` lives as long as the object."""

    op: SharedOp
    uses: tuple[Use, ...]
    simulator: Simulator
    folder: Path
    _keep: tempfile.TemporaryDirectory

    def draw(self, encoder: int, seed: int) -> Frame:
        """A random frame of an encoder."""
        if (drawn := self.uses[encoder].drawn) is not None:
            return Frame(encoder, drawn(seed))
        streams = self.op.by_encoder()[encoder].in_streams()
        return Frame(encoder, tuple(random_stream(s, 1, 97 * seed + i) for i, s in enumerate(streams)))

    def run(self, frames: Sequence[Frame], stimulus: Stimulus = Stimulus()) -> SimResult:
        """Feed the frames and their tags; every output is compared (see ``result.ok``). What is loaded comes first."""
        return self._run(frames, stimulus, loads=read_loads(self.folder))

    def loaded(self, frames: Sequence[Frame], words: np.ndarray) -> SimResult:
        """The same after a load of ``words``, those of the unit's memories or others."""
        return self._run(frames, Stimulus(), loads={CHAIN: words})

    def loaded_again(self, frames: Sequence[Frame], before: Contents) -> SimResult:
        """The same after ``before`` was there, contents of another network."""
        before.fill(self.folder)
        return self._run(frames, Stimulus(), loads=read_loads(self.folder), fill=True)

    def filled(self, frames: Sequence[Frame], stimulus: Stimulus = Stimulus()) -> SimResult:
        """The same with memories that are filled from files."""
        Contents.load(self.folder).fill(self.folder)
        return self._run(frames, stimulus, fill=True)

    def _run(self, frames: Sequence[Frame], stimulus: Stimulus, **loaded) -> SimResult:
        ops = self.op.by_encoder()
        feed: dict[str, list] = {}
        want: dict[str, list] = {}
        for frame in frames:
            op, arrays = ops[frame.encoder], [np.asarray(v, np.int64) for v in frame.streams]
            outputs = op.compute(*arrays, *(np.asarray(i, np.int64) for i in self.uses[frame.encoder].initialisers))
            for kind, into, values, streams in (
                ("in", feed, arrays, op.in_streams()), ("out", want, outputs, op.out_streams()),
            ):  # fmt: skip
                for i, (value, stream) in enumerate(zip(values, streams, strict=True)):
                    into.setdefault(f"{kind}{i}_V", []).append(beats.pack(value, stream))
        tags = beats.pack(np.array([frame.encoder for frame in frames])[:, None, None], TAGS)
        feed[f"in{len(self.op.in_streams()) - 1}_V"] = [tags]
        want[f"out{len(self.op.out_streams()) - 1}_V"] = [tags]
        none = {port.name: 0 for port in self.simulator.outputs}  # what no frame has a stream for
        return self.simulator.run(
            {name: np.concatenate(parts) for name, parts in feed.items()},
            none | {name: np.concatenate(parts) for name, parts in want.items()},
            data_dir=self.folder, stimulus=stimulus, **loaded,
            idle_limit=4 * max(int(op.get_exp_cycles()) for op in ops) + 4000,
        )  # fmt: skip


def build_shared(op_type: str, uses: Sequence[Use], frames: int = 4) -> BuiltShared:
    """The unit that serves all ``uses``, in a model of its own, with HDL and simulator."""
    op, _, keep = generate_shared(op_type, uses, frames)
    return BuiltShared(op, tuple(uses), simulator_of(op), Path(keep.name), keep)


def generate_shared(op_type: str, uses: Sequence[Use], frames: int = 4) -> tuple[SharedOp, ModelWrapper, tempfile.TemporaryDirectory]:
    """The unit with HDL, its model, and the folder of the HDL."""
    op, model = _shared_unit(op_type, uses, frames)
    return op, model, _with_hdl(op, model)


def generate_networks(op_type: str, networks: Sequence[Sequence[Use]]) -> list[tuple[SharedOp, ModelWrapper, tempfile.TemporaryDirectory]]:
    """A loaded unit for the uses of each of several networks, made for all of them, as :func:`generate_shared` gives it."""
    units = [_shared_unit(op_type, uses, 4) for uses in networks]
    for op, model in units:
        op.fit(model)
    for op, _ in units:
        for other, _ in units:
            op.widen(other)
    return [(op, model, _with_hdl(op, model)) for op, model in units]


def generate_moved(
    op_type: str, made: Sequence[Use], networks: Sequence[Sequence[Use]]
) -> list[tuple[SharedOp, ModelWrapper, tempfile.TemporaryDirectory]]:
    """A loaded unit made for the uses ``made``, with what is spare, and that unit as it is for each of other networks."""
    units = [_shared_unit(op_type, uses, 4) for uses in (made, *networks)]
    for op, model in units:
        op.fit(model)
    design, model = units[0]
    design.spare(model)
    for op, _ in units[1:]:
        op.move_into(design)
    return [(op, model, _with_hdl(op, model)) for op, model in units]


def _shared_unit(op_type: str, uses: Sequence[Use], frames: int) -> tuple[SharedOp, ModelWrapper]:
    ops, constants = [], {}
    for e, use in enumerate(uses):
        op, model = build_node(op_type, use.attrs, use.initialisers, f"encoder{e}")
        for i, name in enumerate(op.onnx_node.input):
            if name.startswith("param"):
                op.onnx_node.input[i] = f"e{e}_{name}"
                constants[f"e{e}_{name}"] = model.get_initializer(name)
        ops.append(op)
    ins, outs = (max((getattr(op, side)() for op in ops), key=len) for side in ("in_streams", "out_streams"))
    names = [*(f"in{i}" for i in range(len(ins))), "tags"], [*(f"out{i}" for i in range(len(outs))), "tags_on"]
    node = type(ops[0]).share("dut", ops, *names, frames=frames)
    model = ModelWrapper(helper.make_model(helper.make_graph([node], "unit", [], [])))
    for name, value in constants.items():
        model.set_initializer(name, value)
    return getHWCustomOp(model.graph.node[0]), model


def _with_hdl(op: SharedOp, model: ModelWrapper) -> tempfile.TemporaryDirectory:
    keep = tempfile.TemporaryDirectory(prefix="vitprune-op-")
    op.set_nodeattr("code_gen_dir_ipgen", keep.name)
    op.code_generation_ipgen(model, PART, 5.0)
    return keep


def check_shared(
    op_type: str, uses: Sequence[Use], seed: int = 0, frames: int = 12, patterns: Sequence[Stimulus] = PATTERNS, slack: int = 6
) -> BuiltShared:
    """Assert that a shared unit equals every encoder's golden model in any order of frames, under every kind of traffic, tags behind
    their frames too, after a reset in mid-frame, and that frames of one encoder behind one another take ``get_exp_cycles`` within 2 % or ``slack`` cycles.
    """
    built = build_shared(op_type, uses)
    check_built_shared(built, seed, frames, patterns, slack)
    return built


def check_built_shared(
    built: BuiltShared, seed: int = 0, frames: int = 12, patterns: Sequence[Stimulus] = PATTERNS, slack: int = 6
) -> None:
    """:func:`check_shared` of a unit that is built already."""
    uses = built.uses
    order = np.random.default_rng(seed).integers(0, len(uses), frames)
    order[: len(uses)] = np.arange(len(uses))
    drawn = [built.draw(int(e), seed + i) for i, e in enumerate(order)]
    first = built.run(drawn)
    middle = max(3, first.cycles // 2)
    resets = (
        Stimulus(seed=21, reset_at=middle, reset_cycles=SHORT_RESET),
        Stimulus(seed=22, pause=0.2, stall=0.3, reset_at=2 * middle // 3, reset_cycles=SHORT_RESET),
    )
    tags = f"in{len(built.op.in_streams()) - 1}_V"
    late = Stimulus(seed=23, pause={tags: 0.9}, stall=0.3, burst=first.cycles // frames)
    for stimulus in (Stimulus(), *patterns, late, *resets):
        result = first if stimulus == Stimulus() else built.run(drawn, stimulus)
        assert result.ok, f"{stimulus}: {result.deadlock}, {result.mismatches}, {result.extra_beats}, {result.violations}"
    if built.op.get_nodeattr("loaded"):
        check_load(built, drawn)
    for e, op in enumerate(built.op.by_encoder()):
        result = built.run([built.draw(e, i) for i in range(6)])
        assert result.ok
        steady = max(result.intervals(f"out{i}_V", s.beats)[1:].mean() for i, s in enumerate(op.out_streams()))
        expected = op.get_exp_cycles()
        assert abs(steady - expected) <= max(slack, 0.02 * expected), f"encoder {e}: measured {steady}, get_exp_cycles {expected}"


def check_load(built: BuiltShared, frames: Sequence[Frame]) -> None:
    """Assert that a loaded unit keeps the words of its memories, those alone, and all of them."""
    words = Contents.load(built.folder).data
    longer = built.loaded(frames, np.append(words, ~words[:3]))
    assert longer.violations and not any(map(len, longer.mismatches.values())), "words behind the last one come back, and change nothing"
    shorter = built.loaded(frames, words[:-2])
    assert shorter.deadlock is not None and shorter.loads[CHAIN].done == len(words) - 1
