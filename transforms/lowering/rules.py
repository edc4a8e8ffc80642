"""One lowering: what the QONNX tensors stand for, and the integer hardware graph that is built node by node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.registry import make_node
from finn_vitprune.custom_ops.tokens.select_token import REST
from finn_vitprune.errors import UserError
from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.reading import read_nodes, tensor_array
from finn_vitprune.graph.rules import Known, Rules, Value, is_ordered, ordered
from finn_vitprune.graph.walk import Pass, Policy, Step, all_constant, evaluated
from finn_vitprune.numerics import MULT_BITS, int_range, snap_ratio
from finn_vitprune.transforms.lowering.values import Acc, Codes, Image, OfHeads, QAcc, Turned, column_selection, whole_tokens

DOMAINS = ("", "ai.onnx", "qonnx.custom_op.general", "onnx.brevitas", "finn_vitprune.custom_ops")
"""Whose operators the rules are written for."""


class HardwareGraph:
    """Collects nodes, initialisers and tensor annotations, then makes a qonnx model of them."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.initialisers: list[TensorProto] = []
        self.value_infos: dict[str, ValueInfoProto] = {}
        self.datatypes: dict[str, str] = {}
        self._count = 0

    def fresh(self, stem: str) -> str:
        """A tensor name not used before."""
        self._count += 1
        return f"{stem}_{self._count}"

    def constant(self, stem: str, values: np.ndarray, datatype: str) -> str:
        """Add an integer initialiser; float64 where float32 would not hold it exactly."""
        name = self.fresh(stem)
        values = np.asarray(values)
        wide = values.size and np.abs(values).max() >= 1 << 24
        self.initialisers.append(numpy_helper.from_array(values.astype(np.float64 if wide else np.float32), name))
        self.datatypes[name] = datatype
        return name

    def add(self, op_type: str, inputs: list[str], outputs: list[str], **attributes) -> None:
        """Add a hardware node, named after its type; shapes and data types of its outputs follow from the op itself."""
        node = make_node(op_type, inputs, outputs, **attributes)
        node.name = f"{op_type}_{sum(n.op_type == op_type for n in self.nodes)}"
        self.nodes.append(node)
        op = getCustomOp(node)
        for i, name in enumerate(outputs):
            self.declare(name, op.get_normal_output_shape(i), op.get_output_datatype(i).name)

    def add_raw_initialiser(self, name: str, values: np.ndarray) -> None:
        """Add a constant of a host node under its own name and type."""
        if all(i.name != name for i in self.initialisers):
            self.initialisers.append(numpy_helper.from_array(np.asarray(values), name))

    def declare(self, name: str, shape, datatype: str) -> None:
        """Annotate a tensor with its shape and integer data type."""
        self.value_infos[name] = helper.make_tensor_value_info(name, TensorProto.FLOAT, [int(d) for d in shape])
        self.datatypes[name] = datatype

    def model(self, graph_input: str, graph_output: str, name: str) -> ModelWrapper:
        """The finished model with annotations, nodes in the order they were added."""
        infos = dict(self.value_infos)
        inputs, outputs = [infos.pop(graph_input)], [infos.pop(graph_output)]
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.initialisers, value_info=list(infos.values()))
        opsets = [helper.make_opsetid("", 17)] + [
            helper.make_opsetid(d, 1) for d in ("finn.custom_op.fpgadataflow", "finn.custom_op.fpgadataflow.rtl")
        ]
        model = ModelWrapper(helper.make_model(graph, opset_imports=opsets, producer_name="finn-vitprune"))
        for tensor, datatype in self.datatypes.items():
            model.set_tensor_datatype(tensor, DataType[datatype])
        return model


@dataclass(frozen=True)
class Match:
    """A hardware tensor and the QONNX tensor it equals: ``qonnx.flat = (codes.flat[index] - zero) * scale``."""

    hardware: str
    qonnx: str
    scale: float
    index: np.ndarray = field(compare=False)
    zero: int = 0


