"""What `build` prints when it is done."""

from __future__ import annotations

from pathlib import Path

import typer

from finn_vitprune.cli.answer import answer


def show_build(folder: Path, full: bool) -> None:
    """Write the page of a build and print its verdict; exit with 1 if the answer is no: a mismatch, a part too small, a target out of reach.

    Args:
        full: whether the tables are printed, too.
    """
    from finn_vitprune.builds.story import page_of
    from finn_vitprune.builds.verdict import PAGE, verdict_of
    from finn_vitprune.cli.terminal import console_of_tables
    from finn_vitprune.files import write_text
    from finn_vitprune.report.build_verdict import refusals
    from finn_vitprune.report.builds import build_tables
    from finn_vitprune.report.summary import FILE, Summary
    from finn_vitprune.report.tables import show

    write_text(folder / PAGE, page_of(folder))
    verdict = verdict_of(folder)
    summary = Summary.load(folder) if (folder / FILE).is_file() else None
    no = [] if summary is None else refusals(summary)
    document = summary and summary.model_dump(mode="json", by_alias=True)
    if not answer({"folder": str(folder), "summary": document, "no": no, "verdict": verdict.as_dict()}):
        if full and summary is not None:
            show(build_tables(summary), console_of_tables())
        typer.echo(verdict)
    if no:
        raise typer.Exit(1)
