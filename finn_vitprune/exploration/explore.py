"""An exploration from its choices to its page: networks, plans, builds of the best."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from finn_vitprune import jobs, progress
from finn_vitprune.errors import UserError, describe
from finn_vitprune.exploration.ledger import Explored, ExploreRow, ExploreSettings, pareto, to_csv
from finn_vitprune.exploration.networks import NetworkJob, check_sources, make_network, write_noise
from finn_vitprune.exploration.page import to_page
from finn_vitprune.exploration.points import BuildJob, PlanJob, build_point, plan_point
from finn_vitprune.exploration.space import Point, Space, Variant
from finn_vitprune.files import alone_in, output_path, sha256, write_text
from finn_vitprune.importing.float_model import recognised_file
from finn_vitprune.importing.options import even_drops
from finn_vitprune.pruning.choices import check_drops
from finn_vitprune.synth.parts import get_part

J = TypeVar("J")
R = TypeVar("R")
NETWORKS, BUILDS = "networks", "builds"
"""Folders of an exploration."""
TABLE, PAGE = "explore.csv", "explore.html"
SHOWN_S = 10.0
"""Seconds after which table and page are written again."""


@dataclass(frozen=True)
class Exploration:
    """What to explore, and how.

    Attributes:
        folder: where everything is written. builds: how many of the best designs are built, None for the whole Pareto set.
        synth: of builds, "nodes" or "none". jobs: at a time. again: whether designs that failed are tried again.
        command: the user's, for the page.
    """

    space: Space
    settings: ExploreSettings
    folder: Path
    builds: int | None = 0
    synth: str = "none"
    jobs: int = 2
    again: bool = False
    command: str = ""


def explore(exploration: Exploration) -> Explored:
    """Make the networks that are not there, plan what is not planned, build what is asked for; each result is written at once.

    Raises:
        UserError: a file, part or option is wrong, or another explore has the folder; nothing is done then. A design that fails is a row with
            its reason.
    """
    output_path(exploration.folder)
    explorer = _Explorer(exploration)
    with alone_in(exploration.folder, "explore"):
        return explorer.run()


def _check_settings(settings: ExploreSettings, variants: Sequence[Variant]) -> None:
    """Raise a UserError where settings are for networks that are not there."""
    given = {"--data": settings.data, "--block-size": settings.block_size, "--drop-at": ",".join(map(str, settings.drop_at)) or None}
    imported = [variant for variant in variants if variant.imported]
    if not imported and (option := next((option for option, value in given.items() if value is not None), None)):
        raise UserError(f"{option} {given[option]} is for imported networks: say how many bits, too, as --bits 8")
    check_drops(min((variant.token_keep for variant in imported), key=Fraction, default=None), settings.drop_at)


class _Explorer:
    def __init__(self, exploration: Exploration) -> None:
        self.exploration = e = exploration
        for part in e.space.parts:
            get_part(part).with_shell(e.settings.target.shell)
        variants = e.space.variants
        _check_settings(e.settings, variants)
        check_sources(tuple(dict.fromkeys(v.source for v in variants)), quantised=any(v.imported for v in variants))
        imported = dict.fromkeys(v.source for v in variants if v.imported)
        self.recognised = {source: recognised_file(source) for source in imported}
        self.networks = {variant: self._network(variant) for variant in variants}
        self.points = {point.name: point for point in e.space.points()}
        self.shown_at = -SHOWN_S
        self.digests = {source: sha256(source) for source in {v.source for v in variants}}

    def run(self) -> Explored:
        e = self.exploration
        self.ledger = Explored.load(e.folder, e.settings)
        (e.folder / NETWORKS).mkdir(parents=True, exist_ok=True)
        self._begin_rows()
        try:
            self._make_networks()
            self._plan()
            self._build()
        finally:
            self._save(shown=True)
        return self.ledger

    # --- networks ---

    def _network(self, variant: Variant) -> NetworkJob:
        s, folder = self.exploration.settings, self.exploration.folder / NETWORKS
        drop_at = s.drop_at
        if variant.imported and not drop_at:
            drop_at = even_drops(len(self.recognised[variant.source].config.encoders))
        return NetworkJob(variant, folder.resolve(), s.data, drop_at, s.block_size, s.seed)

    def _make_networks(self) -> None:
        todo = [job for variant, job in self.networks.items() if job.made() is None and any(not row.reason for row in self._rows_of(variant))]
        if self.exploration.settings.data is None:
            for job in {job.variant.source: job for job in todo if job.variant.imported}.values():
                write_noise(job, self.recognised[job.variant.source])
        for job, found in self._each("networks", make_network, todo, lambda job: job.variant.name):
            for row in self._rows_of(job.variant):
                row.reason = found if isinstance(found, str) else row.reason
        for variant, job in self.networks.items():
            if (found := job.made()) is not None:
                for row in self._rows_of(variant):
                    row.quality, row.import_command = found.quality, job.command()
        self._save()

    # --- plans ---

    def _begin_rows(self) -> None:
        """A row for every point; reasons go where failed ones are tried again, and rows of an earlier file of the same name."""
        now = {source.stem: digest for source, digest in self.digests.items()}
        kept = [row for row in self.ledger.rows if now.get(row.source, row.digest) == row.digest]
        if old := len(self.ledger.rows) - len(kept):
            progress.line(f"{old} designs were of other contents of {' and '.join(now)}, and are left out")
        self.ledger.rows = kept
        for name, point in self.points.items():
            row, digest = self.ledger.row(name), self.digests[point.variant.source]
            if row is None:
                self.ledger.rows.append(self._fresh(point, digest))
            else:
                row.build_command = self._build_job(point).command()  # the folder may have moved
                row.reason = "" if self.exploration.again else row.reason

    def _fresh(self, point: Point, digest: str) -> ExploreRow:
        v = point.variant
        bits = "/".join(map(str, v.bits)) if v.bits else "as in the file"
        shares = (v.block_keep, v.token_keep) if v.imported else ("", "")
        return ExploreRow(
            name=point.name, source=v.source.stem, network=v.name, bits=bits, block_keep=shares[0], token_keep=shares[1], part=point.part,
            engines=point.engines, frames_in_flight=point.frames_in_flight, goal=point.goal, digest=digest, import_command="",
            build_command=self._build_job(point).command(),
        )  # fmt: skip

    def _plan(self) -> None:
        todo = {
            row.name: PlanJob(self.points[row.name], self.networks[self.points[row.name].variant].hardware, self.exploration.settings.target)
            for row in self.ledger.rows if row.name in self.points and row.plan is None and not row.reason
        }  # fmt: skip
        for job, found in self._each("plans", plan_point, list(todo.values()), lambda job: job.point.name):
            row = self.ledger.row(job.point.name)
            if isinstance(found, str):
                row.reason = found
            else:
                row.plan = found
            self._save()

    # --- builds ---

    def _build_job(self, point: Point) -> BuildJob:
        e = self.exploration
        model = self.networks[point.variant].qonnx
        return BuildJob(point, model, (e.folder / BUILDS / point.name).resolve(), e.settings.target, e.synth, e.jobs)

    def _build(self) -> None:
        todo = [row for row in self._best() if row.built is None and not row.reason]
        each = self._each("builds", build_point, [self._build_job(self.points[row.name]) for row in todo], lambda job: job.point.name, workers=1)
        for job, found in each:
            row = self.ledger.row(job.point.name)
            if isinstance(found, str):
                row.reason = f"the build failed: {found}"
            else:
                row.built = found
            self._save()

    def _best(self) -> list[ExploreRow]:
        """The designs to build, the best first: by rate, or by latency where all were planned for it."""
        e = self.exploration
        rows = [row for row in self.ledger.rows if row.name in self.points and row.plan is not None and row.plan.fits]
        if e.builds is None:
            return [row for row in pareto(rows) if row.name in self.points]
        late = e.space.goals == ("latency",)
        return sorted(rows, key=lambda row: row.plan.latency_cycles if late else row.plan.interval_cycles)[: e.builds]

    # --- what they share ---

    def _rows_of(self, variant: Variant) -> list[ExploreRow]:
        """The rows of a network."""
        return [self.ledger.row(name) for name, point in self.points.items() if point.variant == variant]

    def _each(
        self, what: str, function: Callable[[J], R], todo: list[J], name: Callable[[J], str], workers: int | None = None
    ) -> Iterator[tuple[J, R | str]]:
        """Every job with its result, or with the reason why it failed; lines say how many are done, and about how long the rest takes."""
        pace, workers = progress.Pace(len(todo)), min(workers or self.exploration.jobs, len(todo))
        if todo:
            progress.begin(f"{what}: {len(todo)} to make, {workers} at a time")
        for done, outcome in enumerate(jobs.outcomes(function, todo, workers, name, jobs.Told(what, len(todo))), start=1):
            error = outcome.error
            if error is not None and not isinstance(error, (UserError, OSError, MemoryError)):
                progress.log.error("%s: %s", name(outcome.job), error, exc_info=error)
            said = "" if error is None else f", failed: {describe_any(error)}"
            progress.line(f"{what}: {pace.at(done)}: {name(outcome.job)}{said}")
            yield outcome.job, outcome.result if error is None else describe_any(error)

    def _save(self, shown: bool = False) -> None:
        """Write the rows, and table and page where they are old or must be ``shown`` now: with many rows they take seconds."""
        e = self.exploration
        self.ledger.save(e.folder)
        if shown or time.monotonic() - self.shown_at > SHOWN_S:
            write_text(e.folder / TABLE, to_csv(self.ledger.rows, e.settings.target.clk_ns))
            write_text(e.folder / PAGE, to_page(self.ledger, e.command))
            self.shown_at = time.monotonic()


def describe_any(error: Exception) -> str:
    """One line for an exception: its own text where it is meant for users, else its kind too."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if isinstance(error, OSError | MemoryError):
        return describe(error)
    return " ".join(f"{type(error).__name__}: {error}".split())
