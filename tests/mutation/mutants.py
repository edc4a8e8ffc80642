"""Mutants of a unit: which there are, a seeded sample of them, and what the self-checks say of one."""

from __future__ import annotations

import json
import random
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice, zip_longest
from pathlib import Path

from finn_vitprune.custom_ops.op.rtl_sources import rtl_source
from finn_vitprune.sim import toolchain
from tests.mutation.operators import WRITTEN, Fault, faults, tokens, written
from tests.mutation.quick import translate
from tests.mutation.self_check import SelfCheck, Unit
from tests.mutation.units import UNITS

REASONS = Path(__file__).parent / "equivalent.json"
SHARED = re.compile(r"\b(ENCODERS|SEVERAL)\b")
"""In a file that encoders share."""
EACH = 4
"""Mutants of a file that a unit's sample must have, where there are so many."""
OF_A_FRAME = re.compile(r"\b(ENCODERS|SEVERAL|encoder\w*|tags\w*|known|shape)\b")
"""In a line about which encoder's a frame is."""


@dataclass(frozen=True)
class Mutant:
    """A unit with one fault in one of its files: the ``number``-th of all that fit the file, from 1."""

    unit: str
    file: str
    number: int
    fault: Fault

    @property
    def id(self) -> str:
        """Unit, file, number and operator; the same as long as the file's code is."""
        return f"{self.unit}/{self.file}/{self.number} {self.fault.operator}"

    @property
    def source(self) -> str:
        """The sound line (the first, of several)."""
        return rtl_source(self.file).read_text().splitlines()[self.fault.line - 1].strip()

    @property
    def block(self) -> str:
        """The label of a block that was opened last before the fault ("" if none was)."""
        before = rtl_source(self.file).read_text()[: self.fault.start]
        return ["", *re.findall(r"begin : (\w+)", before)][-1]

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


def mutants_of(unit: Unit) -> dict[str, list[Mutant]]:
    """Every mutant of a unit by operator. A block of several units has its mutants in each of them."""
    found = defaultdict(list)
    for name in unit.files:
        for number, fault in enumerate(faults(rtl_source(name).read_text()), 1):
            mutant = Mutant(unit.name, name, number, fault)
            if not unit.encoders or over_engines(name, mutant.source):
                found[fault.operator].append(mutant)
    for number, (name, before, after) in enumerate(unit.written, 1):
        found[WRITTEN].append(Mutant(unit.name, name, number, written(rtl_source(name).read_text(), before, after)))
    return dict(sorted(found.items()))


def over_engines(file: str, line: str) -> bool:
    """Whether a line is in the folder ``engine``, or about encoders, tags or shapes in a file that encoders share."""
    path = rtl_source(file)
    return path.parent.name == "engine" or bool(SHARED.search(path.read_text()) and OF_A_FRAME.search(line))


def sample(unit: Unit, strata: Mapping[str, Sequence[Mutant]], seed: int) -> Iterator[Mutant]:
    """All mutants of a unit: those by hand, :data:`EACH` of every file that its sample must have, then the others. Drawn ones are in
    random order, operators in turn.
    """
    columns = [
        random.Random(f"{seed} {unit.name} {operator}").sample(list(mutants), len(mutants))
        for operator, mutants in strata.items()
        if operator != WRITTEN
    ]
    drawn = [m for row in zip_longest(*columns) for m in row if m is not None]
    first = [*strata.get(WRITTEN, ()), *(m for file in unit.also for m in islice((m for m in drawn if m.file == file), EACH))]
    yield from first
    yield from (m for m in drawn if m not in first)


def code_digests(unit: Unit) -> dict[str, str]:
    """Of the code of a unit, by file: white space and comments do not count, nor does what simulations leave out."""
    return {name: toolchain.digest(" ".join(tokens(rtl_source(name).read_text()))) for name in unit.files}


def judge(mutant: Mutant) -> Verdict:
    """Put ``mutant`` to the checks of its unit, until one catches it.

    A check for which Verilator makes the same code of the faulty unit as of the sound one is passed over.

    Raises:
        AssertionError: the sound unit fails a check.
    """
    started = time.monotonic()
    ran = 0
    with tempfile.TemporaryDirectory(prefix="vitprune-mutant-") as folder:
        faulty = Path(folder) / mutant.file
        faulty.write_text(mutant.faulty_text())
        for check in UNITS[mutant.unit].checks:
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
            simulator = code.compile(*check.ports)
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
    """Why a survivor is not a fault: the first entry of ``equivalent.json`` that says nothing else of it."""
    f = mutant.fault
    facts = {
        "unit": mutant.unit,
        "file": mutant.file,
        "block": mutant.block,
        "operator": f.operator,
        "source": mutant.source,
        "before": f.before,
        "after": f.after,
    }
    return next((r for said, r in _reasons() if all(facts[name] in values for name, values in said.items())), None)


@cache
def _reasons() -> list[tuple[dict[str, list[str]], str]]:
    """Entries of ``equivalent.json``: what each says of a mutant, as the values that it may have, and the reason."""
    entries = json.loads(REASONS.read_text())
    why = [entry.pop("reason") for entry in entries]
    said = [{name: v if isinstance(v, list) else [v] for name, v in entry.items()} for entry in entries]
    return list(zip(said, why))
