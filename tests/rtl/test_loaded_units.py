"""Units whose contents are all loaded: they do what they do with contents that are built in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from finn_vitprune.bench.cycles import simulator_of
from finn_vitprune.custom_ops.op.load_chain import LoadedBackend, table_memory, table_vector
from finn_vitprune.sim import Stimulus
from finn_vitprune.sim.contents import Contents
from tests.rtl import (
    test_block_sparse_mvau,
    test_gate,
    test_layernorm,
    test_lookup,
    test_pruned_attention,
    test_select_token,
    test_split,
    test_switch,
    test_token_drop,
)
from tests.rtl.benches.helper import PATTERNS, assert_ok, build_node, build_op, check_op, random_stream
from tests.rtl.benches.shared_helper import BuiltShared, Use, build_shared, check_shared, generate_moved, generate_networks, generate_shared
from tests.sampling import sampled, spread

MATRIX, ATTENTION = "BlockSparseMVAU", "PrunedAttention"
SHARED = {
    **{f"matrix, {name}": (MATRIX, test_block_sparse_mvau.uses(cases)) for name, cases in test_block_sparse_mvau.SHARED_CASES.items()},
    **{f"attention, {name}": (ATTENTION, cases) for name, cases in test_pruned_attention.SHARED.items()},
    **{f"LayerNorm, {case.id}": test_layernorm.shared(*case.values) for case in test_layernorm.SHARED},
    **{f"lookup {i}": test_lookup.shared(*case) for i, case in enumerate(test_lookup.CASES[:2])},
    **{f"gate {i}": test_gate.shared(*case) for i, case in enumerate(test_gate.CASES[:2])},
    **{f"split {i}": test_split.shared(*case) for i, case in enumerate(test_split.SHARED)},
    **{f"select {i}": test_select_token.shared(*case) for i, case in enumerate(test_select_token.SHARED)},
}
ALONE = {
    "matrix": (MATRIX, test_block_sparse_mvau.Case(keep=0.6, more={"mac_style": "dsp48e2"})),
    "matrix, UltraRAM": (MATRIX, test_block_sparse_mvau.Case(more={"ram_style": "ultra"})),
}
BUILT_IN = {"VitLayerNorm": {"seed"}}
"""Memories that no network changes."""


def loaded(uses):
    """The same with everything loaded."""
    return [replace(use, attrs=use.attrs | {"loaded": 1}) for use in uses]


@pytest.mark.parametrize("name", spread(SHARED, 12, first=3))
def test_a_loaded_unit_equals_every_encoders_golden_model(name):
    """In any order of frames, under pauses, stalls and resets, which keep what is loaded."""
    op_type, uses = SHARED[name]
    built = check_shared(op_type, loaded(uses), patterns=PATTERNS[:2])
    names = {file.stem for file in built.folder.glob("*.hex")}
    assert names == {f"dut_{name}" for name in BUILT_IN.get(op_type, ())}, "nothing else is built in"


@pytest.mark.parametrize("name", ALONE)
def test_a_loaded_unit_of_one_encoder_equals_its_golden_model(name):
    op_type, case = ALONE[name]
    case = replace(case, more=case.more | {"loaded": 1})
    built = build_op(op_type, case.attributes(), case.initialisers())
    streams = [random_stream(stream, 3, 1) for stream in built.op.in_streams()]
    for stimulus in (Stimulus(), *PATTERNS[:3], Stimulus(seed=5, reset_at=40)):
        assert_ok(built.run(streams, stimulus), built, streams, stimulus)


DROPS = {
    "insertion": ("insert", [(17, 8, 2), (17, 12, 3), (9, 1, 1), (17, 15, 2), (12, 11, 4), (3, 1, 6)]),
    "histograms": ("histogram", [(60, 30, 1), (60, 58, 2), (40, 20, 3), (60, 59, 1)]),
}
"""By name: the ranker, and networks: tokens, tokens kept, heads."""


@pytest.mark.parametrize("name", sampled(DROPS, 1))
def test_one_token_drop_serves_networks_that_drop_otherwise(name):
    """Many or few tokens kept, or all; other heads; contents by the chain and from files; a reset keeps them."""
    ranking, networks = DROPS[name]
    uses = [test_token_drop.attrs(tokens, 48, 4, k, heads, ranking) | {"loaded": 1} for tokens, k, heads in networks]
    ops = [build_node("VitTokenDrop", use)[0] for use in uses]
    for op in ops:
        for other in ops:
            op.widen(other)
    assert len({op.wrapper_text() for op in ops}) == 1
    for (tokens, k, heads), op, use in zip(networks, ops, uses):
        use |= {name: op.get_nodeattr(name) for name in ("least", "scoreDataType")}
        streams = [test_token_drop.codes(5, tokens, 48), test_token_drop.attention_scores(5, tokens, heads)]
        patterns = (*PATTERNS[:1], *test_token_drop.LATE_SCORES[:2])
        built = check_op("VitTokenDrop", use, streams, patterns=patterns).built
        streams = [test_token_drop.codes(12, tokens, 48), test_token_drop.tied_scores(tokens, heads, k)]
        Contents.load(built.folder).fill(built.folder)
        assert_ok(built.run(streams, fill=True), built, streams, Stimulus())
        test_token_drop.check_loaded_again(built)


@pytest.mark.parametrize("kind", ["VitSwitch", "VitMerge"])
def test_loaded_branches_pass_frames_in_order(kind):
    op, _, keep = test_switch.generated(kind, *test_switch.SHAPES[1], loaded=1)
    test_switch.check(op, simulator_of(op), Path(keep.name))


@pytest.mark.parametrize(
    "name", spread(["matrix, four tokens a group, three lanes, dsp48e2", "attention, three_sizes", "LayerNorm, all shifts", "lookup 0"], 2)
)
def test_memories_filled_from_files_equal_loaded_ones(name):
    """Simulations of whole designs fill them at time 0."""
    op_type, uses = SHARED[name]
    built = build_shared(op_type, loaded(uses))
    drawn = [built.draw(e, e) for e in range(len(uses))]
    assert built.run(drawn).ok
    assert all(built.filled(drawn, Stimulus(seed=seed)).ok for seed in range(1, 9))


@pytest.mark.parametrize("name", spread(SHARED, 4))
def test_regions_are_as_large_as_what_they_are_loaded_with(name):
    op, model, _keep = generate_shared(SHARED[name][0], loaded(SHARED[name][1]))
    assert isinstance(op, LoadedBackend) and op.loaded_regions() == op.regions()
    for region, banks in zip(op.regions(), op.loaded_banks(model), strict=True):
        assert len(banks) == region.banks
        for bank in banks:
            assert len(bank.words) == region.words and bank.width == region.width, region.memory
            assert all(0 <= int(word) < 1 << region.width for word in bank.words)


def test_a_table_is_a_word_an_encoder():
    """The first number of a row is the highest, the first encoder the lowest word of the parameter."""
    rows = [(1, 2), (3, (1 << 32) - 1)]
    words = table_memory(rows).words
    assert list(words) == [1 << 32 | 2, 3 << 32 | 0xFFFFFFFF]
    assert table_vector(rows) == int(words[1]) << 64 | int(words[0])
    with pytest.raises(ValueError):
        table_vector([(1 << 32,)])
    with pytest.raises(ValueError):
        table_vector([(-1,)])


def test_what_is_built_in_of_a_loaded_unit_are_its_sizes():
    """Wrappers of networks with equal maxima are equal, whatever else they have."""
    texts = set()
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        tokens = [9, *rng.integers(1, 9, 2).tolist()]
        uses = [test_layernorm.Use(test_layernorm.attrs(t, 48, 4, "INT8", int(rng.integers(1, 1 << 40)))) for t in tokens]
        texts.add(generate_shared("VitLayerNorm", loaded(uses))[0].wrapper_text())
    assert len(texts) == 1


NETWORKS = {
    "matrix": (
        MATRIX,
        [
            [
                test_block_sparse_mvau.Case(tokens=7, mw=16, mh=32, group=4, lanes=2, simd=8, pe=8, shift=22, keep=0.4),
                test_block_sparse_mvau.Case(tokens=3, mw=32, mh=16, group=4, lanes=2, simd=8, pe=8, shift=24, keep=0.9, seed=5),
            ],
            [
                test_block_sparse_mvau.Case(tokens=9, mw=48, mh=16, group=4, lanes=2, simd=8, pe=8, shift=23, keep=0.7, seed=6),
                test_block_sparse_mvau.Case(tokens=1, mw=16, mh=48, group=4, lanes=2, simd=8, pe=8, shift=21, keep=1.0, seed=7),
            ],
        ],
    ),
    **{
        f"{name}, two and two": (SHARED[name][0], [SHARED[name][1][:2], SHARED[name][1][-2:]])
        for name in (
            "attention, one_channel_group",
            "attention, scores_of_all",
            "LayerNorm, three roots in turn",
            "LayerNorm, all shifts",
            "lookup 0",
            "gate 1",
            "split 1",
        )
    },
}
"""Op type, and what the encoders of each network need."""


BETTER = {"LEAST_SHIFT", "LEAST_KEY_GROUPS"}
"""Parameters that are smaller where more is possible."""


def networks(name):
    """The op type and the loaded uses of :data:`NETWORKS`."""
    op_type, cases = NETWORKS[name]
    return op_type, [loaded(test_block_sparse_mvau.uses(case) if op_type == MATRIX else case) for case in cases]


@pytest.mark.parametrize("name", spread(NETWORKS, 4))
def test_one_unit_serves_networks_of_other_sizes(name):
    """The RTL made for one network, compiled once, is that of the other, and does what that does with its contents."""
    op_type, all_uses = networks(name)
    units = generate_networks(op_type, all_uses)
    assert len({op.wrapper_text() for op, _, _ in units}) == 1
    assert len({tuple(op.loaded_regions()) for op, _, _ in units}) == 1
    simulator = simulator_of(units[0][0])
    contents = [Contents.load(Path(keep.name)) for _, _, keep in units]
    for (op, _, keep), uses, before in zip(units, all_uses, reversed(contents)):
        built = BuiltShared(op, tuple(uses), simulator, Path(keep.name), keep)
        drawn = [built.draw(e, seed) for seed in range(3) for e in range(len(uses))]
        results = [*(built.run(drawn, stimulus) for stimulus in (Stimulus(), *PATTERNS[:2])), built.loaded_again(drawn, before)]
        for result in results:
            assert result.ok, f"{result.deadlock}, {result.mismatches}, {result.violations}"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_unit_alone_is_too_small_for_the_larger_network(name):
    """What it is made for decides its RTL: that of one network has other sizes than that of both."""
    op_type, all_uses = networks(name)
    both = generate_networks(op_type, all_uses)[0][0].rtl_parameters()
    alone = [generate_networks(op_type, [uses])[0][0].rtl_parameters() for uses in all_uses]
    for parameters in alone:
        less = {
            key: (value, both[key])
            for key, value in parameters.items()
            if key not in BETTER and isinstance(value, int) and value > both[key]
        }
        assert not less
    assert any(parameters != both for parameters in alone)


def matrices(*cases, **common):
    """Uses of a matrix unit by encoders: tokens, sides, shift and kept share of each."""
    fold = {"group": 4, "lanes": 2, "simd": 8, "pe": 8} | common
    return test_block_sparse_mvau.uses(
        [
            test_block_sparse_mvau.Case(tokens=tokens, mw=mw, mh=mh, shift=shift, keep=keep, seed=i, **fold)
            for i, (tokens, mw, mh, shift, keep) in enumerate(cases)
        ]
    )


def norms(*cases):
    """Uses of a LayerNorm by encoders: tokens, and the factor of the multiplier."""
    return [Use(test_layernorm.attrs(tokens, 48, 4, inverse=24.0 * factor)) for tokens, factor in cases]


MOVED = {
    "matrix": (
        MATRIX,
        matrices((9, 48, 32, 22, 1.0), (5, 32, 48, 23, 1.0)),
        [matrices((9, 48, 32, 20, 1.0), (5, 32, 48, 25, 1.0)), matrices((1, 8, 16, 21, 0.9), (2, 16, 8, 24, 0.3))],
    ),
    "attention, many key groups": (
        ATTENTION,
        test_pruned_attention.shared((17, 17, 4, 1, 1, 1, 8), (15, 15, 2, 1, 1, 1, 8), SIMD=8, PE=2),
        [
            test_pruned_attention.shared((1, 1, 1, 0, 4, 4, 8), (2, 2, 4, 1, 0.25, 0.25, 8), SIMD=8, PE=2),
            test_pruned_attention.shared((3, 3, 2, 1, 0.25, 4, 4), (17, 1, 3, 1, 4, 0.25, 6), SIMD=8, PE=2),
        ],
    ),
    "attention, a key a cycle": (
        ATTENTION,
        test_pruned_attention.shared((17, 17, 2, 1, 1, 1, 8), (17, 1, 2, 0, 1, 1, 8), SIMD=8, PE=1),
        [
            test_pruned_attention.shared((1, 1, 1, 1, 1, 1, 8), (2, 1, 1, 0, 4, 1, 8), SIMD=8, PE=1),
            test_pruned_attention.shared((3, 3, 2, 0, 0.3, 1, 8), (5, 5, 1, 1, 1, 0.3, 3), SIMD=8, PE=1),
        ],
    ),
    "attention, keys of one group": (
        ATTENTION,
        test_pruned_attention.shared((13, 13, 2, 1, 1, 1, 8), (13, 13, 2, 1, 1, 1, 8), PE=6),
        [test_pruned_attention.shared((3, 3, 2, 1, 1, 1, 6), (1, 1, 1, 1, 1, 1, 8), PE=6)],
    ),
    "LayerNorm": ("VitLayerNorm", norms((17, 1), (9, 1)), [norms((1, 4), (17, 0.25)), norms((3, 0.25), (2, 1))]),
}
"""Op type, uses that a unit is made for, and those of other networks: fewer tokens, scales two shifts away either way."""


@pytest.mark.parametrize("name", spread(MOVED, 4))
def test_a_unit_serves_networks_that_were_not_at_hand(name):
    """Any number of tokens up to its own and other scales pass the RTL that was made for one network, under pauses, stalls and a reset."""
    op_type, made, networks = MOVED[name]
    units = generate_moved(op_type, loaded(made), [loaded(uses) for uses in networks])
    assert len({op.wrapper_text() for op, _, _ in units}) == 1
    assert len({tuple(op.loaded_regions()) for op, _, _ in units}) == 1
    simulator = simulator_of(units[0][0])
    for (op, _, keep), uses in zip(units, (made, *networks)):
        built = BuiltShared(op, tuple(loaded(uses)), simulator, Path(keep.name), keep)
        drawn = [built.draw(e, seed) for seed in range(4) for e in range(len(uses))]
        for stimulus in (Stimulus(), *PATTERNS[:3], Stimulus(seed=5, stall=0.2, reset_at=60)):
            result = built.run(drawn, stimulus)
            assert result.ok, f"{stimulus}: {result.deadlock}, {result.mismatches}, {result.violations}"


KEPT = {
    "auto": (17, [(17, 1, 3), (3, 1, 1), (9, 7, 2), (17, 16, 3), (4, 2, 2)]),
    "histogram": (60, [(60, 4, 3), (6, 4, 1), (40, 39, 2), (59, 20, 3)]),
}
"""By ranker: the most tokens, and networks: tokens, tokens kept, heads. Keys of histograms hold more tokens than heads."""


@pytest.mark.parametrize("ranking", sampled(KEPT, 1))
def test_a_token_drop_that_was_made_for_one_network_keeps_any_number_of_tokens(ranking):
    most, networks = KEPT[ranking]
    made = build_node("VitTokenDrop", test_token_drop.attrs(most, 48, 4, 3 * most // 4, 3, ranking) | {"loaded": 1})[0]
    made.spare(None)
    for tokens, k, heads in networks:
        use = test_token_drop.attrs(tokens, 48, 4, k, heads, ranking) | {"loaded": 1}
        op = build_node("VitTokenDrop", use)[0]
        op.move_into(made)
        assert op.wrapper_text() == made.wrapper_text()
        use |= {name: op.get_nodeattr(name) for name in ("least", "scoreDataType")}
        streams = [test_token_drop.codes(5, tokens, 48), test_token_drop.attention_scores(5, tokens, heads)]
        check_op("VitTokenDrop", use, streams, patterns=PATTERNS[:1])


@pytest.mark.parametrize("scores", [0, 1])
@pytest.mark.parametrize("tokens", [(4, 5), (5, 4)])
def test_attention_of_fewer_or_more_tokens_has_room_with_and_without_scores(tokens, scores):
    """With few channels the number of tokens decides how fast a unit divides: it must divide equally fast for both networks."""
    attrs = [test_pruned_attention.attributes(n, 1, 1, 2, 2, 1, scores=scores) | {"loaded": 1} for n in tokens]
    own, other = (build_node(ATTENTION, a)[0] for a in attrs)
    own.widen(other)
    other.widen(own)
    other.move_into(own)
    places = {"UNIT"}
    assert {k: v for k, v in own.rtl_parameters().items() if k not in places} == {
        k: v for k, v in other.rtl_parameters().items() if k not in places
    }
