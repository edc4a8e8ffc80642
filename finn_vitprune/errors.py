"""The errors that the command line turns into a single line and an exit code."""

from __future__ import annotations


class UserError(Exception):
    """The user's input or set-up is wrong. The text names the thing, the value and what would work."""

    exit_code = 2


class AnswerIsNo(UserError):
    """Nothing is wrong with the input, but what was asked for does not hold: a check failed."""

    exit_code = 1


class DoesNotFit(AnswerIsNo):
    """The design needs more than the part has; the text says of what, and what would help."""


def describe(error: OSError | MemoryError) -> str:
    """One line for what the machine refused: the file, and why (a full disk, no permission, a folder that is gone)."""
    if isinstance(error, MemoryError):
        return "out of memory"
    reason = error.strerror or f"{error} (is the disk full?)"  # NumPy counts what it wrote and does not say why
    return f"{error.filename}: {reason}" if error.filename is not None else reason
