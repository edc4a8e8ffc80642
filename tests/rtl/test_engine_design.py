"""Entry and exit of an engine: images pass all encoders in batches, in order, and none waits for another that may not come."""

import pytest

from finn_vitprune.bench.cycles import simulator_of
from tests.rtl.benches import engine_design
from tests.rtl.benches.engine_design import ALL, ENDS, SHAPES, Shape
from tests.sampling import spread


@pytest.mark.parametrize("name", spread(SHAPES, 4))
def test_images_pass_all_encoders_in_order(name):
    engine_design.check_engine(engine_design.build(SHAPES[name]))


def test_images_pass_forty_encoders():
    engine_design.check_engine(engine_design.build(Shape(3, (*(ALL,) * 20, 2, *(ALL,) * 19), 2, 2, 1)))


@pytest.mark.parametrize("name", spread(ENDS, 4))
def test_an_end_deals_frames_as_the_tags_say(name):
    engine_design.check_end(ENDS[name], simulator_of(ENDS[name].op))


@pytest.mark.parametrize("tags, most, message", [
    ([0, 0, 1, 1], 1, "a batch of 2 images"), ([0, 1, 0, 0, 1], 2, r"\[0, 0, 1\] is not a batch"),
    ([1, 0, 0], 2, "a batch of 0"), ([0, 1, 0], 2, r"\[0\] is not a batch"),
])  # fmt: skip
def test_batches_in_another_order_are_found(tags, most, message):
    with pytest.raises(AssertionError, match=message):
        engine_design.batches(tags, 2, most)


def test_sizes_of_batches_are_read_off_the_tags():
    assert engine_design.batches([0, 0, 1, 1, 2, 2, 0, 1, 2], 3, 2) == [2, 1]
