"""Commands of experiments, as pages print them: each is one that there is, with options that it has."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "Makefile",
    *(p for kind in ("docs/*.md", "builds/results/**/*.md", "notebooks/*.ipynb") for p in ROOT.glob(kind)),
]
COMMAND = re.compile(r"python -m builds\.experiments\.([a-z]\w*)((?: [^`\n#\"\\)]*)?)")
PRINTED = [(path, *found) for path in PAGES for found in COMMAND.findall(path.read_text())]
EXPERIMENTS = ROOT / "builds" / "experiments"


def program(name: str):
    """What ``python -m`` runs of an experiment."""
    module = import_module(f"builds.experiments.{name}")
    app = getattr(module, "app", None) or typer.Typer()
    if not app.registered_commands:
        app.command()(module.main)
    return typer.main.get_command(app)


@pytest.mark.parametrize("path, name, words", PRINTED, ids=lambda value: getattr(value, "name", value))
def test_a_printed_command_parses(path, name, words):
    command, given = program(name), shlex.split(words)
    if isinstance(command, typer.core.TyperGroup):
        command = command.commands[given.pop(0)]
    if given:
        command.make_context(name, given)


def test_every_experiment_is_printed_somewhere():
    runs = {path.stem for path in EXPERIMENTS.glob("*.py") if '__name__ == "__main__"' in path.read_text()}
    assert {name for _, name, _ in PRINTED} == runs and len(PRINTED) > 10


def test_a_script_that_is_gone_is_named_with_a_commit():
    for path in PAGES:
        paragraphs = path.read_text().split("\n\n")
        for paragraph, script in (
            (p, s) for p in paragraphs for s in re.findall(r"`((?:builds/experiments|finn_vitprune/bench)/\w+\.py)", p)
        ):
            assert (ROOT / script).is_file() or re.search(r"\bcommit [0-9a-f]{7}\b", paragraph), f"{path.name}: {script}"
