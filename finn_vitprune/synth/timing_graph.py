"""The graph of a mapped netlist: nets, weighted arcs between them, ends of paths, and latest arrivals, all as arrays."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from finn_vitprune.synth.grid import wires
from finn_vitprune.synth.timing_cells import SETS, Driver, Family, Sink
from finn_vitprune.synth.wiring import Wiring

TAKEN = SETS.index("taken")
LUTS, CARRIES, RAM, PORT, RESET, COLUMNS = 3, 4, 5, 6, 7, 8
"""Columns beside those of the sets: levels of LUTs, LUTs and carry blocks, LUTs since a memory, ns since a port, ns since a
register of a reset."""
RESETS = ("rst", "reset")
"""What the name of a port of resets has in it."""
_NEVER = -1e9


class CombinationalLoopError(ValueError):
    """A netlist has a circle of logic."""


class Graph:
    """What paths of a netlist run along.

    Args:
        corner_ns: ns of wires from the middle of the netlist's region to its far corner, which its widest nets reach; 0 where that is not known.

    Attributes:
        source, target, weights: nets before and behind every way through a cell, and what the net before it and the cell add,
            ``[arcs, COLUMNS]``. loads, driver, reset: of every net its pins, its :class:`Driver`, whether resets alone move it.
        end_net, end_class, end_ns: of every end its net, its class, and ns from the driver of the net to the clock ``[ends, sets]``.
        end_cell: group, row and pin of every end ``[3, ends]``.
        value, before: of every net the latest arrivals at its driver ``[nets, COLUMNS]``, and the arc that the latest by the taken
            constants comes by, -1 for none.

    Raises:
        CombinationalLoopError: logic goes in a circle; the text names a net of it.
    """

    def __init__(self, wiring: Wiring, family: Family, corner_ns: float = 0.0) -> None:
        self.wiring, self.family, self.corner_ns = wiring, family, corner_ns
        self.timings = [family.cell(g.kind) for g in wiring.cells]
        self.loads = family.loads(wiring)
        self.reset = reset_nets(wiring, family)
        self.driver = np.zeros(wiring.nets, np.int8)
        for group, timing in zip(wiring.cells, self.timings):
            for pin, driver in timing.drivers.items():
                self.driver[group.nets[:, pin]] = driver
        self.one_register = family.loads(wiring, Sink.REGISTER_D) == 1
        self.one_carry = family.loads(wiring, Sink.CARRY_S) == 1
        self._arcs()
        self._ends()
        self._spread()

    def _arcs(self) -> None:
        """Source, target and weights of every way through a cell: the net before it and the cell."""
        rows = []
        for g, t in zip(self.wiring.cells, self.timings):
            many = len(g.nets)
            for i, o, *cost in t.arcs:
                rows.append((g.nets[:, i], g.nets[:, o], np.full(many, t.sinks.get(i, Sink.PLAIN)), np.tile(cost, (many, 1))))
        source, target, sinks, costs = _joined(rows, (np.int32, np.int32, np.int8), 3)
        used = (source > 0) & (target > 0)
        source, target, sinks, costs = source[used], target[used], sinks[used], costs[used]
        weights = np.empty((len(source), COLUMNS), np.float64)
        weights[:, :3] = self.net_ns(source, sinks) + costs[:, :1]
        weights[:, LUTS], weights[:, CARRIES], weights[:, RAM] = costs[:, 1], costs[:, 2], costs[:, 1]
        weights[:, PORT] = weights[:, RESET] = weights[:, TAKEN]
        self.source, self.target, self.weights = source, target, weights

    def _ends(self) -> None:
        rows, owner = [], []
        for place, (g, t) in enumerate(zip(self.wiring.cells, self.timings)):
            for pin, ns, end in t.ends:
                many = len(g.nets)
                sink = np.full(many, t.sinks.get(pin, Sink.PLAIN))
                rows.append((g.nets[:, pin], np.full(many, end), sink, np.full((many, 1), ns)))
                owner.append((np.full(many, place), np.arange(many), np.full(many, pin), np.zeros((many, 1))))
        net, kind, sink, before = _joined(rows, (np.int32, np.int8, np.int8), 1)
        *cell, _ = _joined(owner, (np.int32, np.int32, np.int32), 1)
        used = net > 0
        self.end_net, self.end_class, self.end_cell = net[used], kind[used], np.stack(cell)[:, used]
        self.end_ns = self.net_ns(net[used], sink[used]) + before[used]

    def net_ns(self, net: np.ndarray, sink: np.ndarray) -> np.ndarray:
        """Delay from drivers to pins, ``[pins, sets]``, with what the ends of a wire in a slice add."""
        c, driver = self.family.constants, self.driver[net]
        slope, macro = np.array(c.slope), np.array(c.macro)
        at_macro = (driver == Driver.MACRO) | (sink == Sink.MACRO) | (sink == Sink.OPERAND)
        doublings = np.log2(np.maximum(self.loads[net], 1))
        wide = doublings[:, None] * slope
        if self.corner_ns:
            wide = np.maximum(wide, self.corner_ns * np.sqrt(np.minimum(self.loads[net][:, None] / np.array(wires().spread), 1.0)))
        ns = c.ns["net"] + wide + at_macro[:, None] * macro
        extra = np.zeros(len(net))
        for end, name in ((Driver.CARRY, "carry_out"), (Driver.CARRY_CO, "carry_co_out"), (Driver.MUX, "mux_out")):
            extra[driver == end] += c.ns[name]
        extra[sink == Sink.REGISTER_D] += c.ns["to_ff"]
        extra[sink == Sink.CARRY_DI] += c.ns["to_di"]
        # From elsewhere S and the data of a multiplexer are reached through a LUT.
        for pin, name in ((Sink.CARRY_S, "lut_to_s"), (Sink.MUX, "lut_to_mux")):
            extra[sink == pin] += c.ns["lut"] + c.ns[name]
        ns += extra[:, None]
        for rows, value in self._in_slice(net, sink, driver):
            ns[rows] = value
        return ns

    def _in_slice(self, net: np.ndarray, sink: np.ndarray, driver: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
        """Pins that a wire inside of a slice, or one of its own, reaches, and what that takes."""
        ns = self.family.constants.ns
        alone = (sink == Sink.REGISTER_D) & self.one_register[net]
        yield alone & (driver == Driver.LUT), ns["lut_to_ff"]
        yield alone & ((driver == Driver.CARRY) | (driver == Driver.CARRY_CO)), ns["carry_to_ff"]
        yield alone & (driver == Driver.MUX), ns["mux_out"]
        yield (sink == Sink.CARRY_S) & (driver == Driver.LUT) & self.one_carry[net], ns["lut_to_s"]
        yield (sink == Sink.MUX) & (driver == Driver.LUT), ns["lut_to_mux"]
        yield (sink == Sink.MUX) & (driver == Driver.MUX), 0.0
        yield (sink == Sink.CARRY_CI) & (driver == Driver.CARRY_CO), 0.0
        yield sink == Sink.CASCADE, 0.0

    def _spread(self) -> None:
        """``value`` ``[nets, columns]``: latest arrivals at drivers of nets; ``before``: the arc that it comes by, or -1."""
        self.value = np.full((self.wiring.nets, COLUMNS), _NEVER)
        for group, timing in zip(self.wiring.cells, self.timings):
            ram = 0.0 if group.kind.type.startswith(self.family.memories) else _NEVER
            for pin, ns in timing.starts:
                nets = group.nets[:, pin]
                self.value[nets] = np.maximum(self.value[nets], (ns, ns, ns, 0, 0, ram, _NEVER, _NEVER))
                resets = nets[self.reset[nets]]
                self.value[resets, RESET] = np.maximum(self.value[resets, RESET], ns)
        for name in self.wiring.inputs:
            self.value[self.wiring.ports[name], PORT] = 0
        self.value[0] = _NEVER
        level = self._levels()
        order = np.lexsort((self.target, level[self.target]))
        source, target, weights = self.source[order], self.target[order], self.weights[order]
        bounds = np.searchsorted(level[target], np.arange(1, level.max(initial=0) + 2))
        for first, last in itertools.pairwise(bounds):
            here = target[first:last]
            heads = np.flatnonzero(np.r_[True, here[1:] != here[:-1]])
            arriving = np.maximum.reduceat(self.value[source[first:last]] + weights[first:last], heads)
            self.value[here[heads]] = np.maximum(self.value[here[heads]], arriving)
        self.before = np.full(self.wiring.nets, -1)
        came = self.value[self.source, TAKEN] + self.weights[:, TAKEN]
        latest = np.flatnonzero((came > 0) & (came >= self.value[self.target, TAKEN] - 1e-9))
        self.before[self.target[latest]] = latest

    def _levels(self) -> np.ndarray:
        """Of every net how many arcs lie at most before it, frontier by frontier."""
        nets = self.wiring.nets
        order = np.argsort(self.source, kind="stable")
        target = self.target[order]
        first = np.searchsorted(self.source[order], np.arange(nets + 1))
        waiting = np.bincount(self.target, minlength=nets)
        level, frontier = np.zeros(nets, np.int32), np.flatnonzero(waiting == 0)
        depth = 0
        while len(frontier):
            depth += 1
            count = first[frontier + 1] - first[frontier]
            places = np.repeat(first[frontier] - np.r_[0, np.cumsum(count)[:-1]], count) + np.arange(count.sum())
            reached, arrived = np.unique(target[places], return_counts=True)
            waiting[reached] -= arrived
            frontier = reached[waiting[reached] == 0]
            level[frontier] = depth
        if len(circle := np.flatnonzero(waiting > 0)):
            named = circle[self.wiring.net_name[circle] >= 0]
            label = self.wiring.net_label(int(named[0])) if len(named) else "nets without names"
            raise CombinationalLoopError(f"logic goes in a circle through {label}")
        return level


def reset_nets(wiring: Wiring, family: Family) -> np.ndarray:
    """Nets that nothing but a reset port moves, through logic and flip-flops."""
    found = np.zeros(wiring.nets, bool)
    for name in wiring.inputs:
        if any(word in name.lower() for word in RESETS):
            found[wiring.ports[name]] = True
    found[0] = False
    logic = []
    for group in wiring.cells:
        if group.kind.type.startswith(family.logic):
            clocks = family.cell(group.kind).sinks
            inputs = [i for i, p in enumerate(group.kind.pins) if not p[2] and clocks.get(i) != Sink.CLOCK]
            logic.append((group.nets[:, inputs], group.nets[:, [i for i, p in enumerate(group.kind.pins) if p[2]]]))
    while found.any():
        before = found.sum()
        for ins, outs in logic:
            only = (found[ins] | (ins == 0)).all(1) & found[ins].any(1)
            found[outs[only]] = True
            found[0] = False
        if found.sum() == before:
            break
    return found


def _joined(rows: list[tuple], types: tuple, width: int) -> list[np.ndarray]:
    """Columns of ``rows`` one after the other, of ``types``; the last is a matrix of ``width`` columns."""
    if not rows:
        return [*(np.zeros(0, t) for t in types), np.zeros((0, width))]
    columns = list(zip(*rows))
    return [*(np.concatenate(c).astype(t) for c, t in zip(columns, types)), np.concatenate(columns[-1])]
