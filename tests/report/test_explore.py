"""Exploring designs: all combinations, rows with figures or a reason, nothing done twice, a page that says it all."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune import jobs, progress
from finn_vitprune.cli import run
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.exploration import explore as exploring
from finn_vitprune.exploration.explore import explore
from finn_vitprune.exploration.ledger import Explored, ExploreRow, ExploreSettings, pareto, to_csv
from finn_vitprune.exploration.networks import Quality, _sampled
from finn_vitprune.exploration.page import to_page
from finn_vitprune.exploration.plot import LogAxis
from finn_vitprune.exploration.points import BuiltPoint, PlannedPoint, Target
from finn_vitprune.exploration.space import Variant, points_of, variants_of
from finn_vitprune.files import alone_in
from finn_vitprune.options.explore import ExploreOptions
from finn_vitprune.report.summary import Summary
from finn_vitprune.training.data import load_dataset
from finn_vitprune.transforms.lowering.lower import lower
from tests.explored import made_up
from tests.ingest_models import export, small_timm
from tests.said import Said
from tests.vit_models import random_vit

SHARES = {"LUT": 0.5, "DSP": 0.25, "BRAM": 0.1, "URAM": 0.0}
SETTINGS = ExploreSettings(target=Target(clk_ns=4))


def row(name: str, interval: float, latency: float, network: str = "net", part: str = "U250", fits: bool = True, accuracy=None, **more):
    plan = PlannedPoint(fits=fits, interval_cycles=interval, latency_cycles=latency, shares=SHARES, seconds=1)
    quality = None if accuracy is None else Quality(images=10, accuracy=accuracy)
    given = {"plan": plan, "quality": quality} | more
    return ExploreRow(
        name=name, source="net", network=network, bits="8/8", block_keep="0.5", token_keep="0.5", part=part, engines=1, frames_in_flight=1,
        goal="latency", digest="0", import_command="finn-vitprune import net.onnx", build_command=f"finn-vitprune build {name}", **given,
    )  # fmt: skip


# --- what is explored ---------------------------------------------------------------------------


def test_all_combinations_and_a_pipeline_once():
    options = ExploreOptions(
        models=["a.onnx"], fpga_part="U250,ZCU104", output="x", engines="pipeline,1,2", frames_in_flight=(1, 2), goal="throughput,latency",
        bits="8,4/8", block_keep="0.5,1", token_keep="0.7",
    )  # fmt: skip
    points = list(points_of(options))
    assert len(points) == len({p.name for p in points}) == 4 * 2 * (1 + 2 * 2 * 2)
    assert points[0].name == "a_w8a8_rb0.5_rt0.7_U250_pipeline" and points[0].engine_options == {}
    assert points[4].name == "a_w8a8_rb0.5_rt0.7_U250_e1_f2_latency"
    assert points[4].engine_options == {"engines": 1, "frames_in_flight": 2, "goal": "latency"}
    assert variants_of(ExploreOptions(models=["b.onnx"], fpga_part="U250", output="x")) == (Variant(Path("b.onnx").resolve()),)
    paired = options.changed(pair=True, block_keep="0.5,1", token_keep="0.7,0.9")
    assert [(v.bits, v.block_keep, v.token_keep) for v in variants_of(paired)] == [
        ("8/8", "0.5", "0.7"), ("8/8", "1", "0.9"), ("4/8", "0.5", "0.7"), ("4/8", "1", "0.9"),
    ]  # fmt: skip


def test_the_options_in_python_are_those_of_the_command_line():
    options = ExploreOptions(
        models=["a.onnx"],
        fpga_part=("U250",),
        output="x",
        engines=("pipeline", 1),
        bits=("8", "4/8"),
        build=3,
        drop_at=(1,),
        token_keep=0.5,
    )
    words = shlex.split(options.command)
    assert words[:2] == ["finn-vitprune", "explore"] and words[-2:] == ["-o", "x"]
    assert (
        options.command
        == "finn-vitprune explore a.onnx --fpga-part U250 --engines pipeline,1 --bits 8/8,4/8 --token-keep 0.5 --drop-at 1 --build best:3 -o x"
    )
    assert options.builds == 3 and options.changed(build="pareto").builds is None


# --- what no other beats -------------------------------------------------------------------------


def names(rows):
    return [r.name for r in rows]


def test_pareto_by_rate_and_latency_within_a_part():
    rows = [
        row("fast", 10, 100),
        row("soon", 20, 50),
        row("worse", 20, 100),
        row("none", 5, 5, fits=False),
        row("small", 90, 900, part="ZCU104"),
    ]
    assert names(pareto(rows)) == ["fast", "soon", "small"]
    twins = [row("a", 10, 100), row("b", 10, 100)]
    assert names(pareto(twins)) == ["a", "b"], "equals do not beat each other"


def test_pareto_counts_accuracy_where_all_have_one_and_does_not_guess_it():
    known = [row("right", 20, 50, "x", accuracy=0.9), row("quick", 10, 40, "y", accuracy=0.8), row("both", 15, 45, "z", accuracy=0.7)]
    assert names(pareto(known)) == ["right", "quick"]
    assert names(pareto([row("slow", 20, 50, "x"), row("quick", 10, 40, "y")])) == ["slow", "quick"], "other networks may be worse"
    assert names(pareto([row("slow", 20, 50, "x"), row("quick", 10, 40, "x")])) == ["quick"]


def test_a_simulated_design_counts_as_simulated():
    built = BuiltPoint(fits=True, interval_cycles=30, latency_cycles=100, mismatches=0, shares=SHARES, counted=True, seconds=1)
    rows = [row("planned", 20, 90), row("built", 10, 80, built=built)]
    assert names(pareto(rows)) == ["planned"] and rows[1].method == "simulated"
    assert rows[1].rate(4) == pytest.approx(1e9 / 120) and rows[1].milliseconds(4) == pytest.approx(4e-4)


# --- files ----------------------------------------------------------------------------------------


def test_the_page_is_whole_and_escapes_what_it_shows():
    rows = [row("a", 10, 100), row("b", 20, 50, part="ZCU104"), row("c", 1, 1, fits=False), row("d", 1, 1, plan=None, reason="<b> & more")]
    page = to_page(Explored(settings=SETTINGS, rows=rows), "finn-vitprune explore <x>")
    assert not re.search(r"""(src|href)=["']?http|url\(["']?http|@import""", page), "nothing from elsewhere"
    assert "&lt;b&gt; &amp; more" in page and "explore &lt;x&gt;" in page and "finn-vitprune build a" in page
    assert page.count('class="point best"') >= 2 and 'scope="col"' in page and "prefers-color-scheme: dark" in page
    assert to_page(Explored(settings=SETTINGS)), "without a design, too"


def test_a_front_is_what_none_beats_and_names_do_not_touch_points_or_lines():
    page = to_page(made_up(True))
    assert "<dd>U250, of what its shell xdma leaves: LUT 80 %, DSP 80 %, BRAM 70 %, URAM 60 %</dd>" in page
    (fronts,) = {len(re.findall('class="front"', svg)) for svg in re.findall("<svg class=.drawing.*?</svg>", page, re.DOTALL)}
    assert fronts == 3, "one a part"
    assert len(re.findall('data-of="[0-9]+"', page)) > 20


@pytest.mark.parametrize(("low", "high"), [(1, 1), (0.013, 0.07), (200, 1.5e6), (3.0, 3.01), (1e-6, 1e6)])
def test_axes_hold_their_values_and_have_ticks(low, high):
    axis = LogAxis.over([low, high], 100, 500)
    assert 100 < axis.at(low) <= axis.at(high) < 500
    ticks = axis.ticks()
    assert len(ticks) >= 2 and ticks == sorted(ticks) and all(100 <= place <= 500 for place, _ in ticks)
    assert len({text for _, text in ticks}) == len(ticks)


def test_the_table_has_every_row(tmp_path):
    found = Explored(settings=SETTINGS, rows=[row("a", 10, 100, accuracy=0.9), row("d", 1, 1, plan=None, reason="too, many")])
    first, second = csv.DictReader(to_csv(found.rows, 4).splitlines())
    assert (first["images_per_second"], first["milliseconds"], first["accuracy"], first["pareto"]) == (
        "25000000.0",
        "0.0004",
        "0.9",
        "True",
    )
    assert (second["reason"], second["interval_cycles"], second["fits"]) == ("too, many", "", "False")
    found.save(tmp_path)
    assert Explored.load(tmp_path, SETTINGS) == found


def test_a_folder_of_other_settings_or_a_broken_file_is_refused(tmp_path, capsys):
    Explored(settings=SETTINGS).save(tmp_path)
    model = tmp_path / "net.onnx"
    random_vit()[0].save(str(model))
    command = ["explore", str(model), "--fpga-part", "U250", "-o", str(tmp_path)]
    assert run([*command, "--clk-ns", "5"]) == 2
    assert "clk_ns" in (said := capsys.readouterr().err) and "use another folder" in said and said.count("\n") == 1
    (tmp_path / "explore.json").write_text('{"format": 1, "rows": 3}')
    assert run([*command, "--clk-ns", "4"]) == 2
    assert "explore.json is not a file of explore" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fpga-part", ""], "--fpga-part '': give one at least"),
        (["--fpga-part", "nothing"], "nothing"),
        (["--fpga-part", "U250", "--engines", "1,x"], "--engines x: use numbers of 1 or more, or pipeline"),
        (["--fpga-part", "U250", "--frames-in-flight", "0"], "--frames-in-flight 0: use numbers of 1 or more"),
        (["--fpga-part", "U250", "--frames-in-flight", "2"], "--frames-in-flight 2: images in flight are those of engines, add --engines 1"),
        (["--fpga-part", "U250", "--goal", "latency"], "--goal latency: goals are those of engines, add --engines 1"),
        (["--fpga-part", "U250", "--drop-at", "1"], "--drop-at 1 is for imported networks: say how many bits, too"),
        (["--fpga-part", "U250", "--block-size", "8"], "--block-size 8 is for imported networks"),
        (["--fpga-part", "U250", "--data", "digits"], "--data digits is for imported networks"),
        (["--fpga-part", "U250", "--bits", "8", "--drop-at", "1"], "--drop-at 1 drops nothing at --token-keep 1"),
        (["--fpga-part", "U250", "--bits", "8", "--token-keep", "0.5", "--drop-at", "1,1"], "--drop-at 1,1: encoder 1 is there twice"),
        (["--fpga-part", "U250", "--goal", "speed"], "--goal speed: use throughput or latency"),
        (["--fpga-part", "U250", "--bits", "6"], "--bits 6: use 8 or 4"),
        (["--fpga-part", "U250", "--bits", "8"], "is QONNX, pruned and quantised already: leave out --bits"),
        (["--fpga-part", "U250", "--block-keep", "0.5"], "say how many bits, too, as --bits 8"),
        (["--fpga-part", "U250", "--bits", "8", "--block-keep", "2"], "--block-keep 2 is not a share"),
        (["--fpga-part", "U250", "--bits", "8", "--block-keep", "0.5,0.7", "--pair"], "--pair: 2 shares of blocks and 1 of tokens"),
        (["--fpga-part", "U250", "--build", "some"], "--build some: use best:N, as best:3, or pareto"),
        (["--fpga-part", "U250", "--scheduler", "tcp://127.0.0.1:1"], "--scheduler tcp://127.0.0.1:1: no Dask scheduler answers there"),
    ],
)  # fmt: skip
def test_wrong_options_are_one_line_and_write_nothing(tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.setattr(jobs, "CONNECT_S", 0.5)
    model = tmp_path / "net.onnx"
    random_vit()[0].save(str(model))
    assert run(["explore", str(model), *arguments, "-o", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_float_model_needs_bits(tmp_path, capsys):
    model = export(small_timm(), tmp_path / "float.onnx")
    assert run(["explore", str(model), "--fpga-part", "U250", "-o", str(tmp_path / "out")]) == 2
    assert "is not QONNX: say how many bits, as --bits 8,4" in capsys.readouterr().err


# --- whole explorations ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    """A random network planned on a part in five ways, two of which cannot be."""
    folder = tmp_path_factory.mktemp("explore")
    random_vit(image=8, depth=2, drop_at=(1,), token_keep="0.5")[0].save(str(folder / "net.onnx"))
    options = ExploreOptions(
        models=[folder / "net.onnx"],
        fpga_part="ZCU104",
        output=folder / "out",
        clk_ns=4,
        engines="pipeline,1,3",
        frames_in_flight=(1, 2),
        jobs=2,
    )
    return options, explore(options)


def test_every_design_is_a_row_with_figures_or_a_reason(explored):
    options, found = explored
    assert [r.name for r in found.rows] == [p.name for p in points_of(options)]
    assert [r.engines for r in found.rows if r.reason] == [3, 3]
    assert all("3 engines for 2 encoders" in r.reason for r in found.rows if r.reason)
    planned = [r for r in found.rows if r.plan]
    assert len(planned) == 3 and all(r.fits and 0 < r.plan.shares["LUT"] < 0.7 for r in planned)
    assert planned[0].plan.interval_cycles < planned[1].plan.interval_cycles, "hardware for every encoder has the higher rate"
    assert json.loads((options.output / "explore.json").read_text())["rows"][0]["name"] == found.rows[0].name
    page = (options.output / "explore.html").read_text()
    assert "net_ZCU104_pipeline" in page and "<dd>ZCU104: LUT 70 %, DSP 80 %, BRAM 80 %, URAM 80 %</dd>" in page


def test_what_is_there_is_not_done_again(explored, tmp_path):
    options, found = explored
    kept = tmp_path / "out"
    shutil.copytree(options.output, kept)
    again = options.changed(output=kept)
    said = Said()
    with progress.shown_by(said):
        assert [r.plan for r in explore(again).rows] == [r.plan for r in found.rows]
    assert not said, "nothing to make"
    content = json.loads((kept / "explore.json").read_text())
    lost = content["rows"].pop(1)
    (kept / "explore.json").write_text(json.dumps(content))
    with progress.shown_by(said):
        result = explore(again)
    assert [line for line in said if "to make" in line] == ["plans: 1 to make, 1 at a time"]
    (made,) = [r for r in result.rows if r.name == lost["name"]]
    assert made.plan.interval_cycles == lost["plan"]["interval_cycles"]


def test_two_explorations_do_not_share_a_folder(explored, tmp_path):
    options, _ = explored
    folder = tmp_path / "out"
    with alone_in(folder, "explore"), pytest.raises(UserError, match=f"^another explore is running in {folder}: wait for it"):
        explore(options.changed(output=folder))
    assert not (folder / "explore.json").exists()


@pytest.mark.slow
@pytest.mark.whole
def test_a_killed_exploration_goes_on(tmp_path):
    random_vit(image=8, depth=2, drop_at=(1,), token_keep="0.5")[0].save(str(tmp_path / "net.onnx"))
    arguments = [
        "explore",
        str(tmp_path / "net.onnx"),
        "--fpga-part",
        "ZCU104,U250",
        "--engines",
        "pipeline,1",
        "--jobs",
        "1",
        "-o",
        str(tmp_path / "out"),
    ]
    command = [sys.executable, "-u", "-m", "finn_vitprune", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "plans: 2 of 4" in line:
                process.kill()
    before = {r["name"]: r["plan"] for r in json.loads((tmp_path / "out" / "explore.json").read_text())["rows"] if r["plan"]}
    assert 1 <= len(before) < 4
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"plans: {4 - len(before)} to make" in done.stdout and "networks:" not in done.stdout
    after = {r["name"]: r["plan"] for r in json.loads((tmp_path / "out" / "explore.json").read_text())["rows"]}
    assert len(after) == 4 and all(after[name] == plan for name, plan in before.items())


@pytest.mark.whole
def test_failed_designs_are_tried_again_where_asked_for(explored, tmp_path):
    options, found = explored
    kept = tmp_path / "out"
    shutil.copytree(options.output, kept)
    said = Said()
    with progress.shown_by(said):
        result = explore(options.changed(output=kept, retry=True))
    assert "plans: 2 to make, 2 at a time" in said and [r.reason for r in result.rows] == [r.reason for r in found.rows]
    assert [r.plan for r in result.rows] == [r.plan for r in found.rows]


@pytest.mark.whole
def test_another_model_under_the_same_name_is_planned_anew(explored, tmp_path):
    options, _ = explored
    (source,) = options.models
    folder = tmp_path / "out"
    shutil.copytree(options.output, folder)
    before = source.read_bytes()
    try:
        random_vit(image=8, depth=1)[0].save(str(source))
        said = Said()
        with progress.shown_by(said):
            found = explore(options.changed(output=folder, engines="pipeline", frames_in_flight=1))
        assert "networks: 1 to make, 1 at a time" in said and "plans: 1 to make, 1 at a time" in said
        assert names(found.rows) == ["net_ZCU104_pipeline"] and found.rows[0].plan
        assert "5 designs were of other contents of net, and are left out" in said
    finally:
        source.write_bytes(before)


@pytest.mark.whole
def test_a_float_model_is_imported_at_all_bits_and_its_commands_make_it_again(tmp_path, capsys):
    model = export(small_timm(), tmp_path / "float.onnx")
    out = tmp_path / "out"
    command = [
        "explore",
        str(model),
        "--fpga-part",
        "ZCU104",
        "--bits",
        "8,4/8",
        "--block-keep",
        "0.5",
        "--token-keep",
        "0.5",
        "-o",
        str(out),
    ]
    assert run(command) == 0
    printed = capsys.readouterr().out
    assert (
        "designs     2, 2 fit" in printed
        and "Networks were made with noise" in printed
        and len(printed[printed.index("2 designs of") :].splitlines()) <= 12
    )
    found = Explored.model_validate_json((out / "explore.json").read_bytes())
    eight, four = found.rows
    assert (eight.bits, four.bits) == ("8/8", "4/8") and eight.quality is None
    again = shlex.split(eight.import_command)[1:]
    made = out / "networks" / f"{eight.network}.onnx"
    before = made.read_bytes()
    assert run([*again, "--force"]) == 0 and made.read_bytes() == before
    assert run([*shlex.split(four.build_command)[1:], "--estimate-only"]) == 0
    assert len(list(csv.reader((out / "explore.csv").open()))) == 3


@pytest.mark.whole
def test_with_data_the_answers_are_known(tmp_path):
    import numpy as np

    model = export(small_timm(), tmp_path / "float.onnx")
    np.savez(tmp_path / "images.npz", images=np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8))
    options = ExploreOptions(
        models=[model], fpga_part="ZCU104", output=tmp_path / "out", bits=8, clk_ns=4, data=f"npz:{tmp_path}/images.npz", jobs=1
    )
    (found,) = explore(options).rows
    assert found.quality.images == 8 and found.quality.cosine > 0.9 and found.quality.accuracy is None


@pytest.mark.whole
def test_a_network_that_cannot_be_made_fails_its_rows_alone(tmp_path, monkeypatch):
    sources = []
    for name, depth in (("one", 1), ("two", 2)):
        sources.append(tmp_path / f"{name}.onnx")
        random_vit(depth=depth)[0].save(str(sources[-1]))
    monkeypatch.setattr(exploring, "make_network", fails_for_two)
    found = explore(ExploreOptions(models=sources, fpga_part="ZCU104", output=tmp_path / "out", clk_ns=4, jobs=1))
    assert [bool(r.plan) for r in found.rows] == [True, False]
    assert found.rows[1].reason == "RuntimeError: of two"


def fails_for_two(job):
    from finn_vitprune.exploration.networks import make_network

    if job.variant.source.stem == "two":
        raise RuntimeError("of two")
    return make_network(job)


@pytest.mark.slow
@pytest.mark.whole
def test_the_best_is_built_and_simulated(explored, tmp_path):
    options, _ = explored
    kept = tmp_path / "out"
    shutil.copytree(options.output, kept)
    found = explore(options.changed(output=kept, build="best:1"))
    (built,) = [r for r in found.rows if r.built]
    assert built.name == "net_ZCU104_pipeline" and built.built.mismatches == 0 and not built.built.counted
    assert built.built.interval_cycles == pytest.approx(built.plan.interval_cycles, rel=0.02)
    assert Summary.load(kept / "builds" / built.name).rtlsim.interval_cycles == built.built.interval_cycles


def test_the_accuracy_of_a_trained_network_is_that_of_its_integers(tmp_path):
    source = files("finn_vitprune.builds") / "example" / "deit_digits.onnx"
    lowered = lower(ModelWrapper(str(source))).model
    data = load_dataset("digits")
    images, labels = data.test_images, data.test_labels
    made = golden.run(lowered, {lowered.graph.input[0].name: images[:20]})[lowered.graph.output[0].name].reshape(20, -1)
    shutil.copy(source, tmp_path / "a.onnx")
    np.savez(tmp_path / "a.npz", images=images[:20, ..., 0], labels=labels[:20])
    found = _sampled(lowered, tmp_path / "a.onnx")
    assert found == Quality(images=20, accuracy=float((made.argmax(1) == labels[:20].ravel()).mean()))
    np.savez(tmp_path / "a.npz", images=images[:20, :4], labels=labels[:20])
    assert _sampled(lowered, tmp_path / "a.onnx") is None
