"""Cycles of a matrix unit in Verilator: back-to-back token groups, one compiled simulation for all masks."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finn_vitprune.bench.units import GROUPS, ColumnsInOrder, Unit, node, with_mask
from finn_vitprune.custom_ops.base import VitOp, VitRTLBackend
from finn_vitprune.sim import Port, SimResult, Simulator, Stimulus, beats, compile_top

WARM_UP = 2
"""Distances between token groups that are left out at the start of a run."""


@dataclass(frozen=True)
class Cycles:
    """Cycles of one token group (:attr:`TOKENS` rows), means over the masks.

    Attributes:
        cycles: measured, with balanced lanes; cycles_unbalanced: with columns dealt to the lanes in order.
        cycles_estimate: what ``get_exp_cycles`` says; cycles_error: largest relative error of that in any mask.
        ideal_cycles: products of kept blocks / products a cycle.
        utilisation: ideal_cycles / cycles; utilisation_min: of the worst mask.
        exact: whether every output equalled the golden model.
    """

    cycles: float
    ideal_cycles: float
    utilisation: float
    utilisation_min: float
    cycles_unbalanced: float
    cycles_estimate: float
    cycles_error: float
    exact: bool


@dataclass(frozen=True)
class _Run:
    """One mask, one schedule."""

    cycles: float
    estimate: float
    ideal: float
    exact: bool


class CycleBench:
    """The compiled unit at a fold, with memories that hold any of the masks it was made for.

    Args:
        masks: all masks that :meth:`measure` will be given.
    """

    def __init__(self, unit: Unit, fold: dict[str, int], masks: Sequence[np.ndarray]) -> None:
        self.unit = unit
        self.rng = np.random.default_rng(0)
        bias, mult = unit.constants(self.rng)
        attributes = unit.attributes(fold, **_room(unit, fold, masks))
        initialisers = [unit.weights(masks[0], self.rng), bias, mult]
        self.op, self.model = node("BlockSparseMVAU", attributes, initialisers)
        self.constants = bias, mult
        self._keep = tempfile.TemporaryDirectory(prefix="vitprune-bench-")
        self.folder = Path(self._keep.name)
        self.simulator = compile_op(self.op, self.model, self.folder)
        limit = 1 << (unit.x_bits - 1)
        stream = self.op.in_streams()[0]
        self.x = self.rng.integers(-limit, limit, (1, stream.tokens, stream.channels))

    def measure(self, masks: Sequence[np.ndarray]) -> Cycles:
        """Run every mask balanced and with columns in order."""
        balanced, dealt = [], []
        in_order = ColumnsInOrder(self.op.onnx_node)
        for mask in masks:
            weights = self.unit.weights(mask, self.rng)
            balanced.append(self._run(self.op, weights))
            dealt.append(self._run(in_order, weights) if self.op.get_nodeattr("LANES") > 1 else balanced[-1])
        shares = [r.ideal / r.cycles for r in balanced]
        return Cycles(
            cycles=float(np.mean([r.cycles for r in balanced])),
            ideal_cycles=float(np.mean([r.ideal for r in balanced])),
            utilisation=float(np.mean(shares)),
            utilisation_min=float(np.min(shares)),
            cycles_unbalanced=float(np.mean([r.cycles for r in dealt])),
            cycles_estimate=float(np.mean([r.estimate for r in balanced])),
            cycles_error=float(np.max([abs(r.estimate / r.cycles - 1) for r in balanced])),
            exact=all(r.exact for r in balanced + dealt),
        )

    def _run(self, op: VitOp, weights: np.ndarray) -> _Run:
        self.model.set_initializer("param0", weights.astype(np.float32))
        write_memories(op, self.model, self.folder)
        [golden] = op.compute(self.x, weights, *self.constants)
        result = run_op(op, self.simulator, self.folder, [self.x], [golden])
        stream = op.out_streams()[0]
        group = result.intervals("out0_V", stream.beats // GROUPS)[WARM_UP:]
        return _Run(
            cycles=float(group.mean()) if len(group) else float("inf"),
            estimate=op.get_exp_cycles() / GROUPS,
            ideal=op.balance().ideal_cycles / GROUPS,
            exact=result.ok,
        )


def _room(unit: Unit, fold: dict[str, int], masks: Sequence[np.ndarray]) -> dict[str, int]:
    """Elaborated maxima that hold every mask, balanced and with columns in order."""
    op, _ = node("BlockSparseMVAU", unit.attributes(fold))
    in_order = ColumnsInOrder(op.onnx_node)
    plans = [each.schedule() for mask in masks for each in (with_mask(op, mask), in_order)]
    return {"lane_blocks": max(p.lane_blocks for p in plans), "lane_slots": max(p.lane_slots for p in plans)}


def compile_op(op: VitRTLBackend, model, folder: Path) -> Simulator:
    """HDL and memories of an op in ``folder``, and its simulator."""
    op.set_nodeattr("code_gen_dir_ipgen", str(folder))
    op.generate_hdl(model, "", 0.0)
    ports = [
        [Port(f"{kind}{i}_V", 8 * beats.beat_bytes(s.width)) for i, s in enumerate(streams)]
        for kind, streams in (("in", op.in_streams()), ("out", op.out_streams()))
    ]
    return compile_top(op.onnx_node.name, op.get_rtl_file_list(abspath=True), *ports)


def write_memories(op: VitRTLBackend, model, folder: Path) -> None:
    """ROM files of the op's present weights."""
    for suffix, memory in op.memories(model).items():
        (folder / op.memory_file(suffix)).write_text(memory.hex_text())


def run_op(
    op: VitOp,
    simulator: Simulator,
    folder: Path,
    inputs: Sequence[np.ndarray],
    golden: Sequence[np.ndarray],
    stimulus: Stimulus = Stimulus(),
) -> SimResult:
    """Feed ``[frames, tokens, channels]`` arrays to all inputs and compare with the golden outputs."""
    feed = {f"in{i}_V": beats.pack(v, s) for i, (v, s) in enumerate(zip(inputs, op.in_streams()))}
    want = {f"out{i}_V": beats.pack(v, s) for i, (v, s) in enumerate(zip(golden, op.out_streams()))}
    limit = 4 * int(op.get_exp_cycles()) + 4000
    return simulator.run(feed, want, data_dir=folder, stimulus=stimulus, idle_limit=limit)
