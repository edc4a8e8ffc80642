"""Runs a program that synthesises or routes, and says why it failed."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from finn_vitprune.processes import ProcessGroup, fault


def failure(name: str, command: Sequence[str], log: Path, timeout_s: float, since: float | None = None) -> str | None:
    """Run a program in the folder of its log.

    Args:
        timeout_s: seconds that it may take. since: ``time.monotonic()`` from which they count, if not from now.
    Returns:
        Why it failed, by its ``name``; None where it did not.
    """
    with log.open("wb") as out, ProcessGroup() as group:
        process = group.start(command, cwd=log.parent, stdout=out, stderr=subprocess.STDOUT)
        try:
            code = process.wait(timeout_s if since is None else max(0.0, since + timeout_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            return f"{name} took longer than {timeout_s:g} s"
    if code == 0:
        return None
    text = log.read_text(errors="replace")
    return fault(code, text) or first_error(text) or f"exit code {code} of {name}"


def first_error(text: str) -> str | None:
    """The first message of slang (``file:line: ERROR: ...``) or else of Yosys or nextpnr (``ERROR: ...``)."""
    lines = text.splitlines()
    for line in lines:
        if match := re.match(r"(.+):(\d+): (?:ERROR|error): (.*)", line):
            return f"{Path(match[1]).name}:{match[2]}: {match[3]}"
    return next((line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")), None)