@dataclass(frozen=True)
class AttentionMatch:
    """What a PrunedAttention computes on the way to the stream ``hardware``: QONNX tensors ``[1, H, N, N]``.

    ``logits`` are codes at ``logit_scale``, ``numerators`` codes at 1/255.
    """

    hardware: str
    logits: str
    logit_scale: float
    numerators: str


@dataclass
class Lowered:
    """Result of lowering: the hardware graph and how its tensors correspond to the QONNX ones."""

    model: ModelWrapper
    matches: list[Match]
    attentions: list[AttentionMatch]
    logit_scale: float
    snap_error: float


class Lowering(Pass):
    """One lowering: :meth:`steps`, then :meth:`finish`."""

    def __init__(self, source: ModelWrapper, rules: Rules, policy: Policy | None = None) -> None:
        """Reads the constants and the input.

        Raises:
            UserError: the model as a whole does not fit (inputs, shapes, damaged constants).
        """
        here = Path()
        tensors = {t.name: tensor_array(t, here) for t in source.graph.initializer}
        super().__init__(rules, tensors, here, policy or Policy())
        self.source = source
        self.opset = next((o.version for o in source.model.opset_import if o.domain in ("", "ai.onnx")), 17)
        self.graph = HardwareGraph()
        self.matches: list[Match] = []
        self.attentions: list[AttentionMatch] = []
        self.snap_error = 0.0
        self._built: dict[object, Codes] = {}
        self.input = self._image()

    def _image(self) -> str:
        graph = self.source.graph
        inputs = [i.name for i in graph.input if i.name not in self.values]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise UserError(
                f"the model has {len(inputs)} inputs and {len(graph.output)} outputs; one image in and one logit vector out are supported"
            )
        name = inputs[0]
        shape = self.source.get_tensor_shape(name)
        if not shape or any(d <= 0 for d in shape) or shape[0] != 1:
            raise UserError(f"input {name} has shape {shape}; export with fixed shape and batch size 1")
        try:
            self.values[name] = Image(ordered(shape), name)
        except Reason as e:
            raise UserError(f"input {name}: {e}") from e
        self.graph.declare(name, shape, "UINT8")
        return name

    # --- the pass ---

    def steps(self) -> Iterator[Step]:
        """Lower every node."""
        return self.walk(read_nodes(self.source.graph, self.folder), {self.source.graph.output[0].name})

    def finish(self) -> Lowered:
        """The hardware graph, after all steps.

        Raises:
            Reason: the output has no hardware form.
        """
        graph = self.source.graph
        output, value = graph.output[0].name, self.values.get(graph.output[0].name)
        try:
            stream = self.logits(value) if isinstance(value, Acc) else self.stream(value)
        except Reason as e:
            raise Reason(f"as model output: {e}", e.help, output, self.node) from e
        self.record(stream, output)
        model = self.graph.model(self.input, stream.tensor, graph.name or "vit")
        return Lowered(model, self.matches, self.attentions, stream.scale, self.snap_error)

    def knows(self, node: Node) -> bool:
        return node.domain in DOMAINS

    def unmatched(self, node: Node, values: list[Known | None]) -> Value | list[Value]:
        """Constants are computed; quantised accumulators are built, where a rule takes the stream."""
        if not self.knows(node):
            raise Reason(f"operator {node.op_type} of domain {node.domain} is not known here")
        if all_constant(values) and node.op_type != "Quant":
            return evaluated(node, self.opset, values)
        if node.op_type not in self.rules:
            raise Reason("no rule for this op type")
        if any(isinstance(v, QAcc) for v in values):
            built = [self.stream(v) if isinstance(v, QAcc) else v for v in values]
            apply = self.rules.find(node.op_type, built)
            if apply is not None:
                return apply(self, node, built)
        got = ", ".join(v.kind for v in values if v is not None)
        raise Reason(f"{node.op_type} of {got} has no hardware form")

    # --- helpers for rules ---

    def new_stream(self, op_type: str, inputs: list[str], stem: str, scale: float, bits: int, signed: bool, **attributes) -> Codes:
        """Add a node with one output stream and return the value of that output."""
        out = self.graph.fresh(stem)
        self.graph.add(op_type, inputs, [out], **attributes)
        shape = [d.dim_value for d in self.graph.value_infos[out].type.tensor_type.shape.dim]
        return Codes(ordered(shape), out, shape[1], shape[2], scale, bits, signed)

    def record(self, stream: Codes, qonnx: str, zero: int = 0) -> None:
        """Note that ``stream`` (through its index, less its zero point) is the QONNX tensor ``qonnx``."""
        self.matches.append(Match(stream.tensor, qonnx, stream.scale, stream.index, zero))

    def requant_constants(self, ratio: np.ndarray) -> tuple[np.ndarray, int]:
        """Snap scale ratios to mult 2**-shift and keep the largest relative change."""
        mult, shift = snap_ratio(ratio)
        error = float(np.max(np.abs(np.ldexp(mult.astype(np.float64), -shift) / ratio - 1.0)))
        self.snap_error = max(self.snap_error, error)
        return mult, shift

    def stream(self, value: Value | None) -> Codes:
        """``value`` as a stream in token order, building a matrix unit or token selection if needed."""
        if isinstance(value, QAcc):
            return self._requantised(value)
        if isinstance(value, Codes):
            return self._whole_rows(value)
        raise Reason(f"needs a stream of codes, got {getattr(value, 'kind', 'nothing')}")

    def _whole_rows(self, value: Codes) -> Codes:
        """A stream whose index is in order; a part of whole tokens becomes a VitSelectToken."""
        if value.index.size == value.tokens * value.channels:
            if is_ordered(value.index):
                return value
            raise Reason("the tensor is a reordered view of a stream; hardware keeps token order")
        rows = whole_tokens(value.index, value.channels)
        if rows is None:
            raise Reason("the tensor is a part of a stream that is not whole tokens, one after another")
        key = ("select", value.tensor, rows)
        if key not in self._built:
            self._built[key] = self.new_stream(
                "VitSelectToken",
                [value.tensor],
                "select",
                value.scale,
                value.bits,
                value.signed,
                tokens=value.tokens,
                channels=value.channels,
                index=rows.start,
                count=REST if len(rows) > 1 and rows.stop == value.tokens else len(rows),
                inputDataType=datatype(value.bits, value.signed),
            )
        return replace(self._built[key], index=ordered(value.shape))

    def _requantised(self, value: QAcc) -> Codes:
        """Build the matrix unit of some columns of an accumulator; once per distinct selection."""
        acc = value.acc
        columns = column_selection(value.index, acc.x.tokens, len(acc.bias))
        if columns is None:
            raise Reason("a quantised matrix product is used in an order that is not token by token")
        key = ("acc", value.tensor, columns.tobytes())
        if key not in self._built:
            if value.narrow:
                raise Reason("activations must use the full range of codes (narrow range is for weights)")
            self._built[key] = self.matrix_unit(acc, columns, np.full(len(columns), value.scale), value.bits, value.signed)
        result = replace(self._built[key], index=ordered(value.shape))
        if not any(m.qonnx == value.tensor for m in self.matches):
            self.record(result, value.tensor)
        return result

    # --- matrix units ---

    def matrix_unit(self, acc: Acc, columns: np.ndarray, out_scale: np.ndarray, bits: int, signed: bool) -> Codes:
        """A BlockSparseMVAU that requantises ``columns`` of ``acc`` to codes at ``out_scale`` (one per column)."""
        weights = acc.weights[:, columns]
        live = weights.any(axis=0)
        scale, bias = acc.x.scale * acc.weight_scale[columns], acc.bias[columns]
        mult, shift = np.ones(len(bias), np.int64), 0
        if live.any():
            mult[live], shift = self.requant_constants(scale[live] / out_scale[live])
        codes = np.rint(bias / np.where(live, scale, 1.0)).astype(np.int64)
        codes[~live], mult[~live] = _constant_columns(bias[~live] / out_scale[~live], shift, bits, signed)
        return self._unit("mvau", acc, weights, codes, mult, shift, float(out_scale[0]), bits, signed)

    def logits(self, acc: Acc) -> Codes:
        """The classifier: raw accumulators when all columns share one scale, else codes on one common grid."""
        live = acc.weights.any(axis=0)
        scale = acc.x.scale * (acc.weight_scale[live] if live.any() else acc.weight_scale)
        if np.all(scale == scale[0]):
            codes = np.rint(acc.bias / scale[0]).astype(np.int64)
            stream = self._unit("logits", acc, acc.weights, codes, None, 0, float(scale[0]), 32, True)
        else:
            common = np.full(len(acc.bias), scale.max())
            stream = self.matrix_unit(acc, np.arange(len(acc.bias)), common, 32, True)
        return replace(stream, index=acc.index)

    def _unit(
        self,
        stem: str,
        acc: Acc,
        weights: np.ndarray,
        bias: np.ndarray,
        mult: np.ndarray | None,
        shift: int,
        scale: float,
        bits: int,
        signed: bool,
    ) -> Codes:
        x, kind = acc.x, f"INT{weight_bits(weights)}"
        inputs = [x.tensor, self.graph.constant("weights", weights, kind), self.graph.constant("bias", bias, "INT32")]
        if mult is not None:
            inputs.append(self.graph.constant("mult", mult, "UINT17"))
        block = int(self.source.get_metadata_prop("block_size") or 8)
        return self.new_stream(
            "BlockSparseMVAU",
            inputs,
            stem,
            scale,
            bits,
            signed,
            tokens=x.tokens,
            MW=x.channels,
            MH=weights.shape[1],
            block=block,
            requant=int(mult is not None),
            shift=shift,
            inputDataType=datatype(x.bits, x.signed),
            weightDataType=kind,
            outputDataType=datatype(bits, signed),
        )


