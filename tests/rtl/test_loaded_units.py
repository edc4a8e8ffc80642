"""Units whose contents are all loaded: they do what they do with contents that are built in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.rtl import test_block_sparse_mvau, test_layernorm, test_lookup, test_pruned_attention, test_select_token, test_split
from tests.rtl import test_switch, test_token_drop
from tests.rtl.helper import PATTERNS, assert_ok, build_node, build_op, check_op, random_stream
from tests.rtl.shared_helper import BuiltShared, build_shared, check_shared, generate_networks, generate_shared
from tests.sampling import sampled, spread

from finn_vitprune.bench.cycles import simulator_of
from finn_vitprune.custom_ops.load_chain import LoadedBackend, table_memory, table_vector
from finn_vitprune.sim import Stimulus
from finn_vitprune.sim.contents import Contents

MATRIX, ATTENTION = "BlockSparseMVAU", "PrunedAttention"
SHARED = {
    **{f"matrix, {name}": (MATRIX, test_block_sparse_mvau.uses(cases)) for name, cases in test_block_sparse_mvau.SHARED_CASES.items()},
    **{f"attention, {name}": (ATTENTION, cases) for name, cases in test_pruned_attention.SHARED.items()},
    **{f"LayerNorm, {case.id}": test_layernorm.shared(*case.values) for case in test_layernorm.SHARED},
    **{f"lookup {i}": test_lookup.shared(*case) for i, case in enumerate(test_lookup.CASES[:2])},
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


@pytest.mark.parametrize("name", spread(SHARED, 6, first=3))
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
        patterns, late = (*PATTERNS[:1], *test_token_drop.LATE_SCORES[:2]), test_token_drop.start_cycles(op)
        built = check_op("VitTokenDrop", use, streams, patterns=patterns, late=late).built
        streams = [test_token_drop.codes(12, tokens, 48), test_token_drop.tied_scores(tokens, heads, k)]
        Contents.load(built.folder).fill(built.folder)
        assert_ok(built.run(streams, fill=True), built, streams, Stimulus())
        test_token_drop.check_loaded_again(built)


@pytest.mark.parametrize("kind", ["VitSwitch", "VitMerge"])
def test_loaded_branches_pass_frames_in_order(kind):
    op, _, keep = test_switch.generated(kind, *test_switch.SHAPES[1], loaded=1)
    test_switch.check(op, simulator_of(op), Path(keep.name))


@pytest.mark.parametrize("name", ["matrix, four tokens a group, three lanes, dsp48e2", "attention, three_sizes", "LayerNorm, all shifts", "lookup 0"])
def test_memories_filled_from_files_equal_loaded_ones(name):
    """Simulations of whole designs fill them at time 0."""
    op_type, uses = SHARED[name]
    built = build_shared(op_type, loaded(uses))
    drawn = [built.draw(e, e) for e in range(len(uses))]
    assert built.run(drawn).ok
    assert all(built.filled(drawn, Stimulus(seed=seed)).ok for seed in range(1, 9))


@pytest.mark.parametrize("name", spread(SHARED))
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
    "matrix": (MATRIX, [
        [test_block_sparse_mvau.Case(tokens=7, mw=16, mh=32, group=4, lanes=2, simd=8, pe=8, shift=22, keep=0.4),
         test_block_sparse_mvau.Case(tokens=3, mw=32, mh=16, group=4, lanes=2, simd=8, pe=8, shift=24, keep=0.9, seed=5)],
        [test_block_sparse_mvau.Case(tokens=9, mw=48, mh=16, group=4, lanes=2, simd=8, pe=8, shift=23, keep=0.7, seed=6),
         test_block_sparse_mvau.Case(tokens=1, mw=16, mh=48, group=4, lanes=2, simd=8, pe=8, shift=21, keep=1.0, seed=7)],
    ]),
    **{
        f"{name}, two and two": (SHARED[name][0], [SHARED[name][1][:2], SHARED[name][1][-2:]])
        for name in ("attention, one_channel_group", "attention, scores_of_all", "LayerNorm, three roots in turn", "LayerNorm, all shifts", "lookup 0", "split 1")
    },
}
"""Op type, and what the encoders of each network need."""


BETTER = {"LEAST_SHIFT", "LEAST_KEY_GROUPS"}
"""Parameters that are smaller where more is possible."""


def networks(name):
    """The op type and the loaded uses of :data:`NETWORKS`."""
    op_type, cases = NETWORKS[name]
    return op_type, [loaded(test_block_sparse_mvau.uses(case) if op_type == MATRIX else case) for case in cases]


@pytest.mark.parametrize("name", spread(NETWORKS))
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
        less = {key: (value, both[key]) for key, value in parameters.items() if key not in BETTER and isinstance(value, int) and value > both[key]}
        assert not less
    assert any(parameters != both for parameters in alone)
