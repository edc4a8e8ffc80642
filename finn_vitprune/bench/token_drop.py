"""The token-drop unit: its interval for images that keep other tokens, its ranking, its resources."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from qonnx.core.datatype import DataType

from finn_vitprune import numerics
from finn_vitprune.bench.cycles import compile_op, run_op
from finn_vitprune.bench.units import build_node
from finn_vitprune.custom_ops.op.rtl_backend import VitRTLBackend
from finn_vitprune.sim import Stimulus

OP, RANKER = "VitTokenDrop", "vp_bench_ranker"
TOKENS, CHANNELS, HEADS = 198, 384, 6
"""DeiT-Small with its distillation token."""

KEEPS = (0.5, 0.7, 0.9)
FRAMES, WARM_UP = 8, 2
"""Frames of a run, and distances between frames left out at its start."""

LATE_SCORES = Stimulus(seed=6, pause={"in1_V": 0.9}, burst=20)
"""Scores so slow that the unit waits for the last of them."""


@dataclass(frozen=True)
class DropUnit:
    """One unit: the share of tokens kept, and the products a cycle of the matrix units it keeps pace with."""

    keep: float
    products: int
    tokens: int = TOKENS
    channels: int = CHANNELS
    heads: int = HEADS

    @property
    def name(self) -> str:
        """For messages."""
        return f"token drop of {self.tokens} tokens, r_t {self.keep:g}, {self.products:,} products a cycle"

    @property
    def k(self) -> int:
        """Tokens kept besides the class token."""
        return numerics.kept_tokens(self.keep, self.tokens)

    @property
    def pace(self) -> int:
        """Cycles of a frame in a projection of channels x channels at those products."""
        return self.tokens * self.channels**2 // self.products

    def op(self):
        """``(op, model)`` at the fold that keeps the pace."""
        mult, shift = numerics.head_mean_constant(self.heads)
        score = f"UINT{(self.heads << numerics.SCORE_BITS).bit_length()}"
        attributes = {"tokens": self.tokens, "channels": self.channels, "k": self.k, "mult": mult, "shift": shift, "scoreDataType": score}
        probe, _ = build_node(OP, attributes)
        return build_node(OP, attributes | probe.folding().for_interval(self.pace).attributes())


@dataclass(frozen=True)
class DropCycles:
    """Measured cycles.

    Attributes:
        interval: mean distance of frame ends, by kind of image. cycles_estimate: of ``get_exp_cycles``.
        rank_cycles: from the last score, given last of all, to the first kept row at the output.
        rank_estimate: of the op, to the first decision.
        exact: whether every output equalled the golden model.
    """

    interval: dict[str, float]
    cycles_estimate: int
    rank_cycles: int
    rank_estimate: int
    exact: bool

    @property
    def spread(self) -> float:
        """Relative difference between the slowest and the fastest kind of image."""
        return max(self.interval.values()) / min(self.interval.values()) - 1

    @property
    def error(self) -> float:
        """Largest relative error of the estimate."""
        return max(abs(self.cycles_estimate / interval - 1) for interval in self.interval.values())


def images(tokens: int, frames: int) -> dict[str, np.ndarray]:
    """Scores ``[frames, tokens, 1]`` that keep the first, the last, every other, and random tokens."""
    rng = np.random.default_rng(0)
    rising = 100 + np.arange(tokens)
    alternating = np.where(np.arange(tokens) % 2 == 0, 200 + tokens, 100) + np.arange(tokens)
    rows = {
        "first": np.tile(rising[::-1], (frames, 1)),
        "last": np.tile(rising, (frames, 1)),
        "alternating": np.tile(alternating, (frames, 1)),
        "random": np.stack([rng.permutation(rising) for _ in range(frames)]),
    }
    return {name: scores[..., None] for name, scores in rows.items()}


def measure(unit: DropUnit) -> DropCycles:
    """Simulate the unit with every kind of image, and once with scores that come last of all."""
    op, model = unit.op()
    stream = op.in_streams()[0]
    codes = DataType[op.get_nodeattr("inputDataType")]
    rng = np.random.default_rng(0)
    x = rng.integers(codes.min(), codes.max(), (FRAMES, stream.tokens, stream.channels), endpoint=True)
    with tempfile.TemporaryDirectory(prefix="vitprune-bench-") as name:
        folder = Path(name)
        simulator = compile_op(op, model, folder)
        intervals, exact = {}, []
        for kind, scores in images(unit.tokens, FRAMES).items():
            result = run_op(op, simulator, folder, [x, scores], op.compute(x, scores))
            ends = result.intervals("out0_V", op.out_streams()[0].beats)[WARM_UP:]
            intervals[kind] = float(ends.mean()) if len(ends) else float("inf")
            exact.append(result.ok)
        scores = images(unit.tokens, 1)["first"]
        late = run_op(op, simulator, folder, [x[:1], scores], op.compute(x[:1], scores), LATE_SCORES)
    row = stream.beats // stream.tokens
    return DropCycles(
        interval=intervals,
        cycles_estimate=int(op.get_exp_cycles()),
        rank_cycles=int(late.out_cycles["out0_V"][row] - late.in_cycles["in1_V"][-1]),
        rank_estimate=op.folding().ranking.cycles,
        exact=all(exact) and late.ok,
    )


def ranker_source(op: VitRTLBackend, folder: Path) -> Path:
    """A top :data:`RANKER` that holds the unit's ranker and nothing else."""
    p = op.rtl_parameters()
    path = folder / f"{RANKER}.sv"
    path.write_text(f"""module {RANKER} (
    input wire clk, rst_n, in_valid, out_ready, hold,
    input wire [{p["SCORE_WIDTH"] - 1}:0] in_score,
    output wire [{p["DROP_WIDTH"] - 1}:0] out_score,
    output wire in_ready, out_keep, out_last, out_valid
);
    vp_token_drop_rank #(
        .COUNT({p["TOKENS"] - 1}), .KEEP({p["KEEP"]}), .SCORE_WIDTH({p["SCORE_WIDTH"]}),
        .RANK_WIDTH({p["RANK_WIDTH"]}), .DROP_WIDTH({p["DROP_WIDTH"]}), .LEVELS({p["LEVELS"]}),
        .DIGITS({p["DIGITS"]}), .STYLE("{p["SCORE_STYLE"]}")
    ) rank (.*);
endmodule
""")
    return path
