"""``docs/verdicts.md``: the verdict of every command that ends with one, on the float network of the example.

``python -m tests.verdict_page`` writes it anew.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "verdicts.md"
BUILD = "build --fpga-part U250 --synth none --max-images 24 -o build/digits"
COMMANDS = {
    "Import": "import float.onnx --data digits -o quantised.onnx",
    "A build of estimates alone": f"{BUILD} --estimate-only",
    "A build": BUILD,
    "A part that is too small": "build --fpga-part xcmine --part-resources parts.json --synth none -o build/small",
    "The accuracy of the build": "evaluate build/digits --data digits --jobs 1",
    "Images on a target": "run build/digits --target integers --images digits.npz --max-images 20",
    "The build again": "report build/digits",
    "Many designs": "explore digits.onnx --fpga-part U250,ZCU104 --clk-ns 4 -o explore/digits",
}
INTRODUCTION = """# Verdicts

`build`, `report`, `import`, `explore`, `evaluate` and `run` end with a verdict of at most 12 lines. Lines that begin with `!` come first: what was
missed, does not fit or differs, then what is only an estimate. A line has a figure, how it was found (measured in a simulation of the RTL,
synthesised, estimated, counted) and a note. `--full` prints all tables, too; the page has everything.

These are the verdicts on the example of the package, a network of 8 x 8 digits. A test holds this page to what the commands print.
"""
PARTS = '{"xcmine": {"LUT": 20000, "FF": 40000, "DSP": 100, "BRAM36": 20, "URAM": 0}}'


def made(folder: Path) -> dict[str, str]:
    """The verdict of each command of :data:`COMMANDS`, run in ``folder``."""
    from finn_vitprune.builds.build import EXAMPLE
    from finn_vitprune.cli import run, terminal
    from finn_vitprune.sim.compile import OPTIMISE

    _float_model(folder / "float.onnx")
    shutil.copy(EXAMPLE / "deit_digits.onnx", folder / "digits.onnx")
    shutil.copy(EXAMPLE / "images.npz", folder / "digits.npz")
    (folder / "parts.json").write_text(PARTS)
    found, here, shown, optimise = (
        {},
        Path.cwd(),
        terminal._shown,
        os.environ.pop(OPTIMISE, None),
    )  # simulators as those of test_example_build
    os.chdir(folder)
    try:
        for title, command in COMMANDS.items():
            with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()):
                assert run(["-q", *shlex.split(command)]) in (0, 1), command
            found[title] = out.getvalue().rstrip("\n")
    finally:
        os.chdir(here)
        os.environ |= {} if optimise is None else {OPTIMISE: optimise}
        terminal.show_progress(shown)
    return found


def page(verdicts: dict[str, str]) -> str:
    """The page."""
    parts = [f"## {title}\n\n```\n$ finn-vitprune {COMMANDS[title]}\n{text}\n```\n" for title, text in verdicts.items()]
    return "\n".join([INTRODUCTION, *parts])


def words(text: str) -> tuple[list[str], list[float]]:
    """A page without its figures, and these; seconds of this computer are none of them."""
    text = re.sub(r"[\d.,]+ images/s on this computer", "images/s on this computer", text)
    figures = [float(figure.replace(",", "")) for figure in re.findall(r"\d[\d,]*\.?\d*", text)]
    return re.sub(r"\d[\d,]*\.?\d*", "#", text).split(), figures


def _float_model(path: Path) -> None:
    import torch

    from finn_vitprune.builds.build import EXAMPLE
    from finn_vitprune.training.config import load_config
    from finn_vitprune.training.data import digits
    from finn_vitprune.training.teacher import load_weights, make_teacher

    data = digits()
    source = make_teacher(load_config(ROOT / "builds" / "train" / "deit_digits.yaml"), data)
    load_weights(source, EXAMPLE / "deit_digits_float.pt")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        torch.onnx.export(source.eval(), (torch.zeros(1, data.channels, *data.image_size),), str(path), opset_version=17, dynamo=False)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        PAGE.write_text(page(made(Path(place))))
    print(f"written: {PAGE}", file=sys.stderr)
