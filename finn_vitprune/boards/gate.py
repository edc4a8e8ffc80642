"""A routed netlist in Verilator, driven through its pins: bytes of the serial line in, bytes out, :data:`.LANES` boards side by side."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from finn_vitprune import cache, progress
from finn_vitprune.boards import gates
from finn_vitprune.boards import netlist as netlists
from finn_vitprune.boards.netlist import LANES, MODULE, RoutedNetlist, StuckNet, to_verilog
from finn_vitprune.processes import ProcessGroup
from finn_vitprune.sim import toolchain

HERE = Path(__file__).parent
SOURCES = ("gate.cpp", "cells.cpp", "cells.h")
OPTIONS = (
    "--cc -O3 -fno-dfg --no-timing --x-assign fast --x-initial fast --no-assert -Wno-lint -Wno-style -Wno-fatal --prefix Vgate --Mdir cpp "
    f"--output-split 60000 --top-module {MODULE}"
).split()
"""Verilator's; its graphs of data flow would take much longer than they save."""
DAMAGED = 256
"""Added to a byte that came, or is sent, without its stop bit."""
BUTTON = 512
"""Is sent to press the button that begins the board again."""
SIZES = "sizes.json"


@dataclass(frozen=True)
class LineMessage:
    """Bytes for a board, or symbols (:data:`DAMAGED`, :data:`BUTTON`), sent once so many bytes of the exchange have come from it."""

    data: Sequence[int]
    after: int = 0


@dataclass(frozen=True)
class FaultAt:
    """StuckNet number ``fault`` of a simulator, at one of its boards, where the net is ``value`` for ever."""

    fault: int
    board: int
    value: int


@dataclass(frozen=True)
class LineTimes:
    """Of the boards' lines: a bit in 256ths of a clock; clocks that an exchange goes on when all came, and for which it waits for a byte."""

    bit: int
    grace: int
    silence: int


@dataclass(frozen=True)
class GateRun:
    """What came from each board in an exchange: bytes, with :data:`DAMAGED` added where the stop bit was missing; clocks in all, and at the
    last byte."""

    received: list[list[int]]
    clocks: int
    last: list[int]

    def bytes_of(self, board: int) -> bytes:
        """The bytes that came whole."""
        return bytes(value for value in self.received[board] if value < DAMAGED)


@dataclass(frozen=True)
class GateSimulator:
    """The program that runs a netlist, and its memories: block RAMs, and 16 bits in LUTs."""

    folder: Path
    block_rams: int
    small_rams: int
    faults: int

    def run(
        self, messages: Mapping[int, Sequence[LineMessage]], expected: Mapping[int, int], times: LineTimes, faults: Sequence[FaultAt] = ()
    ) -> GateRun:
        """A single exchange of boards that have just begun: see :meth:`boards` and :meth:`GateBoards.exchange`."""
        with self.boards(times, faults) as boards:
            return boards.exchange(messages, expected)

    @contextmanager
    def boards(self, times: LineTimes, faults: Sequence[FaultAt] = ()) -> Iterator[GateBoards]:
        """Boards that begin, and end with the block.

        Args:
            faults: at most one of each number of the simulator.
        """
        chosen = {fault.fault: fault for fault in faults}
        lines = [f"{times.bit} {times.grace} {times.silence} {self.block_rams} {self.small_rams} {self.faults}"]
        for number in range(self.faults):
            fault = chosen.get(number)
            # a fault that is nowhere stands at a board that does not exist
            lines.append(f"{fault.board} {fault.value}" if fault else f"{LANES} 0")
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with ProcessGroup() as group:
            process = group.start([str(self.folder / "sim")], cwd=self.folder, text=True, **pipes)
            assert process.stdin and process.stdout and process.stderr  # pipes
            with process.stdin, process.stdout, process.stderr:
                boards = GateBoards(process, process.stdin, process.stdout, process.stderr)
                boards.write(lines)
                yield boards


@dataclass(frozen=True)
class GateBoards:
    """Boards that are simulated, from one exchange to the next as that one left them."""

    process: subprocess.Popen
    to: IO[str]
    out: IO[str]
    error: IO[str]

    def exchange(self, messages: Mapping[int, Sequence[LineMessage]], expected: Mapping[int, int]) -> GateRun:
        """Send messages to boards until what is expected came.

        Args:
            messages: by board, 0 to :data:`.LANES` - 1. expected: bytes that are waited for, by board; others are not waited for.
        """
        lines = []
        for board in range(LANES):
            sent = messages.get(board, ())
            symbols = (f"{len(one.data)} {one.after} {' '.join(map(str, one.data))}" for one in sent)
            lines.append(" ".join([str(expected.get(board, 0)), str(len(sent)), *symbols]))
        self.write(lines)
        *received, [clocks], last = ([int(word) for word in self._line().split()] for _ in range(LANES + 2))
        return GateRun([values[1:] for values in received], clocks, last)

    def write(self, lines: Sequence[str]) -> None:
        """Lines to the program."""
        try:
            print(*lines, sep="\n", file=self.to, flush=True)
        except BrokenPipeError:
            raise self._stopped() from None

    def _line(self) -> str:
        """A line of the program."""
        if text := self.out.readline():
            return text
        raise self._stopped()

    def _stopped(self) -> toolchain.SimulationError:
        code, error = self.process.wait(), self.error.read().strip()
        return toolchain.SimulationError(f"the simulation of the netlist stopped: {error or code}")


def compile_netlist(path: Path, faults: Sequence[StuckNet] = ()) -> GateSimulator:
    """Compile a routed netlist, or take its simulator from the cache.

    Args:
        path: what nextpnr wrote, packed or not. faults: nets that can be stuck.
    Raises:
        NetlistError: the netlist has something that is not modelled.
        UserError: Verilator or a C++ compiler is missing.
    """
    code = [*(HERE / name for name in SOURCES), Path(gates.__file__), Path(netlists.__file__), Path(__file__)]
    parts = [one.read_bytes() for one in (path, *code)]
    key = toolchain.digest(*parts, repr(list(faults)), toolchain.runtime_key())

    def build(folder: Path) -> None:
        progress.begin("the routed netlist as Verilog, compiled with Verilator")
        written = to_verilog(RoutedNetlist.load(path), folder, faults)
        toolchain.run_verilator([*OPTIONS, written.verilog.name], folder)
        generated = folder / "cpp"
        own = [HERE / name for name in SOURCES if name.endswith(".cpp")]
        own.append(toolchain.verilator_root() / "include" / "verilated_dpi.cpp")
        todo = [(source, generated / f"{source.stem}.o", toolchain.FAST) for source in own]
        for source in sorted(generated.glob("Vgate*.cpp")):
            level = toolchain.SLOW if source.name.endswith("Slow.cpp") else toolchain.FAST
            todo.append((source, source.with_suffix(".o"), level))
        toolchain.compile_objects(todo, (generated, HERE), toolchain.runtime())
        runtime = [path for path in toolchain.runtime_objects() if path.stem != "driver"]
        toolchain.link([*(target for _, target, _ in todo), *runtime], folder / "sim")
        shutil.rmtree(generated)
        written.verilog.unlink()
        (folder / SIZES).write_text(json.dumps([written.block_rams, written.small_rams]))

    folder = cache.entry(f"verilator/netlist-{key}", build)
    block_rams, small_rams = json.loads((folder / SIZES).read_text())
    return GateSimulator(folder, block_rams, small_rams, len(faults))
