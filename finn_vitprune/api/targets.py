"""What an accelerator runs on: where the logits of :class:`.Accelerator` come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np

from finn_vitprune import load_port, progress
from finn_vitprune.api.integers import Integers
from finn_vitprune.boards.gate import compile_netlist
from finn_vitprune.boards.netlist import LANES
from finn_vitprune.builds.gate_level import RoutedBoard
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.builds.simulate import simulate
from finn_vitprune.builds.stitched.host_side import HostSide
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.errors import UserError
from finn_vitprune.link.data_mover import DataMover
from finn_vitprune.link.exchange import Exchange, Transport
from finn_vitprune.link.frames import LinkStatus
from finn_vitprune.link.registers import LinkRegisters
from finn_vitprune.load_port import Registers
from finn_vitprune.sim.contents import Contents

AHEAD = {"integers": 64, "rtl": 8, "netlist": 4 * LANES}
"""Images of a stream that are run at once."""
PROBES = 2
"""Random images that a card has to give the right logits of before it is used."""
LOAD_S = 10.0
"""How long a step of a load may take."""


class AcceleratorTarget(Protocol):
    """Where the logits come from.

    Attributes:
        design: number of the design; None for the integers of a model file. resent: transfers that were made again.
        integers: of the network that the target runs. contents: what it was loaded with in place of the build's own.
    """

    @property
    def design(self) -> int | None: ...

    @property
    def resent(self) -> int: ...

    @property
    def integers(self) -> Integers: ...

    @property
    def contents(self) -> Path | None: ...

    def load(self, contents: Path) -> None:
        """Be another network."""

    def stream(self, images: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """int32 ``[classes]`` for each image, uint8 ``[H, W, C]``."""

    def board(self) -> LinkStatus | None:
        """What a board says of itself, where there is one."""

    @property
    def wrong_frames(self) -> int | None:
        """Images whose beats did not add up, where the design counts them."""

    def close(self) -> None:
        """Let go of what the target holds."""


class _OfFolder:
    """A target that runs the network of a build, or of a model file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.contents: Path | None = None

    @cached_property
    def integers(self) -> Integers:
        """The integers of what runs."""
        return Integers.of(self.folder, self.contents)

    def load(self, contents: Path) -> None:
        """Be another network.

        Raises:
            UserError: the contents are not for this design, or the network beside them is missing.
        """
        integers = Integers.of(self.folder, contents)
        self.contents, self.integers = contents, integers

    @property
    def resent(self) -> int:
        """None fails."""
        return 0

    @property
    def wrong_frames(self) -> int | None:
        """They are not counted."""
        return None

    def board(self) -> LinkStatus | None:
        """There is none."""
        return None

    def close(self) -> None:
        """Nothing is held."""


