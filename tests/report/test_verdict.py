"""The verdict: on one screen, what is wrong first; one rounding of each figure; no share above what it is a share of."""

import itertools

import pytest

from finn_vitprune.built.verdict import verdict_of
from finn_vitprune.cli import run
from finn_vitprune.exploration.tables import explored_verdict
from finn_vitprune.report.build_verdict import build_verdict, refusals
from finn_vitprune.report.compare import pair_verdict
from finn_vitprune.report.layers import use_table
from finn_vitprune.report.quantities import clock_text, count_text, images_per_second, ms_text, rate_text, share_text
from finn_vitprune.report.summary import FifoRow, Summary
from finn_vitprune.report.tree import build_tree
from finn_vitprune.report.verdict import COLUMNS, LINES, Verdict, VerdictLine
from finn_vitprune.synth.parts import Shortfall
from tests.explored import made_up
from tests.summaries import summary

KEPT = [
    "deit/deit_small_w8a8_summary.json",
    "deit/deit_small_w4a4_summary.json",
    "deit_engines/w8a8_engine1_latency_summary.json",
    "deit_engines/w8a8_engine1_frames2_summary.json",
    "deit_engines/tiny_w8a8_zcu104_summary.json",
    "deit_loaded/design_summary.json",
    "engines/digits_1_2_summary.json",
    "train/deit_fmnist_summary.json",
    "train/deit_fmnist_heads_summary.json",
    "train/deit_tiny/u250_summary.json",
    "train/deit_tiny/zcu104_summary.json",
    "deit_engines/w8a8_engine1_soonest_summary.json",
    "deit_engines/w8a8_engine1_array_summary.json",
    "deit_engines/w8a8_engine1_array_frames2_summary.json",
    "deit_engines/w8a8_engine1_pass_summary.json",
    "deit_engines/w8a8_engine1_pass_frames2_summary.json",
    "import/fmnist_summary.json",
]


def on_a_screen(verdict: Verdict) -> list[str]:
    lines = str(verdict).splitlines()
    assert 1 <= len(lines) <= LINES and max(map(len, lines)) <= COLUMNS and not any(line != line.rstrip() for line in lines)
    return lines


@pytest.mark.parametrize(
    "stopped, simulated, said",
    [("after step_check_part", False, False), ("in step_simulate", False, True), ("after step_simulate", True, True), ("", True, False)],
)
def test_a_stop_is_said_where_figures_do_not_say_it(stopped, simulated, said):
    s = Summary.load(f"builds/results/{KEPT[0]}")
    if not simulated:
        s = s.model_copy(update={"rtlsim": None})
    found = build_verdict(s, {"stopped": stopped}, None, "build/x")
    texts = found.warnings
    assert found.next.startswith("the same command goes on there") is stopped.startswith("in")
    assert any(f"Stopped {stopped}" in text for text in texts) is said
    assert any("Only estimates" in text or "nothing was simulated" in text for text in texts) is not simulated


# --- figures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rate, text", [(7_847.93, "7,847"), (7_848.0, "7,848"), (12.38, "12.3"), (0.01239, "0.0123"), (99.99, "99.9"), (1e6, "1,000,000")]
)
def test_a_rate_is_one_that_is_reached(rate, text):
    assert rate_text(rate) == text and float(text.replace(",", "")) <= rate


def test_figures_as_text():
    assert [ms_text(x) for x in (2.5124, 0.08381, 1_254.2, 0)] == ["2.51 ms", "0.0838 ms", "1,254 ms", "0 ms"]
    assert [share_text(x) for x in (0, 0.001, 0.5, 0.996, 0.99999, 1, 1.2)] == ["0 %", "<1 %", "50 %", "99.6 %", "99.9 %", "100 %", "120 %"]
    assert clock_text(3.333) == "300 MHz (3.333 ns)" and clock_text(4) == "250 MHz (4 ns)"
    assert [count_text(x) for x in (999, 51_177_808, 1.13e9)] == ["999", "51.2 million", "1.13 billion"]
    assert images_per_second(1_000, 4.0) == pytest.approx(250_000)


@pytest.mark.parametrize("name", KEPT)
def test_no_figure_is_impossible(name):
    s = Summary.load(f"builds/results/{name}")
    assert all(n.fifo.fill <= n.fifo.depth for n in s.nodes if n.fifo and n.fifo.fill is not None)
    if (table := use_table(s)) is not None:
        shares = [float(cell.removesuffix(" %")) for row in table.rows for cell in row[3:]]
        assert all(0 <= share <= 100 for share in shares)
    if (tree := build_tree(s)) is not None:
        places = [i for i, column in enumerate(tree.columns) if column.form == "share"]
        rows = list(itertools.chain(tree.rows, *(row.children for row in tree.rows)))
        assert places and all(0 <= row.cells[i] <= 1 for row in rows for i in places if row.cells[i] is not None)
    rates = {
        part for line in str(verdict_of(f"builds/results/{name}")).splitlines() for part in line.split() if part == rate_text(s.rtlsim.fps)
    }
    assert rates == {rate_text(s.rtlsim.fps)}


def test_an_older_fifo_holds_what_it_held():
    assert FifoRow(depth=9_552, width=8, fill=9_559).depth == 9_559 and FifoRow(depth=10, width=8, fill=3).depth == 10


