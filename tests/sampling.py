"""Which of many parameters of one test run always, and which with ``--whole`` alone."""

from collections.abc import Iterable

import pytest


def sampled(values: Iterable, always: int) -> list:
    """Parameters of a test, all but the first ``always`` of them marked ``whole``."""
    return [v if i < always else pytest.param(v, marks=pytest.mark.whole) for i, v in enumerate(values)]
