"""Multi-head attention with deferred softmax over live heads, on one engine shared by the heads in time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self, TypeVar

import numpy as np
from onnx import NodeProto
from qonnx.core.datatype import DataType
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.attention.folding import AttentionFolding
from finn_vitprune.custom_ops.attention.sizes import Frame, Spans, division_cycles, division_latency
from finn_vitprune.custom_ops.op.base import FoldedOp, OneToken, divisors
from finn_vitprune.custom_ops.op.finn_op import by_node
from finn_vitprune.custom_ops.op.load_chain import SPARE_SHIFTS, LoadedBackend
from finn_vitprune.custom_ops.op.rtl_backend import Memory
from finn_vitprune.custom_ops.op.shared import SharedOp
from finn_vitprune.custom_ops.op.token_times import TokenTimes
from finn_vitprune.numerics import BIAS_BITS, EXP_MAX, MULT_BITS, RECIP_BITS, SCORE_BITS, AttentionConstants, attention, int_range
from finn_vitprune.sim.beats import Stream
from finn_vitprune.sim.contents import WORD_BITS, Region

T = TypeVar("T")

WORD_MASK = (1 << WORD_BITS) - 1
MOST_BIAS_SHIFT = 20
"""Bits of a position bias below its codes, at most: the accumulators grow by as many."""
KEY_CYCLES = 3
"""From the last key, or query, to the first step of an item."""


class MadeFor(NamedTuple):
    """What a unit is made for: at full rate frames of these sizes, at its own rate all that are no larger; smallest and largest shifts of
    logits, of O and of position biases.
    """

    frames: tuple[Frame, ...]
    logit_shifts: tuple[int, int]
    recip_shifts: tuple[int, int]
    bias_shifts: tuple[int, int] = (0, 0)

    @property
    def most(self) -> Frame:
        """The largest of each size."""
        return Frame(*map(max, zip(*self.frames)))

    def holds(self, frame: Frame) -> bool:
        """Whether no size of ``frame`` is larger than the largest."""
        return all(size <= most for size, most in zip(frame, self.most))

    def joined(self, other: MadeFor) -> MadeFor:
        """Enough for both."""
        shifts = ((min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(self[1:], other[1:]))
        return MadeFor(tuple(sorted({*self.frames, *other.frames})), *shifts)

    def text(self) -> str:
        """JSON."""
        return json.dumps(self)

    @classmethod
    def parse(cls, text: str) -> MadeFor:
        """Read what :meth:`text` wrote."""
        frames, *shifts = json.loads(text)
        return cls(tuple(Frame(*frame) for frame in frames), *map(tuple, shifts))


class PrunedAttention(SharedOp, FoldedOp):
    """O = attention(Q, K, V) and the token scores of query 0, exactly :func:`numerics.attention`.

    Streams: q ``[queries, H D']``; kv ``[tokens, 2 H D']`` (K channels of all heads, then V channels); o
    ``[queries, H D']``, all SIMD codes a beat; with ``scores`` also s ``[1, tokens, 1]``, one token a beat.
    Initialisers: the exp table ``[256]`` (UINT8, entry 0 is 255) and, with ``bias_bits`` (8, 0: none), a relative position bias
    ``[H, queries or more, N]``, signed codes of so many bits, of which the first queries are used. ``heads`` are the live heads, in order.

    Per query i and head h, with PE keys and SIMD channels a cycle:

        L_j = clip(rhe((sum_d q_d k_jd + B_hij 2**bias_shift) logit_mult 2**-logit_shift))   logit_bits (<= 8), signed
        E_j = table[max L - L_j]                                     UINT8
        Z   = sum_j E_j                                              8 + log2 N bits
        O_d = clip(rhe(sum_j E_j v_jd floor(recip_num / Z) 2**-recip_shift))
        S_j = sum_h floor(2**16 E_h0j / Z_h0)                        query 0, exact

    ``recip_bits_per_cycle`` = 0 takes the fewest quotient bits a cycle that keep the divider off the
    critical rate. A frame takes queries H ceil(N / PE) D' / SIMD cycles unless its K and V beats are more.

    Encoders that share the unit differ in tokens, queries, heads, whether they have scores, constants, tables and biases. ``PE`` may exceed
    the tokens of some.
    """

    ram_holds = "keys and values"
    scores_leave_early = True
    ATTRIBUTES = {
        "tokens": ("i", True, 0),
        "queries": ("i", True, 0),
        "heads": ("i", True, 0),
        "head_dim": ("i", True, 0),
        "SIMD": ("i", False, 1),
        "PE": ("i", False, 1),
        "scores": ("i", False, 0, {0, 1}),
        "logit_mult": ("i", True, 0),
        "logit_shift": ("i", True, 0),
        "logit_bits": ("i", False, 8),
        "recip_num": ("i", True, 0),
        "recip_shift": ("i", True, 0),
        "recip_bits_per_cycle": ("i", False, 0),
        "inputDataType": ("s", False, "INT8"),
        "outputDataType": ("s", False, "INT8"),
        "scoreDataType": ("s", False, ""),
        "ram_style": ("s", False, "auto", {"auto", "block", "distributed", "ultra"}),
        "bias_bits": ("i", False, 0),
        "bias_shift": ("i", False, 0),
        "unit_encoders": ("strings", False, []),
        "least": ("s", False, ""),
    }
    """``unit_encoders``, of the op as one encoder has it: ``encoders`` of the unit. ``least``: JSON of a :class:`.MadeFor`, what the
    unit is made for at least."""
    ENCODER_ATTRIBUTES = (
        "tokens", "queries", "heads", "scores", "logit_mult", "logit_shift", "recip_num", "recip_shift", "bias_shift", "scoreDataType",
    )  # fmt: skip

    @classmethod
    def share(cls, name: str, ops: Sequence[Self], inputs: Sequence[str], outputs: Sequence[str], frames: int = 4) -> NodeProto:
        """As :meth:`.SharedOp.share`; scores have the widest type."""
        node = super().share(name, ops, inputs, outputs, frames)
        widest = max((op.score_type for op in ops), key=lambda dtype: dtype.bitwidth())
        getCustomOp(node).set_nodeattr("scoreDataType", widest.name)
        return node

    def by_encoder(self) -> tuple[Self, ...]:
        ops = super().by_encoder()
        if self.shared:
            for op in ops:
                op.set_nodeattr("unit_encoders", self.get_nodeattr("encoders"))
                op.set_nodeattr("scoreDataType", self.score_type.name)
        return ops

    def of_encoders(self, *attributes: str) -> list[tuple[int, ...]]:
        """What each encoder of the unit has of some attributes."""
        texts = self.get_nodeattr("encoders") or self.get_nodeattr("unit_encoders")
        found = [json.loads(text) for text in texts] or [{name: self.get_nodeattr(name) for name in attributes}]
        return [tuple(own[name] for name in attributes) for own in found]

    # --- symbols of the docstring ---

    @property
    def channels(self) -> int:
        """H D'."""
        return self.get_nodeattr("heads") * self.get_nodeattr("head_dim")

    @by_node
    def folding(self) -> AttentionFolding:
        a = self.get_nodeattr
        made = self.made_for
        in_bits, out_bits = (DataType[a(t)].bitwidth() for t in ("inputDataType", "outputDataType"))
        own = Frame(a("tokens"), a("queries"), a("heads"), bool(a("scores")))
        encoders = tuple(self._frames()) if self.shared else ()
        others = made.frames if {*made.frames} != {*(encoders or (own,))} else ()
        return AttentionFolding(
            own.tokens, own.queries, own.heads, a("head_dim"), a("SIMD"), a("PE"), in_bits, out_bits, a("logit_bits"),
            a("recip_bits_per_cycle"), own.scores, self.score_type.bitwidth(), a("ram_style"),
            encoders, Spans(*(high - low for low, high in made[1:])),
            a("bias_bits"), made.bias_shifts[1], self.encoders if a("bias_bits") else 1, others,
        )  # fmt: skip

    def _frames(self) -> list[Frame]:
        of_encoders = self.of_encoders("tokens", "queries", "heads", "scores")
        return [Frame(tokens, queries, heads, bool(scores)) for tokens, queries, heads, scores in of_encoders]

    @property
    def made_for(self) -> MadeFor:
        """What the unit is made for: ``least``, and those of its encoders that it does not hold."""
        shifts = zip(*self.of_encoders("logit_shift", "recip_shift", "bias_shift"))
        own = MadeFor(tuple(self._frames()), *((min(of), max(of)) for of in shifts))
        if not (text := self.get_nodeattr("least")):
            return own
        least = MadeFor.parse(text)
        return least.joined(own._replace(frames=tuple(frame for frame in own.frames if not least.holds(frame))))

    @property
    def score_type(self):
        """``scoreDataType``, by default the narrowest unsigned type that holds H 2**16."""
        name = self.get_nodeattr("scoreDataType")
        return DataType[name or f"UINT{(self.get_nodeattr('heads') << SCORE_BITS).bit_length()}"]

    def in_streams(self) -> list[Stream]:
        simd, dtype = self.get_nodeattr("SIMD"), DataType[self.get_nodeattr("inputDataType")]
        return [
            Stream(self.get_nodeattr("queries"), self.channels, simd, dtype),
            Stream(self.get_nodeattr("tokens"), 2 * self.channels, simd, dtype),
            *self.tags(),
        ]

    def out_streams(self) -> list[Stream]:
        dtype = DataType[self.get_nodeattr("outputDataType")]
        streams = [Stream(self.get_nodeattr("queries"), self.channels, self.get_nodeattr("SIMD"), dtype)]
        if self.get_nodeattr("scores"):
            streams.append(Stream(self.get_nodeattr("tokens"), 1, 1, self.score_type))
        return [*streams, *self.tags()]

    def constants(self) -> AttentionConstants:
        """The integers that the attention computes with."""
        a = self.get_nodeattr
        out_bits = DataType[a("outputDataType")].bitwidth()
        shifts = a("recip_shift"), out_bits, a("bias_shift")
        return AttentionConstants(a("logit_mult"), a("logit_shift"), a("logit_bits"), a("recip_num"), *shifts)

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """``[..., queries, H D']``, ``[..., N, 2 H D']`` to O and, with ``scores``, S ``[..., N, 1]``."""
        q, kv, table, *bias = inputs
        biases = self.own_bias(bias[0]) if bias else 0
        return self.outputs(*attention(*self.by_head(q, kv), table.reshape(-1), self.constants(), biases))

    def own_bias(self, bias: np.ndarray) -> np.ndarray:
        """The position biases of the queries that there are, ``[H, queries, N]``."""
        heads, queries, tokens = (self.get_nodeattr(name) for name in ("heads", "queries", "tokens"))
        return bias.reshape(heads, -1, tokens)[:, :queries]

    def by_head(self, q: np.ndarray, kv: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The streams as q ``[..., H, queries, D']``, k and v ``[..., H, N, D']``."""
        heads, dim = self.get_nodeattr("heads"), self.get_nodeattr("head_dim")
        k, v = np.split(np.asarray(kv, dtype=np.int64), 2, axis=-1)

        def split(x: np.ndarray) -> np.ndarray:
            return np.swapaxes(x.reshape(*x.shape[:-1], heads, dim), -2, -3)

        return split(np.asarray(q)), split(k), split(v)

    def outputs(self, out: np.ndarray, scores: np.ndarray) -> list[np.ndarray]:
        """O ``[..., H, queries, D']`` and S ``[..., N]`` as the streams that leave."""
        out = np.swapaxes(out, -2, -3)
        result = [out.reshape(*out.shape[:-2], self.channels)]
        return [*result, scores[..., None]] if self.get_nodeattr("scores") else result

    def verify_node(self) -> list[str]:
        """Check the attributes against each other.

        Raises:
            UserError: naming the attribute, its value and what would work.
        """
        a, require = self.get_nodeattr, self.require
        for attribute in ("tokens", "queries", "heads", "head_dim", "SIMD", "PE", "recip_num"):
            require(a(attribute) >= 1, f"{attribute} is {a(attribute)}, it must be at least 1")
        dim, simd, pe = a("head_dim"), a("SIMD"), a("PE")
        n = self.made_for.most.tokens
        require(dim % simd == 0, f"SIMD {simd} does not divide head_dim {dim}: use one of {list(divisors(dim))}")
        require(pe <= n, f"PE {pe} exceeds the {n} tokens: use 1 to {n}")
        for attribute in ("inputDataType", "outputDataType"):
            dtype = DataType[a(attribute)]
            held = dtype.is_integer() and dtype.signed() and 2 <= dtype.bitwidth() <= 8
            require(held, f"{attribute} {a(attribute)} is not supported: use INT2 to INT8")
        mult, num, bits = a("logit_mult"), a("recip_num"), a("recip_bits_per_cycle")
        require(2 <= a("logit_bits") <= 8, f"logit_bits is {a('logit_bits')}: use 2 to 8")
        require(0 < mult < 1 << MULT_BITS, f"logit_mult {mult} is outside 1 to {(1 << MULT_BITS) - 1}")
        require(num // EXP_MAX < 1 << RECIP_BITS, f"recip_num {num} // {EXP_MAX} does not fit {RECIP_BITS} bits")
        require(0 <= bits <= RECIP_BITS, f"recip_bits_per_cycle {bits} is outside 0 to {RECIP_BITS}")
        need, score = (a("heads") << SCORE_BITS).bit_length(), self.score_type
        held = not a("scores") or (not score.signed() and score.bitwidth() >= need)
        require(held, f"scoreDataType {score.name} is too narrow: use UINT{need} or wider")
        bias, above = a("bias_bits"), a("bias_shift")
        require(bias in (0, BIAS_BITS), f"bias_bits is {bias}: use {BIAS_BITS}, or 0 for no relative position bias")
        require(
            0 <= above <= MOST_BIAS_SHIFT, f"bias_shift {above} is outside 0 to {MOST_BIAS_SHIFT}: the bias is too large for these keys"
        )
        for op in self.by_encoder() if self.shared else ():
            op.verify_node()
        return []

    # --- cost ---

    def input_times(self, arrivals: list[float]) -> list[float]:
        """Queries are taken when all keys and values of the frame are there."""
        queries, keys = arrivals
        return [max(queries, keys + 1.0), keys]

    def one_token(self, index: int) -> OneToken | None:
        """One query; keys and values stay. Of a position bias the unit has the first rows."""
        return OneToken((0,), {"queries": 1}) if index == 0 or not self.get_nodeattr("bias_bits") else None

    def pass_times(self, inputs: list[TokenTimes]) -> list[TokenTimes]:
        """Items of a query and a head pass two phases, the first once all keys are there."""
        (queries, keys), g = inputs, self.folding()
        pace = max(g.item_cycles, division_cycles(RECIP_BITS, g.recip_bits))
        taken = queries.served(g.heads * pace, KEY_CYCLES, start=keys.last[-1] + KEY_CYCLES)
        first, last = g.item_cycles - 1 + g.o_latency(1), g.item_cycles - pace + g.o_latency(g.cg)
        outputs = [TokenTimes(tuple(t + first for t in taken.first), tuple(t + last for t in taken.last))]
        if g.scores:
            ready = taken.first[0] + g.item_cycles - 1 + g.score_latency(pace)
            outputs.append(TokenTimes.steady(g.tokens, 1).served(1, ready))
        return outputs

    def held_tokens(self) -> int:
        """Queries inside when the first output token leaves: that one and the slices taken ahead of it.

        These are the ring of four, and the items that start while one passes both phases and the divider.
        """
        g = self.folding()
        passing = 1 + -(-(g.handover + division_latency(RECIP_BITS, g.recip_bits) + 20) // g.item_cycles)
        return 1 + -(-(4 + passing) // g.heads)


class PrunedAttention_rtl(LoadedBackend, PrunedAttention):
    """RTL of :class:`PrunedAttention`: ``vp_attention``."""

    RTL_TOP = "vp_attention"
    RTL_OUTPUTS = 2

    def rtl_parameters(self) -> dict[str, int | str]:
        self.verify_node()
        a, g, made = self.get_nodeattr, self.folding(), self.made_for
        return {
            "ENCODERS": self.encoders,
            "TOKENS": made.most.tokens,
            "QUERIES": made.most.queries,
            "HEADS": made.most.heads,
            "SCORES": int(made.most.scores),
            "LEAST_KEY_GROUPS": -(-min(frame.tokens for frame in made.frames) // a("PE")),
            "HEAD_DIM": a("head_dim"),
            "SIMD": a("SIMD"),
            "PE": a("PE"),
            "IN_WIDTH": DataType[a("inputDataType")].bitwidth(),
            "OUT_WIDTH": DataType[a("outputDataType")].bitwidth(),
            "LOGIT_WIDTH": a("logit_bits"),
            "LOGIT_SHIFT": made.logit_shifts[1],
            "LOGIT_SPAN": g.spans.logit,
            "RECIP_SHIFT": made.recip_shifts[1],
            "RECIP_SPAN": g.spans.recip,
            "RECIP_STAGES": g.recip_bits,
            "DIVIDE_STAGES": g.score_recip_bits,
            "SLOTS": g.slots,
            "GROUPS_HELD": g.groups_held,
            "OUT_DEPTH": g.out_depth,
            "ACC_WIDTH": g.acc_bits,
            "Z_WIDTH": g.z_bits,
            "SCORE_ROWS": g.score_rows,
            "SCORE_WIDTH": self.score_type.bitwidth(),
            "EXP_FILE": self.memory_file("exp"),
            "RAM_STYLE": g.kv_ram[2],
            "RAM_ROW": g.kv_rows.row,
            "KV_LATENCY": g.kv_latency,
            "RING_STYLE": g.ring_ram[2],
            **(self._bias_parameters() if g.bias_bits else {}),
            **self.load_parameters(),
        }

    def _bias_parameters(self) -> dict[str, int | str]:
        """Where a relative position bias is, and how it is read."""
        g = self.folding()
        rom = g.bias_rom
        return {
            "BIAS_WIDTH": g.bias_bits, "BIAS_SHIFT": g.bias_shift, "BIAS_SPAN": g.spans.bias, "BIAS_WORDS": rom.words,
            "BIAS_FILE": self.memory_file("bias"), "BIAS_STYLE": rom.style, "BIAS_ROW": rom.row, "BIAS_LATENCY": rom.latency,
        }  # fmt: skip

    def tables(self) -> dict[str, list[tuple[int, ...]]]:
        """Shapes of frames and constants, as the stages have them; scores where the unit makes some."""
        made, pe, groups = self.made_for, self.get_nodeattr("PE"), self.folding().cg
        names = ("tokens", "queries", "heads", "scores", "logit_mult", "logit_shift", "recip_num", "recip_shift", "bias_shift")
        rows = [dict(zip(names, values)) for values in self.of_encoders(*names)]
        lanes = -(-pe // groups)  # keys of a step of the logits' multipliers
        found: dict[str, list[tuple[int, ...]]] = {
            name: [] for name in ("kv_shapes", "item_shapes", "logit_shapes", "value_shapes", "padding", "recip_nums", "recip_lefts")
        }
        if self.get_nodeattr("bias_bits"):
            words = self.folding().unit.bias_words
            shapes: list[tuple[int, ...]] = [(i * words, made.bias_shifts[1] - of["bias_shift"]) for i, of in enumerate(rows)]
            found = _after(found, "item_shapes", "bias_shapes", shapes)
        for of in rows:
            key_groups, part = -(-of["tokens"] // pe), of["heads"] * groups
            last_keys = of["tokens"] - (key_groups - 1) * pe
            heads, queries, items = _less_two(of["heads"]), _less_two(of["queries"]), _less_two(key_groups * groups)
            frame = _less_two(2 * of["tokens"] * part)
            found["kv_shapes"].append((_less_two(part), frame, (key_groups - 1) * groups + 1, key_groups))
            found["item_shapes"].append((items, heads, queries))
            left = made.logit_shifts[1] - of["logit_shift"]
            found["logit_shapes"].append((of["logit_mult"], left, _less_two(key_groups), last_keys // lanes, last_keys % lanes))
            found["value_shapes"].append((items, _less_two(key_groups), heads, queries, of["scores"]))
            mask = (1 << pe) - (1 << last_keys)
            found["padding"].append(tuple(mask >> WORD_BITS * i & WORD_MASK for i in reversed(range(-(-pe // WORD_BITS)))))
            found["recip_nums"].append((of["recip_num"] >> WORD_BITS, of["recip_num"] & WORD_MASK))
            found["recip_lefts"].append((made.recip_shifts[1] - of["recip_shift"],))
        if made.most.scores:
            found["score_shapes"] = [(_less_two(of["tokens"]), _less_two(of["heads"])) for of in rows]
        return found

    def spare(self, model) -> None:
        made = self.made_for
        shifts = ((min(low, max(1, low - SPARE_SHIFTS)), high + SPARE_SHIFTS) for low, high in made[1:])
        self.set_nodeattr("least", MadeFor(made.frames, *shifts).text())

    def widen(self, other: PrunedAttention) -> None:
        widest = max((op.score_type for op in (self, other)), key=lambda dtype: dtype.bitwidth())
        self.set_nodeattr("scoreDataType", widest.name)
        self.set_nodeattr("least", self.made_for.joined(other.made_for).text())

    def move_into(self, made: PrunedAttention) -> None:
        """Frames no larger than those of ``made`` leave it as it is."""
        self.widen(made)
        self.set_nodeattr("least", made.made_for.text())

    def regions(self) -> list[Region]:
        name = self.onnx_node.name
        found = {region.memory: region for region in super().regions()}
        found = _after(found, "padding", "exp", Region(name, "exp", self.encoders << self.get_nodeattr("logit_bits"), 8, 1))
        if "bias_shapes" in found:
            rom = self.folding().bias_rom
            found = _after(found, "bias_shapes", "bias", Region(name, "bias", rom.row, rom.rows * rom.width, 1))
        return list(found.values())

    def banks(self, model) -> dict[str, list[Memory]]:
        """The exp table, cut to the 2**logit_bits differences that occur, and position biases where there are some; encoder after encoder."""
        self.verify_node()
        tables = []
        for op in self.by_encoder():
            table = np.rint(model.get_initializer(op.onnx_node.input[2])).astype(np.int64).reshape(-1)
            held = len(table) == 256 and table.min() >= 0 and table.max() == table[0] == EXP_MAX
            self.require(held, f"the exp table must have 256 entries of 0 to {EXP_MAX}, the first of them {EXP_MAX}")
            tables.append(table[: 1 << self.get_nodeattr("logit_bits")])
        found = {"exp": [Memory(np.concatenate(tables).astype(object), 8)]}
        if not self.get_nodeattr("bias_bits"):
            return found
        g = self.folding()
        words = [op.bias_words(model) for op in self.by_encoder()]
        padded = np.concatenate([np.pad(of, ((0, g.bias_words - len(of)), (0, 0))) for of in words])
        return found | {"bias": [Memory.packed(g.bias_rom.side_by_side(padded), g.bias_bits)]}

    def bias_words(self, model) -> np.ndarray:
        """Words of one encoder, ``[words, PE]``: one a key group, queries outermost; 0 for keys that are not there."""
        bits, pe = self.get_nodeattr("bias_bits"), self.get_nodeattr("PE")
        bias = self.own_bias(np.rint(model.get_initializer(self.onnx_node.input[3])).astype(np.int64)).swapaxes(0, 1)
        lo, hi = int_range(bits, signed=True)
        held = lo <= bias.min() and bias.max() <= hi
        self.require(held, f"codes of the position bias are {bias.min()} to {bias.max()}: they must have {bits} bits")
        return np.pad(bias, ((0, 0), (0, 0), (0, -bias.shape[-1] % pe))).reshape(-1, pe)


def _after(found: Mapping[str, T], place: str, name: str, value: T) -> dict[str, T]:
    """The mapping with one more name behind ``place``."""
    return {at: of for own, held in found.items() for at, of in ([(own, held), (name, value)] if own == place else [(own, held)])}


def _less_two(count: int) -> int:
    """A count less two, modulo 2**32, as ``vp_sized_counter`` takes it."""
    return (count - 2) & WORD_MASK
