"""State of the pass that brings every tensor of an ONNX graph to the normal form.

Each node is handed to a rule chosen by its op type and by what its inputs are
(:mod:`finn_vitprune.ingest.normal_form.terms`). Where the network's form is clear although a node is not
supported, a rule notes the reason with :meth:`Normaliser.reject` and continues.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from finn_vitprune.graph.node import Node, Reason, Rejection
from finn_vitprune.graph.rules import Const, Known, Rules, Unknown, Value, ordered
from finn_vitprune.graph.walk import CollectAll, Pass, Step, all_constant, evaluated
from finn_vitprune.ingest.normal_form.terms import Mixed, Pixels, Term, View
from finn_vitprune.ingest.onnx_file.model_file import ModelFile
from finn_vitprune.ingest.onnx_file.unsupported import why_not

PLAIN = "plain ViT and DeiT encoders are supported, as timm and Hugging Face have them"


class NodeStatus(Enum):
    """What became of a node."""

    CONSTANT = "constant"
    LAYOUT = "layout"
    TERM = "term"
    FUNCTION = "function"
    REJECTED = "rejected"
    BLOCKED = "blocked"


@dataclass(frozen=True)
class NodeOutcome:
    """What became of one node: its term (of a view), or the reason why not."""

    node: Node
    status: NodeStatus
    term: Term | None = None
    rejection: Rejection | None = None

    @property
    def why(self) -> Rejection:
        """The reason, of a node that is rejected or waits for one that is."""
        assert self.rejection is not None
        return self.rejection


@dataclass
class Normalised:
    """Result of the pass: values of the outputs, what became of every node, and all reasons found."""

    pixels: Pixels | None
    outputs: dict[str, Value]
    outcomes: list[NodeOutcome]
    rejections: list[Rejection] = field(default_factory=list)


class Normaliser(Pass):
    """State of one pass."""

    def __init__(self, source: ModelFile, image: tuple[int, ...] | Rejection, rules: Rules, policy: CollectAll | None = None) -> None:
        """``image`` is the shape of the one input, all dimensions known, or why it is not an image."""
        super().__init__(rules, source.constants, source.path.parent, policy or CollectAll(PLAIN))
        self.source = source
        self.memo: dict[tuple, Term] = {}
        self.pixels: Pixels | None = None
        refused = image if isinstance(image, Rejection) else self._image(source.inputs[0].name, image)
        if refused is not None:
            self.rejections.append(refused)
            self.values |= {i.name: Unknown(refused) for i in source.inputs}

    def _image(self, name: str, shape: tuple[int, ...]) -> Rejection | None:
        """Read the input as pixels; a rejection where it is too large."""
        node = Node(name, "input", "", (), (name,), {})
        try:
            index = ordered(shape)
        except Reason as e:
            return Rejection.at(node, e.reason, e.help)
        self.pixels = Pixels(1, index.size, node, shape=shape)
        self.values[name] = View(index, self.pixels)
        return None

    # --- helpers for rules ---

    def reject(self, reason: str, help: str = "") -> None:
        """Note a reason at the node at hand, and continue as if it were not there."""
        self.rejections.append(Rejection.at(self.node, reason, help or PLAIN))

    def once(self, key: tuple, make: Callable[[], Term]) -> Term:
        """The term of ``key``, made at first use, so that equal steps are one term."""
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]

    # --- the pass ---

    def run(self, seen: Callable[[NodeOutcome], None] = lambda outcome: None) -> Normalised:
        """Bring every node to the normal form; ``seen`` is told what became of each, before its inputs are dropped."""
        outputs = [o.name for o in self.source.outputs]
        outcomes = []
        for step in self.walk(self.source.nodes, outputs):
            outcomes.append(_outcome(step))
            seen(outcomes[-1])
        return Normalised(self.pixels, {o: self.values[o] for o in outputs}, outcomes, self.rejections)

    def knows(self, node: Node) -> bool:
        """Standard operators, and those of other domains that mean what their names say."""
        quantiser = node.domain.startswith(("qonnx.", "onnx.brevitas"))
        named = node.op_type in ("Gelu", "FastGelu", "QuickGelu")
        return quantiser or named or node.domain in ("", "ai.onnx", "ai.onnx.ml")

    def unmatched(self, node: Node, values: list[Known | None]) -> list[Value]:
        if self.knows(node) and all_constant(values):
            return evaluated(node, self.source.opset, values)
        raise Reason(*why_not(node))


def _outcome(step: Step) -> NodeOutcome:
    first, status = step.results[0], NodeStatus.FUNCTION
    term = first.term if isinstance(first, View) else None
    if step.waits:
        status = NodeStatus.BLOCKED
    elif step.rejection is not None:
        status = NodeStatus.REJECTED
    elif isinstance(first, Const):
        status = NodeStatus.CONSTANT
    elif isinstance(first, Mixed):
        status, term = NodeStatus.FUNCTION, first.term
    elif not isinstance(first, View):  # the node in a branch that it comes from waits
        status = NodeStatus.BLOCKED
    elif any(isinstance(v, View) and v.term is term and v.fn is first.fn for v in step.values):
        status = NodeStatus.LAYOUT
    elif first.fn is None:
        status = NodeStatus.TERM
    rejection = first.rejection if isinstance(first, Unknown) else step.rejection
    return NodeOutcome(step.node, status, term, rejection)
