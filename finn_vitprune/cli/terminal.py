"""Progress of long work on the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_lines() -> Iterator[Callable[[str, bool], None]]:
    """A sink ``(text, transient)``: lasting lines with the time so far, transient ones in a status line.

    Where the output is no terminal, transient lines are left out. The console keeps today's standard output,
    since FINN's builder replaces ``sys.stdout`` while it runs.
    """
    from rich.console import Console

    console = Console(file=sys.stdout)
    started = time.monotonic()
    with console.status("") as status:

        def sink(text: str, transient: bool) -> None:
            if transient:
                status.update(text)
            else:
                status.update("")
                console.print(f"[{time.monotonic() - started:7.1f} s] {text}", markup=False, highlight=False)

        yield sink
