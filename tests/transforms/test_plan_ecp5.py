"""Plans for an ECP5: in its own resources, with nothing that it has not."""

from dataclasses import replace

import numpy as np
import pytest
from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames

from finn_vitprune.custom_ops.op import ecp5
from finn_vitprune.errors import UserError
from finn_vitprune.synth.budget import Budget
from finn_vitprune.synth.family import ECP5
from finn_vitprune.synth.parts import get_part, larger_parts, smallest_part
from finn_vitprune.synth.resources import Resources
from finn_vitprune.transforms.lowering.lower import lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from finn_vitprune.transforms.planning.part_fit import part_fit
from finn_vitprune.transforms.planning.place_fifos import PlaceFifos
from finn_vitprune.transforms.planning.plan import plan
from finn_vitprune.transforms.planning.plan_options import PlanOptions, offers_of, room_of
from finn_vitprune.transforms.streams.hardware_only import HardwareOnly
from finn_vitprune.transforms.streams.insert_streams import InsertStreams
from tests.vit_models import random_vit

PART = "ulx3s-85f"


@pytest.fixture(scope="module")
def tiny() -> ModelWrapper:
    model, _ = random_vit(image=8, depth=1, drop_at=(1,), token_keep="0.5")
    graph = lower(model).model.transform(TidyLowered()).transform(HardwareOnly())
    return graph.transform(SpecializeLayers("LFE5U-85F")).transform(GiveUniqueNodeNames())


def built(model, found, part, options) -> ModelWrapper:
    model = ModelWrapper(model.model.__deepcopy__())
    found.write(model)
    return model.transform(InsertStreams()).transform(PlaceFifos(part, options))


def test_a_part_offers_comb_multipliers_block_ram_and_flip_flops():
    part = get_part(PART)
    assert part.name == "LFE5U-85F" and part.planned_as == ECP5 == get_part("lfe5u-25f").planned_as
    assert offers_of(part).tolist() == [[83640, 156, 208, 83640]]
    assert room_of(part, Budget()).tolist() == [[66912, 156, 197, 66912]]
    assert room_of(part, Budget(MULT18=0.5)).tolist() == [[66912, 78, 197, 66912]]
    with pytest.raises(UserError, match="parts of ECP5 have other resources"):
        room_of(part, Budget(LUT=0.5))


def test_smaller_and_larger_parts_are_of_the_family():
    assert [part.name for part in larger_parts(get_part("LFE5U-25F"))] == ["LFE5U-45F", "LFE5U-85F"]
    assert smallest_part(Resources(LUT=30_000, DSP=60, BRAM36=54), ECP5) == "LFE5U-45F"
    assert smallest_part(Resources(LUT=30_000, DSP=60, BRAM36=54.5), ECP5) == "LFE5U-85F"
    assert smallest_part(Resources(LUT=90_000), ECP5) is None


@pytest.mark.parametrize("interval", [20_000, 1_200, None])
def test_a_plan_stays_within_the_part_with_what_it_has(tiny, interval):
    part, options = get_part(PART), PlanOptions(interval=interval, explain=False)
    found, said = plan(tiny, part, options)
    design = built(tiny, found, part, options)
    ops = [getCustomOp(node) for node in design.graph.node]
    each = [ecp5.estimate(op.made_of()) for op in ops]
    used = np.array([sum(getattr(one, kind) for one in each) for kind in ECP5.kinds])
    assert found.fits and said.used.keys() == set(ECP5.kinds) and found.used.sum(0) == pytest.approx(used, rel=1e-6)
    assert np.all(used <= room_of(part, Budget())[0]) and (interval is None or found.interval <= interval)
    styles = {op.get_nodeattr(name) for op in ops for name in ("mac_style", "ram_style") if name in op.get_nodeattr_types()}
    assert styles <= {"portable", "lut", "auto", "block", "distributed"}
    fit = part_fit(design, part)
    assert not fit.short and (fit.used.LUT, fit.used.DSP, 2 * fit.used.BRAM36) == pytest.approx(tuple(used[:3]), rel=1e-3)


def test_fewer_multipliers_make_a_plan_of_more_luts(tiny):
    part = get_part(PART)
    free, _ = plan(tiny, part, PlanOptions(interval=210, explain=False))
    tight, _ = plan(tiny, part, PlanOptions(interval=210, budget=Budget(MULT18=0.4), explain=False))
    (comb, mult18, *_), (more_comb, fewer, *_) = free.used[0], tight.used[0]
    assert tight.fits and fewer <= 62 < mult18 and more_comb > comb


def test_a_part_that_is_too_small_is_named_with_one_that_is_not(tiny):
    part, options = get_part("LFE5U-25F"), PlanOptions(interval=600, explain=False)
    found, _ = plan(tiny, part, options)
    fit = part_fit(built(tiny, found, part, options), part)
    assert not found.fits and "of 28 MULT18" in fit.text and "the smallest part of the table that has so much is LFE5U-" in fit.text


def test_cascades_of_amd_are_refused():
    with pytest.raises(UserError, match="--mac-style dsp48e2 is of UltraScale\\+, and LFE5U-85F is of ECP5: use portable or lut"):
        PlanOptions(mac_style="dsp48e2").styles(get_part(PART))


def test_what_loads_a_unit_is_estimated_once(tiny):
    """The unit's own parts are those of the unit with its contents built in; ROMs are RAMs; every region has its hop."""
    for node in tiny.graph.node:
        op = getCustomOp(node)
        if "loaded" not in op.get_nodeattr_types():
            continue
        before, fixed = op.made_of(), op.amounts(ECP5)
        op.set_nodeattr("loaded", 1)
        made, (chain,) = op.made_of(), op.load_parts()
        regions, loaded = op.loaded_regions(), {m.name for m in before.memories if op.is_loaded(m.name)}
        op.set_nodeattr("loaded", 0)
        amounts = dict(chain.parts)
        assert made.parts == before.parts and made.units == (*before.units, chain), node.name
        assert amounts["hops"] == len(regions) > 0 and amounts["banks"] == sum(region.banks for region in regions)
        assert made.memories == tuple(replace(m, rom=m.rom and m.name not in loaded) for m in before.memories), node.name
        assert sum(ecp5.estimate(made).amounts) > sum(fixed), node.name
