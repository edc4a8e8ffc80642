"""``python -m tests.mutation``: a seeded sample of mutants of the two units against their self-checks."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from tests.in_order import run_in_order
from tests.mutation.cases import UNITS
from tests.mutation.mutants import Mutant, Verdict, all_mutants, judge_open, reason, rtl_digest, sample
from tests.mutation.operators import OPERATORS

RESULT = Path(__file__).parent / "result.json"


def main() -> int:
    options = _options()
    strata = {k: [m for m in v if options.file in (None, m.file)] for k, v in all_mutants().items()}
    strata = {k: v for k, v in strata.items() if v and options.unit in (None, k[1])}
    sites = {f"{unit}, {operator}": len(mutants) for (operator, unit), mutants in strata.items()}
    digests = {unit.name: rtl_digest(unit) for unit in UNITS}
    known = _known(options.output, digests)
    done: dict[str, dict] = {}
    options.output.parent.mkdir(parents=True, exist_ok=True)

    def store(complete: bool) -> None:
        record = {
            "command": f"python -m tests.mutation --seed {options.seed} --count {options.count}",
            "operators": OPERATORS,
            "sites": sites,
            "rtl": digests,
            "complete": complete,
            "outcomes": dict(Counter(r["outcome"] for r in done.values())),
        }
        kept = done if complete else known | done  # an interrupted run loses nothing
        entries = ",\n  ".join(json.dumps(entry) for entry in kept.values())
        head = json.dumps(record, indent=1).removesuffix("\n}")
        options.output.write_text(f'{head},\n "mutants": [\n  {entries}\n ]\n}}\n')

    counted = 0
    for mutant, entry in _judged(sample(strata, options.seed), known, options.jobs):
        entry = _explained(mutant, entry)
        done[mutant.id] = entry
        counted += entry["outcome"] != "invalid"
        print(f"{counted:4} {entry['outcome']:10} {entry['seconds']:6.1f} s  {mutant.id}  {entry['by']}")
        store(counted >= options.count)
        if counted >= options.count:
            break
    survivors = [r for r in done.values() if r["outcome"] == "survived"]
    outcomes = dict(Counter(r["outcome"] for r in done.values()))
    print(f"{counted} mutants of {sum(sites.values())}: {outcomes}")
    for r in survivors:
        print(f"survived: {r['id']}\n    {r['source']}")
    return 1 if survivors else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=240, help="mutants that compile")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--unit", choices=["matrix", "token drop"], help="of this unit only")
    parser.add_argument("--file", help="of this RTL file only; choose another --output with it")
    parser.add_argument("--output", type=Path, default=RESULT, help="what is in it already is not done again")
    return parser.parse_args()


def _known(path: Path, digests: dict[str, str]) -> dict[str, dict]:
    """Entries of an earlier run on the same RTL, by mutant."""
    record = json.loads(path.read_text()) if path.exists() else {"rtl": {}, "mutants": []}
    same = {unit for unit, digest in digests.items() if record["rtl"].get(unit) == digest}
    return {r["id"]: r for r in record["mutants"] if r["unit"] in same}


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
        "id": mutant.id, "unit": mutant.unit, "source": mutant.source, "before": f.before, "after": f.after,
        **asdict(verdict), "seconds": round(verdict.seconds, 1),
    }


def _explained(mutant: Mutant, entry: dict) -> dict:
    """A survivor is equivalent when there is a reason for it."""
    why = reason(mutant) if entry["outcome"] in ("survived", "equivalent") else None
    if why:
        return entry | {"outcome": "equivalent", "how": why}
    return entry | {"outcome": "survived", "how": ""} if entry["outcome"] == "equivalent" else entry


if __name__ == "__main__":
    sys.exit(main())
