"""Sparse-block matrix unit: Y = X W, W of MW x MH stored as its kept b x b blocks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from itertools import accumulate
from typing import Self

import numpy as np
from qonnx.core.datatype import DataType

from finn_vitprune import numerics
from finn_vitprune.block_mask import BlockMask
from finn_vitprune.custom_ops.mvau import estimate as mvau_estimate
from finn_vitprune.custom_ops.mvau.balance import Schedule, row_ends
from finn_vitprune.custom_ops.mvau.choose import MatrixFolding
from finn_vitprune.custom_ops.mvau.contents import behind_one_another, constant_contents, drain_contents, lane_contents
from finn_vitprune.custom_ops.mvau.fold import Capacity, Fold, Room, product_sum_bits, shared_fold
from finn_vitprune.custom_ops.mvau.mac import MAC_STYLES
from finn_vitprune.custom_ops.op.base import FoldedOp
from finn_vitprune.custom_ops.op.finn_op import by_node
from finn_vitprune.custom_ops.op.load_chain import SPARE_SHIFTS, LoadedBackend
from finn_vitprune.custom_ops.op.rtl_backend import Memory
from finn_vitprune.custom_ops.op.shared import SharedOp, set_attribute, vector
from finn_vitprune.custom_ops.op.token_times import TokenTimes
from finn_vitprune.errors import UserError
from finn_vitprune.sim.beats import Stream
from finn_vitprune.sim.contents import Region
from finn_vitprune.synth.family import ULTRASCALE
from finn_vitprune.synth.parts import Part

LOAD_CYCLES = 4
"""From the last beat of a group's input to its first step: registers, the program's first entry."""


class BlockSparseMVAU(SharedOp, FoldedOp):
    """Y = clip(round_half_even((X W + bias) mult[c] 2^-shift)), or Y = X W + bias with ``requant`` = 0.

    X: ``[tokens, MW]`` integers of 2 to 16 bits. W: ``[MW, MH]`` integers of 2 to 9 bits, signed; a
    ``block`` x ``block`` block (rows = input channels, columns = outputs) is kept iff it has a non-zero
    entry, and only kept blocks are stored and multiplied. Sides that ``block`` does not divide are
    zero-padded inside; padding is neither read nor emitted. bias: ``[MH]`` at accumulator scale.
    mult: ``[MH]``, 0 <= mult < 2^mult_bits. Accumulators have the width that no input exceeds
    (:attr:`Fold.acc_bits`); bias plus sum has one bit more than the wider of the two.

    Folding: ``SIMD`` x ``PE`` weights a cycle and lane, shared by ``TOKENS`` rows, in ``LANES`` lanes that
    share the kept blocks (:mod:`.balance`). Cycles of a frame, ports and drain permitting:

        ceil(tokens / TOKENS) * ceil(kept * sub_blocks / LANES) * (block / SIMD) * (block / PE) / sub_blocks

    A sub-block is what stays in one lane: a block, or, where lanes hold few of them, some of its rows.
    ``column_blocks`` are the kept blocks of each block column (all, while it is empty); :meth:`plan` sets
    it from the weights, so that cycles and sizes are exact for every fold. ``lane_blocks`` and
    ``lane_slots`` are the elaborated maxima of blocks and column parts of a lane; 0 means those of the
    present weights, larger ones let one compiled unit serve other masks too. ``bias_bits`` is the width
    of the biases; 0 means the accumulators' width, and HDL generation widens it where they need more.
    ``mac_style`` is how products are made: "portable" (inferred), "dsp48e2" (cascades of that primitive) or
    "lut" (no multipliers, for narrow weights); see :mod:`.mvau_mac`. The last ``lut_lanes`` lanes of a unit in "dsp48e2" make theirs in LUTs.

    Encoders that share a unit have tokens, matrices, masks and shifts of their own, and may have signed outputs of fewer bits than
    others, to which the unit clips them; the port widths divide the sides of all matrices. ``room`` is a :class:`.Room`, set by :meth:`by_encoder` alone; ``least`` is a :class:`.Capacity`, for which the unit is made.
    """

    token_wise = True
    ram_holds = "the weights"
    ATTRIBUTES = {
        "tokens": ("i", True, 0),
        "MW": ("i", True, 0),
        "MH": ("i", True, 0),
        "block": ("i", True, 0),
        "SIMD": ("i", False, 1),
        "PE": ("i", False, 1),
        "TOKENS": ("i", False, 1),
        "LANES": ("i", False, 1),
        "in_width": ("i", False, 1),
        "out_width": ("i", False, 1),
        "requant": ("i", False, 1, {0, 1}),
        "shift": ("i", False, 0),
        "mult_bits": ("i", False, numerics.MULT_BITS),
        "bias_bits": ("i", False, 0),
        "lane_blocks": ("i", False, 0),
        "lane_slots": ("i", False, 0),
        "column_blocks": ("ints", False, []),
        "room": ("ints", False, []),
        "least": ("ints", False, []),
        "ram_style": ("s", False, "auto", set(mvau_estimate.RAM_STYLES)),
        "mac_style": ("s", False, "portable", set(MAC_STYLES)),
        "lut_lanes": ("i", False, 0),
        "buffers": ("i", False, 2, {2, 4}),
        "inputDataType": ("s", True, ""),
        "weightDataType": ("s", True, ""),
        "outputDataType": ("s", True, ""),
    }

    ENCODER_ATTRIBUTES = ("tokens", "MW", "MH", "shift", "bias_bits", "lane_blocks", "lane_slots", "column_blocks", "outputDataType")

    # --- structure ---

    @by_node
    def fold(self) -> Fold:
        """Shapes, types and folding of this node, checked.

        Raises:
            UserError: something does not fit; the text names it and what would.
        """
        least = self._least
        return shared_fold([op.own_fold() for op in self.by_encoder()], least) if self.shared or least else self.own_fold()

    @property
    def _least(self) -> Capacity | None:
        return Capacity(*least) if (least := self.get_nodeattr("least")) else None

    @by_node
    def own_fold(self) -> Fold:
        """The fold by the attributes of the node itself, checked; those of a shared unit are the largest of its encoders'."""
        get = self.get_nodeattr
        x, w = DataType[get("inputDataType")], DataType[get("weightDataType")]
        fold = Fold(
            rows=get("tokens"),
            mw=get("MW"),
            mh=get("MH"),
            block=get("block"),
            simd=get("SIMD"),
            pe=get("PE"),
            tokens=get("TOKENS"),
            lanes=get("LANES"),
            in_width=get("in_width"),
            out_width=get("out_width"),
            x=x,
            w=w,
            y=DataType[get("outputDataType")],
            requant=bool(get("requant")),
            mult_bits=get("mult_bits"),
            shift=get("shift"),
            bias_bits=get("bias_bits") or product_sum_bits(get("MW"), x, w),
            mac_style=get("mac_style"),
            ram_style=get("ram_style"),
            lut_lanes=get("lut_lanes"),
            buffers=get("buffers"),
            column_blocks=tuple(get("column_blocks")),
            room_blocks=get("lane_blocks"),
            room_slots=get("lane_slots"),
            room=Room(*room) if (room := tuple(get("room"))) else None,
        )
        return fold.check(self.onnx_node.name)

    def by_encoder(self) -> tuple[Self, ...]:
        """The op as each encoder has it, with the unit's room, and the largest bias and number of column parts."""
        ops, least = super().by_encoder(), self._least
        if self.shared or least:
            folds = [op.own_fold() for op in ops]
            room = Room.of(folds, least)
            folds = [replace(fold, room=room) for fold in folds]
            bias_bits, slots = (max(getattr(fold, name) for fold in folds) for name in ("bias_bits", "lane_slots"))
            if least:
                bias_bits, slots = max(bias_bits, least.bias_bits), max(slots, least.slots)
            for op in ops:
                op.set_nodeattr("room", list(astuple(room)))
                op.set_nodeattr("bias_bits", bias_bits)
                op.set_nodeattr("lane_slots", slots)
                if op is not self:
                    set_attribute(op, "least", [])
        return ops

    @classmethod
    def largest(cls, attribute: str, values: Sequence) -> object:
        """No mask is larger than all others: a shared unit has none of its own. Of signed outputs those of the most bits hold all."""
        if attribute == "outputDataType":
            return max(values, key=lambda name: DataType[name].bitwidth())
        return [] if attribute == "column_blocks" else super().largest(attribute, values)

    def verify_node(self) -> list[str]:
        """Raise UserError where :meth:`fold` does, or encoders have outputs that no clipping makes of each other; an empty list when all is
        well."""
        kinds = {own.y.name for own in self.fold().each}
        held = len(kinds) == 1 or all(DataType[kind].signed() and self.get_nodeattr("requant") for kind in kinds)
        self.require(held, f"outputs {', '.join(sorted(kinds))} cannot leave one unit: use requantised signed codes, or one type")
        return []

    @by_node
    def folding(self) -> MatrixFolding:
        return MatrixFolding(self.fold())

    def schedule(self) -> Schedule:
        """Distribution of the kept blocks over the lanes."""
        return self.own_fold().schedule

    def check_part(self, part: Part) -> None:
        super().check_part(part)
        style, family = self.get_nodeattr("mac_style"), part.planned_as
        usable = family == ULTRASCALE or style in family.mac
        self.require(usable, f"mac_style {style} is not possible on {part.name}: use {' or '.join(family.mac)}")

    def plan(self, weights: np.ndarray) -> Schedule:
        """Take the kept blocks of ``weights`` (``[MW, MH]``) into ``column_blocks``; returns the schedule."""
        self.set_nodeattr("column_blocks", BlockMask.of(weights, self.get_nodeattr("block")).column_counts)
        return self.schedule()

    def in_streams(self) -> list[Stream]:
        f = self.own_fold()
        return [Stream(f.rows, f.mw, f.in_width, f.x), *self.tags()]

    def out_streams(self) -> list[Stream]:
        f = self.own_fold()
        return [Stream(f.rows, f.mh, f.out_width, f.y), *self.tags()]

    # --- specification ---

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        x, weights, bias, *mult = inputs
        acc = numerics.matmul(x, weights) + np.asarray(bias, dtype=np.int64)
        if not self.get_nodeattr("requant"):
            return [acc]
        y = DataType[self.get_nodeattr("outputDataType")]
        return [numerics.requantise(acc, np.asarray(mult[0], dtype=np.int64), self.get_nodeattr("shift"), y.bitwidth(), y.signed())]

    # --- work ---

    def param_counts(self) -> dict[str, int]:
        """Weights of the kept blocks, biases, and per kept block its block row and an end-of-column bit."""
        folds = self.fold().each
        return {
            "weights": sum(f.kept_weights for f in folds),
            "biases": sum(f.mh for f in folds),
            "index_bits": sum(f.schedule.kept * (numerics.clog2(f.block_rows) + 1) for f in folds),
        }

    def pass_times(self, inputs: list[TokenTimes]) -> list[TokenTimes]:
        """Groups of tokens are loaded, multiplied and drained, as :func:`.balance.row_ends` says."""
        (f,) = self.fold().each
        row = f.timing.emit_row or f.timing.drain_row
        ends = row_ends(f.token_groups, f.timing, [t + LOAD_CYCLES for t in inputs[0].last])
        last = tuple(end + f.behind for end in ends)
        return [TokenTimes(tuple(end - row + 1 for end in last), last)]

    def held_tokens(self) -> int:
        """Double buffers of a token group before and after the lanes, one in them, rows put in order."""
        f = self.fold()
        return 4 * f.tokens + (2 * f.rows_per_step if f.rows_per_step > 1 else 0)

    def burst_tokens(self) -> int:
        """Tokens of a group where a frame's last group is smaller but takes as long, else 0.

        The unit then runs ahead of its neighbours' steady pace within a frame, by up to a group.
        """
        f = self.fold()
        return f.tokens if any(own.rows % f.tokens for own in f.each) else 0

    def pause_beats(self, inputs: list[TokenTimes]) -> int:
        """Those of as many tokens."""
        return self.burst_tokens() * self.in_streams()[0].token_beats


