"""``python -m tests.sweep``: random structures of the two units, each under many masks and stall patterns."""

from __future__ import annotations

import argparse
import multiprocessing
from dataclasses import dataclass

from tests.sweep.structures import MATRIX, TOKEN_DROP, matrix, token_drop

MAKE = {MATRIX: matrix, TOKEN_DROP: token_drop}


@dataclass(frozen=True)
class Outcome:
    """What one structure showed; ``wrong`` says which runs failed, and how."""

    unit: str
    seed: int
    runs: int
    text: str
    wrong: tuple[str, ...]


def check(unit: str, seed: int, runs: int) -> Outcome:
    """Every run of the structure of this seed: every beat, the handshake, no beat too many, no standstill.

    Where all are sound, also the interval of frames back to back: the op's estimate within 2 % (or 2 cycles).
    """
    structure = MAKE[unit](seed, runs)
    wrong = []
    for i in range(runs):
        result, stimulus = structure.run(i)
        if not result.ok:
            wrong.append(f"run {i}, {stimulus}: {result.deadlock or result.mismatches or result.violations}")
    if not wrong:
        measured, estimate = structure.cycles()
        if abs(measured - estimate) > max(2, 0.02 * estimate):
            wrong.append(f"interval {measured} cycles, estimated {estimate}")
    return Outcome(unit, seed, runs, structure.text, tuple(wrong))


def main() -> int:
    options = _options()
    tasks = [
        (unit, options.seed * 1000 + i, options.runs) for i in range(options.structures) for unit in options.unit or MAKE
    ]
    total, failed = 0, 0
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for number, outcome in enumerate(pool.imap_unordered(_check, tasks)):
            total, failed = total + outcome.runs, failed + len(outcome.wrong)
            verdict = f"{len(outcome.wrong)} wrong" if outcome.wrong else "equal"
            print(f"{number + 1:4} of {len(tasks)}  {outcome.unit}, seed {outcome.seed}: {outcome.runs} runs {verdict}"
                  f"  {outcome.text}", flush=True)
            print("".join(f"     {line}\n" for line in outcome.wrong), end="", flush=True)
    print(f"{len(tasks)} structures, {total} runs, {failed} mismatches (seed {options.seed})")
    return 1 if failed else 0


def _check(task: tuple[str, int, int]) -> Outcome:
    return check(*task)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sweep", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--structures", type=int, default=30, help="of each unit")
    parser.add_argument("--runs", type=int, default=20, help="masks (or scores) and stall patterns of each")
    parser.add_argument("--unit", action="append", choices=list(MAKE), help="of this unit only")
    parser.add_argument("--jobs", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
