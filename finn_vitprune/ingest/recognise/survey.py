"""Every node of a file that is not supported, looked at by itself: the pass that continues after a rejected node.

By its own policy the pass leaves unknown what depends on a rejected node. Here the result of such a node is a
tensor of known shape (:class:`Opaque`), so that the linear layers, LayerNorms and attention after it are still
found, and each node has an answer of its own. Dimensions of the input that stay open are assumed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from finn_vitprune.graph.constants import output_shapes
from finn_vitprune.graph.node import Node, Reason, Rejection
from finn_vitprune.graph.rules import Const, Known, Unknown, Value, ordered
from finn_vitprune.graph.walk import DAMAGED, CollectAll, Pass
from finn_vitprune.ingest.normal_form import functions
from finn_vitprune.ingest.normal_form.normalise import normaliser
from finn_vitprune.ingest.normal_form.normaliser import PLAIN, NodeOutcome, NodeStatus
from finn_vitprune.ingest.normal_form.terms import Activation, Embedded, Gated, Linear, Mixed, Norm, Opaque, Sum, Term, View
from finn_vitprune.ingest.normal_form.views import plain
from finn_vitprune.ingest.onnx_file.model_file import ModelFile, Tensor
from finn_vitprune.ingest.recognise.network import ACTIVATION_HELP, ACTIVATIONS
from finn_vitprune.ingest.recognise.network import PLAIN as PRE_NORM

FIXED_SIZE = "export with a fixed image size"
ASSUMED_IMAGES, ASSUMED_LENGTH = ((224, 224), (48, 192), (32, 128)), 16
"""Sizes of open dimensions: height and width of an image (those that fit best are taken), length of anything else."""
WITH_CONSTANT = frozenset("Add Sub Mul Div Pow Min Max Clip".split())
UNARY = frozenset("Relu Sigmoid Tanh HardSigmoid".split())
IMAGES = frozenset(
    "Conv ConvTranspose BatchNormalization InstanceNormalization GroupNormalization MaxPool AveragePool "
    "LpPool GlobalMaxPool GlobalAveragePool Resize Upsample Pad DepthToSpace SpaceToDepth Concat Add Sub Mul Div".split()
)
"""Ops whose results of four dimensions are ``[1, C, H, W]`` as a rule: their tokens lie along H and W."""


@dataclass(frozen=True)
class SurveyedNode:
    """One node by itself: its outcome, and the rejection upstream that keeps it from mapping (None for none)."""

    outcome: NodeOutcome
    cause: Rejection | None


@dataclass(frozen=True)
class Surveyed:
    """Result: one entry per node, the names of the functions that stand on a term, every reason found.

    assumed: the shapes of inputs that had to be assumed, by name.
    """

    nodes: tuple[SurveyedNode, ...]
    functions: dict[int, str]
    rejections: tuple[Rejection, ...]
    assumed: dict[str, tuple[int, ...]]


def survey(source: ModelFile, image: tuple[int, ...] | None) -> Surveyed:
    """Look at every node; ``image`` is the shape of the one input, or None where the inputs are not image."""
    if image is not None:
        return _Survey(source, image, {}).found()
    assumed = {tuple(_assumed(source, *size).items()): None for size in ASSUMED_IMAGES}
    return min((_Survey(source, None, dict(a)).found() for a in assumed), key=_unanswered)


def _unanswered(surveyed: Surveyed) -> tuple[int, int]:
    """Nodes without an answer of their own, and rejections: sizes that do not fit the network have many."""
    return sum(f.outcome.status is NodeStatus.BLOCKED for f in surveyed.nodes), len(surveyed.rejections)


class _Survey(CollectAll):
    def __init__(self, source: ModelFile, image: tuple[int, ...] | None, assumed: dict[str, tuple[int, ...]]) -> None:
        super().__init__(PLAIN)
        self.assumed = assumed
        self.reads = Counter(i for node in source.nodes for i in set(node.inputs))
        if image is None and len(source.inputs) == 1:
            shape = self.assumed.get(source.inputs[0].name, ())
            image = shape if len(shape) == 4 else None
        no_image = Rejection(", ".join(i.name for i in source.inputs) or "none", "input", "it is not an image")
        self.state = normaliser(source, image or no_image, self)
        self.state.rejections.clear()  # the inputs are judged elsewhere
        self.causes: dict[str, Rejection] = {}
        self.named: dict[int, str] = {}
        for tensor in source.inputs if self.state.pixels is None else ():
            self._input(tensor, no_image)

    def _input(self, tensor: Tensor, no_image: Rejection) -> None:
        node = Node(tensor.name, "input", "", (), (tensor.name,), {})
        self.causes[tensor.name] = rejection = replace(no_image, node=tensor.name)
        self.state.hold(tensor.name, _made(self.state, node, self.assumed.get(tensor.name), False, rejection))

    def found(self) -> Surveyed:
        """The result of the pass, with the reasons that only the whole shows."""
        normalised = self.state.run(self._seen)
        outcomes = normalised.outcomes
        self._name_activations(normalised.outputs.values())
        for term in dict.fromkeys(outcome.term for outcome in outcomes):
            if isinstance(term, Gated) and term.name not in ACTIVATIONS:
                self._refuse_once(term.node, f"activation {term.name} in the gate of an MLP", ACTIVATION_HELP)
        causes = [self._cause(o.node) for o in outcomes]
        own = self._post_norm(outcomes)
        nodes = []
        for outcome, cause in zip(outcomes, causes, strict=True):
            rejection = own.get(id(outcome.term)) if outcome.status is NodeStatus.TERM else None
            if rejection is not None and rejection.op_type == outcome.node.op_type:
                outcome = replace(outcome, status=NodeStatus.REJECTED, rejection=rejection)
            nodes.append(SurveyedNode(outcome, cause))
        return Surveyed(tuple(nodes), self.named, tuple(self.state.rejections), self.assumed)

    # --- the pass ---

    def answer(self, state: Pass, node: Node, values: list[Known | None]) -> list[Value]:
        if node.op_type in UNARY:
            self._settle(node.inputs[0], shifted=True)
            settled = state.values[node.inputs[0]]
            values[0] = None if isinstance(settled, Unknown) else settled
        views = [v for v in values if isinstance(v, View)]
        if node.op_type in WITH_CONSTANT and len(views) == 1 and isinstance(views[0].term, Opaque):
            scalars = all(v.value.size == 1 for v in values if isinstance(v, Const))
            result = state.results(node, values) if scalars else None
            return result or [_with_constant(views[0], values)]  # a bias or scale of what is rejected
        return state.results(node, values)

    def rejected(self, state: Pass, node: Node, values: Sequence[Value | None], reason: Reason) -> list[Value]:
        if reason.help == DAMAGED and self.assumed:
            sizes = ", ".join(f"{name} {list(shape)}" for name, shape in self.assumed.items())
            text = f"shapes do not fit for an input of the assumed size {sizes}: {reason.reason}"
            reason = Reason(text, FIXED_SIZE)
        results = super().rejected(state, node, values, reason)
        for view in (v for v in values if isinstance(v, View)):
            self._name_function(view)
        given = [v.shape if isinstance(v, View | Mixed) else np.asarray(v.value) if isinstance(v, Const) else None for v in values]
        shapes = output_shapes(node, self.state.source.opset, given)
        for i, (tensor, shape) in enumerate(zip(node.outputs, shapes, strict=False)):
            unknown = results[i]
            assert isinstance(unknown, Unknown)
            results[i] = _made(state, node, shape, node.op_type in IMAGES, unknown.rejection)
            state.hold(tensor, results[i])
        return results

    def _seen(self, outcome: NodeOutcome) -> None:
        cause = outcome.rejection if outcome.status is NodeStatus.REJECTED else self._cause(outcome.node)
        if cause is not None:
            self.causes |= {t: cause for t in outcome.node.outputs if t}
        for tensor in outcome.node.outputs:
            if self.reads[tensor] > 1:
                self._settle(tensor)

    def _settle(self, tensor: str, shifted: bool = False) -> None:
        """Scale and offset before an activation (they are read several times) belong to what stands before.

        ``shifted``: only where there is an offset; the scale before a sigmoid may be that of QuickGELU.
        """
        view = self.state.values.get(tensor)
        if not isinstance(view, View) or view.fn is None:
            return
        line = functions.affine(view.fn)
        if line is not None and not (shifted and line[1] == 0.0):
            with suppress(Reason):  # the node that needs it plain says so
                self.state.values[tensor] = plain(self.state, view)

    def _cause(self, node: Node) -> Rejection | None:
        return next((self.causes[i] for i in node.inputs if i in self.causes), None)

    # --- what the whole shows ---

    def _name_function(self, view: View) -> None:
        if view.fn is not None and functions.affine(view.fn) is None:
            self.named[id(view.term)] = functions.name_up_to_scale(view.fn)

    def _name_activations(self, outputs: Iterable[Value]) -> None:
        for view in outputs:
            if isinstance(view, View):
                self._name_function(view)
        for key, term in list(self.state.memo.items()):
            if key[0] == "activation" and isinstance(term, Activation):
                name = functions.name_up_to_scale(np.frombuffer(key[2]))
                self.named[id(term.x)] = name
                if name not in ACTIVATIONS:
                    self._refuse_once(term.node, f"activation {name}", ACTIVATION_HELP)

    def _refuse_once(self, node: Node, reason: str, help: str) -> Rejection:
        rejection = Rejection.at(node, reason, help)
        if rejection not in self.state.rejections:
            self.state.rejections.append(rejection)
        return rejection

    def _post_norm(self, outcomes: Iterable[NodeOutcome]) -> dict[int, Rejection]:
        """LayerNorms whose result is added to that of a branch, but for one before the first encoder, by term."""
        found: dict[int, Rejection] = {}
        for outcome in outcomes:
            if isinstance(outcome.term, Sum) and outcome.status is NodeStatus.TERM:
                a, b = outcome.term.a.term, outcome.term.b.term
                for side, branch in ((a, b), (b, a)):
                    if isinstance(side, Norm) and isinstance(branch, Linear) and not isinstance(side.x.term, Embedded):
                        text = "post-norm: a LayerNorm stands on the residual stream"
                        rejection = self._refuse_once(side.node, text, PRE_NORM)
                        found |= {id(t): rejection for t in _with_absorbed(side)}
        return found


def _with_absorbed(term: Term) -> list[Norm]:
    found: list[Norm] = []
    waiting = [term]
    while waiting:
        term = waiting.pop()
        if isinstance(term, Norm):
            found.append(term)
            waiting += term.absorbed
    return found


# --- inputs --------------------------------------------------------------------------------------


def _assumed(source: ModelFile, height: int, width: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the inputs with open dimensions filled in; inputs without a shape are left out."""
    found = {}
    kernels = [
        source.constants[n.inputs[1]].shape
        for n in source.nodes
        if n.op_type == "Conv" and len(n.inputs) > 1 and n.inputs[1] in source.constants
    ]
    channels = next((k[1] for k in kernels if len(k) == 4), 3)
    for tensor in source.inputs:
        if tensor.shape is None:
            continue
        image = len(tensor.shape) == 4
        standard = (1, channels, height, width) if image else (1,)
        filled = [*standard, *[ASSUMED_LENGTH] * len(tensor.shape)]
        found[tensor.name] = tuple(1 if image and i == 0 else d or f for i, (d, f) in enumerate(zip(tensor.shape, filled)))
    return found


# --- results of rejected nodes -------------------------------------------------------------------


def _made(state: Pass, node: Node, shape: tuple[int, ...] | None, image: bool, rejection: Rejection) -> Value:
    """A tensor of known shape, or an unknown one where the shape is not known or too large."""
    try:
        view = None if shape is None else _opaque(node, shape, image)
    except Reason:
        view = None
    return Unknown(rejection) if view is None or not state.fits([view]) else view


def _opaque(node: Node, shape: tuple[int, ...], image: bool) -> View:
    """A tensor of this shape; one of ``[1, C, H, W]`` has its tokens along H and W."""
    if image and len(shape) == 4:
        index = ordered((shape[0], *shape[2:], shape[1])).transpose(0, 3, 1, 2)
        columns = shape[1]
    else:
        index = ordered(shape)
        columns = shape[-1] if shape else 1
    return View(index, Opaque(index.size // max(columns, 1), columns, node))


def _with_constant(view: View, values: list[Known | None]) -> View:
    shape = np.broadcast_shapes(*(v.value.shape for v in values if isinstance(v, Const)), view.shape)
    if shape != view.shape:
        raise Reason(f"a tensor of shape {list(view.shape)} and a constant become {list(shape)}", PLAIN)
    return view
