"""Frames as bytes: what is written, and what a reader finds in bytes that are damaged."""

from __future__ import annotations

import numpy as np
import pytest

from finn_vitprune.link.frames import REFUSED_BYTES, STATUS_BYTES, Cause, FrameReader, FrameType, LinkFrame, LinkStatus, cause_of

LENGTHS = {FrameType.STATUS: STATUS_BYTES, FrameType.REFUSED: REFUSED_BYTES, FrameType.LOGITS: 9}


def crc32(data: bytes) -> int:
    """CRC-32 of IEEE 802.3, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        for i in range(8):
            bit = (crc ^ byte >> i) & 1
            crc = crc >> 1 ^ 0xEDB88320 * bit
    return crc ^ 0xFFFFFFFF


def drawn(seed: int, count: int = 20) -> list[LinkFrame]:
    rng = np.random.default_rng(seed)
    kinds = rng.choice(list(LENGTHS), count)
    return [
        LinkFrame(FrameType(k), int(rng.integers(1 << 16)), rng.choice([0xA5, 0x81, 9, 0], LENGTHS[k]).astype(np.uint8).tobytes())
        for k in kinds
    ]


def test_a_frame_by_hand():
    assert crc32(b"123456789") == 0xCBF43926, "the check value of the standard"
    body = bytes.fromhex("01 34 12 03 00 00 00 aa bb cc")
    assert LinkFrame(FrameType.IMAGE, 0x1234, b"\xaa\xbb\xcc").encoded == b"\xa5" + body + crc32(body).to_bytes(4, "little")


def test_a_status_by_hand():
    words = [1, 0xDEADBEEF, 64, 40, 4, 32768, 2]
    payload = b"".join(w.to_bytes(4, "little") for w in words) + b"".join(n.to_bytes(2, "little") for n in range(10, 18))
    found = LinkStatus.decode(payload)
    assert (found.version, found.design, found.image_bytes, found.logit_bytes, found.images, found.quiet, found.pending) == tuple(words)
    assert found.right == 10 and found.refused == {cause: 10 + cause for cause in Cause}


def test_a_refusal_names_its_cause():
    assert [cause_of(LinkFrame(FrameType.REFUSED, 0, bytes([cause, 0, 0, 0]))) for cause in Cause] == list(Cause)


@pytest.mark.parametrize("seed", range(4))
def test_frames_are_found_however_they_come(seed):
    frames, rng = drawn(seed), np.random.default_rng(seed)
    data, reader, found = b"".join(f.encoded for f in frames), FrameReader(LENGTHS), []
    while data:
        size = int(rng.integers(1, 50))
        found += reader.feed(data[:size])
        data = data[size:]
    assert found == frames and reader.flush() == []


@pytest.mark.parametrize("seed", range(40))
def test_all_frames_but_a_damaged_one_are_found(seed):
    """Whatever one fault does, and with noise before them: no other is lost, and none is made up."""
    frames, rng = drawn(seed), np.random.default_rng(seed)
    at = int(rng.integers(len(frames)))
    parts = [f.encoded for f in frames]
    part, place = bytearray(parts[at]), int(rng.integers(len(parts[at])))
    match seed % 4:
        case 0:
            part[place] ^= 1 << int(rng.integers(8))
        case 1:
            del part[place : place + 3]
        case 2:
            part.insert(place, part[place] ^ 0x40)
        case _:
            del part[place:]
    parts[at] = bytes(part)
    reader = FrameReader(LENGTHS)
    found = reader.feed(rng.integers(0, 256, 7, dtype=np.uint8).tobytes() + b"".join(parts))
    found += reader.flush()
    assert found in (frames[:at] + frames[at + 1 :], frames), "put in before START, a byte does no harm"
    assert found != frames or seed % 4 == 2


def test_other_lengths_and_types_are_no_frames():
    wrong = [LinkFrame(FrameType.LOGITS, 1, bytes(8)), LinkFrame(FrameType.IMAGE, 1, bytes(9)), LinkFrame(FrameType.REFUSED, 1, bytes(5))]
    right = LinkFrame(FrameType.LOGITS, 2, bytes(9))
    reader = FrameReader(LENGTHS)
    assert reader.feed(b"".join(f.encoded for f in [*wrong, right])) == [right]
