"""Graphs of loadable designs: which networks they take, however their encoders are dealt to engines, and which they refuse."""

import copy
from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
from finn.builder.build_dataflow_config import DataflowBuildConfig
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.builds.networks import Reservation, Reserved, alike, flat_hardware, reserve
from finn_vitprune.builds.records.folding_file import FOLDING_ATTRIBUTES
from finn_vitprune.builds.steps import in_engines
from finn_vitprune.custom_ops.engine.engine import engines_of
from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.errors import UserError
from finn_vitprune.options.build import BuildSettings
from finn_vitprune.sim.contents import Contents
from finn_vitprune.transforms.engines.bind import ARRAY, EMBEDS, encoder_count
from finn_vitprune.transforms.engines.engine_units import bind_units, shares_of, unit_name
from finn_vitprune.transforms.engines.fold_engines import write_folds
from finn_vitprune.transforms.engines.loadable import contents_for, like
from finn_vitprune.transforms.streams.insert_load_port import InsertLoadPort
from finn_vitprune.transforms.streams.insert_streams import InsertStreams
from finn_vitprune.transforms.streams.node_names import kind_of
from tests.random_builds.check import exported
from tests.random_builds.draw import draw
from tests.random_builds.draw import network as network_of
from tests.sampling import sampled
from tests.vit_models import random_vit

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loaded graphs")]
CONFIG = DataflowBuildConfig(output_dir=".", synth_clk_period_ns=5.0, generate_outputs=[], fpga_part="xczu7ev-ffvc1156-2-e")
NUMBER = 7


@cache
def _flat(options: tuple[tuple[str, object], ...]) -> bytes:
    return flat_hardware(random_vit(**dict(options))[0], CONFIG).hardware.model.SerializeToString()


def flat(**options) -> ModelWrapper:
    """The flat hardware of a random network."""
    return ModelWrapper(_flat(tuple(sorted(options.items()))))


def design(own: ModelWrapper, dealt: tuple[int, ...] | str | None, others=(), **settings) -> ModelWrapper:
    """A loadable design with nothing folded, but for groups of four tokens on a unit of several layers. ``others``: networks that are reserved."""
    shares = dealt if isinstance(dealt, str) else ""
    settings = BuildSettings(encoders_per_engine=(encoder_count(own),) if shares else dealt, **settings)
    model, networks = Reservation(settings.reserve).networks(own, CONFIG)
    networks += [Reserved(f"network {i}", other) for i, other in enumerate(others)]
    model = in_engines(alike(model, networks), settings, shares)
    for engine in engines_of(model):
        if shares:
            write_folds(engine, {unit_name(engine, shares_of(engine)): {"TOKENS": 4}})
        bind_units(engine)
    reserve(model, networks)
    return model.transform(InsertStreams()).transform(InsertLoadPort(design=NUMBER))


def contents(made: ModelWrapper, network: ModelWrapper) -> Contents:
    """What the design is loaded with to be ``network``."""
    return contents_for(copy.deepcopy(made), like(made, copy.deepcopy(network), FOLDING_ATTRIBUTES), NUMBER, "port")


def deals(most: int) -> list[tuple[int, ...]]:
    """All ways to deal 1 to ``most`` encoders to engines, those first that have engines of one and of several encoders."""
    found = []
    for count in range(1, most + 1):
        for cuts in product((False, True), repeat=count - 1):
            ends = [i + 1 for i, cut in enumerate((*cuts, True)) if cut]
            found.append(tuple(int(n) for n in np.diff([0, *ends])))
    return sorted(found, key=lambda deal: (not (1 in deal and max(deal) > 1), sum(deal), deal))


SHARED = (f"{ARRAY}{EMBEDS}", ARRAY, f"MLP 2{EMBEDS}")
"""Partitions of one engine in which layers share a unit."""


@pytest.mark.parametrize("dealt", sampled([*deals(5), *SHARED], 1), ids=str)
def test_every_deal_of_encoders_is_reserved_for_and_loaded(dealt):
    depth = 3 if isinstance(dealt, str) else sum(dealt)
    own, other, dense = (
        flat(depth=depth, drop_at=drops, seed=seed, keep=keep)
        for drops, seed, keep in (((1,), 1, "0.5"), ((depth,), 2, "0.75"), ((), 3, "1.0"))
    )
    made = design(own, dealt, [other], reserve=("dense",))
    words = [contents(made, network).data for network in (own, other, dense)]
    assert len({len(data) for data in words}) == 1 and len({data.tobytes() for data in words}) == 3


VIT = {"image": 6, "dim": 32, "heads": 4, "depth": 3, "drop_at": (1, 2)}
DEALS = [(3,), *SHARED, (2, 1), None]
"""On one engine, with units of several layers too, on one and an encoder of its own, with hardware for every encoder."""


def scaled(network: ModelWrapper, kind: str | None = None) -> list[tuple[VitOp, str]]:
    """Ops, of one type where that is given, and their attributes that are shifts of scales."""
    ops = [getCustomOp(node) for node in network.graph.node if kind in (None, kind_of(node)) and kind_of(node) != "VitTokenDrop"]
    return [(op, name) for op in ops for name in ("shift", "logit_shift", "recip_shift") if name in op.get_nodeattr_types()]


