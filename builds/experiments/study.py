"""A question asked of many settings: a row of figures for each, kept in a file, and a page made of the rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import typer
from matplotlib.figure import Figure
from pydantic import TypeAdapter

from finn_vitprune import jobs
from finn_vitprune.custom_ops.op.rtl_sources import RTL_DIR
from finn_vitprune.errors import UserError
from finn_vitprune.files import whole_file, write_json, write_text
from finn_vitprune.report.tables import TextTable, to_markdown
from finn_vitprune.sim.toolchain import digest

S, R = TypeVar("S"), TypeVar("R")

ROWS, PAGE = "results.json", "RESULTS.md"
Output = Annotated[Path, typer.Option("--output", "-o", help=f"Folder of {ROWS} and {PAGE}.")]
Only = Annotated[list[str] | None, typer.Option(help="Only settings whose name has this text; may be repeated.")]
Jobs = Annotated[int, typer.Option(min=0, help="Settings at a time, each in a process; 0: one, in this process.")]


@dataclass(frozen=True)
class Study(Generic[S, R]):
    """A question asked of many settings.

    Attributes:
        settings: by name, in the order of the page. row: the type of their rows, a dataclass.
        run: makes the row of a setting; a function of a module where several run at a time.
        table: tables of rows by name; the page leaves out those without rows.
        title, text: of the page; ``{known}`` in the text is how many settings have a row, ``{settings}`` how many there are.
        said: a row in a few words, for who waits.
        holds: whether a row of an earlier run still answers its setting; those that do not are neither kept nor shown.
        failures: errors that leave a setting without a row; others end the run.
        plots: pictures beside the page, by the names of their files (PNG).
    """

    settings: Mapping[str, S]
    row: type[R]
    run: Callable[[S], R]
    table: Callable[[Mapping[str, R]], Iterable[TextTable]]
    title: str
    text: str
    said: Callable[[R], str]
    holds: Callable[[S, R], bool] = lambda setting, row: True
    failures: tuple[type[Exception], ...] = ()
    plots: Mapping[str, Callable[[Mapping[str, R]], Figure]] = field(default_factory=dict)

    def go(self, folder: Path, only: Iterable[str] | None = None, workers: int = 0) -> dict[str, R]:
        """Make the rows that ``folder`` lacks, and write rows, page and plots after each.

        Args:
            only: parts of names, to make rows of these settings alone.
        Returns:
            All rows that are known, by name, in the order of the settings.
        Raises:
            UserError: ``only`` fits no setting.
        """
        wanted = [name for name in self.settings if any(text in name for text in only or [""])]
        if not wanted:
            raise UserError(f"no setting has {' or '.join(only)} in its name: there are {'; '.join(self.settings)}")
        rows = self.known(folder)
        todo = [(name, self.settings[name]) for name in wanted if name not in rows]
        with closing(jobs.outcomes(partial(_run, self.run), todo, workers, itemgetter(0))) as outcomes:
            for number, outcome in enumerate(outcomes, start=1):
                name, _ = outcome.job
                if outcome.error is None:
                    rows[name] = outcome.result
                    self.write(folder, rows)
                elif not isinstance(outcome.error, self.failures):
                    raise outcome.error
                print(f"[{number} of {len(todo)}] {name}: {outcome.error or self.said(rows[name])}", flush=True)
        return self.write(folder, rows)

    def known(self, folder: Path) -> dict[str, R]:
        """The rows in a folder that hold, by name."""
        path = folder / ROWS
        rows = self._rows.validate_json(path.read_bytes()) if path.is_file() else {}
        return {name: rows[name] for name, setting in self.settings.items() if name in rows and self.holds(setting, rows[name])}

    def write(self, folder: Path, rows: Mapping[str, R]) -> dict[str, R]:
        """Write rows, page and plots; returns the rows in the order of the settings."""
        rows = {name: rows[name] for name in self.settings if name in rows}
        write_json(folder / ROWS, self._rows.dump_python(rows, mode="json"), indent=1)
        for name, draw in self.plots.items():
            with whole_file(folder / name) as partial:
                draw(rows).savefig(partial, format="png", dpi=150)
        write_text(folder / PAGE, self.page(rows))
        return rows

    def page(self, rows: Mapping[str, R]) -> str:
        """The page as Markdown."""
        text = self.text.format(known=len(rows), settings=len(self.settings))
        return to_markdown(self.title, text, [table for table in self.table(rows) if table.rows])

    @property
    def _rows(self) -> TypeAdapter:
        return TypeAdapter(dict[str, self.row])


def start(program: Callable[[], None]) -> None:
    """Run a program of this folder; wrong input is one line, with exit code 2, and an answer of no with 1."""
    try:
        program()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


def _run(run: Callable[[S], R], named: tuple[str, S]) -> R:
    """A call for a named setting, in any process."""
    return run(named[1])


def rtl_digest() -> str:
    """Digest of all RTL sources: rows of other RTL are not shown beside those of this one."""
    return digest(*(path.read_bytes() for path in sorted(RTL_DIR.rglob("*.sv"))))
