"""The pages of plans: DeiT on parts with hardware for every encoder, and DeiT on engines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from matplotlib.figure import Figure
from pydantic import TypeAdapter

from builds.experiments import deit_models
from builds.experiments.deit_models import HALVES, TINIES, ModelFolder
from builds.experiments.deit_plans import BUDGET_TEXT, MHZ, PIPELINE, U250, PlanRow, PlanSetting, percents, pipeline, planned
from builds.experiments.deit_reference import HEADS, MODELLED, ROWS, ReferenceRow
from builds.experiments.study import Study
from finn_vitprune.report.summary import Summary
from finn_vitprune.report.tables import TextTable
from finn_vitprune.transforms.planning.partition import shared_in
from finn_vitprune.transforms.planning.plan_options import KINDS

BOARDS = ("ZCU104", "ZCU102", "KV260_SOM", "U50", U250, "VCK190")
PERCENTS = tuple(f"{kind}, %" for kind in KINDS)
LEAST_RATIO = 4.0
"""How many times the reference's rate is asked for."""
NOTES = {"VCK190": "dsp48e2 retargeted, not checked"}
"""A Versal part: its DSP58 does what a DSP48E2 does, but nothing was mapped for it."""

FAST = tuple(pipeline(network) for network in deit_models.FAST)
REFERENCE_PIPELINES = {pipeline(row.network): row for row in ROWS}
PARTS = tuple(pipeline(network, board) for network in deit_models.EVERYWHERE for board in BOARDS)

SIDE_BY_SIDE = tuple(
    setting
    for network in HALVES
    for setting in (
        *(PlanSetting(network, engines) for engines in (1, 2, 3, 4)),
        PlanSetting(network, 1, 2),
        *(PlanSetting(network, engines, 2, "throughput") for engines in (1, 2, 3, 4)),
        pipeline(network),
    )
)
"""DeiT-Small, r_b = r_t = .5, on the U250."""
REFERENCES = {PlanSetting(row.network): row for row in ROWS}
"""The reference's settings, each on one engine."""
SMALL_PARTS = tuple(
    PlanSetting(network, part=part) for part, networks in (("ZCU104", (*TINIES, *HALVES)), ("U50", HALVES)) for network in networks
)
SIMULATED = {
    "w8a8_engine1_array": PlanSetting(HALVES[0]),
    "w8a8_engine1_pass": PlanSetting(HALVES[0]),
    "w8a8_engine1_soonest": PlanSetting(HALVES[0]),
    "w8a8_engine1_latency": PlanSetting(HALVES[0]),
    "w8a8_engine1_array_frames2": PlanSetting(HALVES[0], 1, 2),
    "w8a8_engine1_pass_frames2": PlanSetting(HALVES[0], 1, 2),
    "w8a8_engine1_frames2": PlanSetting(HALVES[0], 1, 2),
    "w4a4_engine1_soonest": PlanSetting(HALVES[1]),
    "w4a4_engine1_frames2": PlanSetting(HALVES[1], 1, 2),
    "tiny_w8a8_zcu104": PlanSetting(TINIES[0], part="ZCU104"),
}
"""Builds that were simulated, by the names of their summaries: ``<name>_summary.json`` of the results."""
ON_ONE_UNIT = {
    "": "none", "array": "all", "array and patch embedding": "all, and the patch embedding",
    "MLP 2 and patch embedding": "MLP 2 and the patch embedding",
}  # fmt: skip
"""Which matrices of an engine have one unit, by the partition."""
ENGINES_FOLDER = Path(__file__).parents[1] / "results" / "deit_engines"
BEFORE = TypeAdapter(dict[str, PlanRow]).validate_json((ENGINES_FOLDER / "before.json").read_bytes())
"""Plans of the same settings by a search in steps over the intervals of units, each layer on a unit of its own."""
AND_BEFORE = ("images/s, before", "ms, before")

CPU = Path(__file__).parents[1] / "results" / "deit" / "cpu.json"
"""The dense float network on a processor, as it was measured once."""

