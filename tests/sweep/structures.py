"""Structures of three units drawn at random, and what runs through each: masks, scores or codes, pauses and stalls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from qonnx.core.datatype import DataType

from finn_vitprune.bench.cycles import room
from finn_vitprune.custom_ops.mvau.fold import TOKENS_CHOICES, Fold
from finn_vitprune.sim import SimResult, Stimulus
from tests.rtl.benches.helper import BuiltOp, build_node, build_op, measure, random_stream
from tests.rtl.test_pruned_attention import attributes as attention_attributes
from tests.rtl.test_pruned_attention import feed_of, structured_frames, table_of
from tests.rtl.test_token_drop import attention_scores, attrs, codes

MOST_PRODUCTS = 512
"""Products a cycle: the time to compile a structure grows with them."""

DEEP_WEIGHTS = 16
"""Most weights a cycle where their memory is deep: the time to load it grows with them."""

MATRIX, TOKEN_DROP, ATTENTION = "matrix", "token drop", "attention"


@dataclass(frozen=True)
class Structure:
    """One unit with everything that is elaborated; ``run`` compiles nothing.

    Attributes:
        unit: which one. text: its attributes, for reports.
        run: beats of run number i with its own mask or scores, pauses and stalls.
        cycles: measured interval of overlapping frames, and what the op estimates.
    """

    unit: str
    text: str
    run: Callable[[int], tuple[SimResult, Stimulus]]
    cycles: Callable[[], tuple[float, int]]


def stimulus(rng: np.random.Generator, frame: int) -> Stimulus:
    """Pauses, stalls and bursts of any share; one in four resets in mid-frame."""
    pause, stall = (float(rng.choice([0, 0.1, 0.4, 0.8])) for _ in range(2))
    reset = int(rng.integers(1, 3 * frame)) if rng.random() < 0.25 else None
    return Stimulus(
        seed=int(rng.integers(1, 1 << 30)), pause=pause, stall=stall, burst=int(rng.choice([1, 1, 7, 40])),
        reset_at=reset, load_first=bool(rng.integers(0, 2)),
    )  # fmt: skip


# --- matrix unit ---------------------------------------------------------------------------------


def draw_matrix_attributes(rng: np.random.Generator) -> dict[str, object]:
    """Sides with and without padding, folds up to :data:`MOST_PRODUCTS`, every type, MAC implementation and place of weights."""
    block = int(rng.choice([4, 8, 8, 16, 16, 32]))
    mw, mh = (int(block * rng.integers(1, 6) - rng.choice([0, 0, rng.integers(0, block)])) for _ in range(2))
    divide = [d for d in range(1, block + 1) if block % d == 0]
    while True:
        simd, pe = (int(rng.choice(divide)) for _ in range(2))
        tokens, lanes = int(rng.choice(TOKENS_CHOICES)), int(rng.integers(1, 9))
        if simd * pe * tokens * lanes <= MOST_PRODUCTS:
            break
    x = str(rng.choice(["INT", "UINT"])) + str(int(rng.choice([2, 3, 4, 4, 6, 8, 8, 8, 9, 16])))
    w = f"INT{int(rng.choice([2, 3, 4, 4, 6, 8, 8, 8]))}"
    raw = bool(rng.random() < 0.2)
    y = "INT32" if raw else str(rng.choice(["INT", "UINT"])) + str(int(rng.choice([4, 8, 8, 16])))
    product = DataType[x].bitwidth() + DataType[w].bitwidth()
    attributes = {
        "tokens": int(rng.integers(1, 2 * tokens + 3)), "MW": mw, "MH": mh, "block": block, "SIMD": simd, "PE": pe,
        "TOKENS": tokens, "LANES": lanes, "inputDataType": x, "weightDataType": w, "outputDataType": y,
        "in_width": int(rng.choice(Fold.in_widths(mw, simd))), "out_width": int(rng.choice(Fold.out_widths(mh, pe, block))),
        "mac_style": str(rng.choice(["portable", "dsp48e2", "lut"])), "requant": int(not raw),
        "ram_style": str(rng.choice(["auto", "block", "distributed", "ultra"])),
    }  # fmt: skip
    return attributes | ({} if raw else {"shift": int(rng.integers(max(8, product), product + 14))})


def draw_mask(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Any density; columns alike, uneven, or many of them empty."""
    keep = rng.choice([0.0, 0.2, 0.5, 0.5, 0.8, 1.0])
    column = rng.choice([np.ones(columns), rng.random(columns) * 2, rng.random(columns) < 0.5])
    return rng.random((rows, columns)) < keep * column


