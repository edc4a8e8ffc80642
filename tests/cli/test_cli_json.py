"""``--json``: one document alone on standard output, the same exit code as without, and what docs/command_line.md says is in it."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer

from finn_vitprune import progress
from finn_vitprune.api.accelerator import AcceleratorStatus
from finn_vitprune.api.run import TargetRun
from finn_vitprune.bench.run import Measured
from finn_vitprune.boards.netlist import StuckNet
from finn_vitprune.builds.bitstream import BoardSummary, RoutedFigures
from finn_vitprune.builds.gate_level import GateLevel
from finn_vitprune.builds.images import Images
from finn_vitprune.cli import run
from finn_vitprune.cli.app import program
from finn_vitprune.errors import AnswerIsNo
from finn_vitprune.exploration.ledger import Explored, ExploreSettings
from finn_vitprune.exploration.points import Target
from finn_vitprune.export.gate import GateReport
from finn_vitprune.report.accuracy import Evaluation
from finn_vitprune.report.summary import ModelCard
from finn_vitprune.training.train import ExportResult
from tests.summaries import summary

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "command_line.md").read_text().split("## JSON")[1]
COMMANDS = typer.main.get_command(program()).commands
ANSWERING = [name for name, command in COMMANDS.items() if any("--json" in p.opts for p in command.params)]
MODEL = str(ROOT / "builds" / "example" / "deit_digits.onnx")


def promised(command: str) -> set[str]:
    """The keys that the page says the document of a command has, at its top."""
    (row,) = re.findall(rf"^\| `{command}` \|(.*)$", PAGE, re.MULTILINE)
    return set(re.findall(r"`(\w+)`", row.split("|")[0]))


def test_every_command_that_answers_has_the_flag_and_its_row_on_the_page():
    assert set(ANSWERING) == set(COMMANDS) - {"picture"}
    assert all(promised(name) for name in ANSWERING)


class Made:
    """What commands call, in place of hours of work: each prints and tells progress as the real one does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mismatches = 0

    def noise(self) -> None:
        progress.line("at work")
        print("a library talks")
        subprocess.run([sys.executable, "-c", "print('a program talks')"], check=True)

    def build(self, options):
        self.noise()
        made = summary(True)
        made.model_copy(update={"verify": made.verify.model_copy(update={"rtl_mismatches": self.mismatches})}).save(options.output_dir)
        return options.output_dir

    def simulate(self, build_dir, pixels, contents):
        self.noise()
        return np.array([[1, -5], [7, 2**30]], np.int32)

    def make_bitstream(self, build_dir, folder, options):
        self.noise()
        routed = RoutedFigures(81.5, 1, 10, 9, 8, 7)
        return BoardSummary(
            "ulx3s-85f", "LFE5U-85F", ["Yosys"], 1, 80.0, 6827, 3_000_000, 64, 40, {}, routed, {"COMB": 99}, {"1": 81.5}, 5, {}, {}
        )

    def gate_level(self, build_dir, options, folder):
        self.noise()
        return GateLevel(2, 20, 0, 5, 0.1, "0" * 64, 0, 3, 2, 2, [StuckNet("cell", "F", 7, 1)])

    def run_on(self, build, options):
        self.noise()
        images = Images(np.zeros((2, 8, 8, 1), np.uint8), np.array([1, 0]), None, "images.npz", np.arange(2), 2, 0)
        return TargetRun(images, np.array([[1, 5], [7, 2]], np.int32), 0.5, 0.1, AcceleratorStatus("rtl", 1, 2))

    def loader_command(self, build_dir, board, bitstream, flash):
        command = [sys.executable, "-c", "print('a program talks')"]
        return SimpleNamespace(board="ulx3s-85f", design=1, file="board.bit", words=command, run=self.noise)

    def evaluate(self, options):
        self.noise()
        scores = {"images": 2, "accuracy": 0.5, "accuracy_top5": 1.0, "agreement": 1.0, "cosine": 0.9, "cosine_worst": 0.8}
        return Evaluation(**scores, model=ModelCard(name="m"), data="digits", note="", chosen="all 2 images", images_per_second=1.0)

    def contents_of(self, model, build_dir):
        self.noise()
        contents = SimpleNamespace(data=np.zeros(7, np.uint32), design=0x1234)
        return SimpleNamespace(contents=contents, network=SimpleNamespace(logit_scale=0.5), write=lambda path: None)

    def train(self, config, out_dir, **options):
        self.noise()
        return {"name": config.name, "accuracy_teacher": 0.9, "config": config.model_dump(mode="json")}

    def export(self, checkpoint, output):
        self.noise()
        metadata = SimpleNamespace(sizes=lambda: {"macs": 1}, macs_dense=2, macs_pruned=1, macs=1, params_dense=2, params=1)
        return ExportResult(metadata, GateReport(10, 0, "", 0.0, 1.0, 4), 0.75, 0)

    def explore(self, exploration):
        self.noise()
        return Explored(settings=ExploreSettings(target=Target(clk_ns=4)))

    def bench(self, plan, results):
        self.noise()
        results.about = {"tool": "Yosys"}
        return Measured([], [], [])

    def sweep(self, jobs, results, parallel, finished):
        self.noise()


