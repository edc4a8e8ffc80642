"""``python -m tests.mutation``: a seeded sample of mutants of every unit against the unit's self-checks."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from tests.in_order import run_in_order
from tests.mutation.mutants import Mutant, Verdict, code_digests, judge_open, mutants_of, reason, sample
from tests.mutation.operators import OPERATORS
from tests.mutation.self_check import Unit
from tests.mutation.units import UNITS

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    options = _options()
    options.results.mkdir(parents=True, exist_ok=True)
    survivors = [r for name in options.unit or UNITS for r in _survivors(UNITS[name], options)]
    for r in survivors:
        print(f"survived: {r['id']}, {r['before']} becomes {r['after'] or 'nothing'} in\n    {r['source']}")
    return 1 if survivors else 0


def result_file(folder: Path, unit: str) -> Path:
    """The file of a unit's results."""
    return folder / f"{unit.replace(' ', '_')}.json"


def _survivors(unit: Unit, options: argparse.Namespace) -> list[dict]:
    """Judge the sample of a unit, mutant by mutant into its file of results; the entries that survived."""
    strata = {k: [m for m in v if options.file in (None, m.file)] for k, v in mutants_of(unit).items()}
    count = options.count or unit.sample
    path = result_file(options.results, unit.name)
    head = {
        "unit": unit.name,
        "command": f"python -m tests.mutation --unit '{unit.name}' --seed {options.seed} --count {count}",
        "operators": OPERATORS,
        "sites": {operator: len(mutants) for operator, mutants in strata.items()},
        "code": code_digests(unit),
    }
    known = _known(path, head["code"])
    done: dict[str, dict] = {}
    counted = 0
    for mutant, entry in _judged(sample(unit, strata, options.seed), known, options.jobs):
        entry = _explained(mutant, entry)
        done[mutant.id] = entry
        counted += entry["outcome"] != "invalid"
        print(f"{counted:4} {entry['outcome']:10} {entry['seconds']:6.1f} s  {mutant.id}  {entry['by']}", flush=True)
        complete = counted >= count
        _store(path, head | {"complete": complete}, done if complete else known | done)
        if complete:
            break
    print(f"{unit.name}: {counted} mutants of {sum(head['sites'].values())}: {_outcomes(done)}")
    return [r for r in done.values() if r["outcome"] == "survived"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, help="mutants of a unit that compile (default: what the unit says)")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--unit", choices=list(UNITS), action="append", help="of this unit only (repeatable)")
    parser.add_argument("--file", help="of this RTL file only; choose other --results with it")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, metavar="FOLDER", help="a file for each unit; what is in it already is not done again"
    )
    return parser.parse_args()


def _store(path: Path, head: Mapping, entries: Mapping[str, dict]) -> None:
    """Write a file of results, a mutant a line."""
    lines = ",\n  ".join(json.dumps(entry) for entry in entries.values())
    text = json.dumps(head | {"outcomes": _outcomes(entries)}, indent=1).removesuffix("\n}")
    path.write_text(f'{text},\n "mutants": [\n  {lines}\n ]\n}}\n')


def _outcomes(entries: Mapping[str, dict]) -> dict[str, int]:
    return dict(Counter(r["outcome"] for r in entries.values()))


def _known(path: Path, code: Mapping[str, str]) -> dict[str, dict]:
    """Entries of an earlier run on the same RTL, by mutant."""
    record = json.loads(path.read_text()) if path.exists() else {"code": None}
    return {r["id"]: r for r in record["mutants"]} if record["code"] == code else {}


def _settled(mutant: Mutant, known: dict[str, dict]) -> dict | None:
    """What is known of a mutant; a survivor without a reason is judged again, by better checks perhaps."""
    entry = known.get(mutant.id)
    return entry if entry and (entry["outcome"] != "survived" or reason(mutant)) else None


def _judged(mutants: Iterator[Mutant], known: dict[str, dict], workers: int) -> Iterator[tuple[Mutant, dict]]:
    """Mutants with their entries, in order, ``workers`` at a time."""
    tasks = ((mutant, _settled(mutant, known)) for mutant in mutants)
    for (mutant, settled), verdict in run_in_order(judge_open, tasks, workers, lambda task: task[0].id):
        yield mutant, settled or _entry(mutant, verdict)


def _entry(mutant: Mutant, verdict: Verdict) -> dict:
    f = mutant.fault
    return {
        "id": mutant.id,
        "source": mutant.source,
        "before": f.before,
        "after": f.after,
        **asdict(verdict),
        "seconds": round(verdict.seconds, 1),
    }


def _explained(mutant: Mutant, entry: dict) -> dict:
    """A survivor is equivalent when there is a reason for it."""
    why = reason(mutant) if entry["outcome"] in ("survived", "equivalent") else None
    if why:
        return entry | {"outcome": "equivalent", "how": why}
    return entry | {"outcome": "survived", "how": ""} if entry["outcome"] == "equivalent" else entry


if __name__ == "__main__":
    sys.exit(main())
