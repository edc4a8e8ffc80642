"""Folds of engines: one for each role, of which all of its encoders together keep an interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onnx import NodeProto
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.base import VitOp
from finn_vitprune.custom_ops.engine import VitEngine
from finn_vitprune.custom_ops.folding import StreamFolding
from finn_vitprune.custom_ops.memory import Estimate
from finn_vitprune.custom_ops.mvau_choose import LUT_PER_BRAM36, LUT_PER_DSP, LUT_PER_URAM, MatrixFolding
from finn_vitprune.custom_ops.mvau_fold import Fold
from finn_vitprune.errors import UserError
from finn_vitprune.transforms.engine_units import role_ops, unit_name
from finn_vitprune.transforms.fold import STREAM_SLACK

STEPS = 8
"""Intervals of a single encoder that folds are looked for, from its even share to the whole interval."""


def fold_engine(engine: VitEngine, interval: int) -> None:
    """Give every role of ``engine`` the cheapest fold found with which its encoders together take at most ``interval`` cycles a
    frame, else the fastest one, and write it to the nodes of the body.

    Raises:
        UserError: no fold is possible in all encoders of a role.
    """
    body = engine.body
    for role, ops in role_ops(engine, body):
        wanted = interval if any(op.macs() for op in ops) else max(1, int(interval * STREAM_SLACK))
        folds = [(sum(cycles), cost, fold) for fold, cycles, cost in _folds(ops, wanted)]
        if not folds:
            raise UserError(f"{engine.label}: no fold of {role} is possible in all of its encoders")
        enough = [fold for fold in folds if fold[0] <= wanted]
        _, _, fold = min(enough, key=lambda f: f[1]) if enough else min(folds, key=lambda f: f[:2])
        for op in ops:
            _set(op, fold)
    engine.set_graph("body", body.graph)


def written_folds(engine: VitEngine, attributes: Sequence[str]) -> dict[str, dict[str, object]]:
    """The folds of an engine as a folding file has them: what its units have of ``attributes``, by their names."""
    found = {}
    for role, (op, *_) in role_ops(engine, engine.body):
        types = op.get_nodeattr_types()
        found[unit_name(engine, role)] = {name: op.get_nodeattr(name) for name in attributes if name in types}
    return found


def write_folds(engine: VitEngine, folds: Mapping[str, Mapping[str, object]]) -> None:
    """Give the units of an engine what ``folds`` has for their names."""
    body = engine.body
    for role, ops in role_ops(engine, body):
        for op in ops:
            _set(op, folds.get(unit_name(engine, role), {}))
    engine.set_graph("body", body.graph)


def _folds(ops: Sequence[VitOp], interval: int) -> Iterator[tuple[dict[str, int], list[int], int]]:
    """Attributes of a fold that all ops can have, cycles of a frame of each op, and what the largest takes, in LUTs."""
    for fold in _wanted(ops, interval):
        copies = [_copy(other) for other in ops]
        for copy in copies:
            _set(copy, fold)
        try:
            for copy in copies:
                copy.verify_node()
        except UserError:
            continue
        yield fold, [copy.get_exp_cycles() for copy in copies], max(_luts(copy.resources()) for copy in copies)


def _wanted(ops: Sequence[VitOp], interval: int) -> list[dict[str, int]]:
    """Folds to try: those that each op would have for a share of the interval, with ports that go with all of them."""
    foldings = [op.folding() for op in ops]
    if all(isinstance(folding, StreamFolding) for folding in foldings):
        common = set.intersection(*(set(folding.choices) for folding in foldings))
        return [{"SIMD": simd} for simd in sorted(common)] or [{}]
    found = []
    for folding in foldings:
        for i in range(STEPS):
            share = int(interval * len(ops) ** (i / (STEPS - 1) - 1))
            fold = folding.for_interval(max(1, share)).attributes()
            if isinstance(folding, MatrixFolding):
                fold |= _common_ports([folding.fold for folding in foldings], fold)
            if fold not in found:
                found.append(fold)
    return found


def _common_ports(folds: Sequence[Fold], wanted: dict[str, int]) -> dict[str, int]:
    """Ports for all matrices: as wide as ``wanted``, else wider, else as wide as can be."""
    choices = {
        "in_width": (set(Fold.in_widths(f.mw, wanted["SIMD"])) for f in folds),
        "out_width": (set(Fold.out_widths(f.mh, wanted["PE"], f.block)) for f in folds),
    }
    common = {port: sorted(set.intersection(*widths)) for port, widths in choices.items()}
    return {port: next((w for w in widths if w >= wanted[port]), widths[-1]) for port, widths in common.items() if widths}


def _copy(op: VitOp) -> VitOp:
    node = NodeProto()
    node.CopyFrom(op.onnx_node)
    return getCustomOp(node)


def _set(op: VitOp, fold: Mapping[str, object]) -> None:
    for name, value in fold.items():
        op.set_nodeattr(name, value)


def _luts(estimate: Estimate) -> int:
    e = estimate
    return int(e.LUT + LUT_PER_DSP * e.DSP + LUT_PER_BRAM36 * e.BRAM_18K / 2 + LUT_PER_URAM * e.URAM)
