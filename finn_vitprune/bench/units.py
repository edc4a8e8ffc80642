"""The matrix units of the benchmark: their nodes, the search of their folds, columns dealt out unbalanced."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product

import numpy as np
from onnx import TensorProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.bench.limits import MANY_PRODUCTS, MEMORY_OF_NEED, MOST_PRODUCTS, UNIT_LUT
from finn_vitprune.custom_ops.mvau.balance import ColumnPart, Schedule
from finn_vitprune.custom_ops.mvau.block_sparse_mvau import BlockSparseMVAU_rtl
from finn_vitprune.custom_ops.mvau.candidates import MAX_LANES, Matrices
from finn_vitprune.custom_ops.mvau.choose import MatrixFolding, cost
from finn_vitprune.custom_ops.mvau.estimate import resources, weight_memory_bits
from finn_vitprune.custom_ops.mvau.fold import TOKENS_CHOICES, Fold
from finn_vitprune.custom_ops.op.base import VitOp, divisors
from finn_vitprune.custom_ops.registry import make_node
from finn_vitprune.numerics import clog2

PART = "xczu7ev-ffvc1156-2-e"
GROUPS = 8
"""Token groups of a frame, all of them full."""

LANE_FOLD = ("SIMD", "PE", "TOKENS", "LANES")

WELL_USED = 0.994
"""Utilisation by the worst mask from which on a fold is taken for its cost."""

PORT_SLACK = 0.006
"""Share of the cycles that ports may add: one, where a group passes in just the time it is computed."""

LUT_RESERVE = 0.97
"""Share of the limit of LUTs that estimates may reach: they may be a little low."""

MULT_BITS = 17


@dataclass(frozen=True)
class Unit:
    """One matrix unit: an ``mw`` x ``mh`` matrix in blocks, element widths, products a cycle to fold to.

    ``ram_style`` is where its weights are; the fold is that of "auto" in any case.
    """

    mw: int
    mh: int
    block: int
    products: int
    x_bits: int = 8
    w_bits: int = 8
    mac_style: str = "dsp48e2"
    ram_style: str = "auto"

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
    def filled(self) -> float:
        """Share of the padded matrix that is not padding."""
        rows, columns = self.grid
        return self.mw * self.mh / (rows * columns * self.block**2)

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
            "mac_style": self.mac_style,
            "ram_style": self.ram_style,
            **fold,
            **more,
        }

    def weights(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Random weights ``[mw, mh]`` of narrow range, zero exactly in the blocks that are not kept."""
        most = (1 << (self.w_bits - 1)) - 1
        shape = self.mw, self.mh
        values = rng.integers(1, most, shape, endpoint=True) * rng.choice([-1, 1], shape)
        return values * np.kron(mask, np.ones((self.block, self.block), int))[: self.mw, : self.mh]

    def constants(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Random biases and multipliers, ``[mh]`` each."""
        limit = 1 << (self.x_bits + self.w_bits - 3)
        mult = rng.integers(1 << (MULT_BITS - 2), 1 << (MULT_BITS - 1), self.mh)
        return rng.integers(-limit, limit, self.mh), mult


@dataclass(frozen=True)
class FoldInOrder(Fold):
    """A fold whose whole block columns are dealt to the lanes in turn."""

    @property
    def schedule(self) -> Schedule:
        plan = super().schedule
        slots = [0] * plan.lanes
        parts = []
        for column, count in enumerate(plan.column_blocks):
            if count:
                lane = column % plan.lanes
                parts.append(ColumnPart(column, lane, slots[lane], 0, count))
                slots[lane] += 1
        return replace(plan, parts=tuple(parts))


class ColumnsInOrder(BlockSparseMVAU_rtl):
    """The unit with whole block columns dealt to the lanes in turn: what balancing is measured against."""

    def own_fold(self) -> FoldInOrder:
        """The node's fold with another schedule."""
        fold = super().own_fold()
        return FoldInOrder(**{f.name: getattr(fold, f.name) for f in fields(fold)})


def build_node(
    op_type: str, attributes: Mapping[str, object], initialisers: Sequence[np.ndarray] = (), name: str = "unit"
) -> tuple[VitOp, ModelWrapper]:
    """A model that holds one ``<op_type>_rtl`` node of integer ``initialisers``, as ``(op, model)``."""
    probe = getCustomOp(make_node(f"{op_type}_rtl", [], [], name=name, **attributes))
    inputs = {f"in{i}": stream for i, stream in enumerate(probe.in_streams())}
    outputs = {f"out{i}": stream for i, stream in enumerate(probe.out_streams())}
    parameters = [f"param{i}" for i in range(len(initialisers))]
    proto = make_node(f"{op_type}_rtl", [*inputs, *parameters], [*outputs], name=name, **attributes)
    infos = (
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, s.tokens, s.channels)) for n, s in side.items()]
        for side in (inputs, outputs)
    )
    model = ModelWrapper(helper.make_model(helper.make_graph([proto], op_type, *infos)))
    for n, stream in (inputs | outputs).items():
        model.set_tensor_datatype(n, stream.dtype)
    for n, value in zip(parameters, map(np.asarray, initialisers)):
        exact = np.array_equal(value.astype(np.float32).astype(np.int64), value)
        model.set_initializer(n, value.astype(np.float32 if exact else np.float64))
    return getCustomOp(model.graph.node[0]), model


