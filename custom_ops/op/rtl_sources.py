"""The SystemVerilog files of ``rtl/``: where one is, and which ones a module is made of."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

RTL_DIR = Path(__file__).parents[1]

# Comments and texts, in which a module's name means nothing.
_PROSE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:[^"\\\n]|\\.)*"', re.DOTALL)
_DECLARATION = re.compile(r"^\s*(?:module|package|interface)\s+(\w+)", re.MULTILINE)


def rtl_source(name: str) -> Path:
    """The SystemVerilog file of this project with this bare name, from whichever folder of ``rtl/`` holds it."""
    return next(RTL_DIR.rglob(name))


def rtl_sources(top: str) -> tuple[Path, ...]:
    """Files of the module ``top`` and of all modules and packages below it, in compile order: ``top`` last.

    What stands in branches of a generate is supported whether or not a node elaborates it.

    Raises:
        KeyError: no file of the project declares ``top``.
    """
    return _sources(RTL_DIR, top)


@cache
def _sources(folder: Path, top: str) -> tuple[Path, ...]:
    path, below = _modules(folder)[top]
    # A dictionary keeps the first, which is the deepest, place of a file.
    return (*dict.fromkeys(file for name in below for file in _sources(folder, name)), path)


@cache
def _modules(folder: Path) -> dict[str, tuple[Path, tuple[str, ...]]]:
    """By what a file declares: the file, and the names of the project that it uses, in order of first use."""
    texts = {path: _PROSE.sub(" ", path.read_text()) for path in sorted(folder.rglob("*.sv"))}
    declared = {name: path for path, text in texts.items() for name in _DECLARATION.findall(text)}
    words = {path: dict.fromkeys(re.findall(r"\w+", text)) for path, text in texts.items()}
    return {name: (path, tuple(word for word in words[path] if declared.get(word, path) != path)) for name, path in declared.items()}