TITLE = "Pruned DeiT on FPGA parts: what is planned"
TEXT = f"""Networks of timm with random weights: masks by magnitude, heads and neurons as they come out of it, scales \
calibrated on
noise, residual stream INT16, token drop in encoders {", ".join(map(str, deit_models.DROP_AT))}. Plans by formula, FIFOs, \
converters and SLR crossings
counted; nothing here was placed or run on a board. Budget {BUDGET_TEXT}, {MHZ} MHz, no shell. Latency is of one image in an
empty pipeline, by formula (docs/inside.md, "Latency"). Where all heads live, that is what random weights of equal \
spread leave.

```
python -m builds.experiments.deit models --models build/deit
python -m builds.experiments.deit pipelines --models build/deit -o builds/results/deit
```"""
ENGINES_TITLE = "DeiT on engines"
ENGINES_TEXT = f"""Plans at {MHZ} MHz, within {BUDGET_TEXT}: interval and latency by formula, resources by estimate.
`docs/engines.md` says what the settings mean, and how a plan is found.

```
python -m builds.experiments.deit models --models DIR
python -m builds.experiments.deit engines --models DIR -o builds/results/deit_engines
```

{{known}} of {{settings}} settings are planned. Minutes are processor time of the plan, on a busy machine. The pipeline and \
as many
engines as the part has SLRs are planned SLR by SLR; for fewer engines the part counts as a whole. "Before" are plans by a search in steps,
each layer on a unit of its own; "on one unit" is which layers share one now.

![Rate against latency](deit_engines.png)
"""

Rows = Mapping[str, PlanRow]
Of = TypeVar("Of")


def pipelines(folder: ModelFolder) -> Study[PlanSetting, PlanRow]:
    """Plans with hardware for every encoder, of the networks in a folder."""
    settings = {s.name: s for s in (*FAST, *REFERENCE_PIPELINES, *PARTS)}
    run = partial(planned, folder=folder)
    return Study(settings, PlanRow, run, pipeline_tables, TITLE, TEXT, lambda row: f"{row.said}, {row.binding}")


def engines(folder: ModelFolder) -> Study[PlanSetting, PlanRow]:
    """Plans on engines, of the networks in a folder."""
    settings = {s.name: s for s in (*SIDE_BY_SIDE, *REFERENCES, *SMALL_PARTS)}
    return Study(
        settings, PlanRow, partial(planned, folder=folder), engine_tables, ENGINES_TITLE, ENGINES_TEXT, lambda row: row.said,
        plots={"deit_engines.png": figure_of},
    )  # fmt: skip


def _known(settings: Mapping[PlanSetting, Of] | tuple[PlanSetting, ...], rows: Rows) -> Iterator[tuple[PlanSetting, PlanRow]]:
    return ((setting, rows[setting.name]) for setting in settings if setting.name in rows)


# --- hardware for every encoder ------------------------------------------------------------------


def pipeline_tables(rows: Rows) -> list[TextTable]:
    """DeiT-Small on the U250, whole and SLR by SLR; the reference's settings; parts."""
    return [fast_table(rows), slr_table(rows), reference_table(rows), parts_table(rows)]


def fast_table(rows: Rows) -> TextTable:
    """Interval, rate and use of DeiT-Small on the U250."""
    columns = ("DeiT-Small on the U250", "fits", "interval", "img/s", "latency, ms", *PERCENTS, "binding", "planned in")
    cells = tuple(
        (s.network.setting, *_speed(r, f"{r.interval:,}", f"{r.rate:,.0f}", f"{r.milliseconds:.2f}"), *r.percents, r.binding,
         _time(r))
        for s, r in _known(FAST, rows)
    )  # fmt: skip
    note = "Shares of the whole part, of the least overfull plan where none fits. Seconds of processor time."
    return TextTable("DeiT-Small, 197 tokens", columns, cells, note)


def slr_table(rows: Rows) -> TextTable:
    """Shares of each SLR."""
    cells = tuple(
        (s.network.setting, f"SLR{i}" if len(r.slrs) > 1 else "whole part", *percents(slr))
        for s, r in _known(FAST, rows) for i, slr in enumerate(r.slrs or (r.shares,))
    )  # fmt: skip
    columns = ("DeiT-Small on the U250", "SLR", *PERCENTS)
    return TextTable("The same, SLR by SLR", columns, cells, "Shares of what the SLR has.")


