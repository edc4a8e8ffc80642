"""Cycles of the attention unit, and the depths of its buffers, which follow from them."""

from __future__ import annotations

from functools import cached_property

from finn_vitprune.custom_ops.attention.sizes import AttentionSizes, division_cycles, division_latency
from finn_vitprune.custom_ops.op.memory import ATTENTION_MEMORY
from finn_vitprune.custom_ops.op.requant_estimate import requant_cycles
from finn_vitprune.numerics import MULT_BITS, RECIP_BITS, clog2


def tree_levels(terms: int) -> int:
    """Register levels of a ``vp_adder_tree`` of radix 4: ceil(log4(terms))."""
    return (clog2(terms) + 1) // 2


class AttentionTiming(AttentionSizes):
    """When items, sums and scores leave the unit, and what waits for them meanwhile."""

    @cached_property
    def handover(self) -> int:
        """Cycles from the last step of an item's first phase to the first step of its second."""
        serial = -(-self.pe // self.logit_lanes)
        requant = requant_cycles(self.logit_acc_bits, MULT_BITS) + (self.spans.logit > 0)
        return 8 + self.kv_latency + tree_levels(-(-self.simd // 4)) + requant + clog2(self.logit_lanes) + serial

    @property
    def slots(self) -> int:
        """Items whose logits are held."""
        return 2 + -(-(self.handover + 2) // self.least.item_cycles)

    @property
    def groups_held(self) -> int:
        """Channel groups of accumulators that can wait for their reciprocal.

        An item's, one that starts, and those in flight: row sum or products, two FIFOs and the division between them.
        """
        returned = 4  # cycles until its place is free again
        return self.cg + 1 + -(-(max(self.reciprocal_latency, self._product_latency) + returned) // self.least.kg)

    @property
    def items_held(self) -> int:
        """Items whose sums, or reciprocals, can wait."""
        return -(-self.groups_held // self.cg) + 1

    @property
    def _exp_latency(self) -> int:
        """Cycles from a step of the second phase to its E and V."""
        return max(3, self.kv_latency)

    @property
    def _product_latency(self) -> int:
        """Cycles from the last step of a channel group to its sums of E V in the ring."""
        return self._exp_latency + tree_levels(-(-self.pe // 4)) + 7

    @property
    def reciprocal_latency(self) -> int:
        """Cycles from the last step of a row's first channel group to its reciprocal."""
        return self._row_sum_latency + division_latency(RECIP_BITS, self.recip_bits)

    @property
    def _row_sum_latency(self) -> int:
        """The same without the division, with the FIFOs before and after it."""
        return self._exp_latency + tree_levels(self.pe) + 6

    @property
    def _serial(self) -> int:
        """Cycles of a channel group in the multipliers of O."""
        return -(-self.simd // self.out_lanes)

    @property
    def _norm_latency(self) -> int:
        """Cycles from the start of a group in the multipliers of O until it leaves."""
        return self._serial + requant_cycles(self.acc_bits, RECIP_BITS) + (self.spans.recip > 0) + 4

    def o_latency(self, groups: int) -> int:
        """Cycles from the last step of an item's first phase until the first ``groups`` of its channel groups have left."""
        first = self.kg - 1 + self.reciprocal_latency + (groups - 1) * self._serial
        own = groups * self.kg - 1 + self._product_latency
        return self.handover + max(first, own) + self._norm_latency

    def score_latency(self, item: int) -> int:
        """Cycles from the last step of a frame's first item until its first score leaves; ``item`` cycles lie between items."""
        division = division_latency(self.score_quotient, self.score_recip_bits)
        first = self.handover + self.kg - 1 + self._row_sum_latency + division
        product = 3 + -(-self.score_quotient // 26)
        return first + (self.heads - 1) * max(item, self._score_row) + self.tokens + product + 4

    @property
    def out_depth(self) -> int:
        """Beats of O that are under way from the first multiplier to the output, one every ``serial`` cycles."""
        return 1 + -(-(self._norm_latency + 1) // self._serial)

    @cached_property
    def _cycles_of_o(self) -> int:
        """Interval without the scores."""
        items = self.queries * self.heads
        compute = items * max(self.item_cycles, division_cycles(RECIP_BITS, self.recip_bits))
        # A V buffer is in use from its first write, heads * cg beats after K's, to its last read in the
        # second phase of the last item; two buffers take turns. The same for K and the first phase.
        v_late = max(0, 3 - self.kv_latency)
        v_hold = self.kv_beats - self.heads * self.cg + (items + 1) * self.item_cycles + self.handover + v_late + 2
        k_hold = self.kv_beats + items * self.item_cycles + 3
        return max(compute, self.kv_beats, -(-max(v_hold, k_hold) // 2))

    @cached_property
    def _score_row(self) -> int:
        """Cycles of a row of scores."""
        return max(2, self.tokens, division_cycles(self.score_quotient, self.score_recip_bits))

    @cached_property
    def cycles(self) -> int:
        """Steady interval of overlapping frames (see :class:`.PrunedAttention` for the main terms)."""
        scores = self.heads * self._score_row if self.scores else 0
        return max(self._cycles_of_o, scores)

    @property
    def score_rows(self) -> int:
        """Rows of E that can wait for their scores, as the encoder with the most of them needs it."""
        return max((g._score_rows for g in self.made_for if g.scores), default=1)

    @property
    def _score_rows(self) -> int:
        """Rows of a frame, one that starts, and those that a late division delays."""
        division = division_latency(self.score_quotient, self.score_recip_bits)
        late = self.kg + self._row_sum_latency + division + 2
        spare = self._cycles_of_o - self.heads * self._score_row
        return self.heads + 1 + -(-max(0, late - spare) // self._score_row)

    @property
    def ring_ram(self) -> tuple[int, int, str]:
        """Words, bits and style of the RAM of the E rows that wait for their scores."""
        words, width = self.score_rows * self.kg, self.pe * 8
        return words, width, ATTENTION_MEMORY.style(words, width)
