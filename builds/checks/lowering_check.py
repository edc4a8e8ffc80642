"""Holds the hardware graph against the QONNX model: node by node, and end to end (docs/numerics.md, "Comparing")."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune import numerics
from finn_vitprune.complexity.graph import count_hardware
from finn_vitprune.execute import golden
from finn_vitprune.execute.program import IntegerProgram
from finn_vitprune.execute.qonnx_runner import QonnxRunner, before_rounding
from finn_vitprune.transforms.lowering.rules import Lowered, Match

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Fault:
    """A code of the hardware graph that differs from QONNX's and not beside a tie."""

    image: int
    index: list[int]
    code: int
    qonnx: int
    before_rounding: float

    def __str__(self) -> str:
        return (
            f"code {self.index} of image {self.image} is {self.code}, QONNX has {self.qonnx} ({self.before_rounding:.4f} before rounding)"
        )


@dataclass
class TensorCheck:
    """One QONNX tensor, computed by the hardware node ``node`` from QONNX's inputs.

    codes: compared. ties: differ by one beside a tie, which is allowed. faults: differ otherwise; ``fault`` is the
    first of them.
    """

    qonnx: str
    node: str
    codes: int = 0
    ties: int = 0
    faults: int = 0
    fault: Fault | None = None

    def add(self, image: int, got: np.ndarray, wanted: np.ndarray, before: np.ndarray, error: np.ndarray | float = 0.0) -> int:
        """Count the codes ``got`` of one image; returns the ties. ``error``: see :func:`.beside_tie`."""
        differs = got != wanted
        ties = differs & numerics.beside_tie(before, got, wanted, np.maximum(error, numerics.SCALES_ERROR * np.abs(before)))
        wrong = np.argwhere(differs & ~ties)
        if len(wrong) and self.fault is None:
            at = tuple(int(i) for i in wrong[0])
            self.fault = Fault(image, list(at), int(got[at]), int(wanted[at]), float(before[at]))
        found = int(ties.sum())
        self.codes, self.ties, self.faults = self.codes + got.size, self.ties + found, self.faults + len(wrong)
        return found


@dataclass(frozen=True)
class ClassChange:
    """An image to which the hardware graph gives another class than QONNX; ``ties`` of its codes lie upstream."""

    image: int
    hardware: int
    qonnx: int
    ties: int


@dataclass(frozen=True)
class LoweringCheck:
    """Result of :func:`check_lowering`.

    images: compared node by node, numbers of the images that ran. classes: images compared end to end. ``source``
    is the metadata of the model file, ``macs_pruned`` the products of the graph before the last encoder is narrowed to the
    class token.
    """

    images: list[int]
    tensors: list[TensorCheck]
    classes: int
    class_changes: list[ClassChange]
    logit_scale: float
    largest_scale_change: float
    source: dict[str, str] = field(default_factory=dict)
    macs_pruned: int = 0

    @property
    def codes(self) -> int:
        """Codes compared."""
        return sum(t.codes for t in self.tensors)

    @property
    def ties(self) -> int:
        """Codes that differ as the tie rule allows."""
        return sum(t.ties for t in self.tensors)

    @property
    def faults(self) -> int:
        """Codes that differ otherwise, and classes that differ without a tie."""
        return sum(t.faults for t in self.tensors) + sum(not c.ties for c in self.class_changes)

    @property
    def problem(self) -> str:
        """What is wrong, in one line; empty where nothing is."""
        wrong = [t for t in self.tensors if t.faults]
        if wrong:
            first = wrong[0]
            return (
                f"node {first.node} differs from tensor {first.qonnx} of the QONNX model: {first.fault}; "
                f"{first.faults:,} of its {first.codes:,} codes differ, not beside a tie, and so do codes of "
                f"{len(wrong) - 1} other tensors"
            )
        for change in self.class_changes:
            if not change.ties:
                return (
                    f"the hardware graph differs from the QONNX model: image {change.image} has class "
                    f"{change.hardware} instead of {change.qonnx}, though all codes before it are equal"
                )
        return ""

    def not_judged(self, found: Sequence[int] | np.ndarray, qonnx: Sequence[int] | np.ndarray) -> list[int]:
        """The images whose class is not QONNX's, and that this check, which may be of some images only, does not list."""
        judged = {change.image for change in self.class_changes}
        return [image for image in np.flatnonzero(np.not_equal(found, qonnx)).tolist() if image not in judged]


