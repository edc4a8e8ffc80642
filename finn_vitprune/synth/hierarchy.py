"""Modules that repeat in a node: one stands for all equal instances and is mapped once.

Yosys elaborates a node to a module an instance and writes them as RTLIL text (``write_rtlil``). Instances with equal
parameters have equal text, once their paths, their places in sources and running numbers are left out. A node falls into
pieces: every different module of :data:`PARTS`, and what is around them. Modules of other names belong to the piece around.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

PARTS = frozenset(("vp_rom", "vp_mac_chain", "vp_mac_sum", "vp_mac_lut_output", "vp_attention_dot_pair"))
"""Modules that repeat in large units. What they give comes from registers or DSP slices: paths of logic end there, and
little is left to optimise across their borders. Not vp_ram: Yosys makes a shift register of the register after a RAM in
LUTs and of the delay that follows."""

TOP = "piece"
"""The top module of every piece."""

_CELL = re.compile(r"(  cell )(\\\S+)( .*)")
_PORT = re.compile(r"  wire .*\b(input|output|inout) \d+ ")
_PLACE = re.compile(r" *attribute \\(src|hdlname) ")
_NUMBER = re.compile(r"(?<=\w\$)\d+")


@dataclass(frozen=True)
class Piece:
    """RTLIL of a piece, its top :data:`TOP`; further parts in it are black boxes with the names of their pieces."""

    name: str
    text: str


@dataclass(frozen=True)
class _Module:
    """A module that stands for its equal instances: attributes, lines, and the modules that it instantiates."""

    attributes: tuple[str, ...]
    lines: tuple[str, ...]
    below: tuple[str, ...]

    def text(self, name: str) -> str:
        return "\n".join((*self.attributes, f"module {name}", *self.lines, "end\n"))

    def box(self, name: str) -> str:
        """The module as a black box."""
        ports = filter(_PORT.match, self.lines)
        return "\n".join(("attribute \\blackbox 1", f"module {name}", *ports, "end\n"))


def pieces(text: str, top: str) -> tuple[Piece, ...]:
    """The pieces of a node, what is inside of a part before it, what is around all parts last.

    Args:
        text: RTLIL of the elaborated node, a module an instance, named ``<module>$<path>``.
        top: the top module; it is no part.
    """
    root, modules = _merged(text, f"\\{top}")
    return tuple(Piece(name.removeprefix("\\"), _piece(name, modules)) for name in modules if name == root or _is_part(name))


def _is_part(name: str) -> bool:
    return name.removeprefix("\\").partition(".")[0] in PARTS


def _piece(root: str, modules: dict[str, _Module]) -> str:
    """RTLIL of the module ``root`` and of what is below it, as far as the next parts."""
    texts: dict[str, str] = {}

    def write(name: str) -> None:
        if name not in texts:
            inside = name == root or not _is_part(name)
            for below in modules[name].below if inside else ():
                write(below)
            texts[name] = modules[name].text(f"\\{TOP}" if name == root else name) if inside else modules[name].box(name)

    write(root)
    return "".join(texts.values())


def _merged(text: str, top: str) -> tuple[str, dict[str, _Module]]:
    """The top module, and one module for all equal instances, leaves first, named ``<module>.<digest of its text>``."""
    found = {name: (attributes, body) for name, attributes, body in _modules(text)}
    names: dict[str, str] = {}
    merged: dict[str, _Module] = {}

    def place(name: str) -> str:
        """The name of the module that stands for the instance ``name``; adds it if it is new."""
        if name not in names:
            attributes, body = found[name]
            cells = [_CELL.match(line) for line in body]
            below = {c[2]: place(c[2]) for c in cells if c and c[2] in found}
            lines = [f"{c[1]}{below[c[2]]}{c[3]}" if c and c[2] in below else line for c, line in zip(cells, body)]
            content = _renumbered("\n".join(lines))
            kind, path, _ = name.partition("$")
            digest = hashlib.sha256("\n".join((*attributes, content)).encode()).hexdigest()[:16]
            names[name] = f"{kind}.{digest}" if path else name
            merged[names[name]] = _Module(tuple(attributes), tuple(content.split("\n")), tuple(dict.fromkeys(below.values())))
        return names[name]

    return place(top), merged


def _renumbered(text: str) -> str:
    """``text`` with the running numbers of its names counted from 0."""
    numbers: dict[str, str] = {}
    return _NUMBER.sub(lambda match: numbers.setdefault(match[0], str(len(numbers))), text)


def _modules(text: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Name, attributes and lines of every module, without the places in sources."""
    attributes: list[str] = []
    lines = (line for line in text.splitlines() if not _PLACE.match(line))
    for line in lines:
        if line.startswith("attribute "):
            attributes.append(line)
        elif line.startswith("module "):
            yield line.removeprefix("module "), attributes, list(iter(lines.__next__, "end"))
            attributes = []
