"""Configurations by name, from any folder; and the name of a run whose configuration has none."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from finn_vitprune.cli import run
from finn_vitprune.errors import UserError
from finn_vitprune.options.configs import ConfigKind, bundled, config_file
from finn_vitprune.training.config import parse_config, with_changes
from finn_vitprune.training.sweep import load_sweep

ROOT = Path(__file__).parents[2]


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """The configurations that ``train`` is called with, from a folder outside of the checkout."""
    calls = []

    def train(config, out_dir, **options):
        calls.append(config)
        return {"accuracy_teacher": 0.5}

    monkeypatch.setattr("finn_vitprune.training.train.train", train)
    monkeypatch.chdir(tmp_path)
    return calls


def test_every_config_of_the_package_has_a_name_and_is_in_the_wheel():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["finn_vitprune.builds"]
    home = ROOT / "finn_vitprune" / "builds"
    packed = {path for pattern in wheel for path in home.glob(pattern)}
    names = {kind: bundled(kind) for kind in ConfigKind}
    assert {"deit_digits", "deit_fmnist"} <= set(names[ConfigKind.TRAIN]) and set(names[ConfigKind.BUILD]) == {"dataflow", "synthesis_only"}
    found = [path for table in names.values() for path in table.values()]
    assert sorted(found) == sorted([*home.glob("*.yaml"), *home.glob("train/*.yaml")]) and set(found) <= packed
    assert all(load_sweep(path).name for path in names[ConfigKind.SWEEP].values())


def test_a_name_is_found_outside_of_the_checkout(trained):
    assert run(["train", "--config", "deit_digits", "--set", "prune.block_keep=0.4", "-o", "runs"]) == 0
    (config,) = trained
    assert (config.name, config.data, config.prune.block_keep, config.prune.drop_at) == ("deit_digits", "digits", 0.4, (2, 3))


def test_a_file_of_that_path_comes_before_the_name(trained, tmp_path):
    (tmp_path / "deit_digits").write_text("name: mine\n")
    assert run(["train", "--config", "deit_digits", "-o", "runs"]) == 0
    assert run(["train", "--config", "./deit_digits", "-o", "runs"]) == 0
    (tmp_path / "deit_digits").unlink()
    (tmp_path / "deit_digits").mkdir()
    assert run(["train", "--config", "deit_digits", "-o", "runs"]) == 0
    assert [config.name for config in trained] == ["mine", "mine", "deit_digits"]


@pytest.mark.parametrize("text", ["list", "deit_digit", "deit_digits.yaml", "builds/train/deit_digits.yaml", "deit_digits_sweep"])
def test_an_unknown_name_lists_the_names(text, trained, capsys):
    assert run(["train", "--config", text, "-o", "runs"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and f"training config {text}: no such file, and none of these names: deit_digits, " in err
    assert "_sweep," not in err and not trained


def test_builds_and_sweeps_take_names_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr("finn_vitprune.builds.build.build", lambda options: seen.append(options.config) or options.output_dir)
    assert run(["build", "--config", "synthesis_only", "-o", "out"]) == 0
    assert seen == [bundled(ConfigKind.BUILD)["synthesis_only"]]
    monkeypatch.setattr("finn_vitprune.training.sweep.run", lambda jobs, results, *_: seen.append((len(jobs), results.path)))
    assert run(["sweep", "deit_digits_sweep", "-o", "runs"]) == 0
    assert seen[1] == (7, Path("runs/results.json")), "not into the package"
    with pytest.raises(UserError, match="sweep nothing: no such file, and none of these names: deit_digits_sweep"):
        config_file("nothing", ConfigKind.SWEEP)


def test_names_are_found_without_loading_finn():
    code = "import sys\nfrom finn_vitprune.options.configs import *\nassert bundled(ConfigKind.TRAIN)\nsys.exit('finn' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd="/").returncode == 0


# --- what a configuration says -------------------------------------------------------------------


def test_a_config_without_a_name_is_called_as_its_folder(trained, tmp_path):
    (tmp_path / "mine.yaml").write_text("seed: 3\n")
    assert run(["train", "--config", "mine.yaml", "-o", "runs/first"]) == 0
    assert (trained[0].name, trained[0].seed) == ("first", 3)


@pytest.mark.parametrize("key", ["dataset", "prune.token_drop_layers"])
def test_names_of_before_are_unknown(key):
    with pytest.raises(UserError, match=f"unknown key {key} "):
        parse_config(with_changes({"name": "a"}, [f"{key}=digits"]))
