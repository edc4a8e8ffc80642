"""Progress of a training run on the terminal and in its log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

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
    """The epochs of a run as progress: a status within them, a line after each; and a bar on a console."""

    def __init__(self, console: Console | None, epochs: int, done: float, steps: int) -> None:
        """``done`` of the run's ``epochs`` are over, each has ``steps``. ``console`` None draws no bar."""
        self._steps, self._step = steps, round(done * steps)
        self._pace = progress.Pace(epochs * steps, self._step)
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
        self._bar = self.add_task("train", total=epochs, completed=done, state="")
        self._epoch = ""

    def phase(self, name: str, epoch: int, epochs: int) -> None:
        """Say which epoch of which phase begins, from 1."""
        self._epoch = f"{name} epoch {epoch} of {epochs}"
        self.update(self._bar, description=name)

    def step(self, loss: float) -> None:
        """One optimiser step was done."""
        self._step += 1
        self.update(self._bar, advance=1 / self._steps, state=f"loss {loss:.3f}")
        progress.status(f"{self._epoch}: loss {loss:.3f}, step {self._pace.at(self._step)}")

    def epoch(self, state: str) -> None:
        """An epoch ended with these measurements."""
        self.update(self._bar, completed=round(self.tasks[self._bar].completed), state=state)
        progress.line(f"{self._epoch}: {state}")
