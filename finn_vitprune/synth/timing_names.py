"""What nets and ends of paths are called, so that a reader of the RTL finds them. No figure depends on it."""

from __future__ import annotations

import re

import numpy as np

from finn_vitprune.synth.timing_graph import Graph
from finn_vitprune.synth.wiring import Cells

_INDEX = re.compile(r"\[\d+\]|(?<=\.)\d+\b")


class Names:
    """Names of a graph's nets and ends, and which of them differ by bits and indices alone."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.wiring = graph, graph.wiring
        self.name_kind, self.scope_kind = (_without_indices(texts) for texts in (self.wiring.names, self.wiring.scopes))

    def net_keys(self, net: np.ndarray) -> np.ndarray:
        """Rows that are equal for the bits of a name, and for names that differ by indices alone."""
        w = self.wiring
        named = w.net_name[net] >= 0
        scope, name = self.scope_kind[w.net_scope[net]], self.name_kind[w.net_name[net]]
        return np.stack([np.where(named, scope, -1), np.where(named, name, net)], axis=1)

    def end_keys(self, ends: np.ndarray) -> np.ndarray:
        """Rows that are equal for ends at a port of the cells of a name, or at the bits of a register."""
        keys = np.zeros((len(ends), 4), np.int64)
        place, row, pin = self.graph.end_cell[:, ends]
        for i in np.unique(place):
            group, here = self.wiring.cells[i], place == i
            ports = np.unique([p[0] for p in group.kind.pins], return_inverse=True)[1]
            outputs = [column for column, p in enumerate(group.kind.pins) if p[2]]
            by_net = self.net_keys(group.nets[row[here], outputs[0]] if outputs else np.zeros(here.sum(), int))
            own = np.stack([self.scope_kind[group.scope[row[here]]], self.name_kind[group.name[row[here]]]], axis=1)
            named = group.name[row[here], None] >= 0
            keys[here] = np.concatenate([np.where(named, own, by_net), named, ports[pin[here], None]], axis=1)
        return keys

    def end(self, end: int) -> str:
        """The pin that an end is at."""
        group, row, pin = self.graph.end_cell[:, end]
        return self._pin(self.wiring.cells[group], int(row), int(pin))

    def _pin(self, group: Cells, row: int, pin: int) -> str:
        """A cell by its own name, or by the net that it drives, and one of its pins."""
        port, place, _ = group.kind.pins[pin]
        wide = len(group.kind.columns(port)) > 1
        if group.name[row] >= 0:
            name = self.wiring.scopes[group.scope[row]] + self.wiring.names[group.name[row]]
        else:
            outputs = [int(group.nets[row, i]) for i, p in enumerate(group.kind.pins) if p[2]]
            out = next((net for net in outputs if net > 0), 0)
            name = self.wiring.net_label(out) or group.kind.type
        return f"{name}.{port}[{place}]" if wide else f"{name}.{port}"

    def net(self, net: int) -> str:
        """A net by name; one that the sources do not name by what it goes into, or by the one that it comes from."""
        if label := self.wiring.net_label(net):
            return label
        for group, timing in zip(self.wiring.cells, self.graph.timings):
            pins = sorted({pin for pin, _, _ in timing.ends})
            rows, columns = np.nonzero(group.nets[:, pins] == net)
            if len(rows):
                return f"into {self._pin(group, int(rows[0]), pins[int(columns[0])])}"
        before = net
        while (arc := self.graph.before[before]) >= 0 and not self.wiring.net_label(before):
            before = int(self.graph.source[arc])
        if label := self.wiring.net_label(before):
            return f"logic of {label}"
        return self._towards(net)

    def _towards(self, net: int) -> str:
        """What a net without a name goes to, through logic."""
        seen = np.array([net])
        while len(seen := np.unique(self.graph.target[np.isin(self.graph.source, seen)])):
            if len(named := seen[self.wiring.net_name[seen] >= 0]):
                return f"towards {self.wiring.net_label(int(named[0]))}"
            if (ends := np.isin(self.graph.end_net, seen)).any():
                return f"towards {self.end(int(np.flatnonzero(ends)[0]))}"
        return f"net {net}"


def _without_indices(texts: list[str]) -> np.ndarray:
    """Of each text a number, the same for those that differ by indices alone; 0 for place -1."""
    kinds = [_INDEX.sub("*", text) for text in texts]
    return np.append(np.unique(kinds, return_inverse=True)[1], 0) if kinds else np.zeros(1, int)
