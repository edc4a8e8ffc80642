"""PYNQ and XRT as far as the driver calls them, with the RTL of a build in simulation where the chip is.

The stand-ins have what Xilinx/PYNQ (``pynq/lib/dma.py``, ``overlay.py``, ``mmio.py``, ``buffer.py``) and Xilinx/XRT
(``src/python/pybind11/src/pyxrt.cpp``) have under these names, and refuse what those refuse.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from finn_vitprune import load_port
from finn_vitprune.builds.stitched.stitch import TOP, StitchedDesign
from finn_vitprune.sim import BusPort, Port, bus, compile_top

ADDRESS = 0xA000_0000


class Chip:
    """The RTL of a build: a transfer is a run of its own, before which everything that was loaded is loaded.

    ``faults`` are of the next transfers, one each: ``silent`` (no logits), ``short`` (TLAST too early), ``counted`` (a wrong frame is
    counted, the logits are wrong), ``fine``. After ``silent`` and ``short`` nothing comes until a reset.
    """

    def __init__(self, design: StitchedDesign) -> None:
        self.design, self.faults = design, []
        sources = [design.folder / name for name in [*design.sources, f"{TOP}.v"]]
        ports = [[Port(name, stream.tdata_bits)] for name, stream in (("s_axis_0", design.input), ("m_axis_0", design.output))]
        self.simulator = compile_top(TOP, sources, *ports, loads=[BusPort(load.port, load.address_bits) for load in design.loads])
        self.number = design.loads[0].design if design.loads else None
        self.reset()

    def reset(self) -> None:
        self.stuck, self.state, self.words, self.wrong = False, load_port.EMPTY, [], 0

    def beats(self, beats: np.ndarray, count: int) -> np.ndarray | None:
        """The answer to the beats of a transfer; None where the chip hangs."""
        fault = self.faults.pop(0) if self.faults else "fine"
        if self.design.loads and self.state != load_port.OPEN:
            return None
        self.stuck |= fault in ("silent", "short")
        if fault == "silent" or (self.stuck and fault == "fine"):
            return None
        loads = {load.port: bus.load(np.array(self.words, np.uint32)) for load in self.design.loads}
        found = self.simulator.run({"s_axis_0": beats}, {"m_axis_0": count}, data_dir=self.design.folder, loads=loads, idle_limit=100_000)
        answer = found.outputs["m_axis_0"]
        if fault == "counted":
            self.wrong += 1
            return answer ^ 1
        return answer[: count // 2] if fault == "short" else answer

    def read(self, address: int) -> int:
        return {
            load_port.STATUS: self.state, load_port.TAKEN: max(0, len(self.words) - 4), load_port.DESIGN: self.number, load_port.FRAMES: 0,
            load_port.TOTAL: self.design.loads[0].words, load_port.WRONG_FRAMES: self.wrong,
        }[address]  # fmt: skip

    def write(self, address: int, word: int) -> None:
        if address == load_port.CONTROL:
            self.state, self.words = load_port.LOADING, []
            return
        assert address == load_port.DATA and self.state == load_port.LOADING
        self.words.append(word)
        if len(self.words) == self.design.loads[0].words + 5:
            words = np.array(self.words, "<u4")
            right = zlib.crc32(words[:-1].tobytes()) == words[-1]
            self.state = load_port.OPEN if right else load_port.WRONG_CHECKSUM


class Buffer(np.ndarray):
    """What ``pynq.allocate`` gives."""

    freed = False

    def freebuffer(self) -> None:
        assert not self.freed
        self.freed = True


@dataclass
class Channel:
    """A channel of ``pynq.lib.dma.DMA``."""

    name: str
    calls: list
    running: bool = True
    idle: bool = True
    active: Buffer | None = None
    transferred: int = 0

    def start(self) -> None:
        self.calls.append(f"{self.name}.start")
        self.running = self.idle = True

    def transfer(self, array: Buffer) -> None:
        if not self.running:
            raise RuntimeError("DMA channel not started")
        if not self.idle:
            raise RuntimeError("DMA channel not idle")
        assert isinstance(array, Buffer) and array.dtype == np.uint8 and not array.freed
        self.calls.append(f"{self.name}.transfer {array.shape}")
        self.active, self.idle, self.transferred = array, False, 0
        self.begun()

    def wait(self) -> None:
        if not self.running:
            raise RuntimeError("DMA channel not started")
        assert self.idle, "PYNQ's wait would never end"
        self.calls.append(f"{self.name}.wait")

    def begun(self) -> None:
        """Something may come of it."""


class Pynq:
    """The module ``pynq`` on a board with a chip."""

    def __init__(self, chip: Chip, names: tuple[str, ...] = ("axi_dma_0", "finn_design_0")) -> None:
        self.chip, self.calls, self.names, self.buffers = chip, [], names, []
        self.send, self.receive = Channel("send", self.calls), Channel("receive", self.calls)
        self.send.begun = self._move

    def _move(self) -> None:
        wanted = self.receive.active
        assert wanted is not None and not self.receive.idle, "nothing would take the logits"
        answer = self.chip.beats(np.array(self.send.active), len(wanted))
        if answer is not None:
            wanted[: len(answer)] = answer
            self.send.idle = self.receive.idle = True
            self.receive.transferred = answer.nbytes

    def Overlay(self, bitfile: str) -> SimpleNamespace:
        assert isinstance(bitfile, str)
        self.calls.append(f"Overlay {bitfile}")
        self.chip.reset()
        ip_dict = {name: {"phys_addr": ADDRESS} for name in self.names}
        dma = SimpleNamespace(sendchannel=self.send, recvchannel=self.receive)
        return SimpleNamespace(ip_dict=ip_dict, download=self._download, **{name: dma for name in self.names if "dma" in name})

    def _download(self) -> None:
        self.calls.append("download")
        self.chip.reset()
        for channel in (self.send, self.receive):
            channel.running = False

    def MMIO(self, base_addr: int, length: int) -> SimpleNamespace:
        self.calls.append(f"MMIO {base_addr:#x} {length}")

        def write(address: int, word: int) -> None:
            assert address < length
            self.chip.write(address, word)

        def read(address: int) -> int:
            assert address < length
            return self.chip.read(address)

        return SimpleNamespace(read=read, write=write)

    def allocate(self, shape: tuple[int, ...], dtype: type) -> Buffer:
        self.calls.append(f"allocate {shape}")
        self.buffers.append(np.zeros(shape, dtype).view(Buffer))
        return self.buffers[-1]


@dataclass
class Bo:
    """``pyxrt.bo``: memory of the host and of the card."""

    card: Xrt
    device: object
    size: int
    flags: str
    group: int
    host: np.ndarray = field(init=False)
    there: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        assert self.device is self.card.opened and self.flags == "normal" and self.group == 7
        self.host, self.there = np.zeros(self.size, np.uint8), np.zeros(self.size, np.uint8)

    def write(self, data: np.ndarray, seek: int) -> None:
        assert data.nbytes + seek <= self.size and data.flags.c_contiguous
        self.host[seek : seek + data.nbytes] = data.reshape(-1)

    def read(self, size: int, skip: int) -> np.ndarray:
        return self.host[skip : skip + size].view(np.int8).copy()

    def sync(self, way: str, size: int, offset: int) -> None:
        self.card.calls.append(f"sync {way} {size} {offset}")
        to, of = (self.there, self.host) if way == "to" else (self.host, self.there)
        to[offset : offset + size] = of[offset : offset + size]


class Xrt:
    """The module ``pyxrt`` on a machine with a card."""

    xclBOSyncDirection = SimpleNamespace(XCL_BO_SYNC_BO_TO_DEVICE="to", XCL_BO_SYNC_BO_FROM_DEVICE="from")
    ert_cmd_state = SimpleNamespace(ERT_CMD_STATE_COMPLETED="completed", ERT_CMD_STATE_TIMEOUT="ERT_CMD_STATE_TIMEOUT")

    def __init__(self, chip: Chip, registers: bool = True) -> None:
        self.chip, self.calls, self.running, self.opened = chip, [], {}, None
        self.bo = lambda *given: Bo(self, *given)
        self.bo.normal = "normal"
        if registers:
            self.ip = self._ip

    def device(self, index: int) -> SimpleNamespace:
        self.calls.append(f"device {index}")
        self.opened = SimpleNamespace(load_xclbin=self._load)
        return self.opened

    def _load(self, path: str) -> str:
        assert isinstance(path, str)
        self.calls.append(f"load_xclbin {path}")
        if "missing" in path:
            raise RuntimeError(f"No such file '{path}'")
        self.chip.reset()
        return "uuid"

    def kernel(self, device: object, uuid: str, name: str):
        assert device is self.opened and uuid == "uuid"
        if name not in ("idma0", "odma0"):
            raise RuntimeError(f"No such kernel '{name}'")
        self.calls.append(f"kernel {name}")
        return _Kernel(self, name)

    def _ip(self, device: object, uuid: str, name: str) -> SimpleNamespace:
        assert device is self.opened and uuid == "uuid"
        self.calls.append(f"ip {name}")
        return SimpleNamespace(read_register=self.chip.read, write_register=self.chip.write)


@dataclass
class _Kernel:
    card: Xrt
    name: str

    def group_id(self, argument: int) -> int:
        assert argument == 0
        return 7

    def __call__(self, bo: Bo, count: int) -> SimpleNamespace:
        card = self.card
        card.calls.append(f"{self.name} {bo.size} {count}")
        card.running[self.name] = bo
        if self.name == "idma0":
            output, source = card.chip.design.output, card.chip.design.input
            assert bo.size == count * source.beats * source.tdata_bits // 8, "FINN's data movers count in images"
            answer = card.chip.beats(bo.there.reshape(-1, source.tdata_bits // 8), count * output.beats)
            card.came = answer is not None and answer.nbytes == card.running["odma0"].size
            if card.came:
                card.running["odma0"].there[:] = answer.reshape(-1)
        return SimpleNamespace(wait=self._wait)

    def _wait(self, milliseconds: int) -> str:
        assert milliseconds > 0, "XRT would wait for ever"
        self.card.calls.append(f"{self.name} wait {milliseconds}")
        states = self.card.ert_cmd_state
        return states.ERT_CMD_STATE_COMPLETED if self.card.came else states.ERT_CMD_STATE_TIMEOUT
