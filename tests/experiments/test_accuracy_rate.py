"""Accuracy against rate: what is on the front, and rows of networks that are trained or imported."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from builds.experiments import accuracy_rate
from builds.experiments.accuracy_rate import AccuracyRow, Maker, Network, Planned, cells, front, picture, study, tables
from finn_vitprune.errors import UserError
from finn_vitprune.files import read_yaml, sha256, write_json
from finn_vitprune.training.config import parse_config, with_changes
from finn_vitprune.training.train import train

PARTS = tuple(accuracy_rate.PARTS)


def row(accuracy: float, interval: int, trained: bool = True, fits: bool = True) -> AccuracyRow:
    plan = Planned(interval, 3 * interval, fits, {"LUT": 0.5, "DSP": 0.25})
    return AccuracyRow("0.5", "0.7", "8/8", trained, 3, 100, 1000, accuracy, 0.9, 10**9, 4 * 10**9, dict.fromkeys(PARTS, plan), "")


def test_the_front_has_what_no_other_network_beats():
    slow, fast = row(0.8, 3000), row(0.6, 1000)
    beaten, slower, outside = row(0.59, 1000), row(0.8, 3001), row(0.9, 500, fits=False)
    assert front([slow, beaten, outside, fast, slower], PARTS[0]) == [slow, fast]
    assert front([slow, dataclasses.replace(slow, bits="4/8")], PARTS[0]) == [slow, dataclasses.replace(slow, bits="4/8")], "equals"


def test_rows_say_what_was_trained_what_fits_and_what_is_best(tmp_path):
    rows = {"a": row(0.6, 1000), "b": row(0.8, 3000, trained=False), "c": row(0.5, 2000, fits=False)}
    (table,) = tables(rows)
    assert [r[3] for r in table.rows] == ["80.00", "60.00", "50.00"] and [r[2] for r in table.rows] == ["imported", "trained", "trained"]
    assert table.rows[0][5:8] == ("100,000\\*", "0.03", "50, 25") and "90.00 %" in table.note
    assert cells(rows["c"], dict.fromkeys(PARTS, False))[5:8] == ("does not fit", "", "50, 25")
    picture(rows).savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    assert picture({}).axes, "before the first row"


def test_the_accuracy_of_a_trained_network_is_that_of_its_own_file(tmp_path):
    network, other = Network("0.5", "0.5", "8/8", True), Network("0.7", "0.7", "8/8", True)
    maker = Maker(tmp_path / "run", tmp_path / "work", tmp_path, tmp_path)
    (tmp_path / network.file).write_bytes(b"codes")
    (tmp_path / other.file).write_bytes(b"other codes")
    row = {"sha256": sha256(tmp_path / network.file), "accuracy": 0.5}
    write_json(tmp_path / "results.json", [row])
    assert maker.accuracy_of(tmp_path / network.file) == row and row["sha256"].startswith(maker.made_of(network))
    with pytest.raises(
        UserError, match=r"results\.json has no row of .*r0\.7_0\.7-0\.xz: write it with python -m builds\.experiments\.trained"
    ):
        maker.accuracy_of(tmp_path / other.file)


def test_every_trained_network_of_the_table_is_in_the_repository():
    maker = Maker(Path("none"), Path("none"))
    for network in accuracy_rate.NETWORKS:
        if network.trained:
            row = maker.accuracy_of(maker.networks / network.file)
            assert (str(row["block_keep"]), str(row["token_keep"])) == (f"{float(network.block_keep)}", f"{float(network.token_keep)}")
            assert row["images"] == 10_000


@pytest.mark.whole
def test_a_network_is_imported_from_the_float_run_evaluated_and_planned(tmp_path):
    content = read_yaml(Path("builds/train/deit_digits.yaml"), "training config")
    config = parse_config(with_changes(content, ["teacher.epochs=2", "student.epochs=0"]))
    trained = train(config, tmp_path / "float")
    maker = Maker(tmp_path / "float", tmp_path / "work")
    network = Network("1", "1", "8/8", False)
    found = maker.row(network)
    assert found.accuracy_float == trained["accuracy_teacher"] and found.passes == 2
    assert abs(found.accuracy - found.accuracy_float) < 0.03 and found.images == trained["test_images"]
    assert all(plan.fits and plan.interval <= plan.latency for plan in found.plans.values()) and found.macs < found.macs_dense

    path = maker.imports / "r_b 1, r_t 1, 8_8, imported.onnx"
    made = path.stat().st_mtime_ns
    assert maker.row(network) == found, "files that are there are taken as they are"
    assert path.stat().st_mtime_ns == made
    own = study(maker)
    own.write(tmp_path / "page", {network.name: found})
    assert set(own.known(tmp_path / "page")) == {network.name}
    shutil.copy(tmp_path / "float" / "metrics.json", tmp_path / "float" / "teacher.pt")
    later = Maker(tmp_path / "float", tmp_path / "work")
    assert not study(later).known(tmp_path / "page") and later.imports != path.parent, "of another float network"
    with pytest.raises(UserError, match=r"none/metrics.json"):
        Maker(tmp_path / "none", tmp_path / "work").row(network)
    assert set(study(maker).known(tmp_path)) == set()
