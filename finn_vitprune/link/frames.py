"""Frames between a host and a board (docs/link.md), the same as in ``custom_ops/link``: bytes to frames and back.

A frame is START, type, sequence number (2 bytes), length of the payload (4), payload, and CRC-32 (zlib's) of all but START; numbers are
little endian. This file needs nothing but Python.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

START, VERSION = 0xA5, 1
HEADER, CRC, TAG = struct.Struct("<BBHI"), struct.Struct("<I"), struct.Struct("<I")
NUMBERS = 1 << 16
"""Sequence numbers begin again after so many."""


class FrameType(IntEnum):
    """What a frame is: an image, a query and an access to registers of the host; logits, the status, a refusal and the word that an access
    read of the board."""

    IMAGE = 0x01
    QUERY = 0x02
    ACCESS = 0x03
    LOGITS = 0x81
    STATUS = 0x82
    REFUSED = 0x83
    WORD = 0x84


class Cause(IntEnum):
    """Why a board refuses a frame: the line was broken in it; it began with another byte than START; unknown type; length not of the type;
    wrong CRC; the line was silent in the middle of it; the board holds as many images as it can, or works on an access."""

    LINE = 1
    START = 2
    TYPE = 3
    LENGTH = 4
    CRC = 5
    SILENCE = 6
    ROOM = 7


@dataclass(frozen=True)
class LinkFrame:
    """A frame: its type, its sequence number (0 to 65,535) and its payload."""

    type: FrameType
    number: int
    payload: bytes = b""

    @property
    def crc(self) -> int:
        """CRC-32 of all but START."""
        return zlib.crc32(self._head[1:] + self.payload)

    @property
    def encoded(self) -> bytes:
        """The bytes of the frame."""
        return self._head + self.payload + CRC.pack(self.crc)

    @property
    def _head(self) -> bytes:
        return HEADER.pack(START, self.type, self.number, len(self.payload))


@dataclass(frozen=True)
class LinkStatus:
    """What a board says of itself.

    Attributes:
        version: of the frames. design: number of the design, 32 bits.
        image_bytes, logit_bytes: of an image, and of its logits. images: that it takes before it answered the first one.
        quiet: silence that ends a frame, in bits of a serial line.
        pending: images of which the logits are still to come.
        right, refused: frames since the last reset that were right, and that were refused by cause, each modulo 65,536.
    """

    version: int
    design: int
    image_bytes: int
    logit_bytes: int
    images: int
    quiet: int
    pending: int
    right: int
    refused: Mapping[Cause, int]

    LAYOUT = struct.Struct("<7I8H")

    @classmethod
    def decode(cls, payload: bytes) -> LinkStatus:
        """Of the payload of a STATUS frame."""
        version, design, image_bytes, logit_bytes, images, quiet, pending, right, *refused = cls.LAYOUT.unpack(payload)
        return cls(version, design, image_bytes, logit_bytes, images, quiet, pending, right, dict(zip(Cause, refused, strict=True)))


STATUS_BYTES, REFUSED_BYTES, WORD_BYTES = LinkStatus.LAYOUT.size, 4, 4
ACCESS_WORDS = 32
"""Of an access, those that are written and those that fill it up."""


@dataclass(frozen=True)
class RegisterAccess:
    """Words to write to a register, one after another, and the register to read then. Addresses are in bytes."""

    write: int
    words: tuple[int, ...]
    read: int

    HEAD = struct.Struct("<BBBx")

    def encoded(self, size: int = ACCESS_WORDS) -> bytes:
        """The payload of an ACCESS frame of ``size`` words."""
        assert len(self.words) <= size
        return self.HEAD.pack(self.write, len(self.words), self.read) + struct.pack(
            f"<{size}I", *self.words, *[0] * (size - len(self.words))
        )

    @classmethod
    def decode(cls, payload: bytes) -> RegisterAccess:
        """Of the payload of an ACCESS frame."""
        write, count, read = cls.HEAD.unpack_from(payload)
        words = struct.unpack_from(f"<{(len(payload) - cls.HEAD.size) // 4}I", payload, cls.HEAD.size)
        return cls(write, words[:count], read)


ACCESS_BYTES = RegisterAccess.HEAD.size + 4 * ACCESS_WORDS


def cause_of(frame: LinkFrame) -> Cause:
    """Why the board refused, of a REFUSED frame."""
    return Cause(frame.payload[0])


class FrameReader:
    """Finds frames in bytes that may be damaged: a frame is what has a known type, its length, and the right CRC."""

    def __init__(self, lengths: Mapping[FrameType, int]) -> None:
        """lengths: payload bytes of each type that may come."""
        self.lengths = dict(lengths)
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[LinkFrame]:
        """The frames that ``data`` completes."""
        self._bytes += data
        found = []
        while (frame := self._next()) is not None:
            found.append(frame)
        return found

    def flush(self) -> list[LinkFrame]:
        """Nothing follows what came: what began and did not end was no frame; those behind its first byte."""
        found = []
        while self._bytes:
            del self._bytes[0]
            found += self.feed(b"")
        return found

    def _next(self) -> LinkFrame | None:
        """Takes the next frame out of the bytes, and all before it that cannot be of one; ``None`` where more bytes are needed."""
        while (start := self._bytes.find(START)) >= 0:
            del self._bytes[:start]
            if len(self._bytes) < HEADER.size:
                return None
            _, kind, number, length = HEADER.unpack_from(self._bytes)
            if self.lengths.get(kind) == length:
                end = HEADER.size + length
                if len(self._bytes) < end + CRC.size:
                    return None
                frame = LinkFrame(FrameType(kind), number, bytes(self._bytes[HEADER.size : end]))
                if CRC.unpack_from(self._bytes, end)[0] == frame.crc:
                    del self._bytes[: end + CRC.size]
                    return frame
            del self._bytes[0]
        self._bytes.clear()
        return None
