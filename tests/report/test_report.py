"""Report tables: every promised figure is there, ratios are right, steps that did not run are not claimed."""

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from markupsafe import escape
from rich.console import Console

from finn_vitprune.cli.terminal import console_of_tables
from finn_vitprune.report.builds import NOT_RUN, build_tables
from finn_vitprune.report.compare import comparison, differences
from finn_vitprune.report.page import BuildStory, build_page
from finn_vitprune.report.summary import RtlsimSummary, Summary
from finn_vitprune.report.tables import MARKS, TextTable, show, to_markdown
from finn_vitprune.synth.parts import Shortfall
from finn_vitprune.synth.timed import DesignTiming, NodeTiming
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
    assert "20,000" in (latency := row(text, "latency")) and "0.100 ms" in latency
    assert "2,000.0" in (interval := row(text, "interval, mean")) and "100,000 images/s" in interval
    assert "200 MHz (5 ns)" in text
    assert "2.50 %" in row(text, "LUT") and "1.00 %" in row(text, "FF") and "25.00 %" in row(text, "DSP")
    assert "10.5" in row(text, "BRAM36") and "xcu250-figd2104-2L-e" in text and "Fits the part." in text
    assert "0.975" in row(text, "mvau_3") and "Slowest by estimate: mvau_3" in text
    assert "4.0" in row(text, "all")


@pytest.mark.parametrize("target, said", [(100_000, "reached"), (100_001, "NOT reached")])
def test_a_target_that_was_missed_is_said_so(target, said):
    s = summary(pruned=True).model_copy(update={"target_fps": target})
    assert f"Target of {target:,} images/s: {said}." in " ".join(printed(build_tables(s)).split())


def test_what_stands_behind_the_clock_is_said():
    without = summary(pruned=True).model_copy(update={"timing": None})
    node = NodeTiming(
        node="mvau_3",
        op_type="BlockSparseMVAU_rtl",
        low=1.0,
        taken=2.0,
        high=2.5,
        levels=3,
        start="a",
        end="b",
        widest="c",
        loads=9,
        over=0,
    )
    timed = without.model_copy(update={"timing": DesignTiming.of(5.0, [node])})
    (speed,), (other,) = ([t.note for t in build_tables(s) if t.title == "Speed"] for s in (without, timed))
    assert "no timing analysis stands behind it" in speed
    assert "is under Timing" in other and any(t.title.startswith("Timing") for t in build_tables(timed))


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
    part = s.part.model_copy(
        update={
            "fits": False,
            "DSP": 3_000,
            "note": "mapped for UltraScale+ primitives, the part is Versal",
            "short": [Shortfall("DSP", 3_072, 3_000)],
            "help": ["buy another"],
        }
    )
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
    assert table.columns == ("", "dense", "pruned", "ratio", "", "found by")
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
    assert table.note == "" and {r[0]: r[4] for r in table.rows}["interval (cycles)"] == "differs"


def estimated():
    """The pruned build without synthesis, as an older file has it: 0 stands for what was not estimated."""
    content = summary(pruned=True).model_dump(by_alias=True)
    content["resources"] |= {"tool": "estimate", "FF": 0, "LUT": 40_000}
    return Summary.model_validate(content)


def test_an_estimate_is_marked_and_has_no_flip_flops():
    s = estimated()
    text = printed(build_tables(s, nodes=True))
    assert "Fits the part (by estimate)." in text and "Speed (measured)" in text and "Resources by node (estimated)" in text
    assert [c.strip() for c in row(text, "FF").split("│")[2:5]] == ["not estimated", "3,456,000", "-"]
    marks = {t.title: dict(zip(t.columns, t.marks)) for t in build_tables(s)}
    assert marks["Resources"] == {"": "", "used": "estimated", s.part.name: "given", "share": "estimated"}
    assert marks["Balance"]["cycles"] == marks["Balance"]["utilisation"] == "estimated" and marks["Balance"]["busy"] == "measured"
    assert s.resources.FF is None and s.resources.per_node[0].FF is None and s.resources.per_node[0].SRL is None
    methods = json.loads(s.model_dump_json())["methods"]
    assert (methods["resources.FF"], methods["resources.LUT"]) == ("not estimated", "estimate")
    assert (methods["balance.cycles"], methods["rtlsim"]) == ("estimate", "simulated")
    assert Summary.model_validate_json(s.model_dump_json(by_alias=True)) == s


def test_an_estimate_beside_a_count_says_so():
    table = comparison(("a", "b"), summary(pruned=True), estimated())[0]
    rows = {r[0]: r[1:] for r in table.rows}
    assert rows["LUT"] == ("43,200", "40,000", "0.926", "differs", "synthesised (Yosys 0.70) against estimated")
    assert rows["FF"] == ("34,560", "not estimated", "-", "differs", "synthesised (Yosys 0.70) against not estimated")
    assert rows["cycles of the slowest node"][-2:] == ("same", "estimated") and rows["interval (cycles)"][-1] == "measured"
    assert "compares an estimate with a count" in table.note
    assert "compares" not in comparison(("a", "b"), summary(pruned=False), summary(pruned=True))[0].note


