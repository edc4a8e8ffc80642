"""Mutants of the units: which there are, a seeded sample of them, and what the self-checks say of one."""

from __future__ import annotations

import json
import random
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from finn_vitprune.custom_ops.rtl_sources import rtl_source
from finn_vitprune.sim import toolchain
from tests.mutation.cases import UNITS, SelfCheck, Unit
from tests.mutation.operators import Fault, faults
from tests.mutation.quick import translate
from tests.rtl.helper import op_ports

REASONS = Path(__file__).parent / "equivalent.json"


@dataclass(frozen=True)
class Mutant:
    """A unit with one fault in one of its files."""

    unit: str
    file: str
    fault: Fault

    @property
    def id(self) -> str:
        """Unit, place, operator and what stands there instead; the same as long as the file is."""
        f = self.fault
        return f"{self.unit}/{self.file}:{f.line}:{f.column}/{f.operator}/{f.after or 'nothing'}"

    @property
    def source(self) -> str:
        """The sound line (the first, of several)."""
        return rtl_source(self.file).read_text().splitlines()[self.fault.line - 1].strip()

    def faulty_text(self) -> str:
        """The file with the fault."""
        return self.fault.apply(rtl_source(self.file).read_text())


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant.

    Attributes:
        outcome: ``caught``; ``invalid`` (does not compile); ``survived``.
        by: name of the check that caught it.
        how: first line of what that check said.
        seconds: wall clock.
        ran: checks in which the mutant made a difference to the compiled code.
    """

    outcome: str
    by: str = ""
    how: str = ""
    seconds: float = 0.0
    ran: int = 0


def all_mutants() -> dict[tuple[str, str], list[Mutant]]:
    """Every mutant by operator and unit. A block that both units are built of has them in both."""
    found = defaultdict(list)
    for unit in UNITS:
        for name in unit.files:
            for fault in faults(rtl_source(name).read_text()):
                found[fault.operator, unit.name].append(Mutant(unit.name, name, fault))
    return dict(sorted(found.items()))


def sample(strata: Mapping[tuple[str, str], Sequence[Mutant]], seed: int) -> Iterator[Mutant]:
    """All mutants in random order, operators and units in turn."""
    columns = [
        random.Random(f"{seed} {unit} {operator}").sample(list(mutants), len(mutants))
        for (operator, unit), mutants in strata.items()
    ]
    for row in zip_longest(*columns):
        yield from (m for m in row if m is not None)


def rtl_digest(unit: Unit) -> str:
    """Of the sound files of a unit."""
    return toolchain.digest(*(part for n in unit.files for part in (n, rtl_source(n).read_bytes())))


def judge(mutant: Mutant) -> Verdict:
    """Put ``mutant`` to the checks of its unit, until one catches it.

    A check for which Verilator makes the same code of the faulty unit as of the sound one is passed over.

    Raises:
        AssertionError: the sound unit fails a check.
    """
    started = time.monotonic()
    [checks] = [u.checks for u in UNITS if u.name == mutant.unit]
    ran = 0
    with tempfile.TemporaryDirectory(prefix="vitprune-mutant-") as folder:
        faulty = Path(folder) / mutant.file
        faulty.write_text(mutant.faulty_text())
        for check in checks:
            try:
                found = _catches(check, faulty)
            except _DoesNotCompile as error:
                return Verdict("invalid", check.name, str(error), time.monotonic() - started, ran)
            ran += found is not None
            if found:
                return Verdict("caught", check.name, found, time.monotonic() - started, ran)
    return Verdict("survived", seconds=time.monotonic() - started, ran=ran)


def judge_open(task: tuple[Mutant, dict | None]) -> Verdict | None:
    """:func:`judge` as a job; None for a mutant that has an entry already."""
    mutant, settled = task
    return None if settled else judge(mutant)


class _DoesNotCompile(Exception):
    """Verilator or the C++ compiler rejects a mutant."""


def _catches(check: SelfCheck, faulty: Path) -> str | None:
    """What ``check`` has against the unit with ``faulty`` in it, "" if nothing, None if the code is equal."""
    sources = [faulty if Path(s).name == faulty.name else Path(s) for s in check.sources]
    sound = check.sound_code
    with tempfile.TemporaryDirectory(prefix="vitprune-mutant-") as folder:
        try:
            code = translate(sources, Path(folder))
            if code.digest == sound:
                return None
            simulator = code.compile(*op_ports(check.op))
        except toolchain.SimulationError as error:
            raise _DoesNotCompile(_first_line(error)) from error
        try:
            check.judge(simulator)
        except (AssertionError, toolchain.SimulationError) as error:
            return _first_line(error) or "failed"
    return ""


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    text = lines[1] if len(lines) > 1 and lines[0].endswith("failed:") else (lines or [""])[0]
    return re.sub(r"/tmp/\S*/", "", text)[:200]


def reason(mutant: Mutant) -> str | None:
    """Why a survivor is not a fault, by ``equivalent.json``: file, operator, sound line, replacement."""
    f = mutant.fault
    for entry in json.loads(REASONS.read_text()):
        if (entry["file"], entry["operator"], entry["source"]) == (mutant.file, f.operator, mutant.source):
            if (entry["before"], entry["after"]) == (f.before, f.after):
                return entry["reason"]
    return None
