"""One driver for every target that an accelerator runs on: its integers, its RTL in simulation, a board behind a serial port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from finn_vitprune.api.integers import Integers
from finn_vitprune.builds.images import check_pixels, input_shape, to_patches
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.builds.simulate import simulate
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.errors import UserError
from finn_vitprune.link.exchange import Exchange, Transport
from finn_vitprune.link.frames import LinkStatus
from finn_vitprune.link.serial_port import BAUD, SerialPort
from finn_vitprune.sim.beats import pack, unpack

TARGETS = "integers, rtl, serial:/dev/ttyUSB0"
AHEAD = {"integers": 64, "rtl": 8}
"""Images of a stream that are run at once."""
SERIAL = "serial:"


@dataclass(frozen=True)
class AcceleratorStatus:
    """What is known of a target.

    Attributes:
        target: its name. design: the number of the design, 32 bits; None for the integers of a model file.
        images: that this driver got logits of. resent: frames that were sent again, because they or their answers were damaged or lost.
        board: what the board says of itself; None without one.
    """

    target: str
    design: int | None
    images: int
    resent: int = 0
    board: LinkStatus | None = field(default=None)


class AcceleratorTarget(Protocol):
    """Where the logits come from."""

    @property
    def design(self) -> int | None:
        """The number of the design."""

    def stream(self, images: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """int32 ``[classes]`` for each image, uint8 ``[H, W, C]``."""

    @property
    def resent(self) -> int:
        """Frames that were sent again."""

    def board(self) -> LinkStatus | None:
        """What the board says, where there is one."""

    def close(self) -> None:
        """Let go of what the target holds."""


class Accelerator:
    """An accelerator on a target. ``predict`` gives the same bits on each.

    A context manager: a serial port is closed at its end.
    """

    def __init__(
        self,
        target: str,
        design: str | Path,
        *,
        baud: int = BAUD,
        timeout_s: float = 2.0,
        tries: int = 5,
        transport: Transport | None = None,
    ) -> None:
        """Open a target.

        Args:
            target: ``integers`` (of a model or a build, fast), ``rtl`` (of a build, simulated in Verilator), ``serial:PORT`` (a board that
                holds the build, behind a serial port).
            design: the folder of a build; for ``integers`` a QONNX file, too.
            baud: bits a second of the serial port. timeout_s: most that the board may take for an answer. tries: how often an image is
                sent at most.
            transport: in place of the serial port, bytes to a board and back.
        Raises:
            UserError: an unknown target; the design has no RTL; no board answers, or it holds another design.
        """
        self.target, self._images = target, 0
        folder = Path(design)
        if target == "integers":
            self._on: AcceleratorTarget = _OnIntegers(folder)
        elif target == "rtl":
            self._on = _OnRtl(folder)
        elif target.startswith(SERIAL) and target != SERIAL:
            self._on = _OnBoard(folder, transport or SerialPort(target.removeprefix(SERIAL), baud), timeout_s, tries)
        else:
            raise UserError(f"target {target} is not known: use one of {TARGETS}")

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The logits of images.

        Args:
            images: uint8 ``[F, H, W, C]``, or ``[F, H, W]`` of grey images.
        Returns:
            int32 ``[F, classes]``.
        Raises:
            UserError: images of another shape or type; the board gives no logits.
        """
        images = np.asarray(images)
        if not len(images):
            raise UserError("the input holds no images")
        return np.stack(list(self.stream(images)))

    def stream(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The logits of images one by one, in their order, while further images are read and sent.

        Args:
            images: uint8 ``[H, W, C]``, or ``[H, W]`` of grey images.
        Yields:
            int32 ``[classes]``.
        Raises:
            UserError: as of :meth:`predict`.
        """
        for logits in self._on.stream(iter(images)):
            self._images += 1
            yield logits

    @property
    def resent(self) -> int:
        """Frames that were sent to the board again, because they, or their answers, were damaged or lost."""
        return self._on.resent

    def status(self) -> AcceleratorStatus:
        """What is known of the target; a board is asked.

        Raises:
            UserError: the board does not answer.
        """
        return AcceleratorStatus(self.target, self._on.design, self._images, self.resent, self._on.board())

    def close(self) -> None:
        """Close the serial port."""
        self._on.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _InProcess:
    """A target that is a function of some images at once."""

    resent: int = 0

    def board(self) -> None:
        """There is none."""

    def close(self) -> None:
        """Nothing is held."""


class _OnIntegers(_InProcess):
    """The integers of a model or a build."""

    def __init__(self, design: Path) -> None:
        self._integers = Integers.of(design)
        self.design = _stitched(design).number if BuildFolder(design).stitched.is_dir() else None

    def stream(self, images: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        while batch := list(islice(images, AHEAD["integers"])):
            yield from self._integers.logits(np.stack(batch))


class _OnRtl(_InProcess):
    """The RTL of a build in Verilator."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.design = folder, _stitched(folder).number

    def stream(self, images: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        while batch := list(islice(images, AHEAD["rtl"])):
            yield from simulate(self._folder, np.stack(batch))


class _OnBoard:
    """A board that holds a build, behind a link."""

    def __init__(self, folder: Path, transport: Transport, timeout_s: float, tries: int) -> None:
        try:
            self._design = _stitched(folder)
            self.design = self._design.number
            host = self._design.host()
            self._shape = input_shape(host)
            pixels = np.arange(np.prod(self._shape)).reshape(self._shape)
            self._order = to_patches(host, pixels)[0]  # nodes of the host only move pixels
            if self._design.loads:
                raise UserError(f"{folder} is loaded at run time, and the link has no load port: build it without --loadable")
            self._exchange = Exchange(transport, timeout_s, tries)
            self._check(folder)
        except BaseException:
            transport.close()
            raise

    def _check(self, folder: Path) -> None:
        board, design = self._exchange.board, self._design
        name = self._exchange.transport.name
        if board.design != design.number:
            raise UserError(
                f"the board at {name} holds design {board.design:#010x}, {folder} is {design.number:#010x}: program it with that design's bitstream"
            )
        sizes = tuple(stream.beats * (stream.tdata_bits // 8) for stream in (design.input, design.output))
        if sizes != (board.image_bytes, board.logit_bytes):
            raise UserError(
                f"the board at {name} takes images of {board.image_bytes} bytes and gives logits of {board.logit_bytes}, "
                f"{folder} has {sizes[0]} and {sizes[1]}: program it with that design's bitstream"
            )

    def stream(self, images: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        stream = self._design.output
        for answer in self._exchange.answers(map(self._payload, images)):
            beats = np.frombuffer(answer, np.uint8).reshape(stream.beats, -1)
            yield unpack(beats, stream).reshape(-1).astype(np.int32)

    def _payload(self, image: np.ndarray) -> bytes:
        """The beats of an image."""
        pixels = check_pixels(np.asarray(image)[None], self._shape, "the input")
        return pack(pixels.reshape(-1)[self._order], self._design.input).tobytes()

    @property
    def resent(self) -> int:
        return self._exchange.resent

    def board(self) -> LinkStatus:
        return self._exchange.status()

    def close(self) -> None:
        self._exchange.close()


def _stitched(folder: Path) -> StitchedDesign:
    return StitchedDesign.load(BuildFolder(folder.resolve()).stitched)
