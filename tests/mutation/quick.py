"""Compiles a simulator for a few short runs: :func:`finn_vitprune.sim.compile_top` without cache, lint and optimisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finn_vitprune.sim import LoadPort, Port, SimResult, Simulator, binding, toolchain
from finn_vitprune.sim import compile as sim_compile

MOST_CYCLES = 2_000_000
"""Of a run: a mutant that gives beats without end stands still for nobody."""


class Bounded(Simulator):
    """A simulator of which every run ends."""

    def run(self, *args, **options) -> SimResult:
        return super().run(*args, **{"max_cycles": MOST_CYCLES} | options)


@dataclass(frozen=True)
class Code:
    """C++ that Verilator made, in ``folder``; equal ``digest``, equal behaviour."""

    folder: Path
    digest: str

    def compile(self, inputs: Sequence[Port], outputs: Sequence[Port], loads: Sequence[LoadPort] = ()) -> Simulator:
        """The simulator of a top with these ports; it lives as long as the folder.

        Raises:
            SimulationError: the C++ compiler rejects the code.
        """
        bound = binding.Binding(self.folder, "dut")
        bound.ports(sim_compile.CLOCK, sim_compile.RESET, inputs, outputs, loads)
        objects = sim_compile._compile(self.folder, bound.text(binding.DESIGN_HEAD), sim_compile._in_one)
        toolchain.link([*objects, *toolchain.runtime_objects()], self.folder / "sim")
        return Bounded(self.folder / "sim", tuple(inputs), tuple(outputs), loads=tuple(loads))


def translate(sources: Sequence[Path | str], folder: Path) -> Code:
    """Verilate ``sources``, the top last, into the empty ``folder``.

    Raises:
        SimulationError: Verilator rejects them.
    """
    files = sim_compile._distinct(sources)
    generated = sim_compile._verilate(folder, Path(sources[-1]).stem, files, (), lint=False)
    made = sorted(p for p in generated.iterdir() if p.suffix in (".cpp", ".h"))
    return Code(generated, toolchain.digest(*(part for p in made for part in (p.name, p.read_bytes()))))
