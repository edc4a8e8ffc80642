"""Modules that repeat in a node: one stands for all equal instances and is mapped once.

Yosys elaborates a node to a module an instance and writes them as RTLIL text (``write_rtlil``). Instances with equal
parameters have equal text, once their paths, their places in sources and running numbers are left out. The modules of :data:`PARTS` stay
apart when Yosys flattens the node; it dissolves modules of other names in their surroundings.
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

KEPT = "attribute \\keep_hierarchy 1"
"""What ``flatten`` leaves apart."""

_CELL = re.compile(r"(  cell )(\\\S+)( .*)")
_PLACE = re.compile(r" *attribute \\(src|hdlname) ")
_NUMBER = re.compile(r"(?<=\w\$)\d+")


@dataclass(frozen=True)
class _Module:
    """A module that stands for its equal instances: attributes and lines."""

    attributes: tuple[str, ...]
    lines: tuple[str, ...]

    def text(self, name: str) -> str:
        kept = (KEPT,) if _is_part(name) else ()
        return "\n".join((*dict.fromkeys((*self.attributes, *kept)), f"module {name}", *self.lines, "end\n"))


def merged(text: str, top: str) -> str:
    """RTLIL of a node with one module for all equal instances.

    Args:
        text: RTLIL of the elaborated node, a module an instance, named ``<module>$<path>``.
        top: the top module; it is no part.
    """
    return "".join(module.text(name) for name, module in _merged(text, f"\\{top}").items())


def _is_part(name: str) -> bool:
    return name.removeprefix("\\").partition(".")[0] in PARTS


def _merged(text: str, top: str) -> dict[str, _Module]:
    """One module for all equal instances, leaves first, named ``<module>.<digest of its text>``, and the top module last."""
    found = {name: (attributes, body) for name, attributes, body in _modules(text)}
    names: dict[str, str] = {}
    found_once: dict[str, _Module] = {}

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
            found_once[names[name]] = _Module(tuple(attributes), tuple(content.split("\n")))
        return names[name]

    place(top)
    return found_once


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
