"""What each part of the suite takes: ``python -m tests.minutes build/tests.xml`` prints a table of a run of ``make test``.

A part is a folder of the tests. Minutes are of a processor, children included, so that other jobs on the machine hardly count; on two idle cores a
run takes about half of their sum.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree


def part_of(module: str) -> str:
    """The part that a test module belongs to: ``tests.cli.test_cli`` is of ``cli``."""
    return module.split(".")[1]


def seconds_of(results: Path) -> dict[str, float]:
    """The processor's seconds of each module, fixtures included, as tests/conftest.py leaves them in pytest's JUnit file."""
    seconds: dict[str, float] = defaultdict(float)
    for case in ElementTree.parse(results).iter("testcase"):
        module = re.sub(r"\.[A-Z]\w*$", "", case.get("classname", ""))
        seconds[module] += sum(float(p.get("value", 0)) for p in case.iter("property") if p.get("name") == "processor_s")
    return dict(seconds)


def table(seconds: dict[str, float]) -> str:
    """Markdown: parts with their minutes and longest modules, the longest first."""
    parts: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for module, taken in seconds.items():
        parts[part_of(module)].append((taken, module.removeprefix("tests.")))
    lines = ["| part | processor minutes | longest |", "|--|--:|--|"]
    for part, modules in sorted(parts.items(), key=lambda row: -sum(taken for taken, _ in row[1])):
        longest = ", ".join(f"`{name}` {taken / 60:.1f}" for taken, name in sorted(modules, reverse=True)[:3])
        lines.append(f"| {part} | {sum(taken for taken, _ in modules) / 60:.1f} | {longest} |")
    return "\n".join([*lines, f"| all | {sum(seconds.values()) / 60:.1f} | |"])


if __name__ == "__main__":
    print(table(seconds_of(Path(sys.argv[1]))))
