"""Random networks end to end (some of the committed ledger's seeds), and what the ledger and its command promise."""

import json
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest

from finn_vitprune.builds.checks.lowering_check import check_lowering
from finn_vitprune.errors import UserError
from finn_vitprune.export.export import to_qonnx
from finn_vitprune.models.config import MlpActivation, Pooling
from finn_vitprune.transforms.lowering.lower import lower
from tests.random_builds import __main__ as command
from tests.random_builds import check
from tests.random_builds.agreement import stored_designs
from tests.random_builds.check import Outcome, check_seed
from tests.random_builds.draw import (
    ACTIVATIONS,
    DESIGNS,
    ENGINES,
    GATES,
    LAYER_BUILDS,
    LAYERS,
    MIXED,
    NETWORKS,
    OTHERS,
    PARTITIONS,
    PREFIXES,
    SHARES,
    draw,
    network,
    structured_images,
)
from tests.sampling import sampled

LATENCY_ERROR = 0.03
"""Share by which the latency in simulation may differ from the planned one."""


@pytest.mark.parametrize("kind, seed", sampled(
    [(NETWORKS, 31), (PARTITIONS, 34), (PARTITIONS, 49), (PREFIXES, 6), (NETWORKS, 37), (NETWORKS, 32)], 3, several=True,
))  # fmt: skip
def test_a_random_network_agrees_in_pytorch_qonnx_hardware_graph_and_rtl(kind, seed):
    """Of the partitions, 34 has frames of one byte, which looks like a tag, 49 a patch embedding without products on an array."""
    found = check_seed(kind, seed)
    print(found)
    assert found.outcome == "agree", found
    assert found.codes > 0 and found.streams > 0 and found.images == (17 if kind is PARTITIONS else 10) and found.rtl_mismatches == 0
    assert abs(found.latency_error) <= LATENCY_ERROR


def test_the_ledger_holds_seeds_that_agree_or_say_where_not():
    """What was drawn for them is what is drawn today; `make random-builds` goes on from here."""
    outcomes = command.known_outcomes(command.LEDGERS[NETWORKS], NETWORKS)
    assert outcomes.keys() >= set(range(1, 201)), "draws have changed: run the command again"
    assert not [o for o in outcomes.values() if o.fault]
    assert sum(o.outcome == "agree" for o in outcomes.values()) >= 0.95 * len(outcomes)
    assert all(o.rtl_mismatches == 0 for o in outcomes.values())
    drawn = [NETWORKS.design(seed).network for seed in outcomes]
    for kind in ("weight_bits", "act_bits", "pooling", "prefix", "block", "norm_after_pooling"):
        assert len({getattr(d, kind) for d in drawn}) > 1, kind
    assert sum(bool(d.drop_at) for d in drawn) > 20 and sum(d.image_size % 2 for d in drawn) > 20


def test_networks_on_engines_agree():
    """`make random-builds KIND=engines BUILDS=60` goes on from here."""
    drawn = stored_designs(ENGINES, 60)
    assert {d.frames_in_flight for d in drawn} == {1, 2, 3} and {len(d.encoders_per_engine) for d in drawn} >= {1, 2}
    assert {d.network.pooling for d in drawn} > {"class"} and any(any(d.network.heads_gone) for d in drawn)


def test_networks_with_other_activations_agree():
    """`make random-builds KIND=activations BUILDS=12` goes on from here."""
    drawn = [design.network for design in stored_designs(ACTIVATIONS, 12)]
    assert {d.activation for d in drawn} == {a.value for a in OTHERS} and {d.act_bits for d in drawn} == {4, 8}


def test_networks_with_gated_mlps_agree():
    """`make random-builds KIND=gates BUILDS=6` goes on from here."""
    drawn = stored_designs(GATES, 6)
    assert {d.network.activation for d in drawn} == {a.value for a in MlpActivation} and all(d.network.gated for d in drawn)
    assert {d.network.act_bits for d in drawn} == {d.network.weight_bits for d in drawn} == {4, 8} and {d.loads for d in drawn} == {
        "",
        "another",
    }


def test_networks_with_several_tokens_beside_the_patches_agree():
    """`make random-builds KIND=prefixes BUILDS=12` goes on from here."""
    drawn = [design.network for design in stored_designs(PREFIXES, 12)]
    assert {d.pooling for d in drawn} == {p.value for p in Pooling if not p.attends}
    assert {d.prefix for d in drawn} >= {2, 3, 5, 8, 16}
    assert any(d.drop_at and d.pooling != "class" for d in drawn) and any(max(d.drop_at, default=0) == d.depth for d in drawn)


