"""Plans of the DeiT networks: what a row says of a plan."""

import pytest

from builds.experiments import deit_pages
from builds.experiments.deit_models import DeitNetwork, ModelFolder, make
from builds.experiments.deit_plans import binding, pipeline, planned
from finn_vitprune.errors import UserError
from finn_vitprune.synth.parts import get_part
from finn_vitprune.synth.planned import Planned

ONE = {"LUT": 0.9, "DSP": 0.5, "BRAM": 0.2, "URAM": 0.0}


def said(**more):
    """What is said of a plan within half of everything."""
    budget = dict.fromkeys(ONE, 0.5)
    return Planned(
        goal="throughput", interval_cycles=9, fits=True, gap=0.0, shell="none", budget=budget, used=ONE, next_interval_cycles=8, **more
    )


def test_the_resource_of_which_most_of_the_budget_is_used_binds():
    assert binding(said()) == "LUT (90% of its budget)"
    assert binding(said(slrs=[ONE, ONE | {"URAM": 1.18}])) == "URAM of SLR1 (118% of its budget)"


def test_networks_that_are_not_made_are_named(tmp_path):
    setting = deit_pages.FAST[0]
    with pytest.raises(UserError, match=f"the network {setting.network.name} is not in {tmp_path}: make it with the command models"):
        planned(setting, ModelFolder(tmp_path))


def test_a_made_network_is_planned_within_its_budget(small_deit, tmp_path):
    network = DeitNetwork("deit_test_patch16_224", 8, 16, "0.5", "0.5")
    folder = ModelFolder(tmp_path)
    make(network, folder)
    row = planned(pipeline(network, "ZCU104"), folder)
    assert row.fits and row.heads_dense == 4 and 0 < row.heads <= 4
    assert 0 < row.shares["LUT"] <= 0.7 and row.shares["DSP"] <= 0.85 and row.shares["BRAM"] <= 0.8
    assert row.latency > row.interval > 0, "an image alone waits for whole frames of keys"
    assert row.rate == pytest.approx(300e6 / row.interval) and row.milliseconds == pytest.approx(row.latency / 300e3)
    assert "of its budget" in row.binding


def test_pages_ask_every_network_and_part_of_the_issue():
    names = [{s.name for s in settings} for settings in (deit_pages.FAST, deit_pages.REFERENCE_PIPELINES, deit_pages.PARTS)]
    assert [len(n) for n in names] == [3, 14, 2 * 2 * 2 * 6]
    assert all(get_part(s.part) for s in deit_pages.PARTS)
    assert len(deit_pages.engines(ModelFolder(None)).settings) == 40 and len(deit_pages.REFERENCES) == 14
