"""Sweeps: what is trained, in which order, what is skipped and resumed, and the tables."""

import json
import subprocess
import sys
import time

import psutil
import pytest
import yaml

from finn_vitprune.errors import UserError
from finn_vitprune.files import write_json
from finn_vitprune.training import sweep as sweeps
from finn_vitprune.training.sweep import markdown

TINY = {
    "name": "tiny",
    "batch_size": 128,
    "model": {"patch_size": 4, "dim": 16, "depth": 2, "heads": 2, "mlp_ratio": 2},
    "prune": {"block_size": 8, "token_keep": 0.5, "drop_at": [1]},
    "teacher": {"epochs": 2, "lr": 3e-3},
    "student": {"epochs": 2, "warmup_epochs": 0, "hold_epochs": 1},
}
SWEEP = {
    "name": "tiny",
    "title": "Tiny",
    "about": "A test.",
    "config": "tiny.yaml",
    "baseline": "float",
    "seeds": [0, 1],
    "rows": [
        {"name": "float", "set": ["student.epochs=0"]},
        {"name": "half"},
        {"name": "dense", "set": ["prune.block_keep=1.0", "prune.neuron_keep=1.0"], "seeds": [0]},
    ],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    return tmp_path


def jobs_in(folder):
    path = folder / "sweep.yaml"
    return sweeps.jobs_of(sweeps.load_sweep(path), path, folder / "runs")


def test_jobs_wait_for_their_teacher_and_no_longer(folder):
    first, second, third, other, _ = jobs = jobs_in(folder)
    assert [training.job for training in sweeps.trainable(jobs, jobs)] == [first, other]
    first.folder.mkdir(parents=True)
    teacher = first.folder / "teacher.pt"
    teacher.touch()
    found = sweeps.trainable(jobs[1:], jobs)
    assert [(training.job, training.teacher) for training in found] == [(second, teacher), (third, teacher), (other, None)]


def test_all_rows_of_a_seed_come_before_the_next_seed(folder):
    jobs = jobs_in(folder)
    assert [(j.row, j.seed) for j in jobs] == [
        ("float", 0), ("half", 0), ("dense", 0), ("float", 1), ("half", 1),
    ]  # fmt: skip
    assert jobs[2].config.prune.block_keep == 1 and jobs[3].config.seed == 1
    assert jobs[2].command[:5] == ("train", "--config", str(folder / "tiny.yaml"), "--seed", "0")
    assert jobs[0].teacher == jobs[1].teacher == jobs[2].teacher != jobs[3].teacher


@pytest.mark.parametrize(
    "change, message",
    [
        ({"rows": []}, "rows: "),
        ({"baseline": "best"}, "baseline best is not a row: use one of float, half, dense"),
        ({"rows": [{"name": "a"}, {"name": "a"}], "baseline": None}, "two rows are called a"),
        ({"colour": 1}, "colour: Extra inputs"),
        ({"rows": [{"name": "a", "set": ["prune.block_kep=1"]}], "baseline": None}, "row a: unknown key"),
        ({"config": "none.yaml"}, "cannot read training config"),
    ],
)
def test_sweep_errors_are_one_clear_line(folder, change, message):
    (folder / "sweep.yaml").write_text(yaml.safe_dump(SWEEP | change))
    with pytest.raises(UserError, match=message) as error:
        jobs_in(folder)
    assert "\n" not in str(error.value)


def start(folder, *options):
    command = [sys.executable, "-m", "finn_vitprune", "sweep", "sweep.yaml", "-o", "runs", *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


@pytest.mark.slow
@pytest.mark.whole
def test_a_killed_sweep_goes_on_and_ends_as_an_unbroken_one(folder, tmp_path_factory):
    process = start(folder, "--seed", "0", "--row", "half", "--row", "float")
    waited = time.monotonic() + 120
    while not (folder / "runs/float-0/checkpoint.pt").exists():
        assert time.monotonic() < waited and process.poll() is None
        time.sleep(0.05)
    process.kill()
    finish(process)
    waited = time.monotonic() + 10
    while any(str(folder / "tiny.yaml") in (p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])):
        assert time.monotonic() < waited, "the training goes on without the sweep"
        time.sleep(0.05)
    code, output = finish(start(folder, "--seed", "0", "--row", "half", "--row", "float"))
    assert code == 0, output
    results = json.loads((folder / "results.json").read_text())["tiny"]["runs"]
    assert [(r["row"], r["seed"]) for r in results] == [("float", 0), ("half", 0)]
    assert "accuracy" not in results[0] and results[1]["macs"] < results[1]["macs_dense"]
    assert results[1]["accuracy_teacher"] == results[0]["accuracy_teacher"], "one teacher, trained once"

    code, output = finish(start(folder, "--seed", "0", "--row", "half", "--row", "float"))
    assert code == 0 and "2 of 2 runs are done" in output and "starts" not in output
    text = (folder / "RESULTS.md").read_text()
    assert "| half | 0 |" in text and "--set student.epochs=0" in text

    whole = tmp_path_factory.mktemp("whole")
    command = [sys.executable, "-m", "finn_vitprune", "train", "--config", str(folder / "tiny.yaml"), "-o", str(whole)]
    subprocess.run([*command, "--seed", "0"], check=True, capture_output=True)
    assert (whole / "model.onnx").read_bytes() == (folder / "runs/half-0/model.onnx").read_bytes()


@pytest.mark.whole
def test_a_failing_run_is_named_and_nothing_is_written(folder):
    broken = SWEEP | {"rows": [{"name": "wide", "set": ["prune.block_size=64"]}], "baseline": None, "seeds": [0]}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(broken))
    code, output = finish(start(folder))
    assert code == 2 and "wide-0 failed: see runs/wide-0.log" in output
    assert "block size 64 does not divide" in (folder / "runs/wide-0.log").read_text()
    assert json.loads((folder / "results.json").read_text())["tiny"]["runs"] == []


