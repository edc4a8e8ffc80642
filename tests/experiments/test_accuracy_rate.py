"""Accuracy against rate: what is on the front, and rows of networks that are trained or imported."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from builds.experiments import accuracy_rate
from builds.experiments.accuracy_rate import FLOAT, AccuracyRow, Maker, Network, Planned, cells, front, picture, study, tables
from finn_vitprune.errors import UserError
from finn_vitprune.files import read_yaml
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


@pytest.mark.whole
def test_a_network_is_imported_from_the_float_run_evaluated_and_planned(tmp_path):
    content = read_yaml(Path("builds/train/deit_digits.yaml"), "training config")
    config = parse_config(with_changes(content, ["teacher.epochs=2", "student.epochs=0"]))
    trained = train(config, tmp_path / f"{FLOAT}-0")
    maker = Maker(tmp_path, tmp_path / "work", 0)
    network = Network("1", "1", "8/8", False)
    found = maker.run(network)
    assert found.accuracy_float == trained["accuracy_teacher"] and found.passes == 2
    assert abs(found.accuracy - found.accuracy_float) < 0.03 and found.images == trained["test_images"]
    assert all(plan.fits and plan.interval <= plan.latency for plan in found.plans.values()) and found.macs < found.macs_dense

    path = maker.imports / "r_b 1, r_t 1, 8_8, imported.onnx"
    made = path.stat().st_mtime_ns
    assert maker.run(network) == found, "files that are there are taken as they are"
    assert path.stat().st_mtime_ns == made
    own = study(maker)
    own.write(tmp_path / "page", {network.name: found})
    assert set(own.known(tmp_path / "page")) == {network.name}
    shutil.copy(tmp_path / f"{FLOAT}-0" / "metrics.json", tmp_path / f"{FLOAT}-0" / "teacher.pt")
    later = dataclasses.replace(maker)
    assert not study(later).known(tmp_path / "page") and later.imports != path.parent, "of another float network"
    with pytest.raises(UserError, match=r"r0.5_0.5-0/metrics.json"):
        maker.run(Network("0.5", "0.5", "8/8", True))
    assert set(study(maker).known(tmp_path)) == set()
