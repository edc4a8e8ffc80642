"""Progress of long work on the terminal, and how wide tables are there."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from typing import TYPE_CHECKING

from finn_vitprune import progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

WIDTH = 150
"""Columns of tables where the output is not a terminal and ``COLUMNS`` does not say how wide it is."""
SILENCE_S = 60.0
"""Seconds without a line after which the status is printed where the output is not a terminal."""


class TerminalProgress(progress.Progress):
    """Lines with the time so far, above a status line.

    Where the output is not a terminal, the status is a line of its own, after every :data:`SILENCE_S` without a line.
    """

    def __init__(self, console: Console, status: Status) -> None:
        self._console, self._status, self._started = console, status, time.monotonic()
        self._said, self._begun, self._now = self._started, "", ""
        self._printing, self._over = threading.RLock(), threading.Event()

    def line(self, text: str) -> None:
        """Print ``text``; the status is what was begun."""
        with self._printing:
            self._said = time.monotonic()
            self.status("")
            self._console.print(
                f"[{self._said - self._started:7.1f} s] {text}", markup=False, highlight=False, soft_wrap=not self._console.is_terminal
            )

    def begin(self, text: str) -> None:
        """Print ``text``, which is the status too, where no other is said."""
        self._begun = text
        self.line(text)

    def status(self, text: str) -> None:
        """Replace the status; an empty one is what was begun."""
        from rich.text import Text

        self._now = text or self._begun
        if self._console.is_terminal:
            self._status.update(Text(self._now))

    @contextmanager
    def never_silent(self) -> Iterator[None]:
        """Print the status in this block when nothing else is said for long."""
        beat = threading.Thread(target=self._beat, args=(SILENCE_S,), daemon=True)
        if not (self._console.is_terminal or self._console.quiet):
            beat.start()
        try:
            yield
        finally:
            self._over.set()
            if beat.ident is not None:
                beat.join()

    def _beat(self, silence_s: float) -> None:
        with suppress(OSError):  # nobody reads any more, which the work will notice at its next line
            while not self._over.wait(max(0.0, self._said + silence_s - time.monotonic())):
                with self._printing:
                    if time.monotonic() - self._said >= silence_s:
                        now = self._now
                        self.line(f"still {now}" if now else "still at work")
                        self._now = now


class Shown(Enum):
    """How much progress is shown: all of it, lines without a moving status, or none."""

    ALL = "all"
    LINES = "lines"
    NOTHING = "nothing"


_shown = Shown.ALL


def show_progress(shown: Shown) -> None:
    """Say how much progress this program shows from now on."""
    global _shown
    _shown = shown


def progress_console() -> Console:
    """Today's standard output for progress, whatever replaces it later."""
    from rich.console import Console

    return Console(file=sys.stdout, quiet=_shown is Shown.NOTHING, force_terminal=False if _shown is Shown.LINES else None)


@contextmanager
def progress_lines() -> Iterator[None]:
    """Show the progress of the work in this block."""
    console = progress_console()
    with console.status("") as status:
        place = TerminalProgress(console, status)
        with place.never_silent(), progress.shown_by(place):
            yield


def console_of_tables() -> Console:
    """Standard output for wide tables: as wide as the terminal, or wide enough for a file that their numbers stay whole."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=WIDTH)
