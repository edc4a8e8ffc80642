"""One vocabulary of options."""

import re
from importlib import import_module
from pathlib import Path
from typing import get_args, get_origin

import pytest
import typer

from finn_vitprune.bench.run import Measured
from finn_vitprune.cli import run
from finn_vitprune.cli.app import COMMANDS as PROGRAM
from finn_vitprune.cli.app import program
from finn_vitprune.exploration.points import BuildJob, Target
from finn_vitprune.exploration.space import Point, Variant

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "command_line.md").read_text()
COMMANDS = typer.main.get_command(program()).commands
OPTIONS = {name: {flag: p for p in command.params for flag in p.opts if flag.startswith("--")} for name, command in COMMANDS.items()}
NEGATED = {name: {flag for p in command.params for flag in p.secondary_opts} for name, command in COMMANDS.items()}
MODELLED = {
    (name, field.flag): field.option.parse or (str if field.option.text else field.kind)
    for name, module in PROGRAM.items() if (place := getattr(module, "OPTIONS", ""))
    for field in getattr(import_module(place.partition(":")[0]), place.partition(":")[2]).fields()
}  # fmt: skip
"""What the models of options make of a word, by command and flag."""
LISTS = {"--fpga-part", "--engines", "--frames-in-flight", "--goal", "--block-keep", "--token-keep"}
"""What ``explore`` takes several of, with commas between them."""


def test_a_name_means_the_same_in_every_command():
    kinds: dict[str, dict[str, set[str]]] = {}
    for command, options in OPTIONS.items():
        for flag, option in options.items():
            if not (command == "explore" and flag in LISTS):
                kind = MODELLED.get((command, flag)) or option.type_descriptor.annotation
                kind = get_args(kind)[0] if get_origin(kind) is list else kind  # of one that may repeat
                kinds.setdefault(flag, {}).setdefault(kind, set()).add(command)
    different = {flag: found for flag, found in kinds.items() if len(found) > 1}
    assert not different


# --- docs/command_line.md ------------------------------------------------------------------------


def test_the_page_has_every_word_that_commands_share():
    words = PAGE.split("## Words")[1].split("## ")[0]
    of = {flag: [name for name, options in OPTIONS.items() if flag in options] for options in OPTIONS.values() for flag in options}
    shared = {flag for flag, commands in of.items() if len(commands) > 1}
    assert not [flag for flag in sorted(shared) if f"`{flag}`" not in words]


@pytest.mark.parametrize(
    "path", [*ROOT.glob("docs/*.md"), *ROOT.glob("builds/**/*.md"), *ROOT.glob("builds/**/*.yaml"), ROOT / "Makefile"], ids=lambda p: p.name
)
def test_commands_in_texts_use_options_that_are_there(path):
    """Command lines with their continuations."""
    text = path.read_text().replace("\\\n", " ")
    for line in re.findall(r"finn-vitprune ([a-z][^`\n#]*)", text):
        command, *words = line.split()
        used = {word.partition("=")[0] for word in words if re.match(r"--[a-z][a-z-]*(=|$)", word)}
        assert used <= {*OPTIONS.get(command, used), *NEGATED.get(command, ()), "--help"}, line


def test_commands_that_pages_and_tables_print_have_options_of_build():
    """What ``explore`` writes beside each design."""
    target = Target(clk_ns=4, shell="xdma")
    point = Point(Variant(Path("m.onnx")), "U250", 1, 2, "latency")
    line = BuildJob(point, Path("m.onnx"), Path("out"), target, "none", 2).options.command
    assert line == (
        "finn-vitprune build m.onnx --fpga-part U250 --clk-ns 4.0 --engines 1 --frames-in-flight 2 --goal latency --shell xdma --synth none -o out"
    )
    assert {word for word in line.split() if word.startswith("--")} <= set(OPTIONS["build"])


def test_bits_are_of_weights_and_activations(monkeypatch, capsys):
    plans = []
    monkeypatch.setattr("finn_vitprune.bench.run.run", lambda plan, results: plans.append(plan) or Measured([], [], []))
    for given in ("4/8", "4"):
        assert run(["bench-units", "--bits", given]) == 0
    assert [plan.bits for plan in plans] == [((8, 4),), ((4, 4),)], "activations and weights"