def reference_table(rows: Rows) -> TextTable:
    """Rates and latencies beside those of the reference and of a processor, and resources."""
    columns = (
        "b, r_b, r_t", "top-1 (ref.)", "heads (ref.)", "heads", "fits", "interval", "img/s", "img/s (ref.)", "ratio",
        "latency, ms", "ms (ref.)", "times onnxruntime", *PERCENTS, "binding", "planned in",
    )  # fmt: skip
    cpu = json.loads(CPU.read_text())
    pairs = [(REFERENCE_PIPELINES[s], r) for s, r in _known(REFERENCE_PIPELINES, rows)]
    cells = tuple(
        (
            ref.network.rates, f"{ref.top1:.2f}", f"{ref.heads}/{HEADS}", f"{r.heads}/{r.heads_dense}",
            *_speed(r, f"{r.interval:,}", f"{r.rate:,.0f}"), f"{ref.images_per_second:,.1f}",
            *_speed(r, f"{ratio(ref, r):.1f}", f"{r.milliseconds:.2f}")[1:], f"{ref.milliseconds:.3f}",
            *_speed(r, f"{r.rate * cpu['minimum_ms'] / 1e3:,.0f}")[1:], *r.percents, r.binding, _time(r),
        )
        for ref, r in pairs
    )  # fmt: skip
    note = (
        f"(ref.): Parikh et al., FCCM 2024: accuracy of trained float networks, heads of these, time {MODELLED}, one image at a "
        "time. Here rates are those of a pipeline: images overlap, and one image alone takes the latency. Measured at commit "
        f"aa9e061: dense float {cpu['model']} in onnxruntime {cpu['onnxruntime']} at batch 1 on {cpu['cpu']}, "
        f"{cpu['threads']} threads: median {cpu['median_ms']:.1f} ms of {cpu['runs']} runs, shortest {cpu['minimum_ms']:.1f} ms; "
        "that column is in units of the shortest run's rate, as others may have used the machine, too."
    )
    if pairs:
        fast = sum(r.fits and ratio(ref, r) >= LEAST_RATIO for ref, r in pairs)
        least = min((ratio(ref, r) for ref, r in pairs if r.fits), default=0.0)
        note += f" Least ratio of the rates: {least:.1f}. At least {LEAST_RATIO:g} in {fast} of {len(ROWS)} rows."
    return TextTable("The reference's 14 settings: DeiT-Small, 198 tokens, 8/8 bits, on the U250", columns, cells, note)


def ratio(reference: ReferenceRow, row: PlanRow) -> float:
    """The rate here, in units of the reference's."""
    return row.rate / reference.images_per_second


def parts_table(rows: Rows) -> TextTable:
    """Every network on every part."""
    columns = ("network", "bits, blocks, keep rates", "board", "fits", "img/s", "latency, ms", *PERCENTS, "binding", "note")
    cells = tuple(
        (s.network.title, s.network.setting, s.part, *_speed(r, f"{r.rate:,.0f}", f"{r.milliseconds:.2f}"), *r.percents,
         r.binding, NOTES.get(s.part, r.note))
        for s, r in _known(PARTS, rows)
    )  # fmt: skip
    return TextTable("Parts", columns, cells, "Where nothing fits, the shares are those of the plan that is least overfull.")


def _speed(row: PlanRow, *figures: str) -> tuple[str, ...]:
    """Whether it fits, and figures that are empty where it does not."""
    return ("yes", *figures) if row.fits else ("no", *[""] * len(figures))


def _time(row: PlanRow) -> str:
    return f"{60 * row.minutes:.0f} s"


# --- engines -------------------------------------------------------------------------------------


def engine_tables(rows: Rows) -> list[TextTable]:
    """What was simulated; DeiT-Small side by side; the reference's settings; parts of less room."""
    return [simulated(ENGINES_FOLDER), side_by_side(rows), references(rows), small_parts(rows)]


def simulated(folder: Path) -> TextTable:
    """A row a build of :data:`SIMULATED` whose summary is in the folder."""
    cells = []
    for name, setting in SIMULATED.items():
        if (path := folder / f"{name}_summary.json").is_file():
            s = Summary.load(path)
            verify, r, bits = s.verify, s.rtlsim, setting.network.bits
            units = f"{verify.units.beats:,}" if verify.units else ""
            kinds = ("LUT", "DSP", "BRAM36", "URAM")
            taken = (f"{100 * getattr(s.resources, kind) / getattr(s.part, kind):.1f}" for kind in kinds)
            cells.append((
                setting.network.title, f"{bits}/{bits}", setting.part, str(setting.frames_in_flight), ON_ONE_UNIT[shared_in(node.node for node in s.nodes)],
                f"{s.plan.interval_cycles:,}", f"{r.interval_cycles:,.0f}", f"{s.plan.latency_cycles:,}",
                f"{r.latency_cycles:,}", f"{MHZ * 1e6 / r.interval_cycles:,.0f}", f"{r.latency_cycles / (MHZ * 1e3):.3f}",
                f"{verify.images}", f"{verify.stalled_images}",
                f"{verify.traced_streams} on {verify.traced_images}", units, f"{verify.rtl_mismatches:,}", *taken,
                s.resources.tool, ",".join(f"{kind}={share:g}" for kind, share in s.plan.budget.items()),
            ))  # fmt: skip
    heads = (
        "network", "bits", "board", "in flight", "on one unit", "interval, planned", "interval", "latency, planned", "latency", "images/s", "ms",
        "images", "with stalls", "streams compared", "beats of units alone", "differ", *PERCENTS, "by", "budget",
    )  # fmt: skip
    note = (
        "Built with `finn-vitprune build MODEL --fpga-part BOARD --clk-ns 3.333 --engines 1 --frames-in-flight N --goal latency "
        "--budget BUDGET --max-images 12`, and with `--synth none` where resources are estimates. A plan made today may differ: "
        "that of a row is the build's own."
    )
    return TextTable("Simulated in every bit, one engine, b 16, r_b = r_t = .5", heads, tuple(cells), note)


