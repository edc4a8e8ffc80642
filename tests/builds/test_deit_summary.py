"""The kept summaries of DeiT-Small on the U250: what docs/results.md says of them, and that the plan keeps its multipliers busy."""

import json
import runpy
from pathlib import Path

import pytest

from builds.experiments.deit_loaded import LoadedRow
from builds.experiments.deit_models import LOADED
from finn_vitprune.report.layers import memories_of, memory_sum, multiplier_use
from finn_vitprune.report.quantities import clock_text, ms_text, rate_text
from finn_vitprune.report.summary import Summary
from finn_vitprune.synth.parts import KINDS
from finn_vitprune.synth.resources import ESTIMATE

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "builds" / "results" / "deit_engines" / "w8a8_engine1_latency_summary.json"
PAGE = (ROOT / "docs" / "results.md").read_text()
SAID = " ".join(PAGE.split())
BITS = (8, 4)


@pytest.fixture(scope="module", params=BITS, ids="{0}/{0}".format)
def kept(request):
    return request.param, Summary.load(ROOT / "builds" / "results" / "deit" / f"deit_small_w{request.param}a{request.param}_summary.json")


def column(number: int) -> dict[str, str]:
    """The figures of a column of the page's first table, by their first words."""
    section = PAGE.partition("## DeiT-Small on an Alveo U250")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| ")]
    return {row[0]: row[1 + number] for row in cells}


def test_the_page_says_what_the_summary_says(kept):
    bits, s = kept
    said = column(BITS.index(bits))
    check_column(said, s)
    if bits == 8:
        assert said["operations (MACs per image)"].startswith(f"{s.model.macs_dense:,} before, {s.model.macs:,} performed")
        assert f"each of the {s.verify.units.nodes} nodes alone ({s.verify.units.beats:,} beats" in SAID
    slow = sum(t.taken > s.timing.clk_ns for t in s.timing.per_node)
    clock = SAID.partition(f"At {bits} bits {slow} of {len(s.nodes)} nodes are slower")[2].partition(").")[0]
    assert f"takes {s.timing.taken:.2f} ns ({s.timing.high:.2f}" in clock


def test_the_page_says_what_one_engine_does():
    s = Summary.load(ENGINE)
    check_column(column(2), s)
    assert f"{s.verify.units.nodes} units alone ({s.verify.units.beats:,} beats" in SAID
    assert not any(t.taken > s.timing.clk_ns for t in s.timing.per_node)
    assert f"none of its {len(s.nodes)} units is slower than {s.timing.clk_ns:.3f} ns" in SAID
    assert f"slowest path takes {s.timing.taken:.2f} ns ({s.timing.high:.2f} with" in SAID
    assert s.plan.fits and f"LUT={s.plan.budget['LUT']:g},DSP={s.plan.budget['DSP']:g},BRAM={s.plan.budget['BRAM']:g}" in SAID
    assert s.verify.rtl_mismatches == s.verify.class_changes == s.verify.left_out_streams == 0
    assert s.rtlsim.latency_cycles == pytest.approx(s.plan.latency_cycles, rel=0.02)
    assert s.rtlsim.interval_cycles == pytest.approx(s.plan.interval_cycles, rel=0.02)


def test_the_page_says_what_other_engines_do():
    for name, said in (
        ("w8a8_engine1_pass", "does {rate} images/s at {ms:.3f} ms"), ("w8a8_engine1_pass_frames2", "in flight {rate} at {ms:.3f} ms"),
        ("w4a4_engine1_soonest", "At 4 bits one engine does {rate} images/s at {ms:.3f} ms"),
        ("w8a8_engine1_frames2", "{rate} images/s at {ms:.3f} ms"), ("w4a4_engine1_frames2", "at 4 bits {rate} at {ms:.3f} ms"),
        ("tiny_w8a8_zcu104", "{rate} images/s, {ms:.2f} ms"),
    ):  # fmt: skip
        r = Summary.load(ROOT / "builds" / "results" / "deit_engines" / f"{name}_summary.json").rtlsim
        assert said.format(rate=rate_text(r.fps), ms=r.latency_ms).replace(" 0.", " .") in SAID, name


