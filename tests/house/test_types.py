"""The numbers of type errors may only fall (``tests/type_errors.py``)."""

from __future__ import annotations

import pytest

from tests.type_errors import compared, home, lowered

KNOWN = {"finn_vitprune.sim": 2, "finn_vitprune.sim.run": 1}
RUN = "finn_vitprune/sim/run.py:3: error: wrong  [assignment]"
SIM = "finn_vitprune/sim/__init__.py:3: error: wrong  [assignment]"
SIMULATE = "finn_vitprune/simulate.py:3: error: wrong  [assignment]"


@pytest.mark.parametrize(("error", "place"), [
    (RUN, "finn_vitprune.sim.run"), (SIM, "finn_vitprune.sim"), (SIMULATE, "finn_vitprune.simulate"),
])  # fmt: skip
def test_an_error_counts_for_its_closest_place(error, place):
    assert home(error, KNOWN) == place


def test_the_known_numbers_pass():
    assert not compared([RUN, SIM, SIM], KNOWN)


def test_one_error_more_is_shown_with_those_of_its_place():
    *errors, line = compared([RUN, RUN, SIM, SIM], KNOWN)
    assert errors == [RUN, RUN] and line == "finn_vitprune.sim.run: 2 errors, 1 are known"


def test_an_error_elsewhere_is_shown():
    assert compared([RUN, SIM, SIM, SIMULATE], KNOWN) == [SIMULATE, "finn_vitprune.simulate: 1 errors, 0 are known"]


def test_one_error_less_asks_for_the_lower_number():
    (line,) = compared([RUN, SIM], KNOWN)
    assert "finn_vitprune.sim: 1 errors, 2 are known" in line and "--write" in line


def test_only_lower_numbers_are_written():
    assert lowered([RUN, RUN, SIM, SIMULATE], KNOWN) == {"finn_vitprune.sim": 1, "finn_vitprune.sim.run": 1}
    assert lowered([RUN], KNOWN) == {"finn_vitprune.sim.run": 1}
