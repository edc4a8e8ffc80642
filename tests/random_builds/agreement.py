"""What tests of a kind of networks ask of its random builds."""

from __future__ import annotations

from collections.abc import Sequence

from tests.random_builds.__main__ import LEDGERS, known_outcomes
from tests.random_builds.check import check_seed
from tests.random_builds.draw import DrawnDesign, Kind


def assert_seed_agrees(kind: Kind, seed: int) -> None:
    """Build a network, and assert that PyTorch, QONNX, hardware graph and RTL agree."""
    found = check_seed(kind, seed)
    assert found.outcome == "agree" and found.rtl_mismatches == 0 and found.streams > 0, found


def stored_designs(kind: Kind, count: int) -> list[DrawnDesign]:
    """The designs of the ledger, which all agreed, seeds 1 to ``count`` among them."""
    outcomes = known_outcomes(LEDGERS[kind], kind)
    assert outcomes.keys() >= set(range(1, count + 1)) and {o.outcome for o in outcomes.values()} == {"agree"}
    assert all(o.rtl_mismatches == 0 for o in outcomes.values())
    return [kind.design(seed) for seed in outcomes]


def assert_every_way(designs: Sequence[DrawnDesign]) -> None:
    """Assert that some are on engines and some are not, and that one was loaded with another network."""
    assert {bool(d.encoders_per_engine) for d in designs} == {True, False} and any(d.loads == "another" for d in designs)