def test_every_layer_of_model_zoos_agrees_in_every_way_of_building_it():
    """`make random-builds KIND=layers BUILDS=68`: each on a pipeline and on an engine, with weights of 8 and of 4 bits, 50 images."""
    drawn = stored_designs(LAYER_BUILDS, 4 * len(LAYERS))
    ways = {(bool(d.encoders_per_engine), d.network.weight_bits) for d in drawn}
    assert ways == {(False, 8), (False, 4), (True, 8), (True, 4)} and {d.images for d in drawn} == {50}
    for number, (name, own) in enumerate(LAYERS.items()):
        of_layer = [asdict(design.network) for design in drawn[4 * number : 4 * number + 4]]
        assert all(network[what] == value for network in of_layer for what, value in own.items()), name


def test_layers_of_model_zoos_beside_each_other_agree():
    """`make random-builds KIND=mixed BUILDS=100` goes on from here: every layer is in several of them, with each of the others' kinds."""
    drawn = stored_designs(MIXED, 100)
    networks = [d.network for d in drawn]
    for what in (
        "activation",
        "norm",
        "qk_norm",
        "rotary",
        "pooling",
        "position_bias",
        "gated",
        "norm_pre",
        "final_norm",
        "weight_bits",
        "act_bits",
    ):
        values = Counter(getattr(network, what) for network in networks)
        assert len(values) > 1 and min(values.values()) >= 3, (what, values)
    assert {d.loads for d in drawn} == {"", "own", "another"} and {d.frames_in_flight for d in drawn} == {1, 2, 3, 4}
    assert {n.prefix for n in networks} == {0, 1, 2, 5} and sum(bool(n.drop_at) for n in networks) >= 10


def test_layers_that_share_units_in_any_way_agree():
    """`make random-builds KIND=partitions BUILDS=100` goes on from here. Two are refused for the network that they would be loaded with."""
    outcomes = command.known_outcomes(command.LEDGERS[PARTITIONS], PARTITIONS)
    refused = {seed: o.outcome for seed, o in outcomes.items() if o.outcome != "agree"}
    assert outcomes.keys() >= set(range(1, 101)) and all("and the design differ in structure" in text for text in refused.values())
    assert refused.keys() <= {26, 55} and all(o.rtl_mismatches == 0 for o in outcomes.values())
    drawn = [PARTITIONS.design(seed) for seed in outcomes]
    assert {d.shares for d in drawn} == set(SHARES) and {d.frames_in_flight for d in drawn} == {1, 2, 3, 4}
    assert {d.loads for d in drawn} == {"", "own", "another"} and {d.network.act_bits for d in drawn if d.shares} == {4, 8}
    late = [o.latency_error for o in outcomes.values()]
    assert max(late) <= LATENCY_ERROR and sum(error < -LATENCY_ERROR for error in late) <= 2, "two are sooner than planned"


UNSEEN = {NETWORKS: range(201, 211), ENGINES: range(61, 71), DESIGNS: range(1, 41)}
"""Seeds that nobody looked at while formulas of latency were made to agree."""


@pytest.mark.parametrize("kind", UNSEEN, ids=lambda kind: kind.name)
def test_latencies_of_unseen_seeds_are_as_planned(kind):
    outcomes = command.known_outcomes(command.LEDGERS[kind], kind)
    unseen = [outcomes[seed] for seed in UNSEEN[kind]]
    assert {o.outcome for o in unseen} == {"agree"} and all(o.rtl_mismatches == 0 and o.latency for o in unseen)
    assert max(abs(o.latency_error) for o in unseen) <= LATENCY_ERROR


def test_a_design_draws_everything_that_there_is():
    drawn = [DESIGNS.design(seed) for seed in range(1, 41)]
    assert (
        {d.loads for d in drawn} == {"", "own", "another"}
        and {d.slrs for d in drawn} == {1, 2, 4}
        and {d.ultra for d in drawn} == {0, 0.5, 1}
    )
    assert {d.frames_in_flight for d in drawn} == {1, 2, 3, 4}
    dealt = {d.encoders_per_engine for d in drawn}
    assert () in dealt and {(1, 1), (2,)} < dealt and any(1 in deal and max(deal) > 1 for deal in dealt)
    assert all(sum(d.encoders_per_engine) in (0, d.network.depth) for d in drawn)


def test_the_other_network_of_a_design_has_its_structure_and_other_contents():
    design = DESIGNS.design(2)
    own, other = design.network, design.other
    assert other.seed != own.seed and (other.dim, other.heads, other.depth, other.drop_at) == (own.dim, own.heads, own.depth, own.drop_at)
    assert len({(d.block_keep, d.neuron_keep, d.token_keep, d.heads_gone) for d in (DESIGNS.design(s).other for s in range(1, 21))}) > 10