def test_the_page_of_engines_says_what_was_simulated():
    """Rows of its two tables: the kind of plan, and where the patch embedding is made."""
    page = (ROOT / "docs" / "engines.md").read_text()
    for name, row in (
        ("latency", "search in steps | {plan} | {rtl} | {ms} | {interval} | {busy}"), ("soonest", "program | {plan} | {rtl} | {ms} | {interval} | {busy}"),
        ("pass", "[as a pass](#the-patch-embedding-as-a-pass) | {plan} | {rtl} | {ms} | {interval} | {busy}"),
        ("soonest", "its own | 1 | {plan} | {rtl} | {ms} | {every} | {interval} | {rate}"),
        ("pass", "second MLP matrix | 1 | {plan} | {rtl} | {ms} | {every} | {interval} | {rate}"),
        ("pass_frames2", "second MLP matrix | 2 | {plan} | {rtl} | {ms} | {every} | {interval} | {rate}"),
    ):  # fmt: skip
        s = Summary.load(ROOT / "builds" / "results" / "deit_engines" / f"w8a8_engine1_{name}_summary.json")
        assert (
            s.verify.rtl_mismatches == 0
            and s.verify.images == 12
            and s.plan.budget == {"LUT": 0.68, "DSP": 0.85, "BRAM": 0.55, "URAM": 0.6}
        )
        said = row.format(
            plan=f"{s.plan.latency_cycles:,}", rtl=f"{s.rtlsim.latency_cycles:,}", ms=ms_text(s.rtlsim.latency_ms).removesuffix(" ms"),
            every=f"{s.plan.interval_cycles:,}", interval=f"{s.rtlsim.interval_cycles:,.0f}", rate=rate_text(s.rtlsim.fps), busy=f"{100 * multiplier_use(s.balance, s.rtlsim.interval_cycles).busy:.1f} %",
        )  # fmt: skip
        assert said in page, said


def check_column(said: dict[str, str], s: Summary) -> None:
    """A column of the table says what the summary says."""
    r = s.rtlsim
    assert said["values that differ from the hardware graph"] == f"{s.verify.rtl_mismatches:,} ({s.verify.images} images)"
    interval = f"{r.interval_cycles:,.0f} cycles, {rate_text(r.fps)} images/s"
    assert said["interval, simulated"] == f"{interval} at {clock_text(r.clk_ns).partition(' (')[0]}"
    assert said["interval, planned"] == f"{s.plan.interval_cycles:,} cycles"
    assert said["latency of one image, simulated"] == f"{r.latency_cycles:,} cycles, {ms_text(r.latency_ms)}"
    use = multiplier_use(s.balance, r.interval_cycles)
    assert said["multipliers busy with useful products"] == f"{100 * use.busy:.1f} %"
    shares = [f"{100 * getattr(s.resources, kind) / getattr(s.part, kind):.1f}" for kind in KINDS if kind != "FF"]
    how = "estimated" if s.resources.tool == ESTIMATE else "counted by Yosys"
    assert said["LUT, DSP, BRAM36, URAM"] == f"{', '.join(shares)} %, {how}"


def test_it_was_simulated_whole(kept):
    """Every node on 4 frames, 12 overlapping frames of the accelerator, some of them again with pauses and stalls."""
    _, s = kept
    assert s.verify.rtl_mismatches == 0 and s.verify.images >= 12 and s.verify.stalled_images >= 4
    assert s.verify.units.nodes == len(s.nodes) and s.verify.units.frames >= 4 and s.verify.traced_streams > 200
    assert s.rtlsim.interval_cycles == pytest.approx(s.plan.interval_cycles, rel=0.02)
    for node in s.nodes:
        assert node.cycles_alone == pytest.approx(node.cycles, rel=0.02, abs=2), node.layer


