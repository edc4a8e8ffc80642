"""When the tokens of a frame enter and leave an op, and what waits for it: depths of FIFOs and latencies come from this."""

from __future__ import annotations

from finn_vitprune.custom_ops.op.finn_op import FinnOp
from finn_vitprune.custom_ops.op.token_times import TokenTimes


class TimedOp(FinnOp):
    """An op's schedule. What stands here is that of an op which makes a beat of every beat; others override it.

    docs/inside.md, "FIFO depths" and "Latency", says what passes over the graph ask for.
    """

    def get_exp_cycles(self) -> int:
        """A beat a cycle: the beats of the longest stream."""
        return max(stream.beats for stream in self.in_streams() + self.out_streams())

    def silent_cycles(self) -> int:
        """The longest that its streams may stand still while it works."""
        return self.get_exp_cycles()

    def beat_cycles(self) -> int:
        """Cycles from a beat that arrives to the one that it makes, where each makes one: input and output register."""
        return 2

    def input_times(self, arrivals: list[float]) -> list[float]:
        """When (in frames) the op needs each input, given when each arrives: as a rule, when all are there."""
        return [max(arrivals)] * len(arrivals)

    def pass_times(self, inputs: list[TokenTimes]) -> list[TokenTimes]:
        """When the tokens of a frame leave, given when they arrive, in a graph that holds no other frame.

        By default every beat leaves :meth:`beat_cycles` after it came, on all outputs. Latency by formula comes from this
        (docs/inside.md, "Latency").
        """
        beats = max(stream.token_beats for stream in self.in_streams() + self.out_streams())
        return [TokenTimes.joined(inputs).served(beats, self.beat_cycles())] * len(self.out_streams())

    def held_tokens(self) -> int:
        """Upper bound of the tokens that are inside the op when its first output token leaves.

        FIFO depths of reconverging branches come from this (docs/inside.md, "FIFO depths").
        """
        return 1

    def burst_tokens(self) -> int:
        """Tokens to buffer after each output, where the op sends them in bursts that others wait for."""
        return 0

    def pause_beats(self, inputs: list[TokenTimes]) -> int:
        """Beats to buffer before the first input, which come while the op takes none.

        Args:
            inputs: when the tokens of a frame come, as :meth:`pass_times` has it.
        """
        return 0

    def output_fifo_tokens(self) -> int:
        """Tokens that the FIFO after the op must hold whatever path it is on; 0 leaves its depth to the paths."""
        return 0
