"""Fills ``report/vitprune_summary.json`` from the graph and from what the steps before measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType

import numpy as np
from onnx import NodeProto
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames

from finn_vitprune.builds.checks.lowering_check import LoweringCheck
from finn_vitprune.builds.checks.verify import Verification
from finn_vitprune.builds.records.context import BuildContext
from finn_vitprune.builds.records.timing import design_timing
from finn_vitprune.builds.stitched.edges import stitched_edges
from finn_vitprune.custom_ops.attention.pruned_attention import PrunedAttention
from finn_vitprune.custom_ops.elementwise.gate import VitGate
from finn_vitprune.custom_ops.elementwise.lookup import VitLookup
from finn_vitprune.custom_ops.engine.engine import flattened, layers
from finn_vitprune.custom_ops.mvau.block_sparse_mvau import BlockSparseMVAU
from finn_vitprune.custom_ops.op.memory import UnitMemory
from finn_vitprune.report.summary import (
    Amounts,
    BalanceRow,
    FifoRow,
    FormulaSummary,
    MemoryRow,
    ModelCard,
    ModelSummary,
    NodeResources,
    NodeRow,
    PartSummary,
    ResourceSummary,
    RtlsimSummary,
    Summary,
    TokenCounts,
    UnitsSummary,
    VerifySummary,
)
from finn_vitprune.synth.lost import LostCycles
from finn_vitprune.synth.parts import KINDS, Part, PartFit
from finn_vitprune.synth.planned import Planned
from finn_vitprune.synth.resources import ESTIMATE, Resources
from finn_vitprune.transforms.planning.fold import slowest_cycles
from finn_vitprune.transforms.planning.part_fit import estimated, part_fit
from finn_vitprune.transforms.planning.slr import slrs_of
from finn_vitprune.transforms.streams.latency import latency_cycles
from finn_vitprune.transforms.streams.node_names import POOLING, NodeName, node_names


def summarise(model: ModelWrapper, build: BuildContext) -> Summary:
    """The summary of a build; sections whose step did not run stay empty."""
    lowering, measured = build.folder.lowering.load(), build.folder.verification.load()
    synthesis, units, formula = build.folder.synthesis.load(), flattened(model), _formula(model)
    used = synthesis.per_node if synthesis else estimated(units, build.part.planned_as)
    fit = planned_fit(model, build, used, synthesis.tool if synthesis else ESTIMATE)
    return Summary(
        model=model_summary(layers(model), lowering),
        verify=_verify(build, lowering, measured),
        rtlsim=measured
        and RtlsimSummary.measured(
            measured.frames, measured.latency_cycles, measured.interval_cycles, measured.interval_cycles_max, build.cfg.synth_clk_period_ns
        ),
        balance=balance(units),
        nodes=node_rows(
            units, measured.units.intervals if measured and measured.units else {}, _fills(model, measured.max_fill) if measured else {}
        ),
        plan=_plan(build, formula),
        formula=formula,
        resources=_resources(units, used, fit),
        part=_part(fit),
        timing=design_timing(units, synthesis.timing, build.cfg.synth_clk_period_ns) if synthesis and synthesis.timing else None,
        places=build.folder.places.load() if build.settings.places else None,
        time_s=build.folder.step_times.load() or {},
        target_fps=build.cfg.target_fps,
        clk_ns=build.cfg.synth_clk_period_ns,
    )


def planned_fit(model: ModelWrapper, build: BuildContext, counted: dict[str, Resources] | None = None, method: str = ESTIMATE) -> PartFit:
    """How the graph fits the part (:func:`part_fit`), with what the plan says would help."""
    planned = build.folder.plan.load()
    return part_fit(model, build.part, counted, method, planned.relief if planned else ())


def _formula(model: ModelWrapper) -> FormulaSummary:
    return FormulaSummary(interval_cycles=slowest_cycles(model), latency_cycles=latency_cycles(model))


def _plan(build: BuildContext, formula: FormulaSummary) -> Planned | None:
    """The plan that was written, with the latency of the graph as it is."""
    planned = build.folder.plan.load()
    return planned and planned.model_copy(update={"latency_cycles": formula.latency_cycles})


def model_summary(model: ModelWrapper, lowering: LoweringCheck | None) -> ModelSummary:
    """Counts from the hardware graph, tokens and heads of its encoders; the unpruned model's from the metadata of the model file."""
    source = lowering.source if lowering else {}
    counts: Counter[str] = Counter()
    tokens: list[TokenCounts] = []
    heads: list[int] = []
    model = model.transform(GiveUniqueNodeNames())  # an engine names its layers for itself, so names repeat
    blocks, names = 8, node_names(model)
    for node in model.graph.node:
        op = getCustomOp(node)
        counts.update(op.param_counts(), macs=op.macs())
        if names[node.name].layer.startswith(POOLING):
            continue
        if isinstance(op, PrunedAttention):
            heads.append(op.get_nodeattr("heads"))
            tokens.append(TokenCounts(in_=op.get_nodeattr("tokens"), mlp=0))
        elif isinstance(op, VitLookup | VitGate) and tokens:
            tokens[-1] = tokens[-1].model_copy(update={"mlp": op.get_nodeattr("tokens")})
        elif isinstance(op, BlockSparseMVAU):
            blocks = op.get_nodeattr("block")
    params = counts["weights"] + counts["biases"]
    pruned = lowering.macs_pruned if lowering else counts["macs"]
    said = ModelCard.of(model.graph.name, source).model_dump(exclude_none=True)
    return ModelSummary(**{"macs_dense": pruned, "block_size": blocks, "block_keep": 1.0} | said | {
        "macs_pruned": pruned, "macs": counts["macs"], "params_dense": int(source.get("params_dense", params)), "params": params,
        "index_bits": counts["index_bits"], "tokens": tokens, "heads": heads, "logit_scale": lowering and lowering.logit_scale,
    })  # fmt: skip


