"""Two builds side by side: their figures with the ratio, and what differs of everything else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from finn_vitprune.report.build_verdict import estimates_text, mismatch_text, missed_text
from finn_vitprune.report.builds import NOT_RUN, grouped_tables
from finn_vitprune.report.quantities import count_text, ms_text, rate_text
from finn_vitprune.report.summary import BalanceRow, Summary
from finn_vitprune.report.tables import ESTIMATED, SYNTHESISED, TextTable, amount, mark_of, percent
from finn_vitprune.report.verdict import Verdict, VerdictLine
from finn_vitprune.synth.parts import KINDS
from finn_vitprune.synth.resources import NOT_ESTIMATED

AGAINST = " against "
DIFFERS, SAME, ARROW = "differs", "same", " → "
"""A figure that differs is marked by the word, and where both stand in one cell by the arrow between them."""
LEFT_OUT = "Time"
"""Two builds never take the same seconds."""
MIXED = (
    "Where a figure is found by one method against another, the ratio compares an estimate with a count: LUTs of an "
    "estimate are within 20 % of what Yosys counts."
)


def short_names(a: Path, b: Path) -> tuple[str, str]:
    """What two builds are called: the last component of each path, or the whole paths where these are equal."""
    short = (a.resolve().name, b.resolve().name)
    return short if short[0] != short[1] else (str(a), str(b))


def comparison(names: tuple[str, str], a: Summary, b: Summary) -> list[TextTable]:
    """Two builds side by side, with the ratio second / first, whether a figure differs, how it was found, and the slowest nodes."""

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
        methods = dict.fromkeys(_found_by(s.methods.get(found, NOT_RUN)) for s in (a, b))
        return (label, *(absent if v is None else form(v) for v in (x, y)), ratio, _differs(x, y), AGAINST.join(methods))

    rows = (
        row("operations (MACs per image), unpruned", "model", lambda s: s.model.macs_dense),
        row("operations after pruning", "model", lambda s: s.model.macs_pruned, absent="not told apart"),
        row("operations performed (last encoder: class token alone)", "model", lambda s: s.model.macs),
        row("parameters", "model", lambda s: s.model.params),
        row("index bits of all matrix units", "model", lambda s: s.model.index_bits),
        row("weight memory (bits)", "model", _weight_bits),
        row("tokens, sum over encoders (MLP)", "model", lambda s: sum(t.mlp for t in s.model.tokens)),
        row("live heads", "model", lambda s: sum(s.model.heads)),
        row("largest work of a node (cycles at full use)", "balance.ideal_cycles",
            lambda s: _largest(s).ideal_cycles if s.balance else None),
        row("cycles of the slowest node", "balance.cycles", lambda s: _slowest(s).cycles if s.balance else None),
        row("interval (cycles)", "rtlsim", lambda s: s.rtlsim and s.rtlsim.interval_cycles, "{:,.1f}".format),
        row("latency (cycles)", "rtlsim", lambda s: s.rtlsim and s.rtlsim.latency_cycles),
        row("latency", "rtlsim", lambda s: s.rtlsim and s.rtlsim.latency_ms, ms_text),
        row("images/s", "rtlsim", lambda s: s.rtlsim and s.rtlsim.fps, rate_text),
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
    result = [TextTable("Two builds", ("", *names, "ratio", "", "found by"), rows, " ".join(filter(None, notes)))]
    if a.balance and b.balance:
        slow = [_slowest(s) for s in (a, b)]
        result.append(
            TextTable(
                "Slowest node",
                ("build", "node", "op", "cycles", "utilisation"),
                tuple((n, r.node, r.op_type, f"{r.cycles:,}", f"{r.utilisation:.3f}") for n, r in zip(names, slow)),
                marks=("", "", "", ESTIMATED, ESTIMATED),
            )
        )
    return result


def pair_verdict(names: tuple[str, str], a: Summary, b: Summary, page: str = "") -> Verdict:
    """What two builds have in common and what not: both figures, and the ratio second / first."""

    def line(name: str, figure: Callable[[Summary], float | None], form: Callable[[float], str]) -> VerdictLine | None:
        x, y = figure(a), figure(b)
        if x is None and y is None:
            return None
        texts = (NOT_RUN if v is None else form(v) for v in (x, y))
        return VerdictLine(name, ARROW.join(texts), f"{y / x:.2f} x" if x and y is not None else "")

    lines = (
        line("rate", lambda s: s.rtlsim and s.rtlsim.fps, lambda rate: f"{rate_text(rate)} images/s"),
        line("latency", lambda s: s.rtlsim and s.rtlsim.latency_ms, ms_text),
        line("LUT", lambda s: s.resources and s.resources.LUT, amount), line("DSP", lambda s: s.resources and s.resources.DSP, amount),
        line("BRAM", lambda s: s.resources and s.resources.BRAM36, amount), line("URAM", lambda s: s.resources and s.resources.URAM, amount),
        line("accuracy", lambda s: s.verify and s.verify.accuracy, percent), line("operations", lambda s: s.model.macs, count_text),
    )  # fmt: skip
    warnings = tuple(
        f"{name}: {text}"
        for name, s in zip(names, (a, b))
        for text in (mismatch_text(s), s.no_text, missed_text(s), estimates_text(s))
        if text
    )
    return Verdict(f"{names[0]}{ARROW}{names[1]}, with the ratio second / first", "", warnings, tuple(filter(None, lines)), page)


def facts_compared(names: tuple[str, str], a: Mapping[str, str], b: Mapping[str, str]) -> list[TextTable]:
    """What was built, side by side; nothing where either is not known."""
    if not a or not b:
        return []
    rows = tuple((name, a.get(name, "-"), b.get(name, "-"), _differs(a.get(name), b.get(name))) for name in {**a, **b})
    return [TextTable("What was built", ("", *names, ""), rows)]


def differences(names: tuple[str, str], a: Summary, b: Summary) -> list[TextTable]:
    """Of every table of a build the rows that differ, in place of a figure both, "first → second"."""
    first, second = ({t.title: t for title, ts in grouped_tables(s).items() if title != LEFT_OUT for t in ts if t.marks} for s in (a, b))
    found = [table for title in first if title in second for table in _differing(names, first[title], second[title])]
    alone = {name: [t for t in own if t not in other] for name, own, other in zip(names, (first, second), (second, first))}
    rows = tuple((title, f"only of {name}") for name, titles in alone.items() for title in titles)
    return [*found, *([TextTable("Tables of one build alone", ("table", ""), rows)] if rows else [])]


def _differing(names: tuple[str, str], a: TextTable, b: TextTable) -> list[TextTable]:
    """The figures of two tables, by the names of their rows; empty where all are the same."""
    columns = [head for head, mark in zip(a.columns[1:], a.marks[1:]) if mark and head in b.columns]
    x, y = _figures(a, columns), _figures(b, columns)
    rows = [
        (f"{key[0]} (only in {names[0] if key in x else names[1]})", *(x.get(key) or y[key])) if key not in x or key not in y
        else (key[0], *(p if p == q else f"{p}{ARROW}{q}" for p, q in zip(x[key], y[key])))
        for key in {**x, **y} if x.get(key) != y.get(key)
    ]  # fmt: skip
    same = len({**x, **y}) - len(rows)
    note = f"{names[0]}{ARROW}{names[1]}. {len(rows):,} {'row differs' if len(rows) == 1 else 'rows differ'}, {same:,} {'is' if same == 1 else 'are'} the same."
    marks = {head: mark if mark == b.marks[b.columns.index(head)] else AGAINST.join((mark, b.marks[b.columns.index(head)]))
             for head, mark in zip(a.columns, a.marks) if head in columns}  # fmt: skip
    heads = (a.columns[0], *columns)
    return [TextTable(f"{a.title}: what differs", heads, tuple(rows), note, ("", *(marks[head] for head in columns)))] if rows else []


def _figures(table: TextTable, columns: list[str]) -> dict[tuple[str, int], tuple[str, ...]]:
    """The cells of these columns, by the row's name and how many rows before it are called so."""
    seen: Counter[str] = Counter()
    found = {}
    for row in table.rows:
        found[row[0], seen[row[0]]] = tuple(row[table.columns.index(head)] for head in columns)
        seen[row[0]] += 1
    return found


def _differs(x: object, y: object) -> str:
    if x is None and y is None:
        return "-"
    return SAME if x == y else DIFFERS


def _found_by(method: str) -> str:
    """The mark of a method, with the tool that ran."""
    mark = mark_of(method)
    return f"{mark} ({method})" if mark == SYNTHESISED else mark


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
