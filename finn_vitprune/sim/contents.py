"""Contents of memories that are loaded at start-up: ``contents.bin`` and ``load.json``, written and read here alone.

``contents.bin`` is little endian, in words of 32 bits: :data:`MAGIC`, :data:`VERSION`, the number of the design, the number
of data words; the data; CRC-32 (that of zlib) of all before it. Data are the regions one after another, in a region its
banks, in a bank its memory words, each in as many words as it takes, lowest first. ``load.json`` says which region is what.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from finn_vitprune.errors import UserError
from finn_vitprune.files import read_json, sha256, whole_file, write_json, write_text
from finn_vitprune.sim.beats import from_words

CONTENTS, INDEX = "contents.bin", "load.json"
CHAIN = "load"
"""The port of a unit alone: its load chain. A design has an AXI4-Lite port."""
MAGIC = int.from_bytes(b"vpld", "little")
VERSION = 1
HEADER_WORDS = 4
FORMAT = 1
"""Of ``load.json``."""
WORD = np.dtype("<u4")
WORD_BITS = 8 * WORD.itemsize


@dataclass(frozen=True)
class Region:
    """A memory that is loaded: ``banks`` of ``words`` words of ``width`` bits, in ``unit`` called ``memory``."""

    unit: str
    memory: str
    words: int
    width: int
    banks: int

    @property
    def parts(self) -> int:
        """Data words of a memory word."""
        return -(-self.width // WORD_BITS)

    @property
    def size(self) -> int:
        """Data words of the region."""
        return self.banks * self.words * self.parts

    def packed(self, banks: Sequence[Sequence[int] | np.ndarray]) -> np.ndarray:
        """The data words, uint32 ``[size]``, of memory words, bank by bank.

        Raises:
            ValueError: another number of banks or words.
        """
        if len(banks) != self.banks or any(len(bank) != self.words for bank in banks):
            raise ValueError(f"{self.unit} {self.memory}: {self.banks} banks of {self.words} words, not {[*map(len, banks)]}")
        return np.concatenate([from_words(bank, WORD.itemsize * self.parts).view(WORD).reshape(-1) for bank in banks])

    def fill_file(self, bank: int) -> str:
        """Bare name of the file that a simulation fills a bank from; with several, a bank has its number in front."""
        name = fill_file(self.unit, self.memory)
        return f"{bank:02d}_{name}" if self.banks > 1 else name


def fill_file(unit: str, memory: str) -> str:
    """Bare name of the file that a simulation fills a memory of one bank from."""
    return f"{unit}_{memory}.fill"


@dataclass(frozen=True)
class Contents:
    """What the memories of a design are loaded with: ``data`` uint32, the words of ``regions`` one after another.

    ``design`` is the number (32 bits) of the design for which they are, ``port`` its port.
    """

    design: int
    regions: tuple[Region, ...]
    data: np.ndarray
    port: str = CHAIN

    @cached_property
    def words(self) -> np.ndarray:
        """All words of ``contents.bin``, uint32."""
        before = np.concatenate([np.array([MAGIC, VERSION, self.design, len(self.data)], WORD), self.data.astype(WORD)])
        return np.append(before, np.array(zlib.crc32(before.tobytes()), WORD))

    def banks(self, region: Region) -> np.ndarray:
        """Of one of :attr:`regions`, uint32 ``[banks, words, parts]``."""
        start = self._starts[region]
        return self.data[start : start + region.size].reshape(region.banks, region.words, region.parts)

    @property
    def _starts(self) -> dict[Region, int]:
        """The first data word of each region."""
        ends = np.cumsum([region.size for region in self.regions])
        return {region: int(end) - region.size for region, end in zip(self.regions, ends)}

    def write(self, path: Path) -> None:
        """Write a file as ``contents.bin`` alone."""
        with whole_file(path) as partial:
            partial.write_bytes(self.words.tobytes())

    def save(self, folder: Path) -> None:
        """Write ``contents.bin`` and ``load.json`` into ``folder``."""
        self.write(folder / CONTENTS)
        regions = [asdict(r) | {"offset": WORD.itemsize * (HEADER_WORDS + start)} for r, start in self._starts.items()]
        head = {"format": FORMAT, "design": self.design, "port": self.port, "file": CONTENTS, "sha256": sha256(folder / CONTENTS)}
        write_json(folder / INDEX, head | {"regions": regions}, indent=1)

    @classmethod
    def load(cls, folder: Path) -> Contents:
        """Read and check what :meth:`save` wrote.

        Raises:
            UserError: a file is missing or damaged, or the two do not belong together.
        """
        index = _index(folder / INDEX)
        path = folder / index["file"]
        if not path.is_file():
            raise UserError(f"{path} is missing, which {folder / INDEX} names: copy both files of a build")
        return cls._read(path, folder, index, index["sha256"])

    @classmethod
    def other(cls, path: Path, folder: Path) -> Contents:
        """Read what :meth:`write` wrote for the design of which ``folder`` holds the contents of another network.

        Raises:
            UserError: the file is missing, damaged, or for another design.
        """
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        return cls._read(path, folder, _index(folder / INDEX), sha256(path))

    @classmethod
    def _read(cls, path: Path, folder: Path, index: Mapping, digest: str) -> Contents:
        raw = path.read_bytes()
        if len(raw) % WORD.itemsize or len(raw) < WORD.itemsize * (HEADER_WORDS + 1):
            raise UserError(f"{path} has {len(raw)} bytes, which is no file of contents: copy it again from its build")
        words = np.frombuffer(raw, WORD)
        magic, version, design, count = map(int, words[:HEADER_WORDS])
        if magic != MAGIC:
            raise UserError(f"{path} begins with {raw[:4]!r}, a file of contents with {MAGIC.to_bytes(4, 'little')!r}")
        if version != VERSION:
            raise UserError(f"{path} has version {version}, this program reads {VERSION}: build again")
        if count != len(words) - HEADER_WORDS - 1:
            raise UserError(f"{path} names {count} words and holds {len(words) - HEADER_WORDS - 1}: copy it again from its build")
        if zlib.crc32(raw[: -WORD.itemsize]) != words[-1] or sha256(path) != digest:
            raise UserError(f"{path} is not as the build wrote it (its checksum is wrong): copy it again from its build")
        if design != index["design"]:
            raise UserError(f"{path} is for design {design:#010x}, {folder / INDEX} for {index['design']:#010x}")
        contents = cls(design, tuple(Region(**r) for r in index["regions"]), words[HEADER_WORDS:-1], index["port"])
        if sum(region.size for region in contents.regions) != count:
            raise UserError(f"the regions of {folder / INDEX} do not add up to the {count} words of {path}: copy both files of a build")
        return contents

    def fill(self, folder: Path) -> None:
        """Write the files from which simulations under ``+fill`` read the memories at time 0."""
        for region in self.regions:
            digits = -(-region.width // 4)
            for i, bank in enumerate(self.banks(region)):
                text = bank[:, ::-1].astype(">u4").tobytes().hex()
                size = len(text) // region.words
                lines = (text[end - digits : end] for end in range(size, len(text) + 1, size))
                write_text(folder / region.fill_file(i), "\n".join(lines) + "\n")


def check_replaceable(path: Path) -> None:
    """Raise a UserError where ``path`` is there already and is no file of contents, which alone may be written anew."""
    if path.is_dir():
        raise UserError(f"-o {path} is a folder: give the name of a file, for instance {path / CONTENTS}")
    if path.exists() and path.read_bytes()[: WORD.itemsize] != MAGIC.to_bytes(WORD.itemsize, "little"):
        raise UserError(f"{path} is there already and is no file of contents: give another name")


def joined(design: int, port: str, parts: Sequence[Contents]) -> Contents:
    """Contents of a design from those of its units, in the order of the load chain."""
    regions = tuple(region for part in parts for region in part.regions)
    return Contents(design, regions, np.concatenate([part.data for part in parts]), port)


def _index(path: Path) -> Mapping:
    """``load.json``, checked.

    Raises:
        UserError: it is missing or not as :meth:`Contents.save` writes it.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: a build whose weights are loaded writes it")
    try:
        index = read_json(path, "index")
        found = index["format"]
        if found == FORMAT:
            regions = [{name: kind(r[name]) for name, kind in _FIELDS.items()} for r in index["regions"]]
            return {name: kind(index[name]) for name, kind in _HEAD.items()} | {"regions": regions}
    except (UserError, ValueError, TypeError, KeyError):
        raise UserError(f"{path} is not as the build wrote it: copy it again from its build") from None
    raise UserError(f"{path} has format {found}, this program reads {FORMAT}: build again")


_HEAD = {"design": int, "port": str, "file": str, "sha256": str}
_FIELDS = {"unit": str, "memory": str, "words": int, "width": int, "banks": int}
