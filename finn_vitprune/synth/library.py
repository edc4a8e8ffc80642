"""Yosys' library of UltraScale+ cells, without what every run pays for and no netlist needs.

``synth_xilinx`` reads the cells of all families and many of its passes look at each of them: 328 black boxes of which the maps of
UltraScale+ name four. It also works out the contents of block RAMs with constant functions, half a second for a RAM and a second in
a run without RAMs. A run with this library makes the netlist of a run with Yosys' own, contents of block RAMs aside. The cells of
``cells_sim.v`` stay, and the functions, which give one bit: both count up the numbers in names, and these decide ties.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from finn_vitprune import cache

_SPEC = find_spec("pyosys")
assert _SPEC is not None and _SPEC.origin is not None  # a dependency
OWN = Path(_SPEC.origin).parent / "share"
"""Yosys' own library, of all families."""
CELLS = "cells_xtra.v"
"""The file of black boxes."""
MAPS = ("arith_map.v", "brams_xcu_map.v", "cells_map.v", "ff_map.v", "lut_map.v", "lutrams_xc5v_map.v", "urams_map.v", "xcu_dsp_map.v")
"""What ``synth_xilinx -family xcup`` makes cells of UltraScale+ with."""
CONTENTS = "brams_defs.vh"
"""The file of the functions that work out the contents of block RAMs."""

_MODULE = re.compile(r"(?:^\(\*.*\*\)\n)*^module (\w+)(?:.*\n)*?endmodule\n", re.MULTILINE)
_BITS = re.compile(r"(?<=for \(i = 0; i < )\d+")
"""How many bits or bytes a function works out."""


def ultrascale_plus() -> Path:
    """The library, from the cache; it takes the place of :data:`OWN`."""

    def make(folder: Path) -> None:
        for path in OWN.glob("*.v"):
            shutil.copy(path, folder)
        shutil.copytree(OWN / "xilinx", folder / "xilinx")
        cells, contents = folder / "xilinx" / CELLS, folder / "xilinx" / CONTENTS
        named = {word for name in MAPS for word in re.findall(r"\w+", (folder / "xilinx" / name).read_text())}
        cells.write_text("".join(module[0] for module in _MODULE.finditer(cells.read_text()) if module[1] in named))
        contents.write_text(_BITS.sub("1", contents.read_text()))

    key = hashlib.sha256(version("pyosys").encode() + Path(__file__).read_bytes()).hexdigest()[:32]
    return cache.entry(f"yosys-library/{key}", make)
