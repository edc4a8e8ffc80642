"""Images to a board and logits back over a link that may damage, lose or double bytes: right logits, or an error."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from finn_vitprune.errors import UserError
from finn_vitprune.link.frames import (
    NUMBERS,
    REFUSED_BYTES,
    STATUS_BYTES,
    TAG,
    VERSION,
    WORD_BYTES,
    FrameReader,
    FrameType,
    LinkFrame,
    LinkStatus,
    RegisterAccess,
    cause_of,
)

BYTE_BITS = 10
"""Bits of a byte on a serial line."""
QUIET_BITS = 1 << 15
"""Of silence that end a frame, before a board has said how many: what ``vp_board_uart`` has by default."""


class Transport(Protocol):
    """Bytes to a board and back. name: for messages. bit_s: seconds of a bit."""

    name: str
    bit_s: float

    def write(self, data: bytes) -> None:
        """Send bytes, or keep them to be sent."""

    def read(self, seconds: float) -> bytes:
        """What came: at least a byte, or none when so many seconds, or no time at all, passed without one."""

    def now(self) -> float:
        """Seconds, of any beginning."""

    def close(self) -> None:
        """Nothing is sent or read any more."""


@dataclass
class _Sent:
    """An image on its way: its place among all, its payload, its frame, how often it was sent, and until when its logits must be there."""

    place: int
    payload: bytes
    frame: LinkFrame
    tries: int
    until: float


class Exchange:
    """The host's end of a link.

    Answers carry the sequence number and the CRC of the frame that they answer; what is of another frame is passed over. After a
    refusal, or where no answer comes in time, nothing is sent until the board has ended every frame that began and has given all logits
    that it owes; then the images without logits are sent again, ``tries`` times at most.
    """

    def __init__(self, transport: Transport, timeout_s: float = 2.0, tries: int = 5) -> None:
        """Ask the board for its status.

        Args:
            timeout_s: most that a board may take for an answer, besides the time on the line.
            tries: how often a frame is sent at most.
        Raises:
            UserError: no board answers, or one with other frames.
        """
        self.transport, self.timeout_s, self.tries = transport, timeout_s, tries
        self.resent = 0
        self._number = int(transport.now() * 1e6) % NUMBERS  # answers to an earlier host's frames may still come
        self._quiet_s = 2 * QUIET_BITS * transport.bit_s
        self._reader = FrameReader({FrameType.STATUS: STATUS_BYTES, FrameType.REFUSED: REFUSED_BYTES, FrameType.WORD: WORD_BYTES})
        self._come: deque[LinkFrame] = deque()
        self._waiting: dict[int, _Sent] = {}
        self._done: dict[int, bytes] = {}
        self._turn = 0
        """Of who sends images; one that began before has lost what was under way."""
        self.board = self.status()
        if self.board.version != VERSION:
            raise UserError(f"the board at {transport.name} has frames of version {self.board.version}, this program of version {VERSION}")
        self._quiet_s = 2 * self.board.quiet * transport.bit_s
        self._reader.lengths[FrameType.LOGITS] = TAG.size + self.board.logit_bytes

    def status(self) -> LinkStatus:
        """What the board says of itself, asked now.

        Raises:
            UserError: it does not answer.
        """
        for _ in range(self.tries):
            query = self._frame(FrameType.QUERY)
            self.transport.write(query.encoded)
            end = self.transport.now() + self._limit(len(query.encoded) + STATUS_BYTES)
            while (frame := self._next(end)) is not None:
                if frame.type == FrameType.STATUS and frame.number == query.number:
                    return LinkStatus.decode(frame.payload)
                self._take(frame)
            self._silence()
        raise UserError(f"no answer from {self.transport.name}: is the board connected and programmed, and its speed the same?")

    def access(self, access: RegisterAccess) -> int | None:
        """The word that an access to registers reads; None where it was refused or not answered. It may have been done all the same."""
        sent = self._frame(FrameType.ACCESS, access.encoded())
        self.transport.write(sent.encoded)
        end = self.transport.now() + self._limit(len(sent.encoded) + WORD_BYTES)
        while (frame := self._next(end)) is not None and frame.type != FrameType.REFUSED:
            if frame.type == FrameType.WORD and frame.number == sent.number:
                return int.from_bytes(frame.payload, "little")
            self._take(frame)
        self._silence()
        return None

    def answers(self, images: Iterable[bytes]) -> Iterator[bytes]:
        """The logits of each image, in order; the next images are sent while the board works.

        Raises:
            UserError: an image was sent ``tries`` times and no logits came; the text says why it was refused. Or :meth:`forget` was called, as
                by another iterator over answers.
        """
        self.forget()
        turn, source, given, more = self._turn, enumerate(images), 0, True
        while more or self._waiting or self._done:
            while more and len(self._waiting) + len(self._done) < self.board.images:
                if (taken := next(source, None)) is None:
                    more = False
                else:
                    self._send(*taken, tries=1)
            if self._waiting:
                self._collect()
            while given in self._done:
                yield self._done.pop(given)
                given += 1
                if self._turn != turn:
                    raise UserError(
                        f"{self.transport.name} was given other images, or loaded, before all logits of these were taken: begin again"
                    )

    def forget(self) -> None:
        """Wait no longer for logits of the images under way."""
        self._turn += 1
        self._waiting.clear()
        self._done.clear()

    def close(self) -> None:
        """Close the transport."""
        self.transport.close()

    def _frame(self, kind: FrameType, payload: bytes = b"") -> LinkFrame:
        self._number = (self._number + 1) % NUMBERS
        return LinkFrame(kind, self._number, payload)

    def _send(self, place: int, payload: bytes, tries: int) -> None:
        frame = self._frame(FrameType.IMAGE, payload)
        self.transport.write(frame.encoded)
        size = len(frame.encoded) + self.board.logit_bytes
        until = self.transport.now() + self._limit(size * (len(self._waiting) + 1))
        self._waiting[frame.number] = _Sent(place, payload, frame, tries, until)

    def _collect(self) -> None:
        """The logits that come next, or why none come and what to do about it."""
        end = min(sent.until for sent in self._waiting.values())
        while (frame := self._next(end)) is not None:
            if frame.type == FrameType.REFUSED:
                return self._recover(f"the board refused it, {cause_of(frame).name}")
            if self._take(frame):
                return None
        return self._recover("nothing came back")

    def _take(self, frame: LinkFrame) -> bool:
        """Whether a frame is the logits of an image that waits for them."""
        sent = self._waiting.get(frame.number) if frame.type == FrameType.LOGITS else None
        if sent is None or TAG.unpack_from(frame.payload)[0] != sent.frame.crc:
            return False
        self._done[sent.place] = frame.payload[TAG.size :]
        del self._waiting[frame.number]
        return True

    def _recover(self, why: str) -> None:
        """Come back into step with the board, take what it still owes, and send again what it does not."""
        end = self.transport.now() + self.timeout_s
        while True:
            self._silence()
            pending = self.status().pending
            if not pending or not self._waiting:
                break
            if self.transport.now() > end:
                raise UserError(f"the board at {self.transport.name} has taken {pending} images and gives no logits: reset it")
        again = list(self._waiting.values())
        self._waiting.clear()
        for sent in again:
            if sent.tries == self.tries:
                raise UserError(f"an image was sent {sent.tries} times to {self.transport.name} without logits ({why}): is the line good?")
            self.resent += 1
            self._send(sent.place, sent.payload, sent.tries + 1)

    def _next(self, end: float) -> LinkFrame | None:
        """The next frame, if one came or comes until ``end``, which may be over."""
        left = 1.0
        while not self._come and left > 0:
            left = end - self.transport.now()
            self._come += self._reader.feed(self.transport.read(max(left, 0.0)))
        if not self._come:
            self._come += self._reader.flush()
        return self._come.popleft() if self._come else None

    def _silence(self) -> None:
        """Send nothing until nothing came for so long that the board has ended every frame that began. What comes meanwhile is taken."""
        while data := self.transport.read(self._quiet_s):
            self._come += self._reader.feed(data)
        self._come += self._reader.flush()
        while self._come:
            self._take(self._come.popleft())

    def _limit(self, size: int) -> float:
        """Seconds that an answer may take, with ``size`` bytes on the line."""
        return self.timeout_s + size * BYTE_BITS * self.transport.bit_s
