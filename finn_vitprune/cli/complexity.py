"""``finn-vitprune complexity``: operations and parameters before and after pruning."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from finn_vitprune.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from finn_vitprune.complexity.formulas import Complexity
    from finn_vitprune.models.config import ViTConfig
    from finn_vitprune.pruning.config import PruneConfig
    from finn_vitprune.report.tables import Sheet

NAME = "complexity"
EXAMPLE = (
    "finn-vitprune complexity deit_small_patch16_224 --block-size 16 --block-keep 0.5 --token-keep 0.5 "
    "--drop-at 3,7,10 --json"
)


class Way(str, Enum):
    """What is counted: the products of this project's hardware, or what the reference's table counts."""

    PROJECT = "project"
    REFERENCE = "reference"


@dataclass(frozen=True)
class Pruning:
    """The pruning flags of one call, checked by themselves; shares are exact decimals as written."""

    block_size: int
    block_keep: str
    neuron_keep: str
    token_keep: str
    drop_at: tuple[int, ...]
    heads_removed: tuple[int, ...]


@dataclass(frozen=True)
class Result:
    """Complexity of one model by the way it was found ("formula", "count"), and how it was pruned.

    note: what a reader of the totals should know besides.
    """

    name: str
    block_size: int
    block_keep: float
    token_keep: dict[int, float]
    found: dict[str, Complexity]
    note: str = ""


def command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="timm model name, checkpoint (.pt) or QONNX file.")
    ],
    block_size: Annotated[
        Optional[int], typer.Option(min=1, help="Block size b; without it 16.")
    ] = None,
    block_keep: Annotated[
        Optional[str], typer.Option(help="Kept share of blocks; without it 0.5.")
    ] = None,
    neuron_keep: Annotated[
        Optional[str], typer.Option(help="Kept share of MLP neurons; without it that of blocks.")
    ] = None,
    token_keep: Annotated[
        Optional[str], typer.Option(help="Kept share of tokens at a drop; without it 0.7.")
    ] = None,
    drop_at: Annotated[Optional[str], typer.Option(help="Encoders that drop tokens, from 1: 3,7,10.")] = None,
    heads_removed: Annotated[
        Optional[str], typer.Option(help="Heads removed, one number per encoder: 1,1,2,0.")
    ] = None,
    count: Annotated[
        Way, typer.Option(help="Count what this hardware does, or as the results of the FCCM 2024 paper do.")
    ] = Way.PROJECT,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Operations and parameters of a model before and after pruning, by formula and by count.

    The pruning flags are for timm models, which are counted at random weights, pruned by their magnitude.
    Checkpoints and QONNX files are pruned already; a QONNX file is counted over its hardware graph.
    """
    flags = {
        "--block-size": block_size,
        "--block-keep": block_keep,
        "--neuron-keep": neuron_keep,
        "--token-keep": token_keep,
        "--drop-at": drop_at,
        "--heads-removed": heads_removed,
    }
    given = {name: str(value) for name, value in flags.items() if value is not None}
    result = _of(model, given, count)
    if json_output:
        import json

        typer.echo(json.dumps(_as_dict(result, count), indent=2))
        return
    from rich.console import Console

    from finn_vitprune.report.tables import show

    console = Console()
    _show_formulas(count, console)
    show(_sheets(result, count), console)


def _of(model: str, given: dict[str, str], way: Way) -> Result:
    path = Path(model)
    is_file = path.suffix in (".pt", ".pth", ".onnx") or path.exists()
    if not is_file:
        return _of_timm(model, _pruning(given), way)
    from finn_vitprune.cli.files import need_file

    need_file(path)
    if given:
        raise UserError(f"{next(iter(given))}: {model} is a file and pruned already, leave pruning flags out")
    if way is Way.REFERENCE:
        raise UserError(f"--count reference: needs a timm model name, {model} is a file")
    return _of_onnx(path) if path.suffix == ".onnx" else _of_checkpoint(path)


# --- the three kinds of models -------------------------------------------------------------------


def _of_timm(name: str, pruning: Pruning, way: Way) -> Result:
    from finn_vitprune.pruning.config import PruneConfig, check_block_size

    config = _config_of_timm(name)
    prune = PruneConfig(pruning.block_size, pruning.block_keep, pruning.neuron_keep)
    check_block_size(config, prune.block_size)
    _check_encoders(name, config, pruning)
    measure = _by_project if way is Way.PROJECT else _by_reference
    return Result(
        name=name,
        block_size=pruning.block_size,
        block_keep=float(Fraction(pruning.block_keep)),
        token_keep=dict.fromkeys(pruning.drop_at, float(Fraction(pruning.token_keep))),
        found=measure(config, prune, pruning),
    )


