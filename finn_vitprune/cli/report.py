"""``finn-vitprune report``: the summary of one build, or two builds side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from finn_vitprune.cli.answer import Full, Json, answer

EXAMPLE = "finn-vitprune report build/dense build/pruned --html compare.html"


def command(
    build_dirs: Annotated[
        list[Path], typer.Argument(metavar="DIR [DIR]", help="One or two folders of builds, or summaries that were kept as files.")
    ],
    html: Annotated[Path | None, typer.Option(help="Writes one self-contained page, too, of one build or of both.")] = None,
    full: Full = False,
    nodes: Annotated[bool, typer.Option("--nodes", help="Prints all tables, and those with a row a node.")] = False,
    json_output: Json = False,
) -> None:
    """Print the verdict on a build; of two builds, both with the ratio second / first."""
    from finn_vitprune.built.evaluation import evaluation_of
    from finn_vitprune.built.record import facts_of
    from finn_vitprune.built.verdict import verdict_of
    from finn_vitprune.cli.terminal import console_of_tables
    from finn_vitprune.errors import UserError
    from finn_vitprune.files import write_text
    from finn_vitprune.report.accuracy import card_table
    from finn_vitprune.report.builds import build_tables
    from finn_vitprune.report.compare import comparison, differences, facts_compared, pair_verdict, short_names
    from finn_vitprune.report.summary import FILE, Summary
    from finn_vitprune.report.tables import TextTable, show

    if len(build_dirs) > 2:
        raise UserError(f"report takes one or two folders, not {len(build_dirs)}")
    facts, evaluations = [facts_of(folder) for folder in build_dirs], [evaluation_of(folder) for folder in build_dirs]
    if len(build_dirs) == 1 and facts[0] and not (build_dirs[0] / FILE).is_file():
        summaries, verdict = [], verdict_of(build_dirs[0])
        tables = [TextTable("A build that did not come to its summary", ("", ""), tuple(facts[0].items()))]
    elif len(summaries := [Summary.load(d) for d in build_dirs]) == 1:
        verdict = verdict_of(build_dirs[0])
        tables = [card_table(summaries[0].model, evaluations[0]), *build_tables(summaries[0], nodes=nodes)]
    else:
        names = short_names(build_dirs[0], build_dirs[1])
        verdict = pair_verdict(names, *summaries, page=str(html or ""))
        tables = [*comparison(names, *summaries), *facts_compared(names, *facts), *(differences(names, *summaries) if nodes else ())]
    if html is not None:
        from finn_vitprune.builds.records.story import page_of  # loads FINN

        write_text(html, page_of(*build_dirs))
        verdict = replace(verdict, page=str(html))
    builds = [s.model_dump(mode="json", by_alias=True) for s in summaries]
    found = [evaluation and evaluation.model_dump(mode="json", exclude_none=True) for evaluation in evaluations]
    document = {
        "folders": list(map(str, build_dirs)),
        "summaries": builds,
        "facts": facts,
        "evaluations": found,
        "verdict": verdict.as_dict(),
    }
    if not answer(document):
        if full or nodes:
            show(tables, console_of_tables())
        typer.echo(verdict)