def test_an_interval_longer_than_the_work_shows():
    slow = RtlsimSummary.measured(6, 20_000, interval_cycles=2_400, interval_cycles_max=2_400, clk_ns=5)
    b = summary(pruned=True).model_copy(update={"rtlsim": slow})
    assert "1.200 x it" in comparison(("a", "b"), summary(pruned=False), b)[0].note


class Elements(HTMLParser):
    """Tags of a page in order, addresses that it names, and its ids."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.addresses, self.ids, self.attributes = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        self.addresses += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data")]
        self.ids += [v for k, v in attrs if k == "id"]


def test_html_is_one_self_contained_page():
    s = summary(pruned=True)
    page = build_page("build/demo & <co>", s, BuildStory({"model": "<m>"}))
    without = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    found = Elements(without)
    assert len(set(found.ids)) == len(found.ids) and not {"link", "iframe"} & set(found.tags)
    assert all(a.startswith(("#", "data:")) for a in found.addresses if a), "nothing from elsewhere"
    assert not re.search(r"""url\(["']?(?!#|data:)|@import""", without) and "sourceMappingURL" not in page
    assert "build/demo &amp; &lt;co&gt;" in page and "&lt;m&gt;" in page
    assert page.count('<caption class="unseen">') == found.tags.count("table") and found.tags.count("details") > 6
    assert all(a.get("scope") in ("row", "col") for tag, a in found.attributes if tag == "th")
    for sheet in (table for table in build_tables(s, nodes=True) if table.title != "Resources by node"):
        shown = [[escape(cell) for cell in r] for r in sheet.rows]
        assert all(f'<th scope="row">{r[0]}</th>' in page and all(f">{cell}</td>" in page for cell in r[1:]) for r in shown)
        assert sheet.mark in page and all(mark in page for mark in sheet.marks)


FIGURE = re.compile(r"^[\d,.]+( (%|ns|ms|x less|beats|images/s|LUT|BRAM36))?( \([\d.]+ %\))?$")


@pytest.mark.parametrize("s", [summary(pruned=True), estimated(), Summary.load("builds/results/deit/deit_small_w8a8_summary.json")])
def test_every_figure_of_every_table_has_a_mark(s):
    for table in build_tables(s, nodes=True):
        for column, (name, mark) in enumerate(zip(table.columns, table.marks, strict=True)):
            assert mark in ("", *MARKS), (table.title, name)
            if column and not mark:
                assert not any(FIGURE.match(r[column]) for r in table.rows) or name.endswith("SLR"), (table.title, name)
        head = printed([replace(table, rows=table.rows[:1])])
        assert all(not mark or f"({mark})" in head for mark in table.marks), table.title


def test_a_page_of_estimates_alone_claims_nothing_else():
    s = estimated().model_copy(update={"rtlsim": None, "verify": None})
    page = build_page("e", s, BuildStory())
    figures = dict(re.findall(r'<dt>([^<]*?)(?: <span class="mark">(\w+)</span>)?</dt>', page))
    assert figures["fits"] == "estimated" and set(figures.values()) <= {"estimated", "counted", ""} and figures["bits"] == ""
    assert page.count(">not run</td>") == 2 and "a summary alone" in page and "netron FOLDER/" in page
    assert page.index("Only estimates: nothing was simulated or synthesised.") < page.index('class="tile')


def test_a_design_that_does_not_fit_says_so_at_the_top_of_its_page():
    s = summary(pruned=True)
    part = s.part.model_copy(update={"fits": False, "short": [Shortfall("DSP", 3_072, 3_000)], "DSP": 3_000})
    page = build_page("b", s.model_copy(update={"part": part}), BuildStory())
    assert page.index('class="notice">The design does not fit xcu250') < page.index("At a glance")


def test_two_equal_builds_do_not_differ_and_others_do_where_they_do():
    a, b = summary(pruned=False), summary(pruned=True)
    later = a.model_copy(update={"time_s": {"step_lower": 99.0}})
    assert differences(("a", "b"), a, later) == []
    found = {t.title.partition(":")[0]: t for t in differences(("a", "b"), a, b)}
    assert found.keys() == {"Model", "Speed", "Energy", "Balance"}
    assert found["Balance"].rows == (
        ("mvau_3", "64 → 32", "2", "3,900 → 1,950", "0", "4,000 → 2,000", "0.975", "100.00 %", "97.50 %"),
        ("attention_1", "-", "1", "900", "0", "1,000", "0.900", "25.00 % → 50.00 %", "22.50 % → 45.00 %"),
    )
    assert found["Model"].rows[-1] == ("parameters", "100,000", "100,000 → 50,000", "1.00 x less → 2.00 x less")
    assert "a → b. 3 rows differ, 0 are the same." in found["Speed"].note or "1 is the same" in found["Speed"].note


def test_rows_and_tables_of_one_build_alone_are_named():
    a, b = summary(pruned=False), summary(pruned=True)
    more = b.balance[0].model_copy(update={"node": "mvau_4"})
    b = b.model_copy(update={"balance": [*b.balance, more], "resources": b.resources.model_copy(update={"per_node": []})})
    found = {t.title: t for t in differences(("a", "b"), a, b)}
    assert "mvau_4 (only in b)" in [r[0] for r in found["Balance: what differs"].rows]
    assert found["Tables of one build alone"].rows == (("Resources by node", "only of a"),)


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
