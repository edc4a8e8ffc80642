"""The tables of one build, and of two builds side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from finn_vitprune.report.layers import balance_table, cycles_table, memory_map, memory_tables, resource_tables, use_table
from finn_vitprune.report.summary import SIMULATED, BalanceRow, Summary, VerifySummary
from finn_vitprune.report.tables import TextTable, amount, percent
from finn_vitprune.report.timing import timing_tables
from finn_vitprune.synth.parts import KINDS
from finn_vitprune.synth.resources import ESTIMATE, NOT_ESTIMATED

NOT_RUN = "not run"
AGAINST = " against "
MIXED = (
    "Where a figure is found by one method against another, the ratio compares an estimate with a count: LUTs of an "
    "estimate are within 20 % of what Yosys counts."
)
SHARE_OFF, CYCLES_OFF = 0.02, 2
"""How far the cycles of a node alone may be from their estimate, whichever is more."""
FINN_TOTAL = "total_build_time"
"""FINN's own entry among the times of the steps."""


def build_tables(summary: Summary, nodes: bool = False) -> list[TextTable]:
    """The tables of one build; ``nodes`` adds cycles, memories and resources by node. Empty sections leave out their table."""
    encoders = encoder_table([(t.in_, t.mlp) for t in summary.model.tokens], summary.model.heads)
    parts = [_model(summary), encoders, _verify(summary), _speed(summary), _plan(summary), _resources(summary)]
    parts += timing_tables(summary.timing, nodes)
    parts += [*resource_tables(summary), balance_table(summary), use_table(summary), *memory_tables(summary)]
    parts += [cycles_table(summary), memory_map(summary), _nodes(summary)] if nodes else []
    parts += [_times(summary)]
    return [table for table in parts if table is not None]


def comparison(names: tuple[str, str], a: Summary, b: Summary) -> list[TextTable]:
    """Two builds side by side, with the ratio second / first, how each figure was found, and the slowest nodes."""
    def row(
        label: str,
        found: str,
        figure: Callable[[Summary], float | None],
        form: Callable[[float], str] = "{:,.0f}".format,
        absent: str = NOT_RUN,
    ) -> tuple[str, ...]:
        """``found`` is the figure's place among the methods of a summary."""
        x, y = figure(a), figure(b)
        ratio = f"{y / x:.3f}" if x and y is not None else "-"
        methods = dict.fromkeys(s.methods.get(found, NOT_RUN) for s in (a, b))
        return (label, *(absent if v is None else form(v) for v in (x, y)), ratio, AGAINST.join(methods))

    rows = (
        row("operations (MACs per image), unpruned", "model", lambda s: s.model.macs_dense),
        row("operations after pruning", "model", lambda s: s.model.macs_pruned, absent="not told apart"),
        row("operations performed (last encoder: class token alone)", "model", lambda s: s.model.macs),
        row("parameters", "model", lambda s: s.model.params),
        row("block index bits", "model", lambda s: s.model.index_bits),
        row("weight memory (bits)", "model", _weight_bits),
        row("tokens, sum over encoders (MLP)", "model", lambda s: sum(t.mlp for t in s.model.tokens)),
        row("live heads", "model", lambda s: sum(s.model.heads)),
        row("largest work of a node (cycles at full use)", "balance.ideal_cycles",
            lambda s: _largest(s).ideal_cycles if s.balance else None),
        row("cycles of the slowest node", "balance.cycles", lambda s: _slowest(s).cycles if s.balance else None),
        row("interval (cycles)", "rtlsim", lambda s: s.rtlsim and s.rtlsim.interval_cycles, "{:,.1f}".format),
        row("latency (cycles)", "rtlsim", lambda s: s.rtlsim and s.rtlsim.latency_cycles),
        row("latency (ms)", "rtlsim", lambda s: s.rtlsim and s.rtlsim.latency_ms, "{:,.4f}".format),
        row("images/s", "rtlsim", lambda s: s.rtlsim and s.rtlsim.fps),
        row("slowest path (ns)", "timing", lambda s: s.timing and s.timing.taken, "{:,.2f}".format),
        *(
            row(k, f"resources.{k}", lambda s, k=k: s.resources and getattr(s.resources, k), amount, NOT_ESTIMATED)
            for k in KINDS
        ),
        row("accuracy", "verify", lambda s: s.verify and s.verify.accuracy, percent, "no labels, or not run"),
        row("RTL mismatches", "verify", lambda s: s.verify and s.verify.rtl_mismatches),
    )  # fmt: skip
    notes = [_verdict(a, b), *(f"{s.part.name}: the design {s.no_text}." for s in (a, b) if s.no_text)]
    if any(AGAINST in r[-1] and r[3] != "-" for r in rows):
        notes.append(MIXED)
    result = [TextTable("Two builds", ("", *names, "ratio", "found by"), rows, " ".join(filter(None, notes)))]
    if a.balance and b.balance:
        slow = [_slowest(s) for s in (a, b)]
        result.append(
            TextTable(
                f"Slowest node (by {ESTIMATE})",
                ("build", "node", "op", f"cycles ({ESTIMATE})", f"utilisation ({ESTIMATE})"),
                tuple((n, r.node, r.op_type, f"{r.cycles:,}", f"{r.utilisation:.3f}") for n, r in zip(names, slow)),
            )
        )
    return result


