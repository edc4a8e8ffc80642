"""What a run of the accelerator says of its cycles."""

import numpy as np
import pytest

from finn_vitprune.builds.stitched.accelerator import RtlRun


def run(intervals, batch):
    return RtlRun(np.zeros((len(intervals) + 1, 2), int), 100, np.array(intervals), batch, 999, {}, {})


@pytest.mark.parametrize("intervals, batch, mean", [
    ([70, 60, 50, 52, 48, 50], 1, 50), ([9, 200, 10, 190, 10, 190, 10, 190, 10], 2, 100), ([9, 200, 10, 190, 10, 190, 60], 2, 100),
    ([200, 10, 190, 10, 190, 10, 190, 10, 70], 2, 100), ([1, 1, 40], 2, 40), ([1, 1, 10, 20, 270, 10, 20, 270, 99, 9, 9], 3, 100),
])  # fmt: skip
def test_the_mean_interval_is_one_over_whole_batches(intervals, batch, mean):
    """The images of a batch leave one soon after another: an odd number of intervals would count long ones once more."""
    assert run(intervals, batch).interval_cycles == mean


def test_too_few_images_have_no_steady_interval():
    assert np.isnan(run([50, 50], 1).interval_cycles) and np.isnan(run([], 2).interval_cycles)
