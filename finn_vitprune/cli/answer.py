"""What a command answers with ``--json``: one document, alone on standard output."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Annotated

import typer


@dataclass
class JsonAnswer:
    """The document, as soon as the command has it."""

    document: object = None


_answer: ContextVar[JsonAnswer | None] = ContextVar("answer", default=None)


def with_answer(command: Callable[..., None]) -> Callable[..., None]:
    """A command, which with ``--json`` has standard output for its answer alone."""

    @wraps(command)
    def called(**options: object) -> None:
        with _alone_on_stdout() if options.get("json_output") else nullcontext():
            command(**options)

    return called


@contextmanager
def _alone_on_stdout() -> Iterator[None]:
    """Print what :func:`answer` gets in this block at its end; what else the block prints goes to standard error.

    That holds for programs that are started in the block, too. After an error nothing is printed.
    """
    given = JsonAnswer()
    token = _answer.set(given)
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _answer.reset(token)
        sys.stderr.flush()
        os.dup2(kept, 1)
        os.close(kept)
        if given.document is not None:
            print(json.dumps(given.document, indent=2))


def answer(document: object) -> bool:
    """Take what the command answers, at its end. False where it was called without ``--json``: then it prints text."""
    given = _answer.get()
    if given is not None:
        given.document = document
    return given is not None


Json = Annotated[bool, typer.Option("--json", help="Prints JSON alone; progress and notes go to standard error.")]
"""The option ``json_output`` of commands that answer something (docs/command_line.md)."""

Full = Annotated[bool, typer.Option("--full", help="Prints all tables, too, not the verdict alone.")]
"""The option ``full`` of commands that end with a verdict."""