def _verify(build: BuildContext, lowering: LoweringCheck | None, measured: Verification | None) -> VerifySummary | None:
    reference = build.folder.reference.load()
    if measured is None or reference is None or not build.folder.parent.is_file():
        return None
    drawn, simulated = build.images(build.parent), np.load(build.folder.rtl_images)
    images, top1 = drawn.only(simulated), np.array(reference.top1)[np.isin(drawn.index, simulated)]
    predicted = np.argmax(np.load(build.folder.rtl_logits), -1)

    def right(classes: np.ndarray) -> float | None:
        return None if images.labels is None else float(np.mean(classes == images.labels))

    return VerifySummary(
        images=measured.images,
        rtl_mismatches=measured.rtl_mismatches,
        class_changes=measured.class_changes,
        stalled_images=measured.stalled_images,
        traced_streams=measured.traced_streams,
        left_out_streams=len(measured.left_out),
        traced_images=measured.traced_images,
        units=_units(build, measured),
        image_source=images.source,
        images_total=images.total,
        image_seed=images.seed,
        image_choice=images.text,
        top1_agree_qonnx=float(np.mean(predicted == top1)),
        max_code_diff_vs_qonnx=int(lowering.ties > 0) if lowering else 0,
        lowering_ties=lowering and lowering.ties,
        lowering_faults=lowering and lowering.faults,
        saturations=measured.saturations,
        accuracy=right(predicted),
        accuracy_pytorch=None if images.logits is None else right(np.argmax(images.logits, -1)),
    )


def _units(build: BuildContext, measured: Verification) -> UnitsSummary | None:
    seconds = build.folder.simulation_seconds.load()
    if (units := measured.units) is None:
        return None
    return UnitsSummary(
        nodes=units.nodes, structures=units.structures, frames=units.frames, beats=units.beats, seconds=asdict(seconds) if seconds else {}
    )


def balance(model: ModelWrapper) -> list[BalanceRow]:
    """A row for every node with matrix products."""
    return [_balance_row(op) for op in map(getCustomOp, model.graph.node) if op.macs()]


