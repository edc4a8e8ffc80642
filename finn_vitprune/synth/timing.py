"""Static timing of a mapped netlist: what its slowest paths take by published delays and a stated model of nets.

An estimate before placement, in three sets of constants; ``docs/timing.md`` says what may be said of it. Paths begin and end
at flip-flops, memories and DSP slices, those of resets included; those at ports of the node are apart.
Nets and arcs are arrays, and arrival times spread over the levels of the graph, each level at once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from finn_vitprune.synth.timing_cells import END_CLASSES, INSIDE, ULTRASCALE_PLUS
from finn_vitprune.synth.timing_graph import CARRIES, LUTS, PORT, RAM, RESET, TAKEN, Graph
from finn_vitprune.synth.timing_names import Names
from finn_vitprune.synth.timing_packing import pack
from finn_vitprune.synth.wiring import CellKind, Wiring

PATHS, NETS = 10, 10
"""How many of the slowest paths, and of the widest nets, are kept by name."""
_TRACED = 4000
"""Ends of the slowest paths that are traced back, and widest nets, to be grouped by names."""
_STEP_NS = 0.01
"""Ends are counted by their time in such steps, rounded up."""
_LEAST_STEP = 50
"""Faster ends are counted with those of this step."""


@dataclass(frozen=True)
class WideNet:
    """A net by name and the pins that it drives."""

    name: str
    loads: int


@dataclass(frozen=True)
class TimedPath:
    """One of the slowest paths, or several between the same registers.

    Attributes:
        start, end: what it begins and ends at, by the names of the sources. low, taken, high: its ns by the three sets.
        levels: LUTs on it. carries: carry blocks. widest: the net on it with the most loads.
        through: nets from start to end, with loads. ends: how many of the slowest ends have such a path: names that differ
            by bits and indices count as one.
    """

    start: str
    end: str
    low: float
    taken: float
    high: float
    levels: int
    carries: int
    widest: WideNet
    through: tuple[str, ...]
    ends: int = 1


@dataclass(frozen=True)
class Timing:
    """The estimate of a node.

    Attributes:
        low, taken, high: ns of the slowest path by each set of constants.
        levels: most LUTs in a row. carry_levels: most LUTs and carry blocks. ram_levels: most LUTs in a row after a block RAM
            or UltraRAM.
        bare_multipliers: DSP slices that multiply without registers of operands, product and result.
        paths: the slowest, by ``taken``.
        nets: the widest, one of each name. reset: the widest of those that nothing but a reset moves.
        reset_ns: ns, by ``taken``, of the slowest path from a register that nothing but a reset moves.
        from_ports, to_ports, through_ports: ns, by ``taken``, of the slowest path from an input to a register, from a register
            to an output, from an input to an output; none of them is in the figures above.
        ends: of every class of ends, pairs of ns (by ``taken``, in steps of 0.01, rounded up, 0.5 and less as 0.5) and how
            many. high_ends: the same by ``high``.
    """

    low: float = 0.0
    taken: float = 0.0
    high: float = 0.0
    levels: int = 0
    carry_levels: int = 0
    ram_levels: int = 0
    bare_multipliers: int = 0
    paths: tuple[TimedPath, ...] = ()
    nets: tuple[WideNet, ...] = ()
    reset: WideNet | None = None
    reset_ns: float = 0.0
    from_ports: float = 0.0
    to_ports: float = 0.0
    through_ports: float = 0.0
    ends: dict[str, tuple[tuple[float, int], ...]] = field(default_factory=dict)
    high_ends: dict[str, tuple[tuple[float, int], ...]] = field(default_factory=dict)

    @property
    def widest(self) -> int:
        """Loads of the widest net."""
        return max((net.loads for net in self.nets), default=0)

    def over(self, limit_ns: float, high: bool = False) -> dict[str, int]:
        """How many ends of each class take longer than a limit of at least 0.5 ns; classes without any are left out."""
        by_class = self.high_ends if high else self.ends
        slow = {kind: sum(n for ns, n in counts if ns > limit_ns + 1e-9) for kind, counts in by_class.items()}
        return {kind: n for kind, n in slow.items() if n}


def estimate(wiring: Wiring, corner_ns: float = 0.0) -> Timing:
    """The timing of a netlist for UltraScale+.

    Args:
        corner_ns: ns of wires from the middle of its region to the far corner; 0 where it has no place.
    Raises:
        CombinationalLoopError: logic goes in a circle; the text names a net of it.
    """
    return timing_of(Graph(pack(wiring), ULTRASCALE_PLUS, corner_ns))


def timing_of(graph: Graph) -> Timing:
    """The timing of a graph, of any family."""
    return _Reading(graph).timing()


def broadcast_ns(loads: int) -> float:
    """ns, by ``taken``, from a register to so many others on UltraScale+."""
    c = ULTRASCALE_PLUS.constants
    ns = c.ns["ff_out"] + c.ns["net"] + c.slope[TAKEN] * float(np.log2(max(loads, 1))) + c.ns["to_ff"] + c.ns["ff_d"]
    return round(ns, 3)


class _Reading:
    """What a graph says."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.names = graph, Names(graph)

    def timing(self) -> Timing:
        """Everything that is said of the netlist."""
        g = self.graph
        ends = g.value[g.end_net].copy()
        ends[:, :3] += g.end_ns
        reached = ends[:, 0] > 0
        ends[~reached] = 0
        worst = ends.max(0, initial=0)
        inside, many = self._inside()
        low, taken, high = (max(float(worst[i]), float(inside.max(initial=0))) for i in range(3))
        widest = self._widest(np.ones_like(g.reset), NETS)
        ports = [nets for name, nets in g.wiring.ports.items() if name not in g.wiring.inputs]
        outputs = g.value[np.concatenate(ports or [np.zeros(1, int)])]
        return Timing(
            low=round(low, 3), taken=round(taken, 3), high=round(high, 3),
            levels=int(worst[LUTS]), carry_levels=int(worst[CARRIES]), ram_levels=int(max(worst[RAM], 0)),
            bare_multipliers=self._bare_multipliers(), paths=self._paths(ends[:, TAKEN], reached, inside), nets=widest,
            reset=next(iter(self._widest(g.reset, 1)), None),
            reset_ns=_latest(g.value[g.end_net, RESET] + g.end_ns[:, TAKEN]),
            from_ports=_latest(g.value[g.end_net, PORT] + g.end_ns[:, TAKEN]),
            to_ports=_latest(outputs[:, TAKEN]), through_ports=_latest(outputs[:, PORT]),
            ends=self._counts(ends[:, TAKEN], reached, inside, many),
            high_ends=self._counts(ends[:, 2], reached, inside, many),
        )  # fmt: skip

    def _inside(self) -> tuple[np.ndarray, np.ndarray]:
        """ns of stages inside of DSP slices, by kind, and how many slices."""
        found = [(t.inside, len(g.nets)) for g, t in zip(self.graph.wiring.cells, self.graph.timings) if t.inside]
        return np.array([ns for ns, _ in found]), np.array([n for _, n in found], int)

    def _bare_multipliers(self) -> int:
        slices = (g for g in self.graph.wiring.cells if g.kind.type == "DSP48E2")
        return sum(len(g.nets) for g in slices if _lacks_registers(g.kind))

    def _counts(self, ns: np.ndarray, reached: np.ndarray, inside: np.ndarray, many: np.ndarray) -> dict:
        """By class of ends, pairs of ns and how many."""
        steps = np.maximum(np.ceil(ns / _STEP_NS - 1e-6).astype(int), _LEAST_STEP)
        found = {}
        for kind, name in enumerate(END_CLASSES):
            values, counts = np.unique(steps[reached & (self.graph.end_class == kind)], return_counts=True)
            if kind == INSIDE and len(inside):
                sums: Counter[int] = Counter()
                for value, n in zip(inside, many):
                    sums[int(np.ceil(value / _STEP_NS - 1e-6))] += int(n)
                values, counts = (np.array(column) for column in zip(*sorted(sums.items())))
            if len(values):
                found[name] = tuple((round(float(v) * _STEP_NS, 2), int(n)) for v, n in zip(values, counts))
        return found

    def _widest(self, of: np.ndarray, most: int) -> tuple[WideNet, ...]:
        """The widest of the nets that ``of`` marks, one of each name."""
        count = np.where(of, self.graph.loads, 0)
        best = np.argsort(-count, kind="stable")[:_TRACED]
        _, first = np.unique(self.names.net_keys(best), axis=0, return_index=True)
        best = best[np.sort(first)[:most]]
        return tuple(WideNet(self.names.net(int(n)), int(count[n])) for n in best if count[n] > 1)

    def _paths(self, ns: np.ndarray, reached: np.ndarray, inside: np.ndarray) -> tuple[TimedPath, ...]:
        """The slowest paths, one of each pair of start and end."""
        slowest = np.argsort(-np.where(reached, ns, -1), kind="stable")[: min(_TRACED, int(reached.sum()))]
        net = self.graph.end_net[slowest]
        arcs = []
        here = net
        while True:
            arc = self.graph.before[here]
            if not (arc >= 0).any():
                break
            arcs.append(arc)
            here = np.where(arc >= 0, self.graph.source[np.maximum(arc, 0)], here)
        keys = np.concatenate([self.names.net_keys(here), self.names.end_keys(slowest)], axis=1)
        _, first, many = np.unique(keys, axis=0, return_index=True, return_counts=True)
        found = [
            self._path(int(slowest[place]), [int(a[place]) for a in arcs if a[place] >= 0][::-1], int(n))
            for place, n in sorted(zip(first, many))[:PATHS]
        ]
        if len(inside):
            stage = round(float(inside.max()), 3)
            name = "inside of a DSP slice"
            found.append(TimedPath(name, name, stage, stage, stage, 0, 0, WideNet("", 0), ()))
        return tuple(sorted(found, key=lambda p: -p.taken)[:PATHS])

    def _path(self, end: int, arcs: list[int], ends: int) -> TimedPath:
        last = int(self.graph.end_net[end])
        nets = [int(self.graph.source[a]) for a in arcs] + [last]
        ns = self.graph.value[nets[0], :3] + self.graph.weights[arcs, :3].sum(0) + self.graph.end_ns[end]
        widest = max(nets, key=lambda n: self.graph.loads[n])
        low, taken, high = (round(float(v), 3) for v in ns)
        luts, carries = (int(self.graph.weights[arcs, column].sum()) for column in (LUTS, CARRIES))
        return TimedPath(
            self.names.net(nets[0]), self.names.end(end), low, taken, high, luts, carries - luts,
            WideNet(self.names.net(widest), int(self.graph.loads[widest])),
            tuple(f"{self.names.net(n)} ({self.graph.loads[n]})" for n in nets), ends,
        )  # fmt: skip


def _lacks_registers(kind: CellKind) -> bool:
    """Whether a slice lacks a register of an operand (that of the pre-adder is one), of the product or of the result."""
    added = kind.parameter("AMULTSEL", "A") == "AD" and kind.parameter("ADREG", "1") != "0"
    names = ("BREG", "MREG", "PREG") if added else ("AREG", "BREG", "MREG", "PREG")
    return any(kind.parameter(name, "1") == "0" for name in names)


def _latest(ns: np.ndarray) -> float:
    return round(max(float(ns.max(initial=0)), 0.0), 3)
