"""What long work tells while it runs: lasting lines, and a status that the next one replaces.

Work calls :func:`begin`, :func:`line` and :func:`status`; whoever starts it chooses with :func:`shown_by` where they are shown.
Lines go to the logger ``finn_vitprune`` as well.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

log = logging.getLogger("finn_vitprune")


class Progress:
    """A place that shows progress. This one, with which a program starts, shows nothing."""

    def line(self, text: str) -> None:
        """Show a line that stays."""

    def begin(self, text: str) -> None:
        """Show a line that says what is done from now on, up to the next such line, and the status where there is no other."""
        self.line(text)

    def status(self, text: str) -> None:
        """Show what is being done now and how far it is; the next status or line replaces it, an empty one says that it is over."""


class Pace:
    """How far work of equal parts is, and how long the rest takes at the pace so far."""

    def __init__(self, total: int, done: int = 0) -> None:
        """``done`` of ``total`` parts are there before the work begins."""
        self.total, self._before, self._started = total, done, time.monotonic()

    def at(self, done: int) -> str:
        """``37 of 120, about 5 min left``, when so many parts are done; without the time where nothing tells it."""
        here = done - self._before
        if here <= 0 or done >= self.total:
            return f"{done} of {self.total}"
        return f"{done} of {self.total}, about {duration((time.monotonic() - self._started) / here * (self.total - done))} left"


def duration(seconds: float) -> str:
    """A time in words of one unit, as ``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"


_stopped = False
_place: ContextVar[Progress] = ContextVar("place", default=Progress())


@contextmanager
def shown_by(place: Progress) -> Iterator[None]:
    """Show the progress of the work in this block in ``place``. Threads started in the block are not part of it."""
    token = _place.set(place)
    try:
        yield
    finally:
        _place.reset(token)


def place() -> Progress:
    """Where progress is shown now, for text that a log has already."""
    if _stopped:
        raise KeyboardInterrupt
    return _place.get()


def stop(*_: object) -> None:
    """Interrupt this process; a signal handler. Where a library swallows the exception, the next line or status raises it again."""
    global _stopped  # noqa: PLW0603 (a signal handler has no other place)
    _stopped = True
    raise KeyboardInterrupt


def line(text: str) -> None:
    """Log and show a line that stays."""
    log.info("%s", text)
    place().line(text)


def begin(text: str) -> None:
    """Log and show a line that says what is done from now on."""
    log.info("%s", text)
    place().begin(text)


def status(text: str) -> None:
    """Show what is being done now and how far it is."""
    place().status(text)
