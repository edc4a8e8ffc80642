"""The errors that the command line turns into a single line and an exit code."""

from __future__ import annotations

from importlib.util import find_spec


class UserError(Exception):
    """The user's input or set-up is wrong. The text names the thing, the value and what would work."""

    exit_code = 2


class AnswerIsNo(UserError):
    """Nothing is wrong with the input, but what was asked for does not hold: a check failed."""

    exit_code = 1


class DoesNotFit(AnswerIsNo):
    """The design needs more than the part has; the text says of what, and what would help."""


class TargetMissed(AnswerIsNo):
    """The design is slower than was asked for; the text says what it reaches."""


def describe(error: OSError | MemoryError) -> str:
    """One line for what the machine refused: the file, and why (a full disk, no permission, a folder that is gone)."""
    if isinstance(error, MemoryError):
        return "out of memory"
    reason = error.strerror or f"{error} (is the disk full?)"  # NumPy counts what it wrote and does not say why
    return f"{error.filename}: {reason}" if error.filename is not None else reason


NO_MEMORY = (
    "failed to map segment from shared object", "cannot allocate memory", "can't allocate memory", "bad_alloc", "bad allocation",
    "can't start new thread",
)  # fmt: skip
"""What libraries say, of which not all raise a MemoryError."""


def refused(error: BaseException) -> str | None:
    """One line for what the machine refused or lacks: files, memory, packages; ``None`` for any other error."""
    if isinstance(error, OSError | MemoryError):
        return describe(error)
    if isinstance(error, ModuleNotFoundError) and error.name and find_spec(package := error.name.partition(".")[0]) is None:
        return f"the Python package {package} is missing: make setup, or pip install . in the checkout, brings it"
    text = str(error)
    if isinstance(error, ImportError | RuntimeError) and any(said in text.lower() for said in NO_MEMORY):
        return f"out of memory ({text.splitlines()[0]}): free some, or raise the limit (ulimit -v)"
    return None
