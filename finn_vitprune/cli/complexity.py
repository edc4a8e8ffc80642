"""``finn-vitprune complexity``: operations and parameters before and after pruning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finn_vitprune.errors import UserError

if TYPE_CHECKING:
    from finn_vitprune.complexity import Complexity

NAME = "complexity"
EXAMPLE = "finn-vitprune complexity deit_small_patch16_224 --block-size 16 --drop-at 3,7,10 --token-keep 0.5 --json"


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="timm model name, checkpoint (.pt) or QONNX file.")],
    block_size: Annotated[int, typer.Option(min=1, help="Block size b (timm models).")] = 16,
    block_keep: Annotated[str, typer.Option(help="Kept share of blocks.")] = "0.5",
    neuron_keep: Annotated[str, typer.Option(help="Kept share of MLP neurons.")] = "0.5",
    token_keep: Annotated[str, typer.Option(help="Kept share of tokens at a drop.")] = "0.7",
    drop_at: Annotated[str, typer.Option(help="Encoders that drop tokens, from 1: 3,7,10.")] = "",
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Operations and parameters of a model before and after pruning.

    A timm model is counted by formula for the keep rates given; a checkpoint and a QONNX file are pruned
    already, and a QONNX file is also counted node by node in its hardware graph.
    """
    rates = [_share("--block-keep", block_keep), _share("--neuron-keep", neuron_keep), _share("--token-keep", token_keep)]
    found = _of(model, block_size, *rates, _encoders(drop_at))
    if json_output:
        import json

        typer.echo(json.dumps({how: _as_dict(c) for how, c in found.items()}, indent=2))
        return
    from rich.console import Console

    from finn_vitprune.report import show

    show(_sheets(model, found), Console())


def _of(
    model: str, block: int, block_keep: str, neuron_keep: str, token_keep: str, drops: tuple[int, ...]
) -> dict[str, Complexity]:
    """Complexity by the way it was found: "formula", and "count" where there is a graph."""
    path = Path(model)
    if path.suffix in (".pt", ".pth") or path.suffix == ".onnx" or path.exists():
        from finn_vitprune.cli.files import need_file

        need_file(path)
        return _of_onnx(path) if path.suffix == ".onnx" else _of_checkpoint(path)
    return {"formula": _of_timm(model, block, block_keep, neuron_keep, token_keep, drops)}


def _of_timm(
    name: str, block: int, block_keep: str, neuron_keep: str, token_keep: str, drops: tuple[int, ...]
) -> Complexity:
    import difflib

    import timm
    import torch

    from finn_vitprune.complexity import planned
    from finn_vitprune.models.timm_weights import config_of_timm
    from finn_vitprune.pruning.config import PruneConfig, check_block_size

    if name not in timm.list_models():
        near = difflib.get_close_matches(name, timm.list_models("*deit*") + timm.list_models("vit_*"), n=3)
        hint = f", did you mean {', '.join(near)}?" if near else ""
        raise UserError(f"{name} is neither a file nor a timm model{hint}")
    with torch.device("meta"):
        network = timm.create_model(name)
    if not isinstance(network, timm.models.vision_transformer.VisionTransformer):
        raise UserError(f"timm model {name} is no plain ViT or DeiT ({type(network).__name__})")
    config = config_of_timm(network)
    check_block_size(config, block)
    outside = [d for d in drops if not 1 <= d <= len(config.encoders)]
    if outside:
        raise UserError(f"--drop-at {outside[0]}: {name} has encoders 1 to {len(config.encoders)}")
    return planned(config.with_token_drop(token_keep, drops), PruneConfig(block, block_keep, neuron_keep))


