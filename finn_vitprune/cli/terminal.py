"""Progress of long work on the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from finn_vitprune import progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status


class TerminalProgress(progress.Progress):
    """Lines with the time so far, above a status line. Where the output is not a terminal, the status is left out."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console, self._status, self._started = console, status, time.monotonic()

    def line(self, text: str) -> None:
        """Print ``text`` and clear the status."""
        self._status.update("")
        self._console.print(f"[{time.monotonic() - self._started:7.1f} s] {text}", markup=False, highlight=False)

    def status(self, text: str) -> None:
        """Replace the status."""
        self._status.update(text)


@contextmanager
def progress_lines() -> Iterator[None]:
    """Show the progress of the work in this block on today's standard output, whatever replaces it meanwhile."""
    from rich.console import Console

    console = Console(file=sys.stdout)
    with console.status("") as status, progress.shown_by(TerminalProgress(console, status)):
        yield
