"""FINN's RTL sources as open tools read them: Verilator and slang keep to the standard where Vivado does not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from finn_vitprune.errors import UserError
from finn_vitprune.files import write_text

_FUNCTION = re.compile(r"[ \t]*typedef int unsigned  leaf_load_t.*?endfunction[^\n]*\n", re.DOTALL)


def hoisted(text: str) -> str:
    """FINN's ``add_multi.sv`` with the function ``init_leaf_loads`` before the generate block that holds it.

    A constant function may not be declared under a generate (IEEE 1800-2023, 13.4.3). Other texts come back as they are.
    """
    function, block = _FUNCTION.search(text), text.find("\tif(L < 1) begin")
    if function is None or not 0 <= block < function.start():
        return text
    return text[:block] + function[0] + text[block : function.start()] + text[function.end() :]


def _packed(text: str) -> str:
    """FINN's ``fifo.sv`` with the struct of its constant function packed, as Verilator asks for."""
    return re.sub(r"typedef struct (\{[^}]*\} abits_t;)", r"typedef struct packed \1", text)


def for_verilator(sources: Sequence[Path], folder: Path) -> list[Path]:
    """``sources`` in compile order, packages first; what Verilator takes only edited is written to ``folder``.

    Raises:
        UserError: a source is missing, is VHDL, or computes with ``shortreal``.
    """
    result = []
    for source in sorted(sources, key=lambda p: not p.stem.endswith("_pkg")):
        if source.suffix in (".vhd", ".vhdl"):
            raise UserError(f"simulation without Vivado takes no VHDL: {source}")
        try:
            text = source.read_text()
        except OSError as error:
            raise UserError(f"cannot read the RTL source {source}: {error.strerror}") from error
        if "$bitstoshortreal" in text or "$shortrealtobits" in text:
            raise UserError(
                f"{source.name} computes with shortreal, which Verilator takes for 64 bits: without Vivado, run this node "
                f"by its Python model (exec_mode cppsim)"
            )
        if (edited := _packed(hoisted(text))) != text:
            source = folder / source.name
            write_text(source, edited)
        result.append(source)
    return result
