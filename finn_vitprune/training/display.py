"""Progress of a training run on the terminal and in its log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from finn_vitprune import progress

log = logging.getLogger("finn_vitprune.training")


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Append what this program logs to ``path``."""
    handler = logging.FileHandler(path, mode="a")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    progress.log.addHandler(handler)
    progress.log.setLevel(logging.INFO)
    try:
        yield
    finally:
        progress.log.removeHandler(handler)
        handler.close()


class Display(Progress):
    """A bar over all epochs of the run with the time to go and the last measurements."""

    def __init__(self, console: Console | None, epochs: int, done: int, steps: int) -> None:
        """``console`` None draws nothing; ``steps`` per epoch let the bar move within one."""
        self._steps = steps
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
            console=console or Console(quiet=True),
        )
        self._epochs = self.add_task("train", total=epochs, completed=done, state="")

    def phase(self, name: str) -> None:
        """Name what is trained now."""
        self.update(self._epochs, description=name)

    def step(self, loss: float) -> None:
        """One optimiser step was done."""
        self.update(self._epochs, advance=1 / self._steps, state=f"loss {loss:.3f}")

    def epoch(self, state: str) -> None:
        """An epoch ended with these measurements."""
        task = self.tasks[self._epochs]
        self.update(self._epochs, completed=round(task.completed), state=state)
        log.info("%s epoch %d of %d: %s", task.description, round(task.completed), task.total, state)