def side_by_side(rows: Rows) -> TextTable:
    """A row a plan of DeiT-Small."""
    heads = (
        "bits", "engines", "in flight", "goal", "interval", "latency", "images/s", "ms", *AND_BEFORE, "on one unit", *PERCENTS, "fits", "minutes",
    )  # fmt: skip
    cells = tuple(
        (f"{s.network.bits}/{s.network.bits}", str(s.engines), str(s.frames_in_flight), s.goal,
         f"{r.interval:,}", f"{r.latency:,}", f"{r.rate:,.0f}", f"{r.milliseconds:.3f}", *_before(s), ON_ONE_UNIT[r.unit], *r.percents,
         *_speed(r), f"{round(r.minutes, 1):g}")
        for s, r in _known(SIDE_BY_SIDE, rows)
    )  # fmt: skip
    note = f"{PIPELINE} engines have one encoder each: that is the pipeline."
    return TextTable("DeiT-Small on the U250, b 16, r_b = r_t = .5", heads, cells, note)


def references(rows: Rows) -> TextTable:
    """The reference's settings on one engine, beside its own latency."""
    heads = (
        "b, r_b, r_t", "ms (ref.)", "images/s (ref.)", "latency", "ms", "times faster", "images/s", *AND_BEFORE, "on one unit", *PERCENTS, "fits",
    )  # fmt: skip
    cells = tuple(
        (ref.network.rates, f"{ref.milliseconds:.3f}", f"{ref.images_per_second:,.1f}",
         f"{r.latency:,}", f"{r.milliseconds:.3f}", f"{ref.milliseconds / r.milliseconds:.1f}", f"{r.rate:,.0f}", *_before(s),
         ON_ONE_UNIT[r.unit], *r.percents, *_speed(r))
        for ref, s, r in ((REFERENCES[s], s, r) for s, r in _known(REFERENCES, rows))
    )  # fmt: skip
    title = "The reference's 14 settings on one engine: DeiT-Small, 198 tokens, 8/8 bits, on the U250"
    note = (
        f"(ref.): Parikh et al., FCCM 2024: {MODELLED}, one image at a time. The engine works on one image at a time, too, "
        "planned for latency."
    )
    return TextTable(title, heads, cells, note)


def small_parts(rows: Rows) -> TextTable:
    """One engine on parts of less room."""
    heads = ("network", "bits", "board", "fits", "images/s", "ms", *AND_BEFORE, "on one unit", *PERCENTS, "what would help")
    cells = tuple(
        (s.network.title, f"{s.network.bits}/{s.network.bits}", s.part,
         *_speed(r, f"{r.rate:,.0f}", f"{r.milliseconds:.3f}"), *_before(s), ON_ONE_UNIT[r.unit] if r.fits else "", *r.percents, r.help)
        for s, r in _known(SMALL_PARTS, rows)
    )  # fmt: skip
    note = (
        "b 16, r_b = r_t = .5, one engine, one image in flight, planned for latency. Where nothing fits, the row shows the shares of a plan "
        "close to the smallest."
    )
    return TextTable("Small parts", heads, cells, note)


def _before(setting: PlanSetting) -> tuple[str, str]:
    """Rate and latency of the plan before; empty where none was made or fitted."""
    row = BEFORE.get(setting.name)
    return (f"{row.rate:,.0f}", f"{row.milliseconds:.3f}") if row is not None and row.fits else ("", "")


def figure_of(plans: Rows) -> Figure:
    """Rate against latency of the plans side by side."""
    rows = [r for _, r in _known(SIDE_BY_SIDE, plans)]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for bits, marker in ((8, "o"), (4, "s")):
        if own := [r for r in rows if r.bits == bits]:
            label = f"{bits}-bit weights and activations"
            axes.plot([r.milliseconds for r in own], [r.rate for r in own], marker, linestyle="none", label=label)
    before = [BEFORE[s.name] for s in SIDE_BY_SIDE if s.name in BEFORE]
    axes.plot([r.milliseconds for r in before], [r.rate for r in before], "x", color="0.6", zorder=0, linestyle="none", label="before")
    for r in rows:
        text = "pipeline" if r.engines == PIPELINE else f"{r.engines} x {r.frames_in_flight}"
        axes.annotate(text, (r.milliseconds, r.rate), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set(xlabel="latency of one image (ms)", ylabel="images a second", xscale="log", yscale="log")
    axes.set_title("Engines x images in flight", fontsize=10)
    axes.legend()
    return figure