def rescaled(network: ModelWrapper, shifts: int, kind: str | None = None) -> ModelWrapper:
    """A network whose scales are so many shifts smaller; of units of one op type alone, where that is given."""
    network = copy.deepcopy(network)
    for op, name in scaled(network, kind):
        if value := op.get_nodeattr(name):
            op.set_nodeattr(name, value + shifts)
    for node in network.graph.node:
        if kind_of(node) == "BlockSparseMVAU" and kind in (None, "BlockSparseMVAU"):
            network.set_initializer(node.input[2], np.rint(network.get_initializer(node.input[2]) * 2.0**shifts))
    return network


def with_scales_of(own: ModelWrapper, network: ModelWrapper) -> ModelWrapper:
    """``network`` with the shifts of ``own``, a network of the same structure."""
    for (op, name), (other, _) in zip(scaled(network), scaled(own), strict=True):
        op.set_nodeattr(name, other.get_nodeattr(name))
    return network


@pytest.mark.parametrize("dealt", sampled(DEALS, 0))
def test_scales_two_shifts_away_and_any_number_of_tokens_have_room(dealt):
    """With nothing reserved, on hardware of every kind."""
    own = flat(**VIT, seed=1)
    made = design(own, dealt, loadable=True)
    words = len(contents(made, own).data)
    for shifts in (-2, -1, 1, 2):
        assert len(contents(made, rescaled(own, shifts)).data) == words
    for token_keep in ("0.1", "0.3", "0.45"):
        assert len(contents(made, flat(**VIT, seed=1, token_keep=token_keep)).data) == words


@pytest.mark.parametrize("dealt", sampled(DEALS, 1))
@pytest.mark.parametrize(
    "kind, parameter",
    sampled([("PrunedAttention", "LOGIT_"), ("BlockSparseMVAU", "SPAN|SHIFT"), ("VitLayerNorm", "MOST_E|LEAST_SHIFT")], 1, several=True),
)
def test_scales_that_are_further_away_are_refused_with_the_unit_and_what_helps(dealt, kind, parameter):
    own = flat(**VIT, seed=1)
    made = design(own, dealt, loadable=True)
    far = rescaled(own, 6, kind)
    with pytest.raises(
        UserError, match=rf"unit .* needs ({parameter})\w* \d+ for this network, the design has \d+: build the design with --reserve"
    ):
        contents(made, far)
    assert len(contents(design(own, dealt, [far], loadable=True), far).data), "what the refusal names does help"


@pytest.mark.parametrize("dealt", sampled(DEALS, 1))
def test_dense_room_is_room_for_all_masks_and_tokens(dealt):
    """Fewer heads and neurons as well as fewer tokens, whose formulas ask for more slots, finer blocks and deeper FIFOs."""
    own = flat(**VIT, seed=1)
    made = design(own, dealt, reserve=("dense",))
    words = len(contents(made, own).data)
    for keep, token_keep in (("0.2", "0.1"), ("0.35", "0.9"), ("0.75", "0.3"), ("1.0", "0.2")):
        assert len(contents(made, with_scales_of(own, flat(**VIT, seed=1, keep=keep, token_keep=token_keep))).data) == words


@pytest.mark.parametrize("dealt", sampled([(2,), ARRAY, (1, 1), None], 1))
@pytest.mark.parametrize("heads", [(2, 1), (1, 2)], ids=["fewer heads", "more heads"])
def test_scores_have_as_many_bits_as_the_network_with_most_heads_needs(dealt, heads):
    """Tokens are narrower than two heads, which an encoder may have all the same."""
    drawn = replace(
        draw(61, (2,)),
        dim=8,
        head_dim=8,
        heads=2,
        act_bits=8,
        weight_bits=8,
        heads_gone=((), ()),
        empty=0.0,
        block_keep="1",
        token_keep="0.5",
        drop_at=(1,),
    )
    graphs = {}
    for count in heads:
        network = replace(drawn, heads_gone=((1,) * (count == 1),) * 2)
        graphs[count] = flat_hardware(exported(network, network_of(network)[0]), CONFIG).hardware
        attentions = [getCustomOp(n) for n in graphs[count].graph.node if kind_of(n) == "PrunedAttention"]
        assert {op.score_type.bitwidth() for op in attentions} == {16 + count}
    own, other = graphs.values()
    made = design(own, dealt, [other])
    assert len(contents(made, own).data) == len(contents(made, other).data) > 0


@pytest.mark.parametrize("options, said", [
    ({"depth": 2, "drop_at": (1,)}, "it has 2 encoders, the design 3"),
    ({"image": 8}, "TOKENS_IN .* --reserve does not help: this network needs a design of its own"),
])  # fmt: skip
def test_what_is_built_in_is_refused_and_reserve_is_not_named_as_help(options, said):
    own, other = flat(**VIT, seed=1), flat(**VIT | options, seed=1)
    with pytest.raises(UserError, match=said):
        contents(design(own, (3,), loadable=True), other)
    with pytest.raises(UserError, match=said.split(" .*")[0]):
        design(own, (3,), [other])
