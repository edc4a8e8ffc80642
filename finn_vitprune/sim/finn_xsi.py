"""FINN's RTL simulation interface (the names of ``finn.xsi``) on top of the Verilator back end.

With these in place of Vivado's, FINN's own ``prepare_rtlsim``, ``exec_mode="rtlsim"`` and
``execute_onnx`` on stitched designs run unchanged. A simulation is stateless between data passes:
every :func:`rtlsim_multi_io` starts from reset.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from finn.util.exception import FINNUserError
from finn.util.logging import log

from finn_vitprune import cache
from finn_vitprune.errors import UserError
from finn_vitprune.files import write_json
from finn_vitprune.sim.beats import from_words, to_words
from finn_vitprune.sim.compile import compile_top, find_ports
from finn_vitprune.sim.contents import CONTENTS, INDEX, Contents
from finn_vitprune.sim.finn_sources import for_verilator
from finn_vitprune.sim.loads import loads
from finn_vitprune.sim.ports import BusPort, ChainPort, Port
from finn_vitprune.sim.run import Simulator
from finn_vitprune.sim.toolchain import SimulationError

HOP, LOAD_PORT = "vp_load_hop.sv", "vp_load_port.sv"
"""Sources of what holds nothing before it is loaded; AXI4-Lite ports of FINN's units may stay idle."""


@dataclass
class SimEngine:
    """A loaded simulation, as FINN's code passes it around.

    Attributes:
        simulator: the compiled design.
        folder: its working folder, which holds the ROM files.
        loads: what goes through its ports after each reset.
        fill: whether memories need no load: the design is a load port alone, which opens by itself.
        closed: whether :meth:`close` was called.
    """

    simulator: Simulator
    folder: Path
    loads: Mapping[str, np.ndarray]
    fill: bool
    closed: bool = False

    def is_open(self) -> bool:
        """Whether :meth:`close` was not called yet."""
        return not self.closed

    def close(self) -> None:
        """End the simulation; there is nothing to flush."""
        self.closed = True


def locate_glbl() -> Path | None:
    """Vivado's ``glbl.v``, which Verilator needs not."""
    return None


def get_simkernel_so() -> str:
    """Name of Vivado's simulation kernel; there is none here, and :func:`load_sim_obj` ignores it."""
    return ""


def compile_sim_obj(
    top_module_name: str,
    source_list: Iterable[str | Path],
    sim_out_dir: Path | str,
    debug: bool = False,
    behav: bool = False,
    fifosim: bool = False,
) -> tuple[Path, Path]:
    """Compile ``top_module_name`` and describe it in ``<sim_out_dir>/xsim.dir/<top>/xsimk.so``.

    The ROM files and what is loaded beside the sources are copied to ``sim_out_dir``, where the simulation runs.
    AXI4-Lite ports of FINN's own ops stay idle, and so does ``ap_clk2x``.

    Args:
        source_list: Verilog and SystemVerilog sources.
        debug: FINN's wish for a waveform; there is none, the argument is accepted for its sake.
        behav: define ``FINN_SIMULATION``, as FINN's own sources expect.
        fifosim: the top is FINN's ``finn_design_wrapper``.

    Returns:
        ``sim_out_dir`` and the path of the description relative to it.

    Raises:
        FINNUserError: a source is missing, is VHDL or computes with ``shortreal``; what is loaded is missing; the sources do
            not compile; there is no C++ compiler.
    """
    sim_out_dir = Path(sim_out_dir)
    top = "finn_design_wrapper" if fifosim else top_module_name
    try:
        content = _compile(top, [Path(source) for source in source_list], sim_out_dir, ("FINN_SIMULATION",) if behav else ())
    except (UserError, SimulationError) as error:
        raise FINNUserError(str(error)) from error
    description = Path("xsim.dir") / top_module_name / "xsimk.so"
    write_json(sim_out_dir / description, content)
    return sim_out_dir, description