def test_multipliers_are_busy_for_at_least_four_fifths_of_the_interval(kept):
    _, s = kept
    interval, _ = s.interval
    assert multiplier_use(s.balance, interval).busy >= 0.8 and use_sums_to_one(s, interval)


def use_sums_to_one(s: Summary, interval: float) -> bool:
    use = multiplier_use(s.balance, interval)
    return abs(use.busy + sum(use.lost.values()) - 1) < 1e-9


def test_the_useful_products_are_those_of_the_layers_by_hand(kept):
    """Half of the blocks of DeiT-Small (384 channels, 6 heads, 1,536 neurons of which half stay) with the tokens of each encoder."""
    _, s = kept
    tokens = [197, 197, 197, 100, 100, 100, 100, 52, 52, 52, 28, 28]
    after = [*tokens[1:], 1]
    queries = [*tokens[:-1], 1]
    qkv = sum((q + 2 * n) * 384 * 384 // 2 for q, n in zip(queries, tokens))
    projection = sum(q * 384 * 384 // 2 for q in queries)
    attention = sum(2 * q * n * 384 for q, n in zip(queries, tokens))
    mlp = sum(2 * n * 384 * 768 for n in after)
    ends = 196 * 768 * 384 + 384 * 1000
    assert multiplier_use(s.balance, 1).macs == qkv + projection + attention + mlp + ends


def test_the_memory_map_is_the_estimate(kept):
    _, s = kept
    whole = memory_sum(m for _, m in memories_of(s))
    assert s.resources.tool != "estimate" or (whole.BRAM18 / 2, whole.URAM) == (s.resources.BRAM36, s.resources.URAM)
    assert {n.encoder for n in s.nodes} == {None, *range(1, 13)} and len({n.layer for n in s.nodes}) == len(s.nodes)
    assert {slr for n in s.nodes for slr in n.slrs} == set(range(s.part.slrs))


def test_the_picture_of_the_readme_is_what_its_script_draws():
    drawn = runpy.run_path(str(ROOT / "docs" / "site" / "picture.py"))["picture"]()
    assert (ROOT / "docs" / "picture.svg").read_text() == drawn
    assert "4.60 GMAC" in drawn and "1.13 GMAC" in drawn and "7,807" in drawn, "figures of the tables"


def test_the_page_says_what_one_design_is_loaded_with():
    folder = ROOT / "builds" / "results" / "deit_loaded"
    rows, design = json.loads((folder / "results.json").read_text()), Summary.load(folder / "design_summary.json")
    assert design.verify.rtl_mismatches == 0
    for network in LOADED:
        row = LoadedRow(**rows[network.name])
        rates = "dense" if network.block_keep == "1" else f"r_b .{network.block_keep[2:]}, r_t .{network.token_keep[2:]}"
        said = f"| {rates} | {row.latency_cycles:,} cycles, {row.milliseconds:.3f} ms | {row.rate:,.0f} images/s |"
        assert said in PAGE and row.mismatches == 0 and row.images == 4
    shares = [100 * getattr(design.resources, kind) / getattr(design.part, kind) for kind in KINDS if kind != "FF"]
    first, *others = (f"{share:.1f}" for share in shares)
    assert f"takes {first}, {', '.join(others[:-1])} and {others[-1]} % of LUT, DSP, BRAM36 and URAM" in SAID
    assert all(share <= 100 * most for share, most in zip(shares, (0.7, 0.85, 0.8, 0.85)))
    same, own = rows[LOADED[0].name], design.rtlsim
    assert same["interval_cycles"] == pytest.approx(own.interval_cycles, rel=0.01)
    assert same["latency_cycles"] == pytest.approx(own.latency_cycles, rel=0.01)
