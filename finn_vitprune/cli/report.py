"""``finn-vitprune report``: the summary of one build, or two builds side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from finn_vitprune.cli.answer import Json, answer

EXAMPLE = "finn-vitprune report build/dense build/pruned --html compare.html"


def command(
    build_dirs: Annotated[list[Path], typer.Argument(metavar="DIR [DIR]", help="One or two build folders, or summaries kept as files.")],
    html: Annotated[Optional[Path], typer.Option(help="Also write one self-contained page, of one build with its pictures.")] = None,
    nodes: Annotated[bool, typer.Option("--nodes", help="Show cycles, memories and resources by node too.")] = False,
    json_output: Json = False,
) -> None:
    """Print the summary of a build; of two builds, both with the ratio second / first."""
    from finn_vitprune.builds.evaluate import evaluation_of
    from finn_vitprune.builds.record import facts_of
    from finn_vitprune.cli.terminal import console_of_tables
    from finn_vitprune.errors import UserError
    from finn_vitprune.report.accuracy import card_table
    from finn_vitprune.files import write_text
    from finn_vitprune.report.builds import build_tables
    from finn_vitprune.report.compare import comparison, differences, facts_compared
    from finn_vitprune.report.page import build_page, pair_page, stopped_text
    from finn_vitprune.report.summary import FILE, Summary
    from finn_vitprune.report.tables import TextTable, show

    if len(build_dirs) > 2:
        raise UserError(f"report takes one or two folders, not {len(build_dirs)}")
    facts, evaluations = [facts_of(folder) for folder in build_dirs], [evaluation_of(folder) for folder in build_dirs]
    if len(build_dirs) == 1 and facts[0] and not (build_dirs[0] / FILE).is_file():
        summaries = []
        tables = [TextTable("A build that did not come to its summary", ("", ""), tuple(facts[0].items()))]
    elif len(summaries := [Summary.load(d) for d in build_dirs]) == 1:
        tables = [card_table(summaries[0].model, evaluations[0]), *build_tables(summaries[0], nodes=nodes)]
    else:
        names = _names(build_dirs[0], build_dirs[1])
        tables = [*comparison(names, *summaries), *facts_compared(names, *facts), *(differences(names, *summaries) if nodes else ())]
    builds = [s.model_dump(mode="json", by_alias=True) for s in summaries]
    found = [evaluation and evaluation.model_dump(mode="json", exclude_none=True) for evaluation in evaluations]
    if not answer({"folders": list(map(str, build_dirs)), "summaries": builds, "facts": facts, "evaluations": found}):
        for folder, known in zip(build_dirs, facts):
            if text := stopped_text(known):
                typer.echo(f"{folder}: {text}\n")
        show(tables, console_of_tables())
    if html is not None:
        from finn_vitprune.builds.story import story_of

        title, stories = "finn-vitprune: " + " and ".join(map(str, build_dirs)), tuple(map(story_of, build_dirs))
        if len(build_dirs) == 1:
            page = build_page(title, summaries[0] if summaries else None, stories[0])
        else:
            page = pair_page(title, names, tuple(summaries), stories)
        write_text(html, page)
        typer.echo(f"written: {html}")


def _names(a: Path, b: Path) -> tuple[str, str]:
    """Column heads: the last component of each path, or the whole paths where these are equal."""
    short = (a.resolve().name, b.resolve().name)
    return short if short[0] != short[1] else (str(a), str(b))
