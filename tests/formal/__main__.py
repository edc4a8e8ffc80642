"""``python -m tests.formal [WORDS...]``: every proof, or those with a word in their name, its cover points and its faults, a line
each."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.formal.proofs import BLOCKS, DROPS, LARGE
from tests.formal.prover import Proof, ProverError, check, covers


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.formal", description=__doc__)
    parser.add_argument("words", nargs="*", help="parts of names of proofs, as in vp_fifo")
    words = parser.parse_args().words
    failures = 0
    for proof in (*BLOCKS, *DROPS, *LARGE):
        if words and not any(word in proof.name for word in words):
            continue
        with tempfile.TemporaryDirectory(prefix="vitprune-proof-") as folder:
            try:
                good = _report(proof, Path(folder))
            except ProverError as error:
                print(f"FAILED    {error}", flush=True)
                good = False
        failures += not good
    print("all proved" if not failures else f"{failures} proofs failed")
    return 1 if failures else 0


def _report(proof: Proof, folder: Path) -> bool:
    outcome = check(proof, folder)
    reached = covers(proof, folder)
    missing = [name for name, cycle in reached.items() if cycle is None]
    missed = [f for f in proof.faults if not (check(proof, folder, f).violated or "").endswith(f.breaks)]
    scope = "all time" if proof.cycles is None else f"{proof.cycles} cycles"
    good = outcome.violated is None and not missing and not missed
    print(
        f"{'proved' if good else 'FAILED':7}{scope:>10} {outcome.seconds:7.1f} s  {proof.name}:"
        f" {len(reached) - len(missing)} of {len(reached)} cover points,"
        f" {len(proof.faults) - len(missed)} of {len(proof.faults)} faults",
        flush=True,
    )
    if outcome.violated:
        print(f"        {outcome.violated} fails in cycle {outcome.cycle}")
    for line in (*missing, *missed):
        print(f"        {line}")
    return good


if __name__ == "__main__":
    sys.exit(main())
