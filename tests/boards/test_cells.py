"""The models of cells that are more than a gate, against integers of NumPy, one board after another."""

import ctypes
import subprocess
from dataclasses import dataclass, field

import numpy as np
import pytest

from finn_vitprune.boards import gate
from finn_vitprune.sim import toolchain

BOARDS = 64
Word = ctypes.c_uint64


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    library = tmp_path_factory.mktemp("cells") / "cells.so"
    source = gate.HERE / "cells.cpp"
    subprocess.run(
        [toolchain.compiler(), "-std=gnu++17", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", str(source), "-o", str(library)], check=True
    )
    found = ctypes.CDLL(str(library))
    found.ecp5_ram16_read.restype = Word
    return found


def words(values: np.ndarray, bits: int):
    """Integers ``[64]``, one a board, as words: bit ``n`` of word ``k`` is bit ``k`` of board ``n``."""
    made = [sum(int(v >> k & 1) << board for board, v in enumerate(values.tolist())) for k in range(bits)]
    return (Word * bits)(*made)


def integers(found, bits: int) -> np.ndarray:
    """The opposite of :func:`words`."""
    return np.array([sum((found[k] >> board & 1) << k for k in range(bits)) for board in range(BOARDS)], np.int64)


@pytest.mark.parametrize("signed_a", [0, 1])
@pytest.mark.parametrize("signed_b", [0, 1])
def test_products(cells, signed_a, signed_b):
    rng = np.random.default_rng(1)
    for _ in range(6):
        a, b = (rng.choice([0, 1, 0x1FFFF, 0x20000, 0x3FFFF, *rng.integers(0, 1 << 18, 40)], BOARDS) for _ in range(2))
        product = (Word * 36)()
        cells.ecp5_mult18(signed_a, signed_b, words(a, 18), words(b, 18), product)
        numbers = [np.where(x >= 1 << 17, x - (1 << 18), x) if signed else x for x, signed in ((a, signed_a), (b, signed_b))]
        assert np.array_equal(integers(product, 36), numbers[0] * numbers[1] % (1 << 36))


@pytest.mark.parametrize("alike", [True, False], ids=["one address", "an address a board"])
def test_small_rams(cells, alike):
    assert cells.ecp5_load(b".", 0, 2)
    rng, memory = np.random.default_rng(2), np.zeros((BOARDS, 16), np.int64)

    def address() -> np.ndarray:
        return np.full(BOARDS, rng.integers(16)) if alike else rng.integers(0, 16, BOARDS)

    def pins(at):
        return [Word(word) for word in reversed(words(at, 4))]

    for _ in range(200):
        at, enable, data = address(), rng.integers(0, 2, BOARDS), rng.integers(0, 2, BOARDS)
        cells.ecp5_ram16_write(1, Word(words(enable, 1)[0]), Word(words(data, 1)[0]), *pins(at))
        memory[np.arange(BOARDS), at] = np.where(enable, data, memory[np.arange(BOARDS), at])
        at = address()
        found = cells.ecp5_ram16_read(1, 0, *pins(at))
        assert np.array_equal(integers([found], 1), memory[np.arange(BOARDS), at])


@dataclass
class Port:
    """A port of a block RAM by its data sheet, of one board: 1,024 words of 18 bits, of which narrow ports use 16."""

    width: int
    mode: int
    output: int = 0

    def place(self, address: int) -> list[tuple[int, int]]:
        """Word and bit of each of its bits."""
        if self.width == 36:
            word = address >> 5 << 1
            return [(word + k // 18, k % 18) for k in range(36)]
        if self.width >= 9:
            word, half = address >> 4, (address >> 3 & 1) * (self.width == 9)
            return [(word, 9 * half + k) for k in range(self.width)]
        first = (address & 15) // self.width * self.width  # of the 16 bits that are no parity
        return [(address >> 4, bit + bit // 8) for bit in range(first, first + self.width)]

    def read(self, memory: np.ndarray, address: int) -> int:
        return sum(int(memory[w, b]) << k for k, (w, b) in enumerate(self.place(address)))


@dataclass
class BlockRam:
    """A block RAM of one board."""

    a: Port
    b: Port
    memory: np.ndarray = field(default_factory=lambda: np.zeros((1024, 18), np.int64))

    def clock(self, enables: list[tuple[int, int, int]], addresses: list[int], data: list[int]) -> None:
        """``enables``: of port, of writing, reset, of each port."""
        wide = self.a.width == 36
        old = [port.read(self.memory, at) for port, at in zip((self.a, self.b), addresses)]
        for port, (ce, we, _), at, value in zip((self.a, self.b), enables, addresses, data):
            if not (ce and we) or (wide and port is self.b):
                continue
            for k, (w, b) in enumerate(port.place(at)):
                if port.width < 18 or at >> k // 9 & 1:
                    self.memory[w, b] = value >> k & 1
        for number, (port, (ce, we, reset)) in enumerate(zip((self.a, self.b), enables)):
            if wide and port is self.a:
                continue
            writes = we and not wide
            if ce and not (writes and port.mode == 0):
                port.output = port.read(self.memory, addresses[number]) if writes and port.mode == 2 else old[number]
            if reset:
                port.output = 0


CASES = [(18, 18, 0, 0), (9, 18, 1, 0), (4, 9, 2, 1), (2, 1, 0, 2), (1, 4, 1, 1), (36, 36, 0, 0), (36, 9, 0, 0)]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("alike", [True, False], ids=["one address", "an address a board"])
def test_block_rams(cells, case, alike, tmp_path):
    width_a, width_b, mode_a, mode_b = case
    rng = np.random.default_rng(3)
    contents = rng.integers(0, 1 << 18, 1024)
    (tmp_path / "0.hex").write_text("\n".join(f"{word:05x}" for word in contents) + "\n")
    assert cells.ecp5_load(str(tmp_path).encode(), 1, 0)
    start = np.array([[word >> k & 1 for k in range(18)] for word in contents.tolist()])
    boards = [BlockRam(Port(width_a, mode_a), Port(width_b, mode_b), start.copy()) for _ in range(BOARDS)]
    outputs = [(Word * 18)(), (Word * 18)()]
    for _ in range(40):
        enables = [[rng.random(BOARDS) < share for share in (0.8, 0.5, 0.1)] for _ in range(2)]
        addresses = [np.full(BOARDS, rng.integers(1 << 14)) if alike else rng.integers(0, 1 << 8, BOARDS) for _ in range(2)]
        if width_a != 36:  # the same word at both ports is undefined on the chip where one of them writes
            addresses[0], addresses[1] = addresses[0] & ~(1 << 9), addresses[1] | 1 << 9
        else:
            enables[0][1] &= (addresses[0] >> 5) != (addresses[1] >> 5)
        data = [rng.integers(0, 1 << 18, BOARDS) for _ in range(2)]
        pins = [
            [*(Word(words(e.astype(np.int64), 1)[0]) for e in enable), words(at, 14), words(value, 18)]
            for enable, at, value in zip(enables, addresses, data)
        ]  # fmt: skip
        fresh = [(Word * 18)(), (Word * 18)()]
        cells.ecp5_ebr(0, width_a, width_b, mode_a, mode_b, *pins[0], *pins[1], *outputs, *fresh)
        outputs = fresh
        for n, board in enumerate(boards):
            given = [int(data[0][n]) | int(data[1][n]) << 18 if width_a == 36 else int(data[0][n]), int(data[1][n])]
            board.clock([tuple(int(e[n]) for e in enable) for enable in enables], [int(at[n]) for at in addresses], given)
        found_a, found_b = (integers(out, 18) for out in outputs)
        if width_b == 36:
            assert np.array_equal(found_a | found_b << 18, [board.b.output for board in boards])
        else:
            assert np.array_equal(found_b, [board.b.output for board in boards])
            assert width_a == 36 or np.array_equal(found_a, [board.a.output for board in boards])


def test_missing_contents_are_told(cells, tmp_path):
    assert not cells.ecp5_load(str(tmp_path).encode(), 1, 0)
    (tmp_path / "0.hex").write_text("00000\n" * 1023)
    assert not cells.ecp5_load(str(tmp_path).encode(), 1, 0)