class BlockSparseMVAU_rtl(LoadedBackend, BlockSparseMVAU):
    """RTL of :class:`BlockSparseMVAU`: ``vp_mvau``, its four memories and its tables.

    With ``ram_style`` "ultra" the weights are loaded at start-up, with ``loaded`` all contents.
    """

    RTL_TOP = "vp_mvau"

    def rtl_parameters(self) -> dict[str, int | str]:
        f = self.fold()
        styles = mvau_estimate.styles(f)
        return {
            "ENCODERS": len(self.frame_rows()),
            "SPAN": f.span,
            "ROWS": self.most_rows(),
            "MW": f.mw,
            "MH": f.mh,
            "BLOCK": f.block,
            "SIMD": f.simd,
            "PE": f.pe,
            "TOKENS": f.tokens,
            "LANES": f.lanes,
            "IN_WIDTH": f.in_width,
            "OUT_WIDTH": f.out_width,
            "DRAIN_WIDTH": f.drain_width,
            "ROWS_PER_STEP": f.rows_per_step,
            "X_BITS": f.x.bitwidth(),
            "X_SIGNED": int(f.x.signed()),
            "W_BITS": f.w.bitwidth(),
            "ACC_BITS": f.acc_bits,
            "BIAS_BITS": f.bias_bits,
            "OUT_BITS": f.y.bitwidth(),
            "OUT_SIGNED": int(f.y.signed()),
            "REQUANT": int(f.requant),
            "MULT_BITS": f.mult_bits,
            "SHIFT": f.shift,
            "MAC_STYLE": f.mac_style,
            "MAC_LATENCY": f.mac.latency,
            "MAC_CHAIN": f.mac.chain,
            "MAC_TOKENS": f.mac.tokens_per,
            "MAC_OUTPUTS": f.mac.outputs_per,
            "ENTRY_STEPS": f.entry_steps,
            "X_CYCLES": f.row_latency,
            "R_CYCLES": f.result_latency,
            "X_ELEMS": f.x_elems,
            "X_WORDS": f.x_words,
            "R_ELEMS": f.r_elems,
            "R_WORDS": f.r_words,
            "W_WORDS": f.weight_words,
            "W_LATENCY": f.weight_latency,
            "P_WORDS": f.program_entries,
            "P_PER": f.program_per,
            "C_WORDS": f.drain_entries,
            "K_WORDS": f.constants,
            **{f"{k}_FILE": self.memory_file(suffix) for k, suffix in _ROMS.items()},
            **{f"{key}_STYLE": style for key, style in styles.items()},
            **(self._fewer_bits() if f.clips else {}),
            **({"BUFFERS": f.buffers} if f.buffers != 2 else {}),
            **({"LUT_LANES": f.lut_lanes, "LUT_LATENCY": f.lut_mac.latency} if f.lut_lanes else {}),
            **self.load_parameters(),
        }

    def frame_rows(self) -> list[tuple[int, int]]:
        """The frames that the unit takes, by tag: whose matrix, and how many rows."""
        return list(enumerate(own.rows for own in self.fold().each))

    def most_rows(self) -> int:
        """Most rows of a frame that the unit is made for."""
        return self.fold().rows

    def _fewer_bits(self) -> dict[str, int]:
        """By how many bits outputs are narrower than the widest, by tag."""
        f = self.fold()
        return {"CLIPS": 1, "FEWER_BITS": vector([f.y.bitwidth() - f.each[layer].y.bitwidth() for layer, _ in self.frame_rows()])}

    @property
    def on_load_chain(self) -> bool:
        return super().on_load_chain or self.get_nodeattr("ram_style") == "ultra"

    def is_loaded(self, memory: str) -> bool:
        """Weights in UltraRAM are always loaded: it has undefined contents at power-up."""
        return super().is_loaded(memory) or (memory == _ROMS["W"] and self.on_load_chain)

    def tables(self) -> dict[str, list[tuple[int, ...]]]:
        """Shapes of frames as ``vp_mvau_load`` and ``vp_mvau_drain`` have them, and where an encoder's contents begin."""
        f = self.fold()
        frames = [(layer, f.each[layer], rows) for layer, rows in self.frame_rows()]

        def firsts(words: Callable[[Fold], int]) -> list[int]:
            return list(accumulate((words(own) for own in f.each[:-1]), initial=0))

        def starts(words: Callable[[Fold], int]) -> list[tuple[int, ...]]:
            first = firsts(words)
            return [(first[layer],) for layer, _, _ in frames]

        def less_two(count: int) -> tuple[int, int]:
            return int(count == 1), max(0, count - 2)

        constants = firsts(lambda own: own.constants)
        return {
            "load_shapes": [(*less_two(own.mw // f.in_width), *less_two(rows)) for _, own, rows in frames],
            "program_starts": starts(lambda own: own.program_entries),
            "weight_starts": starts(lambda own: own.weight_words),
            "drain_starts": starts(lambda own: own.drain_entries),
            "drain_shapes": [
                (
                    *less_two(-(-rows // f.rows_per_step)),
                    (rows - 1) % f.rows_per_step,
                    constants[layer],
                    f.shift - own.shift if f.span else 0,
                )
                for layer, own, rows in frames
            ],
        }

    def regions(self) -> list[Region]:
        f = self.fold()

        def memory(key: str) -> Region:
            depth, width, banks = shapes[key]
            return Region(self.onnx_node.name, _ROMS[key], depth, width, banks)

        shapes, table = mvau_estimate.rom_shapes(f), self.table_region
        return [
            table("load_shapes"), table("program_starts"), table("weight_starts"), memory("P"), memory("W"),
            table("drain_starts"), table("drain_shapes"), memory("C"), memory("K"),
        ]  # fmt: skip

    def fit(self, model) -> None:
        """Take the kept blocks, and a width of the biases with which they fit."""
        for op in (ops := self._planned(model)):
            if (need := op._own_bias_bits(model)) > op.own_fold().bias_bits:
                op.set_nodeattr("bias_bits", need)
        self._keep(ops, "bias_bits")

    def _own_bias_bits(self, model) -> int:
        """Signed bits that the biases of one encoder need."""
        bias = np.rint(model.get_initializer(self.onnx_node.input[2])).astype(np.int64)
        return max(int(bias.max()).bit_length(), int(~bias.min()).bit_length()) + 1

    def generate_hdl(self, model, fpgapart: str, clk: float) -> None:
        """Write the HDL (:meth:`VitRTLBackend.generate_hdl`).

        Raises:
            UserError: the weights do not fit their types or the unit, or the part lacks their memory.
        """
        self.fit(model)
        super().generate_hdl(model, fpgapart, clk)

    def banks(self, model) -> dict[str, list[Memory]]:
        """Weights, the two programs, and biases with multipliers, each padded to its elaborated depth; those of the encoders one
        behind another.

        Raises:
            UserError: values do not fit their types, or the mask does not fit the elaborated maxima.
        """
        found = [op._own_contents(model) for op in self._planned(model)]
        banks = {name: [behind_one_another(each) for each in zip(*(own[name] for own in found))] for name in found[0]}
        f = self.fold()
        banks["program"] = [bank.joined(f.program_per) for bank in banks["program"]]
        depths = {_ROMS[key]: words for key, (words, _, _) in mvau_estimate.rom_shapes(f).items()}
        return {name: [bank.padded(depths[name]) for bank in each] for name, each in banks.items()}

    def spare(self, model) -> None:
        """Shifts, and as many bits of the biases, where these are not narrower than the sums anyway."""
        least = Capacity.of(self.fold())
        if self.get_nodeattr("requant"):
            shifts = min(least.least_shift, max(1, least.least_shift - SPARE_SHIFTS)), least.most_shift + SPARE_SHIFTS  # 0 stays
            least = replace(least, least_shift=shifts[0], most_shift=shifts[1])
        need = max(op._own_bias_bits(model) for op in self.by_encoder()) + SPARE_SHIFTS
        self._make_for(replace(least, bias_bits=max(least.bias_bits, need)))

    def widen(self, other: Self) -> None:
        self._take_widest_weights(other)
        self._make_for(Capacity.of(self.fold()).joined(Capacity.of(other.fold())))

    def move_into(self, made: Self) -> None:
        """Blocks are cut as ``made`` has them cut."""
        self._take_widest_weights(made)
        self._make_for(Capacity.of(made.fold()))

    def _take_widest_weights(self, other: Self) -> None:
        widest = max((op.get_nodeattr("weightDataType") for op in (self, other)), key=lambda name: DataType[name].bitwidth())
        self.set_nodeattr("weightDataType", widest)

    def _make_for(self, least: Capacity) -> None:
        self.set_nodeattr("least", list(astuple(least)))

    def fixed_part(self, index: int, values: np.ndarray) -> np.ndarray:
        constants = index - len(self.in_streams())
        loaded = self.is_loaded(_ROMS["W"]) and constants % (3 if self.get_nodeattr("requant") else 2) == 0
        return BlockMask.of(values, self.get_nodeattr("block")).grid if loaded else values

    def _planned(self, model) -> tuple[Self, ...]:
        """The op as each encoder has it, with the kept blocks of its weights."""
        for op in (ops := self.by_encoder()):
            op.plan(model.get_initializer(op.onnx_node.input[1]))
        self._keep(ops, "column_blocks")
        return self.by_encoder()

    def _keep(self, ops: Sequence[Self], attribute: str) -> None:
        """Take an attribute of each encoder from ``ops``."""
        if self.shared:
            own = zip(self.get_nodeattr("encoders"), ops)
            texts = [json.dumps(json.loads(text) | {attribute: op.get_nodeattr(attribute)}, default=int) for text, op in own]
            self.set_nodeattr("encoders", texts)

    def _own_contents(self, model) -> dict[str, list[Memory]]:
        """Banks of the op alone, the lanes' program an entry a word."""
        tensors = [model.get_initializer(name) for name in self.onnx_node.input[1:]]
        values = [np.rint(tensor).astype(np.int64) for tensor in tensors]
        plan, f = self.schedule(), self.own_fold()
        weights, bias, mult = values if f.requant else (*values[:2], None)
        self._check_values(f, weights, bias, mult)
        if plan.lane_blocks > f.lane_blocks or plan.lane_slots > f.lane_slots:
            raise UserError(
                f"the mask needs {plan.lane_blocks} blocks and {plan.lane_slots} column parts a lane,"
                f" the unit holds {f.lane_blocks} and {f.lane_slots} (node {self.onnx_node.name}):"
                " raise lane_blocks and lane_slots"
            )
        lane_program, banks = lane_contents(f, plan, weights)
        return {
            "weights": banks,
            "program": [lane_program],
            "drain": [drain_contents(f, plan)],
            "constants": [constant_contents(f, bias, mult)],
        }

    def _check_values(self, f: Fold, weights: np.ndarray, bias: np.ndarray, mult: np.ndarray | None) -> None:
        if weights.shape != (f.mw, f.mh) or bias.size != f.mh or (mult is not None and mult.size != f.mh):
            shape = f"{f.mw} x {f.mh} (node {self.onnx_node.name})"
            raise UserError(f"weights, bias or mult do not have the shape of {shape}")
        limit = 1 << (f.bias_bits - 1)
        for what, value, low, high in (
            ("weight", weights, f.w.min(), f.w.max()),
            ("bias", bias, -limit, limit - 1),
            ("mult", mult, 0, (1 << f.mult_bits) - 1),
        ):
            if value is not None and (value.min() < low or value.max() > high):
                found, limits = f"{value.min()} to {value.max()}", f"{int(low)} to {int(high)}"
                raise UserError(f"{what} {found} is outside {limits} (node {self.onnx_node.name})")


_ROMS = {"W": "weights", "P": "program", "C": "drain", "K": "constants"}
