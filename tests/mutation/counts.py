"""What the stored samples hold: judged mutants by outcome, and those over what engines brought."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Self

from tests.mutation.__main__ import RESULTS, result_file
from tests.mutation.mutants import over_engines
from tests.mutation.units import UNITS


@dataclass(frozen=True)
class Counts:
    """Faults that fit a unit, those that were judged, found, not faults; judged ones over what engines brought."""

    sites: int = 0
    judged: int = 0
    caught: int = 0
    equivalent: int = 0
    engines: int = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def row(self, name: str) -> str:
        """A line of the table in ``docs/proof.md``."""
        return " | ".join([f"| {name}", *(f"{getattr(self, f.name):,}" for f in fields(self))]) + " |"


def stored(unit: str, folder: Path = RESULTS) -> Counts:
    """What is stored of a unit."""
    record = json.loads(result_file(folder, unit).read_text())
    judged = _judged(record)
    outcomes = Counter(entry["outcome"] for entry in judged)
    return Counts(sum(record["sites"].values()), len(judged), outcomes["caught"], outcomes["equivalent"], sum(map(_over_engines, judged)))


def different_over_engines(folder: Path = RESULTS) -> int:
    """Different faults that were judged over what engines brought: one of a block that several units have counts once."""
    records = [json.loads(result_file(folder, unit).read_text()) for unit in UNITS]
    found = (entry for record in records for entry in _judged(record) if _over_engines(entry))
    return len({entry["id"].split("/", 1)[1] for entry in found})


def _judged(record: dict) -> list[dict]:
    return [entry for entry in record["mutants"] if entry["outcome"] != "invalid"]


def _over_engines(entry: dict) -> bool:
    return over_engines(entry["id"].split("/")[1], entry["source"])