@pytest.fixture
def made(tmp_path, monkeypatch):
    found = Made(tmp_path)
    for name, function in {
        "builds.build.build": found.build,
        "builds.simulate.simulate": found.simulate,
        "builds.networks.contents_of": found.contents_of,
        "builds.bitstream.make_bitstream": found.make_bitstream,
        "builds.gate_level.gate_level": found.gate_level,
        "builds.program_board.loader_command": found.loader_command,
        "api.run.run_on": found.run_on,
        "builds.evaluate.evaluate": found.evaluate,
        "training.train.train": found.train,
        "training.train.export_checkpoint": found.export,
        "exploration.explore.explore": found.explore,
        "bench.run.run": found.bench,
        "training.sweep.run": found.sweep,
    }.items():
        monkeypatch.setattr(f"finn_vitprune.{name}", function)
    np.save(tmp_path / "images.npy", np.zeros((2, 8, 8, 1), np.uint8))
    (tmp_path / "checkpoint.pt").touch()
    (tmp_path / "built" / "stitched_ip").mkdir(parents=True)
    (tmp_path / "built" / "stitched_ip" / "design.json").touch()
    monkeypatch.chdir(tmp_path)
    return found


LINES = {
    "build": "build -o out", "simulate": "simulate built --images images.npy -o y.npy", "contents": f"contents {MODEL} --for built -o c.bin",
    "evaluate": f"evaluate {MODEL} --data digits",
    "train": "train -o run", "export": "export checkpoint.pt -o m.onnx", "explore": f"explore {MODEL} --fpga-part U250 -o ex",
    "run": "run built --target rtl --images images.npy -o logits.npz", "program": "program built",
    "bitstream": "bitstream built", "gate-level": "gate-level built --faults 3",
    "bench-units": "bench-units --quick", "sweep": "sweep deit_digits_sweep -o runs", "check": f"check {MODEL}",
    "complexity": f"complexity {MODEL}", "doctor": "doctor",
}  # fmt: skip
"""Command lines of all that answer, but ``import`` (tests/ingest/test_import.py) and ``report`` (below)."""


@pytest.mark.parametrize("name", [name for name in ANSWERING if name not in ("import", "report")])
def test_the_document_is_alone_on_standard_output(name, made, capfd):
    line = LINES[name].split()
    code = run(line)
    plain = capfd.readouterr().out
    assert run([*line, "--json"]) == code
    out, err = capfd.readouterr()
    document = json.loads(out)
    first = document[0] if isinstance(document, list) else document
    assert promised(name) <= set(first)
    if name not in ("check", "complexity", "doctor"):
        assert "at work" in plain and all(text in err for text in ("at work", "a library talks", "a program talks"))


def test_report_of_one_two_and_an_unfinished_build(made, tmp_path, capfd):
    for name in ("a", "b"):
        assert run(["build", "-o", name]) == 0
    capfd.readouterr()
    for folders in (["a"], ["a", "b"]):
        assert run(["report", *folders, "--json", "--html", "page.html"]) == 0
        document = json.loads(capfd.readouterr().out)
        assert promised("report") == set(document) and document["folders"] == folders
        assert [s["rtlsim"]["fps"] > 0 for s in document["summaries"]] == [True] * len(folders)
    assert (tmp_path / "page.html").is_file()


@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_the_answer_no_has_its_exit_code_either_way(more, made, capfd):
    made.mismatches = 3
    assert run(["build", "-o", "out", *more]) == 1
    out, err = capfd.readouterr()
    assert "The RTL differs from the hardware graph: 3 values on" in err
    if more:
        assert [text.partition(":")[0] for text in json.loads(out)["no"]] == ["The RTL differs from the hardware graph"]


@pytest.mark.parametrize("error, code", [(AnswerIsNo("no"), 1), (KeyboardInterrupt(), 130), (OSError(28, "No space left on device"), 2)])
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_an_error_prints_no_document(more, error, code, made, monkeypatch, capfd):
    def fails(*args):
        print("before it failed")
        raise error

    monkeypatch.setattr("finn_vitprune.builds.simulate.simulate", fails)
    assert run([*LINES["simulate"].split(), *more]) == code
    assert capfd.readouterr().out == ("" if more else "before it failed\n")
    print("standard output is back")
    assert capfd.readouterr().out == "standard output is back\n"


def test_bench_units_writes_the_file_that_it_prints(made, tmp_path, capfd):
    assert run(["bench-units", "--quick", "--json", "--json-file", "units.json"]) == 0
    assert json.loads(capfd.readouterr().out) == json.loads((tmp_path / "units.json").read_text())
