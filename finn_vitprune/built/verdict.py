"""The verdict of a build folder."""

from __future__ import annotations

from pathlib import Path

from finn_vitprune.built.evaluation import evaluation_of
from finn_vitprune.built.record import facts_of
from finn_vitprune.report.build_verdict import build_verdict
from finn_vitprune.report.summary import FILE, Summary
from finn_vitprune.report.verdict import Verdict, VerdictLine

PAGE = "report.html"
"""The page that ``finn-vitprune build`` writes into a folder."""


def verdict_of(folder: str | Path) -> Verdict:
    """What a build came to: of its folder, or of a summary that was kept as a file; ``str()`` of it is at most 12 lines.

    Raises:
        UserError: there is no build, or something in it is not as the build wrote it.
    """
    path = Path(folder)
    facts = facts_of(path)
    page = str(path / PAGE) if (path / PAGE).is_file() else ""
    if facts and not (path / FILE).is_file():
        return stopped_verdict(path)
    return build_verdict(Summary.load(path), facts, evaluation_of(path), str(path), page)


def stopped_verdict(folder: Path) -> Verdict:
    """Of a build that did not come to its summary."""
    facts = facts_of(folder)
    lines = [VerdictLine(name, facts[name]) for name in ("part", "clock period", "written") if name in facts]
    stopped = f"Stopped before the summary{', ' + facts['stopped'] if 'stopped' in facts else ''}: nothing later is known."
    return Verdict(
        facts.get("model", folder.name),
        str(folder),
        (stopped,),
        (*lines, VerdictLine("estimates", str(folder / "report"))),
        next="the same command without --stop-step; it goes on where this one stopped",
    )
