"""What `build` prints when it is done."""

from __future__ import annotations

from pathlib import Path

import typer

from finn_vitprune.cli.answer import answer


def summary_stamp(folder: Path) -> int | None:
    """When the summary of a build folder was written; None without one."""
    from finn_vitprune.report.summary import FILE

    path = folder / FILE
    return path.stat().st_mtime_ns if path.is_file() else None


def show_build(folder: Path, full: bool, new: bool) -> None:
    """Write the page of a build and print its verdict.

    Exits with 1 if the answer is no: a mismatch, a part that is too small, a target out of reach.

    Args:
        full: whether the tables are printed, too. new: whether this build wrote the summary of the folder.
    """
    from finn_vitprune.builds.records.story import page_of
    from finn_vitprune.built.verdict import PAGE, stopped_verdict, verdict_of
    from finn_vitprune.cli.terminal import console_of_tables
    from finn_vitprune.files import write_text
    from finn_vitprune.report.build_verdict import refusals
    from finn_vitprune.report.builds import build_tables
    from finn_vitprune.report.summary import Summary
    from finn_vitprune.report.tables import show

    if not new:
        verdict = stopped_verdict(folder)
        if not answer({"folder": str(folder), "summary": None, "no": [], "verdict": verdict.as_dict()}):
            typer.echo(verdict)
        return
    write_text(folder / PAGE, page_of(folder))
    verdict, summary = verdict_of(folder), Summary.load(folder)
    no = refusals(summary)
    for line in no:
        typer.echo(line, err=True)
    if not answer(
        {"folder": str(folder), "summary": summary.model_dump(mode="json", by_alias=True), "no": no, "verdict": verdict.as_dict()}
    ):
        if full:
            show(build_tables(summary), console_of_tables())
        typer.echo(verdict)
    if no:
        raise typer.Exit(1)
