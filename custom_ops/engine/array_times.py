"""When groups of rows pass an array: the arbiter's rule (``vp_engine_arbiter``) on the times at which rows come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from finn_vitprune.custom_ops.engine.array import BUFFERS, HELD, OUT_GROUPS, VitArray
from finn_vitprune.custom_ops.mvau.balance import GroupTiming
from finn_vitprune.custom_ops.mvau.block_sparse_mvau import LOAD_CYCLES
from finn_vitprune.custom_ops.op.fifo_folding import FifoFolding
from finn_vitprune.custom_ops.op.token_times import LATE, TokenTimes

COUNT_CYCLES = 2
"""From a beat that comes, or leaves, to a choice that counts it."""
CHOICE_CYCLES = 4
"""From a choice to the first beat of its group."""
NEAR_BEATS = 6
"""Before the end of a group at which the next one is chosen (NEAR)."""
UNIT_CYCLES = 1
"""From a beat of a group to the same one at the unit."""
PUT_CYCLES = 1
"""From a beat of the unit to the same one at the FIFO behind it."""

Came = Callable[[int, int], TokenTimes | None]
"""By the numbers of a pass and a port: when its tokens come; None where that is not known of one."""


class GroupChoice(NamedTuple):
    """A group that is chosen: when, and of which port."""

    when: float
    port: int


@dataclass
class _Port:
    """Frames that a port takes one after another, pass and layer, and how far it is."""

    frames: list[tuple[int, int]] = field(default_factory=list)
    frame: int = 0
    group: int = 0
    taken: list[tuple[int, int]] = field(default_factory=list)
    """Of each group that was taken its pass and its last row."""


class ArrayTimes:
    """Groups that an array takes one after another, from an idle array on."""

    def __init__(self, array: VitArray) -> None:
        self.layers = [op.own_fold() for op in array.by_encoder()]
        self.timing: list[GroupTiming] = [fold.timing for fold in self.layers]
        self.groups = [fold.token_groups for fold in self.layers]
        self.layer_at, self.ports = array.layer_at, [_Port() for _ in range(array.port_count)]
        outs = zip(array.out_depths, array.out_streams())
        self.leaves = [PUT_CYCLES + 1 + FifoFolding(depth, stream.width, depth, "auto").read_latency for depth, stream in outs]
        """From a beat of the unit to the same one at the port."""
        self.left: dict[tuple[int, int], tuple[list[float], list[float]]] = {}
        """By pass and port: when the first and the last beat of each row leave the port."""
        self.passes = 0
        self.begun = self.fed = 0.0
        self.drained = self.emitted = 0.0
        self.computed, self.bank_free, self.order_free = [0.0] * HELD, [0.0] * BUFFERS, [0.0, 0.0]

    def begin(self, encoders: list[int]) -> None:
        """Passes that follow, by their tags."""
        for number, tag in enumerate(encoders, self.passes):
            for at, port in enumerate(self.ports):
                if (layer := self.layer_at.get((at, tag))) is not None:
                    port.frames.append((number, layer))
                    rows = self.layers[layer].rows
                    self.left[number, at] = [LATE] * rows, [LATE] * rows
        self.passes += len(encoders)

    def times(self, number: int, port: int) -> TokenTimes:
        """When rows of a pass leave a port."""
        first, last = self.left[number, port]
        return TokenTimes(tuple(first), tuple(last))

    def choice(self, came: Came, gone: Came) -> GroupChoice:
        """When the next group is chosen, and of which port; :data:`LATE` where none is known of.

        Args:
            came: when rows come to a port. gone: when what becomes of them has left the FIFO behind it.
        """
        ready = [self._ready(at, came, gone) for at in range(len(self.ports))]
        when = max(self.begun, self.fed - NEAR_BEATS, self.computed[0], min(ready))
        return GroupChoice(when, next(at for at, known in enumerate(ready) if known <= when))

    def take(self, choice: GroupChoice) -> tuple[int, float]:
        """Take that group: the number of its pass, and when the first of its rows leaves."""
        port = self.ports[choice.port]
        number, layer = port.frames[port.frame]
        begin = sum(self.groups[layer][: port.group])
        count = self.groups[layer][port.group]
        self._pass(number, choice.port, layer, range(begin, begin + count), choice.when)
        port.taken.append((number, begin + count - 1))
        port.group += 1
        if port.group == len(self.groups[layer]):
            port.frame, port.group = port.frame + 1, 0
        return number, self.left[number, choice.port][0][begin]

    def _ready(self, at: int, came: Came, gone: Came) -> float:
        """When the next group of a port may be taken."""
        port = self.ports[at]
        if port.frame == len(port.frames):
            return LATE
        number, layer = port.frames[port.frame]
        if (rows := came(number, at)) is None:
            return LATE
        when = rows.last[sum(self.groups[layer][: port.group + 1]) - 1]
        if len(port.taken) >= OUT_GROUPS:
            before, row = port.taken[-OUT_GROUPS]
            if (left := gone(before, at)) is not None:
                when = max(when, left.last[row])
        return when + COUNT_CYCLES

    def _pass(self, number: int, at: int, layer: int, rows: range, choice: float) -> None:
        """Feed, multiply and drain a group: when its rows leave."""
        timing, fold, count = self.timing[layer], self.layers[layer], len(rows)
        self.begun = max(self.fed, choice + CHOICE_CYCLES)
        self.fed = self.begun + count * timing.load_row
        loaded = self.fed - 1 + UNIT_CYCLES + LOAD_CYCLES
        start = max(loaded, self.computed[-1], self.bank_free[0])
        computed = start + timing.compute
        drained = max(computed + timing.latency, self.drained)
        first, last = self.left[number, at]
        late, row = fold.behind + self.leaves[at], rows.start
        beats = timing.emit_row or timing.drain_row
        for i in range(0, count, timing.rows_per_step):
            drained = max(drained, self.order_free[0]) + timing.drain_row
            self.emitted = max(self.emitted, drained)
            for _ in range(min(timing.rows_per_step, count - i)):
                self.emitted += timing.emit_row
                first[row], last[row] = self.emitted + late - beats + 1, self.emitted + late
                row += 1
            self.order_free = [self.order_free[1], self.emitted]
        self.emitted += 1  # the next group's port is chosen
        self.drained = drained
        self.computed = [*self.computed[1:], computed]
        self.bank_free = [*self.bank_free[1:], drained + timing.DRAIN_RELEASE]
