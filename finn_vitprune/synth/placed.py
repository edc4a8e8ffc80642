"""What is said of the places of a design: the ``places`` of a summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from finn_vitprune.synth.grid import Area

Ns = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]

WORST = 20
"""Nodes and links that are named."""


class _PlacesSection(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NsSets(_PlacesSection):
    """ns by three sets of constants."""

    low: Ns
    taken: Ns
    high: Ns

    @classmethod
    def of(cls, ns: Sequence[float]) -> NsSets:
        low, taken, high = (round(max(value, 0.0), 3) for value in ns)
        return cls(low=low, taken=taken, high=high)


class PlacedNode(_PlacesSection):
    """A unit and its region.

    ``areas``: its sites, each as its kind (its place in :data:`.SITES`), first and last column of the kind, first and last site from the
    bottom of the SLR. ``corner_ns``: wires from the middle of the region to its farthest tile. ``without``: ns of its slowest path without
    distance, by the taken constants; ``ns`` with distance; None of a unit that Yosys did not map.
    """

    node: str
    op_type: str
    slr: Count
    areas: list[tuple[Count, Count, Count, Count, Count]]
    corner_ns: Ns
    without: Ns | None = None
    ns: NsSets | None = None

    @property
    def sites(self) -> list[Area]:
        """``areas`` as objects."""
        return [Area(*numbers) for numbers in self.areas]


class PlacedLink(_PlacesSection):
    """A stream between two units, or the reset to its farthest unit.

    ``via``: the crossing that carries it over ``borders`` of SLRs with ``stages`` registers. ``wire``: ns of its longest piece from register to
    register; ``without``: ns of its slowest piece without distance; ``ns``: with it, or a border where that takes longer.
    """

    source: str
    target: str
    bits: Count
    via: str = ""
    borders: Count = 0
    stages: Count = 0
    wire: NsSets
    without: Ns
    ns: NsSets


class PlacedDesign(_PlacesSection):
    """The places of a design on ``part`` beside ``shell``, and its timing with distance for a clock of ``clk_ns``.

    ``method``: who counted the resources. ``uncertainty_ns``: of the clock, which is in no other figure. ``mapped``: whether Yosys mapped the
    units; if not, nothing is said of paths inside them, and all links have the same ``without``. ``bit_ns``: the sum over the links of bits times ns
    of wires between the middles of their units.
    """

    part: str
    device: str
    shell: str
    method: str
    clk_ns: Annotated[float, Field(gt=0)]
    uncertainty_ns: Ns
    mapped: bool
    bit_ns: Ns
    nodes: list[PlacedNode]
    links: list[PlacedLink]

    @property
    def limit_ns(self) -> float:
        """What a path may take: the period less the uncertainty."""
        return self.clk_ns - self.uncertainty_ns

    def slow_nodes(self, by: str = "taken") -> list[PlacedNode]:
        """Units over the clock, by a set of constants, the slowest first."""
        return sorted((n for n in self.nodes if n.ns and getattr(n.ns, by) > self.limit_ns), key=lambda n: -getattr(n.ns, by))

    def slow_links(self, by: str = "taken") -> list[PlacedLink]:
        """Links over the clock, by a set of constants, the slowest first."""
        return sorted((n for n in self.links if getattr(n.ns, by) > self.limit_ns), key=lambda n: -getattr(n.ns, by))

    @property
    def text(self) -> str:
        """How many units and links are over the clock, in a sentence."""
        links = f"{len(self.slow_links())} of {len(self.links)} links"
        high = _counted(len(self.slow_links("high")), "link")
        if self.mapped:
            links = f"{len(self.slow_nodes())} of {len(self.nodes)} nodes and {links}"
            high = f"{_counted(len(self.slow_nodes('high')), 'node')} and {high}"
        alone = "" if self.mapped else "; paths inside of units are not judged, as Yosys did not map them"
        clock = f"{self.clk_ns:g} ns less {self.uncertainty_ns:g} ns of uncertainty"
        return f"with distance {links} take longer than {clock} ({high} by the high constants){alone}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
