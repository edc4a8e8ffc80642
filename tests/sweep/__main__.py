"""``python -m tests.sweep``: random structures of three units, each under many masks and stall patterns."""

from __future__ import annotations

import argparse

from tests.in_order import run_in_order
from tests.sweep.check import MAKE, Draw, check_draw


def main() -> int:
    options = _options()
    draws = [Draw(unit, options.seed * 1000 + i, options.runs) for i in range(options.structures) for unit in options.unit or MAKE]
    total, failed = 0, 0
    for number, (_, outcome) in enumerate(run_in_order(check_draw, draws, options.jobs)):
        total, failed = total + outcome.runs, failed + len(outcome.wrong)
        verdict = f"{len(outcome.wrong)} wrong" if outcome.wrong else "equal"
        print(
            f"{number + 1:4} of {len(draws)}  {outcome.unit}, seed {outcome.seed}: {outcome.runs} runs {verdict}  {outcome.text}",
            flush=True,
        )
        print("".join(f"     {line}\n" for line in outcome.wrong), end="", flush=True)
    print(f"{len(draws)} structures, {total} runs, {failed} mismatches (seed {options.seed})")
    return 1 if failed else 0


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
