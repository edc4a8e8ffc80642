"""The matrix units of the benchmark: their nodes, the search of their folds, and columns dealt out unbalanced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import TensorProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.balance import Part, Schedule
from finn_vitprune.custom_ops.base import VitOp
from finn_vitprune.custom_ops.block_sparse_mvau import BlockSparseMVAU_rtl
from finn_vitprune.custom_ops.mvau_fold import TOKENS_CHOICES
from finn_vitprune.custom_ops.mvau_mac import clog2
from finn_vitprune.custom_ops.registry import make_node
from finn_vitprune.errors import UserError

PART = "xczu7ev-ffvc1156-2-e"
GROUPS = 8
"""Token groups of a frame, all of them full."""

SLACK = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Shares by which the interval asked of the search grows until its fold stays within the products a cycle."""

MULT_BITS = 17


@dataclass(frozen=True)
class Unit:
    """One matrix unit: an ``mw`` x ``mh`` matrix in blocks, element widths, and the products a cycle to fold to."""

    mw: int
    mh: int
    block: int
    products: int
    x_bits: int = 8
    w_bits: int = 8
    body: str = "dsp48e2"

    @property
    def matrix(self) -> str:
        return f"{self.mw}x{self.mh}"

    @property
    def bits(self) -> str:
        """Widths of activations and weights, as "8x8"."""
        return f"{self.x_bits}x{self.w_bits}"

    @property
    def grid(self) -> tuple[int, int]:
        """Block rows and block columns."""
        return -(-self.mw // self.block), -(-self.mh // self.block)

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.matrix}, b {self.block}, {self.products:,} products a cycle"

    def attributes(self, fold: Mapping[str, int], **more: object) -> dict[str, object]:
        """Node attributes at a fold; a frame is :data:`GROUPS` full token groups."""
        shift = self.x_bits + self.w_bits + clog2(self.mw) // 2 + MULT_BITS - 10  # outputs fill their range
        return {
            "tokens": GROUPS * fold["TOKENS"],
            "MW": self.mw,
            "MH": self.mh,
            "block": self.block,
            "inputDataType": f"INT{self.x_bits}",
            "weightDataType": f"INT{self.w_bits}",
            "outputDataType": f"INT{self.x_bits}",
            "shift": shift,
            "mult_bits": MULT_BITS,
            "mac_body": self.body,
            **fold,
            **more,
        }

    def weights(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Random weights ``[mw, mh]`` of narrow range that are zero exactly in the blocks that are not kept."""
        most = (1 << (self.w_bits - 1)) - 1
        values = rng.integers(1, most, (self.mw, self.mh), endpoint=True) * rng.choice([-1, 1], (self.mw, self.mh))
        return values * np.kron(mask, np.ones((self.block, self.block), int))[: self.mw, : self.mh]

    def constants(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Random biases and multipliers, ``[mh]`` each."""
        limit = 1 << (self.x_bits + self.w_bits - 3)
        mult = rng.integers(1 << (MULT_BITS - 2), 1 << (MULT_BITS - 1), self.mh)
        return rng.integers(-limit, limit, self.mh), mult


class ColumnsInOrder(BlockSparseMVAU_rtl):
    """The same unit with whole block columns dealt to the lanes in turn: what balancing is measured against."""

    def schedule(self) -> Schedule:
        plan = super().schedule()
        slots = [0] * plan.lanes
        parts = []
        for column, count in enumerate(plan.column_blocks):
            if count:
                lane = column % plan.lanes
                parts.append(Part(column, lane, slots[lane], 0, count))
                slots[lane] += 1
        return replace(plan, parts=tuple(parts))


def node(
    op_type: str, attributes: Mapping[str, object], initialisers: Sequence[np.ndarray] = (), name: str = "unit"
) -> tuple[VitOp, ModelWrapper]:
    """A model that holds one ``<op_type>_rtl`` node, as ``(op, model)``."""
    probe = getCustomOp(make_node(f"{op_type}_rtl", [], [], name=name, **attributes))
    streams = [probe.in_streams(), probe.out_streams()]
    names = [[f"{kind}{i}" for i in range(len(s))] for kind, s in zip(("in", "out"), streams)]
    parameters = [f"param{i}" for i in range(len(initialisers))]
    infos = [
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, s.tokens, s.channels)) for n, s in zip(*both)]
        for both in zip(names, streams)
    ]
    proto = make_node(f"{op_type}_rtl", names[0] + parameters, names[1], name=name, **attributes)
    model = ModelWrapper(helper.make_model(helper.make_graph([proto], op_type, *infos)))
    for n, stream in zip(names[0] + names[1], streams[0] + streams[1]):
        model.set_tensor_datatype(n, stream.dtype)
    for n, value in zip(parameters, initialisers):
        model.set_initializer(n, np.asarray(value).astype(np.float32))
    return getCustomOp(model.graph.node[0]), model


def with_mask(op: VitOp, mask: np.ndarray) -> VitOp:
    """The op with the kept blocks of ``mask``."""
    op.set_nodeattr("column_blocks", [int(n) for n in mask.sum(axis=0)])
    return op


def find_fold(unit: Unit, masks: Iterable[np.ndarray]) -> dict[str, int]:
    """The fold of one unit that serves all ``masks``, from the op's own search.

    For each mask the search (:meth:`BlockSparseMVAU.fold_for`) is asked for the interval that the unit's products
    a cycle would give, and for longer ones until its fold has no more products than that. Of these folds, those
    with most products are taken, and of them the one whose worst utilisation over the masks is best.

    Raises:
        UserError: the search finds no fold with so few products.
    """
    one = dict.fromkeys(("SIMD", "PE", "TOKENS", "LANES", "in_width", "out_width"), 1)
    frame = GROUPS * max(TOKENS_CHOICES)
    ops = [with_mask(node("BlockSparseMVAU", unit.attributes(one, tokens=frame))[0], mask) for mask in masks]
    folds = [fold for op in ops if (fold := _search(op, unit)) is not None]
    if not folds:
        raise UserError(
            f"--fold {unit.products}: the search finds no fold of {unit.matrix} in blocks of {unit.block}"
            " with so few products a cycle, use more"
        )
    most = max(map(products_of, folds))
    return max((f for f in folds if products_of(f) == most), key=lambda f: min(_utilisation(op, f) for op in ops))


def products_of(fold: Mapping[str, int]) -> int:
    """Products of one cycle of a fold."""
    return fold["SIMD"] * fold["PE"] * fold["TOKENS"] * fold["LANES"]


def _search(op: VitOp, unit: Unit) -> dict[str, int] | None:
    """The op's fold for the shortest interval at which it has at most the unit's products a cycle."""
    blocks = op.schedule().kept * op.get_nodeattr("tokens")
    for slack in SLACK:
        fold = op.fold_for(int(blocks * unit.block**2 / unit.products * (1 + slack)))
        if products_of(fold) <= unit.products:
            return fold
    return None


def _utilisation(op: VitOp, fold: Mapping[str, int]) -> float:
    for name, value in fold.items():
        op.set_nodeattr(name, value)
    return op.balance().utilisation
