"""``python -m tests.faults --seed S --ledger FILE``: faults of the environment against a small real build.

The ledger is a file of JSON lines, one a fault. What held is not tried again; the command can be stopped at any time.
Mounts need root. The exit code is 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from finn_vitprune.files import write_text
from tests.faults.faults import FAULTS, check
from tests.faults.place import NotHeld, Place


def main() -> int:
    """Run what the ledger lacks."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="draws signals, bits and lengths")
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[""], help="faults whose name has one of these texts")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "vitprune-faults")
    given = parser.parse_args()
    about = {"command": f"python -m tests.faults --seed {given.seed} --ledger {given.ledger}", "faults": len(FAULTS)}
    rows = {}
    if given.ledger.exists():
        _, *lines = map(json.loads, given.ledger.read_text().splitlines())
        rows = {row["fault"]: row for row in lines if row["held"]}
    places: dict[bool, Place] = {}
    for fault in FAULTS:
        if fault.name in rows or not any(text in fault.name for text in given.only):
            continue
        place = places.setdefault(fault.synth, None) or Place(given.work / f"synth-{fault.synth}", fault.synth)
        places[fault.synth], started = place, time.monotonic()
        try:
            ended = check(fault, place, given.seed)
            row = {
                "held": True,
                "ended": [[ran.code, ran.err.strip().replace(str(place.root), "").replace(sys.prefix, "")] for ran in ended],
            }
        except NotHeld as broken:
            row = {"held": False, "broken": str(broken)}
        rows[fault.name] = {"fault": fault.name, **row, "seconds": round(time.monotonic() - started, 1)}
        print(json.dumps(rows[fault.name]), flush=True)
        known = [about, *(rows[f.name] for f in FAULTS if f.name in rows)]
        write_text(given.ledger, "".join(json.dumps(line) + "\n" for line in known))
    broken = [name for name, row in rows.items() if not row["held"]]
    print(f"{len(rows)} of {len(FAULTS)} faults, {len(broken)} broke a promise")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