class OnIntegers(_OfFolder):
    """The integers of a model or a build."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.design = _stitched(folder).number if BuildFolder(folder).stitched.is_dir() else None
        _ = self.integers  # says what is wrong with the folder

    def load(self, contents: Path) -> None:
        """Be another network; errors are those of the build's other targets."""
        if self.design is None:
            raise UserError(f"{self.folder} is no build, and contents are for the design of one: give the folder of the build")
        super().load(contents)

    def stream(self, images: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        while batch := list(islice(images, AHEAD["integers"])):
            yield from self.integers.logits(np.stack(batch))


class OnRtl(_OfFolder):
    """The RTL of a build in Verilator."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.design = _stitched(folder).number

    def stream(self, images: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        while batch := list(islice(images, AHEAD["rtl"])):
            yield from simulate(self.folder, np.stack(batch), self.contents)


class _BehindLink(_OfFolder):
    """A board behind a serial link."""

    def check(self, board: LinkStatus, design: StitchedDesign, name: str) -> None:
        """That a board holds a design."""
        if board.design != design.number:
            raise UserError(
                f"the board at {name} holds design {board.design:#010x}, {self.folder} is {design.number:#010x}: "
                "program it with that design's bitstream"
            )
        sizes = tuple(stream.beats * (stream.tdata_bits // 8) for stream in (design.input, design.output))
        if sizes != (board.image_bytes, board.logit_bytes):
            raise UserError(
                f"the board at {name} takes images of {board.image_bytes} bytes and gives logits of {board.logit_bytes}, "
                f"{self.folder} has {sizes[0]} and {sizes[1]}: program it with that design's bitstream"
            )


class OnNetlist(_BehindLink):
    """The routed netlist of a bitstream, driven through the pins of the board; many boards side by side."""

    def __init__(self, folder: Path, bitstream: Path | None) -> None:
        super().__init__(folder)
        self._routed = RoutedBoard.of(folder, bitstream)
        self._simulator = compile_netlist(self._routed.netlist)
        self.design = self._routed.side.design.number
        self.check(self.board(), self._routed.side.design, f"the pins of {self._routed.netlist}")

    def load(self, contents: Path) -> None:
        """Be another network; see :meth:`.Accelerator.load`."""
        _need_loads(contents, self._routed.side.design, self.folder)
        super().load(contents)
        self._routed = self._routed.loaded(contents)

    def stream(self, images: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        while batch := list(islice(images, AHEAD["netlist"])):
            found = self._routed.link.ask(self._simulator, self._routed.side.payloads(np.stack(batch)))
            if not found.came.all():
                raise UserError(f"the routed netlist gave no logits of {np.count_nonzero(~found.came)} of {len(batch)} images")
            yield from found.logits.astype(np.int32)

    def board(self) -> LinkStatus:
        return self._routed.link.status(self._simulator)


class OnSerial(_BehindLink):
    """A board that holds a build, behind a serial link."""

    def __init__(self, folder: Path, transport: Transport, timeout_s: float, tries: int) -> None:
        super().__init__(folder)
        try:
            design = _stitched(folder)
            self.design, self._side = design.number, HostSide.of(design)
            self._exchange = Exchange(transport, timeout_s, tries)
            self.check(self._exchange.board, design, transport.name)
            self._port = LinkRegisters(self._exchange) if design.loads else None
            self._fill()
        except BaseException:
            transport.close()
            raise

    def load(self, contents: Path) -> None:
        """Be another network; see :meth:`.Accelerator.load`."""
        _need_loads(contents, self._side.design, self.folder)
        super().load(contents)
        self._fill()

    def _fill(self) -> None:
        if self._port is not None:
            self._ready = False
            self._exchange.forget()
            _load(self._port, self._side.design, self._exchange.transport.name, self.contents)
        self._ready = True

    def stream(self, images: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        if not self._ready:
            raise UserError(f"the last load of the board at {self._exchange.transport.name} failed: load it again")
        payloads = (self._side.payloads(np.asarray(image)[None])[0] for image in images)
        for answer in self._exchange.answers(payloads):
            beats = np.frombuffer(answer, np.uint8).reshape(self._side.design.output.beats, -1)
            yield self._side.logits(beats)[0]

    @property
    def resent(self) -> int:
        return self._exchange.resent

    def board(self) -> LinkStatus:
        return self._exchange.status()

    def close(self) -> None:
        self._exchange.close()


class OnCard(_OfFolder):
    """A build behind data movers, on a Zynq board or a card in a slot.

    Only a design with a load port says which one it is: random images have to give the logits of the network before others go through.
    Where a transfer fails, all that is in the design is forgotten before the next one.
    """

    def __init__(self, folder: Path, opened: Callable[[StitchedDesign], DataMover], batch: int, timeout_s: float, tries: int) -> None:
        super().__init__(folder)
        if batch < 1:
            raise UserError(f"batch {batch}: use 1 or more")
        design = _stitched(folder)
        if design.frame_check and not design.loads:
            raise UserError(
                f"{folder} counts wrong frames and has no port to read the count: build it with --loadable, or without --frame-check"
            )
        self.design, self._side, self._batch, self._timeout_s, self._tries = design.number, HostSide.of(design), batch, timeout_s, tries
        self._mover, self._ready, self._resent = _opened(opened, design), True, 0
        try:
            self._fill()
            self._probe()
        except BaseException:
            self.close()
            raise

    def load(self, contents: Path) -> None:
        """Be another network; see :meth:`.Accelerator.load`."""
        _need_loads(contents, self._side.design, self.folder)
        super().load(contents)
        self._fill()
        self._probe()

    def stream(self, images: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        while batch := list(islice(images, self._batch)):
            yield from self._logits(np.stack(batch))

    @property
    def resent(self) -> int:
        return self._resent

    @property
    def wrong_frames(self) -> int | None:
        return None if self._port is None or not self._side.design.frame_check else self._port.read(load_port.WRONG_FRAMES)

    def close(self) -> None:
        self._mover.close()

    @property
    def _port(self) -> Registers | None:
        return self._mover.registers

    def _fill(self) -> None:
        """Load the memories of the design."""
        if self._port is None:
            return
        design = self._side.design
        number, wanted = self._port.read(load_port.DESIGN), design.loads[0].design
        if number != wanted:
            raise UserError(
                f"{self._mover.name} holds design {number:#010x}, {self.folder} is loaded as {wanted:#010x}: use that design's bitstream"
            )
        _load(self._port, design, self._mover.name, self.contents)

    def _probe(self) -> None:
        """That random images give the logits of the network."""
        images = np.random.default_rng(0).integers(0, 256, (PROBES, *self._side.shape[1:]), dtype=np.uint8)
        found = np.concatenate([self._logits(images[i : i + self._batch]) for i in range(0, PROBES, self._batch)])
        if not np.array_equal(found, self.integers.logits(images)):
            raise UserError(f"{self._mover.name} gives other logits than {self.folder}: is it the bitstream of that build?")

    def _logits(self, images: np.ndarray) -> np.ndarray:
        """int32 ``[n, classes]`` of the images of one transfer, which is filled up."""
        output = self._side.design.output
        beats = self._side.beats(np.concatenate([images, np.repeat(images[-1:], self._batch - len(images), axis=0)]))
        shape = self._batch * output.beats, output.tdata_bits // 8
        for left in reversed(range(self._tries)):
            try:
                self._begin()
                before = self.wrong_frames
                answer = self._mover.move(beats, shape, self._timeout_s)
                if self.wrong_frames == before:
                    self._ready = True
                    return self._side.logits(answer)[: len(images)]
                why = "the design counts images whose beats did not add up"
            except (RuntimeError, OSError, ValueError) as error:
                why = str(error)
            self._resent += bool(left)
        raise UserError(f"images were sent {self._tries} times to {self._mover.name} without logits ({why})")

    def _begin(self) -> None:
        """Nothing of an earlier transfer is on its way."""
        if not self._ready:
            self._mover.restart()
            self._fill()
        self._ready = False


def _need_loads(contents: Path, design: StitchedDesign, folder: Path) -> None:
    """That a design has a load port, and that contents are for it."""
    if not design.loads:
        raise UserError(f"{contents} cannot be loaded: {folder} has no load port: build it with --loadable or --reserve")
    Contents.other(contents, design.folder)


def _load(port: Registers, design: StitchedDesign, name: str, contents: Path | None) -> None:
    """Load a design through its port, with its own contents or others."""
    try:
        load_port.load(port, design.folder, LOAD_S, progress.status, contents)
    except load_port.LoadError as error:
        raise UserError(f"{name}: {error}") from None


def _opened(opened: Callable[[StitchedDesign], DataMover], design: StitchedDesign) -> DataMover:
    try:
        return opened(design)
    except ModuleNotFoundError as error:
        raise UserError(f"the Python package {error.name} is missing: it comes with the image of the board, or with XRT") from None
    except (RuntimeError, OSError, ValueError) as error:
        raise UserError(f"cannot open it: {error}") from None


def _stitched(folder: Path) -> StitchedDesign:
    return StitchedDesign.load(BuildFolder(folder.resolve()).stitched)