def matrix(seed: int, masks: int, frames: int = 3) -> Structure:
    """A matrix unit, compiled once with room for ``masks`` masks."""
    rng = np.random.default_rng([seed, 1])
    attributes = draw_matrix_attributes(rng)
    mw, mh, block = (attributes[name] for name in ("MW", "MH", "block"))
    drawn = [draw_mask(rng, -(-mw // block), -(-mh // block)) for _ in range(masks)]
    weights = [_weights(rng, mask, attributes) for mask in drawn]
    bias = rng.integers(-2000, 2000, mh)
    rest = [bias, rng.integers(1, 1 << 17, mh)] if attributes["requant"] else [bias]
    probe, _ = build_node("BlockSparseMVAU", attributes, [weights[0], *rest])
    elaborated = deep_weights(attributes | room(probe, drawn), seed)
    built = build_op("BlockSparseMVAU", elaborated, [weights[0], *rest])
    x = random_stream(built.op.in_streams()[0], frames, seed)
    stimuli = [stimulus(rng, int(probe.get_exp_cycles())) for _ in drawn]

    def run(i: int) -> tuple[SimResult, Stimulus]:
        return _with_weights(built, weights[i]).run([x], stimuli[i]), stimuli[i]

    def cycles() -> tuple[float, int]:
        one = _with_weights(built, weights[0])
        return measure(one, [x])[0], one.op.get_exp_cycles()

    return Structure(MATRIX, " ".join(f"{k}={v}" for k, v in elaborated.items()), run, cycles)


def deep_weights(attributes: dict[str, object], seed: int) -> dict[str, object]:
    """``attributes``; in half of the narrow units with weights in UltraRAM with room for more than one or four rows of these."""
    rng = np.random.default_rng([seed, 4])
    block, simd, pe, lanes = (int(attributes[name]) for name in ("block", "SIMD", "PE", "LANES"))
    if attributes["ram_style"] != "ultra" or simd * pe * lanes > DEEP_WEIGHTS or rng.random() < 0.5:
        return attributes
    words = int(rng.choice([4097, 16385]))
    return attributes | {"lane_blocks": max(attributes["lane_blocks"], -(-words * simd * pe // block**2))}


def _weights(rng: np.random.Generator, mask: np.ndarray, attributes: dict) -> np.ndarray:
    """Any codes, the lowest often, in the blocks that are kept."""
    kind, block = DataType[attributes["weightDataType"]], attributes["block"]
    shape = attributes["MW"], attributes["MH"]
    values = rng.integers(int(kind.min()), int(kind.max()), shape, endpoint=True)
    values = np.where(rng.random(shape) < 0.1, int(kind.min()), values)
    return values * np.kron(mask, np.ones((block, block), int))[: shape[0], : shape[1]]


def _with_weights(built: BuiltOp, weights: np.ndarray) -> BuiltOp:
    """The compiled op with other weights in its memories."""
    built.model.set_initializer("param0", weights.astype(np.float32))
    for suffix, memory in built.op.memories(built.model).items():
        (built.folder / built.op.memory_file(suffix)).write_text(memory.hex_text())
    if (contents := built.op.contents(built.model)) is not None:
        contents.save(built.folder)
    return replace(built, initialisers=(weights, *built.initialisers[1:]))


# --- token drop ----------------------------------------------------------------------------------


def token_drop(seed: int, runs: int, frames: int = 4) -> Structure:
    """A token-drop unit; every run has scores and rows of its own."""
    rng = np.random.default_rng([seed, 2])
    tokens, simd = int(rng.integers(3, 60)), int(rng.choice([1, 2, 3, 4, 8]))
    channels, heads = simd * int(rng.integers(1, 13)), int(rng.choice([1, 2, 3, 6, 12]))
    k = int(rng.integers(1, tokens))
    ranked = k > heads  # else the scores that matter have more bits than a histogram ranks
    ranking = str(rng.choice(["auto", "insert", "histogram"] if ranked else ["auto", "insert"]))
    attributes = attrs(tokens, channels, simd, k, heads, ranking)
    built = build_op("VitTokenDrop", attributes)
    frame = int(built.op.get_exp_cycles())
    stimuli = [stimulus(rng, frame) for _ in range(runs)]
    kinds = rng.choice(["attention", "equal", "zero", "rising", "falling", "ties"], runs)

    def run(i: int) -> tuple[SimResult, Stimulus]:
        scores = _scores(kinds[i], frames, tokens, heads, seed * 1000 + i)
        return built.run([codes(frames, tokens, channels, seed + i), scores], stimuli[i]), stimuli[i]

    def cycles() -> tuple[float, int]:
        scores = attention_scores(frames, tokens, heads, seed)
        return measure(built, [codes(frames, tokens, channels, seed), scores])[0], frame

    return Structure(TOKEN_DROP, " ".join(f"{name}={v}" for name, v in attributes.items()), run, cycles)


def _scores(kind: str, frames: int, tokens: int, heads: int, seed: int) -> np.ndarray:
    """Scores ``[frames, tokens, 1]`` that sum to at most heads 2^16 in a frame."""
    most = (heads << 16) // tokens
    ramp = np.arange(tokens) * (most // tokens)
    rng = np.random.default_rng(seed)
    rows = {
        "equal": np.full(tokens, most), "zero": np.zeros(tokens, int), "rising": ramp, "falling": ramp[::-1],
        "ties": rng.integers(0, 3, tokens) * (most // 3),
    }  # fmt: skip
    if kind == "attention":
        return attention_scores(frames, tokens, heads, seed)
    return np.tile(rows[kind], (frames, 1))[..., None]


# --- attention -----------------------------------------------------------------------------------


def draw_attention_attributes(rng: np.random.Generator) -> dict[str, object]:
    """Any fold and width up to :data:`MOST_PRODUCTS`, keys and values in every memory, shallow and in rows of UltraRAMs."""
    style = str(rng.choice(["auto", "block", "distributed", "ultra", "ultra"]))
    deep = style == "ultra" and rng.random() < 0.4
    simd, groups = int(rng.integers(1, 3 if deep else 9)), int(rng.integers(4, 9) if deep else rng.integers(1, 5))
    tokens = int(rng.integers(150, 250) if deep else rng.integers(1, 40))
    pe = int(rng.integers(1, min(tokens, 3 if deep else 12) + 1))
    heads = -(-2100 // (-(-tokens // pe) * groups)) if deep else int(rng.integers(1, 5))
    queries = int(rng.choice([1, 2] if deep else [1, 2, tokens]))
    bits, logit_bits, out_bits = (int(rng.integers(2, 9)) for _ in range(3))
    return attention_attributes(
        tokens, queries, heads, simd * groups, simd, pe, scores=int(rng.integers(0, 2)), bits=bits, out_bits=out_bits,
        logit_bits=logit_bits, recip_bits_per_cycle=int(rng.choice([0, 0, 1, 3])), ram_style=style,
    )  # fmt: skip


def attention(seed: int, runs: int) -> Structure:
    """An attention unit; every run has codes of its own, the corners of their ranges among them."""
    rng = np.random.default_rng([seed, 3])
    attributes = draw_attention_attributes(rng)
    built = build_op("PrunedAttention", attributes, [table_of(attributes["logit_bits"])])
    frame = int(built.op.get_exp_cycles())
    stimuli = [stimulus(rng, frame) for _ in range(runs)]
    corners = structured_frames(attributes)

    def run(i: int) -> tuple[SimResult, Stimulus]:
        feed = feed_of(built.op, 2, seed * 1000 + i)
        return built.run([np.concatenate(pair) for pair in zip(feed, corners)], stimuli[i]), stimuli[i]

    def cycles() -> tuple[float, int]:
        return measure(built, feed_of(built.op, 2, seed))[0], frame

    return Structure(ATTENTION, " ".join(f"{name}={v}" for name, v in attributes.items()), run, cycles)
