"""What long work tells while it runs: lasting lines, and a status that the next one replaces.

Work calls :func:`line` and :func:`status`; whoever starts it chooses with :func:`shown_by` where they are shown.
Lines go to the logger ``finn_vitprune`` as well.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

log = logging.getLogger("finn_vitprune")


class Progress:
    """A place that shows progress. This one, with which a program starts, shows nothing."""

    def line(self, text: str) -> None:
        """Show a line that stays."""

    def status(self, text: str) -> None:
        """Show what is being done now and how far it is; the next status or line replaces it."""


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
    global _stopped
    _stopped = True
    raise KeyboardInterrupt


def line(text: str) -> None:
    """Log and show a line that stays."""
    log.info("%s", text)
    place().line(text)


def status(text: str) -> None:
    """Show what is being done now and how far it is."""
    place().status(text)
