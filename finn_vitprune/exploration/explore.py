"""An exploration from its choices to its page: networks, plans, builds of the best."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from finn_vitprune import jobs, progress
from finn_vitprune.errors import UserError, describe
from finn_vitprune.exploration.ledger import Explored, ExploreRow, ExploreSettings, pareto, to_csv
from finn_vitprune.exploration.networks import NetworkJob, check_sources, make_network, write_noise
from finn_vitprune.exploration.page import to_page
from finn_vitprune.exploration.points import BuildJob, PlanJob, build_point, plan_point
from finn_vitprune.exploration.space import Point, Variant, points_of, variants_of
from finn_vitprune.files import alone_in, sha256, write_text
from finn_vitprune.importing.float_model import recognised_file
from finn_vitprune.importing.plan import even_drops
from finn_vitprune.options.explore import ExploreOptions
from finn_vitprune.synth.parts import get_part

J = TypeVar("J")
R = TypeVar("R")
NETWORKS, BUILDS = "networks", "builds"
"""Folders of an exploration."""
TABLE, PAGE = "explore.csv", "explore.html"
SHOWN_S = 10.0
"""Seconds after which table and page are written again."""


def explore(options: ExploreOptions) -> Explored:
    """Make the networks that are not there, plan what is not planned, build what is asked for; each result is written at once.

    Raises:
        UserError: a file, part or option is wrong, or another explore has the folder; nothing is done then. A design that fails is a row with
            its reason.
    """
    options.files()
    explorer = _Explorer(options)
    with alone_in(options.output, "explore"):
        return explorer.run()


class _Explorer:
    def __init__(self, options: ExploreOptions) -> None:
        self.options, self.settings, self.folder = options, ExploreSettings.of(options), options.output
        for part in options.fpga_part:
            get_part(part).with_shell(options.shell)
        variants = variants_of(options)
        check_sources(tuple(dict.fromkeys(v.source for v in variants)), quantised=any(v.imported for v in variants))
        imported = dict.fromkeys(v.source for v in variants if v.imported)
        self.recognised = {source: recognised_file(source) for source in imported}
        self.networks = {variant: self._network(variant) for variant in variants}
        self.points = {point.name: point for point in points_of(options)}
        self.shown_at = -SHOWN_S
        self.digests = {source: sha256(source) for source in {v.source for v in variants}}

    def run(self) -> Explored:
        self.ledger = Explored.load(self.folder, self.settings)
        (self.folder / NETWORKS).mkdir(parents=True, exist_ok=True)
        self._begin_rows()
        try:
            with jobs.kept():
                self._make_networks()
                self._plan()
                self._build()
        finally:
            self._save(shown=True)
        return self.ledger

    # --- networks ---

    def _network(self, variant: Variant) -> NetworkJob:
        s, folder = self.settings, self.folder / NETWORKS
        drop_at = s.drop_at
        if variant.imported and not drop_at:
            drop_at = even_drops(len(self.recognised[variant.source].config.encoders))
        return NetworkJob(variant, folder.resolve(), s.data, drop_at, s.block_size, s.seed)

    def _make_networks(self) -> None:
        todo = [
            job for variant, job in self.networks.items() if job.made() is None and any(not row.reason for row in self._rows_of(variant))
        ]
        if self.settings.data is None:
            for job in {job.variant.source: job for job in todo if job.variant.imported}.values():
                write_noise(job, self.recognised[job.variant.source])
        for job, found in self._each("networks", make_network, todo, lambda job: job.variant.name):
            for row in self._rows_of(job.variant):
                row.reason = found if isinstance(found, str) else row.reason
        for variant, job in self.networks.items():
            if (found := job.made()) is not None:
                for row in self._rows_of(variant):
                    row.quality, row.import_command = found.quality, job.options.command if variant.imported else ""
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
                self.ledger.rows.append(ExploreRow.of(point, digest, self._build_job(point).options.command))
            else:
                row.build_command = self._build_job(point).options.command  # the folder may have moved
                row.reason = "" if self.options.retry else row.reason

    def _plan(self) -> None:
        todo = {
            row.name: PlanJob(self.points[row.name], self.networks[self.points[row.name].variant].hardware, self.settings.target)
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
        model, folder = self.networks[point.variant].qonnx, (self.folder / BUILDS / point.name).resolve()
        return BuildJob(point, model, folder, self.settings.target, self.options.synth, self.options.jobs)

    def _build(self) -> None:
        todo = [row for row in self._best() if row.built is None and not row.reason]
        each = self._each(
            "builds", build_point, [self._build_job(self.points[row.name]) for row in todo], lambda job: job.point.name, workers=1
        )
        for job, found in each:
            row = self.ledger.row(job.point.name)
            if isinstance(found, str):
                row.reason = f"the build failed: {found}"
            else:
                row.built = found
            self._save()

    def _best(self) -> list[ExploreRow]:
        """The designs to build, the best first: by rate, or by latency where all were planned for it."""
        rows = [row for row in self.ledger.rows if row.name in self.points and row.plan is not None and row.plan.fits]
        if self.options.builds is None:
            return [row for row in pareto(rows) if row.name in self.points]
        late = self.options.goal == ("latency",)
        return sorted(rows, key=lambda row: row.plan.latency_cycles if late else row.plan.interval_cycles)[: self.options.builds]

    # --- what they share ---

    def _rows_of(self, variant: Variant) -> list[ExploreRow]:
        """The rows of a network."""
        return [self.ledger.row(name) for name, point in self.points.items() if point.variant == variant]

    def _each(
        self, what: str, function: Callable[[J], R], todo: list[J], name: Callable[[J], str], workers: int | None = None
    ) -> Iterator[tuple[J, R | str]]:
        """Every job with its result, or with the reason why it failed; lines say how many are done, and about how long the rest takes."""
        pace, workers = progress.Pace(len(todo)), min(workers or self.options.jobs, len(todo))
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
        self.ledger.save(self.folder)
        if shown or time.monotonic() - self.shown_at > SHOWN_S:
            write_text(self.folder / TABLE, to_csv(self.ledger.rows, self.settings.target.clk_ns))
            write_text(self.folder / PAGE, to_page(self.ledger, self.options.command))
            self.shown_at = time.monotonic()


def describe_any(error: Exception) -> str:
    """One line for an exception: its own text where it is meant for users, else its kind too."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if isinstance(error, OSError | MemoryError):
        return describe(error)
    return " ".join(f"{type(error).__name__}: {error}".split())
