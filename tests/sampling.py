"""Which of many parameters of one test run always, and which with ``--whole`` alone."""

from collections.abc import Iterable

import pytest


def sampled(values: Iterable, always: int, several: bool = False) -> list:
    """Parameters of a test, all but the first ``always`` of them marked ``whole``. ``several``: each is those of several arguments."""
    return [_param(value, i >= always, several) for i, value in enumerate(values)]


def spread(values: Iterable, step: int = 2, several: bool = False, first: int = 0) -> list:
    """The same, all but every ``step``-th of them, from the one at ``first`` on, marked ``whole``."""
    return [_param(value, i % step != first, several) for i, value in enumerate(values)]


def _param(value, whole: bool, several: bool):
    marks = [pytest.mark.whole] * whole
    if isinstance(value, type(pytest.param())):
        return pytest.param(*value.values, marks=[*value.marks, *marks], id=value.id)
    return pytest.param(*(value if several else (value,)), marks=marks)
