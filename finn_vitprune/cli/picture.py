"""``finn-vitprune picture``: what a training run learned, or a build or an imported model is made of, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLE = "finn-vitprune picture runs/digits -o tokens.png --what tokens --max-images 6"
OF_RUNS, OF_BUILDS = ("masks", "scores", "history"), ("cycles", "resources", "fifos", "memory", "places")
"""Pictures of training runs alone, and of builds alone; ``tokens`` is of both, and of models."""


def command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="The folder of a run, or its checkpoint.pt; the folder of a build, or its summary; an imported or exported model with its images (.npz) beside it; shares by layer that an import wrote (.layers.json).",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The picture to write: .png, .svg or .pdf.")],
    what: Annotated[
        Literal["tokens", "masks", "scores", "history", "memory", "cycles", "resources", "fifos", "places", "layers"],
        typer.Option(
            metavar="WHAT",
            help="The picture. tokens, of all; masks, scores or history, of a run; memory, cycles, resources, fifos or places, of a build; layers, of what an import measured.",
        ),
    ],
    max_images: Annotated[
        int | None, typer.Option(help="The picture of tokens has this many images; without it 8, or all where there are fewer.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the images that are drawn.")] = 0,
) -> None:
    """Draw what a finished training run learned, or what a build or an imported model is made of.

    tokens: the patches of images that each token drop leaves, with class and prediction; dropped ones are hatched. masks: the kept
    blocks of every matrix, live heads and neurons. scores: the learned score of every block. history: accuracy and keep
    rates over the epochs. memory: what fills the block RAMs and UltraRAMs of each encoder. cycles: cycles of
    the units against the interval. resources: of the part. fifos: the deepest fill of each FIFO in simulation. places: the floor plan of a
    build with --places. layers: what
    each layer loses by pruning, and what it keeps.
    """
    from finn_vitprune.report import figures

    figures.check_name(output)
    figures.save(_figure(source, what, max_images, seed), output)
    typer.echo(f"written: {output}")


def _figure(source: Path, what: str, images: int | None, seed: int) -> Figure:
    """The picture of a run, a build or a model.

    Raises:
        UserError: there is no such picture of it.
    """
    from finn_vitprune.errors import UserError

    kind = _kind(source)
    known = {
        "run": ("tokens", *OF_RUNS),
        "build": ("tokens", *OF_BUILDS),
        "summary": OF_BUILDS,
        "model": ("tokens",),
        "shares": ("layers",),
    }[kind]
    if what not in known:
        raise UserError(f"--what {what}: {source} is a {kind}: use {', '.join(known)}")
    if kind == "shares":
        from finn_vitprune.pruning.layers import LayerShares
        from finn_vitprune.report.layer_shares import layer_figure

        return layer_figure(LayerShares.load(source))
    if kind == "run":
        from finn_vitprune.training.pictures import picture

        return picture(source / "checkpoint.pt" if source.is_dir() else source, what, images, seed)
    if what == "tokens":
        from finn_vitprune.builds.records.tokens import kept_tokens, model_tokens

        return (kept_tokens if kind == "build" else model_tokens)(source, images, seed)
    from finn_vitprune.report.build_pictures import build_picture
    from finn_vitprune.report.summary import Summary

    return build_picture(Summary.load(source), what)


def _kind(source: Path) -> Literal["run", "build", "summary", "model", "shares"]:
    """What a path is of; a run where nothing tells, so that its error says what is missing."""
    from finn_vitprune.built.record import FILE as RECORD
    from finn_vitprune.report.summary import FILE

    if source.is_dir():
        return "build" if (source / RECORD).is_file() or (source / FILE).is_file() else "run"
    if source.name.endswith(".layers.json"):
        return "shares"
    kinds: dict[str, Literal["summary", "model"]] = {".json": "summary", ".onnx": "model", ".xz": "model"}
    return kinds.get(source.suffix, "run")