def with_mask(op: VitOp, mask: np.ndarray) -> VitOp:
    """The op with the kept blocks of ``mask``."""
    op.set_nodeattr("column_blocks", [int(n) for n in mask.sum(axis=0)])
    return op


def find_fold(unit: Unit, masks: Iterable[np.ndarray]) -> dict[str, int]:
    """The fold of one unit that serves all ``masks``.

    Of the folds nearest to the products asked for it is the one that the op's estimates say misses the fewest
    limits of resources and costs least, over all masks, and that is used well by all of them; ports are just
    so wide that they do not slow down a mask. Where every fold is used badly by some mask, the best used one.
    """
    one = dict.fromkeys((*LANE_FOLD, "in_width", "out_width"), 1)
    op, _ = build_node("BlockSparseMVAU", unit.attributes(one, tokens=GROUPS * max(TOKENS_CHOICES)))
    unfolded = [replace(op.fold(), column_blocks=tuple(mask.sum(axis=0).tolist())) for mask in masks]
    used: dict[float, dict[str, int]] = {}
    for fold in sorted(nearest_folds(unit), key=lambda fold: _worth(unit, fold, unfolded)):
        fold = _with_ports(fold, unfolded)
        share = min(MatrixFolding(f).ideal_cycles / f.cycles for f in _at(unfolded, fold))
        if share >= WELL_USED * unit.filled:
            return fold
        used.setdefault(share, fold)
    return used[max(used)]


def nearest_folds(unit: Unit) -> list[dict[str, int]]:
    """The lanes and their widths whose products a cycle are nearest to those asked for, the lowest ports."""
    sides = divisors(unit.block)
    folds = [
        dict(zip(LANE_FOLD, values))
        for values in product(sides, sides, TOKENS_CHOICES, range(1, MAX_LANES + 1))
        if values[-1] <= math.prod(unit.grid)
    ]
    distance = [abs(math.log(products_of(fold) / unit.products)) for fold in folds]
    return [fold for fold, d in zip(folds, distance) if d == min(distance)]


def products_of(fold: Mapping[str, int]) -> int:
    """Products of one cycle of a fold."""
    return math.prod(fold[name] for name in LANE_FOLD)


def _at(folds: Sequence[Fold], attributes: Mapping[str, int]) -> list[Fold]:
    """The folds with these attributes of a node."""
    values = {name.lower(): value for name, value in attributes.items()}
    return [replace(f, **values) for f in folds]


def _worth(unit: Unit, fold: Mapping[str, int], unfolded: Sequence[Fold]) -> tuple[int, float]:
    """Limits that the estimates miss, and cost, each summed over the masks; lower is better."""
    missed, total = 0, 0.0
    kept = [sum(f.column_blocks) for f in unfolded]
    lanes = [fold[name] for name in LANE_FOLD]
    each = [Matrices.of(replace(f, ram_style="auto")) for f in unfolded]
    folds = [matrices.with_lanes(*lanes, matrices.cycles(*lanes)) for matrices in each]
    ports = {name: max(getattr(f, name) for f in folds) for name in ("in_width", "out_width")}
    for n, f in zip(kept, _at(folds, ports)):
        need = n * unit.block**2 * unit.w_bits
        if unit.products >= MANY_PRODUCTS:
            missed += resources(f).LUT > LUT_RESERVE * UNIT_LUT * products_of(fold)
        if unit.products >= MOST_PRODUCTS:
            missed += weight_memory_bits(f) > MEMORY_OF_NEED * need
        total += cost(f)
    return missed, total


def _with_ports(fold: Mapping[str, int], unfolded: Sequence[Fold]) -> dict[str, int]:
    """The fold with the narrowest ports that slow down no mask by more than :data:`PORT_SLACK`."""
    [base, *_] = folds = _at(unfolded, fold)
    ins, outs = Fold.in_widths(base.mw, base.simd), Fold.out_widths(base.mh, base.pe, base.block)
    least = [f.cycles for f in _at(folds, {"in_width": ins[-1], "out_width": outs[-1]})]

    def slower(in_width: int, out_width: int) -> bool:
        ported = _at(folds, {"in_width": in_width, "out_width": out_width})
        return any(f.cycles > (1 + PORT_SLACK) * best for f, best in zip(ported, least))

    in_width = next(w for w in ins if not slower(w, outs[-1]))
    out_width = next(w for w in outs if not slower(in_width, w))
    return {**fold, "in_width": in_width, "out_width": out_width}
