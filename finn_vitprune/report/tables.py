"""Summaries of one or two builds as tables: data first, then printed with rich or as one HTML page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from finn_vitprune.report.summary import BalanceRow, Summary
from finn_vitprune.synth.parts import KINDS

NOT_RUN = "not run"
FINN_TOTAL = "total_build_time"
"""FINN's own entry among the times of the steps."""
UNBROKEN = 30
"""First columns up to this many characters (node names) are not broken over lines."""


@dataclass(frozen=True)
class Sheet:
    """One table: title, column heads, rows of text (first column left, the others right), a note below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def sheets(summary: Summary, nodes: bool = False) -> list[Sheet]:
    """The tables of one build; ``nodes`` adds resources by node. Empty sections leave out their table."""
    encoders = encoder_sheet([(t.in_, t.mlp) for t in summary.model.tokens], summary.model.heads)
    parts = [_model(summary), encoders, _verify(summary), _speed(summary), _resources(summary)]
    parts += [_balance(summary), _nodes(summary) if nodes else None, _times(summary)]
    return [sheet for sheet in parts if sheet is not None]


def comparison(names: tuple[str, str], a: Summary, b: Summary) -> list[Sheet]:
    """Two builds side by side, with the ratio second / first, and the load of the slowest nodes."""
    rows: list[tuple[str, ...]] = []

    def add(label: str, x: float | None, y: float | None, form=None, absent: str = NOT_RUN) -> None:
        form = form or (lambda v: f"{v:,.0f}")
        ratio = f"{y / x:.3f}" if x and y is not None else "-"
        rows.append((label, *(absent if v is None else form(v) for v in (x, y)), ratio))

    def both(label: str, section: str, name: str, form=None) -> None:
        values = [getattr(getattr(s, section), name, None) for s in (a, b)]
        add(label, *values, form)

    both("operations (MACs per image)", "model", "macs")
    both("operations, unpruned", "model", "macs_dense")
    both("parameters", "model", "params")
    both("block index bits", "model", "index_bits")
    add("weight memory (bits)", *(_weight_bits(s) for s in (a, b)))
    add("tokens, sum over encoders (MLP)", *(sum(t.mlp for t in s.model.tokens) for s in (a, b)))
    add("live heads", *(sum(s.model.heads) for s in (a, b)))
    add("largest work of a node (cycles at full use)", *(_largest(s).ideal_cycles if s.balance else None for s in (a, b)))
    add("cycles of the slowest node (estimate)", *(_slowest(s).cycles if s.balance else None for s in (a, b)))
    both("interval (cycles)", "rtlsim", "interval_cycles", lambda v: f"{v:,.1f}")
    both("latency (cycles)", "rtlsim", "latency_cycles")
    both("latency (ms)", "rtlsim", "latency_ms", lambda v: f"{v:,.4f}")
    both("images/s", "rtlsim", "fps")
    for kind in KINDS:
        both(kind, "resources", kind, _amount)
    add("accuracy", *(s.verify and s.verify.accuracy for s in (a, b)), _percent, "no labels, or not run")
    both("RTL mismatches", "verify", "rtl_mismatches")
    result = [Sheet("Two builds", ("", *names, "ratio"), tuple(rows), _verdict(a, b))]
    if a.balance and b.balance:
        slow = [_slowest(s) for s in (a, b)]
        result.append(
            Sheet(
                "Slowest node",
                ("build", "node", "op", "cycles", "utilisation"),
                tuple((n, r.node, r.op_type, f"{r.cycles:,}", f"{r.utilisation:.3f}") for n, r in zip(names, slow)),
            )
        )
    return result


def encoder_sheet(tokens: Sequence[tuple[int, int]], heads: Sequence[int]) -> Sheet | None:
    """Tokens (at the input, in the MLP) and live heads of each encoder, from 1; ``None`` without encoders."""
    rows = tuple((str(i), str(n), str(m), str(h)) for i, ((n, m), h) in enumerate(zip(tokens, heads), start=1))
    return Sheet("Tokens and heads", ("encoder", "tokens in", "tokens in MLP", "live heads"), rows) if rows else None


def show(tables: Sequence[Sheet], console: Console) -> None:
    """Print tables."""
    for sheet in tables:
        table = Table(title=sheet.title, title_justify="left", title_style="bold", header_style="bold")
        unbroken = all(len(row[0]) <= UNBROKEN for row in sheet.rows)
        for i, column in enumerate(sheet.columns):
            left = i == 0
            table.add_column(column, justify="left" if left else "right", overflow="fold", no_wrap=left and unbroken)
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)
        if sheet.note:
            console.print(sheet.note, style="italic", markup=False, highlight=False)
        console.print()


def to_markdown(title: str, text: str, tables: Sequence[Sheet]) -> str:
    """One Markdown page: the title, a paragraph, the tables."""
    return "\n".join([f"# {title}", "", text, "", *(_markdown_table(sheet) for sheet in tables)])


def to_html(title: str, tables: Sequence[Sheet]) -> str:
    """One self-contained page: no script, no file or address outside it."""
    body = "\n".join(_html_table(sheet) for sheet in tables)
    return _PAGE.format(title=html.escape(title), body=body)


def write_html(path: Path, title: str, tables: Sequence[Sheet]) -> None:
    """Write :func:`to_html` to ``path`` (whole or not at all)."""
    tmp = path.with_name(path.name + ".tmp")
    tmp.write_text(to_html(title, tables), encoding="utf-8")
    tmp.replace(path)


# --- one build -----------------------------------------------------------------------------------


def _model(s: Summary) -> Sheet:
    m = s.model
    rows = (
        ("operations (MACs per image)", f"{m.macs_dense:,}", f"{m.macs:,}", _times_less(m.macs_dense, m.macs)),
        ("parameters", f"{m.params_dense:,}", f"{m.params:,}", _times_less(m.params_dense, m.params)),
    )
    drops = ", ".join(f"{_number(rate)} in encoder {i}" for i, rate in sorted(m.token_keep.items())) or "none"
    note = (
        f"Blocks of {m.block_size}x{m.block_size}, {_percent(m.block_keep)} kept, {m.index_bits:,} index bits. "
        f"Token keep rates: {drops}."
    )
    return Sheet(f"Model {m.name}", ("", "before pruning", "after", "ratio"), rows, note)


def _verify(s: Summary) -> Sheet:
    v = s.verify
    if v is None:
        return Sheet("Checks", ("", ""), (("simulation of the accelerator", NOT_RUN),))
    rows = (
        ("images through the RTL", f"{v.images:,}"),
        ("RTL mismatches (values that differ from the hardware graph)", f"{v.rtl_mismatches:,}"),
        ("images run again with random pauses and stalls", f"{v.stalled_images:,}"),
        ("images whose class differs between RTL and hardware graph", f"{v.class_changes:,}"),
        ("accuracy of the accelerator", _labelled(v.accuracy)),
        ("accuracy in PyTorch", _labelled(v.accuracy_pytorch)),
        ("same class as QONNX", _percent(v.top1_agree_qonnx)),
        ("largest code difference to QONNX, node by node", f"{v.max_code_diff_vs_qonnx:,}"),
        ("saturations of the residual stream", f"{v.saturations:,}"),
    )
    note = f"Images: {v.image_source}." if v.image_source else ""
    return Sheet("Checks", ("", ""), rows, note)


def _speed(s: Summary) -> Sheet:
    r = s.rtlsim
    if r is None:
        return Sheet("Speed", ("", ""), (("simulation of the accelerator", NOT_RUN),))
    rows = (
        ("latency", f"{r.latency_cycles:,}", f"{r.latency_ms:,.4f} ms"),
        ("interval, mean", f"{r.interval_cycles:,.1f}", f"{r.fps:,.0f} images/s"),
        ("interval, largest", f"{r.interval_cycles_max:,}", f"{r.interval_cycles_max * r.clk_ns * 1e-6:,.4f} ms"),
    )
    note = f"{r.frames} overlapping frames in simulation; times at {1e3 / r.clk_ns:,.1f} MHz ({_number(r.clk_ns)} ns)."
    return Sheet("Speed", ("", "cycles", f"at {_number(r.clk_ns)} ns"), rows, note)


def _resources(s: Summary) -> Sheet:
    r, p = s.resources, s.part
    if r is None:
        return Sheet("Resources", ("", ""), (("synthesis", NOT_RUN),))
    if p is None:
        return Sheet(f"Resources ({r.tool})", ("", "used"), tuple((k, _amount(getattr(r, k))) for k in KINDS))
    rows = []
    for kind in KINDS:
        used, offer = getattr(r, kind), getattr(p, kind)
        share = _percent(used / offer) if offer else ("-" if not used else "does not fit")
        rows.append((kind, _amount(used), f"{offer:,}", share))
    fits = "" if p.fits is None else ("Fits the part." if p.fits else "Does NOT fit the part.")
    note = " ".join(t for t in (fits, f"Numbers {p.note}." if p.note else "") if t)
    return Sheet(f"Resources ({r.tool})", ("", "used", p.name, "share"), tuple(rows), note)


def _balance(s: Summary) -> Sheet | None:
    if not s.balance:
        return None
    rows = tuple(
        (
            r.node,
            "-" if r.kept_blocks is None else f"{r.kept_blocks:,}",
            str(r.lanes),
            f"{r.ideal_cycles:,.0f}",
            f"{r.cycles:,}",
            f"{r.utilisation:.3f}",
        )
        for r in s.balance
    )
    columns = ("node", "kept blocks", "lanes", "ideal cycles", "cycles", "utilisation")
    slow = _slowest(s)
    return Sheet("Balance", columns, rows, f"Slowest: {slow.node}, {slow.cycles:,} cycles per image.")


def _nodes(s: Summary) -> Sheet | None:
    if s.resources is None or not s.resources.per_node:
        return None
    rows = tuple((n.node, n.op_type, *(_amount(getattr(n, k)) for k in KINDS)) for n in s.resources.per_node)
    return Sheet(f"Resources by node ({s.resources.tool})", ("node", "op", *KINDS), rows)


def _times(s: Summary) -> Sheet | None:
    if not s.time_s:
        return None
    steps = {name: seconds for name, seconds in s.time_s.items() if name != FINN_TOTAL}
    total = s.time_s.get(FINN_TOTAL, sum(steps.values()))
    rows = tuple((step, f"{seconds:,.1f}") for step, seconds in steps.items())
    return Sheet("Time", ("step", "seconds"), (*rows, ("all", f"{total:,.1f}")))


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


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _labelled(share: float | None) -> str:
    return "no labels" if share is None else _percent(share)


def _amount(value: float) -> str:
    return f"{value:,.1f}" if value != int(value) else f"{int(value):,}"


def _number(value: float) -> str:
    return f"{value:g}"


def _times_less(before: float, after: float) -> str:
    return f"{before / after:.2f} x less" if after else "-"


def _markdown_table(sheet: Sheet) -> str:
    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    alignment = "|--|" + "--:|" * (len(sheet.columns) - 1)
    lines = [f"## {sheet.title}", "", row(sheet.columns), alignment, *map(row, sheet.rows), ""]
    return "\n".join([*lines, sheet.note, ""] if sheet.note else lines)


def _html_table(sheet: Sheet) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    rows = "\n".join(row(r, "td") for r in sheet.rows)
    note = f"<p>{html.escape(sheet.note)}</p>" if sheet.note else ""
    return f"<h2>{html.escape(sheet.title)}</h2>\n<table>\n{row(sheet.columns, 'th')}\n{rows}\n</table>\n{note}"


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.1rem; margin: 2rem 0 .5rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .25rem .8rem; border-bottom: 1px solid #ddd; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; }}
th {{ border-bottom: 2px solid #888; }}
p {{ color: #555; margin: .4rem 0; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""
