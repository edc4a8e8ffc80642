"""What a link makes of the bytes of its host, by the rules of docs/link.md, byte by byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from finn_vitprune.link.frames import CRC, HEADER, START, Cause, FrameType, LinkFrame, RegisterAccess

ERROR, SILENCE = 1 << 8, 1 << 9
"""Of what a host sends: the line breaks in this byte; no byte but a silence that ends a frame."""


@dataclass(frozen=True)
class Expected:
    """What becomes of what a host sent: images that the design gets with the tags of their frames, what is answered (cause, or None for a
    status, and sequence number), and how many frames were right, or refused for each cause; of accesses the address and word of each write,
    and the words that are read with the sequence numbers."""

    images: list[bytes]
    tags: list[tuple[int, int]]
    answers: list[tuple[Cause | None, int]]
    counts: dict[Cause | None, int]
    writes: list[tuple[int, int]] = field(default_factory=list)
    reads: list[tuple[int, int]] = field(default_factory=list)


def expected(symbols: Sequence[int], image_bytes: int, room: int = 1 << 16, access_bytes: int = 0, access_room: int = 1 << 16) -> Expected:
    """``room``: images that there is room for; ``access_room``: the same of accesses, whose registers are memory."""
    host = _Host(image_bytes, room, access_bytes, access_room)
    for symbol in symbols:
        if symbol & SILENCE:
            host.silence()
        elif symbol & ERROR:
            host.error()
        elif host.body is not None:
            host.in_body(symbol)
        else:
            host.in_head(symbol)
    return host.found


class _Host:
    """Where a link is in the bytes of its host. seen: the last bytes outside of a frame; body: of the frame after its header; lost: the host was
    told that they are out of step."""

    def __init__(self, image_bytes: int, room: int, access_bytes: int, access_room: int) -> None:
        self.found = Expected([], [], [], dict.fromkeys((None, *Cause), 0))
        self.lengths, self.room = {FrameType.IMAGE: image_bytes, FrameType.QUERY: 0}, {FrameType.IMAGE: room, FrameType.ACCESS: access_room}
        if access_bytes:
            self.lengths[FrameType.ACCESS] = access_bytes
        self.registers: dict[int, int] = {}
        self.seen, self.body, self.lost = b"", None, False
        self.kind = self.number = 0

    def refuse(self, cause: Cause, number: int = 0) -> None:
        self.found.answers.append((cause, number))
        self.found.counts[cause] += 1

    def end(self, cause: Cause, lost: bool) -> None:
        """What comes next is of no frame that began."""
        if self.body is not None:
            self.refuse(cause, self.number)
        elif not self.lost and (self.seen or cause == Cause.LINE):
            self.refuse(cause)
        self.seen, self.body, self.lost = b"", None, lost

    def silence(self) -> None:
        self.end(Cause.SILENCE, lost=False)

    def error(self) -> None:
        self.end(Cause.LINE, lost=True)

    def in_head(self, byte: int) -> None:
        self.seen = (self.seen + bytes([byte]))[-HEADER.size :]
        if len(self.seen) == HEADER.size:
            start, self.kind, self.number, length = HEADER.unpack(self.seen)
            if start == START and self.lengths.get(self.kind) == length:
                self.seen, self.body = b"", b""
            elif not self.lost:
                self.refuse(Cause.LENGTH if self.kind in self.lengths else Cause.TYPE)
                self.lost = True
        elif len(self.seen) == 1 and byte != START and not self.lost:
            self.refuse(Cause.START)
            self.lost = True

    def in_body(self, byte: int) -> None:
        self.body += bytes([byte])
        if len(self.body) < self.lengths[self.kind] + CRC.size:
            return
        payload, crc = self.body[: -CRC.size], CRC.unpack(self.body[-CRC.size :])[0]
        self.body, self.lost = None, crc != LinkFrame(FrameType(self.kind), self.number, payload).crc
        if self.lost:
            self.refuse(Cause.CRC, self.number)
        elif self.kind in self.room and not self.room[self.kind]:
            self.refuse(Cause.ROOM, self.number)
        else:
            self.found.counts[None] += 1
            if self.kind in self.room:
                self.room[self.kind] -= 1
            if self.kind == FrameType.IMAGE:
                self.found.images.append(payload)
                self.found.tags.append((self.number, crc))
            elif self.kind == FrameType.ACCESS:
                self.access(RegisterAccess.decode(payload))
            else:
                self.found.answers.append((None, self.number))

    def access(self, access: RegisterAccess) -> None:
        for word in access.words:
            self.registers[access.write] = word
            self.found.writes.append((access.write, word))
        self.found.reads.append((self.number, self.registers.get(access.read, 0)))
