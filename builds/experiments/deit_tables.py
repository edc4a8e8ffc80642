"""Tables about the plans of the networks: fast DeiT-Small, the reference's settings, parts."""

from __future__ import annotations

from enum import Enum

from finn_vitprune.builds.experiments import deit_models
from finn_vitprune.builds.experiments.deit_models import DeitNetwork
from finn_vitprune.builds.experiments.deit_plans import BUDGET, MHZ, Answer, Ledger, Question, budget_text
from finn_vitprune.builds.experiments.deit_reference import HEADS, MODELLED, ROWS, ReferenceRow
from finn_vitprune.report.tables import TextTable, to_markdown

U250 = "U250"
BOARDS = ("ZCU104", "ZCU102", "KV260_SOM", "U50", U250, "VCK190")
LEAST_RATIO = 4.0
"""How many times the reference's rate is asked for."""
RETARGETED = "VCK190"
"""A Versal part: its DSP58 does what a DSP48E2 does, but nothing was mapped for it."""


class TableName(str, Enum):
    """The tables: DeiT-Small on the U250, the reference's settings, parts."""

    SMALL = "small"
    REFERENCE = "reference"
    PARTS = "parts"


QUESTIONS = {
    TableName.SMALL: tuple(Question(network, U250) for network in deit_models.FAST),
    TableName.REFERENCE: tuple(Question(row.network, U250) for row in ROWS),
    TableName.PARTS: tuple(Question(network, board) for network in deit_models.EVERYWHERE for board in BOARDS),
}
"""What each table asks."""

TITLE = "Pruned DeiT on FPGA parts: what is planned"
TEXT = f"""Networks of timm with random weights: masks by magnitude, heads and neurons as they come out of it, scales calibrated on
noise, residual stream INT16, token drop in encoders {", ".join(map(str, deit_models.DROP_AT))}. Plans by formula, FIFOs, converters and SLR crossings
counted; nothing here was placed or run on a board. Budget {budget_text(BUDGET)}, {MHZ} MHz, no shell. Latency is of one image in an
empty pipeline, by formula (docs/architecture.md, "Latency"). Where all heads live, that is what random weights of equal spread leave.

```
python -m finn_vitprune.builds.experiments.deit models --models build/deit
python -m finn_vitprune.builds.experiments.deit tables --models build/deit -o builds/results/deit
```"""

RESOURCES = ("LUT", "DSP", "BRAM", "URAM")


def markdown(ledger: Ledger) -> str:
    """The page of all tables that the ledger has answers for."""
    tables = [table(ledger) for table in (fast_table, slr_table, reference_table, use_table, parts_table)]
    return to_markdown(TITLE, TEXT, [table for table in tables if table.rows])


def answered(ledger: Ledger, table: TableName) -> list[tuple[Question, Answer]]:
    """The questions of a table that have an answer."""
    return [(q, ledger.answers[q.key]) for q in QUESTIONS[table] if q.key in ledger.answers]


def setting(network: DeitNetwork) -> str:
    """Bits and keep rates of a network."""
    rates = "dense" if network.block_keep == network.token_keep == "1" else f"r_b {network.block_keep}, r_t {network.token_keep}"
    return f"{network.bits}/{network.bits}, b {network.block}, {rates}"


# --- DeiT-Small on the U250 ----------------------------------------------------------------------


def fast_table(ledger: Ledger) -> TextTable:
    """Interval, rate and use of DeiT-Small on the U250."""
    columns = ("DeiT-Small on the U250", "fits", "interval", "img/s", "latency, ms", *RESOURCES, "binding", "planned in")
    rows = tuple(
        (setting(q.network), _yes(a), _if(a.fits, f"{a.interval:,}"), _if(a.fits, f"{a.rate:,.0f}"), _if(a.fits, f"{a.milliseconds:.2f}"),
         *_percent(a.shares), a.binding,
         f"{a.seconds:.0f} s")
        for q, a in answered(ledger, TableName.SMALL)
    )  # fmt: skip
    return TextTable("DeiT-Small, 197 tokens", columns, rows, "Shares of the whole part, of the least overfull plan where none fits. Seconds of processor time.")


def slr_table(ledger: Ledger) -> TextTable:
    """Shares of each SLR."""
    rows = [
        (setting(q.network), f"SLR{i}" if len(a.slrs) > 1 else "whole part", *_percent(slr))
        for q, a in answered(ledger, TableName.SMALL)
        for i, slr in enumerate(a.slrs)
    ]
    return TextTable("The same, SLR by SLR", ("DeiT-Small on the U250", "SLR", *RESOURCES), tuple(rows), "Shares of what the SLR has.")


