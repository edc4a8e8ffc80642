"""One driver for every target that an accelerator runs on: integers, simulations, boards, cards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from finn_vitprune.api.integers import Integers
from finn_vitprune.api.targets import AcceleratorTarget, OnCard, OnIntegers, OnNetlist, OnRtl, OnSerial
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.errors import UserError
from finn_vitprune.link.data_mover import BlockDesign, DataMover
from finn_vitprune.link.exchange import Transport
from finn_vitprune.link.frames import LinkStatus
from finn_vitprune.link.pynq_board import PynqBoard
from finn_vitprune.link.serial_port import BAUD, SerialPort
from finn_vitprune.link.target_name import TargetName
from finn_vitprune.link.xrt_card import XrtCard


@dataclass(frozen=True)
class AcceleratorStatus:
    """What is known of a target.

    Attributes:
        target: its name. design: the number of the design, 32 bits; None for the integers of a model file.
        images: that this driver got logits of. resent: frames or transfers that were made again, because they or their answers were damaged
            or lost.
        board: what the board says of itself; None without a link to one. wrong_frames: images whose beats did not add up; None where the
            design does not count them, or the count cannot be read.
        contents: what was loaded in place of the build's own network.
    """

    target: str
    design: int | None
    images: int
    resent: int = 0
    board: LinkStatus | None = field(default=None)
    wrong_frames: int | None = None
    contents: Path | None = None


class Accelerator:
    """An accelerator on a target. ``predict`` gives the same bits on each.

    A context manager: what the target holds, as a serial port, is let go at its end.
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
        block_design: BlockDesign = BlockDesign(),
    ) -> None:
        """Open a target.

        Args:
            target: ``integers`` (of a model or a build, fast), ``rtl`` (of a build, simulated in Verilator), ``netlist`` or
                ``netlist:FOLDER`` (of the bitstream in ``bitstream`` of the build, or in FOLDER, simulated in Verilator), ``serial:PORT``
                (a board that holds the build, behind a serial port), ``pynq:FILE.bit`` (a board with PYNQ, which this program runs on),
                ``xrt:FILE.xclbin`` (a card with XRT).
            design: the folder of a build; for ``integers`` a QONNX file, too.
            baud: bits a second of the serial port. timeout_s: most that an answer of a board or card may take. tries: how often an image is
                sent at most.
            transport: in place of the serial port, bytes to a board and back.
            block_design: names of what is around the accelerator, for ``pynq:`` and ``xrt:``.
        Raises:
            UserError: an unknown target; the design has no RTL or no bitstream; no board answers, or it holds another design, or cannot be loaded.
        """
        if timeout_s <= 0 or tries < 1:
            raise UserError(f"timeout_s {timeout_s:g} and tries {tries}: use more than 0 seconds, and 1 or more")
        self.target, self._images = target, 0
        folder = Path(design)
        name = TargetName.of(target)
        on_card = partial(OnCard, folder, batch=block_design.batch, timeout_s=timeout_s, tries=tries)
        opened: dict[str, Callable[[], AcceleratorTarget]] = {
            "integers": lambda: OnIntegers(folder),
            "rtl": lambda: OnRtl(folder),
            "netlist": lambda: OnNetlist(folder, Path(name.place) if name.place else None),
            "serial": lambda: OnSerial(folder, transport or SerialPort(name.place, baud), timeout_s, tries),
            "pynq": lambda: on_card(lambda stitched: _pynq(name.place, block_design, stitched)),
            "xrt": lambda: on_card(lambda stitched: XrtCard(name.place, block_design, bool(stitched.loads))),
        }
        self._on = opened[name.kind]()

    def load(self, contents: str | Path) -> None:
        """Load another network into a loadable design: what follows are its logits.

        Args:
            contents: a file of ``finn-vitprune contents``, with the network that it wrote beside it.
        Raises:
            UserError: the contents are not for this design; the target, or the design, cannot be loaded; the load failed.
        """
        self._on.load(Path(contents))

    @property
    def integers(self) -> Integers:
        """The integers of the network that runs: what the logits have to be."""
        return self._on.integers

    @property
    def logit_scale(self) -> float | list[float]:
        """What a logit of 1 is worth, one number or one a class; of the network that is loaded."""
        return self._on.integers.logit_scale

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
        """Frames or transfers that were made again, because they, or their answers, were damaged or lost."""
        return self._on.resent

    def status(self) -> AcceleratorStatus:
        """What is known of the target; a board is asked.

        Raises:
            UserError: the board does not answer.
        """
        on = self._on
        return AcceleratorStatus(self.target, on.design, self._images, on.resent, on.board(), on.wrong_frames, on.contents)

    def close(self) -> None:
        """Let go of what the target holds."""
        self._on.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pynq(bitstream: str, parts: BlockDesign, design: StitchedDesign) -> DataMover:
    """A board with the design, and its load port where it has one."""
    if not design.loads:
        return PynqBoard(bitstream, parts.dma)
    return PynqBoard(bitstream, parts.dma, parts.core or "finn_design_0", 1 << design.loads[0].address_bits)
