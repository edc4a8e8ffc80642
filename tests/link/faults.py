"""``python -m tests.link.faults``: faults of the line between a driver and a simulated board, each while images are on their way.

After each fault the driver must have given the right logits (or an error), and the next image must get through at its first try.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from finn_vitprune.api.accelerator import Accelerator
from finn_vitprune.errors import UserError
from finn_vitprune.link.frames import START
from tests.link.board import BROKEN, RESET, TIMEOUT_S, SimulatedBoard, Tiny, compiled, tiny

KINDS = ("flipped", "lost", "doubled", "inserted", "cut", "broken", "reset")
TO_BOARD, FROM_BOARD = KINDS, KINDS[:5]
IMAGES = 3
"""Of a round: a fault, and then one image more."""
BYTES = {True: 84, False: 168}
"""A fault is in one of so many bytes to the board, or from it: those of the frames of a round."""


@dataclass
class FaultyLine:
    """A transport that does one fault, at a byte of one direction, when :meth:`arm` says so."""

    board: SimulatedBoard
    name: str = "the faulty line"
    kind: str = ""
    place: int = 0
    size: int = 1
    to_board: bool = True
    bit_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.bit_s = self.board.bit_s

    def arm(self, rng: np.random.Generator) -> None:
        """The next fault, drawn with ``rng``."""
        self.to_board = bool(rng.random() < 0.6)
        self.kind = str(rng.choice(TO_BOARD if self.to_board else FROM_BOARD))
        self.place, self.size = int(rng.integers(BYTES[self.to_board])), int(rng.integers(1, 40 if self.kind == "cut" else 4))
        self._noise = [int(START if rng.random() < 0.3 else rng.integers(256)) for _ in range(self.size)]
        self._bit, self._cut = int(rng.integers(8)), 0

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

    def _through(self, data: bytes, to_board: bool) -> Iterator[int]:
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
            "flipped": [byte ^ 1 << self._bit], "doubled": [byte, byte], "inserted": [*self._noise, byte], "broken": [byte | BROKEN],
            "reset": [RESET, byte],
        }[kind]  # fmt: skip


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
            line.arm(rng)
            name = f"{line.kind} {'to' if line.to_board else 'from'} the board"
            try:
                if (driver.predict(network.images[places[:-1]]) != right[places[:-1]]).any():
                    found.wrong.append(i)
            except UserError as error:
                found.errors.append(f"{i}: {name}: {error}")
            if line.kind:
                line.kind, found.unmet = "", found.unmet + 1
            else:
                found.faults[name] += 1
            before = driver.resent
            if (driver.predict(network.images[places[-1:]]) != right[places[-1:]]).any() or driver.resent != before:
                found.late.append(i)
            if i % 100 == 99:
                tell(f"{found.faults.total()} of {count}, {len(found.wrong)} wrong")
        found.resent = driver.resent
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        network = tiny(Path(folder))
        found = campaign(network, compiled(network.design), chosen.count, chosen.seed, lambda text: print(text, flush=True))
    print(f"{found.text}; {time.monotonic() - started:.0f} s")
    print(*found.errors, sep="\n")
    raise SystemExit(bool(found.wrong or found.errors or found.late))


if __name__ == "__main__":
    main()
