"""One vocabulary of options, and the names that they had before."""

import re
from pathlib import Path
from typing import get_args, get_origin

import pytest
import typer

from finn_vitprune.bench.run import Measured
from finn_vitprune.cli import run
from finn_vitprune.cli.app import app
from finn_vitprune.cli.renamed import RENAMED, in_present_words
from finn_vitprune.exploration.points import BuildJob, Target
from finn_vitprune.exploration.space import Point, Variant

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "command_line.md").read_text()
COMMANDS = typer.main.get_command(app).commands
OPTIONS = {name: {flag: p for p in command.params for flag in p.opts if flag.startswith("--")} for name, command in COMMANDS.items()}
OLD = [(command, old, renamed) for command, table in RENAMED.items() for old, renamed in table.items()]
LISTS = {"--fpga-part", "--engines", "--frames-in-flight", "--goal", "--block-keep", "--token-keep"}
"""What ``explore`` takes several of, with commas between them."""


@pytest.mark.parametrize("command, old, renamed", OLD, ids=[f"{command} {old}" for command, old, _ in OLD])
def test_an_old_name_means_the_present_one_and_says_so(command, old, renamed):
    now, *values = renamed.now.split()
    words, notes = in_present_words(["-q", command, "model.onnx", old, *([] if values else ["1"]), old, *([] if values else ["2"])])
    assert words == ["-q", command, "model.onnx", *([now, *values] * 2 if values else [now, "1", now, "2"])]
    assert notes == [f"{old} is now {renamed.now}; the old name works for one release more"]
    assert now in OPTIONS[command]


@pytest.mark.parametrize("command, old, renamed", OLD, ids=[f"{command} {old}" for command, old, _ in OLD])
def test_help_has_the_present_names_alone(command, old, renamed):
    kept = {("bench-units", "--json"), ("explore", "--synth")}  # which have another meaning now
    assert (old in OPTIONS[command]) == ((command, old) in kept)


@pytest.mark.parametrize("line, meant", [
    ("build --workers=3", "build --jobs=3"),
    ("build -- --workers", "build -- --workers"),
    ("doctor --parts", "doctor --parts"),
    ("build --images x.npz", "build --images x.npz"),
    ("bench-units --json", "bench-units --json"),
    ("bench-units --json --quick", "bench-units --json --quick"),
    ("bench-units --json units.json", "bench-units --json-file units.json"),
    ("bench-units --json=units.json", "bench-units --json-file=units.json"),
    ("explore a.onnx --synth", "explore a.onnx --synth nodes"),
    ("explore --synth a.onnx", "explore --synth nodes a.onnx"),
    ("explore --synth none a.onnx", "explore --synth none a.onnx"),
    ("", ""),
    ("-q", "-q"),
])  # fmt: skip
def test_only_what_is_old_is_replaced(line, meant):
    assert in_present_words(line.split())[0] == meant.split()


def test_the_program_takes_old_names_with_a_line_for_each(tmp_path, capsys):
    line = ["import", str(tmp_path / "no.onnx"), "--dataset", "digits", "-o", "x.onnx", "--recover-epochs=2"]
    assert run(line) == 2
    *notes, error = capsys.readouterr().err.splitlines()
    assert notes == [
        "finn-vitprune: --dataset is now --data; the old name works for one release more",
        "finn-vitprune: --recover-epochs is now --fine-tune-epochs; the old name works for one release more",
    ]
    assert "no.onnx: no such file" in error


def test_a_name_means_the_same_in_every_command():
    kinds: dict[str, dict[str, set[str]]] = {}
    for command, options in OPTIONS.items():
        for flag, option in options.items():
            if not (command == "explore" and flag in LISTS):
                kind = option.type_descriptor.annotation
                kind = get_args(kind)[0] if get_origin(kind) is list else kind  # of one that may repeat
                kinds.setdefault(flag, {}).setdefault(kind, set()).add(command)
    different = {flag: found for flag, found in kinds.items() if len(found) > 1}
    assert not different


# --- docs/command_line.md ------------------------------------------------------------------------


def test_the_page_has_every_word_that_commands_share():
    words = PAGE.split("## Words")[1].split("Names that options had")[0]
    of = {flag: [name for name, options in OPTIONS.items() if flag in options] for options in OPTIONS.values() for flag in options}
    shared = {flag for flag, commands in of.items() if len(commands) > 1}
    assert not [flag for flag in sorted(shared) if f"`{flag}`" not in words]


@pytest.mark.parametrize("command, old, renamed", OLD, ids=[f"{command} {old}" for command, old, _ in OLD])
def test_the_page_has_every_old_name(command, old, renamed):
    assert re.search(rf"^\|.*`{command}`.*\| `{old}` \| `{renamed.now}` \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("path", [*ROOT.glob("docs/*.md"), *ROOT.glob("builds/**/*.md"), *ROOT.glob("builds/**/*.yaml"), ROOT / "Makefile"], ids=lambda p: p.name)
def test_commands_in_texts_use_present_names(path):
    """Command lines with their continuations; the table of old names has none."""
    text = path.read_text().replace("\\\n", " ")
    for line in re.findall(r"finn-vitprune ([a-z][^`\n#]*)", text):
        assert in_present_words(line.split())[1] == []


def test_commands_that_pages_and_tables_print_use_present_names():
    """What ``explore`` writes beside each design."""
    target = Target(clk_ns=4, shell="xdma")
    point = Point(Variant(Path("m.onnx")), "U250", 1, 2, "latency")
    line = BuildJob(point, Path("m.onnx"), Path("out"), target, "none", 2).command()
    assert in_present_words(line.split()[1:])[1] == []
    assert {word for word in line.split() if word.startswith("--")} <= set(OPTIONS["build"])


def test_bits_are_of_weights_and_activations_and_the_old_form_is_taken_with_a_note(monkeypatch, capsys):
    plans = []
    monkeypatch.setattr("finn_vitprune.bench.run.run", lambda plan, results: plans.append(plan) or Measured([], [], []))
    for given in ("4/8", "8x4", "4"):
        assert run(["bench-units", "--bits", given]) == 0
    assert [plan.bits for plan in plans] == [((8, 4),), ((8, 4),), ((4, 4),)], "activations and weights"
    assert capsys.readouterr().err == "finn-vitprune: --bits 8x4 is now --bits 4/8; the old form works for one release more\n"
