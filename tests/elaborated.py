"""Sources as slang elaborates them: the top, its modules, and what it has against them, the drivers of variables included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyslang import Diagnostic, DiagnosticSeverity
from pyslang.analysis import AnalysisManager
from pyslang.ast import Compilation, InstanceSymbol, SymbolKind
from pyslang.driver import Driver

READERS = {
    "simulators": (), "Verilator": ("VERILATOR",), "synthesis": ("SYNTHESIS",), "Yosys": ("SYNTHESIS", "VP_YOSYS"),
}  # fmt: skip
"""Who reads the RTL, and the macros that each defines. Vivado's synthesis defines SYNTHESIS (UG901, Verilog Macros)."""


@dataclass(frozen=True)
class Complaint:
    """An error: slang's code of it, its arguments, and what it says, with file and line."""

    code: str
    args: tuple[object, ...]
    text: str


@dataclass(frozen=True)
class Elaborated:
    """A design, its errors, and the names of the modules of its instances."""

    top: InstanceSymbol
    errors: tuple[Complaint, ...]
    modules: frozenset[str]
    _keep: tuple[Driver, Compilation]


def elaborate(top: str, sources: Sequence[Path | str], macros: Sequence[str] = ()) -> Elaborated:
    """Elaborate ``top`` and analyse who drives its variables.

    A variable of ``always_ff``, ``always_comb`` or ``always_latch`` has no other process that writes it, not even an ``initial`` (IEEE
    1800-2017, 9.2.2.2 to 9.2.2.4). Elaboration alone does not look at that.

    Raises:
        ValueError: a source does not parse.
    """
    driver = _read(sources, macros, f"--top {top}")
    compilation = driver.createCompilation()
    found = list(compilation.getAllDiagnostics())
    compilation.freeze()
    analysis = AnalysisManager(driver.analysisOptions)
    analysis.analyze(compilation)
    errors = [_complaint(driver, d) for d in (*found, *analysis.getDiagnostics()) if _is_error(driver, d)]
    (symbol,) = compilation.getRoot().topInstances
    names = frozenset(instance.definition.name for instance in _instances(symbol))
    return Elaborated(symbol, tuple(errors), names, (driver, compilation))


def declared(sources: Sequence[Path | str], macros: Sequence[str] = ()) -> frozenset[str]:
    """The modules that are in these files for a reader that defines ``macros``.

    Raises:
        ValueError: a source does not parse.
    """
    driver = _read(sources, macros)
    compilation = driver.createCompilation()
    return frozenset(symbol.name for symbol in compilation.getDefinitions())


EARLY = "--allow-use-before-declare"
"""Names may come before their declarations, as Verilator and Yosys have it: ``free`` of ``vp_mvau`` does."""


def _read(sources: Sequence[Path | str], macros: Sequence[str], options: str = "") -> Driver:
    driver = Driver()
    driver.addStandardArgs()
    files, defines = " ".join(f'"{source}"' for source in sources), " ".join(f"-D{macro}" for macro in macros)
    if not (driver.parseCommandLine(f"slang {EARLY} {files} {defines} {options}") and driver.processOptions() and driver.parseAllSources()):
        raise ValueError(f"slang does not read {sources[-1]} and what it is made of")
    return driver


def _is_error(driver: Driver, found: Diagnostic) -> bool:
    return driver.diagEngine.getSeverity(found.code, found.location) in (DiagnosticSeverity.Error, DiagnosticSeverity.Fatal)


def _complaint(driver: Driver, found: Diagnostic) -> Complaint:
    place = f"{Path(driver.sourceManager.getFileName(found.location)).name}:{driver.sourceManager.getLineNumber(found.location)}"
    return Complaint(str(found.code), tuple(found.args), f"{place}: {driver.diagEngine.formatMessage(found)}")


def _instances(top: InstanceSymbol) -> Iterator[InstanceSymbol]:
    """``top`` and all instances below it, those in generate blocks included."""
    found: list[InstanceSymbol] = []
    top.visit(lambda symbol: found.append(symbol) if getattr(symbol, "kind", None) == SymbolKind.Instance else None)
    return iter(found)
