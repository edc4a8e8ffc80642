"""Streams, and the one packer of integers into the bytes of their beats and back, for any element and beat width."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from qonnx.core.datatype import BaseDataType

CHUNK_ELEMENTS = 1 << 20
"""Elements whose single bits are in memory at once."""


@dataclass(frozen=True)
class Stream:
    """A token-serial AXI4-Stream: ``tokens`` rows of ``channels`` elements, ``simd`` elements a beat.

    Element 0 of a beat sits in the least significant bits (FINN's packing); tdata is padded to bytes.
    """

    tokens: int
    channels: int
    simd: int
    dtype: BaseDataType

    def __post_init__(self) -> None:
        if self.simd < 1 or self.channels % self.simd:
            raise ValueError(f"{self.simd} elements a beat do not divide {self.channels} channels")

    @property
    def width(self) -> int:
        """Payload bits of a beat."""
        return self.simd * self.dtype.bitwidth()

    @property
    def tdata_bits(self) -> int:
        """Bits of tdata: the payload padded to bytes."""
        return 8 * beat_bytes(self.width)

    @property
    def token_beats(self) -> int:
        """Beats of one token."""
        return self.channels // self.simd

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the tensor of one frame."""
        return 1, self.tokens, self.channels

    @property
    def folded_shape(self) -> tuple[int, int, int, int]:
        """The same, element by element of each beat."""
        return 1, self.tokens, self.token_beats, self.simd

    @property
    def beats(self) -> int:
        """Beats of one frame."""
        return self.tokens * self.token_beats


def beat_bytes(width: int) -> int:
    """Bytes of a beat of ``width`` bits (tdata is padded to bytes)."""
    return -(-width // 8)


def pack(values: np.ndarray, stream: Stream) -> np.ndarray:
    """Integers ``[..., tokens, channels]`` to beats, uint8 ``[beats, bytes]``, element 0 lowest.

    Raises:
        ValueError: a value does not fit the stream's data type.
    """
    values = np.asarray(values)
    if values.size and (values.min() < stream.dtype.min() or values.max() > stream.dtype.max()):
        raise ValueError(f"values {values.min()} to {values.max()} do not fit {stream.dtype}")
    return pack_elements(values.reshape(-1, stream.simd), stream.dtype.bitwidth())


def unpack(beats: np.ndarray, stream: Stream) -> np.ndarray:
    """Beats, uint8 ``[beats, bytes]``, to int64 ``[frames, tokens, channels]``."""
    elements = unpack_elements(beats, stream.simd, stream.dtype.bitwidth(), stream.dtype.signed())
    return elements.reshape(-1, stream.tokens, stream.channels)


def pack_elements(elements: np.ndarray, bits: int) -> np.ndarray:
    """Integers ``[beats, n]`` of ``bits`` bits each (two's complement, <= 64) to uint8 ``[beats, bytes]``."""
    elements = np.asarray(elements)
    count, n = elements.shape
    if bits in (8, 16, 32, 64):
        narrow = elements.astype(np.int64).astype(f"<i{bits // 8}")
        return np.ascontiguousarray(narrow).view(np.uint8).reshape(count, -1)
    container = _container(bits)
    out = np.empty((count, beat_bytes(n * bits)), np.uint8)
    step = max(1, CHUNK_ELEMENTS // n)
    for start in range(0, count, step):
        part = np.ascontiguousarray(elements[start : start + step].astype(np.int64).astype(f"<i{container}"))
        single = np.unpackbits(part.view(np.uint8).reshape(len(part), n, container), axis=-1, bitorder="little")
        out[start : start + step] = np.packbits(single[..., :bits].reshape(len(part), -1), axis=-1, bitorder="little")
    return out


def unpack_elements(beats: np.ndarray, n: int, bits: int, signed: bool) -> np.ndarray:
    """uint8 ``[beats, bytes]`` to int64 ``[beats, n]``, sign-extended if ``signed``."""
    beats = np.ascontiguousarray(beats, dtype=np.uint8)
    count, kind = len(beats), "i" if signed else "u"
    if bits in (8, 16, 32, 64):
        return beats.view(f"<{kind}{bits // 8}").astype(np.int64)
    container = _container(bits)
    out = np.empty((count, n), np.int64)
    step = max(1, CHUNK_ELEMENTS // n)
    for start in range(0, count, step):
        part = beats[start : start + step]
        single = np.unpackbits(part, axis=-1, bitorder="little")[:, : n * bits].reshape(len(part), n, bits)
        wide = np.zeros((len(part), n, container * 8), np.uint8)
        wide[..., :bits] = single
        if signed:
            wide[..., bits:] = single[..., -1:]
        packed = np.packbits(wide, axis=-1, bitorder="little")
        out[start : start + step] = packed.view(f"<{kind}{container}").reshape(len(part), n)
    return out


def to_words(beats: np.ndarray) -> list[int]:
    """Beats, uint8 ``[beats, bytes]``, as Python integers."""
    return [int.from_bytes(beat.tobytes(), "little") for beat in beats]


def from_words(words: Iterable[int], size: int) -> np.ndarray:
    """Python integers to beats of ``size`` bytes, uint8 ``[beats, size]``."""
    data = b"".join(int(word).to_bytes(size, "little") for word in words)
    return np.frombuffer(data, np.uint8).reshape(-1, size)


def _container(bits: int) -> int:
    """Bytes of the NumPy integer that holds ``bits`` bits."""
    if not 1 <= bits <= 64:
        raise ValueError(f"elements of {bits} bits cannot be packed, at most 64")
    return next(size for size in (1, 2, 4, 8) if bits <= 8 * size)