def _by_project(config: ViTConfig, prune: PruneConfig, pruning: Pruning) -> dict[str, Complexity]:
    from finn_vitprune.complexity.formulas import planned
    from finn_vitprune.complexity.graph import count_model, pruned_by_score

    config = config.with_token_drop(pruning.token_keep, pruning.drop_at)
    dense, small = pruned_by_score(config, prune, pruning.heads_removed)
    return {
        "formula": planned(config, prune, pruning.heads_removed),
        "count": count_model(dense, small, prune.block_size),
    }


def _by_reference(config: ViTConfig, prune: PruneConfig, pruning: Pruning) -> dict[str, Complexity]:
    from finn_vitprune.complexity import reference
    from finn_vitprune.complexity.graph import pruned_by_score

    config = reference.distilled(config).with_token_drop(pruning.token_keep, pruning.drop_at)
    neurons = [reference.kept_neurons(prune.neuron_keep, s.neurons) for s in config.encoders]
    return {
        "formula": reference.planned(config, prune.neuron_keep, pruning.heads_removed),
        "count": reference.by_count(*pruned_by_score(config, prune, pruning.heads_removed, neurons)),
    }


def _config_of_timm(name: str) -> ViTConfig:
    """Shapes of a timm model, without its weights.

    Raises:
        UserError: no such model, or one that this project has no hardware for.
    """
    import timm
    import torch

    from finn_vitprune.models.timm_weights import config_of_timm

    if not timm.is_model(name):
        raise UserError(f"{name} is neither a file nor a timm model{_near(name)}")
    try:
        with torch.device("meta"):
            network = timm.create_model(name)
    except RuntimeError as e:  # an unknown tag behind the dot
        raise UserError(f"timm model {name}: {e}") from e
    if not isinstance(network, timm.models.vision_transformer.VisionTransformer):
        raise UserError(f"timm model {name} is no plain ViT or DeiT ({type(network).__name__})")
    try:
        return config_of_timm(network)
    except AttributeError as e:
        raise UserError(f"timm model {name} has encoders or a classifier of another form ({e})") from e


def _near(name: str) -> str:
    """The timm models that ``name`` may be meant for."""
    import difflib

    import timm

    near = difflib.get_close_matches(name, timm.list_models("*deit*") + timm.list_models("vit_*"), n=3)
    return f", did you mean {', '.join(near)}?" if near else ""


def _check_encoders(name: str, config: ViTConfig, pruning: Pruning) -> None:
    """Encoder numbers and head counts must fit the network."""
    depth = len(config.encoders)
    outside = [d for d in pruning.drop_at if not 1 <= d <= depth]
    if outside:
        raise UserError(f"--drop-at {outside[0]}: {name} has encoders 1 to {depth}")
    removed = pruning.heads_removed
    if removed and len(removed) != depth:
        raise UserError(
            f"--heads-removed has {len(removed)} numbers, {name} has {depth} encoders: give {depth} numbers"
        )
    for i, (count, shape) in enumerate(zip(removed, config.encoders), start=1):
        if not 0 <= count < shape.heads:
            raise UserError(
                f"--heads-removed {count} (encoder {i}): it has {shape.heads} heads and one must stay, "
                f"use 0 to {shape.heads - 1}"
            )


def _of_checkpoint(path: Path) -> Result:
    """By formula at its kept blocks, by count over its modules."""
    from finn_vitprune.complexity.formulas import counted, unpruned
    from finn_vitprune.complexity.graph import count_model
    from finn_vitprune.export.metadata import kept_block_masks
    from finn_vitprune.models.vit import PrunedViT
    from finn_vitprune.training.run import Run
    from finn_vitprune.training.train import small_network

    run = Run.from_checkpoint(path)
    missing = run.config.student.epochs - run.progress.student_epochs
    if not run.config.student.epochs:
        raise UserError(f"{path} holds a teacher alone: give the checkpoint of a pruned student")
    if missing:
        raise UserError(
            f"{path}: training is not finished ({missing} student epochs to go): use train --resume"
        )
    small, prune = small_network(run), run.config.prune
    masks = kept_block_masks(small, prune.block_size)
    drops = [i for i, shape in enumerate(small.config.encoders, start=1) if shape.keep is not None]
    return Result(
        name=run.config.name,
        block_size=prune.block_size,
        block_keep=float(prune.block_keep),
        token_keep=dict.fromkeys(drops, float(prune.token_keep)),
        found={
            "formula": counted(run.vit, small.config, masks),
            "count": count_model(PrunedViT(unpruned(run.vit)), small, prune.block_size),
        },
    )


