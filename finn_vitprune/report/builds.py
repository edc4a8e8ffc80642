"""The tables of one build."""

from __future__ import annotations

from collections.abc import Sequence

from finn_vitprune.report.layers import balance_table, cycles_table, fifo_table, memory_map, memory_tables, resource_tables, use_table
from finn_vitprune.report.places import place_tables
from finn_vitprune.report.quantities import clock_text, images_per_second, milliseconds, ms_text, rate_text
from finn_vitprune.report.summary import Summary, VerifySummary
from finn_vitprune.report.tables import COUNTED, ESTIMATED, GIVEN, MEASURED, TextTable, amount, mark_of, percent
from finn_vitprune.report.timing import timing_tables
from finn_vitprune.synth.energy import energy_fit, power
from finn_vitprune.synth.parts import KINDS, family_of
from finn_vitprune.synth.resources import ESTIMATE

NOT_RUN = "not run"
SHARE_OFF, CYCLES_OFF = 0.02, 2
"""How far the cycles of a node alone may be from their estimate, whichever is more."""
FINN_TOTAL = "total_build_time"
"""FINN's own entry among the times of the steps."""


NODE_BY_NODE = "Node by node"
FIFOS, MODEL, CYCLES, RESOURCES, MEMORIES, PLACED = "FIFOs", "Model", "Cycles and lanes", "Resources", "Memories", "Places"


def build_tables(summary: Summary, nodes: bool = False) -> list[TextTable]:
    """The tables of one build; ``nodes`` adds FIFOs, and cycles, memories, resources and timing by node."""
    left_out = () if nodes else (FIFOS, NODE_BY_NODE)
    return [table for title, tables in grouped_tables(summary).items() if title not in left_out for table in tables]


def grouped_tables(s: Summary) -> dict[str, list[TextTable]]:
    """The same by what they are about; what the summary does not tell has no table."""
    encoders = encoder_table([(t.in_, t.mlp) for t in s.model.tokens], s.model.heads)
    slowest = timing_tables(s.timing)
    every = timing_tables(s.timing, nodes=True)[:1] if slowest else []
    groups = {
        MODEL: [_model(s), encoders], "Checks": [_verify(s)], "Speed": [_speed(s), _plan(s)],
        RESOURCES: [_resources(s), *resource_tables(s)], "Energy": [_energy(s)], "Timing": slowest, PLACED: place_tables(s.places), CYCLES: [balance_table(s), use_table(s)],
        FIFOS: [fifo_table(s)], MEMORIES: memory_tables(s),
        NODE_BY_NODE: [cycles_table(s), memory_map(s), _nodes(s), *every, *place_tables(s.places, whole=True)[1:]], "Time": [_times(s)],
    }  # fmt: skip
    found = {title: [table for table in tables if table is not None] for title, tables in groups.items()}
    return {title: tables for title, tables in found.items() if tables}


def encoder_table(tokens: Sequence[tuple[int, int]], heads: Sequence[int]) -> TextTable | None:
    """Tokens (at the input, in the MLP) and live heads of each encoder, from 1; ``None`` without encoders."""
    rows = tuple((str(i), str(n), str(m), str(h)) for i, ((n, m), h) in enumerate(zip(tokens, heads), start=1))
    return (
        TextTable("Tokens and heads", ("encoder", "tokens in", "tokens in MLP", "live heads"), rows, "", ("", *(COUNTED,) * 3))
        if rows
        else None
    )


def operation_rows(name: str, dense: int, pruned: int | None, performed: int) -> list[tuple[str, ...]]:
    """Products of one image before, after, and their ratio: by pruning, by the last encoder for one token, by both.

    Where every token is read of the last encoder, pruning is all. ``pruned`` None: an older summary, which does not tell
    the two apart.
    """
    steps = [(f"{name}: both", dense, performed)]
    if pruned is not None:
        steps.insert(0, (f"{name}: pruning", dense, pruned))
    if pruned not in (None, performed):
        steps.insert(1, (f"{name}: last encoder, class token only", pruned, performed))
    kept = steps[:1] if pruned == performed else steps
    return [(label, f"{a:,}", f"{b:,}", _times_less(a, b)) for label, a, b in kept]


# --- one build -----------------------------------------------------------------------------------


