"""The page of cards has what fits, what does not with its cause, and links over several clocks."""

import pytest

from builds.experiments.cards import main
from finn_vitprune.builds.records.places import design_places
from finn_vitprune.errors import UserError
from finn_vitprune.report.summary import Summary
from finn_vitprune.synth.parts import Shortfall, get_part
from finn_vitprune.synth.planned import Planned
from finn_vitprune.synth.resources import ESTIMATE
from finn_vitprune.transforms.planning.part_fit import estimated
from tests.summaries import summary
from tests.transforms.test_crossings import cut_at, placed

PLAN = Planned(
    goal="throughput",
    interval_cycles=2000,
    latency_cycles=9000,
    fits=True,
    gap=None,
    shell="xdma",
    budget={},
    used={},
    next_interval_cycles=1900,
)


def _summary(**more: object) -> Summary:
    return summary(pruned=True).model_copy(update={"plan": PLAN, "rtlsim": None, "clk_ns": 4.0} | more)


def test_the_page_has_what_fits_and_links_over_each_clock(tmp_path):
    model = placed(cut_at(4))
    places = design_places(model, get_part("U50").with_shell("xdma"), estimated(model), ESTIMATE, 4.0, {})
    _summary(places=places).save(tmp_path / "b")
    main([f"DeiT, U250={tmp_path / 'b'}"], tmp_path / "page")
    page = (tmp_path / "page" / "CARDS.md").read_text()
    fit, distance, clocks = (line for line in page.splitlines() if line.startswith("| DeiT, U250 |"))
    # 2,000 cycles of 4 ns; 43,200 of 1,728,000 LUTs, 3,072 of 12,288 DSPs, 10.5 block RAMs, no UltraRAM: the mean is a third of 25.4 %
    assert "| U250, shell xdma | 125,000 | 0.036 ms | 2 % | 25 % | <1 % | 0 % | 8 % |" in fit.replace("0.0360", "0.036") and fit.endswith(
        "| yes |"
    )
    assert f"| {len(places.nodes)} |" in distance

    def over(mhz: float, by: str) -> int:
        return sum(getattr(link.ns, by) > 1e3 / mhz - 0.15 for link in places.links)

    fast = max(link.ns.taken for link in places.links)
    assert 1e3 / 300 - 0.15 < fast or not over(300, "taken")
    expected = [f"{rate:,} ({over(mhz, 'taken')}, {over(mhz, 'high')})" for mhz, rate in ((200, 100_000), (250, 125_000), (300, 150_000))]
    assert clocks == f"| DeiT, U250 | {' | '.join(expected)} |"


def test_a_design_that_does_not_fit_is_a_row_with_the_cause(tmp_path):
    full = summary(pruned=True)
    part = full.part.model_copy(update={"fits": False, "short": [Shortfall("URAM", 700, 640)], "help": ["with weights of 4 bits it fits"]})
    _summary(part=part).save(tmp_path / "b")
    main([f"large={tmp_path / 'b'}"], tmp_path / "page")
    page = (tmp_path / "page" / "CARDS.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith("| large |"))
    assert "| - | - |" in row and "| no: does not fit" in row and "700 of 640 URAM" in row and "weights of 4 bits" in row
    assert "With distance" not in page


def test_a_build_that_fits_and_has_no_places_is_named(tmp_path):
    _summary().save(tmp_path / "b")
    with pytest.raises(UserError, match="one was built without places: build it with --places"):
        main([f"one={tmp_path / 'b'}"], tmp_path / "page")
