"""The page of one build, finished or not, and of two builds side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from finn_vitprune.report.accuracy import Evaluation, card_table
from finn_vitprune.report.build_pictures import drawings
from finn_vitprune.report.builds import CYCLES, FIFOS, MEMORIES, MODEL, NODE_BY_NODE, NOT_RUN, RESOURCES, grouped_tables
from finn_vitprune.report.compare import ARROW, comparison, differences, facts_compared
from finn_vitprune.report.html import KeyFigure, PageSection, ReportPage
from finn_vitprune.report.layers import MultiplierUse, multiplier_use
from finn_vitprune.report.summary import Summary
from finn_vitprune.report.tables import COUNTED, ESTIMATED, GIVEN, MEASURED, TextTable, mark_of, percent
from finn_vitprune.synth.parts import KINDS

PICTURES = {CYCLES: "cycles", RESOURCES: "resources", FIFOS: "fifos", MEMORIES: "memory"}
"""Where each picture of a build stands."""
NO_FOLDER = "This page was made of a summary alone. A page of the whole build folder has more."
OLD_FIFOS = "This summary is of a version that did not keep depths and fills of FIFOs: build again. The memory map has their RAMs."
PLACES = (
    "Every node is called by its encoder and layer. FIFOs, width converters and crossings are called by what they feed. The node's own name "
    "is that of the graph, of the HDL and of folding files."
)


@dataclass(frozen=True)
class BuildStory:
    """What a build folder tells beside its summary; all empty where a summary is a file of its own.

    Attributes:
        facts: what was built, in words by their name. steps: how far each step is.
        log_end: last lines of the log of a build that stopped. graphs: models to open, with what they are.
        tokens: the picture of the patches that are left. token_text: which images these are, or why there is no picture.
        evaluation: what `evaluate` found last.
    """

    facts: Mapping[str, str] = field(default_factory=dict)
    steps: Mapping[str, str] = field(default_factory=dict)
    log_end: str = ""
    graphs: Mapping[str, str] = field(default_factory=dict)
    tokens: Markup | None = None
    token_text: str = NO_FOLDER
    evaluation: Evaluation | None = None

    @property
    def stopped(self) -> str:
        """Where the build stopped, as a sentence; empty where it is finished."""
        return stopped_text(self.facts)


def stopped_text(facts: Mapping[str, str]) -> str:
    """Where a build stopped, as a sentence; empty where it is finished."""
    return f"This build stopped {facts['stopped']}: what comes later is not known." if "stopped" in facts else ""


def build_page(title: str, summary: Summary | None, story: BuildStory) -> str:
    """The page of one build; ``summary`` None where the build did not come to it."""
    notice = " ".join(filter(None, (story.stopped, *(summary.no if summary else ()))))
    sections = [] if summary is None else list(_sections(summary, story))
    if story.stopped:
        sections = [_stopped(story), *sections]
    figures = [] if summary is None else list(_key_figures(summary, story.evaluation))
    if summary is None and story.tokens:
        sections.append(_tokens(story, ()))
    sections.append(_graph(story))
    return ReportPage(title, story.facts or (summary and _known(summary)) or {}, figures, sections, notice).html()


def _known(s: Summary) -> dict[str, str]:
    """What a summary alone tells of what was built."""
    facts = {"model": s.model.name, "part": s.part and s.part.name, "clock period": s.rtlsim and f"{s.rtlsim.clk_ns:g} ns, chosen"}
    facts |= {"resources by": s.resources and s.resources.tool, "command, date, versions": NO_FOLDER}
    return {name: text for name, text in facts.items() if text}


def pair_page(title: str, names: tuple[str, str], summaries: tuple[Summary, Summary], stories: tuple[BuildStory, BuildStory]) -> str:
    """The page of two builds: all figures with their ratio, then of every table of a build what differs."""
    facts = facts_compared(names, *(story.facts for story in stories))
    rows = differences(names, *summaries)
    text = (f"A row that differs has the word in it, or both figures with an arrow between them: {names[0]}{ARROW}{names[1]}.",)
    sections = [
        PageSection("Side by side", text=text, tables=tuple(comparison(names, *summaries))),
        *([PageSection("What was built", tables=tuple(facts))] if facts else []),
        PageSection("What differs", text=() if rows else ("All tables of the two builds are the same, but for the time of the steps.",), tables=tuple(rows)),
    ]
    sections += [
        PageSection(f"Pictures of {name}", text=() if (shown := tuple(drawings(summary, prefix).values())) else (NOT_RUN,), pictures=shown)
        for name, summary, prefix in zip(names, summaries, ("first-", "second-"))
    ]
    notices = [f"{name}: {story.stopped}" for name, story in zip(names, stories) if story.stopped]
    return ReportPage(title, sections=sections, notice=" ".join(notices)).html()


def _sections(s: Summary, story: BuildStory) -> Iterator[PageSection]:
    yield PageSection("Network", tables=(card_table(s.model, story.evaluation),))
    pictures = drawings(s)
    groups = grouped_tables(s)
    if FIFOS not in groups and s.nodes:
        groups = _after(groups, CYCLES, FIFOS)
    for title, tables in groups.items():
        shown = tuple(pictures[name] for place, name in PICTURES.items() if place == title and name in pictures)
        text = {NODE_BY_NODE: (PLACES,), FIFOS: () if tables else (OLD_FIFOS,)}.get(title, ())
        if title == MODEL:
            yield PageSection(title, tables=tuple(tables[:1]))
            yield _tokens(story, tables[1:])
        else:
            yield PageSection(title, text, pictures=shown, tables=tuple(tables))


def _after(groups: dict[str, list[TextTable]], place: str, title: str) -> dict[str, list[TextTable]]:
    """``groups`` with an empty one behind another."""
    found = {}
    for name, tables in groups.items():
        found |= {name: tables} | ({title: []} if name == place else {})
    return found


def _tokens(story: BuildStory, tables: Sequence[TextTable]) -> PageSection:
    return PageSection("Tokens", (story.token_text,), pictures=(story.tokens,) if story.tokens else (), tables=tuple(tables))


def _stopped(story: BuildStory) -> PageSection:
    """How far a build came, and what its log says last."""
    steps = TextTable("Steps", ("step", "state"), tuple(story.steps.items()))
    return PageSection("Where it stopped", (story.stopped, *(("The end of its log:",) if story.log_end else ())), story.log_end, tables=(steps,))


def _graph(story: BuildStory) -> PageSection:
    text = "The graph opens in Netron (pip install netron). Node by node has the words for every node."
    if not story.graphs:
        return PageSection("The graph", (text,), "netron FOLDER/intermediate_models/step_summarise.onnx")
    return PageSection("The graph", (text,), "\n".join(f"netron {path}  # {what}" for path, what in story.graphs.items()))


# --- figures of the first lines ------------------------------------------------------------------


def _key_figures(s: Summary, evaluation: Evaluation | None) -> Iterator[KeyFigure]:
    if evaluation is not None and evaluation.accuracy is not None:
        yield KeyFigure(f"accuracy of the integers on {evaluation.images:,} images", percent(evaluation.accuracy), COUNTED)
    if s.rtlsim is not None:
        yield KeyFigure(f"images/s at {1e3 / s.rtlsim.clk_ns:,.0f} MHz", f"{s.rtlsim.fps:,.0f}", MEASURED)
        yield KeyFigure("latency", f"{s.rtlsim.latency_ms:,.4f} ms", MEASURED)
    if s.interval is not None:
        yield KeyFigure("interval", f"{s.interval[0]:,.0f} cycles", mark_of(s.interval[1]))
    if s.rtlsim is None and s.plan is not None and s.plan.latency_cycles:
        yield KeyFigure("latency", f"{s.plan.latency_cycles:,} cycles", ESTIMATED)
    if s.verify is not None:
        yield KeyFigure("wrong values", f"{s.verify.rtl_mismatches:,} on {s.verify.images:,} images", MEASURED)
        if s.verify.accuracy is not None:
            yield KeyFigure(f"accuracy of the RTL on {s.verify.images:,} images", percent(s.verify.accuracy), MEASURED)
    if s.part is not None and s.part.fits is not None:
        yield KeyFigure(f"fits {s.part.name}", "yes" if s.part.fits else "no", mark_of(s.resources.tool))
        shares = {k: getattr(s.resources, k) / getattr(s.part, k) for k in KINDS if getattr(s.part, k) and getattr(s.resources, k)}
        if shares:
            kind = max(shares, key=shares.__getitem__)
            yield KeyFigure("most used", f"{kind} {percent(shares[kind])}", mark_of(s.resources.tool))
    if (use := _use(s)) is not None:
        yield KeyFigure("multipliers busy", percent(use.busy), mark_of(s.interval[1]))
    if s.timing is not None:
        yield KeyFigure("slowest path", f"{s.timing.taken:,.2f} ns", ESTIMATED)
    yield KeyFigure("operations", f"{s.model.macs_dense / s.model.macs:,.2f} x less" if s.model.macs else "-", COUNTED)
    yield KeyFigure("parameters", f"{s.model.params_dense / s.model.params:,.2f} x less" if s.model.params else "-", COUNTED)
    if s.target_fps is not None:
        yield KeyFigure("target", f"{s.target_fps:,.0f} images/s", GIVEN)


def _use(s: Summary) -> MultiplierUse | None:
    rows = [row for row in s.balance if row.macs_per_cycle]
    return multiplier_use(rows, s.interval[0]) if rows and s.interval else None