def _balance_row(op) -> BalanceRow:
    """Of a unit that encoders share: an image in all of them."""
    each = op.folding().each
    cycles, ideal = sum(own.cycles for own in each), sum(own.ideal_cycles for own in each)
    row = BalanceRow(
        node=op.onnx_node.name,
        op_type=op.onnx_node.op_type,
        kept_blocks=None,
        lanes=1,
        ideal_cycles=ideal,
        cycles=cycles,
        utilisation=min(1.0, ideal / cycles),
        macs=sum(own.macs for own in each),
        macs_per_cycle=op.folding().products_per_cycle,
        lost=sum((own.lost for own in each), LostCycles()),
    )
    if not isinstance(op, BlockSparseMVAU):
        return row
    counts = op.param_counts()
    bits = counts["weights"] * DataType[op.get_nodeattr("weightDataType")].bitwidth() + counts["index_bits"]
    return row.model_copy(
        update={"kept_blocks": sum(own.schedule.kept for own in op.fold().each), "lanes": op.get_nodeattr("LANES"), "weight_bits": bits}
    )


def node_rows(
    model: ModelWrapper, alone: Mapping[str, float | None] = MappingProxyType({}), fills: Mapping[str, int] = MappingProxyType({})
) -> list[NodeRow]:
    """Every node by name, with its cycles, those of a simulation of it ``alone`` by its name, memories, and of FIFOs their ``fills``."""
    names = node_names(model)
    return [
        _node_row(node, names[node.name], slrs_of(model, node), alone.get(node.name), fills.get(node.name)) for node in model.graph.node
    ]  # fmt: skip


def _fills(model: ModelWrapper, largest: Mapping[str, int]) -> dict[str, int]:
    """The largest fill of FIFOs by their names, from those of streams."""
    return {edge.fifo: largest[edge.name] for edge in stitched_edges(model) if edge.fifo and edge.name in largest}


def _node_row(node: NodeProto, name: NodeName, slrs: list[int], alone: float | None, fill: int | None) -> NodeRow:
    op = getCustomOp(node)
    fifo = FifoRow(depth=op.folding().holds, width=op.folding().width, fill=fill) if op.is_buffer else None
    return NodeRow(
        node=node.name, op_type=node.op_type, layer=str(name), encoder=name.encoder, slrs=slrs,
        between=op.is_buffer or op.is_converter or op.is_crossing, cycles=op.get_exp_cycles(),
        cycles_alone=alone, memories=[_memory_row(memory) for memory in op.memory_map()],
        fifo=fifo,
    )  # fmt: skip


def _memory_row(memory: UnitMemory) -> MemoryRow:
    used = memory.resources
    return MemoryRow(
        holds=memory.holds, name=memory.name, kind=memory.kind, words=memory.words, width=memory.width, count=memory.count,
        bits=memory.bits, capacity=memory.capacity, LUT=used.LUT, BRAM18=used.BRAM_18K, URAM=used.URAM,
    )  # fmt: skip


def _part(fit: PartFit) -> PartSummary:
    part = fit.part
    return PartSummary(
        name=part.name,
        **_amounts(part),
        fits=not fit.short,
        slrs=part.slrs,
        note=part.note,
        short=list(fit.short),
        help=list(fit.help),
        dies=[Amounts(**_amounts(die)) for die in part.dies],
    )


def _amounts(found: Part | Resources) -> dict[str, float]:
    return {kind: getattr(found, kind) for kind in KINDS}


def _resources(model: ModelWrapper, used: dict[str, Resources], fit: PartFit) -> ResourceSummary:
    kinds = NodeResources.model_fields.keys() - {"node", "op_type"}
    per_node = [NodeResources(node=n.name, op_type=n.op_type, **{k: getattr(used[n.name], k) for k in kinds}) for n in model.graph.node]
    return ResourceSummary(tool=fit.method, per_node=per_node, **_amounts(fit.used))
