"""Cycles of a matrix unit in Verilator: back-to-back token groups, one compiled simulation for many masks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finn_vitprune.bench.units import GROUPS, ColumnsInOrder, Unit, build_node, with_mask
from finn_vitprune.custom_ops.mvau.block_sparse_mvau import BlockSparseMVAU_rtl
from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.custom_ops.op.rtl_backend import VitRTLBackend
from finn_vitprune.sim import ChainPort, LoadPort, Port, SimResult, Simulator, Stimulus, beats, compile_top, loads

IN_ORDER = 5
"""Masks of a kind that are run with columns in order, too: what that costs differs little from mask to mask."""

WARM_UP = 2
"""Distances between token groups that are left out at the start of a run."""


@dataclass(frozen=True)
class Cycles:
    """Cycles of one token group (:attr:`TOKENS` rows), means over the masks.

    Attributes:
        cycles: measured, with balanced lanes; cycles_unbalanced: with columns dealt to the lanes in order, of
            the first :data:`IN_ORDER` masks.
        cycles_estimate: of ``get_exp_cycles``; cycles_error: largest relative error of that in any mask.
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


def room(op: VitOp, masks: Iterable[np.ndarray]) -> dict[str, int]:
    """Elaborated maxima of the unit's memories that hold ``masks``, balanced and with columns in order."""
    dealt = ColumnsInOrder(op.onnx_node)
    plans = [with_mask(kind, mask).schedule() for mask in masks for kind in (op, dealt)]
    return {"lane_blocks": max(plan.lane_blocks for plan in plans), "lane_slots": max(plan.lane_slots for plan in plans)}


class CycleBench:
    """A unit at a fold, compiled once for all of its masks.

    Args:
        masks: all masks that :meth:`measure` will be given.
    """

    def __init__(self, unit: Unit, fold: dict[str, int], masks: Sequence[np.ndarray]) -> None:
        self.unit, self.fold = unit, fold
        self.rng = np.random.default_rng(0)
        self.constants = unit.constants(self.rng)
        limit = 1 << (unit.x_bits - 1)
        self.x = self.rng.integers(-limit, limit, (1, GROUPS * fold["TOKENS"], unit.mw))
        probe, _ = build_node("BlockSparseMVAU", unit.attributes(fold))
        attributes = unit.attributes(fold, **room(probe, masks))
        op, self.model = build_node("BlockSparseMVAU", attributes, (unit.weights(masks[0], self.rng), *self.constants))
        self._keep = tempfile.TemporaryDirectory(prefix="vitprune-bench-")
        self.folder = Path(self._keep.name)
        self.simulator = compile_op(op, self.model, self.folder)

    def measure(self, masks: Sequence[np.ndarray]) -> Cycles:
        """Run every mask with balanced lanes, and the first with columns in order."""
        weights = [self.unit.weights(mask, self.rng) for mask in masks]
        balanced = [self._run(BlockSparseMVAU_rtl, w) for w in weights]
        dealt = balanced
        if self.fold["LANES"] > 1:
            dealt = [self._run(ColumnsInOrder, w) for w in weights[:IN_ORDER]]
        shares = [r.ideal / r.cycles for r in balanced]
        return Cycles(
            cycles=float(np.mean([r.cycles for r in balanced])),
            ideal_cycles=float(np.mean([r.ideal for r in balanced])),
            utilisation=float(np.mean(shares)),
            utilisation_min=float(np.min(shares)),
            cycles_unbalanced=float(np.mean([r.cycles for r in dealt])),
            cycles_estimate=float(np.mean([r.estimate for r in balanced])),
            cycles_error=float(np.max([abs(r.estimate / r.cycles - 1) for r in balanced])),
            exact=all(r.exact for r in [*balanced, *dealt]),
        )

    def _run(self, kind: type[BlockSparseMVAU_rtl], weights: np.ndarray) -> _Run:
        """Cycles of ``weights``, scheduled as ``kind`` does."""
        op = kind(self.model.graph.node[0])
        self.model.set_initializer("param0", weights.astype(np.float32))
        for suffix, memory in op.memories(self.model).items():
            (self.folder / op.memory_file(suffix)).write_text(memory.hex_text())
        if (contents := op.contents(self.model)) is not None:
            contents.save(self.folder)
        folding = op.folding()
        golden = op.compute(self.x, weights, *self.constants)
        result = run_op(op, self.simulator, self.folder, [self.x], golden, cycles=folding.cycles)
        group = result.intervals("out0_V", op.out_streams()[0].beats // GROUPS)[WARM_UP:]
        return _Run(
            cycles=float(group.mean()) if len(group) else float("inf"),
            estimate=folding.cycles / GROUPS,
            ideal=folding.ideal_cycles / GROUPS,
            exact=result.ok,
        )


def compile_op(op: VitRTLBackend, model, folder: Path) -> Simulator:
    """HDL and memories of an op in ``folder``, and its simulator."""
    op.set_nodeattr("code_gen_dir_ipgen", str(folder))
    op.generate_hdl(model, "", 0.0)
    return simulator_of(op)


def simulator_of(op: VitRTLBackend) -> Simulator:
    """The simulator of an op that has its HDL."""
    inputs, outputs, loads = op_ports(op)
    return compile_top(op.onnx_node.name, op.get_rtl_file_list(abspath=True), inputs, outputs, loads=loads)


def op_ports(op: VitRTLBackend) -> tuple[list[Port], list[Port], list[LoadPort]]:
    """Ports of the input and output streams, and the load chain if there is something to load."""
    inputs, outputs = (
        [Port(f"{kind}{i}_V", 8 * beats.beat_bytes(s.width)) for i, s in enumerate(streams)]
        for kind, streams in (("in", op.in_streams()), ("out", op.out_streams()))
    )
    return inputs, outputs, [ChainPort()] if op.loaded_regions() else []


def run_op(
    op: VitOp,
    simulator: Simulator,
    folder: Path,
    inputs: Sequence[np.ndarray],
    golden: Sequence[np.ndarray],
    stimulus: Stimulus = Stimulus(),
    cycles: int | None = None,
) -> SimResult:
    """Feed ``[frames, tokens, channels]`` arrays to all inputs and compare with the golden outputs.

    Args:
        cycles: of a frame; without it ``get_exp_cycles``.
    """
    feed = {f"in{i}_V": beats.pack(v, s) for i, (v, s) in enumerate(zip(inputs, op.in_streams()))}
    want = {f"out{i}_V": beats.pack(v, s) for i, (v, s) in enumerate(zip(golden, op.out_streams()))}
    return simulator.run(
        feed,
        want,
        data_dir=folder,
        stimulus=stimulus,
        idle_limit=4 * int(cycles or op.get_exp_cycles()) + 4000,
        loads=loads.read_loads(folder),
    )
