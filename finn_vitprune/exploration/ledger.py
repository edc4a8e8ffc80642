"""What is known of an exploration: one row a design, kept in ``explore.json``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from finn_vitprune import __version__
from finn_vitprune.errors import UserError
from finn_vitprune.exploration.networks import Quality
from finn_vitprune.exploration.points import BuiltPoint, PlannedPoint, Target
from finn_vitprune.exploration.space import Point
from finn_vitprune.files import write_json
from finn_vitprune.options.explore import ExploreOptions
from finn_vitprune.report.quantities import images_per_second, milliseconds

FILE = "explore.json"


class ExploreSettings(BaseModel):
    """What holds for all rows of a folder. version: of the program that plans. data: None for noise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = __version__
    target: Target
    data: str | None = None
    drop_at: tuple[int, ...] = ()
    block_size: int | None = None
    seed: int = 0

    @classmethod
    def of(cls, options: ExploreOptions) -> ExploreSettings:
        """What of the options holds for all rows."""
        names = cls.model_fields.keys() & ExploreOptions.model_fields.keys()
        return cls(target=Target.of(options), **{name: getattr(options, name) for name in names})


class ExploreRow(BaseModel):
    """A design: what it is, what is known of its network, its plan, its build. ``reason``: why it was not planned or not built."""

    model_config = ConfigDict(extra="forbid")

    name: str
    source: str
    network: str
    bits: str
    block_keep: str
    token_keep: str
    part: str
    engines: int | None
    frames_in_flight: int
    goal: str
    digest: str
    import_command: str
    build_command: str
    quality: Quality | None = None
    plan: PlannedPoint | None = None
    built: BuiltPoint | None = None
    reason: str = ""

    @classmethod
    def of(cls, point: Point, digest: str, build_command: str) -> ExploreRow:
        """Of a design of which nothing is known yet; ``digest``: of its network's file."""
        v = point.variant
        shares = (v.block_keep, v.token_keep) if v.imported else ("", "")
        return cls(
            name=point.name, source=v.source.stem, network=v.name, bits=v.bits or "as in the file", block_keep=shares[0], token_keep=shares[1],
            part=point.part, engines=point.engines, frames_in_flight=point.in_flight, goal=point.goal, digest=digest, import_command="",
            build_command=build_command,
        )  # fmt: skip

    @property
    def engines_text(self) -> str:
        """Its engines in words."""
        if self.engines is None:
            return "pipeline"
        return f"{self.engines} engine{'s' * (self.engines > 1)}, {self.frames_in_flight} in flight, {self.goal}"

    @property
    def found(self) -> BuiltPoint | PlannedPoint | None:
        """Cycles and shares: of the simulated build, else of the plan."""
        return self.built or self.plan

    @property
    def method(self) -> str:
        """How its cycles are known."""
        return "simulated" if self.built else "planned" if self.plan else ""

    @property
    def fits(self) -> bool:
        """Whether there is a design that fits the budget."""
        return self.found is not None and self.found.fits

    def rate(self, clk_ns: float) -> float:
        """Images a second."""
        return images_per_second(self.found.interval_cycles, clk_ns)

    def milliseconds(self, clk_ns: float) -> float:
        """Latency of one image."""
        return milliseconds(self.found.latency_cycles, clk_ns)


class Explored(BaseModel):
    """What ``explore.json`` holds: settings and rows."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    settings: ExploreSettings
    rows: list[ExploreRow] = []

    @classmethod
    def load(cls, folder: Path, settings: ExploreSettings) -> Explored:
        """Of a folder, empty where it has none.

        Raises:
            UserError: the file is of other settings, or broken.
        """
        path = folder / FILE
        if not path.is_file():
            return cls(settings=settings)
        try:
            found = cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise UserError(f"{path} is not a file of explore ({where}: {error.errors()[0]['msg']}): use another folder") from None
        theirs, ours = found.settings.model_dump(), settings.model_dump()
        other = [f"{name} {theirs[name]}, here {ours[name]}" for name in ours if theirs[name] != ours[name]]
        if other:
            raise UserError(f"{path} holds an exploration of other settings ({'; '.join(other)}): use another folder")
        return found

    def save(self, folder: Path) -> None:
        """Write the file."""
        write_json(folder / FILE, self.model_dump(mode="json"), indent=1)

    def row(self, name: str) -> ExploreRow | None:
        """The row of a design."""
        return next((row for row in self.rows if row.name == name), None)


def to_csv(rows: Iterable[ExploreRow], clk_ns: float) -> str:
    """A line a row, a head above."""
    heads = (
        "name", "network", "bits", "block_keep", "token_keep", "part", "engines", "frames_in_flight", "goal", "method", "fits", "pareto",
        "interval_cycles", "latency_cycles", "images_per_second", "milliseconds", "LUT", "DSP", "BRAM", "URAM", "accuracy", "cosine",
        "mismatches", "reason", "import_command", "build_command",
    )  # fmt: skip
    rows = list(rows)
    best = {row.name for row in pareto(rows)}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(heads)
    for r in rows:
        f, q = r.found, r.quality
        cycles = (f.interval_cycles, f.latency_cycles, round(r.rate(clk_ns), 1), round(r.milliseconds(clk_ns), 4)) if f else ("",) * 4
        shares = tuple(f.shares[kind] for kind in ("LUT", "DSP", "BRAM", "URAM")) if f else ("",) * 4
        table.writerow((
            r.name, r.network, r.bits, r.block_keep, r.token_keep, r.part, "" if r.engines is None else r.engines, r.frames_in_flight,
            r.goal, r.method, r.fits, r.name in best, *cycles, *shares, *(("", "") if q is None else (q.accuracy, q.cosine)),
            r.built.mismatches if r.built else "", r.reason, r.import_command, r.build_command,
        ))  # fmt: skip
    return text.getvalue()


def pareto(rows: Iterable[ExploreRow]) -> list[ExploreRow]:
    """Of each part, the designs that fit and that no other of the part beats: in rate, latency and, where all have one, accuracy."""
    fitting = [row for row in rows if row.fits]
    return [row for row in fitting if not any(_beats(other, row) for other in fitting if other.part == row.part)]


def _beats(one: ExploreRow, other: ExploreRow) -> bool:
    """Whether one design is as good in all and better in something."""
    costs = [(one.found.interval_cycles, other.found.interval_cycles), (one.found.latency_cycles, other.found.latency_cycles)]
    a, b = (row.quality and row.quality.value for row in (one, other))
    if a is not None and b is not None:
        costs.append((-a, -b))
    elif one.network != other.network:
        return False  # how much accuracy the faster one costs is not known
    return all(a <= b for a, b in costs) and any(a < b for a, b in costs)
