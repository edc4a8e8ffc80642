"""Where the build steps' progress lines go: the program's console, or the log when FINN runs alone."""

from __future__ import annotations

import logging
from collections.abc import Callable

_sink: Callable[[str, bool], None] | None = None


def set_sink(sink: Callable[[str, bool], None] | None) -> None:
    """Send progress to ``sink(text, transient)``; None for the log."""
    global _sink
    _sink = sink


def tell(text: str, transient: bool = False) -> None:
    """Report progress; a transient line may be overwritten by the next."""
    if not transient:
        logging.getLogger("finn_vitprune").info(text)
    if _sink is not None:
        _sink(text, transient)