def _compile(top: str, sources: list[Path], folder: Path, defines: Sequence[str]) -> dict[str, object]:
    """Build the simulator of ``top`` and put what it reads into ``folder``; returns its description."""
    found = []
    for origin in {p.parent for p in sources}:
        for rom in origin.glob("*.hex"):
            _copy(rom, folder)
        if (origin / INDEX).is_file():
            found.append(Contents.load(origin))
            for name in (CONTENTS, INDEX):
                _copy(origin / name, folder)
    names = {p.name for p in sources}
    sources = for_verilator(sources, folder)
    inputs, outputs, ports = find_ports(top, sources)
    chain, bus = ([p for p in ports if isinstance(p, kind)] for kind in (ChainPort, BusPort))
    port_alone = bool(chain and bus)
    loaded = [p for p in ports if any(p.name == contents.port for contents in found)]
    if not port_alone and not loaded and (LOAD_PORT in names or (chain and HOP in names)):
        raise UserError(f"no {CONTENTS} and {INDEX} of {top} beside its sources: generate the HDL again")
    simulator = compile_top(top, sources, inputs, outputs, loads=loaded, defines=defines, lint=False)
    return {
        "executable": str(simulator.executable),
        "inputs": [asdict(p) for p in inputs],
        "outputs": [asdict(p) for p in outputs],
        "buses": [asdict(p) for p in loaded if isinstance(p, BusPort)],
        "chains": [asdict(p) for p in loaded if isinstance(p, ChainPort)],
        "fill": port_alone,
    }


def load_sim_obj(
    sim_out_dir: Path | str, out_so_relative_path: Path | str, tracefile: str | None = None, simkernel_so: str | None = None
) -> SimEngine:
    """Open what :func:`compile_sim_obj` made. ``simkernel_so`` has no effect; neither has ``tracefile``, which is logged.

    Raises:
        FileNotFoundError: the description, or the simulator that it names, is gone or damaged.
    """
    if tracefile:
        log.warning(f"no waveform {tracefile}: simulation without Vivado writes none")
    sim_out_dir = Path(sim_out_dir)
    content = json.loads((sim_out_dir / out_so_relative_path).read_text())
    executable = Path(content["executable"])
    if not cache.intact(executable.parent):
        raise FileNotFoundError(f"the compiled simulation {executable} is gone or damaged: generate it again")
    inputs, outputs = (tuple(Port(**p) for p in content[kind]) for kind in ("inputs", "outputs"))
    loaded = [kind(**p) for name, kind in (("buses", BusPort), ("chains", ChainPort)) for p in content.get(name, [])]
    steps = loads(Contents.load(sim_out_dir)) if loaded else {}
    return SimEngine(Simulator(executable, inputs, outputs, loads=tuple(loaded)), sim_out_dir, steps, content.get("fill", False))


def reset_rtlsim(
    sim: SimEngine,
    rst_name: str = "ap_rst_n",
    active_low: bool = True,
    clk_name: str = "ap_clk",
    clk2x_name: str = "ap_clk2x",
    n_cycles: int = 16,
) -> None:
    """Nothing: every data pass starts with a reset."""


def close_rtlsim(sim: SimEngine) -> None:
    """End the simulation."""
    sim.close()


def rtlsim_multi_io(
    sim: SimEngine,
    io_dict: dict[str, dict[str, list[int]]],
    num_out_values: int | np.integer | Mapping[str, int],
    sname: str = "_V_V",
    liveness_threshold: int = 10000,
    liveness_estimate: int | float | None = None,
) -> int:
    """Feed ``io_dict["inputs"]`` and fill ``io_dict["outputs"]``; beats are Python integers by stream name.

    Inputs of the design that are not there stay idle.

    Args:
        num_out_values: beats to wait for, one number or by stream name.
        sname: what follows a stream name in the names of the top's ports.
        liveness_threshold: cycles without any movement after which the run is given up.
        liveness_estimate: only for the message.

    Returns:
        Cycles from the end of reset to the last output beat.

    Raises:
        FINNUserError: the design stood still; the text names the streams that wait.
    """
    outputs = io_dict["outputs"]
    if not isinstance(num_out_values, Mapping):
        num_out_values = {next(iter(outputs)): int(num_out_values)}
    widths = {p.name: p.bytes for p in sim.simulator.inputs}
    feed = {name: from_words([], width) for name, width in widths.items()}
    feed |= {name + sname: from_words(beats, widths[name + sname]) for name, beats in io_dict["inputs"].items()}
    wanted = {name + sname: int(num_out_values[name]) for name in outputs}
    result = sim.simulator.run(feed, wanted, data_dir=sim.folder, idle_limit=int(liveness_threshold), loads=sim.loads, fill=sim.fill)
    if result.deadlock is not None:
        from finn.util.basic import get_rtlsim_timeout_error_message

        message = get_rtlsim_timeout_error_message(liveness_threshold, liveness_estimate)
        raise FINNUserError(f"{message}\n{result.deadlock}")
    for name in outputs:
        outputs[name] = to_words(result.outputs[name + sname])
    return max(int(c[-1]) + 1 for c in result.out_cycles.values() if len(c))


def _copy(path: Path, folder: Path) -> None:
    if path.resolve() != (folder / path.name).resolve():
        shutil.copy(path, folder / path.name)
