"""``python -m tests.link.faults``: faults of the line between a driver and a simulated board, each while images are on their way.

After each fault the driver must have given the right logits (or an error), and the next image must get through at its first try. With
``--netlist BUILD`` the board is the routed netlist of a bitstream: 64 side by side, each of which meets a fault of its own.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from finn_vitprune.api.accelerator import Accelerator
from finn_vitprune.boards.gate import LineMessage, compile_netlist
from finn_vitprune.boards.netlist import LANES
from finn_vitprune.builds.gate_level import RoutedBoard
from finn_vitprune.errors import UserError
from finn_vitprune.link.frames import START, FrameType, LinkFrame
from tests.link.board import BROKEN, RESET, TIMEOUT_S, SimulatedBoard, Tiny, compiled, tiny

KINDS = ("flipped", "lost", "doubled", "inserted", "cut", "broken", "reset")
TO_BOARD, FROM_BOARD = KINDS, KINDS[:5]
IMAGES = 3
"""Of a round: a fault, and then one image more."""
BYTES = {True: 84, False: 168}
"""A fault is in one of so many bytes to the board, or from it: those of the frames of a round."""


@dataclass
class LineFault:
    """A fault at a byte of one direction; what of it is still to come."""

    kind: str
    place: int
    size: int
    to_board: bool
    noise: list[int] = field(default_factory=list)
    bit: int = 0

    @classmethod
    def draw(cls, rng: np.random.Generator, sizes: Mapping[bool, int]) -> LineFault:
        """A fault in one of so many bytes to the board (True), or from it; always to the board where there are none from it."""
        to_board = bool(rng.random() < 0.6) or not sizes.get(False)
        kind = str(rng.choice(TO_BOARD if to_board else FROM_BOARD))
        place, size = int(rng.integers(sizes[to_board])), int(rng.integers(1, 40 if kind == "cut" else 4))
        noise = [int(START if rng.random() < 0.3 else rng.integers(256)) for _ in range(size)]
        return cls(kind, place, size, to_board, noise, int(rng.integers(8)))

    @property
    def name(self) -> str:
        return f"{self.kind} {'to' if self.to_board else 'from'} the board"

    def through(self, data: Iterable[int], to_board: bool) -> Iterator[int]:
        """What becomes of bytes: bytes, and of those to the board BROKEN and RESET, too."""
        for byte in data:
            if to_board != self.to_board or not self.kind:
                yield byte
            elif self.place:
                self.place -= 1
                yield byte
            else:
                yield from self._fault(byte)

    def _fault(self, byte: int) -> list[int]:
        kind = self.kind
        if kind in ("lost", "cut"):
            self.size -= 1
            if not self.size:
                self.kind = ""
            return []
        self.kind = ""
        return {
            "flipped": [byte ^ 1 << self.bit], "doubled": [byte, byte], "inserted": [*self.noise, byte], "broken": [byte | BROKEN],
            "reset": [RESET, byte],
        }[kind]  # fmt: skip


@dataclass
class FaultyLine:
    """A transport that does the fault that it has."""

    board: SimulatedBoard
    fault: LineFault | None = None
    name: str = "the faulty line"
    bit_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.bit_s = self.board.bit_s

    def write(self, data: bytes) -> None:
        self.board.symbols(list(self._through(data, True)))

    def read(self, seconds: float) -> bytes:
        end = self.now() + seconds
        while (left := end - self.now()) > 0:
            if (got := self.board.read(left)) and (kept := bytes(self._through(got, False))):
                return kept
        return b""

    def now(self) -> float:
        return self.board.now()

    def close(self) -> None:
        self.board.close()

    def _through(self, data: bytes, to_board: bool) -> Iterable[int]:
        return data if self.fault is None else self.fault.through(data, to_board)


@dataclass
class Outcome:
    """What came of a campaign.

    Attributes:
        faults: by direction and kind. unmet: of those that were drawn, the ones whose byte did not come.
        wrong: rounds with wrong logits. errors: what the driver said where it gave none. late: rounds after which the next image was wrong
            or had to be sent again. resent: frames sent again.
    """

    faults: Counter = field(default_factory=Counter)
    unmet: int = 0
    wrong: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    resent: int = 0

    @property
    def text(self) -> str:
        return (
            f"{self.faults.total()} faults ({', '.join(f'{name} {count}' for name, count in sorted(self.faults.items()))}; {self.unmet} drawn at "
            f"bytes that did not come): wrong logits in {len(self.wrong)}, errors in {len(self.errors)}, next image not right at once in "
            f"{len(self.late)}, {self.resent} frames sent again"
        )


def campaign(network: Tiny, simulator: Path, count: int, seed: int = 1, tell=lambda text: None) -> Outcome:
    """Try ``count`` faults in one session of a driver, that of round i drawn with ``[seed, i]``."""
    right = Accelerator("integers", network.folder).predict(network.images)
    found = Outcome()
    line = FaultyLine(SimulatedBoard(simulator, network.design))
    with Accelerator("serial:faulty", network.folder, transport=line, timeout_s=TIMEOUT_S) as driver:
        for i in itertools.count():
            if found.faults.total() == count:
                break
            rng = np.random.default_rng([seed, i])
            places = rng.choice(len(right), IMAGES + 1, replace=False)
            line.fault = fault = LineFault.draw(rng, BYTES)
            name = fault.name
            try:
                if (driver.predict(network.images[places[:-1]]) != right[places[:-1]]).any():
                    found.wrong.append(i)
            except UserError as error:
                found.errors.append(f"{i}: {name}: {error}")
            line.fault = None
            if fault.kind:
                found.unmet += 1
            else:
                found.faults[name] += 1
            before = driver.resent
            if (driver.predict(network.images[places[-1:]]) != right[places[-1:]]).any() or driver.resent != before:
                found.late.append(i)
            if i % 100 == 99:
                tell(f"{found.faults.total()} of {count}, {len(found.wrong)} wrong")
        found.resent = driver.resent
    return found


def netlist_campaign(build: Path, count: int, seed: int = 1, tell=lambda text: None) -> Outcome:
    """Try ``count`` faults on the way to boards with the routed netlist of ``build``, that of board i drawn with ``[seed, i]``.

    A board gets :data:`IMAGES` images with a fault in them. When it is silent, and would have given up a frame that ends too early, it gets one
    image more, and then those again of which no logits came, as the driver does.
    """
    routed = RoutedBoard.of(build)
    host, side, simulator = routed.link, routed.side, compile_netlist(routed.netlist)
    images = np.random.default_rng(seed).integers(0, 256, (LANES, *side.shape[1:]), dtype=np.uint8)
    payloads = side.payloads(images)
    with Accelerator("integers", build) as integers:
        right = integers.predict(images)
    times = host.times
    quiet = host.status(simulator).quiet * times.bit // 256
    times = replace(times, silence=quiet + host.silent + 2 * times.grace)  # a frame that is given up, an image, and two answers
    found = Outcome()
    for first in range(0, count, LANES):
        boards = range(min(LANES, count - first))
        rngs = [np.random.default_rng([seed, first + board]) for board in boards]
        places = [rng.choice(len(images), IMAGES + 1, replace=False) for rng in rngs]
        mine = [[payloads[place] for place in own] for own in places]
        frames = [[LinkFrame(FrameType.IMAGE, k, payload).encoded for k, payload in enumerate(own)] for own in mine]
        faults = [LineFault.draw(rng, {True: IMAGES * len(frames[0][0])}) for rng in rngs]
        names = [fault.name for fault in faults]
        with simulator.boards(times) as running:
            damaged = [list(fault.through(b"".join(own[:IMAGES]), True)) for own, fault in zip(frames, faults)]
            run = running.exchange(
                {board: [LineMessage(damaged[board])] for board in boards}, dict.fromkeys(boards, IMAGES * host.answer_bytes)
            )
            came = [host.answers(run, board, mine[board]) for board in boards]
            todo = [[IMAGES, *(k for k in range(IMAGES) if k not in own)] for own in came]
            again = running.exchange(
                {board: [LineMessage(b"".join(frames[board][k] for k in todo[board]))] for board in boards},
                {board: len(todo[board]) * host.answer_bytes for board in boards},
            )
        for board in boards:
            last = host.answers(again, board, mine[board])
            number, wanted = first + board, right[places[board]]
            found.faults[names[board]] += 1
            found.unmet += bool(faults[board].kind)
            found.resent += len(todo[board]) - 1
            if any((logits != wanted[k]).any() for answers in (came[board], last) for k, logits in answers.items()):
                found.wrong.append(number)
            if missing := {*range(IMAGES)} - {*came[board], *last}:
                found.errors.append(f"{number}: {names[board]}: no logits of images {missing}")
            if IMAGES not in last:
                found.late.append(number)
        tell(f"{found.faults.total()} of {count}, {len(found.wrong)} wrong, {run.clocks + again.clocks:,} clocks")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--netlist", type=Path, metavar="BUILD")
    chosen = parser.parse_args()
    started = time.monotonic()

    def tell(text: str) -> None:
        print(text, flush=True)

    if chosen.netlist:
        found = netlist_campaign(chosen.netlist, chosen.count, chosen.seed, tell)
    else:
        with tempfile.TemporaryDirectory() as folder:
            network = tiny(Path(folder))
            found = campaign(network, compiled(network.design), chosen.count, chosen.seed, tell)
    print(f"{found.text}; {time.monotonic() - started:.0f} s")
    print(*found.errors, sep="\n")
    raise SystemExit(bool(found.wrong or found.errors or found.late))


if __name__ == "__main__":
    main()
