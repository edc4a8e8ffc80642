"""Fills ``report/vitprune_summary.json`` from the graph and from what the steps before measured."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.builds.context import BuildContext
from finn_vitprune.builds.lowering_check import LoweringCheck
from finn_vitprune.builds.verify import Verification
from finn_vitprune.custom_ops.block_sparse_mvau import BlockSparseMVAU
from finn_vitprune.custom_ops.lookup import VitLookup
from finn_vitprune.custom_ops.pruned_attention import PrunedAttention
from finn_vitprune.report.summary import (
    BalanceRow,
    ModelSummary,
    NodeResources,
    PartSummary,
    ResourceSummary,
    RtlsimSummary,
    Summary,
    TokenCounts,
    VerifySummary,
)
from finn_vitprune.synth.parts import KINDS, PartFit
from finn_vitprune.synth.resources import ESTIMATE, Resources
from finn_vitprune.transforms.part_fit import estimated, part_fit


def summarise(model: ModelWrapper, build: BuildContext) -> Summary:
    """The summary of a build; sections whose step did not run stay empty."""
    lowering, measured = build.folder.lowering.load(), build.folder.verification.load()
    synthesis = build.folder.synthesis.load()
    used = synthesis.per_node if synthesis else estimated(model)
    fit = part_fit(model, build.part, used, synthesis.tool if synthesis else ESTIMATE)
    return Summary(
        model=model_summary(model, lowering),
        verify=_verify(build, lowering, measured),
        rtlsim=measured and RtlsimSummary.measured(
            measured.frames, measured.latency_cycles, measured.interval_cycles, measured.interval_cycles_max,
            build.cfg.synth_clk_period_ns,
        ),
        balance=balance(model),
        resources=_resources(model, used, fit),
        part=_part(fit),
        time_s=build.folder.step_times.load() or {},
        target_fps=build.cfg.target_fps,
    )


def model_summary(model: ModelWrapper, lowering: LoweringCheck | None) -> ModelSummary:
    """Counts from the hardware graph; the unpruned model's from the metadata of the model file."""
    source = lowering.source if lowering else {}
    counts: Counter[str] = Counter()
    tokens: list[TokenCounts] = []
    heads: list[int] = []
    blocks = 8
    for node in model.graph.node:
        op = getCustomOp(node)
        counts.update(op.param_counts(), macs=op.macs())
        if isinstance(op, PrunedAttention):
            heads.append(op.get_nodeattr("heads"))
            tokens.append(TokenCounts(in_=op.get_nodeattr("tokens"), mlp=0))
        elif isinstance(op, VitLookup) and tokens:
            tokens[-1] = tokens[-1].model_copy(update={"mlp": op.get_nodeattr("tokens")})
        elif isinstance(op, BlockSparseMVAU):
            blocks = op.get_nodeattr("block")
    params = counts["weights"] + counts["biases"]
    pruned = lowering.macs_pruned if lowering else counts["macs"]
    return ModelSummary(
        name=source.get("name", model.graph.name), macs_dense=int(source.get("macs_dense", pruned)),
        macs_pruned=pruned, macs=counts["macs"], params_dense=int(source.get("params_dense", params)), params=params,
        index_bits=counts["index_bits"], tokens=tokens, heads=heads, block_size=int(source.get("block_size", blocks)),
        block_keep=float(source.get("block_keep", 1.0)), token_keep=json.loads(source.get("token_keep", "{}")),
        logit_scale=lowering and lowering.logit_scale,
    )


def _verify(build: BuildContext, lowering: LoweringCheck | None, measured: Verification | None) -> VerifySummary | None:
    reference = build.folder.reference.load()
    if measured is None or reference is None or not build.folder.parent.is_file():
        return None
    images = build.images(build.parent)
    predicted = np.argmax(np.load(build.folder.rtl_logits), -1)

    def right(classes: np.ndarray) -> float | None:
        return None if images.labels is None else float(np.mean(classes == images.labels))

    return VerifySummary(
        images=measured.images, rtl_mismatches=measured.rtl_mismatches, class_changes=measured.class_changes,
        stalled_images=measured.stalled_images, traced_streams=measured.traced_streams, image_source=images.source,
        images_total=images.total, image_seed=images.seed, image_choice=images.text,
        top1_agree_qonnx=float(np.mean(predicted == np.array(reference.top1))),
        max_code_diff_vs_qonnx=int(lowering.ties > 0) if lowering else 0, lowering_ties=lowering and lowering.ties,
        lowering_faults=lowering and lowering.faults,
        saturations=measured.saturations, accuracy=right(predicted),
        accuracy_pytorch=None if images.logits is None else right(np.argmax(images.logits, -1)),
    )


def balance(model: ModelWrapper) -> list[BalanceRow]:
    """A row for every node with matrix products."""
    return [_balance_row(op) for op in map(getCustomOp, model.graph.node) if op.macs()]


def _balance_row(op) -> BalanceRow:
    cycles, ideal = op.get_exp_cycles(), op.folding().ideal_cycles
    row = BalanceRow(
        node=op.onnx_node.name, op_type=op.onnx_node.op_type, kept_blocks=None, lanes=1, ideal_cycles=ideal,
        cycles=cycles, utilisation=min(1.0, ideal / cycles),
    )
    if not isinstance(op, BlockSparseMVAU):
        return row
    counts = op.param_counts()
    bits = counts["weights"] * DataType[op.get_nodeattr("weightDataType")].bitwidth() + counts["index_bits"]
    return row.model_copy(update={
        "kept_blocks": op.schedule().kept, "lanes": op.get_nodeattr("LANES"), "weight_bits": bits,
    })


def _part(fit: PartFit) -> PartSummary:
    part = fit.part
    return PartSummary(
        name=part.name, LUT=part.LUT, FF=part.FF, DSP=part.DSP, BRAM36=part.BRAM36, URAM=part.URAM, fits=not fit.short,
        slrs=part.slrs, note=part.note, short=list(fit.short), help=list(fit.help),
    )


def _resources(model: ModelWrapper, used: dict[str, Resources], fit: PartFit) -> ResourceSummary:
    kinds = NodeResources.model_fields.keys() - {"node", "op_type"}
    per_node = [
        NodeResources(node=n.name, op_type=n.op_type, **{k: getattr(used[n.name], k) for k in kinds})
        for n in model.graph.node
    ]
    whole = {kind: getattr(fit.used, kind) for kind in KINDS}
    return ResourceSummary(tool=fit.method, per_node=per_node, **whole)
