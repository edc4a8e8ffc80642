"""``finn-vitprune complexity``: operations and parameters before and after pruning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from finn_vitprune.cli.answer import Json, answer
from finn_vitprune.cli.params import parser
from finn_vitprune.errors import UserError
from finn_vitprune.options.texts import Ints
from finn_vitprune.pruning.choices import Share, check_drops

if TYPE_CHECKING:
    from rich.console import Console

    from finn_vitprune.complexity.counted import CountedModel
    from finn_vitprune.complexity.formulas import Complexity
    from finn_vitprune.report.tables import TextTable

EXAMPLE = "finn-vitprune complexity deit_small_patch16_224 --block-size 16 --block-keep 0.5 --token-keep 0.5 --drop-at 3,7,10 --json"


Counting = Literal["project", "reference"]
"""What is counted: the products of this project's hardware, or what the reference's table counts."""


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The name of a timm model, a checkpoint (.pt) or a QONNX file.")],
    block_size: Annotated[int | None, typer.Option(min=1, help="Blocks have this many rows and columns; without it 16.")] = None,
    block_keep: Annotated[
        Share | None, typer.Option(parser=parser(Share), metavar="SHARE", help="This share of the blocks is kept; without it 0.5.")
    ] = None,
    neuron_keep: Annotated[
        Share | None,
        typer.Option(parser=parser(Share), metavar="SHARE", help="This share of the MLP neurons is kept; without it that of blocks."),
    ] = None,
    token_keep: Annotated[
        Share | None,
        typer.Option(parser=parser(Share), metavar="SHARE", help="This share of the tokens is kept at a drop; without it 0.7."),
    ] = None,
    drop_at: Annotated[
        Ints | None, typer.Option(parser=parser(Ints), metavar="NUMBERS", help="These encoders drop tokens, counted from 1, as 3,7,10.")
    ] = None,
    heads_removed: Annotated[
        Ints | None,
        typer.Option(parser=parser(Ints), metavar="NUMBERS", help="So many heads are removed, a number an encoder, as 1,1,2,0."),
    ] = None,
    count: Annotated[
        Counting, typer.Option(help="Counts what this hardware does (project), or as the results of the FCCM 2024 paper do (reference).")
    ] = "project",
    json_output: Json = False,
) -> None:
    """Operations and parameters of a model before and after pruning, by formula and by count.

    The pruning flags are for timm models, which are counted at random weights, pruned by their magnitude.
    Checkpoints and QONNX files are pruned already; a QONNX file is counted over its hardware graph.
    """
    path = Path(model)
    if path.suffix in (".pt", ".pth", ".onnx", ".xz") or path.exists():
        flags = {
            "--block-size": block_size,
            "--block-keep": block_keep,
            "--neuron-keep": neuron_keep,
            "--token-keep": token_keep,
            "--drop-at": drop_at,
            "--heads-removed": heads_removed,
        }
        counted = _of_file(path, [name for name, value in flags.items() if value is not None], count)
    else:
        from finn_vitprune.complexity.counted import TimmPruning, of_timm
        from finn_vitprune.pruning.config import PruneConfig

        keep = block_keep or "0.5"
        prune = PruneConfig(block_size or 16, keep, neuron_keep or keep)
        check_drops(token_keep, drop_at or ())
        if token_keep is not None and not drop_at:
            raise UserError(f"--token-keep {token_keep} needs --drop-at, for instance --drop-at 3,7,10")
        pruning = TimmPruning(prune, token_keep or "0.7", tuple(sorted(drop_at or ())), heads_removed or ())
        counted = of_timm(model, pruning, as_reference=count == "reference")
    if answer(_as_dict(counted, count)):
        return
    from rich.console import Console

    from finn_vitprune.report.tables import show

    console = Console()
    _show_formulas(count, console)
    show(_tables(counted, count), console)


def _of_file(path: Path, given: list[str], counting: Counting) -> CountedModel:
    """A checkpoint or a QONNX file.

    Raises:
        UserError: no such file, or options that are for timm models.
    """
    from finn_vitprune.files import is_checkpoint, need_file

    need_file(path)
    if given:
        raise UserError(f"{given[0]}: {path} is a file and pruned already, leave pruning flags out")
    if counting == "reference":
        raise UserError(f"--count reference: needs a timm model name, {path} is a file")
    if is_checkpoint(path):
        from finn_vitprune.training.train import count_checkpoint

        return count_checkpoint(path)
    from finn_vitprune.export.count import count_file

    return count_file(path)


# --- output --------------------------------------------------------------------------------------


def _formulas(counting: Counting) -> tuple[dict[str, str], str]:
    """The closed formulas by what they give, and what their letters stand for."""
    from finn_vitprune.complexity import formulas, reference

    module = formulas if counting == "project" else reference
    return module.FORMULAS, module.SYMBOLS


def _show_formulas(counting: Counting, console: Console) -> None:
    formulas, symbols = _formulas(counting)
    console.print("Formulas, one image", style="bold")
    for what, formula in formulas.items():
        console.print(f"  {what:25} {formula}", markup=False, highlight=False, soft_wrap=True)
    console.print(symbols, style="italic", markup=False, highlight=False)
    console.print()


def _tables(counted: CountedModel, counting: Counting) -> list[TextTable]:
    """Tokens and heads as counted, and the totals."""
    from finn_vitprune.report.builds import encoder_table, operation_rows
    from finn_vitprune.report.tables import TextTable

    rows = []
    for how, c in (("formula", counted.formula), ("count", counted.count)):
        rows += operation_rows(f"MACs per image by {how}", c.macs_dense, c.macs_pruned, c.macs)
        rows.append((f"parameters by {how}", f"{c.params_dense:,}", f"{c.params:,}", f"{c.params_ratio:.2f} x less"))
        if counting == "project":
            rows.append((f"block index bits by {how}", "-", f"{c.index_bits:,}", "-"))
    title = f"Complexity of {counted.name}" + (", as the reference counts" if counting == "reference" else "")
    lost = sum(counted.formula.heads) - sum(counted.count.heads)
    dead = f"{lost} heads kept no blocks and are gone in the count; the formula has them."
    totals = TextTable(title, ("", "before", "after", "ratio"), tuple(rows), dead if lost else counted.note)
    return [encoder_table(counted.count.tokens, counted.count.heads), totals]


def _as_dict(counted: CountedModel, counting: Counting) -> dict:
    return {
        "counting": counting,
        "formulas": _formulas(counting)[0],
        "formula": _model_part(counted, counted.formula),
        "count": _model_part(counted, counted.count),
    }


def _model_part(counted: CountedModel, c: Complexity) -> dict:
    """The "model" part of a build's summary, with the ratios."""
    from finn_vitprune.report.summary import ModelSummary, TokenCounts

    part = ModelSummary(
        name=counted.name,
        macs_dense=c.macs_dense,
        macs_pruned=c.macs_pruned,
        macs=c.macs,
        params_dense=c.params_dense,
        params=c.params,
        index_bits=c.index_bits,
        tokens=[TokenCounts(in_=n, mlp=m) for n, m in c.tokens],
        heads=list(c.heads),
        block_size=counted.block_size,
        block_keep=counted.block_keep,
        token_keep=counted.token_keep,
    )
    names = ("pruning_ratio", "class_token_ratio", "macs_ratio", "params_ratio")
    ratios = {name: getattr(c, name) for name in names}
    return part.model_dump(by_alias=True, exclude_none=True) | ratios
