"""What one structure of the sweep must hold, in a module that worker processes can import."""

from __future__ import annotations

from dataclasses import dataclass

from tests.sweep.structures import ATTENTION, MATRIX, TOKEN_DROP, attention, matrix, token_drop

MAKE = {MATRIX: matrix, TOKEN_DROP: token_drop, ATTENTION: attention}


@dataclass(frozen=True)
class Outcome:
    """What one structure showed; ``wrong`` says which runs failed, and how."""

    unit: str
    seed: int
    runs: int
    text: str
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class Draw:
    """One structure to check: its unit, the seed that it is drawn from, and how many runs."""

    unit: str
    seed: int
    runs: int


def check_draw(draw: Draw) -> Outcome:
    """:func:`check` as a job."""
    return check(draw.unit, draw.seed, draw.runs)


def check(unit: str, seed: int, runs: int) -> Outcome:
    """Every run of the structure of this seed: every beat, the handshake, no beat too many, no standstill.

    Where all are sound, also the interval of frames back to back: the op's estimate within 2 % (or 2 cycles).
    """
    structure = MAKE[unit](seed, runs)
    wrong = []
    for i in range(runs):
        result, stimulus = structure.run(i)
        if not result.ok:
            beats = {name: len(m) for name, m in result.mismatches.items()}
            wrong.append(
                f"run {i}, {stimulus}: wrong beats {beats}, too many {result.extra_beats}, handshake broken at"
                f" {result.violations}; {result.deadlock or 'no standstill'}"
            )
    if not wrong:
        measured, estimate = structure.cycles()
        if abs(measured - estimate) > max(2, 0.02 * estimate):
            wrong.append(f"interval {measured} cycles, estimated {estimate}")
    return Outcome(unit, seed, runs, structure.text, tuple(wrong))
