"""Explains a standstill of the stitched design: which FIFO is full, which branch starves after it."""

from __future__ import annotations

from collections.abc import Sequence

from finn_vitprune.builds.stitched.edges import StitchedEdge


def explain(edges: Sequence[StitchedEdge], valid: Sequence[tuple[bool, bool]], ready: Sequence[tuple[bool, bool]]) -> str:
    """One line naming the full FIFO and the two branches of a deadlock.

    In engines, tags are not branches (a unit keeps copies of them), and the way back is left out: it would close a circle.

    Args:
        edges: the internal streams.
        valid, ready: last state of each edge at (producer side, consumer side).
    """
    states = [(e, v, r) for e, v, r in zip(edges, valid, ready) if not (e.tags or e.way_back)]
    edges = [e for e, _, _ in states]
    full = [e for e, v, r in states if v[0] and not r[0]]
    dry = [e for e, v, _ in states if not v[1]]
    if (join := next(((b, s) for b in full for s in dry if s.consumer == b.consumer and s is not b), None)) is None:
        names = ", ".join(e.name for e in full[:4]) or "no stream is blocked"
        return f"standstill without a starving join; blocked streams: {names}"
    blocked, starving = join
    before = _ancestors(edges, blocked.producer)
    fork = next((n for n in _ancestors(edges, starving.producer) if n in before), "")
    source = _source(edges, blocked)
    return (
        f"deadlock: FIFO {source.fifo or '(none built)'} on {source.producer} -> {blocked.consumer}, depth "
        f"{source.depth} beats, is full while {blocked.consumer} waits for {starving.producer}: the branches "
        f"{_path(edges, fork, blocked)} and {_path(edges, fork, starving)} start at {fork or 'the input'}; "
        f"deepen inFIFODepths[{blocked.consumer_input}] of {blocked.consumer}"
    )


def _source(edges: Sequence[StitchedEdge], edge: StitchedEdge) -> StitchedEdge:
    """``edge``, or the stream before the width converter that feeds it (the FIFO stands there)."""
    while edge.converted and not edge.fifo:
        edge = next(e for e in edges if e.consumer == edge.producer)
    return edge


def _ancestors(edges: Sequence[StitchedEdge], node: str) -> list[str]:
    """``node`` and what feeds it, nearest first."""
    found = [node]
    for current in found:  # which grows meanwhile
        found += dict.fromkeys(e.producer for e in edges if e.consumer == current and e.producer not in found)
    return found


def _path(edges: Sequence[StitchedEdge], start: str, last: StitchedEdge) -> str:
    """The nodes from ``start`` to the consumer of ``last``, through ``last``."""
    nodes, current = [last.consumer], last.producer
    while current and current != start:
        nodes.append(current)
        feeding = [e.producer for e in edges if e.consumer == current]
        current = next((p for p in feeding if p == start or start in _ancestors(edges, p)), "")
    return " -> ".join(reversed([*nodes, start] if start else nodes))
