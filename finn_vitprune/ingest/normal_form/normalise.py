"""One pass over the nodes of an ONNX graph that brings every tensor to the normal form.

Each node is handed to a rule chosen by its op type and by what its inputs are
(:mod:`finn_vitprune.ingest.normal_form.terms`). Rules are registered in the ``rules_*`` modules. A rule that cannot
take its node in raises :class:`Reason`; what depends on it is then unknown. Where the network's form is
clear in spite of it, a rule notes the reason with :meth:`Normaliser.refuse` and goes on.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from onnx import GraphProto

from finn_vitprune.errors import UserError
from finn_vitprune.graph import constants
from finn_vitprune.graph.node import Node
from finn_vitprune.ingest.onnx_file.model_file import ModelFile
from finn_vitprune.graph.reason import Reason, Refusal
from finn_vitprune.ingest.normal_form.terms import Const, Pixels, Term, Unknown, Value, View
from finn_vitprune.ingest.onnx_file.unsupported import why_not

RULE_MODULES = (
    "rules_layout",
    "rules_tokens",
    "rules_elementwise",
    "rules_linear",
    "rules_norm",
    "rules_attention",
    "rules_quant",
)
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    MemoryError,
    NotImplementedError,
)
"""What NumPy and qonnx raise where shapes or attributes of a damaged file do not fit."""


COUNTED = 1 << 16
"""Bytes of a result from which on the memory that is held is looked at."""
PLAIN = "plain ViT and DeiT encoders are taken in, as timm and Hugging Face have them"
DAMAGED = "the file is damaged or was edited: export it again"


class Fate(Enum):
    """What became of a node."""

    CONSTANT = "constant"
    LAYOUT = "layout"
    TERM = "term"
    FUNCTION = "function"
    REFUSED = "refused"
    WAITS = "waits"


@dataclass(frozen=True)
class Outcome:
    """What became of one node: its term (of a view), or the reason why not."""

    node: Node
    fate: Fate
    term: Term | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True)
class Rule:
    """One rule: the kinds of the leading inputs, and what to do."""

    kinds: tuple[type | tuple[type, ...], ...]
    apply: Callable[["Normaliser", Node, list[Value | None]], Value | list[Value]]

    def matches(self, values: list[Value | None]) -> bool:
        """Whether the leading inputs are of this rule's kinds."""
        return len(values) >= len(self.kinds) and all(isinstance(v, k) for v, k in zip(values, self.kinds))


RULES: dict[str, list[Rule]] = {}


def rule(op_types: str, *kinds: type | tuple[type, ...]):
    """Register a rule for ``op_types`` (with spaces) whose leading inputs are of ``kinds``."""

    def decorate(function):
        for op_type in op_types.split():
            RULES.setdefault(op_type, []).append(Rule(kinds, function))
        return function

    return decorate


@dataclass
class Normalised:
    """Result of the pass: values of the outputs, what became of every node, and all reasons found."""

    source: ModelFile
    pixels: Pixels | None
    outputs: dict[str, Value]
    outcomes: list[Outcome]
    refusals: list[Refusal] = field(default_factory=list)


