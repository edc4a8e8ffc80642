"""The verdict of a build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from finn_vitprune.report.accuracy import Evaluation
from finn_vitprune.report.quantities import (
    accuracy_text,
    clock_text,
    count_text,
    images_per_second,
    milliseconds,
    ms_text,
    rate_text,
    share_text,
)
from finn_vitprune.report.summary import Summary
from finn_vitprune.report.tables import COUNTED, ESTIMATED, MEASURED, mark_of
from finn_vitprune.report.verdict import Verdict, VerdictLine, model_title
from finn_vitprune.synth.family import ULTRASCALE
from finn_vitprune.synth.parts import KINDS, NO_SHELL, board_parts, family_of
from finn_vitprune.synth.resources import ESTIMATE

NOT_KNOWN = "not known"
SHOWN = {"LUT": "LUT", "FF": "FF", "DSP": "DSP", "BRAM36": "BRAM", "URAM": "URAM"}
"""Resources as they are called where a name has to be short."""


def build_verdict(
    s: Summary, facts: Mapping[str, str], evaluation: Evaluation | None, place: str, page: str = "", following: str = ""
) -> Verdict:
    """What a build came to.

    Args:
        facts: of its record, by name. place: its folder, or the file of its summary. page: the file of its page. following: what
            comes next; without it :func:`next_step`.
    """
    lines = (fits_line(s), rate_line(s), latency_line(s), bits_line(s), accuracy_line(s, evaluation), clock_line(s), operations_line(s))
    title = model_title(s.model.model_dump(), s.part and part_title(s))
    return Verdict(title, place, tuple(warnings(s, facts)), lines, page, following or next_step(s, facts, evaluation, place))


def part_title(s: Summary) -> str:
    """The bare part, or the card with its shell."""
    assert s.part is not None
    if s.plan is None or s.plan.shell == NO_SHELL:
        return s.part.name
    cards = {part: board for board, part in board_parts().items()}
    return f"{cards.get(s.part.name, s.part.name)} with its shell"


def warnings(s: Summary, facts: Mapping[str, str]) -> Iterator[str]:
    """What a reader must know first, in sentences: what is wrong, then what is only an estimate."""
    yield from faults(s, facts)
    if estimates := estimates_text(s):
        yield estimates


def faults(s: Summary, facts: Mapping[str, str]) -> Iterator[str]:
    """What is wrong, or not there: refusals, a clock that does not hold, a build that stopped."""
    yield from refusals(s)
    if s.timing is not None and not s.timing.holds:
        slow = f"a path in {_slowest_layer(s)} takes {s.timing.taken:.2f} ns of {s.timing.clk_ns:g}"
        yield f"The clock does not hold by estimate: {slow}."
    if s.places is not None and (s.places.slow_nodes() or s.places.slow_links()):
        yield f"Placed on the part, {s.places.text}."
    if (stopped := facts.get("stopped")) and not (stopped.startswith("after") and s.rtlsim is None):  # what only estimates say
        yield f"Stopped {stopped}: what comes later is not known."


def refusals(s: Summary) -> list[str]:
    """Why the answer is no, in sentences; empty if the design is what was asked for."""
    return list(filter(None, (mismatch_text(s), fit_text(s), missed_text(s))))


def fit_text(s: Summary) -> str:
    """That the design does not fit the part, and what would help; empty if it fits."""
    return f"The design {s.no_text}." if s.no_text else ""


def mismatch_text(s: Summary) -> str:
    """That the RTL differs from the hardware graph; empty if it does not, or did not run."""
    v = s.verify
    if v is None or not (v.rtl_mismatches or v.class_changes):
        return ""
    changes = f", {v.class_changes:,} of them with another class" if v.class_changes else ""
    return f"The RTL differs from the hardware graph: {v.rtl_mismatches:,} values on {v.images:,} images{changes}."


def missed_text(s: Summary) -> str:
    """That the target is missed, by simulation, else by plan; empty if it is met, or there is none."""
    if s.target_fps is not None and s.rtlsim is not None:
        slow = s.rtlsim.fps < s.target_fps
        return f"Misses the target: {rate_text(s.rtlsim.fps)} of {s.target_fps:,.0f} images/s ({MEASURED})." if slow else ""
    return f"The design {s.plan.missed}." if s.plan is not None and s.plan.missed else ""


def estimates_text(s: Summary) -> str:
    """Which figures are only estimates; empty if all was simulated and synthesised."""
    synthesised = s.resources is not None and s.resources.tool != ESTIMATE
    if s.rtlsim is None:
        return f"Only estimates: nothing was simulated{'' if synthesised else ' or synthesised'}."
    return "" if synthesised else "Resources are only an estimate, and the clock is not known: nothing was synthesised."


def fits_line(s: Summary) -> VerdictLine:
    """Shares of the part, and what is fullest."""
    shares = part_shares(s)
    if not shares:
        return VerdictLine("fits", NOT_KNOWN, note="no resources were counted")
    answer = "no: " if s.part.fits is False else ""
    value = answer + "  ".join(f"{shown(s, kind)} {share_text(share)}" for kind, share in shares.items() if kind != "FF")
    where, share = fullest(s)
    return VerdictLine("fits", value, mark_of(s.resources.tool), f"fullest: {where}, {share_text(share)}")


def part_shares(s: Summary) -> dict[str, float]:
    """What is used of the part, by resource; what is not counted, or the part lacks, is left out."""
    if s.resources is None or s.part is None:
        return {}
    pairs = {kind: (getattr(s.resources, kind), getattr(s.part, kind)) for kind in KINDS}
    return {kind: used / offer for kind, (used, offer) in pairs.items() if used is not None and offer}


def shown(s: Summary, kind: str) -> str:
    """What the family of the part calls a resource."""
    family = ULTRASCALE if s.part is None else family_of(s.part.name)
    return SHOWN[kind] if family == ULTRASCALE else family.names[kind]


def die_shares(s: Summary) -> list[dict[str, float]]:
    """The same of every die, from SLR0 on; empty if nodes are in none, or it is not known what dies have."""
    if s.part is None or not s.part.dies or not any(node.slrs for node in s.nodes):
        return []
    return [
        {kind: used[kind] / getattr(die, kind) for kind in KINDS if getattr(die, kind)} for used, die in zip(s.used_by_die, s.part.dies)
    ]


def fullest(s: Summary) -> tuple[str, float]:
    """The resource of the part, or of a die, of which most is used, with its share."""
    dies = {f"{SHOWN[kind]} of SLR{i}": share for i, die in enumerate(die_shares(s)) for kind, share in die.items()}
    shares = dies or {shown(s, kind): share for kind, share in part_shares(s).items()}
    return max(shares.items(), key=lambda pair: pair[1])


def rate_line(s: Summary) -> VerdictLine:
    """Images/s, with the plan beside a simulation."""
    plan = s.plan and f"{rate_text(images_per_second(s.plan.interval_cycles, s.clk_ns))}" if s.clk_ns and s.plan else None
    at = f"at {clock_text(s.clk_ns)}" if s.clk_ns else ""
    if s.rtlsim is not None:
        return VerdictLine("rate", f"{rate_text(s.rtlsim.fps)} images/s", MEASURED, f"{at}; plan {plan}" if plan else at)
    if s.interval is None:
        return VerdictLine("rate", NOT_KNOWN)
    cycles, method = s.interval
    text = f"{rate_text(images_per_second(cycles, s.clk_ns))} images/s" if s.clk_ns else f"an image each {cycles:,.0f} cycles"
    return VerdictLine("rate", text, mark_of(method), at)


def latency_line(s: Summary) -> VerdictLine:
    """From the first pixel of a lone image to its logits."""
    way = "first pixel to logits"
    if s.latency is None:
        return VerdictLine("latency", NOT_KNOWN)
    cycles, method = s.latency
    return VerdictLine("latency", ms_text(milliseconds(cycles, s.clk_ns)) if s.clk_ns else f"{cycles:,} cycles", mark_of(method), way)


def bits_line(s: Summary) -> VerdictLine:
    """Whether the RTL equals the hardware graph in every compared value."""
    v = s.verify
    if v is None:
        return VerdictLine("bits", NOT_KNOWN, note="no simulation ran")
    compared = f"{v.images:,} image{'s' * (v.images != 1)}"
    if v.units is not None:
        compared += f", {count_text(v.units.beats)} transfers of {v.units.nodes:,} nodes"
    elif v.traced_streams:
        compared += f", {v.traced_streams:,} streams inside"
    return VerdictLine("bits", "DIFFER" if mismatch_text(s) else "equal", MEASURED, compared)


def accuracy_line(s: Summary, evaluation: Evaluation | None) -> VerdictLine:
    """Of the integers on a data set, else of the RTL on its images."""
    if evaluation is not None and evaluation.accuracy is not None:
        of_float = "" if evaluation.accuracy_float is None else f" (float {accuracy_text(evaluation.accuracy_float)})"
        return VerdictLine(
            "accuracy", f"{accuracy_text(evaluation.accuracy)}{of_float}", COUNTED, f"{evaluation.images:,} images of {evaluation.data}"
        )
    if s.verify is not None and s.verify.accuracy is not None:
        return VerdictLine(
            "accuracy", accuracy_text(s.verify.accuracy), MEASURED, f"{s.verify.images:,} images; evaluate takes a whole data set"
        )
    return VerdictLine("accuracy", NOT_KNOWN, note="no labelled images were used")


def clock_line(s: Summary) -> VerdictLine:
    """Whether the chosen clock holds."""
    t = s.timing
    if t is None:
        chosen = f"{clock_text(s.clk_ns)} was chosen; " if s.clk_ns else ""
        return VerdictLine("clock", NOT_KNOWN, note=f"{chosen}synthesis gives an estimate")
    note = f"{t.taken:.2f} ns of {t.clk_ns:g} ({t.high:.2f} with high constants)"
    return VerdictLine("clock", "holds" if t.holds else "does NOT hold", ESTIMATED, note)


def operations_line(s: Summary) -> VerdictLine:
    """How many products fewer than the unpruned network has, by what."""
    m = s.model
    return (
        VerdictLine("operations", *operations_text(m.macs_dense, m.macs_pruned, m.macs)) if m.macs else VerdictLine("operations", NOT_KNOWN)
    )


def operations_text(dense: int, pruned: int | None, performed: int) -> tuple[str, str, str]:
    """How many products fewer, how that was found, and what saves them."""
    note = ""
    if pruned not in (None, performed):
        note = f"{dense / pruned:.2f} by pruning, {pruned / performed:.2f} by the last encoder"
    return f"{dense / performed:.2f} x fewer", COUNTED, note


def next_step(s: Summary, facts: Mapping[str, str], evaluation: Evaluation | None, place: str) -> str:
    """The command, or words for it, that goes on from here; empty for a summary without its folder."""
    if place.endswith(".json"):
        return ""
    if (s.part is not None and s.part.fits is False) or missed_text(s):
        return "build again with what would help"
    if mismatch_text(s):
        return f"the log of what differs, {place}/build_dataflow.log"
    if facts.get("stopped", "").startswith("in"):
        return f"the same command goes on there; why it stopped: {place}/build_dataflow.log"
    if s.rtlsim is None:
        return "the same command without --estimate-only"
    if evaluation is None:
        return f"finn-vitprune evaluate {place} --data imagefolder:PATH"
    return "the same command with --export vivado"


def _slowest_layer(s: Summary) -> str:
    layers = {node.node: node.layer for node in s.nodes}
    return layers.get(s.timing.node, s.timing.node)