# --- the reference's settings --------------------------------------------------------------------


def reference_table(ledger: Ledger) -> TextTable:
    """Rates and latencies beside those of the reference and of the processor."""
    columns = (
        "b, r_b, r_t", "top-1 (ref.)", "heads (ref.)", "heads", "interval", "img/s", "img/s (ref.)", "ratio", "latency, ms",
        "ms (ref.)", "times onnxruntime",
    )  # fmt: skip
    pairs = _reference_pairs(ledger)
    rows = tuple(
        (
            ", ".join((str(r.network.block), r.network.block_keep, r.network.token_keep)), f"{r.top1:.2f}", f"{r.heads}/{HEADS}",
            f"{a.heads}/{a.heads_dense}", _if(a.fits, f"{a.interval:,}"), _if(a.fits, f"{a.rate:,.0f}"),
            f"{r.images_per_second:,.1f}", _if(a.fits, f"{ratio(r, a):.1f}"), _if(a.fits, f"{a.milliseconds:.2f}"),
            f"{r.milliseconds:.3f}", "" if ledger.cpu is None or not a.fits else f"{a.rate * ledger.cpu.minimum_ms / 1e3:,.0f}",
        )
        for r, a in pairs
    )  # fmt: skip
    return TextTable("The reference's 14 settings: DeiT-Small, 198 tokens, 8/8 bits, on the U250", columns, rows, _reference_note(ledger, pairs))


def _reference_note(ledger: Ledger, pairs: list[tuple[ReferenceRow, Answer]]) -> str:
    """Where the figures are from, and how many rows are fast enough."""
    note = (
        f"(ref.): Parikh et al., FCCM 2024: accuracy of trained float networks, heads of these, time {MODELLED}, one image at a "
        "time. Here rates are those of a pipeline: images overlap, and one image alone takes the latency."
    )
    if ledger.cpu is not None:
        note += f" Measured: {ledger.cpu.text}; the last column is in units of the shortest run's rate, as others may use the machine, too."
    if pairs:
        fast = sum(a.fits and ratio(r, a) >= LEAST_RATIO for r, a in pairs)
        least = min((ratio(r, a) for r, a in pairs if a.fits), default=0.0)
        note += f" Least ratio of the rates: {least:.1f}. At least {LEAST_RATIO:g} in {fast} of {len(ROWS)} rows."
    return note


def use_table(ledger: Ledger) -> TextTable:
    """Resources of the plans of the reference's settings."""
    rows = tuple(
        (", ".join((str(r.network.block), r.network.block_keep, r.network.token_keep)), _yes(a),
         *(f"{a.used[kind]:,.0f}" for kind in RESOURCES), a.binding, f"{a.seconds:.0f} s")
        for r, a in _reference_pairs(ledger)
    )  # fmt: skip
    columns = ("b, r_b, r_t", "fits", "LUT", "DSP", "BRAM18", "URAM", "binding", "planned in")
    return TextTable("Resources of these plans", columns, rows)


def ratio(row: ReferenceRow, answer: Answer) -> float:
    """The rate here, in units of the reference's."""
    return answer.rate / row.images_per_second


def _reference_pairs(ledger: Ledger) -> list[tuple[ReferenceRow, Answer]]:
    found = {q.network: a for q, a in answered(ledger, TableName.REFERENCE)}
    return [(row, found[row.network]) for row in ROWS if row.network in found]


# --- parts ---------------------------------------------------------------------------------------


def parts_table(ledger: Ledger) -> TextTable:
    """Every network on every part."""
    rows = tuple(
        (q.network.title, setting(q.network), q.part, _yes(a), a.binding, _if(a.fits, f"{a.rate:,.0f}"),
         _if(a.fits, f"{a.milliseconds:.2f}"), *_percent(a.shares),
         "dsp48e2 retargeted, not checked" if q.part == RETARGETED else a.note)
        for q, a in answered(ledger, TableName.PARTS)
    )  # fmt: skip
    columns = ("network", "bits, blocks, keep rates", "board", "fits", "binding", "img/s", "latency, ms", *RESOURCES, "note")
    text = "Where nothing fits, the shares are those of the plan that is least overfull."
    return TextTable("Parts", columns, rows, text)


def _if(condition: bool, text: str) -> str:
    return text if condition else ""


def _yes(answer: Answer) -> str:
    return "yes" if answer.fits else "no"


def _percent(shares: dict[str, float]) -> tuple[str, ...]:
    return tuple(f"{shares[kind]:.0%}" for kind in RESOURCES)
