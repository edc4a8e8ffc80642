"""Counts the errors of mypy by package, beside those that are known: ``python -m tests.type_errors``.

``type_errors.json`` says how many errors each package or module has left; what it does not name has none. A number may
only fall. One that fell is written with ``--write``.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
KNOWN = Path(__file__).with_suffix(".json")
ERROR = re.compile(r"(?P<path>[^:\n]+)\.py:\d+: error: ")


def found() -> list[str]:
    """The errors of mypy, a line each.

    Raises:
        RuntimeError: mypy did not get as far as to check types.
    """
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stdout + done.stderr)
    return [line for line in done.stdout.splitlines() if ERROR.match(line)]


def home(error: str, places: Iterable[str]) -> str:
    """The package or module that an error counts for: the closest of ``places``, or its own module."""
    match = ERROR.match(error)
    assert match, error
    module = match["path"].replace("/", ".").removesuffix(".__init__")
    return max((place for place in places if f"{module}.".startswith(f"{place}.")), key=len, default=module)


def compared(errors: list[str], known: dict[str, int]) -> list[str]:
    """What differs from the known numbers, a line each, after the errors of every place that has more than it had."""
    counts = Counter(home(error, known) for error in errors)
    lines = []
    for place in sorted({*counts, *known}):
        was, now = known.get(place, 0), counts[place]
        if now > was:
            lines += [*(error for error in errors if home(error, known) == place), f"{place}: {now} errors, {was} are known"]
        elif now < was:
            lines.append(f"{place}: {now} errors, {was} are known: python -m tests.type_errors --write")
    return lines


def lowered(errors: list[str], known: dict[str, int]) -> dict[str, int]:
    """The known numbers, lower where fewer are left."""
    counts = Counter(home(error, known) for error in errors)
    left = {place: min(was, counts[place]) for place, was in known.items()}
    return {place: left[place] for place in sorted(left) if left[place]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the numbers that fell")
    write = parser.parse_args().write
    known = json.loads(KNOWN.read_text())
    errors = found()
    if write:
        known = lowered(errors, known)
        KNOWN.write_text(json.dumps(known, indent=1) + "\n")
    lines = compared(errors, known)
    print("\n".join([*lines, f"{len(errors)} errors of mypy, {sum(known.values())} are known"]))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
