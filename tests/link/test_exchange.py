"""What a driver makes of a board that answers wrongly, late or not at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from finn_vitprune.errors import UserError
from finn_vitprune.link import exchange
from finn_vitprune.link.exchange import Exchange
from finn_vitprune.link.frames import CRC, Cause, FrameReader, FrameType, LinkFrame, LinkStatus

LOGITS = 3


def status(version: int = 1, pending: int = 0, images: int = 2) -> bytes:
    return LinkStatus.LAYOUT.pack(version, 7, 4, LOGITS, images, 100, pending, *range(8))


def logits_of(image: bytes) -> bytes:
    return bytes(x ^ 0x55 for x in image[:LOGITS])


class Board:
    """A board by the rules, in Python; ``answer`` may say otherwise for each frame of its host. Time passes where nothing comes."""

    name, bit_s = "the board", 1e-6

    def __init__(self, answer: Callable[[LinkFrame, int], list[LinkFrame] | None] = lambda frame, i: None) -> None:
        self._reader = FrameReader({FrameType.IMAGE: 4, FrameType.QUERY: 0})
        self._answer, self._out, self._time, self.seen = answer, b"", 0.0, []
        self.closed = False

    def write(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            self.seen.append(frame)
            said = self._answer(frame, len(self.seen) - 1)
            self._out += b"".join(f.encoded for f in (self.right(frame) if said is None else said))

    def right(self, frame: LinkFrame, **state) -> list[LinkFrame]:
        if frame.type == FrameType.QUERY:
            return [LinkFrame(FrameType.STATUS, frame.number, status(**state))]
        return [LinkFrame(FrameType.LOGITS, frame.number, CRC.pack(frame.crc) + logits_of(frame.payload))]

    def read(self, seconds: float) -> bytes:
        out, self._out = self._out, b""
        self._time += 1e-5 if out else seconds
        return out

    def now(self) -> float:
        return self._time

    def close(self) -> None:
        self.closed = True


def images(count: int) -> list[bytes]:
    return [bytes([i, i + 1, 2 * i, 0xA5]) for i in range(count)]


def test_logits_come_in_the_order_of_the_images():
    host = Exchange(Board())
    assert list(host.answers(images(9))) == list(map(logits_of, images(9))) and host.resent == 0
    assert list(host.answers(iter(()))) == []


def test_the_next_images_are_sent_before_the_first_is_answered_and_no_more_than_fit():
    order: list[str] = []

    def source():
        for i, image in enumerate(images(6)):
            order.append(f"read {i}")
            yield image

    for i, _ in enumerate(Exchange(Board()).answers(source())):
        order.append(f"given {i}")
    assert order[:3] == ["read 0", "read 1", "given 0"] and order.index("read 5") < order.index("given 4")
    ahead = [sum(o.startswith("read") for o in order[:i]) - sum(o.startswith("given") for o in order[:i]) for i in range(len(order))]
    assert max(ahead) == 2


def test_refused_and_lost_images_are_sent_again():
    def answer(frame: LinkFrame, i: int) -> list[LinkFrame] | None:
        if frame.type == FrameType.IMAGE and i == 2:
            return [LinkFrame(FrameType.REFUSED, 0, bytes([Cause.CRC, 0, 0, 0]))]
        return [] if frame.type == FrameType.IMAGE and i == 6 else None

    host = Exchange(Board(answer))
    assert list(host.answers(images(7))) == list(map(logits_of, images(7)))
    assert 2 <= host.resent <= 4


@pytest.mark.parametrize("stale", ["crc", "number"])
def test_logits_of_another_frame_are_not_taken(stale):
    """With a known sequence number or a known CRC alone."""

    def answer(frame: LinkFrame, i: int) -> list[LinkFrame] | None:
        if frame.type == FrameType.QUERY:
            return None
        number = frame.number if stale == "crc" else frame.number ^ 1
        crc = frame.crc ^ 1 if stale == "crc" else frame.crc
        return [LinkFrame(FrameType.LOGITS, number, CRC.pack(crc) + b"bad"), *(board.right(frame) if i > 4 else [])]

    board = Board(answer)
    host = Exchange(board)
    assert list(host.answers(images(3))) == list(map(logits_of, images(3))) and host.resent


@pytest.mark.parametrize("said, answer", [
    ("no answer from the board: is the board connected", lambda frame, i: []),
    ("frames of version 2, this program of version 1", lambda frame, i: [LinkFrame(FrameType.STATUS, frame.number, status(version=2))]),
    ("without logits (nothing came back)", lambda frame, i: [] if frame.type == FrameType.IMAGE else None),
    ("without logits (the board refused it, ROOM)",
     lambda frame, i: [LinkFrame(FrameType.REFUSED, 0, bytes([7, 0, 0, 0]))] if frame.type == FrameType.IMAGE else None),
    ("has taken 1 images and gives no logits: reset it",
     lambda frame, i: [] if frame.type == FrameType.IMAGE else [LinkFrame(FrameType.STATUS, frame.number, status(pending=1))]),
])  # fmt: skip
def test_a_board_that_gives_nothing_is_an_error_in_one_line(said, answer):
    with pytest.raises(UserError) as caught:
        list(Exchange(Board(answer)).answers(images(2)))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_an_image_is_sent_as_often_as_was_asked_for():
    board = Board(lambda frame, i: [] if frame.type == FrameType.IMAGE else None)
    with pytest.raises(UserError, match="was sent 3 times"):
        list(Exchange(board, tries=3).answers(images(1)))
    assert [f.payload for f in board.seen if f.type == FrameType.IMAGE] == images(1) * 3
    assert len({f.number for f in board.seen}) == len(board.seen), "no number is used twice"


def test_a_caller_that_takes_its_time_costs_nothing():
    """What came meanwhile is taken, however late."""
    board = Board()
    host = Exchange(board)
    found = []
    for logits in host.answers(images(7)):
        found.append(logits)
        board._time += 100
    assert found == list(map(logits_of, images(7))) and host.resent == 0


def test_a_caller_that_stops_leaves_nothing_behind():
    host = Exchange(Board())
    first = host.answers(images(6))
    assert next(first) == logits_of(images(1)[0])
    assert list(host.answers(images(3)[::-1])) == list(map(logits_of, images(3)[::-1]))
    with pytest.raises(UserError, match="the board was given other images, or loaded, before all logits of these were taken"):
        next(first)


def test_what_is_forgotten_comes_no_more():
    host = Exchange(Board())
    first = host.answers(images(6))
    assert next(first) == logits_of(images(1)[0])
    host.forget()
    with pytest.raises(UserError, match="begin again"):
        next(first)
    assert list(host.answers(images(2))) == list(map(logits_of, images(2)))


def test_the_silence_before_a_board_has_told_its_own_is_the_default_of_the_rtl():
    from finn_vitprune.custom_ops.op.rtl_sources import rtl_source

    assert f"QUIET_BITS    = {exchange.QUIET_BITS}," in rtl_source("vp_board_uart.sv").read_text()
