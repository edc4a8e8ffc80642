"""``finn-vitprune explore``: many designs side by side, planned, and the best of them built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from finn_vitprune.cli import params
from finn_vitprune.cli.answer import Full, Json, answer

if TYPE_CHECKING:
    from finn_vitprune.exploration.space import Goal

EXAMPLE = (
    "finn-vitprune explore deit_small.onnx --fpga-part U250,ZCU104 --engines 1,2,pipeline --bits 8,4 "
    "--block-keep 0.5,0.7 --token-keep 0.5 -o explore/deit"
)
PIPELINE = "pipeline"


def command(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL.onnx...", help="QONNX models as they are, or float ones that are imported.")],
    fpga_part: Annotated[str, typer.Option(metavar="PARTS", help="Parts or boards, with commas between them.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of networks, builds and explore.csv, .json and .html.")],
    engines: Annotated[str, typer.Option(help="Numbers of engines, and pipeline for hardware for every encoder.")] = PIPELINE,
    frames_in_flight: Annotated[
        params.Ints, typer.Option(parser=params.Ints.parse, metavar="NUMBERS", help="Images that an engine works on at once.")
    ] = "1",
    goal: Annotated[str, typer.Option(help="What plans on engines look for: throughput, latency, or both with a comma.")] = "throughput",
    bits: Annotated[
        str, typer.Option(help="Of weights and activations of imported networks, as 8,4/8: both 8; weights 4, activations 8.")
    ] = "",
    block_keep: Annotated[str, typer.Option(help="Kept shares of blocks and neurons of imported networks.")] = "1",
    token_keep: Annotated[str, typer.Option(help="Kept shares of tokens at each drop.")] = "1",
    pair: Annotated[bool, typer.Option("--pair", help="The n-th --block-keep with the n-th --token-keep, in place of all pairs.")] = False,
    drop_at: Annotated[
        params.Ints, typer.Option(parser=params.Ints.parse, metavar="NUMBERS", help="Encoders that drop tokens; without it three, evenly.")
    ] = "",
    block_size: Annotated[Optional[int], typer.Option(min=2, help="Of imported networks; without it the largest that fits.")] = None,
    data: Annotated[
        Optional[str],
        typer.Option(help="Data to import with, as of `import`. Without it networks are made with noise: enough for plans, accuracy is not known."),
    ] = None,
    clk_ns: Annotated[float, typer.Option(min=0.1, help="Clock period in ns.")] = 3.333,
    budget: params.Budget = None,
    shell: params.Shell = "none",
    build: Annotated[str, typer.Option(metavar="best:N|pareto", help="Build and simulate the N best designs, or all that no other beats.")] = "best:0",
    synth: Annotated[
        Literal["nodes", "none"], typer.Option(help="Synthesise every node of what is built with Yosys, or nothing.")
    ] = "none",
    jobs: params.Jobs = 2,
    scheduler: params.Scheduler = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of drawn images.")] = 0,
    retry: Annotated[bool, typer.Option("--retry", help="Try designs again that failed.")] = False,
    full: Full = False,
    json_output: Json = False,
) -> None:
    """Plan every combination of networks, parts and engines, and build the best.

    Writes explore.csv, explore.json and a page, explore.html: rate against latency, resources, accuracy where it is known, and the
    commands that make each design again. Started again, it goes on where it stopped.
    """
    import shlex
    import sys

    from finn_vitprune.cli.files import need_file
    from finn_vitprune.cli.renamed import in_present_words
    from finn_vitprune.cli.terminal import console_of_tables, progress_lines
    from finn_vitprune.errors import UserError
    from finn_vitprune.exploration.space import Space, variants_of
    from finn_vitprune.synth.budget import Budget

    for path in models:
        need_file(path)
    chosen = _bits(bits)
    shares = tuple(_shares(text, name) for text, name in ((block_keep, "--block-keep"), (token_keep, "--token-keep")))
    if not chosen and shares != (("1",), ("1",)):
        raise UserError("--block-keep and --token-keep are for imported networks: say how many bits, too, as --bits 8")
    if pair and len(shares[0]) != len(shares[1]):
        raise UserError(f"--pair: {len(shares[0])} shares of blocks and {len(shares[1])} of tokens; give as many of both")
    sources = tuple(path.resolve() for path in models)
    variants = (
        tuple(v for pair_of in zip(*shares) for v in variants_of(sources, chosen, *((share,) for share in pair_of)))
        if pair and chosen else variants_of(sources, chosen, *shares)
    )
    space = Space(variants, _texts(fpga_part, "--fpga-part"), _engines(engines), _counts(frames_in_flight), _goals(goal))
    best = _best(build)

    from finn_vitprune.exploration.explore import PAGE, Exploration, explore
    from finn_vitprune.exploration.ledger import ExploreSettings, pareto
    from finn_vitprune.exploration.points import Target
    from finn_vitprune.exploration.tables import best_table, explored_verdict
    from finn_vitprune.jobs import on_cluster
    from finn_vitprune.report.tables import show

    settings = ExploreSettings(
        target=Target(clk_ns=clk_ns, budget=Budget.parse(budget or ""), shell=shell), data=data, drop_at=tuple(drop_at),
        block_size=block_size, seed=seed,
    )  # fmt: skip
    typed = shlex.join(["finn-vitprune", *in_present_words(sys.argv[1:])[0]])
    with progress_lines(), on_cluster(scheduler):
        found = explore(Exploration(space, settings, output, best, synth, jobs, retry, typed))
    best_rows = pareto(found.rows)
    verdict = explored_verdict(found, output, output / PAGE)
    document = found.model_dump(mode="json") | {"pareto": [row.name for row in best_rows], "page": str(output / PAGE), "verdict": verdict.as_dict()}
    if not answer(document):
        if full:
            show([best_table(best_rows, clk_ns)], console_of_tables())
        typer.echo(verdict)
    if any(row.built and row.built.mismatches for row in found.rows):
        raise typer.Exit(1)


def _texts(text: str, option: str) -> tuple[str, ...]:
    """What stands between commas, each once.

    Raises:
        UserError: nothing does.
    """
    from finn_vitprune.errors import UserError

    found = tuple(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))
    if not found:
        raise UserError(f"{option} {text!r}: give one at least")
    return found


def _engines(text: str) -> tuple[int | None, ...]:
    from finn_vitprune.errors import UserError

    found = []
    for part in _texts(text, "--engines"):
        if part != PIPELINE and not (part.isdecimal() and int(part) >= 1):
            raise UserError(f"--engines {part}: use numbers of 1 or more, or {PIPELINE}, with commas between them")
        found.append(None if part == PIPELINE else int(part))
    return tuple(found)


def _counts(numbers: tuple[int, ...]) -> tuple[int, ...]:
    from finn_vitprune.errors import UserError

    if not numbers or min(numbers) < 1:
        raise UserError(f"--frames-in-flight {','.join(map(str, numbers))}: use numbers of 1 or more, as 1,2")
    return tuple(dict.fromkeys(numbers))


def _goals(text: str) -> tuple[Goal, ...]:
    from finn_vitprune.errors import UserError

    found = _texts(text, "--goal")
    for goal in found:
        if goal not in ("throughput", "latency"):
            raise UserError(f"--goal {goal}: use throughput or latency, or both with a comma")
    return found


def _bits(text: str) -> tuple[tuple[int, int], ...]:
    """``8,4/8``: 8 and 8; 4 and 8.

    Raises:
        UserError: other numbers than import takes.
    """
    from finn_vitprune.errors import UserError

    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        found.append(bits := params.bits(part))
        if not {*bits} <= {4, 8}:
            raise UserError(f"--bits {part}: use 8 or 4, or weights/activations, as 4/8")
    return tuple(dict.fromkeys(found))


def _shares(text: str, option: str) -> tuple[str, ...]:
    from finn_vitprune.errors import UserError
    from finn_vitprune.pruning.choices import Share

    try:
        return tuple(str(Share(part)) for part in _texts(text, option))
    except ValueError as error:
        raise UserError(f"{option} {error}") from None


def _best(text: str) -> int | None:
    """How many of the best designs are built; None for all that no other beats."""
    from finn_vitprune.errors import UserError

    kind, _, number = text.partition(":")
    if text == "pareto":
        return None
    if kind != "best" or not number.isdecimal():
        raise UserError(f"--build {text}: use best:N, as best:3, or pareto")
    return int(number)
