"""Report tables: every promised figure is there, ratios are right, steps that did not run are not claimed."""

import io
import json
import re
from html.parser import HTMLParser

import pytest
from markupsafe import escape
from rich.console import Console

from finn_vitprune.cli.terminal import console_of_tables
from finn_vitprune.report.builds import NOT_RUN, build_tables, comparison
from finn_vitprune.report.html import to_html
from finn_vitprune.report.summary import RtlsimSummary, Summary
from finn_vitprune.report.tables import TextTable, show, to_markdown
from finn_vitprune.synth.parts import Shortfall
from tests.summaries import summary


def printed(tables) -> str:
    out = io.StringIO()
    show(tables, Console(file=out, width=160, color_system=None))
    return out.getvalue()


def row(text: str, label: str) -> str:
    """The line of a table that starts with ``label``."""
    (line,) = [li for li in text.splitlines() if re.match(rf"^[│┃|]?\s*{re.escape(label)}\s", li)]
    return line


def test_one_build_prints_every_promised_figure():
    text = printed(build_tables(summary(pruned=True)))
    assert "4,000,000" in (macs := row(text, "operations (MACs per image): pruning")) and "1,250,000" in macs
    assert "3.20 x less" in macs, "what pruning saves"
    assert "1.25 x less" in row(text, "operations (MACs per image): last encoder, class token only")
    assert "4.00 x less" in row(text, "operations (MACs per image): both")
    assert "2.00 x less" in row(text, "parameters")
    assert [c.strip() for c in row(text, "2").split("│")[1:5]] == ["2", "17", "14", "3"]
    assert "360" in row(text, "images through the RTL")
    assert re.search(r"RTL mismatches.*\b0\b", text)
    assert "96.25 %" in row(text, "accuracy of the accelerator")
    assert "99.75 %" in row(text, "same class as QONNX")
    assert "20,000" in (latency := row(text, "latency")) and "0.1000 ms" in latency
    assert "2,000.0" in (interval := row(text, "interval, mean")) and "100,000 images/s" in interval
    assert "200.0 MHz (5 ns)" in text
    assert "2.50 %" in row(text, "LUT") and "1.00 %" in row(text, "FF") and "25.00 %" in row(text, "DSP")
    assert "10.5" in row(text, "BRAM36") and "xcu250-figd2104-2L-e" in text and "Fits the part." in text
    assert "0.975" in row(text, "mvau_3") and "Slowest by estimate: mvau_3" in text
    assert "4.0" in row(text, "all")


@pytest.mark.parametrize("target, said", [(100_000, "reached"), (100_001, "NOT reached")])
def test_a_target_that_was_missed_is_said_so(target, said):
    s = summary(pruned=True).model_copy(update={"target_fps": target})
    assert f"Target of {target:,} images/s: {said}." in " ".join(printed(build_tables(s)).split())


def test_the_builders_own_total_is_not_added_to_the_steps():
    s = summary(pruned=True)
    s = s.model_copy(update={"time_s": {"step_lower": 1.5, "step_hdl": 2.5, "total_build_time": 4.6}})
    text = printed(build_tables(s))
    assert "4.6" in row(text, "all") and "total_build_time" not in text


def test_steps_that_did_not_run_are_said_so():
    s = summary(pruned=True).model_copy(update={"rtlsim": None, "verify": None, "resources": None})
    tables = {t.title: t for t in build_tables(s)}
    assert all(tables[name].rows[0][-1] == NOT_RUN for name in ("Checks", "Speed", "Resources"))
    text = printed(tables.values())
    assert "images/s" not in text and "Yosys" not in text and "Fits" not in text


def test_without_labels_no_accuracy_is_claimed():
    s = summary(pruned=True)
    verify = s.verify.model_copy(update={"accuracy": None, "accuracy_pytorch": None, "image_source": "random"})
    text = printed(build_tables(s.model_copy(update={"verify": verify})))
    assert "no labels" in row(text, "accuracy of the accelerator") and "Images: random." in text
    assert "96.25" not in text


def test_a_design_that_does_not_fit_says_so():
    s = summary(pruned=True)
    part = s.part.model_copy(update={
        "fits": False, "DSP": 3_000, "note": "mapped for UltraScale+ primitives, the part is Versal",
        "short": [Shortfall("DSP", 3_072, 3_000)], "help": ["buy another"],
    })
    text = " ".join(printed(build_tables(s.model_copy(update={"part": part}))).split())
    answer = "does not fit xcu250-figd2104-2L-e: needs 3,072 of 3,000 DSP (Yosys 0.70); buy another"
    assert f"Does NOT fit the part: the design {answer}. Numbers mapped for UltraScale+ primitives" in text
    assert answer in comparison(("a", "b"), s.model_copy(update={"part": part}), s)[0].note


def test_resources_by_node_on_request():
    assert not any("by node" in t.title for t in build_tables(summary(pruned=True)))
    (table,) = [t for t in build_tables(summary(pruned=True), nodes=True) if "by node" in t.title]
    assert table.rows == (("mvau_3", "BlockSparseMVAU_rtl", "43,200", "0", "3,072", "0", "0"),)


