"""An array: groups of rows of several layers on one matrix unit, in any order, give what each layer gives alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from finn_vitprune.errors import UserError
from finn_vitprune.sim import Stimulus
from tests.rtl.benches.array_design import BuiltArray, array_of, build_array, check_array, check_choice
from tests.rtl.benches.helper import PATTERNS
from tests.rtl.benches.shared_helper import Use
from tests.rtl.test_block_sparse_mvau import Case
from tests.sampling import spread

UNIT = Case(block=8, simd=4, pe=4, group=4, lanes=2, in_width=8, out_width=16)


def layer(tokens: int, mw: int, mh: int, y: str = "INT8", shift: int = 22, **more) -> Use:
    """A layer on that unit."""
    case = replace(UNIT, tokens=tokens, mw=mw, mh=mh, y=y, shift=shift, seed=tokens + mw + mh, **more)
    return Use(case.attributes(), tuple(case.initialisers()))


MIXED = {"mac_style": "dsp48e2", "lut_lanes": 1}
WIDE = {"block": 16, "simd": 16, "in_width": 16, "lanes": 3, "more": MIXED}
NARROW = WIDE | {"x": "INT4", "w": "INT4"}
SHAPES = {
    "two layers of two encoders": ([[layer(9, 16, 32, "INT16", 14), layer(4, 16, 32, "INT16", 15)], [layer(9, 32, 48), layer(6, 32, 16)]], 4),
    "two layers of two encoders, loaded": (
        [[layer(9, 16, 32, "INT16", 14), layer(4, 16, 32, "INT16", 15)], [layer(9, 32, 48), layer(3, 32, 16)]], 4, True,
    ),
    "outputs of 4, 8 and 12 bits, a pass that two ports lack": (
        [[layer(5, 24, 16, "INT4", 24), layer(1, 24, 32, "INT4", 23), None], [layer(8, 32, 32, keep=1.0), layer(3, 16, 32, keep=0.1), None],
         [None, None, layer(7, 40, 64, "INT12", 18)]], 6,
    ),
    "eight rows a group, several drained at once": (
        [[layer(17, 32, 64, "INT16", 15, group=8, out_width=32), layer(3, 32, 64, "INT16", 14, group=8, out_width=32)],
         [layer(17, 64, 96, group=8, out_width=32), layer(11, 64, 32, group=8, out_width=32)]], 4,
    ),
    "a row a group, one type of outputs, UltraRAM": (
        [[layer(3, 16, 16, group=1, more={"ram_style": "ultra"}), layer(1, 32, 32, group=1, more={"ram_style": "ultra"})],
         [layer(2, 48, 16, group=1, more={"ram_style": "ultra"}), layer(4, 16, 48, group=1, more={"ram_style": "ultra"})]], 3,
    ),
    "lanes in DSP slices and in LUTs": (
        [[layer(9, 16, 32, "INT16", 14, **WIDE), layer(4, 16, 32, "INT16", 15, **WIDE)],
         [layer(9, 32, 48, **WIDE), layer(6, 32, 16, **WIDE)]], 4,
    ),
    "the same of 4 bits, cascades of the DSP slices as short as those in LUTs": (
        [[layer(9, 16, 32, "INT16", 14, **NARROW), layer(4, 16, 32, "INT16", 15, **NARROW)],
         [layer(9, 32, 48, "INT4", 16, **NARROW), layer(6, 32, 16, "INT4", 16, **NARROW)]], 4,
    ),
    "the same of weights of 9 bits, sums of the DSP slices wait": (
        [[layer(5, 16, 32, "INT16", 15, w="INT9", simd=8, more=MIXED), layer(4, 24, 16, "INT16", 16, w="INT9", simd=8, more=MIXED)],
         [layer(6, 8, 48, w="INT9", simd=8, more=MIXED), layer(6, 32, 16, w="INT9", simd=8, more=MIXED)]], 4,
    ),
}  # fmt: skip
"""Layers by port and tag, frames whose tags wait, and whether all contents are loaded."""
LONG = (Stimulus(seed=4, pause=0.05, burst=300), Stimulus(seed=5, stall=0.05, burst=300))


def order(shape: str, frames: int = 7) -> list[int]:
    """Passes one after another."""
    tags = len(SHAPES[shape][0][0])
    return [*range(tags), *map(int, np.random.default_rng(frames).integers(0, tags, frames))]


@pytest.fixture(scope="module")
def mixed() -> BuiltArray:
    return build_array(*SHAPES["outputs of 4, 8 and 12 bits, a pass that two ports lack"])


@pytest.mark.parametrize("shape", spread(SHAPES, 8))
def test_groups_of_several_layers_share_a_unit(shape):
    built = build_array(*SHAPES[shape])
    check_array(built, order(shape), (*PATTERNS[:2], *LONG))


def test_the_order_of_ports_changes_no_bit(mixed):
    """The same layers, the deepest last: other groups go first, and all results stay."""
    layers, frames = SHAPES["outputs of 4, 8 and 12 bits, a pass that two ports lack"]
    turned = build_array(layers[::-1], frames)
    tags, ports = [0, 1, 2, 1, 0, 2, 2, 0], len(layers)
    feed, want = mixed.drawn(tags)
    there, back = (
        {f"{side}{ports - 1 - p}_V": beats[f"{side}{p}_V"] for p in range(ports)} for side, beats in (("in", feed), ("out", want))
    )
    there[f"in{ports}_V"], back[f"out{ports}_V"] = feed[f"in{ports}_V"], want[f"out{ports}_V"]
    for stimulus in (Stimulus(), *PATTERNS[:2]):
        results = [
            built.simulator.run(*streams, data_dir=built.folder, stimulus=stimulus, idle_limit=20_000)
            for built, streams in ((mixed, (feed, want)), (turned, (there, back)))
        ]
        assert all(result.ok for result in results), stimulus
        if stimulus == Stimulus():
            assert results[0].cycles != results[1].cycles, "the order of groups is the same"


def test_a_port_that_does_not_take_its_results_holds_up_no_other(mixed):
    """Groups are taken on a credit: with one port's results stalled for good, all results of the others leave."""
    tags = [0, 1, 2, 0, 1, 2]
    feed, want = mixed.drawn(tags)
    for port in range(mixed.op.port_count):
        kept = {name: beats for name, beats in want.items() if name != f"out{port}_V"}
        stopped = Stimulus(stall={f"out{port}_V": 1.0})
        result = mixed.simulator.run(
            feed, kept | {f"out{port}_V": want[f"out{port}_V"][:0]}, data_dir=mixed.folder, stimulus=stopped, idle_limit=20_000
        )
        short = {name: got for name, got in result.mismatches.items() if name != f"out{port}_V" and len(got)}
        assert not short and result.deadlock is None, (port, result.deadlock)


@pytest.mark.parametrize("shape", spread(SHAPES, 4))
def test_cycles_are_those_of_the_arbiter_s_rule(shape):
    check_choice(build_array(*SHAPES[shape]))


@pytest.mark.parametrize("layers, reason", [
    ([[layer(4, 16, 16), layer(4, 16, 16, "INT16")], [layer(4, 16, 16), layer(4, 16, 16)]], "layers of role_0 have outputs INT16, INT8: use one type"),
    ([[layer(4, 16, 16, "UINT4")], [layer(4, 16, 16)]], "outputs INT8, UINT4 cannot leave one unit"),
])  # fmt: skip
def test_outputs_that_no_port_has_are_refused(layers, reason):
    op, _, _ = array_of(layers)
    with pytest.raises(UserError, match=reason):
        op.verify_node()
