"""``python -m tests.random_builds``: random networks through the whole flow; each agrees, or is refused and says why.

One line of the ledger (JSON) is one seed; seeds that are in it with the same draw are not built again.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path

from finn_vitprune import jobs
from tests.random_builds.check import Outcome, check_seed
from tests.random_builds.draw import (
    ACTIVATIONS,
    BIASES,
    DESIGNS,
    ENGINES,
    GATES,
    LAYER_BUILDS,
    MIXED,
    NETWORKS,
    NORMS,
    PARTITIONS,
    POOLINGS,
    PREFIXES,
    QK_NORMS,
    RMS_NORMS,
    ROTARY,
    Kind,
)

LEDGERS = {
    NETWORKS: Path("builds/results/random_builds/ledger.jsonl"), ENGINES: Path("builds/results/engines/random_builds.jsonl"),
    DESIGNS: Path("builds/results/random_builds/designs.jsonl"), ACTIVATIONS: Path("builds/results/random_builds/activations.jsonl"),
    NORMS: Path("builds/results/random_builds/norms.jsonl"), PREFIXES: Path("builds/results/random_builds/prefixes.jsonl"),
    POOLINGS: Path("builds/results/random_builds/poolings.jsonl"), GATES: Path("builds/results/random_builds/gates.jsonl"),
    RMS_NORMS: Path("builds/results/random_builds/rms_norms.jsonl"), QK_NORMS: Path("builds/results/random_builds/qk_norms.jsonl"),
    ROTARY: Path("builds/results/random_builds/rotary.jsonl"), BIASES: Path("builds/results/random_builds/biases.jsonl"),
    LAYER_BUILDS: Path("builds/results/random_builds/layers.jsonl"), MIXED: Path("builds/results/random_builds/mixed.jsonl"),
    PARTITIONS: Path("builds/results/random_builds/partitions.jsonl"),
}  # fmt: skip
KINDS = {kind.name: kind for kind in LEDGERS}


def main() -> int:
    options = _options()
    seeds = range(options.seed, options.seed + options.count)
    kind = KINDS[options.kind]
    options.ledger = options.ledger or LEDGERS[kind]
    known = known_outcomes(options.ledger, kind)
    print(f"seeds {seeds.start} to {seeds.stop - 1}, {sum(s in known for s in seeds)} of them in {options.ledger}", flush=True)
    options.ledger.parent.mkdir(parents=True, exist_ok=True)
    with closing(jobs.outcomes(partial(check_seed, kind), (s for s in seeds if s not in known), options.jobs, _name)) as found:
        for finished in found:
            outcome = finished.result or _crashed(finished.job, finished.error, kind)
            known[outcome.seed] = outcome
            print(
                f"seed {outcome.seed}: {outcome.outcome} ({outcome.ties} ties in {outcome.codes:,} codes, latency {outcome.latency:,} cycles, "
                f"{outcome.latency_error:+.1%} of the plan, interval {outcome.interval_error:+.1%}, {outcome.seconds} s)",
                flush=True,
            )
            if not outcome.fault:
                with options.ledger.open("a") as ledger:
                    ledger.write(json.dumps(asdict(outcome)) + "\n")
    outcomes = [known[s] for s in seeds]
    kinds = Counter(o.outcome.partition(":")[0] for o in outcomes)
    print(f"{len(outcomes)} builds: {dict(kinds)}; {sum(o.ties for o in outcomes)} ties in {sum(o.codes for o in outcomes):,} codes")
    for what in ("latency", "interval"):
        worst = max(outcomes, key=lambda o: abs(getattr(o, f"{what}_error")))
        print(f"{what} against the plan: at most {getattr(worst, f'{what}_error'):+.2%} (seed {worst.seed})")
    return 1 if any(o.fault for o in outcomes) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.random_builds", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--kind", choices=list(KINDS), default=NETWORKS.name, help="networks; on engines; designs with everything that is drawn"
    )
    parser.add_argument("--ledger", type=Path, help="; ".join(f"of {kind.name} {path}" for kind, path in LEDGERS.items()))
    return parser.parse_args()


def known_outcomes(ledger: Path, kind: Kind) -> dict[int, Outcome]:
    """The last outcome of each seed whose draw is still the same."""
    lines = ledger.read_text().splitlines() if ledger.is_file() else []
    outcomes = {o.seed: o for o in (Outcome(**json.loads(line)) for line in lines)}
    return {seed: o for seed, o in outcomes.items() if o.drawn == _plain(seed, kind)}


def _plain(seed: int, kind: Kind) -> dict[str, object]:
    return json.loads(json.dumps(kind.recorded(seed)))


def _crashed(seed: int, error: Exception, kind: Kind) -> Outcome:
    notes = "\n".join(getattr(error, "__notes__", ()))
    return Outcome(seed, f"crashed: {type(error).__name__}: {error}\n{notes}", _plain(seed, kind))


def _name(seed: int) -> str:
    return f"seed {seed}"


if __name__ == "__main__":
    raise SystemExit(main())
