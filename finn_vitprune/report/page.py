"""The page of one build, finished or not, and of two builds side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import log

from markupsafe import Markup

from finn_vitprune.report.accuracy import Evaluation, card_table
from finn_vitprune.report.build_verdict import build_verdict, estimates_text, faults, fit_text, missed_text, part_shares, shown
from finn_vitprune.report.builds import CYCLES, FIFOS, MODEL, NODE_BY_NODE, grouped_tables
from finn_vitprune.report.compare import ARROW, comparison, differences, facts_compared, pair_verdict
from finn_vitprune.report.html import Bar, Card, PageSection, ReportPage, Tile
from finn_vitprune.report.part_picture import part_picture
from finn_vitprune.report.place_picture import place_picture
from finn_vitprune.report.quantities import clock_text, ms_text, rate_text, share_text
from finn_vitprune.report.summary import Summary
from finn_vitprune.report.tables import COUNTED, ESTIMATED, TextTable, mark_of
from finn_vitprune.report.time_picture import time_picture
from finn_vitprune.report.tree import build_tree, pair_tree
from finn_vitprune.report.verdict import Verdict, VerdictLine, model_title

NO_FOLDER = "This page was made of a summary alone. A page of the whole build folder has more."
OLD_FIFOS = "This summary is of a version that did not keep depths and fills of FIFOs: build again. The memory map has their RAMs."
PLACES = (
    "Every node is called by its encoder and layer. FIFOs, width converters and crossings are called by what they feed. The node's own name "
    "is that of the graph, of the HDL and of folding files."
)
EQUAL, DIFFERS = "equals the integer network in every bit", "DIFFERS from the integer network"
TIME, PART, TOKENS, FLOOR = "Where the time goes", "Where the part goes", "Tokens that stay", "Where the units are"
TIME_NOTE = "Percent of the time between two images in which a unit works. A click finds it in the table."
FLOOR_NOTE = "Places by estimate, not routed. What it says of the clock is in the tables under Places."
IN_TREE = ("Cycles by node", "Resources by node")
"""Tables that the tree table of a page replaces."""


@dataclass(frozen=True)
class BuildStory:
    """What a build folder tells beside its summary; all empty where a summary is a file of its own.

    Attributes:
        facts: what was built, in words by their name. steps: how far each step is.
        log_end: last lines of the log of a build that stopped. graphs: models to open, with what they are.
        tokens: pictures of the patches that are left, an image each, with words for it. token_text: which images these are, or why
            there is no picture.
        evaluation: what `evaluate` found last.
    """

    facts: Mapping[str, str] = field(default_factory=dict)
    steps: Mapping[str, str] = field(default_factory=dict)
    log_end: str = ""
    graphs: Mapping[str, str] = field(default_factory=dict)
    tokens: tuple[tuple[str, Markup], ...] = ()
    token_text: str = NO_FOLDER
    evaluation: Evaluation | None = None

    @property
    def stopped(self) -> str:
        """Where the build stopped, as a sentence; empty where it is finished."""
        return f"This build stopped {self.facts['stopped']}: what comes later is not known." if "stopped" in self.facts else ""


def build_page(title: str, summary: Summary | None, story: BuildStory) -> str:
    """The page of one build; ``summary`` None where the build did not come to it."""
    if summary is None:
        cards = [_tokens(story)] if story.tokens else []
        return ReportPage(
            title,
            "",
            [story.stopped] if story.stopped else [],
            cards=cards,
            sections=[*_stopped(story), *_built(story, True), _graph(story)],
        ).html()
    verdict = build_verdict(summary, story.facts, story.evaluation, "")
    return ReportPage(
        title,
        sentence(summary),
        list(faults(summary, story.facts)),
        estimates_text(summary),
        _tiles(summary, verdict),
        [
            _tokens(story),
            _picture(TIME, time_picture(summary, "time"), TIME_NOTE, ESTIMATED),
            _picture(PART, part_picture(summary, "part"), "", _counted_by(summary)),
            *_floor_plan(summary),
        ],
        build_tree(summary),
        [*_stopped(story), *_sections(summary, story), *_built(story, False), _graph(story)],
    ).html()


def pair_page(title: str, names: tuple[str, str], summaries: tuple[Summary, Summary], stories: tuple[BuildStory, BuildStory]) -> str:
    """The page of two builds: what differs first, both in every picture and in the tree table, then all tables with what differs."""
    verdict = pair_verdict(names, *summaries)
    rows = differences(names, *summaries)
    text = f"A cell that differs has both figures with an arrow between them: {names[0]}{ARROW}{names[1]}."
    sections = [
        PageSection("Side by side", tables=tuple(comparison(names, *summaries))),
        PageSection("What was built", tables=tuple(facts_compared(names, *(story.facts for story in stories)))),
        PageSection(
            "What differs",
            (text,) if rows else ("All tables of the two builds are the same, but for the time of the steps.",),
            tables=tuple(rows),
        ),
    ]
    notices = [f"{name}: {story.stopped}" for name, story in zip(names, stories) if story.stopped]
    tiles = [
        Tile(line.name, line.value, note=f"{line.found} the first" if line.found else "") for line in sorted(verdict.lines, key=_change)
    ]
    return ReportPage(
        title,
        _pair_sentence(names, verdict),
        [*notices, *verdict.warnings],
        "",
        tiles,
        list(_pair_cards(names, summaries, stories)),
        pair_tree(names, *summaries),
        [section for section in sections if section.tables or section.text],
    ).html()


# --- the first screen ----------------------------------------------------------------------------


def sentence(s: Summary) -> str:
    """What was built, whether it fits, how fast it is, whether its bits are equal."""
    parts = [model_title(s.model.model_dump(), None)]
    if s.part is not None and s.part.fits is not None:
        parts.append(f"it {'fits' if s.part.fits else 'does NOT fit'} {s.part.name}")
    if s.rtlsim is not None:
        parts.append(
            f"takes {rate_text(s.rtlsim.fps)} images/s at {clock_text(s.rtlsim.clk_ns)} with a latency of {ms_text(s.rtlsim.latency_ms)}"
        )
    elif s.estimated_interval is not None:
        parts.append(f"would take an image each {s.estimated_interval[0]:,.0f} cycles by estimate")
    if s.verify is not None:
        equal = not (s.verify.rtl_mismatches or s.verify.class_changes)
        parts.append(f"its RTL {EQUAL if equal else DIFFERS} on {s.verify.images:,} images")
    head, *rest = parts
    return f"{head}: {', '.join(rest[:-1])}{', and ' if len(rest) > 1 else ''}{rest[-1]}." if rest else f"{head}."


def _tiles(s: Summary, verdict: Verdict) -> list[Tile]:
    """The lines of the verdict, with the shares of the part as bars."""
    wrong = {"fits": fit_text(s), "rate": missed_text(s), "bits": verdict.lines and "DIFFER" in _line(verdict, "bits").value}
    tiles = []
    for line in verdict.lines:
        bars = _bars(s) if line.name == "fits" else ()
        tiles.append(Tile(_head(line, s), line.value, line.found, line.note, bars, bool(wrong.get(line.name)) or "NOT" in line.value))
    return tiles


def _line(verdict: Verdict, name: str) -> VerdictLine:
    return next(line for line in verdict.lines if line.name == name)


def _head(line: VerdictLine, s: Summary) -> str:
    if line.name != "fits" or s.part is None:
        return line.name
    return "does not fit" if s.part.fits is False else "fits"


def _bars(s: Summary) -> tuple[Bar, ...]:
    budget = s.plan.budget if s.plan else {}
    return tuple(
        Bar(shown(s, kind), share, share_text(share), budget.get(shown(s, kind))) for kind, share in part_shares(s).items() if kind != "FF"
    )


def _change(line: VerdictLine) -> float:
    """The less, the further the ratio of a line is from 1; 0 without one."""
    ratio = float(line.found.removesuffix(" x")) if line.found else 1.0
    return -abs(log(ratio)) if ratio > 0 else -1.0


def _pair_sentence(names: tuple[str, str], verdict: Verdict) -> str:
    told = [f"{line.found} the {line.name}" for line in verdict.lines if line.found and line.found != "1.00 x"]
    return f"{names[1]} has, against {names[0]}: {', '.join(told)}." if told else f"{names[0]} and {names[1]} have the same figures."


# --- pictures ------------------------------------------------------------------------------------


def _picture(title: str, picture: Markup | None, note: str, mark: str) -> Card:
    return (
        Card(title, (("", picture),), note, mark) if picture is not None else Card(title, note="The summary does not tell it: build again.")
    )


def _floor_plan(s: Summary) -> list[Card]:
    """The places of a design that has some."""
    return [] if s.places is None else [_picture(FLOOR, place_picture(s, "places"), FLOOR_NOTE, ESTIMATED)]


def _counted_by(s: Summary) -> str:
    return mark_of(s.resources.tool) if s.resources else ""


def _tokens(story: BuildStory) -> Card:
    if not story.tokens:
        return Card(TOKENS, note=story.token_text)
    words, picture = story.tokens[0]
    return Card(
        TOKENS, (("", picture),), f"{words}. Veiled patches are dropped: they are fused into one token. {story.token_text}", COUNTED
    )


def _pair_cards(names: tuple[str, str], summaries: tuple[Summary, Summary], stories: tuple[BuildStory, BuildStory]) -> Iterator[Card]:
    """Each picture of both builds."""
    found: dict[str, list[tuple[str, Markup | None]]] = {TOKENS: [], TIME: [], PART: [], FLOOR: []}
    for i, (name, s, story) in enumerate(zip(names, summaries, stories)):
        found[TOKENS].append((name, Markup(str(story.tokens[0][1]).replace("tokens-0", f"tokens-{i}-0")) if story.tokens else None))
        found[TIME].append((name, time_picture(s, f"time-{i}")))
        found[PART].append((name, part_picture(s, f"part-{i}")))
        found[FLOOR].append((name, place_picture(s, f"places-{i}")))
    for title, pictures in found.items():
        shown = tuple((name, picture) for name, picture in pictures if picture is not None)
        if shown:
            yield Card(title, shown, TIME_NOTE if title == TIME else "")


# --- parts that open -----------------------------------------------------------------------------


def _sections(s: Summary, story: BuildStory) -> Iterator[PageSection]:
    groups = grouped_tables(s)
    network = card_table(s.model, story.evaluation)
    yield PageSection("Network", pictures=tuple(picture for _, picture in story.tokens[1:]), tables=(network, *groups.pop(MODEL, ())))
    if FIFOS not in groups and s.nodes:
        groups = _after(groups, CYCLES, FIFOS)
    for title, tables in groups.items():
        text = {NODE_BY_NODE: (PLACES,), FIFOS: () if tables else (OLD_FIFOS,)}.get(title, ())
        kept = tuple(table for table in tables if table.title not in IN_TREE)
        if kept or text:
            yield PageSection(title, text, tables=kept)


def _after(groups: dict[str, list[TextTable]], place: str, title: str) -> dict[str, list[TextTable]]:
    """``groups`` with an empty one behind another."""
    found = {}
    for name, tables in groups.items():
        found |= {name: tables} | ({title: []} if name == place else {})
    return found


def _built(story: BuildStory, shown: bool) -> list[PageSection]:
    """What was built: command, versions, digests."""
    rows = tuple((name, text) for name, text in story.facts.items() if name != "command")
    if not rows:
        return [PageSection("What was built", (NO_FOLDER,))]
    return [
        PageSection(
            "What was built", code=story.facts.get("command", ""), tables=(TextTable("What was built", ("", ""), rows),), open=shown
        )
    ]


def _stopped(story: BuildStory) -> list[PageSection]:
    """How far a build came, and what its log says last; nothing of a finished one."""
    if not story.stopped:
        return []
    steps = TextTable("Steps", ("step", "state"), tuple(story.steps.items()))
    return [
        PageSection(
            "Where it stopped",
            (story.stopped, *(("The end of its log:",) if story.log_end else ())),
            story.log_end,
            tables=(steps,),
            open=True,
        )
    ]


def _graph(story: BuildStory) -> PageSection:
    text = "The graph opens in Netron (pip install netron). The table of encoders, roles and nodes has the words for every node."
    if not story.graphs:
        return PageSection("The graph", (text,), "netron FOLDER/intermediate_models/step_summarise.onnx")
    return PageSection("The graph", (text,), "\n".join(f"netron {path}  # {what}" for path, what in story.graphs.items()))
