"""Folds of engines: those of units without products, and what a folding file has of all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from onnx import NodeProto
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.elementwise.gate import VitGate
from finn_vitprune.custom_ops.elementwise.lookup import VitLookup
from finn_vitprune.custom_ops.engine.engine import VitEngine
from finn_vitprune.custom_ops.mvau.choose import MatrixFolding
from finn_vitprune.custom_ops.mvau.fold import Fold
from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.custom_ops.op.folding import STREAM_SLACK, StreamFolding
from finn_vitprune.custom_ops.op.shared import SharedOp
from finn_vitprune.custom_ops.tokens.token_embed import VitTokenEmbed
from finn_vitprune.errors import UserError
from finn_vitprune.transforms.engines.engine_units import ENTRY, role_ops, switch_name, unit_name

STEPS = 8
"""Intervals that folds of a token drop are looked for, from the share of one encoder to the whole interval."""

SLOWEST = 1 << 30
"""Cycles: no unit has to be slower. A plan without products worth naming asks for any interval."""


class StreamFolds:
    """Folds of the units without products of an engine: their widths, and how a token drop ranks. Where an encoder lacks a role, its
    frames pass the unit, or past the token drops, all the same.

    A token drop is a unit of one encoder. With several images in flight they come to it one after another, so it may take no more
    of the interval than its encoder: the share of its tokens in those of all encoders. A token embedding in an engine may take as much as
    its pass, since the unit before it works for the encoders in the rest.

    What works on neurons is as wide as the ports of the matrices beside it may be: no converters stand between them, and a network of
    other neurons that passes the ports passes it too.

    Raises:
        UserError: no fold is possible in all encoders of a role.
    """

    def __init__(self, engine: VitEngine) -> None:
        self.roles: dict[str, list[VitOp]] = {}
        """Of each unit by its name: the op as each encoder has it; of token drops, those that there are."""
        self.past: dict[str, int] = {}
        """Elements of a frame that pass the switch before token drops, in all encoders together."""
        self.tokens: dict[str, int] = {}
        """Tokens of a frame in all passes, of units that may take no more of the interval than their pass."""
        self.ports: dict[str, list[int]] = {}
        """Possible widths of what works on neurons."""
        self.widths = engine.widths
        units = {node.name: getCustomOp(node) for node in engine.structure.graph.node}
        block = 1
        entering = sum(units[f"{engine.onnx_node.name}_{ENTRY}"].get_nodeattr("tokens")) + engine.get_nodeattr("tokens_in")
        for role, ops in role_ops(engine, engine.body):
            name = unit_name(engine, role)
            if isinstance(ops[0], VitTokenEmbed):
                self.tokens[name] = entering
            if isinstance(matrix := ops[0].folding(), MatrixFolding):
                block = matrix.fold.block
            if isinstance(ops[0], VitLookup | VitGate):  # neurons leave a gate, two elements for each come
                ratio = ops[0].in_streams()[0].channels // ops[0].out_streams()[0].channels
                neurons = math.gcd(*(op.out_streams()[0].channels for op in ops))
                self.ports[name] = [ratio * width for width in Fold.in_widths(neurons, block)]
            if any(op.macs() for op in ops):
                continue
            shared = isinstance(ops[0], SharedOp) and units[name].shared
            self.roles[name] = list(units[name].by_encoder()) if shared else ops
            if (switch := units.get(switch_name(name))) is not None:
                tokens = sum(switch.get_nodeattr("tokens"))
                self.past[name] = tokens * switch.get_nodeattr("channels")
                if engine.batch > 1:
                    self.tokens[name] = tokens
        self.kept: dict[tuple[str, frozenset], tuple[int, int] | None] = {}

    def within(self, interval: int) -> dict[str, dict[str, Any]]:
        """The cheapest fold found of each unit with which its encoders together keep the interval with some slack, else the fastest."""
        return {name: self._fold(name, max(1, int(min(interval, SLOWEST) * STREAM_SLACK))) for name in self.roles}

    def _fold(self, name: str, interval: int) -> dict[str, Any]:
        ops, tokens = self.roles[name], self.tokens.get(name)
        wanted = _wanted(ops, interval, min(op.in_streams()[0].tokens for op in ops) / tokens if tokens else 1 / len(ops))
        if ports := self.ports.get(name):
            wanted = [fold for fold in wanted if fold["SIMD"] in ports]
        if past := self.past.get(name):
            least = next((width for width in self.widths if past <= width * interval), self.widths[-1])
            wanted += [fold | {"SIMD": least} for fold in wanted if fold["SIMD"] < least]
        found = [(fold, *known) for fold in wanted if (known := self._known(name, fold)) is not None]
        if not found:
            raise UserError(f"{name}: no fold is possible in all of its encoders")
        enough = [(cost, cycles, i) for i, (_, cycles, cost) in enumerate(found) if cycles <= interval]
        fast = [(cycles, cost, i) for i, (_, cycles, cost) in enumerate(found)]
        return found[min(enough or fast)[-1]][0]

    def _known(self, name: str, fold: dict[str, Any]) -> tuple[int, int] | None:
        """The interval that the fold keeps, and LUTs of the largest; None where an encoder cannot have the fold."""
        key = name, frozenset(fold.items())
        if key not in self.kept:
            copies = [_copy(op) for op in self.roles[name]]
            for copy in copies:
                set_fold(copy, fold)
            try:
                for copy in copies:
                    copy.verify_node()
                cycles, past = [copy.get_exp_cycles() for copy in copies], self.past.get(name, 0) // fold.get("SIMD", 1)
                if tokens := self.tokens.get(name):
                    needed = max(tokens * c // copy.in_streams()[0].tokens for c, copy in zip(cycles, copies))
                else:
                    needed = sum(cycles)
                self.kept[key] = max(needed, past), max(copy.resources().LUT for copy in copies)
            except UserError:
                self.kept[key] = None
        return self.kept[key]


def _wanted(ops: Sequence[VitOp], interval: int, least: float) -> list[dict[str, Any]]:
    """Folds to try: every width that all ops can have, or what each op would have for a share of the interval, from ``least`` to all."""
    foldings = [op.folding() for op in ops]
    streams = [folding for folding in foldings if isinstance(folding, StreamFolding)]
    if len(streams) == len(foldings):
        common = set.intersection(*(set(folding.choices) for folding in streams))
        return [dict(fold) for fold in sorted(common)] or [{}]
    shares = (int(interval * least ** (i / (STEPS - 1))) for i in range(STEPS))
    found = [dict(folding.for_interval(max(1, share)).attributes()) for share in shares for folding in foldings]
    return list({frozenset(fold.items()): fold for fold in found}.values())


def _copy(op: VitOp) -> VitOp:
    node = NodeProto()
    node.CopyFrom(op.onnx_node)
    return getCustomOp(node)


def written_folds(engine: VitEngine, attributes: Sequence[str]) -> dict[str, dict[str, object]]:
    """The folds of an engine as a folding file has them: what its units have of ``attributes``, by their names, and under its own name
    the width of its ports and its SLR."""
    slr = engine.get_nodeattr("slr")
    found = {engine.onnx_node.name: {"SIMD": engine.get_nodeattr("SIMD")} | ({"slr": slr} if slr >= 0 else {})}
    for role, (op, *_) in role_ops(engine, engine.body):
        types = op.get_nodeattr_types()
        found[unit_name(engine, role)] = {name: op.get_nodeattr(name) for name in attributes if name in types}
    return found


def write_folds(engine: VitEngine, folds: Mapping[str, Mapping[str, object]]) -> None:
    """Give the units of an engine, and its ports, what ``folds`` has for their names."""
    body = engine.body
    set_fold(engine, folds.get(engine.onnx_node.name, {}))
    for role, ops in role_ops(engine, body):
        for op in ops:
            set_fold(op, folds.get(unit_name(engine, role), {}))
    engine.set_graph("body", body.graph)


def set_fold(op: VitOp, fold: Mapping[str, object]) -> None:
    """Give an op the attributes of a fold."""
    for name, value in fold.items():
        op.set_nodeattr(name, value)
