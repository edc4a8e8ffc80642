"""Every module of the RTL with its own parameters, and designs, as Verilator's -Wall and slang's analysis of drivers see them.

``python -m tests.rtl_lint`` looks at all modules.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from finn_vitprune.custom_ops.op.rtl_sources import RTL_DIR, rtl_sources
from finn_vitprune.sim import toolchain
from finn_vitprune.sim.compile import SILENT
from tests.elaborated import READERS, elaborate

PRIMITIVE = ("DiagCode(UnknownModule)", ("DSP48E2",))
"""Synthesis tools bring it; simulators have a model of it."""
PACKAGE = "vp_pkg"
OF_SIMULATIONS = {"vp_mac_model": "VP_MAC_MODEL"}
"""Modules that are there with a macro alone."""
MODELS = {"vp_dsp48e2_model"}
"""A file with the model of the primitive, whose own parameters ask for what it does not do."""


def modules() -> list[str]:
    """The modules of the RTL, a file each."""
    return sorted({path.stem for path in RTL_DIR.rglob("*.sv")} - {PACKAGE} - MODELS)


def complaints_of(module: str) -> list[str]:
    """What the readers of the RTL have against a module with its own parameters."""
    more = (OF_SIMULATIONS[module],) if module in OF_SIMULATIONS else ()
    return complaints(module, rtl_sources(module), more)


def complaints(top: str, sources: Sequence[Path | str], macros: Sequence[str] = ()) -> list[str]:
    """What slang, as every reader, and Verilator have against ``top``; ``macros``: defined for all."""
    return [*(error for reader in READERS for error in driven_wrong(top, sources, reader, macros)), *warned(top, sources, macros)]


def driven_wrong(top: str, sources: Sequence[Path | str], reader: str, macros: Sequence[str] = ()) -> list[str]:
    """What slang has against ``top`` as ``reader`` reads it."""
    found = elaborate(top, sources, (*READERS[reader], *macros)).errors
    return [f"{top}, {reader}: {error.text}" for error in found if (error.code, error.args) != PRIMITIVE]


def warned(top: str, sources: Sequence[Path | str], macros: Sequence[str] = ()) -> list[str]:
    """What Verilator's -Wall has against ``top``, but for what simulators are compiled without."""
    paths = [str(Path(source).resolve()) for source in sources]
    quiet, defines = (f"-Wno-{word}" for word in SILENT), (f"-D{macro}" for macro in macros)
    options = ["--lint-only", "--no-timing", "-Wall", *quiet, *defines, "--top-module", top]
    with tempfile.TemporaryDirectory(prefix="vitprune-lint-") as folder:
        try:
            toolchain.run_verilator([*options, *paths], Path(folder))
        except toolchain.SimulationError as error:
            return [f"{top}, Verilator: {error}"]
    return []


def main() -> int:
    found = [complaint for module in modules() for complaint in complaints_of(module)]
    print("\n".join(found) or f"{len(modules())} modules of RTL: nothing found")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
