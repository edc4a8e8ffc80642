"""A design that does not fit is answered with no: exit code 1, need and capacity, and hints that hold."""

import json
from dataclasses import replace

import pytest
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.build import DEFAULT_CONFIG, BuildOptions, build
from finn_vitprune.cli import run
from finn_vitprune.ingest.check.check import check
from finn_vitprune.report.summary import Summary
from finn_vitprune.synth.parts import KINDS, Part, PartFit, get_part, part_table, smallest_part
from finn_vitprune.synth.resources import Resources, total
from finn_vitprune.transforms.planning.part_fit import cannot_fit, estimated, part_fit

SMALL = "xczu1eg"
RATE = "200000"


def hardware(small_build) -> ModelWrapper:
    """The graph of the small build, with FIFOs and width converters."""
    return ModelWrapper(str(small_build.folder / "intermediate_models" / "step_insert_streams.onnx"))


def tiny(small_build, **less: int) -> Part:
    """A part that holds exactly the small build, ``less`` of some resources."""
    used = total(estimated(hardware(small_build)).values())
    return replace(get_part(SMALL), **{k: int(-(-getattr(used, k) // 1)) - less.get(k, 0) for k in KINDS if k != "FF"})


@pytest.fixture(scope="module")
def too_small(small_build, tmp_path_factory):
    """The small model for a rate that a part of a third of the small one cannot hold: folder, exit code, what was printed."""
    import io
    from contextlib import redirect_stderr, redirect_stdout

    folder = tmp_path_factory.mktemp("no") / "b"
    out, error = io.StringIO(), io.StringIO()
    part = {kind: getattr(get_part(SMALL), kind) * 3 // 10 for kind in KINDS}
    resources = folder.parent / "parts.json"
    resources.write_text(json.dumps({"xcthird": part}))
    line = ["build", str(small_build.model), "--fpga-part", "xcthird", "--part-resources", str(resources)]
    line += ["--target-fps", "2000000", "--synth", "none"]
    with redirect_stdout(out), redirect_stderr(error):
        code = run([*line, "-o", str(folder)])
    return folder, code, out.getvalue(), error.getvalue()


def test_a_build_that_cannot_fit_ends_with_1_and_says_what_is_short(too_small):
    folder, code, out, error = too_small
    part = Summary.load(folder).part
    assert code == 1 and part.fits is False and part.short
    for short in part.short:
        assert f"{short.need:,g} of {short.has:,} {short.resource}" in error
        assert short.need > short.has == getattr(get_part(SMALL), short.resource) * 3 // 10
    assert "(estimate)" in error and "! The design does not fit" in out


def test_it_stops_before_hdl_with_the_estimates_of_any_build(too_small):
    folder = too_small[0]
    assert (folder / "report" / "estimate_layer_cycles.json").is_file() and not (folder / "stitched_ip").exists()
    s = Summary.load(folder)
    assert s.rtlsim is None and s.verify is None and s.resources.tool == "estimate"
    assert s.resources.LUT == sum(node.LUT for node in s.resources.per_node)


def test_the_report_shows_the_folder_too(too_small, capsys):
    folder = too_small[0]
    assert run(["report", str(folder)]) == 0
    _head, first, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("! The design does not fit")


def test_its_hints_hold(small_build, too_small, tmp_path):
    """The named part holds the design; the plan of as few cycles as fit is one."""
    part = Summary.load(too_small[0]).part
    named = next(h for h in part.help if h.startswith("the smallest part")).rsplit(" ", 1)[-1]
    build(BuildOptions(model=small_build.model, output_dir=tmp_path / "n", fpga_part=named, target_fps=2_000_000, estimate_only=True))
    assert Summary.load(tmp_path / "n").part.fits
    larger, cycles = next(h for h in part.help if h.startswith("on the part ")).split()[3:5]
    build(BuildOptions(model=small_build.model, output_dir=tmp_path / "l", fpga_part=larger, target_fps=2_000_000, estimate_only=True))
    planned = Summary.load(tmp_path / "l").plan
    assert planned.fits and planned.interval_cycles <= int(cycles.replace(",", ""))


@pytest.mark.parametrize("resource", ["LUT", "DSP", "BRAM36"])
def test_one_too_few_of_a_resource_is_named(small_build, resource):
    fit = part_fit(hardware(small_build), tiny(small_build, **{resource: 1}))
    assert [s.resource for s in fit.short] == [resource]
    assert any("its memories hold" in line for line in fit.help) == (resource == "BRAM36")
    assert cannot_fit(fit) is (resource != "LUT"), "an estimate of LUTs may be too high"
    assert not part_fit(hardware(small_build), tiny(small_build)).short


def test_far_too_few_luts_leave_no_doubt(small_build):
    part = tiny(small_build)
    assert cannot_fit(part_fit(hardware(small_build), replace(part, LUT=part.LUT * 2 // 3)))


def test_flip_flops_that_nobody_counted_do_not_decide(small_build):
    assert not part_fit(hardware(small_build), replace(tiny(small_build), FF=0)).short


def test_what_a_tool_counted_decides_where_it_ran(small_build):
    model, part = hardware(small_build), tiny(small_build)
    counted = {name: replace(r, FF=1, LUT=r.LUT + 1) for name, r in estimated(model).items()}
    fit = part_fit(model, replace(part, FF=3), counted, "Yosys 0.70")
    assert {s.resource for s in fit.short} == {"LUT", "FF"} and "(Yosys 0.70)" in fit.text


def test_no_part_is_named_where_none_is_large_enough():
    assert smallest_part(Resources(LUT=10**8)) is None
    used = Resources(LUT=50_000, DSP=300)
    holds = [row["LUT"] for row in part_table().values() if row["family"] == "UltraScale+" and row["LUT"] >= 50_000 and row["DSP"] >= 300]
    assert part_table()[smallest_part(used)]["LUT"] == min(holds)


def test_check_and_build_say_the_same_numbers(small_build, tmp_path, capsys):
    fit = check(small_build.model, SMALL).fit
    build(BuildOptions(model=small_build.model, output_dir=tmp_path / "b", fpga_part=SMALL, estimate_only=True))
    s = Summary.load(tmp_path / "b")
    assert isinstance(fit, PartFit) and s.part.fits and not fit.short
    assert {k: getattr(s.resources, k) for k in ("LUT", "DSP", "BRAM36", "URAM")} == {
        k: getattr(fit.used, k) for k in ("LUT", "DSP", "BRAM36", "URAM")
    }
    assert run(["check", str(small_build.model), "--fpga-part", SMALL, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["fit"]
    assert found["used"]["LUT"] == s.resources.LUT and found["used"]["FF"] is None and found["method"] == "estimate"


def test_check_and_build_say_the_same_no(small_build, tmp_path, monkeypatch, capsys):
    """A part smaller than the slowest folding: both end with 1 and the same line."""
    row = {"LUT": 900, "FF": 9_000, "DSP": 3, "BRAM36": 1, "URAM": 0, "slrs": 1, "family": "UltraScale+", "source": ""}
    monkeypatch.setitem(part_table(), "xctiny", row | {"device": "xctiny"})
    assert run(["check", str(small_build.model), "--fpga-part", "xctiny"]) == 1
    verdict = capsys.readouterr().out.splitlines()[-1]
    build(BuildOptions(model=small_build.model, output_dir=tmp_path / "b", fpga_part="xctiny", synth="none"))
    no = Summary.load(tmp_path / "b").no_text
    assert "of 900 LUT" in no and verdict == f"no: `build` takes this file, but it {no}"


def test_a_config_from_before_the_check_still_stops_at_its_estimates(small_build, tmp_path):
    lines = DEFAULT_CONFIG.read_text().splitlines(keepends=True)
    (tmp_path / "own.yaml").write_text("".join(line for line in lines if "step_check_part" not in line))
    build(BuildOptions(model=small_build.model, output_dir=tmp_path / "b", config=tmp_path / "own.yaml", target_fps=1, estimate_only=True))
    assert (tmp_path / "b" / "report" / "estimate_layer_cycles.json").is_file()
    assert not (tmp_path / "b" / "stitched_ip").exists()
