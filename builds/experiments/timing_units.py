"""Units whose timing is estimated: at the folds of DeiT-Small plans, and small ones of every kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from finn_vitprune import numerics
from finn_vitprune.bench.finn_mvu import FinnFold
from finn_vitprune.numerics import exp_table, reciprocal_constant, snap_ratio

Made = tuple[str, dict[str, object], list[np.ndarray]]
"""Op type, attributes, initialisers."""

BLOCK = 16


@dataclass(frozen=True)
class FinnUnit:
    """FINN's matrix unit at a fold, its weights as a stream; ``bits`` of activations and of weights."""

    fold: FinnFold
    bits: tuple[int, int]


def matrix(mw: int, mh: int, lanes: tuple[int, int, int, int], mac_style: str, ram_style: str, bits: int = 8, block: int = BLOCK) -> Made:
    """A matrix unit at TOKENS, SIMD, PE, LANES; half of the blocks of each column are kept."""
    rng = np.random.default_rng(0)
    rows, columns = mw // block, mh // block
    kept = np.stack([rng.permutation(np.arange(rows) < rows // 2) for _ in range(columns)], axis=1)
    weights = rng.integers(1, 7, (mw, mh)) * np.kron(kept, np.ones((block, block), int))
    attributes = dict(zip(("TOKENS", "SIMD", "PE", "LANES"), lanes)) | {
        "tokens": 197, "MW": mw, "MH": mh, "block": block, "in_width": lanes[1], "out_width": lanes[2], "requant": 1,
        "shift": 20, "mac_style": mac_style, "ram_style": ram_style,
    }  # fmt: skip
    attributes |= dict.fromkeys(("inputDataType", "weightDataType", "outputDataType"), f"INT{bits}")
    return "BlockSparseMVAU", attributes, [weights, rng.integers(-99, 99, mh), rng.integers(1, 1 << 16, mh)]


def attention(simd: int, pe: int, ram_style: str, bits: int = 8, tokens: int = 197, heads: int = 6, head_dim: int = 64) -> Made:
    """Attention at SIMD, PE; scales that use the range of random codes."""
    mult, shift = snap_ratio(2**bits / (5 * np.sqrt(head_dim) * 4**bits / 12))
    num, recip_shift = reciprocal_constant(3.0)
    attributes = {
        "tokens": tokens, "queries": tokens, "heads": heads, "head_dim": head_dim, "SIMD": simd, "PE": pe, "scores": 1,
        "logit_bits": bits, "logit_mult": int(mult), "logit_shift": shift, "recip_num": num, "recip_shift": recip_shift,
        "ram_style": ram_style,
    }  # fmt: skip
    attributes |= dict.fromkeys(("inputDataType", "outputDataType"), f"INT{bits}")
    return "PrunedAttention", attributes, [exp_table(8 / 2**bits)]


def norm(tokens: int, channels: int, simd: int, roots: int) -> Made:
    """A LayerNorm."""
    mult, shift = numerics.snap_ratio(24.0)
    attributes = {"tokens": tokens, "channels": channels, "SIMD": simd, "roots": roots}
    return "VitLayerNorm", attributes | {"eps": 1000, "mult": int(mult), "shift": shift}, []


def rmsnorm(tokens: int, channels: int, simd: int, roots: int) -> Made:
    """An RMSNorm."""
    op, attributes, initialisers = norm(tokens, channels, simd, roots)
    return op, attributes | {"centred": 0}, initialisers


def rotary(tokens: int, prefix: int, channels: int, rotated: int, table_channels: int, simd: int, bits: int) -> Made:
    """A rotation of ``rotated`` of the channels by random angles."""
    angles = np.random.default_rng(0).uniform(-np.pi, np.pi, (tokens, table_channels // 2))
    angles[:prefix] = 0
    table = np.stack([numerics.rotary_codes(np.cos(angles)), numerics.rotary_codes(np.sin(angles))], axis=-1)
    more = {"tokens": tokens, "prefix": prefix, "channels": channels, "rotated": rotated, "table_channels": table_channels}
    return stream("VitRotary", simd, f"INT{bits}", [table.reshape(tokens, table_channels)], **more)


def gate(tokens: int, channels: int, simd: int, bits: int, out_bits: int) -> Made:
    """Values times a rising factor of their gates; ``channels`` and ``simd`` count both."""
    more = {"tokens": tokens, "channels": channels, "outputDataType": f"INT{out_bits}"}
    return stream("VitGate", simd, f"INT{bits}", [np.arange(1 << bits)], **more)


def drop(tokens: int, channels: int, simd: int, k: int, heads: int) -> Made:
    """A token drop with the scores of ``heads`` heads."""
    mult, shift = numerics.head_mean_constant(heads)
    score = f"UINT{(heads << numerics.SCORE_BITS).bit_length()}"
    attributes = {"tokens": tokens, "channels": channels, "SIMD": simd, "k": k, "mult": mult, "shift": shift}
    return "VitTokenDrop", attributes | {"scoreDataType": score}, []


def planned_drop(tokens: int, simd: int, k: int, interval: int) -> Made:
    """A token drop of DeiT-Small as a plan has it: 384 channels, six heads, the graph's interval."""
    op, attributes, initialisers = drop(tokens, 384, simd, k, 6)
    return op, attributes | {"interval": interval}, initialisers


def embed(simd: int) -> Made:
    """DeiT-Small's token embedding."""
    rng = np.random.default_rng(0)
    attributes = {"tokens_in": 196, "prefix": 1, "channels": 384, "SIMD": simd}
    return "VitTokenEmbed", attributes, [rng.integers(-999, 999, 384), rng.integers(-999, 999, (197, 384))]


def stream(op: str, simd: int, dtype: str, initialisers: Iterable[np.ndarray] = (), **more: object) -> Made:
    """A unit of one stream of 384 channels, where ``more`` does not say otherwise."""
    attributes = {"tokens": 197, "channels": 384, "SIMD": simd, "inputDataType": dtype}
    return op, attributes | more, list(initialisers)


def requant(simd: int, channels: int = 384) -> Made:
    """A requantiser of 24 to 8 bits with a multiplier a channel."""
    more = {"channels": channels, "shift": 30, "per_channel": 1, "mult_bits": 17, "outputDataType": "INT8"}
    return stream("VitRequant", simd, "INT24", [np.arange(channels) + 1], **more)


def lookup(simd: int) -> Made:
    """A table of 8 to 8 bits."""
    return stream("VitLookup", simd, "INT8", [np.arange(-128, 128)], outputDataType="INT8")


LARGE: dict[str, Made] = {
    "matrix 384x384, 4x8x8x1, 8 bits, dsp48e2": matrix(384, 384, (4, 8, 8, 1), "dsp48e2", "auto"),
    "matrix 384x384, 4x8x8x1, 8 bits, dsp48e2, UltraRAM": matrix(384, 384, (4, 8, 8, 1), "dsp48e2", "ultra"),
    "matrix 384x384, 4x8x8x1, 4 bits, dsp48e2": matrix(384, 384, (4, 8, 8, 1), "dsp48e2", "auto", 4),
    "matrix 384x384, 4x8x8x1, 4 bits, lut": matrix(384, 384, (4, 8, 8, 1), "lut", "auto", 4),
    "matrix 1536x384, 2x8x4x2, 8 bits, lut, UltraRAM": matrix(1536, 384, (2, 8, 4, 2), "lut", "ultra"),
    "attention 197 tokens, SIMD 4, PE 8, 8 bits": attention(4, 8, "auto"),
    "attention 197 tokens, SIMD 4, PE 8, 4 bits, UltraRAM": attention(4, 8, "ultra", 4),
    "matrix 384x1152, 16x16x16x1, 8 bits, dsp48e2": matrix(384, 1152, (16, 16, 16, 1), "dsp48e2", "auto"),
    "matrix 384x1152, 16x16x16x1, 8 bits, dsp48e2, UltraRAM": matrix(384, 1152, (16, 16, 16, 1), "dsp48e2", "ultra"),
    "matrix 384x1152, 16x16x16x1, 8 bits, lut": matrix(384, 1152, (16, 16, 16, 1), "lut", "auto"),
    "matrix 1536x384, 8x16x16x2, 8 bits, dsp48e2": matrix(1536, 384, (8, 16, 16, 2), "dsp48e2", "auto"),
    "matrix 384x1536, 16x16x16x1, 4 bits, dsp48e2": matrix(384, 1536, (16, 16, 16, 1), "dsp48e2", "auto", 4),
}
UNITS: dict[str, Made | FinnUnit] = {
    "FIFO 16 x 128 bits": stream("VitFIFO", 16, "INT8", depth=16),
    "FIFO 2,048 x 64 bits, block RAM": stream("VitFIFO", 8, "INT8", depth=2048, ram_style="block"),
    "FIFO 4,100 x 64 bits, UltraRAM": stream("VitFIFO", 8, "INT8", depth=4100, ram_style="ultra"),
    "add, 16 bits, SIMD 8": stream("VitAdd", 8, "INT16"),
    "lookup, 8 to 8 bits, SIMD 16": lookup(16),
    "requant, 24 to 8 bits, SIMD 8": requant(8),
    "requant, 24 to 8 bits, SIMD 4, table in block RAM": requant(4),
    "LayerNorm 384, SIMD 8": norm(197, 384, 8, 1),
    "LayerNorm 384, SIMD 16": norm(197, 384, 16, 2),
    "LayerNorm 17x48, SIMD 4, 3 square roots": norm(17, 48, 4, 3),
    "token drop 197x384, SIMD 6, k 98": drop(197, 384, 6, 98, 6),
    "token drop 197x384, SIMD 3, k 98, 38,425 cycles": planned_drop(197, 3, 98, 38425),
    "token drop 100x384, SIMD 2, k 50, 38,425 cycles": planned_drop(100, 2, 50, 38425),
    "token drop 52x384, SIMD 1, k 26, 38,425 cycles": planned_drop(52, 1, 26, 38425),
    "token drop 100x384, SIMD 3, k 50, 20,880 cycles": planned_drop(100, 3, 50, 20880),
    "token drop 52x384, SIMD 2, k 26, 20,880 cycles": planned_drop(52, 2, 26, 20880),
    "token embedding 197x384, SIMD 3": embed(3),
    "token mean 197x384, SIMD 3": stream("VitTokenMean", 3, "INT16", mult=10923, shift=21, outputDataType="INT16"),
    "select token 0 of 197x384, SIMD 2": stream("VitSelectToken", 2, "INT16", index=0),
    "split 192 and 384 of 576, SIMD 8": stream("VitSplit", 8, "INT8", channels=576, first=192),
    "fork, SIMD 3": stream("VitFork", 3, "INT16"),
    "width converter, SIMD 16 to 6": (
        "VitWidthConverter",
        {"tokens": 197, "channels": 384, "in_simd": 16, "out_simd": 6, "inputDataType": "INT8"},
        [],
    ),
    "crossing, SIMD 8, 2 stages": stream("VitCrossing", 8, "INT8", stages=2),
    "load port 196x768, SIMD 4": stream("VitLoadPort", 4, "UINT8", tokens=196, channels=768, words=359424, design=1),
    "FIFO 9,552 x 64 bits, LUTRAM": stream("VitFIFO", 8, "INT8", depth=9552, ram_style="distributed"),
    "FIFO 27,776 x 48 bits, UltraRAM": stream("VitFIFO", 3, "INT16", depth=27776, ram_style="ultra"),
    "attention 197x6x64, SIMD 4, PE 16": attention(4, 16, "auto"),
    "attention 197x6x64, SIMD 8, PE 50": attention(8, 50, "block"),
    "attention 100x6x64, SIMD 4, PE 25": attention(4, 25, "block", tokens=100),
    "attention 197x6x64, SIMD 64, PE 12, 4 bits, LUTRAM": attention(64, 12, "distributed", 4),
    "attention 52x6x64, SIMD 8, PE 8, 4 bits": attention(8, 8, "block", 4, tokens=52),
    "attention 28x6x64, SIMD 8, PE 1, UltraRAM": attention(8, 1, "ultra", tokens=28),
    "attention 28x6x64, SIMD 1, PE 1, rows of UltraRAM": attention(1, 1, "ultra", tokens=28),
    "matrix 384x384, 2x8x8x5, 4 bits, dsp48e2": matrix(384, 384, (2, 8, 8, 5), "dsp48e2", "auto", 4),
    "matrix 384x1152, 4x16x16x1, 4 bits, lut, UltraRAM": matrix(384, 1152, (4, 16, 16, 1), "lut", "ultra", 4),
    "matrix 384x1536, 1x4x4x1, 4 bits, lut, UltraRAM": matrix(384, 1536, (1, 4, 4, 1), "lut", "ultra", 4),
    "matrix 768x384, 4x16x16x1, 8 bits, dsp48e2": matrix(768, 384, (4, 16, 16, 1), "dsp48e2", "auto"),
    "matrix 768x384, 16x16x16x1, 8 bits, dsp48e2": matrix(768, 384, (16, 16, 16, 1), "dsp48e2", "auto"),
    **LARGE,
    "matrix 384x384, 1x8x8x1, 8 bits, dsp48e2": matrix(384, 384, (1, 8, 8, 1), "dsp48e2", "auto"),
    "FINN's mvu_vvu_axi 384x384, 8x8, 8 bits": FinnUnit(FinnFold(384, 384, 8, 8), (8, 8)),
    "matrix 384x384, 1x8x8x1, 4 bits, dsp48e2": matrix(384, 384, (1, 8, 8, 1), "dsp48e2", "auto", 4),
    "FINN's mvu_vvu_axi 384x384, 8x8, 4 bits": FinnUnit(FinnFold(384, 384, 8, 8), (4, 4)),
    "small: FIFO 16 x 64 bits": stream("VitFIFO", 8, "INT8", depth=16),
    "small: add, 16 bits, SIMD 4": stream("VitAdd", 4, "INT16"),
    "small: lookup, 8 to 8 bits, SIMD 4": lookup(4),
    "small: requant 48, 24 to 8 bits, SIMD 4": requant(4, 48),
    "small: LayerNorm 17x48, SIMD 4": norm(17, 48, 4, 1),
    "small: token drop 17x48, SIMD 4, k 8": drop(17, 48, 4, 8, 2),
    "small: attention 17x2x8, SIMD 2, PE 2": attention(2, 2, "auto", tokens=17, heads=2, head_dim=8),
    "small: matrix 48x48 b8, 2x4x4x1, 4 bits, portable": matrix(48, 48, (2, 4, 4, 1), "portable", "auto", 4, block=8),
    "small: matrix 96x96 b8, 2x4x4x2, 8 bits, portable": matrix(96, 96, (2, 4, 4, 2), "portable", "auto", 8, block=8),
}
"""Matrix units: rows x columns, TOKENS x SIMD x PE x LANES; half of the blocks of 16 (or b) are kept. FINN's: SIMD x PE."""
