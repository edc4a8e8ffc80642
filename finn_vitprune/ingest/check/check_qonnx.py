"""The check of a QONNX file: rows from the lowering that ``build`` uses, past the first rejection."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt
from pathlib import Path

import numpy as np
from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
from onnx import ModelProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames

from finn_vitprune.complexity.formulas import Complexity, dense_loads, macs_of, params_of
from finn_vitprune.complexity.graph import count_hardware
from finn_vitprune.errors import UserError
from finn_vitprune.execute.qonnx_runner import QonnxRunner
from finn_vitprune.export.metadata import ModelMetadata
from finn_vitprune.graph.node import Reason, Rejection, first_line
from finn_vitprune.graph.reading import load_weights
from finn_vitprune.graph.rules import Const, Value
from finn_vitprune.graph.walk import DAMAGE, CollectAll, Step
from finn_vitprune.ingest.check.answers import CLASSIFIER, EMBEDDING, Answer, Behind, CheckRow, Constant, Mapped, Rejected, Structure
from finn_vitprune.ingest.check.check_float import FOLDED, LAYOUT
from finn_vitprune.ingest.check.checked import Checked
from finn_vitprune.ingest.check.roles import ATTENTION, MATRIX, NORM, ROTARY
from finn_vitprune.ingest.onnx_file.model_file import ModelFile
from finn_vitprune.ingest.recognise.read import understand
from finn_vitprune.models.config import EncoderShape, NormKind, PoolerShape, Pooling, Rotary, ViTConfig
from finn_vitprune.synth.budget import Budget
from finn_vitprune.synth.parts import Part, PartFit
from finn_vitprune.synth.planned import Planned
from finn_vitprune.transforms.lowering import values
from finn_vitprune.transforms.lowering.lower import RULES
from finn_vitprune.transforms.lowering.rules import Lowered, Lowering
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from finn_vitprune.transforms.planning.fold import FoldForInterval
from finn_vitprune.transforms.planning.part_fit import part_fit
from finn_vitprune.transforms.planning.place_fifos import PlaceFifos
from finn_vitprune.transforms.planning.plan import plan
from finn_vitprune.transforms.planning.plan_options import PlanOptions
from finn_vitprune.transforms.streams.hardware_only import HardwareOnly
from finn_vitprune.transforms.streams.insert_fifos import SetFifoDepths
from finn_vitprune.transforms.streams.insert_load_port import InsertLoadPort
from finn_vitprune.transforms.streams.insert_streams import InsertStreams
from finn_vitprune.transforms.streams.latency import latency_cycles
from finn_vitprune.transforms.streams.node_names import FINAL_NORM, INITIAL_NORM, POOLING, node_names

HELP = "train and export with finn-vitprune, or give the float model to `finn-vitprune import`"
TOKEN_SCORES = Mapped(ATTENTION, "token scores")
UNITS: dict[type[Value], Mapped | Constant] = {
    Const: FOLDED,
    values.QConst: Constant("constants (codes and scale)"),
    values.Image: Mapped("the host (order of the pixels)"),
    values.Codes: LAYOUT,
    values.ZeroPointed: LAYOUT,
    values.Acc: Mapped(MATRIX),
    values.QAcc: Mapped(MATRIX),
    values.Normed: Mapped(NORM),
    values.UnquantisedHeads: Mapped(NORM),
    values.NormedHeads: Mapped(NORM),
    values.RoundedHeads: Mapped(NORM),
    values.Squares: Mapped(NORM),
    values.MeanSquare: Mapped(NORM),
    values.Weighed: Mapped(ROTARY),
    values.Turning: Mapped(ROTARY),
    values.Turned: Mapped(ROTARY),
    values.CodeTable: Mapped("VitLookup"),
    values.Factors: Mapped("VitGate"),
    values.GatedValues: Mapped("VitGate"),
    values.CodeSum: Mapped("VitAdd"),
    values.Rows: Mapped("VitTokenEmbed"),
    values.MeanOfTokens: Mapped("VitTokenMean"),
    values.TokenScores: TOKEN_SCORES,
    values.Shares: TOKEN_SCORES,
}
"""What a tensor becomes that is not a stream of a hardware node yet; every other kind is a part of the attention."""
FAST = 1 << 10
"""Cycles a frame of the folding of a large build."""


def check_qonnx(proto: ModelProto, model: ModelFile, path: Path, part: Part | None, budget: Budget) -> Checked:
    """Rows, structure and size of a file that ``build`` would take; with ``part``, how much of it."""
    load_weights(proto, path)
    walk = NodeByNode(ModelWrapper(proto, fix_missing_initializer_valueinfo=False))  # the lowering asks for none
    rejections = list(walk.rejections)
    hardware = structure = size = None
    if walk.lowered is not None and not rejections:
        hardware, reason = _hardware(walk.lowered)
        reason = reason or _failure(walk.source)
        rejections += [] if reason is None else [reason]
        if hardware is not None:
            structure = _structure(hardware, walk.source)
            size = _size(walk.source, walk.lowered, hardware, structure)
    notes = () if not rejections else _float_form(model)
    planned, fit = (None, None) if hardware is None or part is None else _fit(hardware, part, budget)
    return Checked(path.name, model.kind, model.opset, walk.placed_rows(), tuple(rejections), structure, size, notes, fit, planned)


class NodeByNode:
    """A lowering that continues after a node that does not map, with a row for every node."""

    def __init__(self, source: ModelWrapper) -> None:
        self.source = source
        self.rows: list[CheckRow] = []
        self.kinds: list[type[Value]] = []
        self.rejections: list[Rejection] = []
        self.lowered: Lowered | None = None
        try:
            lowering = Lowering(source, RULES, CollectAll(HELP))
            self.rejections = lowering.rejections
            made, tables = 0, dict[str, list[int]]()
            for step in lowering.steps():
                built = [n.op_type for n in lowering.graph.nodes[made:] if n.domain.startswith("finn")]
                made = len(lowering.graph.nodes)
                self.rows.append(CheckRow(step.node.name, step.node.op_type, _answer(step, built)))
                self.kinds.append(type(step.results[0]))
                self._gates(step.results[0], tables)
            self.lowered = lowering.finish()
        except (Reason, UserError, *DAMAGE) as e:
            whole = Rejection(source.graph.name or "graph", "model", str(e))
            found = Rejection.at(e.node, e.reason, e.help or HELP) if isinstance(e, Reason) else whole
            self.rejections += [] if self.rejections else [found]

    def _gates(self, value: Value, tables: dict[str, list[int]]) -> None:
        """What became a function of a tensor is in a VitGate where factors come of it; ``tables``: rows of functions by tensor."""
        if isinstance(value, values.CodeTable):
            tables.setdefault(value.x.tensor, []).append(len(self.rows) - 1)
        elif isinstance(value, values.Factors):
            for i in tables.pop(value.x.tensor, ()):
                self.rows[i] = replace(self.rows[i], answer=UNITS[values.Factors])

    def _norms(self) -> list[int]:
        """The rows at which norms begin: that of a LayerNorm, or of the squares of an RMSNorm."""
        found, squares = [], None
        for i, kind in enumerate(self.kinds):
            if kind is values.Squares:
                squares = i
            elif kind is values.Normed:
                found.append(i if squares is None else squares)
            squares = None if kind in (values.Normed, values.UnquantisedHeads) else squares
        return found

    def placed_rows(self) -> tuple[CheckRow, ...]:
        """The rows with their place: an encoder starts at the LayerNorm before q k^T."""
        norms, starts = self._norms(), []
        for i, kind in enumerate(self.kinds):
            if kind is values.QueryKey and (i == 0 or self.rows[i].op_type == "MatMul"):
                starts += [max((n for n in norms if n < i), default=i)]
        if not starts or self.lowered is None:
            return tuple(self.rows)
        means = [i for i, kind in enumerate(self.kinds) if kind is values.MeanOfTokens]
        sums = [i for i, kind in enumerate(self.kinds) if kind is values.CodeSum]
        pools = [i for i, kind in enumerate(self.kinds) if kind is values.PoolKey]
        if pools:  # its LayerNorms and its sum belong to no encoder
            norms, sums = ([i for i in found if i < pools[0]] for found in (norms, sums))
        last = norms[-1] if not sums or norms[-1] > sums[-1] else sums[-1] + 2  # a sum and its Quant end the last encoder
        bounds = [*starts, min([last, *means])]
        places = []
        for i in range(len(self.rows)):
            encoder = sum(i >= b for b in bounds)
            last = encoder == len(bounds)
            places.append(EMBEDDING if encoder == 0 else CLASSIFIER if last else encoder)
        return tuple(row if row.answer == FOLDED else replace(row, place=p) for row, p in zip(self.rows, places, strict=True))


def _answer(step: Step, built: list[str]) -> Answer:
    """What a node becomes: the ops that were ``built`` at it, or what its result leads to."""
    if step.rejection is not None:
        return Behind(step.rejection) if step.waits else Rejected(step.rejection)
    return Mapped(", ".join(built)) if built else UNITS.get(type(step.results[0]), Mapped(ATTENTION))


def _hardware(lowered: Lowered) -> tuple[ModelWrapper | None, Rejection | None]:
    """The hardware graph as ``build`` has it before folding; its ops are checked as they are and in a large folding."""
    try:
        model = lowered.model.transform(TidyLowered()).transform(HardwareOnly())
        for candidate in (model, model.transform(FoldForInterval(FAST), make_deepcopy=True)):
            for node in candidate.graph.node:
                getCustomOp(node).verify_node()
            candidate.transform(SetFifoDepths(), make_deepcopy=candidate is model)
    except UserError as e:
        return None, Rejection("hardware graph", "model", str(e))
    return model, None


def _failure(source: ModelWrapper) -> Rejection | None:
    """Why the file does not compute, as ``build`` lets it compute on its images, or None where it does."""
    shape = source.get_tensor_shape(source.graph.input[0].name)
    image = np.random.default_rng(0).integers(0, 256, (1, *shape[1:]))
    try:
        for i, node in enumerate(source.graph.node):  # build names them anew
            node.name = f"node_{i}"
        runner = QonnxRunner(source)
        logits = runner.run(image)[runner.output]
    except Exception as error:  # of onnx, onnxruntime and qonnx, each with types of its own
        return Rejection("the file", "model", f"it does not run: {first_line(error)}", HELP)
    if not np.isfinite(logits).all():
        return Rejection("the file", "model", "its logits are not finite for an image of noise", HELP)
    return None


def _fit(model: ModelWrapper, part: Part, budget: Budget) -> tuple[Planned, PartFit]:
    """The plan of a build that fills the part, and what it takes, FIFOs and width converters in it."""
    options = PlanOptions(budget=budget)
    model = model.transform(SpecializeLayers(part.name)).transform(GiveUniqueNodeNames())
    found, planned = plan(model, part, options)
    found.write(model)
    model = model.transform(InsertStreams()).transform(InsertLoadPort(design=0)).transform(PlaceFifos(part, options.as_planned(planned)))
    return planned.model_copy(update={"latency_cycles": latency_cycles(model)}), part_fit(model, part, relief=planned.relief)


def _structure(model: ModelWrapper, source: ModelWrapper) -> Structure:
    def ops(op_type: str) -> list:
        return [getCustomOp(n) for n in model.get_nodes_by_op_type(op_type)]

    units, attention = ops("BlockSparseMVAU"), ops("PrunedAttention")
    first, last = units[0], units[-1]
    shape = source.get_tensor_shape(source.graph.input[0].name)
    patches = first.get_nodeattr("tokens")
    size = shape[1] if len(shape) == 4 else isqrt(patches)
    channels = first.get_nodeattr("MW") * patches // (size * size)
    prefix = next((e.get_nodeattr("prefix") for e in ops("VitTokenEmbed")), 0)
    pooling = Pooling.CLASS
    for mean in ops("VitTokenMean"):
        pooling = Pooling.PATCHES if mean.get_nodeattr("first") == prefix else Pooling.ALL
    layers = {name.layer for name in node_names(model).values()}
    neurons = [op.out_streams()[0].channels for op in ops("VitGate") or ops("VitLookup")]
    shapes = [EncoderShape(a.get_nodeattr("heads"), count) for a, count in zip(attention, neurons)]
    pooler = None
    if f"{POOLING} attention" in layers:
        own = shapes.pop()
        pooler = PoolerShape(own.heads, attention[-1].get_nodeattr("head_dim"), own.neurons)
        # The constant query comes at the time of the first token of what is pooled.
        leaves_prefix = prefix and any(select.get_nodeattr("index") == prefix for select in ops("VitSelectToken"))
        pooling = Pooling.ATTENTION_PATCHES if leaves_prefix else Pooling.ATTENTION
    config = ViTConfig(
        image_size=size,
        channels=channels,
        patch_size=size // isqrt(patches),
        dim=first.get_nodeattr("MH"),
        head_dim=attention[0].get_nodeattr("head_dim"),
        classes=last.get_nodeattr("MH"),
        encoders=tuple(shapes),
        prefix=prefix,
        pooling=pooling,
        norm_pre=not layers.isdisjoint(INITIAL_NORM),
        final_norm=not layers.isdisjoint(FINAL_NORM),
        rotary=Rotary.SHARED if ops("VitRotary") else None,
        position_bias=any(op.get_nodeattr("bias_bits") for op in ops("PrunedAttention")),
        gated=bool(ops("VitGate")),
        pooler=pooler,
        norm=NormKind.RMS if "RMSNorm 1" in layers else NormKind.LAYER,
        qk_norm=next((kind for kind in NormKind if f"K {kind.text}" in layers), None),
    )
    return Structure(config, tuple(a.get_nodeattr("tokens") for a in attention[: len(shapes)]))


def _size(source: ModelWrapper, lowered: Lowered, model: ModelWrapper, found: Structure) -> Complexity:
    """The present size, counted over the hardware graph; dense from metadata, else of the file's shapes."""
    every_token, _ = count_hardware(lowered.model)
    graph, index_bits = count_hardware(model)
    try:
        m = ModelMetadata.read(source)
        tokens = tuple((t["in"], t["mlp"]) for t in m.tokens)
        dense = (m.macs_dense, m.params_dense)
    except (UserError, ValueError, LookupError, TypeError):
        tokens = tuple((n, n) for n in found.tokens)
        loads = dense_loads(found.config)
        block = getCustomOp(model.get_nodes_by_op_type("BlockSparseMVAU")[0]).get_nodeattr("block")
        dense = (macs_of(found.config, loads, block), params_of(found.config, loads, block))
    params = graph.weights + graph.biases
    heads = tuple(e.heads for e in found.config.encoders)
    return Complexity(dense[0], every_token.macs, graph.macs, dense[1], params, index_bits, tokens, heads)


def _float_form(model: ModelFile) -> tuple[str, ...]:
    """What the file would be without its quantisers."""
    found = understand(model)
    if found.vit is None:
        return ()
    return ("without its quantisers the file is a vision transformer that `finn-vitprune import` takes in",)