def _of_onnx(path: Path) -> Result:
    """By formula from the metadata of the file, by count over the nodes of its hardware graph."""
    from dataclasses import replace

    from finn_vitprune.builds.build import check_model_file
    from finn_vitprune.complexity.formulas import Complexity

    check_model_file(path)
    import finn_vitprune.custom_ops  # noqa: F401  (registers the ops)
    from qonnx.core.modelwrapper import ModelWrapper

    from finn_vitprune.complexity.graph import count_hardware
    from finn_vitprune.export.metadata import ModelMetadata
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
    graph, index_bits = count_hardware(hardware)
    count = replace(formula, macs=graph.macs, params=graph.weights + graph.biases, index_bits=index_bits)
    return Result(
        name=m.name,
        block_size=m.block_size,
        block_keep=float(m.block_keep),
        token_keep={int(i): float(rate) for i, rate in m.token_keep.items()},
        found={"formula": formula, "count": count},
        note="Index bits by count are those of all matrix units, with an end-of-column bit a block.",
    )


# --- output --------------------------------------------------------------------------------------


def _formulas(way: Way) -> tuple[dict[str, str], str]:
    """The closed formulas by what they give, and what their letters stand for."""
    from finn_vitprune.complexity import formulas as complexity
    from finn_vitprune.complexity import reference as complexity_reference

    module = complexity if way is Way.PROJECT else complexity_reference
    return module.FORMULAS, module.SYMBOLS


def _show_formulas(way: Way, console: Console) -> None:
    formulas, symbols = _formulas(way)
    console.print("Formulas, one image", style="bold")
    for what, formula in formulas.items():
        console.print(f"  {what:25} {formula}", markup=False, highlight=False, soft_wrap=True)
    console.print(symbols, style="italic", markup=False, highlight=False)
    console.print()


def _sheets(result: Result, way: Way) -> list[Sheet]:
    """Tokens and heads as counted, and the totals."""
    from finn_vitprune.report.tables import Sheet, encoder_sheet

    rows = []
    for how, c in result.found.items():
        rows += [
            (f"MACs per image, by {how}", f"{c.macs_dense:,}", f"{c.macs:,}", f"{c.macs_ratio:.2f} x less"),
            (f"parameters, by {how}", f"{c.params_dense:,}", f"{c.params:,}", f"{c.params_ratio:.2f} x less"),
        ]
        if way is Way.PROJECT:
            rows.append((f"block index bits, by {how}", "-", f"{c.index_bits:,}", "-"))
    title = f"Complexity of {result.name}" + (", as the reference counts" if way is Way.REFERENCE else "")
    formula, count = (result.found[how] for how in ("formula", "count"))
    lost = sum(formula.heads) - sum(count.heads)
    dead = f"{lost} heads kept no blocks and are gone in the count; the formula has them."
    note = dead if lost else result.note
    totals = Sheet(title, ("", "before pruning", "after", "ratio"), tuple(rows), note)
    return [encoder_sheet(count.tokens, count.heads), totals]


def _as_dict(result: Result, way: Way) -> dict:
    return {
        "counting": way.value,
        "formulas": _formulas(way)[0],
        **{how: _model_part(result, c) for how, c in result.found.items()},
    }


def _model_part(result: Result, c: Complexity) -> dict:
    """The "model" part of a build's summary, with the ratios."""
    from finn_vitprune.report.summary import ModelSummary, TokenCounts

    part = ModelSummary(
        name=result.name,
        macs_dense=c.macs_dense,
        macs=c.macs,
        params_dense=c.params_dense,
        params=c.params,
        index_bits=c.index_bits,
        tokens=[TokenCounts(in_=n, mlp=m) for n, m in c.tokens],
        heads=list(c.heads),
        block_size=result.block_size,
        block_keep=result.block_keep,
        token_keep=result.token_keep,
    )
    ratios = {"macs_ratio": c.macs_ratio, "params_ratio": c.params_ratio}
    return part.model_dump(by_alias=True, exclude={"logit_scale"}) | ratios


# --- flags ---------------------------------------------------------------------------------------


def _pruning(given: dict[str, str]) -> Pruning:
    """The flags of a timm model, with defaults."""
    block_keep = _share(given, "--block-keep", "0.5")
    return Pruning(
        block_size=int(given.get("--block-size", 16)),
        block_keep=block_keep,
        neuron_keep=_share(given, "--neuron-keep", block_keep),
        token_keep=_share(given, "--token-keep", "0.7"),
        drop_at=tuple(sorted(set(_numbers(given, "--drop-at", "3,7,10")))),
        heads_removed=_numbers(given, "--heads-removed", "1,1,2,0"),
    )


def _share(given: dict[str, str], option: str, default: str) -> str:
    """A share as the exact decimal that was written."""
    text = given.get(option, default)
    try:
        if 0 < Fraction(text) <= 1:
            return text
    except (ValueError, ZeroDivisionError):
        pass
    raise UserError(f"{option} {text} is no share: use more than 0 and at most 1, for example 0.5")


def _numbers(given: dict[str, str], option: str, example: str) -> tuple[int, ...]:
    """Whole numbers with commas; none when the option is not given or empty."""
    text = given.get(option, "").strip()
    try:
        return tuple(int(t) for t in text.split(",")) if text else ()
    except ValueError:
        raise UserError(f"{option} {text}: expected numbers with commas, for example {example}") from None