def test_two_builds_side_by_side_with_ratios():
    table, slowest = comparison(("dense", "pruned"), summary(pruned=False), summary(pruned=True))
    assert table.columns == ("", "dense", "pruned", "ratio", "found by")
    ratio = {r[0]: r[3] for r in table.rows}
    assert ratio["interval (cycles)"] == "0.500"
    assert ratio["largest work of a node (cycles at full use)"] == "0.500"
    assert ratio["weight memory (bits)"] == "0.500"
    assert ratio["operations after pruning"] == "0.312"
    assert ratio["operations performed (last encoder: class token alone)"] == "0.286"
    assert ratio["images/s"] == "2.000"
    assert ratio["RTL mismatches"] == "-"
    assert "Interval ratio 0.500, ratio of the largest work per node 0.500: 1.000 x it." in table.note
    assert "Weight memory ratio 0.500, parameter ratio 0.500." in table.note
    assert slowest.rows[0][:3] == ("dense", "mvau_3", "BlockSparseMVAU_rtl")


def test_side_by_side_with_a_build_that_was_not_simulated():
    b = summary(pruned=True).model_copy(update={"rtlsim": None})
    table = comparison(("a", "b"), summary(pruned=False), b)[0]
    assert {r[0]: r[1:4] for r in table.rows}["interval (cycles)"] == ("4,000.0", NOT_RUN, "-")
    assert table.note == ""


def estimated():
    """The pruned build without synthesis, as an older file has it: 0 stands for what was not estimated."""
    content = summary(pruned=True).model_dump(by_alias=True)
    content["resources"] |= {"tool": "estimate", "FF": 0, "LUT": 40_000}
    return Summary.model_validate(content)


def test_an_estimate_is_marked_and_has_no_flip_flops():
    s = estimated()
    text = printed(build_tables(s, nodes=True))
    assert "used (estimate)" in text and "Fits the part (by estimate)." in text
    assert [c.strip() for c in row(text, "FF").split("│")[2:5]] == ["not estimated", "3,456,000", "-"]
    assert "cycles (estimate)" in text and "utilisation (estimate)" in text and "cycles (simulated)" in text
    assert s.resources.FF is None and s.resources.per_node[0].FF is None and s.resources.per_node[0].SRL is None
    methods = json.loads(s.model_dump_json())["methods"]
    assert (methods["resources.FF"], methods["resources.LUT"]) == ("not estimated", "estimate")
    assert (methods["balance.cycles"], methods["rtlsim"]) == ("estimate", "simulated")
    assert Summary.model_validate_json(s.model_dump_json(by_alias=True)) == s


def test_an_estimate_beside_a_count_says_so():
    table = comparison(("a", "b"), summary(pruned=True), estimated())[0]
    rows = {r[0]: r[1:] for r in table.rows}
    assert rows["LUT"] == ("43,200", "40,000", "0.926", "Yosys 0.70 against estimate")
    assert rows["FF"] == ("34,560", "not estimated", "-", "Yosys 0.70 against not estimated")
    assert rows["cycles of the slowest node"][-1] == "estimate" and rows["interval (cycles)"][-1] == "simulated"
    assert "compares an estimate with a count" in table.note
    assert "compares" not in comparison(("a", "b"), summary(pruned=False), summary(pruned=True))[0].note


def test_an_interval_longer_than_the_work_shows():
    slow = RtlsimSummary.measured(6, 20_000, interval_cycles=2_400, interval_cycles_max=2_400, clk_ns=5)
    b = summary(pruned=True).model_copy(update={"rtlsim": slow})
    assert "1.200 x it" in comparison(("a", "b"), summary(pruned=False), b)[0].note


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.outside = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.outside += [v for k, v in attrs if k in ("src", "href")]


def test_html_is_one_self_contained_page():
    tables = build_tables(summary(pruned=True), nodes=True)
    page = to_html("build/demo & <co>", tables)
    parser = Links()
    parser.feed(page)
    assert parser.tags.count("table") == len(tables) and not parser.outside
    assert "script" not in parser.tags and "link" not in parser.tags and "url(" not in page
    assert "build/demo &amp; &lt;co&gt;" in page
    for sheet in tables:
        shown = [[escape(cell) for cell in r] for r in sheet.rows]
        assert all(f'<th scope="row">{r[0]}</th>' in page and all(f"<td>{cell}</td>" in page for cell in r[1:]) for r in shown)


@pytest.mark.parametrize("width", [60, 200])
def test_prints_at_any_width(width):
    out = io.StringIO()
    show(build_tables(summary(pruned=True), nodes=True), Console(file=out, width=width))
    assert "Balance" in out.getvalue()


def test_tables_in_a_file_keep_their_numbers_whole(monkeypatch, capsys):
    """A table of ten columns, one of long names, where nothing says how wide the output is; and as wide as COLUMNS."""
    wide = TextTable("Wide", tuple("abcdefghij"), (("x" * 20, *["1,234,567"] * 8, "name." * 12),))
    monkeypatch.delenv("COLUMNS", raising=False)
    show([wide], console_of_tables())
    assert capsys.readouterr().out.count("1,234,567") == 8
    monkeypatch.setenv("COLUMNS", "60")
    assert console_of_tables().width == 60


def test_a_bar_in_a_cell_does_not_end_it_in_markdown():
    table = TextTable("Norms", ("what", "value"), (("|w|", "1"), ("b", "2")), "A note.")
    page = to_markdown("Title", "Words.", [table])
    assert page.split("\n") == [
        "# Title", "", "Words.", "", "## Norms", "", "| what | value |", "|--|--:|", r"| \|w\| | 1 |", "| b | 2 |", "",
        "A note.", "",
    ]  # fmt: skip
