"""Logical statements of the product's code, by room: ``python -m tests.statements [COMMIT]``.

Python: statements of the syntax tree without docstrings. SystemVerilog: semicolons outside comments. Tests do not count.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRODUCT = ("finn_vitprune", "transforms", "custom_ops", "builds")


def python_statements(text: str) -> int:
    """Statements of a Python file; a docstring is none."""
    nodes = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.stmt))
    return sum(not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant) and isinstance(n.value.value, str)) for n in nodes)


def verilog_statements(text: str) -> int:
    """Semicolons outside comments."""
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.S).count(";")


def _files(commit: str | None) -> Iterator[tuple[Path, str]]:
    """Tracked files of the working tree, or those of a commit."""
    if commit is None:
        listed = subprocess.run(["git", "ls-files", *PRODUCT], cwd=ROOT, check=True, capture_output=True, text=True)
        yield from ((Path(name), (ROOT / name).read_text()) for name in listed.stdout.splitlines() if Path(name).suffix in (".py", ".sv"))
        return
    archive = subprocess.run(["git", "archive", commit, *PRODUCT], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            if member.isfile() and Path(member.name).suffix in (".py", ".sv"):
                yield Path(member.name), tar.extractfile(member).read().decode()


def count(commit: str | None = None) -> Counter[str]:
    """Statements by room; ``commit`` None counts the tracked files of the working tree."""
    rooms: Counter[str] = Counter()
    for path, text in _files(commit):
        if path.suffix == ".sv":
            rooms["SystemVerilog"] += verilog_statements(text)
        else:
            deep = path.parts[0] == "finn_vitprune" or "experiments" in path.parts
            rooms["/".join(path.parts[: 2 if deep else 1])] += python_statements(text)
    return rooms


if __name__ == "__main__":
    rooms = count(*sys.argv[1:2])
    for room, statements in sorted(rooms.items()):
        print(f"{statements:6d}  {room}")
    print(f"{rooms.total():6d}  in all")
