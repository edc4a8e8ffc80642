"""Verilator back end: compile once per structure, run packed NumPy arrays at C++ speed."""

from finn_vitprune.sim.compile import compile_top, find_ports
from finn_vitprune.sim.ports import BusPort, ChainPort, LoadPort, Port, Probe
from finn_vitprune.sim.run import Deadlock, EdgeState, LoadState, SimResult, Simulator, Stimulus
from finn_vitprune.sim.toolchain import SimulationError

__all__ = [
    "BusPort",
    "ChainPort",
    "Deadlock",
    "EdgeState",
    "LoadPort",
    "LoadState",
    "Port",
    "Probe",
    "SimResult",
    "SimulationError",
    "Simulator",
    "Stimulus",
    "compile_top",
    "find_ports",
]
