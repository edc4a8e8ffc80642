"""Fills ``report/vitprune_summary.json`` from the graph and from what the steps before measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from finn.builder.build_dataflow_config import DataflowBuildConfig
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.builds.images import Images, load_images
from finn_vitprune.builds.settings import BuildSettings
from finn_vitprune.custom_ops.block_sparse_mvau import BlockSparseMVAU
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
from finn_vitprune.synth.parts import get_part
from finn_vitprune.synth.resources import Resources


def summarise(model: ModelWrapper, cfg: DataflowBuildConfig, settings: BuildSettings) -> Summary:
    """Build and save the summary; sections whose step did not run stay empty."""
    reports = cfg.get_report_directory()
    lowering = _read(reports / "lowering.json") or {}
    part = get_part(cfg._resolve_fpga_part(), settings.part_resources)
    resources = _resources(model, _read(reports / "yosys_resources.json"), cfg)
    total = Resources(**{k: getattr(resources, k) for k in ("LUT", "FF", "DSP", "BRAM36", "URAM")})
    summary = Summary(
        model=model_summary(model, lowering.get("source", {}), lowering.get("logit_scale")),
        verify=_verify(cfg, settings, reports),
        rtlsim=_rtlsim(cfg, _read(reports / "rtl_verification.json")),
        balance=balance(model),
        resources=resources,
        part=PartSummary(
            name=part.name, LUT=part.LUT, FF=part.FF, DSP=part.DSP, BRAM36=part.BRAM36, URAM=part.URAM,
            fits=part.fits(total), slrs=part.slrs, note=part.note,
        ),
        time_s=_read(reports / "time_per_step.json") or {},
    )
    summary.save(cfg.output_dir)
    return summary


def model_summary(model: ModelWrapper, source: dict[str, str], logit_scale: float | None) -> ModelSummary:
    """Counts from the hardware graph; the unpruned model's from the metadata of the model file."""
    macs = weights = biases = index_bits = 0
    tokens: list[TokenCounts] = []
    heads: list[int] = []
    blocks = 8
    for node in model.graph.node:
        op = getCustomOp(node)
        macs += op.macs()
        counts = op.param_counts()
        weights, biases = weights + counts.get("weights", 0), biases + counts.get("biases", 0)
        index_bits += counts.get("index_bits", 0)
        kind = node.op_type.removesuffix("_rtl")
        if kind == "PrunedAttention":
            heads.append(op.get_nodeattr("heads"))
            tokens.append(TokenCounts(**{"in": op.get_nodeattr("tokens")}, mlp=0))
        elif kind == "VitLookup" and tokens:
            tokens[-1] = tokens[-1].model_copy(update={"mlp": op.get_nodeattr("tokens")})
        elif kind == "BlockSparseMVAU":
            blocks = op.get_nodeattr("block")
    return ModelSummary(
        name=source.get("name", model.graph.name), macs_dense=int(source.get("macs_dense", macs)), macs=macs,
        params_dense=int(source.get("params_dense", weights + biases)), params=weights + biases,
        index_bits=index_bits, tokens=tokens, heads=heads, block_size=int(source.get("block_size", blocks)),
        block_keep=float(source.get("block_keep", 1.0)), token_keep=_token_keep(source),
        logit_scale=logit_scale,
    )


def _token_keep(source: dict[str, str]) -> dict[int, float]:
    return {int(k): float(v) for k, v in json.loads(source.get("token_keep", "{}")).items()}


def _verify(cfg, settings: BuildSettings, reports: Path) -> VerifySummary | None:
    rtl = _read(reports / "rtl_verification.json")
    parent = cfg.get_intermediate_models_directory() / "dataflow_parent.onnx"
    qonnx = _read(reports / "qonnx_reference.json")
    if rtl is None or qonnx is None or not parent.is_file():
        return None
    host = ModelWrapper(str(parent))
    images: Images = load_images(settings, host.get_tensor_shape(host.graph.input[0].name))
    predicted = np.argmax(np.load(cfg.get_verification_output_directory() / "rtl_logits.npy"), -1)
    accuracy = accuracy_pytorch = None
    if images.labels is not None:
        accuracy = float(np.mean(predicted == images.labels))
        if images.logits is not None:
            accuracy_pytorch = float(np.mean(np.argmax(images.logits, -1) == images.labels))
    return VerifySummary(
        images=rtl["images"], rtl_mismatches=rtl["rtl_mismatches"], class_changes=rtl["class_changes"],
        stalled_images=rtl["stalled_images"], traced_streams=rtl["traced_streams"], image_source=images.source,
        top1_agree_qonnx=float(np.mean(predicted == np.array(qonnx["top1"]))),
        max_code_diff_vs_qonnx=(_read(reports / "lowering.json") or {}).get("max_code_difference", 0),
        saturations=rtl["saturations"], accuracy=accuracy, accuracy_pytorch=accuracy_pytorch,
    )


def _rtlsim(cfg, rtl: dict | None) -> RtlsimSummary | None:
    if rtl is None:
        return None
    return RtlsimSummary.measured(
        rtl["frames"], rtl["latency_cycles"], rtl["interval_cycles"], rtl["interval_cycles_max"],
        cfg.synth_clk_period_ns,
    )


def balance(model: ModelWrapper) -> list[BalanceRow]:
    """A row for every node with matrix products."""
    rows = []
    for node in model.graph.node:
        op = getCustomOp(node)
        if not op.macs():
            continue
        cycles, ideal = op.get_exp_cycles(), op.folding().ideal_cycles
        row = BalanceRow(
            node=node.name, op_type=node.op_type, kept_blocks=None, lanes=1, ideal_cycles=ideal, cycles=cycles,
            utilisation=min(1.0, ideal / cycles),
        )
        if isinstance(op, BlockSparseMVAU):
            counts = op.param_counts()
            bits = counts["weights"] * DataType[op.get_nodeattr("weightDataType")].bitwidth() + counts["index_bits"]
            row = row.model_copy(update={
                "kept_blocks": op.schedule().kept, "lanes": op.get_nodeattr("LANES"), "weight_bits": bits,
            })
        rows.append(row)
    return rows


def _resources(model: ModelWrapper, yosys: dict | None, cfg) -> ResourceSummary:
    """Yosys figures where they ran, else the ops' estimates under the name "estimate"."""
    per_node = []
    for node in model.graph.node:
        if yosys is not None:
            values = {k: v for k, v in yosys["per_node"][node.name].items() if k in NodeResources.model_fields}
        else:
            estimate = getCustomOp(node).node_res_estimation(cfg._resolve_fpga_part())
            values = {"LUT": int(estimate["LUT"]), "DSP": int(estimate["DSP"]), "URAM": int(estimate["URAM"]),
                      "BRAM36": estimate["BRAM_18K"] / 2}
        per_node.append(NodeResources(node=node.name, op_type=node.op_type, **values))
    total = {k: sum(getattr(n, k) for n in per_node) for k in ("LUT", "FF", "DSP", "BRAM36", "URAM")}
    return ResourceSummary(tool=yosys["tool"] if yosys else "estimate", per_node=per_node, **total)


def _read(path: Path):
    return json.loads(path.read_text()) if path.is_file() else None
