"""A plan beside what Yosys counts of its units.

``python -m finn_vitprune.builds.experiments.synthesis BUILD -o FOLDER`` reads a build folder whose nodes were synthesised.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from qonnx.core.modelwrapper import ModelWrapper

import finn_vitprune.plugin  # noqa: F401
from finn_vitprune.builds.folder import BuildFolder
from finn_vitprune.builds.record import BuildRecord
from finn_vitprune.errors import UserError
from finn_vitprune.files import write_json, write_text
from finn_vitprune.report.summary import Summary
from finn_vitprune.report.tables import TextTable, amount, to_markdown
from finn_vitprune.synth.resources import Resources, total
from finn_vitprune.transforms.part_fit import estimated

EXACT = ("DSP", "BRAM36", "URAM")
"""Resources whose estimate must be what Yosys counts."""
CLOSE = 0.1
"""Share by which an estimate of LUTs may differ."""
KINDS = ("LUT", *EXACT)

TITLE = "A plan and what Yosys counts of its units"
TEXT = """The plan is by formula; Yosys mapped every node apart, FIFOs and width converters too. Large nodes are mapped by parts:
modules that repeat once, counted by instance (`docs/simulation.md`). ROM contents as synthesis sees them; nothing was placed.

```
finn-vitprune build build/deit/{model} --fpga-part {part} \\
    --clk-ns {clk:g} --budget {budget} -o build/deit_small
python -m finn_vitprune.builds.experiments.synthesis build/deit_small -o {output}
```

What is in the cache is not mapped again. {tool}, part {part}, interval {interval:,} cycles."""
LARGEST = 30
"""Units that have a row of their own."""


@dataclass(frozen=True)
class PlannedUnit:
    """A node: what its op estimates, and what Yosys counted."""

    name: str
    op_type: str
    estimate: Resources
    counted: Resources

    @property
    def lut_error(self) -> float:
        """Share by which the estimate of LUTs is too high."""
        return self.estimate.LUT / self.counted.LUT - 1 if self.counted.LUT else 0.0

    @property
    def inexact(self) -> tuple[str, ...]:
        """Resources that are not as estimated, though they must be."""
        return tuple(kind for kind in EXACT if getattr(self.estimate, kind) != getattr(self.counted, kind))


def main(
    build: Annotated[Path, typer.Argument(help="Build folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of synthesis.json and SYNTHESIS.md.")],
) -> None:
    """Compare and write."""
    folder = BuildFolder(build)
    synthesis, plan = folder.synthesis.load(), folder.plan.load()
    if synthesis is None or plan is None:
        raise UserError(f"{build} holds no plan, or its nodes were not synthesised: build without --synth none")
    summary = Summary.load(build)
    model = ModelWrapper(str(folder.intermediate_models / "step_hw_codegen.onnx"))
    found = units(model, synthesis.per_node)
    options = BuildRecord.model_validate_json(folder.record.read_bytes()).options
    heading = {
        "model": Path(str(options["model"]).split()[0]).name, "part": summary.part.name, "clk": options["synth_clk_period_ns"],
        "budget": ",".join(f"{kind}={share:g}" for kind, share in plan.budget.items()), "tool": synthesis.tool,
        "interval": plan.interval_cycles,
    }  # fmt: skip
    sums = {"estimate": total(u.estimate for u in found), "yosys": total(u.counted for u in found)}
    write_json(output / "synthesis.json", {
        **heading, "totals": {name: asdict(r) for name, r in sums.items()},
        "units": [asdict(u) | {"lut_error": round(u.lut_error, 4)} for u in found],
    }, indent=1)  # fmt: skip
    tables = [totals(found), by_type(found), large(found), different(found)]
    write_text(output / "SYNTHESIS.md", to_markdown(TITLE, TEXT.format(**heading, output=output), tables))


def units(model: ModelWrapper, counted: dict[str, Resources]) -> list[PlannedUnit]:
    """The nodes of a hardware graph."""
    estimates = estimated(model)
    return [
        PlannedUnit(n.name, n.op_type, estimates[n.name], counted[n.name]) for n in model.graph.node
    ]


def totals(found: list[PlannedUnit]) -> TextTable:
    """All nodes."""
    estimate, counted = total(u.estimate for u in found), total(u.counted for u in found)
    rows = [
        (kind, amount(getattr(estimate, kind)), amount(getattr(counted, kind)), percent(getattr(estimate, kind), getattr(counted, kind)))
        for kind in KINDS
    ]
    return TextTable("All units", ("", "plan", "Yosys", "plan less Yosys"), tuple(rows))


def by_type(found: list[PlannedUnit]) -> TextTable:
    """The units of each op type."""
    types = dict.fromkeys(u.op_type for u in found)
    rows = [_row(f"{op} ({len(some)})", some) for op in types if (some := [u for u in found if u.op_type == op])]
    return TextTable("By op type", _COLUMNS, tuple(rows))


def large(found: list[PlannedUnit]) -> TextTable:
    """The largest nodes."""
    largest = sorted(found, key=lambda u: u.counted.LUT, reverse=True)[:LARGEST]
    return TextTable("The largest units", _COLUMNS, tuple(_row(u.name, [u]) for u in largest))


def different(found: list[PlannedUnit]) -> TextTable:
    """Nodes whose estimate is not exact, or more than :data:`CLOSE` wrong."""
    some = [u for u in found if u.inexact or abs(u.lut_error) > CLOSE]
    note = f"LUTs by more than {CLOSE:.0%}, or another resource at all. {len(some)} of {len(found)} units."
    return TextTable("Units whose estimate differs", _COLUMNS, tuple(_row(u.name, [u]) for u in some), note)


_COLUMNS = ("units", "LUT plan", "LUT Yosys", "LUT", "DSP plan", "Yosys", "BRAM36 plan", "Yosys", "URAM plan", "Yosys")


def _row(name: str, some: Iterable[PlannedUnit]) -> tuple[str, ...]:
    some = list(some)
    estimate, counted = total(u.estimate for u in some), total(u.counted for u in some)
    exact = (amount(getattr(r, kind)) for kind in EXACT for r in (estimate, counted))
    return (name, f"{estimate.LUT:,}", f"{counted.LUT:,}", percent(estimate.LUT, counted.LUT), *exact)


def percent(estimate: float, counted: float) -> str:
    """By how much an estimate is too high."""
    return f"{100 * (estimate / counted - 1):+.1f} %" if counted else "" if not estimate else "+"


if __name__ == "__main__":
    typer.run(main)
