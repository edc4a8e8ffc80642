"""Beats hold element 0 in their lowest bits, for every element width, and read back as they were."""

import numpy as np
import pytest
from qonnx.core.datatype import DataType

from finn_vitprune.sim import beats
from finn_vitprune.sim.beats import Stream


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 24, 25, 31, 32, 33, 44, 63])
@pytest.mark.parametrize("n", [1, 3, 8])
def test_packed_bytes_are_the_python_integer_of_the_beat(bits, n):
    rng = np.random.default_rng(bits)
    for signed in (True, False):
        lo, hi = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
        values = rng.integers(lo, hi, (20, n), endpoint=True)
        values[0], values[1] = lo, hi
        packed = beats.pack_elements(values, bits)
        assert packed.dtype == np.uint8 and packed.shape == (20, -(-bits * n // 8))
        for beat, row in zip(packed, values):
            word = sum((int(v) & ((1 << bits) - 1)) << (bits * i) for i, v in enumerate(row))
            assert int.from_bytes(beat.tobytes(), "little") == word
        assert np.array_equal(beats.unpack_elements(packed, n, bits, signed), values)


def test_chunks_join_without_seam(monkeypatch):
    values = np.random.default_rng(1).integers(-16, 15, (100, 3))
    whole = beats.pack_elements(values, 5)
    monkeypatch.setattr(beats, "CHUNK_ELEMENTS", 21)
    assert np.array_equal(beats.pack_elements(values, 5), whole)
    assert np.array_equal(beats.unpack_elements(whole, 3, 5, True), values)


@pytest.mark.parametrize("bits, n", [(3, 1), (16, 4), (24, 9)])
def test_words_are_the_beats_as_python_integers(bits, n):
    values = np.random.default_rng(bits).integers(0, 1 << bits, (7, n))
    words = [sum(int(v) << (bits * i) for i, v in enumerate(row)) for row in values]
    packed = beats.pack_elements(values, bits)
    assert beats.to_words(packed) == words
    assert np.array_equal(beats.from_words(words, beats.beat_bytes(n * bits)), packed)


def test_stream_shapes_and_range():
    stream = Stream(tokens=3, channels=6, simd=2, dtype=DataType["INT4"])
    values = np.arange(36).reshape(2, 3, 6) % 16 - 8
    packed = beats.pack(values, stream)
    assert packed.shape == (18, 1)
    assert packed[0, 0] == (-8 & 15) | (-7 & 15) << 4
    assert np.array_equal(beats.unpack(packed, stream), values)
    with pytest.raises(ValueError, match="do not fit INT4"):
        beats.pack(values + 1, stream)