def test_a_tree_adds_up():
    s = Summary.load(f"builds/results/{KEPT[0]}")
    tree = build_tree(s)
    heads = [column.head for column in tree.columns]
    for kind, total in (("LUT", s.resources.LUT), ("DSP", s.resources.DSP), ("BRAM", s.resources.BRAM36), ("URAM", s.resources.URAM)):
        place = heads.index(kind)
        assert sum(row.cells[place] for row in tree.rows) == pytest.approx(total, rel=0.001)
        assert all(sum(child.cells[place] or 0 for child in row.children) == pytest.approx(row.cells[place]) for row in tree.rows)
    cycles = heads.index("cycles")
    assert max(row.cells[cycles] for row in tree.rows) == max(node.cycles for node in s.nodes)
    assert [row.name for row in tree.rows][-1] == "outside encoders" and sum(len(row.children) for row in tree.rows) < len(s.nodes)


# --- one screen ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KEPT)
def test_every_kept_summary_has_a_verdict(name):
    lines = on_a_screen(verdict_of(f"builds/results/{name}"))
    assert [line.split()[0] for line in lines if line.startswith("  ")] == [
        "fits",
        "rate",
        "latency",
        "bits",
        "accuracy",
        "clock",
        "operations",
    ]


def test_a_verdict_by_hand():
    assert str(build_verdict(summary(pruned=True), {}, None, "build/a", "build/a/report.html")).splitlines() == [
        "deit_digits, half of the 8 x 8 blocks, 70 % of the tokens 1 time, on xcu250-figd2104-2L-e    build/a",
        "  fits        LUT 2 %  DSP 25 %  BRAM <1 %  URAM 0 %  synthesised  fullest: DSP, 25 %",
        "  rate        100,000 images/s  measured  at 200 MHz (5 ns)",
        "  latency     0.100 ms          measured  first pixel to logits",
        "  bits        equal             measured  360 images",
        "  accuracy    96.2 %            measured  360 images; evaluate takes a whole data set",
        "  clock       not known                   200 MHz (5 ns) was chosen; synthesis gives an estimate",
        "  operations  4.00 x fewer      counted   3.20 by pruning, 1.25 by the last encoder",
        "page: build/a/report.html    next: finn-vitprune evaluate build/a --data imagefolder:PATH",
    ]


def test_what_is_wrong_comes_first_the_worst_before_the_rest():
    s = summary(pruned=True)
    part = s.part.model_copy(
        update={"fits": False, "DSP": 3_000, "short": [Shortfall("DSP", 3_072, 3_000)], "help": ["with weights of 4 bits it fits"]}
    )
    verify = s.verify.model_copy(update={"rtl_mismatches": 3, "class_changes": 1})
    wrong = s.model_copy(update={"part": part, "verify": verify, "target_fps": 120_000.0})
    lines = on_a_screen(build_verdict(wrong, {"stopped": "after step_fold"}, None, "build/a", "page.html"))
    assert lines[1] == "! The RTL differs from the hardware graph: 3 values on 360 images, 1 of them with another class."
    assert lines[2].startswith("! The design does not fit xcu250-figd2104-2L-e: needs 3,072 of 3,000 DSP")
    assert any(line == "! Misses the target: 100,000 of 120,000 images/s (measured)." for line in lines)
    assert any(line.startswith("  fits        no: LUT") for line in lines) and lines[-1].endswith("next: build again with what would help")
    assert len(refusals(wrong)) == 3 and refusals(s) == []


def test_what_is_only_an_estimate_is_said_in_words():
    s = summary(pruned=True)
    estimate = s.resources.model_copy(update={"tool": "estimate"})
    assert "! Resources are only an estimate" in str(build_verdict(s.model_copy(update={"resources": estimate}), {}, None, "a"))
    none = s.model_copy(update={"resources": estimate, "rtlsim": None, "verify": None})
    lines = on_a_screen(build_verdict(none, {}, None, "a"))
    assert lines[1] == "! Only estimates: nothing was simulated or synthesised." and "measured" not in "".join(lines)


def test_many_long_warnings_leave_the_first_figures():
    lines = tuple(VerdictLine(name, "x" * 30, "found", "y " * 60) for name in "abcdefg")
    found = on_a_screen(Verdict("t " * 90, "p" * 50, tuple("w " * 400 for _ in range(6)), lines, "page " * 30, "next " * 30))
    assert found[1].startswith("! w") and [line.split()[0] for line in found if line.startswith("  ") and "xxx" in line] == ["a", "b", "c"]
    assert any("--full has the rest" in line for line in found)


def test_two_builds_have_both_figures():
    lines = on_a_screen(pair_verdict(("dense", "pruned"), summary(pruned=False), summary(pruned=True)))
    assert lines[0] == "dense → pruned, with the ratio second / first"
    assert "  rate        50,000 images/s → 100,000 images/s  2.00 x" in lines


@pytest.mark.parametrize("accuracy", [True, False])
def test_an_exploration(accuracy, tmp_path):
    lines = on_a_screen(explored_verdict(made_up(accuracy), tmp_path, tmp_path / "explore.html"))
    assert lines[1].startswith("! 1 of 55 designs failed, --retry tries them again; the first: 3 engines for 2 encoders")
    assert any(line.startswith("  fastest") for line in lines) and any(line.startswith("  accuracy") for line in lines) == accuracy
    nothing = made_up(accuracy).model_copy(update={"rows": [row for row in made_up(accuracy).rows if not row.fits]})
    assert "No design fits its part." in str(explored_verdict(nothing, tmp_path, tmp_path / "x"))


def test_report_prints_the_verdict_last(capsys):
    path = f"builds/results/{KEPT[0]}"
    assert run(["report", path]) == 0
    verdict = capsys.readouterr().out
    assert verdict == f"{verdict_of(path)}\n"
    assert run(["report", path, "--full"]) == 0
    assert (out := capsys.readouterr().out).endswith(verdict) and len(out.splitlines()) > 100