class Normaliser:
    """State of one pass."""

    def __init__(self, source: ModelFile, image: tuple[int, ...] | Refusal) -> None:
        """``image`` is the shape of the one input, all dimensions known, or why it is no image."""
        for name in RULE_MODULES:
            importlib.import_module(f"finn_vitprune.ingest.normal_form.{name}")
        self.source = source
        self.values: dict[str, Value] = {name: Const(a) for name, a in source.constants.items()}
        self.refusals: list[Refusal] = []
        self.node = source.nodes[0]
        self._memo: dict[object, object] = {}
        self._held: dict[str, tuple[int, int]] = {}
        self.pixels: Pixels | None = None
        if isinstance(image, tuple):
            image = self._image(source.inputs[0].name, image)
        if isinstance(image, Refusal):
            self.refusals.append(image)
            self.values |= {i.name: Unknown(image) for i in source.inputs}

    def _image(self, name: str, shape: tuple[int, ...]) -> Refusal | None:
        """Take the input in as pixels; a refusal where it is too large."""
        node = Node(name, "input", "", (), (name,), {})
        try:
            index = ordered(shape)
        except Reason as e:
            return Refusal.at(node, e.reason, e.help)
        self.pixels = Pixels(1, index.size, node, shape=shape)
        self.values[name] = View(self.pixels, index)
        return None

    # --- helpers for rules ---

    def refuse(self, reason: str, help: str = "") -> None:
        """Note a reason at the node at hand, and go on as if it were not there."""
        self.refusals.append(Refusal.at(self.node, reason, help or PLAIN))

    def once(self, key: object, make: Callable[[], Term]) -> Term:
        """The term of ``key``, made at first use, so that equal steps are one term."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    # --- the pass ---

    def run(self) -> Normalised:
        """Bring every node to the normal form."""
        last_use = {t: i for i, node in enumerate(self.source.nodes) for t in node.inputs}
        wanted = {o.name for o in self.source.outputs} | _read_in_branches(self.source.nodes)
        outcomes = []
        with np.errstate(all="ignore"):
            for i, node in enumerate(self.source.nodes):
                outcomes.append(self.apply(node))
                for tensor in {*node.inputs, *node.outputs} - wanted:
                    if last_use.get(tensor, -1) <= i:
                        self._drop(tensor)
        outputs = {o.name: self.values[o.name] for o in self.source.outputs}
        return Normalised(self.source, self.pixels, outputs, outcomes, self.refusals)

    def apply(self, node: Node) -> Outcome:
        """Bring one node to the normal form and keep its outputs."""
        self.node = node
        values = [self.values.get(i) if i else None for i in node.inputs]
        unknown = next((v for v in values if isinstance(v, Unknown)), None)
        before = len(self.refusals)
        if unknown is not None:
            self._keep(node, [unknown] * len(node.outputs))
            return Outcome(node, Fate.WAITS, None, unknown.refusal)
        try:
            results = self._results(node, values)
        except Reason as e:
            return self._lost(node, e.reason, e.help)
        except UserError as e:
            return self._lost(node, str(e))
        except DAMAGE as e:
            shapes = ", ".join(_shape_text(v) for v in values if v is not None)
            return self._lost(node, f"inputs of shape {shapes or 'nothing'} do not fit: {_text(e)}", DAMAGED)
        if not self._fits(node, results):
            held = constants.MAX_HELD >> 20
            return self._lost(node, f"with its result more than {held} MiB are held while the file is read")
        self._keep(node, results)
        if len(self.refusals) > before:
            return Outcome(node, Fate.REFUSED, _term(results), self.refusals[before])
        return Outcome(node, _fate(node, values, results), _term(results))

    def _results(self, node: Node, values: list[Value | None]) -> list[Value]:
        if node.domain not in ("", "ai.onnx", "ai.onnx.ml") and not _known_elsewhere(node):
            raise Reason(*why_not(node))
        for candidate in RULES.get(node.op_type, ()):
            if candidate.matches(values):
                result = candidate.apply(self, node, values)
                return result if isinstance(result, list) else [result]
        if all(v is None or isinstance(v, Const) for v in values):
            arrays = [None if v is None else v.value for v in values]
            return [Const(np.asarray(a)) for a in constants.evaluate(node, self.source.opset, arrays)]
        raise Reason(*why_not(node))

    def _keep(self, node: Node, results: Iterable[Value]) -> None:
        for tensor, value in zip(node.outputs, results, strict=False):
            if tensor:
                self._hold(tensor, value)

    def _hold(self, tensor: str, value: Value) -> None:
        self.values[tensor] = value
        self._held[tensor] = _memory(value)

    def _drop(self, tensor: str) -> None:
        self.values.pop(tensor, None)
        self._held.pop(tensor, None)

    def _fits(self, node: Node, results: Iterable[Value]) -> bool:
        """Whether the arrays that are held stay below :data:`constants.MAX_HELD` with these."""
        new = {key: size for key, size in map(_memory, results) if size >= COUNTED}
        return not new or sum((dict(self._held.values()) | new).values()) <= constants.MAX_HELD

    def _lost(self, node: Node, reason: str, help: str = "") -> Outcome:
        """The node is refused and its outputs are unknown."""
        refusal = Refusal.at(node, reason, help or PLAIN)
        self.refusals.append(refusal)
        self._keep(node, [Unknown(refusal)] * len(node.outputs))
        return Outcome(node, Fate.REFUSED, None, refusal)


def _memory(value: Value) -> tuple[int, int]:
    """Identity and bytes of the array that a value keeps alive; views of one array share it."""
    array = value.value if isinstance(value, Const) else value.index if isinstance(value, View) else None
    while isinstance(array, np.ndarray) and isinstance(array.base, np.ndarray):
        array = array.base
    return id(array), getattr(array, "nbytes", 0)


def ordered(shape: Iterable[int]) -> np.ndarray:
    """0, 1, 2, ... in this shape: the index of a tensor that is its own base.

    Raises:
        Reason: it would be too large.
    """
    shape = tuple(int(d) for d in shape)
    constants.limit(shape)
    return np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape)


def _read_in_branches(nodes: Iterable[Node]) -> set[str]:
    """Tensors that the bodies of control-flow nodes read from outside."""
    waiting = [a for node in nodes for a in node.attributes.values() if isinstance(a, GraphProto)]
    found = set()
    while waiting:
        body = waiting.pop()
        found |= {i for node in body.node for i in node.input} | {o.name for o in body.output}
        waiting += [a.g for node in body.node for a in node.attribute if a.HasField("g")]
    return found


def _known_elsewhere(node: Node) -> bool:
    """Operators of other domains that mean what their names say."""
    quantiser = node.domain.startswith(("qonnx.", "onnx.brevitas"))
    return quantiser or node.op_type in ("Gelu", "FastGelu", "QuickGelu")


def _fate(node: Node, values: list[Value | None], results: list[Value]) -> Fate:
    first = results[0]
    if isinstance(first, Const):
        return Fate.CONSTANT
    if isinstance(first, Unknown):
        return Fate.WAITS
    before = [v for v in values if isinstance(v, View)]
    if any(v.term is first.term and v.fn is first.fn for v in before):
        return Fate.LAYOUT
    return Fate.TERM if first.fn is None else Fate.FUNCTION


def _term(results: list[Value]) -> Term | None:
    return results[0].term if isinstance(results[0], View) else None


def _shape_text(value: Value) -> str:
    return str(list(value.value.shape if isinstance(value, Const) else value.shape))


def _text(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