def _of_checkpoint(path: Path) -> dict[str, Complexity]:
    from finn_vitprune.complexity import counted
    from finn_vitprune.metadata import kept_block_maps
    from finn_vitprune.training.run import Run
    from finn_vitprune.training.train import small_network

    run = Run.from_checkpoint(path)
    missing = run.config.student.epochs - run.progress.student_epochs
    if missing:
        raise UserError(f"{path}: training is not finished ({missing} student epochs to go): use train --resume")
    small, block = small_network(run), run.config.prune.block_size
    return {"formula": counted(run.vit, small.config, kept_block_maps(small, block), block)}


def _of_onnx(path: Path) -> dict[str, Complexity]:
    """By formula from the metadata of the file, by count over the nodes of its hardware graph."""
    from dataclasses import replace

    from finn_vitprune.builds.build import check_model_file
    from finn_vitprune.complexity import Complexity

    check_model_file(path)
    import finn_vitprune.custom_ops  # noqa: F401  (registers the ops)
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.custom_op.registry import getCustomOp

    from finn_vitprune.metadata import ModelMetadata
    from finn_vitprune.transforms.drop_unused_scores import DropUnusedScores
    from finn_vitprune.transforms.lower import lower
    from finn_vitprune.transforms.narrow_class_token import NarrowClassToken

    model = ModelWrapper(str(path))
    m = ModelMetadata.read(model)
    tokens = tuple((t["in"], t["mlp"]) for t in m.tokens)
    formula = Complexity(m.macs_dense, m.macs, m.params_dense, m.params, m.index_bits, tokens, tuple(m.heads))
    hardware = lower(model).model
    for transformation in (DropUnusedScores(), NarrowClassToken(), DropUnusedScores()):
        hardware = hardware.transform(transformation)
    ops = [getCustomOp(n) for n in hardware.graph.node if n.domain.startswith("finn.")]
    for op in ops:
        if hasattr(op, "plan"):
            op.plan(hardware.get_initializer(op.onnx_node.input[1]))
    ops = [op for op in ops if op.macs()]  # those with matrix products: positions are no matrix
    params = [op.param_counts() for op in ops]
    return {
        "formula": formula,
        "count": replace(
            formula,
            macs=sum(op.macs() for op in ops),
            params=sum(p.get("weights", 0) + p.get("biases", 0) for p in params),
            index_bits=sum(p.get("index_bits", 0) for p in params),
        ),
    }


def _sheets(model: str, found: dict[str, Complexity]) -> list:
    from finn_vitprune.report import Sheet, encoder_sheet

    rows = []
    for how, c in found.items():
        rows.append((f"MACs per image, by {how}", f"{c.macs_dense:,}", f"{c.macs:,}", f"{c.macs_ratio:.2f} x less"))
        rows.append((f"parameters, by {how}", f"{c.params_dense:,}", f"{c.params:,}", f"{c.params_ratio:.2f} x less"))
    c = next(iter(found.values()))
    note = f"{c.index_bits:,} bits of block index are apart. One MAC is one product of a matrix product."
    totals = Sheet(f"Complexity of {model}", ("", "before pruning", "after", "ratio"), tuple(rows), note)
    return [totals, encoder_sheet(c.tokens, c.heads)]


def _as_dict(c: Complexity) -> dict:
    return {
        "macs_dense": c.macs_dense,
        "macs": c.macs,
        "macs_ratio": c.macs_ratio,
        "params_dense": c.params_dense,
        "params": c.params,
        "params_ratio": c.params_ratio,
        "index_bits": c.index_bits,
        "tokens": [{"in": n, "mlp": m} for n, m in c.tokens],
        "heads": list(c.heads),
    }


def _share(option: str, text: str) -> str:
    """A share as the exact decimal that was written."""
    from fractions import Fraction

    try:
        if 0 < Fraction(text) <= 1:
            return text
    except (ValueError, ZeroDivisionError):
        pass
    raise UserError(f"{option} {text} is no share: use more than 0 and at most 1, for example 0.5")


def _encoders(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({int(t) for t in text.split(",") if t.strip()}))
    except ValueError:
        raise UserError(f"--drop-at {text}: expected numbers with commas, for example 3,7,10") from None
