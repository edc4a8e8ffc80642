"""``finn-vitprune sweep``: one configuration with several changes and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finn_vitprune.cli import params
from finn_vitprune.cli.answer import Json, answer
from finn_vitprune.options.configs import ConfigKind, bundled, config_file

EXAMPLE = "finn-vitprune sweep deit_fmnist_sweep -o runs/fmnist --jobs 2"


def command(
    sweep: Annotated[
        str,
        typer.Argument(
            metavar="SWEEP", help="The configuration with its rows of changes and seeds: a file (YAML), or the name of one of the package."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder of the runs, one folder each.")],
    jobs: params.Jobs = 1,
    row: Annotated[list[str] | None, typer.Option(help="Runs this row alone. It may be given again.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Runs this seed alone. It may be given again.")] = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The results are kept in this file; what is in it already is not trained again. Without it they are in results.json beside the sweep file, those of the package's sweeps in -o.",
        ),
    ] = None,
    scheduler: params.Scheduler = None,
    json_output: Json = False,
) -> None:
    """Train every row and seed of a sweep that has no result yet, and write the results.

    Results go to results.json, tables made of them to RESULTS.md beside it, after each finished run. Stopped
    runs continue where they were.
    """
    from finn_vitprune.cli.terminal import progress_lines
    from finn_vitprune.errors import UserError
    from finn_vitprune.files import alone_with, output_path, write_text
    from finn_vitprune.jobs import on_cluster
    from finn_vitprune.training import sweep as sweeps

    output_path(output)
    source = config_file(sweep, ConfigKind.SWEEP)
    content = sweeps.load_sweep(source)
    names = [r.name for r in content.rows]
    unknown = [r for r in row or [] if r not in names]
    if unknown:
        raise UserError(f"--row {unknown[0]}: {source} has rows {', '.join(names)}")
    chosen = [j for j in sweeps.jobs_of(content, source, output) if (not row or j.row in row) and (not seed or j.seed in seed)]
    beside = output if source in bundled(ConfigKind.SWEEP).values() else source.parent  # nothing is written into the package
    results = json_file or beside / "results.json"

    def tables() -> None:
        write_text(results.with_name("RESULTS.md"), sweeps.markdown(file.content))

    with alone_with(results, "sweep"):
        file = sweeps.SweepResults(results)
        file.describe(content)
        with progress_lines(), on_cluster(scheduler):
            sweeps.run(chosen, file, jobs, tables)
        tables()
    if not answer({"file": str(file.path), "sweep": content.name, **file.content[content.name]}):
        typer.echo(f"{len(chosen)} results are in {file.path}")
