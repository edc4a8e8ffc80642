"""What is said of a plan: the ``plan`` of a summary, and of ``check``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from finn_vitprune.synth.budget import FF_PER_LUT, MEAN, MEAN_OF, SHELL_FF, Share
from finn_vitprune.synth.parts import NO_SHELL

Count = Annotated[int, Field(ge=0)]


class EngineChoice(BaseModel):
    """A number of engines (None: hardware for every encoder) with so many images in flight, and what its plan gives."""

    model_config = ConfigDict(extra="forbid")

    engines: Annotated[int, Field(ge=1)] | None
    frames_in_flight: Annotated[int, Field(ge=1)]
    interval_cycles: Count
    latency_cycles: Count
    fits: bool

    @property
    def text(self) -> str:
        """What it is, and its cycles."""
        if self.engines is None:
            what = "hardware for every encoder"
        else:
            what = f"{self.engines} engine{'s' * (self.engines > 1)}, {self.frames_in_flight} in flight"
        late = "" if self.fits else ", more than the part has"
        return f"{what}: an image each {self.interval_cycles:,} cycles, through in {self.latency_cycles:,}{late}"


class PlanTarget(BaseModel):
    """Images/s that a plan was asked for, at a clock period."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fps: Annotated[float, Field(gt=0)]
    clk_ns: Annotated[float, Field(gt=0)]

    @property
    def cycles(self) -> int:
        """The longest interval of images with which they come."""
        return int(1e9 / self.clk_ns / self.fps)


Goal = Literal["throughput", "latency", "target"]
"""What a plan was made for (:class:`Planned`)."""


class Planned(BaseModel):
    """What was planned, by estimate; shares are of the ``budget``, which is a share of what the ``shell`` leaves of the part.

    ``goal``: "throughput" (as few cycles as fit), "latency" (as few for one image, with a given interval too if there is a ``target``) or
    "target" (the fewest resources for a given interval). ``gap``: by how much a shorter interval, or latency where that is the goal, is not ruled out; None where that is not known. ``used``: of the whole part; ``slrs``: of each SLR, where there are several.
    ``mean_limit``: the most that DSP, BRAM and URAM may take of the part on average, None where nothing limits that, and in older files.
    ``flip_flops``: the share of the part's flip-flops by :data:`.FF_PER_LUT`, None in older files.
    ``binding``: resources of which alone more would allow the ``next_interval_cycles``, "SLR" where only borders between
    SLRs are in the way, "MEAN" first where ``mean_limit`` made the shares of the budget smaller. ``next_needs``: shares of the budget that it would take; empty where a unit cannot be so fast.
    ``relief``: changes and the interval that the part as a whole allows with each. ``latency_cycles``: of one image, by
    formula. ``engines``: the choices that this one was taken from, where the number of engines was looked for. ``target``: None where
    none was given, and in older files.
    """

    model_config = ConfigDict(extra="forbid")

    goal: Goal
    interval_cycles: Count
    latency_cycles: Count | None = None
    fits: bool
    gap: Annotated[float, Field(ge=0)] | None
    shell: str
    budget: dict[str, Share]
    mean_limit: Share | None = None
    flip_flops: Annotated[float, Field(ge=0)] | None = None
    used: dict[str, float]
    slrs: list[dict[str, float]] = []
    binding: list[str] = []
    next_interval_cycles: Count
    next_needs: dict[str, float] = {}
    relief: list[str] = []
    engines: list[EngineChoice] = []
    target: PlanTarget | None = None

    @property
    def mean(self) -> float:
        """Share of DSP, BRAM and URAM of the part that is used, on average."""
        return sum(self.used.get(kind, 0.0) * self.budget.get(kind, 0.0) for kind in MEAN_OF) / len(MEAN_OF)

    @property
    def reached_fps(self) -> int:
        """Images/s of a plan for a target, whole ones."""
        assert self.target is not None
        return int(1e9 / self.target.clk_ns / self.interval_cycles)

    @property
    def missed(self) -> str:
        """That the target is out of reach, and the nearest one that is not; empty where the plan reaches it, or there is none."""
        t = self.target
        if t is None or self.interval_cycles <= t.cycles:
            return ""
        best = self.reached_fps
        text = f"does not reach {t.fps:,.0f} images/s, {t.cycles:,} cycles an image at {t.clk_ns:g} ns"
        return f"{text}: as planned it reaches {best:,} images/s, {self.interval_cycles:,} cycles" + (
            f"; use --target-fps {best}, or a shorter --clk-ns" if self.fits else ""
        )

    @property
    def lines(self) -> list[str]:
        """Why the plan is no faster, in sentences."""
        lines = [f"One image takes {self.latency_cycles:,} cycles by formula."] if self.latency_cycles else []
        whole = "the part" if self.shell == NO_SHELL else "what the shell leaves"
        if self.mean_limit is not None:
            lines.append(f"The mean of DSP, BRAM and URAM is {100 * self.mean:.1f} of {100 * self.mean_limit:g} % of {whole}.")
        if self.shell != NO_SHELL and self.flip_flops is not None:
            share = f"{100 * self.flip_flops:.0f} % of {whole}"
            lines.append(f"Flip-flops are about {share}, at {FF_PER_LUT:g} a LUT; FINN asks for {100 * SHELL_FF:g} at most.")
        if not self.fits:
            lines.append("The plan does not fit the budget.")
        if self.missed:
            lines.append(f"It {self.missed}.")
        if self.engines:
            lines.append(f"Planned side by side: {'; '.join(choice.text for choice in self.engines)}.")
        if self.goal == "latency" and self.gap is not None:
            lines.append(f"No other folds near these are sooner by more than {100 * self.gap:.1f} %.")
        if self.goal == "latency" or self.gap is None:
            return [*lines, *([f"What would help: {'; '.join(self.relief)}."] if self.relief else [])]
        if not self.next_needs:
            return [*lines, "The slowest unit cannot be faster."]
        if self.binding:
            words = {"SLR": "the borders between SLRs", MEAN: f"the mean of {', '.join(MEAN_OF)}"}
            what = " and ".join(words.get(kind, kind) for kind in self.binding)
            lines.append(f"What binds: {what}.")
        needs = ", ".join(f"{100 * share:.1f} % of {kind}" for kind, share in self.next_needs.items())
        lines.append(f"{self.next_interval_cycles:,} cycles need, at their most even, {needs} of the budget.")
        if self.relief:
            lines.append(f"Planned for the part as a whole: {'; '.join(self.relief)}.")
        return lines
