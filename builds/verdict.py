"""The verdict of a build folder."""

from __future__ import annotations

from pathlib import Path

from finn_vitprune.builds.evaluate import evaluation_of
from finn_vitprune.builds.record import facts_of
from finn_vitprune.errors import UserError
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
    if not (facts and not (path / FILE).is_file()):
        return build_verdict(Summary.load(path), facts, evaluation_of(path), str(path), page)
    if "stopped" not in facts:
        raise UserError(f"{path} holds no {FILE}: build again")
    lines = [VerdictLine(name, facts[name]) for name in ("part", "clock period", "written") if name in facts]
    return Verdict(
        facts.get("model", path.name), str(path), (f"Stopped {facts['stopped']}: nothing later is known.",), tuple(lines), page,
        "the same command, which goes on where it stopped",
    )  # fmt: skip