@pytest.mark.whole
def test_unknown_rows_are_named(folder):
    code, output = finish(start(folder, "--row", "best"))
    assert code == 2 and "--row best: sweep.yaml has rows float, half, dense" in output


def test_a_result_of_another_configuration_is_not_taken_for_done(folder):
    jobs = jobs_in(folder)
    results = sweeps.SweepResults(folder / "results.json")
    results.describe(sweeps.load_sweep(folder / "sweep.yaml"))
    jobs[1].folder.mkdir(parents=True)
    metrics = {"accuracy_teacher": 0.5, "accuracy": 0.25, "cpu_seconds": 60.0}
    write_json(jobs[1].folder / "metrics.json", metrics)
    results.add(jobs[1])
    assert sweeps.SweepResults(folder / "results.json").done(jobs[1])
    again = taken_over(folder)
    assert [(r["row"], r["accuracy"]) for r in again] == [("same", 0.25)]
    changed = SWEEP | {"rows": [{"name": "half", "set": ["student.lr=0.5"]}], "baseline": None}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(changed))
    assert not sweeps.SweepResults(folder / "results.json").done(jobs_in(folder)[0])


def taken_over(folder):
    """Runs of another sweep, one of whose rows has the configuration of a finished run."""
    other = SWEEP | {"name": "other", "rows": [{"name": "same"}], "baseline": None, "seeds": [0]}
    path = folder / "other.yaml"
    path.write_text(yaml.safe_dump(other))
    results = sweeps.SweepResults(folder / "results.json")
    results.describe(sweeps.load_sweep(path))
    assert all(results.done(j) for j in sweeps.jobs_of(sweeps.load_sweep(path), path, folder / "runs"))
    return json.loads((folder / "results.json").read_text())["other"]["runs"]


def test_tables_give_mean_spread_and_the_difference_to_the_baseline():
    def run(row, seed, teacher, **more):
        return {"row": row, "seed": seed, "accuracy_teacher": teacher, "cpu_seconds": 90.0, **more}

    pruned = {"macs_dense": 400, "macs_pruned": 125, "macs": 100, "params_dense": 30, "params": 20, "accuracy_exported": 0.75}
    text = markdown({"s": {
        "title": "A title", "about": "Words.", "baseline": "float",
        "rows": {"float": {"config": "c.yaml", "set": ["student.epochs=0"]},
                 "half": {"config": "d.yaml", "set": ["a=1"]}, "old": {"config": "d.yaml", "set": []}, "later": {"config": "c.yaml", "set": []},
                 "once": {"config": "c.yaml", "set": []}},
        "runs": [run("float", 0, 0.90), run("float", 1, 0.92),
                 run("half", 0, 0.9, accuracy=0.89, **pruned), run("half", 1, 0.9, accuracy=0.90, **pruned),
                 run("old", 0, 0.9, accuracy=0.89, macs_dense=400, macs=200, params_dense=30, params=30),
                 run("once", 1, 0.9, accuracy=0.91, **pruned)],
    }})  # fmt: skip
    assert "| float | 0, 1 | 0.9100 (0.9000 to 0.9200) |  | +0.00 | 1 | 1 | 1 | 1 | 1.5 |" in text
    half = "| half | 0, 1 | 0.8950 (0.8900 to 0.9000) | 0.7500 | -1.50 | 3.20x fewer | 1.25x fewer | 4.00x fewer | 1.50x fewer | 1.5 |"
    assert half in text, "what pruning saves, and what the last encoder for the class token alone"
    assert "| not told apart | not told apart | 2.00x fewer | 1.00x fewer |" in text, "a result of an older version"
    assert "| 0.9100 (0.9100 to 0.9100) | 0.7500 | -1.00 |" in text, "compared on the seed that both have"
    assert "| later" not in text, "rows without results have no line"
    assert "finn-vitprune train --config builds/train/d.yaml --seed S --set a=1 -o runs/s/half-S" in text


