"""Which of many parameters of one test run always, and which with ``--whole`` alone."""

from collections.abc import Iterable

import pytest


def sampled(values: Iterable, always: int, several: bool = False) -> list:
    """Parameters of a test, all but the first ``always`` of them marked ``whole``. ``several``: each is those of several arguments."""
    return [_param(value, i >= always, several) for i, value in enumerate(values)]


def spread(values: Iterable, step: int = 2, several: bool = False) -> list:
    """The same, all but every ``step``-th of them marked ``whole``."""
    return [_param(value, i % step > 0, several) for i, value in enumerate(values)]


def _param(value, whole: bool, several: bool):
    return pytest.param(*(value if several else (value,)), marks=[pytest.mark.whole] * whole)
