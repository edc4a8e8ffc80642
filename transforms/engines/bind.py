"""Binding: which nodes of the flat hardware graph share a unit, encoders dealt to engines.

The graph stays as it is, a node per layer. An engine runs consecutive encoders one after another on one unit of each role;
a role is what a layer is called in its encoder. What is outside of the encoders is bound to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.mvau.fold import Fold
from finn_vitprune.errors import UserError
from finn_vitprune.transforms.streams.node_names import kind_of, node_names

SAME_UNIT = {"Q": "QKV", "KV": "QKV"}
"""Layers of an encoder that works for the class token alone, and the role whose unit makes them where other encoders have it."""
IN_SPLIT = ("LayerNorm 1 fork", "RMSNorm 1 fork", "Q input token selection")
"""Layers of such an encoder that then need no unit: the split behind QKV passes the queries that are wanted."""
SCALE = "Q scale"
"""The matrix behind the norm of queries, in networks with QK-norm."""
BEFORE = ("patch embedding", "token embedding")
"""Layers before the encoders: what a patch embedding that runs on a unit of an engine needs there, and nothing else."""
EMBEDS = " and patch embedding"
"""Behind the role of a unit that does the patch embedding, too."""
ARRAY = "array"
"""The role of a unit that does all matrices of all encoders, group of tokens by group of tokens."""
BEFORE_ENCODERS = 0
"""The number of the pass before encoder 1 among the encoders of an engine, where it stands last."""
CODE_BITS = 8
"""Bits of pixel codes at most."""
PREFERENCE = 0.05
"""Cuts behind a token drop may make the largest engine larger by this share."""


@dataclass(frozen=True)
class BoundUnit:
    """A unit of an engine: its role, and for each encoder of the engine the nodes that it works as, none where that lacks the role."""

    role: str
    nodes: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Engine:
    """Encoders (from 1) that run one after another, and the units on which they run, in the order of the first that has them.

    Where the patch embedding runs on one of the units, it is a pass before encoder 1: the last of ``encoders``
    (:data:`BEFORE_ENCODERS`), for which nodes of a unit stand last, too.

    The roles in ``array`` share one unit, ``array_role``: those of the matrices, the one that goes first in front.
    """

    encoders: tuple[int, ...]
    units: tuple[BoundUnit, ...]
    array: tuple[str, ...] = ()


@dataclass(frozen=True)
class EngineBinding:
    """Engines in the order of their encoders, and the nodes outside of them, in graph order."""

    engines: tuple[Engine, ...]
    outside: tuple[str, ...]


def bind(model: ModelWrapper, engines: int | Sequence[int], shares: str = "") -> EngineBinding:
    """Bind the nodes of a flat hardware graph, without FIFOs and converters, to the units of engines.

    Args:
        engines: their number, to deal the encoders by products (:func:`deal`), or the encoders of each.
        shares: the partition, by the role of the unit that does several layers: "" where each has its own; a role with :data:`EMBEDS`
            where its unit does the patch embedding, too; :data:`ARRAY`, with it or without.
    Raises:
        UserError: the encoders cannot be dealt so, or layers cannot be on one unit.
    """
    layers, outside = _layers(model)
    sizes = _sizes(model, layers, engines)
    ends = list(accumulate(sizes))
    dealt = [list(layers)[end - size : end] for size, end in zip(sizes, ends)]
    found = EngineBinding(tuple(Engine(tuple(own), _units([layers[e] for e in own])) for own in dealt), tuple(outside))
    role = shares.removesuffix(EMBEDS)
    if role == ARRAY:
        found = _array(model, found, role != shares)
    return _embedding(model, found, role) if role not in (ARRAY, shares) else found


def _array(model: ModelWrapper, binding: EngineBinding, embeds: bool) -> EngineBinding:
    """The binding with all matrices on one unit, the patch embedding, too, where it ``embeds``."""
    if reason := no_array(model, binding) or (no_embedding(model, binding, ARRAY) if embeds else ""):
        raise UserError(f"the matrices cannot run on one array: {reason}")
    (engine,) = binding.engines
    roles = tuple(reversed(_matrix_roles(model, engine)))
    if not embeds:
        return replace(binding, engines=(replace(engine, array=roles),))
    names = _named(model, BEFORE)
    units = [replace(unit, nodes=(*unit.nodes, ())) for unit in engine.units]
    units += [BoundUnit(layer, (*(() for _ in engine.encoders), (name,))) for layer, name in zip(BEFORE, names)]
    outside = tuple(name for name in binding.outside if name not in names)
    return EngineBinding((Engine((*engine.encoders, BEFORE_ENCODERS), tuple(units), (*roles, BEFORE[0])),), outside)


def no_array(model: ModelWrapper, binding: EngineBinding) -> str:
    """Why the matrices of all encoders cannot share one unit; "" where they can."""
    if len(binding.engines) != 1 or len(binding.engines[0].encoders) < 2:
        return "it needs one engine of all encoders, and two of them at least"
    (engine,) = binding.engines
    ops = {node.name: getCustomOp(node) for node in model.graph.node}
    roles = _matrix_roles(model, engine)
    if SCALE in roles:
        return "networks with QK-norm are not tried on one yet: each matrix has a unit of its own"
    units = [unit for unit in engine.units if unit.role in roles]
    if lacking := [unit.role for unit in units if not all(unit.nodes)]:
        return f"an encoder has no {lacking[0]}"
    found = [(unit.role, ops[name].own_fold()) for unit in units for names in unit.nodes for name in names]
    (first, own), *others = found
    for role, fold in others:
        for what, mine, other in (("inputs", own.x.name, fold.x.name), *_unlike(own, fold)):
            if mine != other:
                return f"{what} of {first} are {mine}, of {role} {other}"
    if wrong := next((f"outputs of {role} are {fold.y.name}, not signed" for role, fold in found if not fold.y.signed()), ""):
        return wrong
    return "" if own.requant else "its sums are not requantised"


def _matrix_roles(model: ModelWrapper, engine: Engine) -> tuple[str, ...]:
    """Roles of matrix units, in the order of the encoder."""
    kinds = {node.name: kind_of(node) for node in model.graph.node}
    return tuple(unit.role for unit in engine.units if {kinds[name] for names in unit.nodes for name in names} == {"BlockSparseMVAU"})


def _unlike(own: Fold, other: Fold) -> tuple[tuple[str, object, object], ...]:
    """What two matrices of one unit must have in common, beside the types of their codes."""
    return ("blocks", own.block, other.block), ("requantisation", (own.requant, own.mult_bits), (other.requant, other.mult_bits))


def _embedding(model: ModelWrapper, binding: EngineBinding, role: str) -> EngineBinding:
    """The binding with the patch embedding on the unit of ``role``."""
    if reason := no_embedding(model, binding, role):
        raise UserError(f"the patch embedding cannot run on {role}: {reason}")
    (engine,) = binding.engines
    matrix, tokens = _named(model, BEFORE)
    units = [
        BoundUnit(f"{role}{EMBEDS}", (*unit.nodes, (matrix,))) if unit.role == role else replace(unit, nodes=(*unit.nodes, ()))
        for unit in engine.units
    ]
    units.append(BoundUnit(BEFORE[1], (*(() for _ in engine.encoders), (tokens,))))
    outside = tuple(name for name in binding.outside if name not in (matrix, tokens))
    return EngineBinding((Engine((*engine.encoders, BEFORE_ENCODERS), tuple(units)),), outside)


def no_embedding(model: ModelWrapper, binding: EngineBinding, role: str) -> str:
    """Why the unit of a role cannot do the patch embedding as one more pass; "" where it can."""
    if len(binding.engines) != 1 or len(binding.engines[0].encoders) < 2:
        return "it needs one engine of all encoders, and two of them at least"
    ahead = [node.name for node in model.graph.node if node.name in binding.outside and _before(model, node.name)]
    if [_layer_of(model, name) for name in ahead] != list(BEFORE):
        return "another layer than these stands before encoder 1: " + ", ".join(BEFORE)
    array = role == ARRAY
    of_unit = _matrix_roles(model, binding.engines[0])[0] if array else role
    unit = next((unit for unit in binding.engines[0].units if unit.role == of_unit), None)
    ops = {node.name: getCustomOp(node) for node in model.graph.node}
    if unit is None or (
        not array and not all(len(names) == 1 and kind_of(ops[names[0]].onnx_node) == "BlockSparseMVAU" for names in unit.nodes)
    ):
        return "it is no matrix of every encoder"
    own, other = ops[unit.nodes[0][0]].own_fold(), ops[ahead[0]].own_fold()
    pixels, codes = other.x, own.x
    if not codes.signed() or pixels.bitwidth() != codes.bitwidth() or pixels.bitwidth() > CODE_BITS:
        return f"its inputs are {codes.name}, pixels {pixels.name}"
    results = () if array else (("outputs", own.y.name, other.y.name), ("columns", own.mh, other.mh))
    for what, mine, others in (*_unlike(own, other), *results):
        if mine != others:
            return f"its {what} are {mine}, those of the patch embedding {others}"
    return ""


def _before(model: ModelWrapper, name: str) -> bool:
    """Whether a node outside of the encoders stands before them."""
    names, order = node_names(model), [node.name for node in model.graph.node]
    first = min(i for i, node in enumerate(order) if names[node].encoder is not None)
    return order.index(name) < first


def _layer_of(model: ModelWrapper, name: str) -> str:
    return node_names(model)[name].layer


def _named(model: ModelWrapper, layers: Sequence[str]) -> tuple[str, ...]:
    """The nodes outside of encoders with these names."""
    names = node_names(model)
    return tuple(next(node for node, name in names.items() if name.encoder is None and name.layer == layer) for layer in layers)


def encoder_count(model: ModelWrapper) -> int:
    """Encoders of a flat hardware graph."""
    return len(_layers(model)[0])


def _layers(model: ModelWrapper) -> tuple[dict[int, dict[str, str]], list[str]]:
    """The nodes of each encoder by what they are called there, and those outside."""
    names = node_names(model)
    layers: dict[int, dict[str, str]] = {}
    outside = []
    for node in model.graph.node:
        name = names[node.name]
        if name.encoder is None:
            outside.append(node.name)
        else:
            layers.setdefault(name.encoder, {})[name.layer] = node.name
    return layers, outside


def _sizes(model: ModelWrapper, layers: dict[int, dict[str, str]], engines: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(engines, int):
        if not 1 <= engines <= len(layers):
            raise UserError(f"{engines} engines for {len(layers)} encoders: use 1 to {len(layers)}")
        ops = {node.name: getCustomOp(node) for node in model.graph.node}
        work = [sum(ops[name].macs() for name in own.values()) for own in layers.values()]
        drops = [any(kind_of(ops[name].onnx_node) == "VitTokenDrop" for name in own.values()) for own in layers.values()]
        return deal(work, engines, drops)
    if min(engines, default=0) < 1 or sum(engines) != len(layers):
        said = ",".join(map(str, engines))
        raise UserError(f"encoders per engine {said}: use numbers of 1 or more that add up to the {len(layers)} encoders")
    return tuple(engines)


def _units(encoders: Sequence[dict[str, str]]) -> tuple[BoundUnit, ...]:
    """One of each role that an encoder has. Where none has QKV, as with QK-norm, Q and KV have units of their own, and the fork before them."""
    if len(encoders) == 1:
        return tuple(BoundUnit(layer, ((name,),)) for layer, name in encoders[0].items())
    whole = any(layer in SAME_UNIT.values() for own in encoders for layer in own)
    role_of = {layer: SAME_UNIT.get(layer, layer) if whole else layer for own in encoders for layer in own}
    roles = {role: None for layer, role in role_of.items() if not (whole and layer in IN_SPLIT)}
    return tuple(
        BoundUnit(role, tuple(tuple(name for layer, name in own.items() if role_of[layer] == role) for own in encoders)) for role in roles
    )


def deal(work: Sequence[int], engines: int, natural: Sequence[bool]) -> tuple[int, ...]:
    """How many consecutive encoders each engine gets.

    Of the deals whose largest engine has at most :data:`PREFERENCE` more work than it must have, one with most natural cuts,
    of these one whose largest engine is smallest, of these the most even one.

    Args:
        work: of each encoder. natural: whether a cut behind it is one.
    """
    ahead = [0, *accumulate(work)]

    @cache
    def best(first: int, left: int, limit: float) -> tuple[int, int, int, tuple[int, ...]] | None:
        """Unnatural cuts, largest engine, sum of squares and sizes of ``left`` engines for the encoders from ``first`` on."""
        found = None
        for end in range(first + 1, len(work) - left + 2) if left > 1 else (len(work),):
            own = ahead[end] - ahead[first]
            rest = best(end, left - 1, limit) if left > 1 else (0, 0, 0, ())
            if own > limit or rest is None:
                continue
            cuts = rest[0] + (left > 1 and not natural[end - 1])
            candidate = cuts, max(own, rest[1]), own**2 + rest[2], (end - first, *rest[3])
            found = candidate if found is None else min(found, candidate)
        return found

    found = best(0, engines, (1 + PREFERENCE) * _least(ahead, engines))
    assert found is not None  # the deal of the least work is one
    return found[3]


def _least(ahead: Sequence[int], engines: int) -> float:
    """The least work that the largest of so many engines can have."""

    @cache
    def least(first: int, left: int) -> float:
        if left == 1:
            return ahead[-1] - ahead[first]
        ends = range(first + 1, len(ahead) - left + 1)
        return min((max(ahead[end] - ahead[first], least(end, left - 1)) for end in ends), default=math.inf)

    return least(0, engines)