def merged_columns(accs: list[Acc], columns: list[np.ndarray]) -> Acc:
    """Some columns of matrix products of one stream, side by side."""
    flat = [c.reshape(-1) for c in columns]
    return replace(
        accs[0],
        weights=np.concatenate([a.weights[:, c] for a, c in zip(accs, flat)], axis=1),
        weight_scale=np.concatenate([a.weight_scale[c] for a, c in zip(accs, flat)]),
        bias=np.concatenate([a.bias[c] for a, c in zip(accs, flat)]),
    )


def record_columns(
    lowering: Lowering, value: QAcc | Turned | OfHeads, tensor: str, channels: int, places: np.ndarray, columns: np.ndarray
) -> None:
    """Note where the QONNX tensor of ``value`` (in any layout) lies in a stream of ``channels``: ``columns`` of its product in ``places``."""
    tokens = value.acc.x.tokens
    place = np.full(len(value.acc.bias), -1)
    place[columns.reshape(-1)] = places
    token, column = np.divmod(value.whole, len(value.acc.bias))
    if np.any(place[column] < 0):
        raise Reason(f"some channels of the quantised matrix product {value.tensor} are not used where the others are")
    index = token * channels + place[column]
    lowering.record(Codes(index, tensor, tokens, channels, value.scale, value.bits, True), value.tensor)


def datatype(bits: int, signed: bool) -> str:
    """qonnx name of an integer type."""
    return f"{'INT' if signed else 'UINT'}{bits}"


def weight_bits(weights: np.ndarray) -> int:
    """Narrowest of 2, 4, 8 bits that holds the codes; 8 bits at most."""
    largest = int(np.abs(weights).max(initial=0))
    for bits in (2, 4, 8):
        if largest < 1 << (bits - 1):
            return bits
    raise Reason(f"weight code {largest} needs more than 8 bits")


def _constant_columns(values: np.ndarray, shift: int, bits: int, signed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Bias codes and multipliers of columns without weights, whose outputs are ``values``, in output codes, rounded.

    Their weight scale means nothing (Brevitas gives a floor value), so the bias is not rounded to its grid: code
    times multiplier is the output code times 2**shift.
    """
    power = min(shift, MULT_BITS - 1)
    codes = np.clip(np.rint(values), *int_range(bits, signed)).astype(np.int64)
    return codes << (shift - power), np.full(codes.shape, 1 << power)