def check_lowering(
    source: ModelWrapper,
    lowered: Lowered,
    pixels: np.ndarray,
    images: Iterable[int] = range(8),
    whole: Sequence[int] | np.ndarray | None = None,
) -> tuple[LoweringCheck, np.ndarray, np.ndarray]:
    """Compare ``lowered`` with the QONNX model ``source`` on ``pixels`` ``[F, H, W, C]``.

    The images with the numbers ``whole`` (None: all) run end to end. Those with the numbers ``images``, and all to which
    the hardware graph gives another class, are compared node by node: each op computes from the QONNX codes of its inputs.

    Returns:
        The check, the hardware graph's logits ``[F, classes]`` (0 for images that did not run), and QONNX's as codes at
        their scale, so that equal ones are equal and the lowest class wins.
    """
    output = source.graph.output[0].name
    qonnx = _rounded(QonnxRunner(source).run(pixels)[output].reshape(len(pixels), -1) / lowered.logit_scale)
    run = np.arange(len(pixels)) if whole is None else np.asarray(whole)
    logits = np.zeros(qonnx.shape, np.int64)
    logits[run] = IntegerProgram(lowered.model).logits(pixels[run])
    hardware_class, qonnx_class = logits.argmax(-1), qonnx.argmax(-1)
    changed = run[hardware_class[run] != qonnx_class[run]].tolist()
    chosen = sorted({*(int(i) for i in images if i < len(pixels)), *changed})
    nodes = _NodeCheck(source, lowered)
    ties = {image: nodes.add(image, pixels[image]) for image in chosen}
    check = LoweringCheck(
        images=chosen,
        tensors=list(nodes.checks.values()),
        classes=len(run),
        class_changes=[ClassChange(i, int(hardware_class[i]), int(qonnx_class[i]), ties[i]) for i in changed],
        logit_scale=lowered.logit_scale,
        largest_scale_change=lowered.snap_error,
        source={p.key: p.value for p in source.graph.metadata_props},
        macs_pruned=count_hardware(lowered.model)[0].macs,
    )
    return check, logits, qonnx


class _NodeCheck:
    """Every op on the QONNX codes of its inputs, against those of its outputs; one :class:`TensorCheck` a QONNX tensor."""

    def __init__(self, source: ModelWrapper, lowered: Lowered) -> None:
        self.model = lowered.model
        self.matches: dict[str, list[Match]] = defaultdict(list)
        for match in lowered.matches:
            self.matches[match.hardware].append(match)
        self.attentions = {a.hardware: a for a in lowered.attentions}
        self.checks: dict[str, TensorCheck] = {}
        names = {m.qonnx for m in lowered.matches} | {n for a in lowered.attentions for n in (a.logits, a.numerators)}
        quantised = {o for n in source.graph.node if n.op_type == "Quant" for o in n.output}
        self.runner = QonnxRunner(source, sorted([*names, *map(before_rounding, names & quantised)]))

    def add(self, image: int, pixels: np.ndarray) -> int:
        """Check one image ``[H, W, C]``; returns the ties."""
        reference = self.runner.run(pixels[None])
        wanted, ties = golden.run(self.model, {self.model.graph.input[0].name: pixels[None]}), 0
        for node in golden.hardware_nodes(self.model):
            errors: Tensors = {}
            if node.output[0] in self.attentions:
                made, errors, found = self._attention(image, node, wanted, reference)
                ties += found
            else:
                made = golden.run_node(self.model, node, wanted)
            for name, got in made.items():
                wanted[name] = codes = got.copy()
                for match in self.matches[name]:
                    computed = got.reshape(-1)[match.index] - match.zero
                    error = errors[name].reshape(-1)[match.index] if name in errors else None
                    ties += self._compare(image, node, match.qonnx, match.scale, computed, reference, error)
                    held = _rounded(reference[match.qonnx].reshape(-1) / match.scale) + match.zero
                    codes.reshape(-1)[match.index.reshape(-1)] = held
        return ties

    def _attention(self, image: int, node: NodeProto, wanted: Tensors, reference: Tensors) -> tuple[Tensors, Tensors, int]:
        """Logits from QONNX's q and k, numerators from its logits, outputs from its numerators.

        Returns:
            Outputs, errors of codes of size 1 in them, and ties.
        """
        op, match = getCustomOp(node), self.attentions[node.output[0]]
        table = self.model.get_initializer(node.input[2])
        q, k, v = op.by_head(*(wanted[name] for name in node.input[:2]))
        c = op.constants()
        bias = op.own_bias(self.model.get_initializer(node.input[3])) if op.get_nodeattr("bias_bits") else 0
        logits = numerics.attention_logits(q, k, c, bias)
        ties = self._compare(image, node, match.logits, match.logit_scale, logits, reference)
        logits = _rounded(reference[match.logits] / match.logit_scale)
        e = numerics.numerators(logits, table.reshape(-1))
        ties += self._compare(image, node, match.numerators, 1 / numerics.EXP_MAX, e, reference)
        e = _rounded(reference[match.numerators] * numerics.EXP_MAX)
        out, scores = numerics.attended(e, v, c)
        errors = op.outputs(np.broadcast_to(numerics.attended_error(e, c), out.shape), scores)[:1]
        return dict(zip(node.output, op.outputs(out, scores))), dict(zip(node.output, errors)), ties

    def _compare(
        self, image: int, node: NodeProto, qonnx: str, scale: float, got: np.ndarray, reference: Tensors, relative: np.ndarray | None = None
    ) -> int:
        """Count one tensor; returns the ties. ``relative``: by how much of a code of size 1 each of ``got`` may differ before rounding."""
        real = reference[qonnx]
        before = reference.get(before_rounding(qonnx), real / scale)
        check = self.checks.setdefault(qonnx, TensorCheck(qonnx, node.name))
        before = before.reshape(real.shape)[0]
        error = 0.0 if relative is None else relative.reshape(before.shape) * (np.abs(before) + 1)
        return check.add(image, got.reshape(real.shape[1:]), _rounded(real / scale)[0], before, error)


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.rint(values).astype(np.int64)