CHOOSING = SWEEP | {
    "rows": [
        {"name": "float", "set": ["student.epochs=0"], "choose": {
            "key": "teacher.lr", "of": [1e-6, 0.003], "set": ["holdout=200", "train_images=500", "teacher.epochs=1"]}},
        {"name": "half"},
    ],
    "seeds": [0],
}  # fmt: skip


@pytest.mark.whole
def test_a_row_takes_the_change_that_is_best_on_held_out_training_images(folder):
    (folder / "sweep.yaml").write_text(yaml.safe_dump(CHOOSING))
    code, output = finish(start(folder, "--row", "float", "--jobs", "2"))
    assert code == 0, output
    content = json.loads((folder / "results.json").read_text())["tiny"]
    low, high = sorted(content["trials"], key=lambda trial: trial["accuracy_teacher"])  # they end in any order
    assert [(t["row"], t["change"], t["test_images"], t["train_images"]) for t in (low, high)] == [
        ("float", "teacher.lr=1e-06", 200, 500), ("float", "teacher.lr=0.003", 200, 500),
    ]  # fmt: skip
    (result,) = content["runs"]
    assert result["config"]["teacher"]["lr"] == 0.003 and result["config"]["teacher"]["epochs"] == 2
    assert result["config"]["holdout"] is None and result["test_images"] == 360
    text = (folder / "RESULTS.md").read_text()
    assert "Chosen for `float` by accuracy on 200 held-out training images: teacher.lr=" in text and "teacher.lr=1e-06 0." in text
    code, output = finish(start(folder, "--row", "float"))
    assert code == 0 and "1 of 1 runs are done" in output and "starts" not in output


def test_rows_wait_for_their_trials_and_trials_for_nothing(folder):
    (folder / "sweep.yaml").write_text(yaml.safe_dump(CHOOSING))
    (choosing, half), results = jobs_in(folder), sweeps.SweepResults(folder / "results.json")
    results.describe(sweeps.load_sweep(folder / "sweep.yaml"))
    low, high = choosing.trials
    assert results.chosen(choosing) is None
    order = sweeps._following([choosing, half], results, 1, [])
    assert [next(order).job for _ in range(3)] == [low, high, half] and next(order, None) is None
    for trial, accuracy in ((low, 0.5), (high, 0.5)):
        trial.folder.mkdir(parents=True)
        metrics = {"accuracy_teacher": accuracy, "cpu_seconds": 60.0, "config": trial.config.model_dump(mode="json")}
        write_json(trial.folder / "metrics.json", metrics)
    order = sweeps._following([choosing, half], results, 1, [low, high])
    assert next(order).job == choosing.changed("teacher.lr=1e-06"), "the first of equal ones; the results on disk count"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"set": []}, "row float: choose.set has no holdout: hold out training images, as in holdout=2000"),
        ({"of": [1e-3]}, "rows.0.choose.of: "),
        ({"key": "teacher.rate"}, "row float: unknown key teacher.rate"),
    ],
)
def test_choices_that_cannot_be_made_are_named(folder, change, message):
    row = CHOOSING["rows"][0]
    (folder / "sweep.yaml").write_text(yaml.safe_dump(CHOOSING | {"rows": [row | {"choose": row["choose"] | change}, {"name": "half"}]}))
    with pytest.raises(UserError, match=message) as error:
        jobs_in(folder)
    assert "\n" not in str(error.value)
