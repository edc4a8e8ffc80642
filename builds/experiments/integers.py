"""Images a second of a network's integers: golden models against :class:`.IntegerProgram`, in turns, each in a process of its own.

``python -m finn_vitprune.builds.experiments.integers NAME=MODEL.onnx ... -o builds/results/evaluate`` measures QONNX files on random images
and writes ``speed.json`` and ``SPEED.md``; networks that the file already has stay, unless they are given again.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from pydantic import TypeAdapter
from qonnx.core.modelwrapper import ModelWrapper

import finn_vitprune.plugin  # noqa: F401
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.execute.program import IntegerProgram
from finn_vitprune.files import write_json, write_text
from finn_vitprune.graph.reading import read_qonnx
from finn_vitprune.report.tables import TextTable, to_markdown
from finn_vitprune.transforms.lower import lower
from finn_vitprune.transforms.tidy_lowered import TidyLowered

GOLDEN, PROGRAM = "golden", "program"
TURNS = 3
SECONDS = 10.0
"""A measurement takes at least so long."""
GOLDEN_BATCH = 8
TEXT = """Images a second of one core (one thread) through the integers of a network, by the golden models in batches of {batch} and by
`finn_vitprune/execute/program.py`, the median of {turns} turns that alternate; memory is the most that a process had, PyTorch and FINN included.

```
python -m finn_vitprune.builds.experiments.integers NAME=MODEL.onnx ... -o builds/results/evaluate
```
"""


@dataclass(frozen=True)
class TimedIntegers:
    """One run: images a second, and the most memory of its process in MiB."""

    images_per_second: float
    mebibytes: float


@dataclass(frozen=True)
class SpeedRow:
    """A network: its digest is that of its name, turns of both ways in the order in which they ran."""

    processor: str
    golden: tuple[TimedIntegers, ...]
    program: tuple[TimedIntegers, ...]

    def speed(self, way: str) -> float:
        return statistics.median(m.images_per_second for m in getattr(self, way))

    def memory(self, way: str) -> float:
        return max(m.mebibytes for m in getattr(self, way))


_ROWS = TypeAdapter(dict[str, SpeedRow])
app = typer.Typer(add_completion=False)


@app.command()
def main(
    networks: Annotated[list[str], typer.Argument(metavar="NAME=MODEL.onnx")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of speed.json and SPEED.md.")],
) -> None:
    """Measure networks and write the table."""
    path = output / "speed.json"
    rows = _ROWS.validate_json(path.read_bytes()) if path.is_file() else {}
    for name, model in (text.split("=", 1) for text in networks):
        turns = [{way: _apart(way, Path(model)) for way in (GOLDEN, PROGRAM)} for _ in range(TURNS)]
        rows[name] = SpeedRow(_processor(), *(tuple(turn[way] for turn in turns) for way in (GOLDEN, PROGRAM)))
        write_json(path, {k: asdict(row) for k, row in rows.items()}, indent=1)
        write_text(output / "SPEED.md", _markdown(rows))
        print(name, f"{rows[name].speed(GOLDEN):.2f} to {rows[name].speed(PROGRAM):.2f} images/s", flush=True)


def measure(way: str, model: Path) -> TimedIntegers:
    """One way on one thread, in this process."""
    torch.set_num_threads(1)
    graph = lower(ModelWrapper(read_qonnx(model))).model.transform(TidyLowered())
    name = graph.graph.input[0].name
    program = IntegerProgram(graph) if way == PROGRAM else None
    batch = program.batch if program else GOLDEN_BATCH
    images = np.random.default_rng(0).integers(0, 256, (batch, *graph.get_tensor_shape(name)[1:]), dtype=np.uint8)
    run = program.logits if program else lambda pixels: golden.run(graph, {name: pixels})
    run(images[:1])
    count, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < SECONDS or not count:
        run(images)
        count += batch
    return TimedIntegers(count / seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _apart(way: str, model: Path) -> TimedIntegers:
    code = "import json, sys; from pathlib import Path; from finn_vitprune.builds.experiments.integers import measure; "
    code += "from dataclasses import asdict; print(json.dumps(asdict(measure(sys.argv[1], Path(sys.argv[2])))))"
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    ran = subprocess.run([sys.executable, "-c", code, way, str(model)], capture_output=True, text=True, env=environment)
    if ran.returncode:
        raise UserError(f"{model}: {ran.stderr.strip().splitlines()[-1] if ran.stderr.strip() else 'no answer'}")
    return TimedIntegers(**json.loads(ran.stdout.splitlines()[-1]))


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _markdown(rows: dict[str, SpeedRow]) -> str:
    cells = tuple(
        (name, f"{row.speed(GOLDEN):,.2f}", f"{row.speed(PROGRAM):,.1f}", f"{row.speed(PROGRAM) / row.speed(GOLDEN):.1f}",
         f"{row.memory(GOLDEN):,.0f}", f"{row.memory(PROGRAM):,.0f}", row.processor)
        for name, row in rows.items()
    )  # fmt: skip
    columns = ("network", "golden, images/s", "program, images/s", "times", "golden, MiB", "program, MiB", "processor")
    return to_markdown("Speed of the integers", TEXT.format(batch=GOLDEN_BATCH, turns=TURNS), [TextTable("One core", columns, cells)])


if __name__ == "__main__":
    app()
