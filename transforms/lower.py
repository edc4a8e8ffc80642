"""QONNX to the integer hardware graph, in one pass over the nodes.

Each node is handed to a rule chosen by its op type and by what its inputs stand for
(:mod:`finn_vitprune.transforms.values`). A rule returns what the outputs stand for; hardware nodes come
into being where a ``Quant`` fixes codes and scale. Rules are registered in the ``rules_*`` modules.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.errors import UserError
from finn_vitprune.transforms.hardware_graph import HardwareGraph
from finn_vitprune.transforms.values import (
    Acc,
    Const,
    Image,
    QAcc,
    Stream,
    Value,
    column_selection,
    single_token,
)

DOMAINS = ("", "ai.onnx", "qonnx.custom_op.general", "onnx.brevitas", "finn_vitprune.custom_ops")
"""Whose operators the rules are written for."""

RULE_MODULES = ("rules_layout", "rules_linear", "rules_quant", "rules_elementwise", "rules_attention", "rules_tokens")

KIND_NAMES = {
    "Const": "a constant",
    "QConst": "a quantised constant",
    "Image": "the input image",
    "Stream": "a stream of codes",
    "Acc": "accumulators that are not quantised",
    "QAcc": "quantised accumulators",
    "Normed": "a LayerNorm output that is not quantised",
    "Table": "an element-wise function that is not quantised",
    "Sum": "a residual sum that is not quantised",
    "Rows": "token rows that are not quantised",
    "Mean": "a mean over tokens that is not quantised",
}


class Unmapped(UserError):
    """A node has no hardware form. Carries node name, op type and the reason."""

    def __init__(self, node: NodeProto, reason: str) -> None:
        self.node_name, self.op_type, self.reason = node.name or "(unnamed)", node.op_type, reason
        super().__init__(f"node {self.node_name} ({node.op_type}) does not map to hardware: {reason}")


class Reason(Exception):
    """Raised by a rule that recognises a node but cannot map it; the text says why."""


@dataclass(frozen=True)
class Rule:
    """One lowering rule: the op type, the kinds of the leading inputs, and what to do."""

    op_type: str
    kinds: tuple[type, ...]
    apply: Callable[["Lowering", NodeProto, list[Value]], Value | list[Value]]

    def matches(self, values: list[Value]) -> bool:
        """Whether the leading inputs are of this rule's kinds."""
        return len(values) >= len(self.kinds) and all(isinstance(v, k) for v, k in zip(values, self.kinds))


RULES: dict[str, list[Rule]] = {}


def rule(op_type: str, *kinds: type):
    """Register a lowering rule for ``op_type`` whose leading inputs are of ``kinds``."""

    def decorate(function):
        RULES.setdefault(op_type, []).append(Rule(op_type, kinds, function))
        return function

    return decorate


@dataclass(frozen=True)
class Match:
    """A hardware tensor and the QONNX tensor it equals: ``qonnx.flat = codes.flat[index] * scale``."""

    hardware: str
    qonnx: str
    scale: float
    index: np.ndarray = field(compare=False)


@dataclass
class Lowered:
    """Result of lowering: the hardware graph and how its tensors correspond to the QONNX ones."""

    model: ModelWrapper
    matches: list[Match]
    logit_scale: float
    snap_error: float