def _model(s: Summary) -> TextTable:
    m = s.model
    rows = (
        *operation_rows("operations (MACs per image)", m.macs_dense, m.macs_pruned, m.macs),
        ("parameters", f"{m.params_dense:,}", f"{m.params:,}", _times_less(m.params_dense, m.params)),
    )
    drops = ", ".join(f"{rate:g} in encoder {i}" for i, rate in sorted(m.token_keep.items())) or "none"
    note = (
        f"Blocks of {m.block_size}x{m.block_size}, {percent(m.block_keep)} kept, {m.index_bits:,} index bits in all matrix units. "
        f"Token keep rates: {drops}."
    )
    return TextTable("Model", ("", "before", "after", "ratio"), rows, f"{m.name}. {note}", ("", *(COUNTED,) * 3))


def _verify(s: Summary) -> TextTable:
    v = s.verify
    if v is None:
        return TextTable("Checks", ("", ""), (("simulation of the accelerator", NOT_RUN),))
    rows = (
        ("images through the RTL", f"{v.images:,}"),
        ("RTL mismatches (values that differ from the hardware graph)", f"{v.rtl_mismatches:,}"),
        ("images run again with random pauses and stalls", f"{v.stalled_images:,}"),
        ("internal streams compared beat by beat", _streams(v)),
        ("simulation of the accelerator", _simulation(v)),
        *_cycles_alone(s),
        ("images whose class differs between RTL and hardware graph", f"{v.class_changes:,}"),
        ("accuracy of the accelerator", _labelled(v.accuracy)),
        ("accuracy in PyTorch", _labelled(v.accuracy_pytorch)),
        ("same class as QONNX", percent(v.top1_agree_qonnx)),
        ("codes that differ from QONNX, node by node", _against_qonnx(v)),
        ("saturations of the residual stream", f"{v.saturations:,}"),
    )
    images = v.image_choice or v.image_source
    note = f"Images: {images}." if images else ""
    return TextTable("Checks", ("", ""), rows, note, ("", MEASURED))


def _streams(v: VerifySummary) -> str:
    left_out = f", {v.left_out_streams:,} others not compared" if v.left_out_streams else ""
    return f"{v.traced_streams:,} on {v.traced_images:,} images{left_out}"


def _simulation(v: VerifySummary) -> str:
    if v.units is None:
        return "in one piece"
    u = v.units
    return (
        f"of {u.structures:,} structures, with the equal model of the MACs; {u.nodes:,} nodes alone on {u.frames:,} frames, "
        f"with the MACs of the plan, {u.beats:,} beats compared"
    )


def _cycles_alone(s: Summary) -> list[tuple[str, str]]:
    """How far the cycles of nodes alone are from their estimates, and which node is farthest."""
    ran = [node for node in s.nodes if node.cycles_alone is not None]
    if not ran:
        return []
    close = sum(abs(n.cycles_alone - n.cycles) <= max(CYCLES_OFF, SHARE_OFF * n.cycles) for n in ran)
    far = max(ran, key=lambda n: (abs(n.cycles_alone - n.cycles) > CYCLES_OFF) * abs(n.cycles_alone / n.cycles - 1))
    text = f"within {SHARE_OFF:.0%} of the estimate (or {CYCLES_OFF} cycles): {close:,} of {len(ran):,}; farthest {far.layer}, "
    return [("cycles of nodes alone", f"{text}{far.cycles_alone:,.1f} of {far.cycles:,}")]


def _against_qonnx(v: VerifySummary) -> str:
    if v.lowering_ties is None:
        return f"by {v.max_code_diff_vs_qonnx:,} at most"
    return f"{v.lowering_ties:,} by one beside a tie, {v.lowering_faults:,} otherwise"


def _speed(s: Summary) -> TextTable:
    r = s.rtlsim
    if r is None:
        return TextTable("Speed", ("", ""), (("simulation of the accelerator", NOT_RUN),))
    rows = (
        ("latency", f"{r.latency_cycles:,}", ms_text(r.latency_ms)),
        ("interval, mean", f"{r.interval_cycles:,.1f}", f"{rate_text(r.fps)} images/s"),
        ("interval, largest", f"{r.interval_cycles_max:,}", ms_text(milliseconds(r.interval_cycles_max, r.clk_ns))),
    )
    known = "no timing analysis stands behind it" if s.timing is None else "what the timing estimate makes of it is under Timing"
    note = f"{r.frames} overlapping frames in simulation; times at {clock_text(r.clk_ns)}, a chosen clock: {known}."
    if s.target_fps is not None:
        note += f" Target of {s.target_fps:,.0f} images/s: {'reached' if r.fps >= s.target_fps else 'NOT reached'}."
    return TextTable("Speed", ("", "cycles", f"at {r.clk_ns:g} ns"), rows, note, ("", MEASURED, MEASURED))


