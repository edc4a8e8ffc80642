"""The stream blocks keep their contract, none of it for want of a case, and every proof of it can fail."""

from __future__ import annotations

import pytest

from tests.formal.proofs import BLOCKS, NO_FAULTS, QUICK
from tests.formal.prover import Fault, Proof, ProverError, check, covers
from tests.sampling import sampled, spread

FAULTS = [(p, f) for p in BLOCKS for f in p.faults]
TWINS = (
    "vp_stream_fifo, block RAM", "vp_stream_fifo, rows of UltraRAMs", "vp_credit_fifo, a pipeline of 2 cycles at full throughput",
    "vp_width, 3 to 1", "vp_load_port, a frame begins only when it is open", "vp_load_hop, 2 of 3 words of 40 bits",
    "vp_load_port, the checksum stands when all words are there", "an engine of three encoders, batches of 2",
    "vp_token_drop, any decisions", "vp_stream_split, two encoders",
)  # fmt: skip
"""Proofs of blocks of which another proof runs always."""


def _faults() -> list:
    """The first of every sixth fault of a proof runs always."""
    first = {p.name: f for p, f in reversed(FAULTS[::6])}
    return [pytest.param(p, f, marks=[pytest.mark.whole] * (first.get(p.name) is not f)) for p, f in FAULTS]


@pytest.mark.parametrize("proof", [pytest.param(p, marks=[pytest.mark.whole] * (p.name in TWINS)) for p in QUICK], ids=lambda p: p.name)
def test_contract_holds(proof, tmp_path):
    outcome = check(proof, tmp_path)
    assert outcome.violated is None, f"{outcome.violated} fails in cycle {outcome.cycle}: {outcome.trace}"


def _covers() -> list:
    """Every sixth, engines left out, which take longest."""
    long = [p for p in QUICK if p.name.startswith("an engine")]
    return [*spread([p for p in QUICK if p not in long], 6, first=1), *sampled(long, 0)]


@pytest.mark.parametrize("proof", _covers(), ids=lambda p: p.name)
def test_every_case_is_reached(proof, tmp_path):
    reached = covers(proof, tmp_path)
    assert len(reached) > 0 and None not in reached.values(), reached


@pytest.mark.parametrize("proof,fault", _faults(), ids=[f"{p.name}-{f.breaks}" for p, f in FAULTS])
def test_broken_block_is_refuted(proof, fault, tmp_path):
    outcome = check(proof, tmp_path, fault)
    assert outcome.violated is not None, f"{fault} went unnoticed"
    assert outcome.violated.endswith(fault.breaks)
    assert outcome.trace.stat().st_size > 0


@pytest.mark.parametrize("proof,fault", NO_FAULTS, ids=[p.name for p, _ in NO_FAULTS])
def test_change_that_is_no_fault_keeps_the_contract(proof, fault, tmp_path):
    """What ``tests/mutation/equivalent.json`` says of it."""
    outcome = check(proof, tmp_path, fault)
    assert outcome.violated is None, f"{outcome.violated} fails in cycle {outcome.cycle}: {outcome.trace}"


def test_case_that_is_not_reached_is_named(tmp_path):
    short = Proof("short", "proof_skid", ("vp_skid", "vp_stage"), reach=2)
    assert covers(short, tmp_path)["order.c_full"] is None


def test_undecided_proof_is_an_error(tmp_path):
    """Neither a proof nor a trace: sources that do not elaborate, a fault that is nowhere, no time."""
    wrong = Proof("wrong", "proof_skid", ("vp_skid", "vp_stage"), {"WIDTH": 0})
    with pytest.raises(ProverError, match="WIDTH is 0"):
        check(wrong, tmp_path)
    with pytest.raises(ProverError, match="appears 0 times"):
        check(BLOCKS[0], tmp_path, Fault("vp_skid", "no such text", "", ""))
