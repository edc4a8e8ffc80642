"""``python -m builds.experiments.cards NAME=BUILD ...``: designs beside the shells of their cards, placed, as a page.

Each build was made with ``--places``, perhaps with ``--estimate-only``; the page is made of its summary. A build that stopped because
its design does not fit is a row with the cause.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from builds.experiments.study import start
from finn_vitprune.errors import UserError
from finn_vitprune.files import write_json, write_text
from finn_vitprune.report.build_verdict import fullest, part_shares, shown
from finn_vitprune.report.quantities import images_per_second, milliseconds, ms_text, rate_text, share_text
from finn_vitprune.report.summary import Summary
from finn_vitprune.report.tables import TextTable, to_markdown
from finn_vitprune.synth.parts import board_parts
from finn_vitprune.synth.placed import NsSets

OUTPUT = Path("builds/results/places")
PAGE, ROWS = "CARDS.md", "cards.json"
MHZ = (200, 250, 300)
"""Clocks that are looked at beside each other."""
MEAN_OF = ("DSP", "BRAM36", "URAM")
TITLE = "Designs on cards"
TEXT = """DeiT with random weights, half of its 16 x 16 blocks and half of its tokens, beside the XDMA shells of Alveo cards, and on the bare part for
comparison. Shares are of what the shell leaves; a card's default budget is .8 of its LUTs and DSPs, .7 of its block RAMs and .6 of its UltraRAMs in
each SLR. Plans are estimates, places are [an estimate, too](../../../docs/places.md), and **nothing was routed**. Links alone are judged, since no unit was mapped.

```
python -m builds.experiments.deit models --only small_w4a4_b16_rb0.5_rt0.5 --only tiny_w8a8_b16_rb0.5_rt0.5 --models build/deit
finn-vitprune build build/deit/deit_small_w4a4_b16_rb0.5_rt0.5.onnx --fpga-part U50 --clk-ns 3.333 --places --estimate-only -o build/small_u50
python -m builds.experiments.cards "DeiT-Small 4/4, U50=build/small_u50" ...
```

One engine is `--engines 1 --goal throughput`; the bare part is `--fpga-part xcu250-figd2104-2L-e --budget LUT=0.7,DSP=0.85,BRAM=0.8,URAM=0.85`."""


def main(
    builds: Annotated[list[str], typer.Argument(metavar="NAME=BUILD...", help="Builds, and their names on the page.")],
    output: Annotated[Path, typer.Option("-o", "--output")] = OUTPUT,
) -> None:
    """Write the page."""
    found = {name: Summary.load(folder) for name, _, folder in (word.partition("=") for word in builds)}
    for name, s in found.items():
        if s.places is None and not s.no_text:
            raise UserError(f"{name} was built without places: build it with --places")
    tables = [_fit(found), _distance(found), _clocks(found)]
    write_json(output / ROWS, {name: _kept(s) for name, s in found.items()}, indent=1)
    write_text(output / PAGE, to_markdown(TITLE, TEXT, [table for table in tables if table.rows]))


def _kept(s: Summary) -> dict:
    """The plan, what it takes, and its links over the clock."""
    p = s.places
    return {
        "part": s.part and s.part.name, "clk_ns": s.clk_ns, "plan": s.plan and s.plan.model_dump(exclude_none=True), "shares": part_shares(s), "no": s.no_text,
        "links": len(p.links) if p else 0, "links_over": {by: len(p.slow_links(by)) if p else 0 for by in NsSets.model_fields},
    }  # fmt: skip


def _fit(found: dict[str, Summary]) -> TextTable:
    rows = []
    for name, s in found.items():
        shares = part_shares(s)
        where, share = fullest(s)
        rows.append((
            name, _part(s), _rate(s), _latency(s), *(share_text(shares.get(kind, 0.0)) for kind in ("LUT", *MEAN_OF)), share_text(_mean(shares)),
            f"{where}, {share_text(share)}", _answer(s),
        ))  # fmt: skip
    kinds = [shown(next(iter(found.values())), kind) for kind in ("LUT", *MEAN_OF)]
    columns = ("design", "part", "images/s", "one image", *kinds, "mean of the three", "fullest", "fits")
    return TextTable("What fits", columns, tuple(rows))


def _distance(found: dict[str, Summary]) -> TextTable:
    rows = []
    for name, s in found.items():
        if (p := s.places) is None:
            continue
        wires = p.bit_ns / max(sum(link.bits for link in p.links), 1)
        slowest = max((link.ns.taken for link in p.links), default=0.0)
        over = [f"{len(p.slow_links(by))} of {len(p.links)}" for by in NsSets.model_fields]
        rows.append((name, f"{len(p.nodes)}", f"{wires:.2f}", f"{slowest:.2f}", *over))
    columns = ("design", "units", "mean wire of a bit, ns", "slowest link, taken, ns", *(f"links over, {by}" for by in NsSets.model_fields))
    return TextTable("With distance", columns, tuple(rows), "A link is over where it takes longer than the clock less its uncertainty.")


def _clocks(found: dict[str, Summary]) -> TextTable:
    """Rates at several clocks, and how many links take longer than each by the taken constants and the high ones."""
    rows = []
    for name, s in found.items():
        if (p := s.places) is None or s.interval is None:
            continue
        cells = []
        for clk_ns in (1e3 / mhz for mhz in MHZ):
            at = p.model_copy(update={"clk_ns": clk_ns})
            rate = rate_text(images_per_second(s.interval[0], clk_ns))
            cells.append(f"{rate} ({len(at.slow_links())}, {len(at.slow_links('high'))})")
        rows.append((name, *cells))
    note = (
        "Images/s; in brackets the links over that clock by the taken constants, then by the high ones. Cycles do not depend on the clock."
    )
    return TextTable("At other clocks", ("design", *(f"{mhz} MHz" for mhz in MHZ)), tuple(rows), note)


def _answer(s: Summary) -> str:
    if s.no_text:
        return f"no: {s.no_text}"
    return "yes" if s.plan is None or s.plan.fits else "the part, not the budget"


def _part(s: Summary) -> str:
    cards = {part: board for board, part in board_parts().items()}
    assert s.part is not None and s.plan is not None
    return f"{cards.get(s.part.name, s.part.name)}, shell {s.plan.shell}"


def _rate(s: Summary) -> str:
    return rate_text(images_per_second(s.interval[0], s.clk_ns)) if s.interval and s.clk_ns and not s.no_text else "-"


def _latency(s: Summary) -> str:
    cycles = s.rtlsim.latency_cycles if s.rtlsim else s.plan and s.plan.latency_cycles
    return ms_text(milliseconds(cycles, s.clk_ns)) if cycles and s.clk_ns and not s.no_text else "-"


def _mean(shares: dict[str, float]) -> float:
    return sum(shares.get(kind, 0.0) for kind in MEAN_OF) / len(MEAN_OF)


if __name__ == "__main__":
    start(lambda: typer.run(main))