class Lowering:
    """State of one lowering: values of the QONNX tensors, the graph under construction."""

    def __init__(self, source: ModelWrapper) -> None:
        self.source = source
        self.graph = HardwareGraph()
        self.values: dict[str, Value] = {}
        self.matches: list[Match] = []
        self.snap_error = 0.0
        self._built: dict[object, Stream] = {}

    # --- helpers for rules ---

    def constant_input(self, node: NodeProto, position: int) -> np.ndarray:
        """Value of a constant input; a :class:`Reason` names the input when it is not constant."""
        name = node.input[position]
        value = self.values.get(name)
        if not isinstance(value, Const):
            raise Reason(f"input {position} ({name}) must be a constant")
        return value.value

    def new_stream(self, op_type: str, inputs: list[str], stem: str, scale: float, bits: int, signed: bool,
                   **attributes) -> Stream:
        """Add a node with one output stream and return the value of that output."""
        out = self.graph.fresh(stem)
        self.graph.add(op_type, inputs, [out], **attributes)
        shape = [d.dim_value for d in self.graph.value_infos[out].type.tensor_type.shape.dim]
        index = np.arange(shape[1] * shape[2]).reshape(shape)
        return Stream(index, out, shape[1], shape[2], scale, bits, signed)

    def record(self, stream: Stream, qonnx: str) -> None:
        """Note that ``stream`` (through its index) is the QONNX tensor ``qonnx``."""
        self.matches.append(Match(stream.tensor, qonnx, stream.scale, stream.index))

    def requant_constants(self, ratio: np.ndarray) -> tuple[np.ndarray, int]:
        """Snap scale ratios to mult 2**-shift and keep the largest relative change."""
        from finn_vitprune.numerics import snap_ratio

        mult, shift = snap_ratio(ratio)
        error = float(np.max(np.abs(np.ldexp(mult.astype(np.float64), -shift) / ratio - 1.0)))
        self.snap_error = max(self.snap_error, error)
        return mult, shift

    def stream(self, value: Value) -> Stream:
        """``value`` as a stream in token order, building a matrix unit or token selection if needed."""
        if isinstance(value, QAcc):
            return self.build_requantised(value)
        if isinstance(value, Stream):
            return self._whole_rows(value)
        raise Reason(f"needs a stream of codes, got {KIND_NAMES.get(type(value).__name__, type(value).__name__)}")

    def _whole_rows(self, value: Stream) -> Stream:
        """A stream whose index is in order; one whole token becomes a VitSelectToken."""
        if value.index.size == value.tokens * value.channels:
            if np.array_equal(value.index.reshape(-1), np.arange(value.index.size)):
                return value
            raise Reason("the tensor is a reordered view of a stream; hardware keeps token order")
        token = single_token(value.index, value.tokens, value.channels)
        if token is None:
            raise Reason("the tensor is a part of a stream that is not one whole token")
        key = ("select", value.tensor, token)
        if key not in self._built:
            self._built[key] = self.new_stream(
                "VitSelectToken", [value.tensor], "select", value.scale, value.bits, value.signed,
                tokens=value.tokens, channels=value.channels, index=token,
                inputDataType=datatype(value.bits, value.signed),
            )
        built = self._built[key]
        return Stream(np.arange(built.channels).reshape(value.index.shape), built.tensor, 1, built.channels,
                      built.scale, built.bits, built.signed)

    def build_requantised(self, value: QAcc) -> Stream:
        """Build the matrix unit of some columns of an accumulator; once per distinct selection."""
        from finn_vitprune.transforms.rules_linear import build_matrix_unit

        acc = value.acc
        columns = column_selection(value.index, acc.x.tokens, len(acc.bias))
        if columns is None:
            raise Reason("a quantised matrix product is used in an order that is not token by token")
        key = ("acc", id(acc.weights), columns.tobytes(), value.scale, value.bits, value.signed)
        if key not in self._built:
            scale = np.full(len(columns), value.scale)
            self._built[key] = build_matrix_unit(
                self, acc.x, acc, columns, scale, value.bits, value.signed, narrow=value.narrow
            )
        built = self._built[key]
        result = Stream(np.arange(value.index.size).reshape(value.index.shape), built.tensor, built.tokens,
                        built.channels, value.scale, value.bits, value.signed)
        if value.tensor and not any(m.qonnx == value.tensor for m in self.matches):
            self.record(result, value.tensor)
        return result

    # --- the pass ---

    def run(self) -> Lowered:
        """Lower every node; raises :class:`Unmapped` at the first that has no hardware form."""
        graph = self.source.graph
        for initialiser in graph.initializer:
            self.values[initialiser.name] = Const(numpy_helper.to_array(initialiser))
        inputs = [i for i in graph.input if i.name not in self.values]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise UserError(
                f"the model has {len(inputs)} inputs and {len(graph.output)} outputs; one image in and one "
                "logit vector out are supported"
            )
        name = inputs[0].name
        shape = self.source.get_tensor_shape(name)
        if not shape or any(d <= 0 for d in shape) or shape[0] != 1:
            raise UserError(f"input {name} has shape {shape}; export with fixed shape and batch size 1")
        self.values[name] = Image(np.arange(int(np.prod(shape))).reshape(shape), name)
        self.graph.declare(name, shape, "UINT8")
        for node in graph.node:
            self._lower_node(node)
        return self._finish(graph.output[0].name, name)

    def _lower_node(self, node: NodeProto) -> None:
        values = []
        for tensor in node.input:
            if tensor == "":
                continue
            if tensor not in self.values:
                raise Unmapped(node, f"input {tensor} has no producer before it")
            values.append(self.values[tensor])
        try:
            result = self._apply(node, values)
        except Reason as reason:
            raise Unmapped(node, str(reason)) from None
        outputs = result if isinstance(result, list) else [result]
        for tensor, value in zip(node.output, outputs):
            self.values[tensor] = value

    def _apply(self, node: NodeProto, values: list[Value]) -> Value | list[Value]:
        if node.domain not in DOMAINS:
            raise Reason(f"operator {node.op_type} of domain {node.domain} is not known here")
        rules = RULES.get(node.op_type)
        if rules is None:
            raise Reason("no rule for this op type")
        for candidate in rules:
            if candidate.matches(values):
                return candidate.apply(self, node, values)
        if any(isinstance(v, QAcc) for v in values):
            built = [self.stream(v) if isinstance(v, QAcc) else v for v in values]
            for candidate in rules:
                if candidate.matches(built):
                    return candidate.apply(self, node, built)
        got = ", ".join(KIND_NAMES.get(type(v).__name__, type(v).__name__) for v in values)
        raise Reason(f"{node.op_type} of {got} has no hardware form")

    def _finish(self, output: str, graph_input: str) -> Lowered:
        from finn_vitprune.transforms.rules_linear import build_logits

        value = self.values.get(output)
        last = self.source.graph.node[-1]
        try:
            if isinstance(value, Acc):
                stream = build_logits(self, value)
            else:
                stream = self.stream(value)
        except Reason as reason:
            raise Unmapped(last, f"as model output: {reason}") from None
        self.record(stream, output)
        model = self.graph.model(graph_input, stream.tensor, self.source.graph.name or "vit")
        return Lowered(model, self.matches, stream.scale, self.snap_error)


def datatype(bits: int, signed: bool) -> str:
    """qonnx name of an integer type."""
    return f"{'INT' if signed else 'UINT'}{bits}"


def check_op_types(source: ModelWrapper) -> None:
    """Refuse op types without any rule before long work starts; what constant folding removes may stay.

    Raises:
        Unmapped: the first node with such an op type.
    """
    load_rules()
    constant = {i.name for i in source.graph.initializer}
    for node in source.graph.node:
        if node.op_type == "Constant" or (node.op_type != "Quant" and all(i in constant or not i for i in node.input)):
            constant.update(node.output)
        elif node.op_type not in RULES:
            raise Unmapped(node, "no rule for this op type")


def load_rules() -> None:
    """Import the rule modules, which register themselves."""
    for name in RULE_MODULES:
        importlib.import_module(f"finn_vitprune.transforms.{name}")


def lower(source: ModelWrapper) -> Lowered:
    """Lower a QONNX model to the integer hardware graph (dense order, one node a layer, unfolded).

    Raises:
        Unmapped: a node has no hardware form; names node, op type and reason.
        UserError: the model as a whole does not fit (inputs, shapes).
    """
    load_rules()
    return Lowering(source).run()