def encoder_table(tokens: Sequence[tuple[int, int]], heads: Sequence[int]) -> TextTable | None:
    """Tokens (at the input, in the MLP) and live heads of each encoder, from 1; ``None`` without encoders."""
    rows = tuple((str(i), str(n), str(m), str(h)) for i, ((n, m), h) in enumerate(zip(tokens, heads), start=1))
    return TextTable("Tokens and heads", ("encoder", "tokens in", "tokens in MLP", "live heads"), rows) if rows else None


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
        f"Blocks of {m.block_size}x{m.block_size}, {percent(m.block_keep)} kept, {m.index_bits:,} index bits. "
        f"Token keep rates: {drops}."
    )
    return TextTable(f"Model {m.name}", ("", "before", "after", "ratio"), rows, note)


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
    return TextTable("Checks", ("", ""), rows, note)


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
        ("latency", f"{r.latency_cycles:,}", f"{r.latency_ms:,.4f} ms"),
        ("interval, mean", f"{r.interval_cycles:,.1f}", f"{r.fps:,.0f} images/s"),
        ("interval, largest", f"{r.interval_cycles_max:,}", f"{r.interval_cycles_max * r.clk_ns * 1e-6:,.4f} ms"),
    )
    note = (
        f"{r.frames} overlapping frames in simulation; times at {1e3 / r.clk_ns:,.1f} MHz ({r.clk_ns:g} ns), a chosen clock: "
        "no timing analysis stands behind it."
    )
    if s.target_fps is not None:
        note += f" Target of {s.target_fps:,.0f} images/s: {'reached' if r.fps >= s.target_fps else 'NOT reached'}."
    return TextTable("Speed", ("", f"cycles ({SIMULATED})", f"at {r.clk_ns:g} ns"), rows, note)


def _plan(s: Summary) -> TextTable | None:
    """Shares of the budget, and why the plan is no faster."""
    p = s.plan
    if p is None:
        return None
    kinds = list(p.used)
    rows = [("the part", *(percent(p.used[k]) for k in kinds))]
    rows += [(f"SLR{i}", *(percent(slr[k]) for k in kinds)) for i, slr in enumerate(p.slrs)]
    title = f"Plan: {p.interval_cycles:,} cycles an image, shares of the budget ({ESTIMATE})"
    budget = ", ".join(f"{k} {percent(share)}" for k, share in p.budget.items())
    shell = "no shell" if p.shell == "none" else f"shell {p.shell}"
    return TextTable(title, ("", *kinds), tuple(rows), f"Budget: {budget} of the part; {shell}. {' '.join(p.lines)}")


def _resources(s: Summary) -> TextTable:
    r, p = s.resources, s.part
    if r is None:
        return TextTable("Resources", ("", ""), (("synthesis", NOT_RUN),))
    title, head = f"Resources ({r.tool})", f"used ({r.tool})"
    if p is None:
        return TextTable(title, ("", head), tuple((k, amount(getattr(r, k))) for k in KINDS))
    rows = []
    for kind in KINDS:
        used, offer = getattr(r, kind), getattr(p, kind)
        share = percent(used / offer) if used and offer else ("does not fit" if used else "-")
        rows.append((kind, amount(used), f"{offer:,}", share))
    by = f" (by {ESTIMATE})" if r.tool == ESTIMATE else ""
    fits = "" if p.fits is None else f"Fits the part{by}." if p.fits else f"Does NOT fit the part: the design {s.no_text}."
    note = " ".join(t for t in (fits, f"Numbers {p.note}." if p.note else "") if t)
    return TextTable(title, ("", head, p.name, "share"), tuple(rows), note)


def _nodes(s: Summary) -> TextTable | None:
    if s.resources is None or not s.resources.per_node:
        return None
    rows = tuple((n.node, n.op_type, *(amount(getattr(n, k)) for k in KINDS)) for n in s.resources.per_node)
    return TextTable(f"Resources by node ({s.resources.tool})", ("node", "op", *KINDS), rows)


def _times(s: Summary) -> TextTable | None:
    if not s.time_s:
        return None
    steps = {name: seconds for name, seconds in s.time_s.items() if name != FINN_TOTAL}
    total = s.time_s.get(FINN_TOTAL, sum(steps.values()))
    rows = tuple((step, f"{seconds:,.1f}") for step, seconds in steps.items())
    return TextTable("Time", ("step", "seconds"), (*rows, ("all", f"{total:,.1f}")))


# --- two builds ----------------------------------------------------------------------------------


def _slowest(s: Summary) -> BalanceRow:
    return max(s.balance, key=lambda r: r.cycles)


def _largest(s: Summary) -> BalanceRow:
    return max(s.balance, key=lambda r: r.ideal_cycles)


def _weight_bits(s: Summary) -> int | None:
    return sum(r.weight_bits for r in s.balance) or None


def _verdict(a: Summary, b: Summary) -> str:
    """Whether the interval follows the work, in words."""
    if not (a.balance and b.balance and a.rtlsim and b.rtlsim):
        return ""
    interval = b.rtlsim.interval_cycles / a.rtlsim.interval_cycles
    work = _largest(b).ideal_cycles / _largest(a).ideal_cycles
    text = f"Interval ratio {interval:.3f}, ratio of the largest work per node {work:.3f}: {interval / work:.3f} x it."
    if (bits_a := _weight_bits(a)) and (bits_b := _weight_bits(b)):
        text += f" Weight memory ratio {bits_b / bits_a:.3f}, parameter ratio {b.model.params / a.model.params:.3f}."
    return text


# --- text ----------------------------------------------------------------------------------------


def _labelled(share: float | None) -> str:
    return "no labels" if share is None else percent(share)


def _times_less(before: float, after: float) -> str:
    return f"{before / after:.2f} x less" if after else "-"