def test_structured_images_by_hand():
    stripes, upright, checks, down, right, bright, dark = structured_images(4, 2)[..., 1].tolist()
    assert stripes == [[0] * 4, [255] * 4] * 2 and upright == [[0, 255, 0, 255]] * 4 and checks == [[0, 255] * 2, [255, 0] * 2] * 2
    assert down == [[v] * 4 for v in (0, 63, 127, 191)] and right == [[0, 63, 127, 191]] * 4
    assert (np.array(bright) == 255).sum() == 1 and (np.array(dark) == 0).sum() == 1


@pytest.mark.parametrize("said, fault", [("FINN's builder stopped: KeyError", True), ("block 3 does not fit", False)])
def test_a_defect_is_not_taken_for_a_refusal(monkeypatch, said, fault):
    def stop(options):
        raise UserError(said)

    monkeypatch.setattr(check, "build", stop)
    found = check_seed(NETWORKS, 31)
    assert found.fault == fault and said in found.outcome


def test_of_equal_logits_the_lowest_class_wins_in_qonnx_too():
    """Seed 65: 689 for classes 1 and 4 of an image, which float64 tells apart by its own error."""
    frozen, images = network(draw(65))
    source = to_qonnx(frozen)
    check, logits, qonnx = check_lowering(source, lower(source), images)
    assert check.problem == "" and not check.class_changes
    assert np.array_equal(np.sort(logits[4])[-2:], [689, 689]) and logits[4].argmax() == qonnx[4].argmax() == 1


def test_a_network_of_zeros_freezes_and_rows_of_too_different_size_are_refused_by_layer():
    network(replace(draw(1), empty=1.0, bias=0.0))
    with pytest.raises(UserError, match=r"layer [\w.]+: scale ratios span too wide a range: .* train on"):
        network(replace(draw(1), spread=4.0, empty=0.0))


def fake(tmp_path, monkeypatch, capsys, *outcomes, done=()):
    """Run the command on seeds 1 to 3 whose outcomes are given; what it prints, and its exit code."""
    ledger = tmp_path / "ledger.jsonl"
    if done:
        ledger.write_text("".join(json.dumps(asdict(o)) + "\n" for o in done))
    texts, ran = dict(enumerate(outcomes, start=1)), []

    def check(kind, seed):
        ran.append(seed)
        if isinstance(texts[seed], Exception):
            raise texts[seed]
        return Outcome(seed, texts[seed], asdict(draw(seed)))

    monkeypatch.setattr(command, "check_seed", check)
    monkeypatch.setattr("sys.argv", ["x", "--seed", "1", "--count", "3", "--jobs", "0", "--ledger", str(ledger)])
    code = command.main()
    return code, ran, capsys.readouterr().out, [json.loads(line) for line in ledger.read_text().splitlines()]


def test_agreement_and_refusal_are_the_two_good_outcomes(tmp_path, monkeypatch, capsys):
    code, ran, text, lines = fake(tmp_path, monkeypatch, capsys, "agree", "refused: build: too wide", "agree")
    assert (code, ran, [line["seed"] for line in lines]) == (0, [1, 2, 3], [1, 2, 3])
    assert "seeds 1 to 3" in text and "seed 2: refused: build: too wide" in text and "{'agree': 2, 'refused': 1}" in text


@pytest.mark.parametrize("third", ["disagree: logits of RTL and hardware graph", KeyError("shape")])
def test_any_third_outcome_fails_the_command_and_is_tried_again(third, tmp_path, monkeypatch, capsys):
    code, _, text, lines = fake(tmp_path, monkeypatch, capsys, "agree", third, "agree")
    assert code == 1 and [line["seed"] for line in lines] == [1, 3]
    assert ("seed 2: crashed: KeyError" if isinstance(third, Exception) else f"seed 2: {third}") in text


def test_seeds_in_the_ledger_are_not_built_again_unless_their_draw_has_changed(tmp_path, monkeypatch, capsys):
    old = NETWORKS.recorded(3) | {"heads": 99}
    done = [Outcome(1, "agree", NETWORKS.recorded(1)), Outcome(3, "agree", old)]
    code, ran, _, lines = fake(tmp_path, monkeypatch, capsys, None, "agree", "agree", done=done)
    assert (code, ran, [line["seed"] for line in lines]) == (0, [2, 3], [1, 3, 2, 3])