def _plan(s: Summary) -> TextTable | None:
    """Shares of the budget, and why the plan is no faster."""
    p = s.plan
    if p is None:
        return None
    kinds = list(p.used)
    rows = [("the part", *(percent(p.used[k]) for k in kinds))]
    rows += [(f"SLR{i}", *(percent(slr[k]) for k in kinds)) for i, slr in enumerate(p.slrs)]
    budget = ", ".join(f"{k} {percent(share)}" for k, share in p.budget.items())
    shell = "no shell" if p.shell == "none" else f"shell {p.shell}"
    note = f"The plan takes {p.interval_cycles:,} cycles an image. Budget: {budget} of the part; {shell}. {' '.join(p.lines)}"
    return TextTable("Plan: shares of the budget", ("", *kinds), tuple(rows), note, ("", *(ESTIMATED,) * len(kinds)))


def _resources(s: Summary) -> TextTable:
    r, p = s.resources, s.part
    if r is None:
        return TextTable("Resources", ("", ""), (("synthesis", NOT_RUN),))
    mark, by = mark_of(r.tool), "" if r.tool == ESTIMATE else f"Counted by {r.tool}. "
    if p is None:
        return TextTable("Resources", ("", "used"), tuple((k, amount(getattr(r, k))) for k in KINDS), by.strip(), ("", mark))
    rows, family = [], family_of(p.name)
    for kind in KINDS:
        used, offer = getattr(r, kind), getattr(p, kind)
        share = percent(used / offer) if used and offer else ("does not fit" if used else "-")
        if name := family.names[kind]:
            rows.append((name, *(amount(None if n is None else family.amount(kind, n)) for n in (used, offer)), share))
    doubt = f" (by {ESTIMATE})" if r.tool == ESTIMATE else ""
    fits = "" if p.fits is None else f"Fits the part{doubt}." if p.fits else f"Does NOT fit the part: the design {s.no_text}."
    note = by + " ".join(t for t in (fits, f"Numbers {p.note}." if p.note else "") if t)
    return TextTable("Resources", ("", "used", p.name, "share"), tuple(rows), note.strip(), ("", mark, GIVEN, mark))


def _energy(s: Summary) -> TextTable | None:
    """Power above idle and energy of an image, by estimate."""
    r = s.resources
    if r is None or s.interval is None or s.clk_ns is None:
        return None
    watts = power(r.LUT, r.DSP, r.BRAM36, r.URAM, 1e3 / s.clk_ns)
    joules = watts.millijoules(images_per_second(s.interval[0], s.clk_ns))
    rows = (
        ("power above idle", f"{watts.expected:.3g} W", f"{watts.low:.3g} to {watts.high:.3g} W"),
        ("energy of an image above idle", f"{joules.expected:.3g} mJ", f"{joules.low:.3g} to {joules.high:.3g} mJ"),
    )
    beyond = f"EXTRAPOLATED beyond what was measured: {', '.join(watts.beyond)}. " if watts.beyond else ""
    note = f"{beyond}Fitted to {energy_fit().designs} designs of FINN+ on an RFSoC2x2 (docs/energy.md); the 0.85 V rail alone, images back to back."
    return TextTable("Energy", ("", "expected", "interval"), rows, note, ("", ESTIMATED, ESTIMATED))


def _nodes(s: Summary) -> TextTable | None:
    if s.resources is None or not s.resources.per_node:
        return None
    rows = tuple((n.node, n.op_type, *(amount(getattr(n, k)) for k in KINDS)) for n in s.resources.per_node)
    return TextTable("Resources by node", ("node", "op", *KINDS), rows, "", ("", "", *(mark_of(s.resources.tool),) * len(KINDS)))


def _times(s: Summary) -> TextTable | None:
    if not s.time_s:
        return None
    steps = {name: seconds for name, seconds in s.time_s.items() if name != FINN_TOTAL}
    total = s.time_s.get(FINN_TOTAL, sum(steps.values()))
    rows = tuple((step, f"{seconds:,.1f}") for step, seconds in steps.items())
    return TextTable("Time", ("step", "seconds"), (*rows, ("all", f"{total:,.1f}")), "", ("", MEASURED))


# --- text ----------------------------------------------------------------------------------------


def _labelled(share: float | None) -> str:
    return "no labels" if share is None else percent(share)


def _times_less(before: float, after: float) -> str:
    return f"{before / after:.2f} x less" if after else "-"
