"""Verilator back end: compile once per structure, run packed NumPy arrays at C++ speed."""

from finn_vitprune.sim.compile import Edge, Port, compile_top, stream_ports
from finn_vitprune.sim.run import Deadlock, EdgeState, SimResult, Simulator, Stimulus
from finn_vitprune.sim.toolchain import SimulationError

__all__ = [
    "Deadlock",
    "Edge",
    "EdgeState",
    "Port",
    "SimResult",
    "SimulationError",
    "Simulator",
    "Stimulus",
    "compile_top",
    "stream_ports",
]
