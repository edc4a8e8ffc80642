"""What is said of the timing of a design: the ``timing`` of a summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from finn_vitprune.synth.timing import Timing

Ns = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]

EXPLAINED = """Clock periods are estimated before placement, from the netlists of Yosys, published delays of UltraScale+ cells
and a model of nets in three sets of constants (low, taken, high). The estimate orders versions of the RTL and names
what limits a unit. It is no timing closure: it knows nothing of placement, congestion, clock skew, hold and the way
between dies. docs/timing.md says more."""
"""What the estimate is, and what it is not."""


class _TimingSection(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NodeTiming(_TimingSection):
    """Of one node: ns of its slowest path by three sets of constants, and where it begins and ends.

    ``levels``: most LUTs in a row. ``widest``: the widest net, with its ``loads``. ``over``: ends that take longer than the
    clock's period. ``ram_levels``: most LUTs in a row after a block RAM or UltraRAM; ``bare_multipliers``: DSP slices that
    multiply without registers around. ``reset_loads`` and ``reset_ns``: loads of the widest net of a reset, and the slowest path from
    a register of one. These four are None in summaries of earlier versions.
    """

    node: str
    op_type: str = ""
    low: Ns
    taken: Ns
    high: Ns
    levels: Count
    start: str = ""
    end: str = ""
    widest: str = ""
    loads: Count = 0
    over: Count = 0
    ram_levels: Count | None = None
    bare_multipliers: Count | None = None
    reset_loads: Count | None = None
    reset_ns: Ns | None = None

    @classmethod
    def of(cls, node: str, op_type: str, timing: Timing, clk_ns: float) -> NodeTiming:
        path, net = next(iter(timing.paths), None), next(iter(timing.nets), None)
        return cls(
            node=node, op_type=op_type, low=timing.low, taken=timing.taken, high=timing.high, levels=timing.levels,
            start=path.start if path else "", end=path.end if path else "", widest=net.name if net else "",
            loads=net.loads if net else 0, over=sum(timing.over(clk_ns).values()), ram_levels=timing.ram_levels,
            bare_multipliers=timing.bare_multipliers, reset_loads=timing.reset.loads if timing.reset else 0, reset_ns=timing.reset_ns,
        )  # fmt: skip


class BorderTiming(_TimingSection):
    """The slowest path between two nodes: from a register of one to a register of the other, by the taken constants."""

    source: str
    target: str
    taken: Ns


class SlrCrossing(_TimingSection):
    """A stream that leaves its die: the node that carries it, from which die to which, its bits, its register stages.

    Every stage is a register on either side; how long the wire between dies takes is not estimated.
    """

    node: str
    source: Count
    target: Count
    bits: Count
    stages: Count


class ResetPath(_TimingSection):
    """The way of the reset from the port of the design to its units: ``stages`` registers in a row before each of ``units``.

    ``loads``: registers that the port itself reaches, in ``taken`` ns, by the taken constants, from a register outside. What comes after
    the last register of a unit is in the figures of the unit (:class:`NodeTiming`).
    """

    stages: Count
    units: Count
    loads: Count
    taken: Ns


class DesignTiming(_TimingSection):
    """The estimate of a design: the slowest of its nodes and of what is between them, for a clock of ``clk_ns``.

    ``border``: the slowest path between nodes, by the taken constants alone; ``low`` and ``high`` are of nodes. ``per_node`` in
    graph order; ``crossings`` between dies, whose wires are in no figure. ``reset``: its way to the units, None in summaries of
    earlier versions.
    """

    clk_ns: Annotated[float, Field(gt=0)]
    low: Ns
    taken: Ns
    high: Ns
    node: str
    border: BorderTiming | None = None
    per_node: list[NodeTiming] = []
    crossings: list[SlrCrossing] = []
    reset: ResetPath | None = None

    @classmethod
    def of(
        cls,
        clk_ns: float,
        nodes: list[NodeTiming],
        border: BorderTiming | None = None,
        crossings: Sequence[SlrCrossing] = (),
        reset: ResetPath | None = None,
    ) -> DesignTiming:
        """Of at least one node."""
        worst = max(nodes, key=lambda n: n.taken)
        between = 0.0 if border is None else border.taken
        return cls(
            clk_ns=clk_ns, low=max(n.low for n in nodes), taken=max(worst.taken, between),
            high=max(n.high for n in nodes), node=worst.node, border=border, per_node=nodes, crossings=list(crossings),
            reset=reset,
        )  # fmt: skip

    @property
    def holds(self) -> bool:
        """Whether the clock's period holds by the taken constants."""
        return self.taken <= self.clk_ns

    @property
    def reset_text(self) -> str:
        """The way of the reset in a sentence; "" where it is not known."""
        if self.reset is None:
            return ""
        widest, slowest = (max(self.per_node, key=lambda n: getattr(n, of) or 0) for of in ("reset_loads", "reset_ns"))
        return (
            f"The reset reaches each of {self.reset.units} units through {self.reset.stages} registers: from the port "
            f"{self.reset.loads:,} loads and {self.reset.taken:.2f} ns; inside of units at most {widest.reset_loads:,} loads "
            f"({widest.node}) and {slowest.reset_ns:.2f} ns ({slowest.node})."
        )

    @property
    def text(self) -> str:
        """The slowest path, and whether the period holds, in a sentence or two."""
        if self.border is not None and self.border.taken > max(n.taken for n in self.per_node):
            slowest = f"{self.taken:.2f} ns between {self.border.source} and {self.border.target}"
        else:
            worst = next(n for n in self.per_node if n.node == self.node)
            slowest = f"{self.taken:.2f} ns ({self.low:.2f} to {self.high:.2f}) in {worst.node}, from {worst.start} to {worst.end}"
        text = f"the slowest path takes {slowest}"
        if self.holds:
            return f"{text}; by this estimate a clock of {self.clk_ns:g} ns holds"
        slow = sum(n.taken > self.clk_ns for n in self.per_node)
        nodes = f"{slow} of {len(self.per_node)} nodes are slower"
        return f"{text}: by this estimate a clock of {self.clk_ns:g} ns does not hold ({nodes})"
