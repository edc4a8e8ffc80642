"""``python -m builds.experiments.places NAME=BUILD ...``: where the units of builds are on their parts, and what distance does to the clock, as a page.

Each build was made with ``--places``; the page is made of its summary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from builds.experiments.study import start
from finn_vitprune.errors import UserError
from finn_vitprune.files import write_json, write_text
from finn_vitprune.report import figures
from finn_vitprune.report.build_pictures import build_picture
from finn_vitprune.report.place_picture import ground_of
from finn_vitprune.report.places import place_tables
from finn_vitprune.report.quantities import images_per_second, rate_text
from finn_vitprune.report.summary import Summary
from finn_vitprune.report.tables import TextTable, to_markdown
from finn_vitprune.synth.grid import SITES
from finn_vitprune.synth.placed import NsSets, PlacedDesign

OUTPUT = Path("builds/results/places")
TITLE = "Places of units"
TEXT = """Units on the columns of their part, and the timing estimate with the length of wires, SLR borders and {uncertainty:g} ns of clock uncertainty. **Nothing was routed.**
How, constants, and what it cannot know: [docs/places.md](../../../docs/places.md).

```
finn-vitprune build deit_small_w8a8_b16_rb0.5_rt0.5.onnx --fpga-part U250 --clk-ns 3.333 --places --estimate-only -o build/card
finn-vitprune build --fpga-part xcu250-figd2104-2L-e --clk-ns 3.333 --max-images 16 --places --export vivado -o build/digits
python -m builds.experiments.places NAME=BUILD ...
```

[deit](../deit/RESULTS.md) and builds/example have the model files. An estimate alone (method "estimate") does not judge paths inside of units; its links
count with 2.2 ns beside their wires. Sites of a region are its use over .8, or less where an SLR has less."""


def main(
    builds: Annotated[list[str], typer.Argument(metavar="NAME=BUILD...", help="Builds with places, and their names on the page.")],
    output: Annotated[Path, typer.Option("-o", "--output")] = OUTPUT,
) -> None:
    """Write the page."""
    found = {name: Summary.load(folder) for name, _, folder in (word.partition("=") for word in builds)}
    for name, summary in found.items():
        if summary.places is None:
            raise UserError(f"{name} was built without places: build it with --places")
        figures.save(build_picture(summary, "places"), output / f"{name}.png", dpi=80)
    places = {name: summary.places for name, summary in found.items() if summary.places is not None}
    write_json(output / "results.json", {name: _kept(own) for name, own in places.items()}, indent=None)
    tables = [_sums(found), *(_fills(name, own) for name, own in places.items())]
    for name, own in places.items():
        tables += [TextTable(f"{table.title}, {name}", table.columns, table.rows, "", table.marks) for table in place_tables(own)[1:]]
    pictures = "\n\n".join(f"![Floor plan of {name}]({name}.png)" for name in found)
    uncertainty = next(iter(places.values())).uncertainty_ns
    write_text(output / "RESULTS.md", f"{to_markdown(TITLE, TEXT.format(uncertainty=uncertainty), tables)}\n## Floor plans\n\n{pictures}\n")


def _kept(places: PlacedDesign) -> dict:
    """All but the sites, of which there are many."""
    found = places.model_dump(exclude={"nodes": {"__all__": {"areas"}}})
    return found | {"areas": sum(len(node.areas) for node in places.nodes)}


def _sums(found: dict[str, Summary]) -> TextTable:
    rows = []
    for name, s in found.items():
        if (p := s.places) is None:
            continue
        interval, method = s.interval or (0.0, "")
        rate = f"{rate_text(images_per_second(interval, p.clk_ns))} ({method})" if interval else "-"
        over = [f"{len(p.slow_links(by))} of {len(p.links)}" for by in NsSets.model_fields]
        nodes = [f"{len(p.slow_nodes(by))} of {len(p.nodes)}" if p.mapped else "not mapped" for by in NsSets.model_fields]
        wires = p.bit_ns / max(sum(link.bits for link in p.links), 1)
        rows.append((name, p.part, p.shell, p.method, f"{p.clk_ns:g}", rate, str(len(p.nodes)), f"{wires:.2f}", *over, *nodes))
    sets = tuple(NsSets.model_fields)
    columns = (
        "design", "part", "shell", "resources by", "clock, ns", "images/s", "units", "mean wire of a bit, ns",
        *(f"links over, {by}" for by in sets), *(f"nodes over, {by}" for by in sets),
    )  # fmt: skip
    return TextTable("Over the clock", columns, tuple(rows))


def _fills(name: str, places: PlacedDesign) -> TextTable:
    """What regions take of what is there for them, by SLR."""
    ground = ground_of(places)
    rows = []
    for slr in range(len(ground.dies)):
        taken = np.zeros(len(SITES), int)
        for node in places.nodes:
            for area in node.sites if node.slr == slr else ():
                taken[area.kind] += area.sites
        rows.append((f"SLR{slr}", *(f"{n:,} of {has:,}" for n, has in zip(taken, ground.amount(slr)))))
    return TextTable(f"Sites of regions, {name}", ("", *SITES), tuple(rows))


if __name__ == "__main__":
    start(lambda: typer.run(main))
