"""The command line: exit codes, one line for every user error, help, and what each command passes on."""

import errno
import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys

import numpy as np
import onnx
import pytest
import typer
from onnx import TensorProto, helper, numpy_helper

from finn_vitprune import progress
from finn_vitprune.builds.build import EXAMPLE
from finn_vitprune.cli import run
from finn_vitprune.cli.app import program
from finn_vitprune.errors import UserError
from finn_vitprune.files import alone_in, alone_with
from finn_vitprune.report.summary import FILE
from finn_vitprune.training.config import with_changes
from tests.foreign_models import Graph
from tests.summaries import summary

COMMANDS = list(typer.main.get_command(program("")).commands)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FINN_VITPRUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FINN_VITPRUNE_DEBUG", raising=False)


def one_line(capsys, arguments, code=2) -> str:
    """Run a command that must fail with ``code`` and exactly one line on standard error."""
    assert run(arguments) == code
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "Traceback" not in err
    return err


def built(folder, pruned=True, **changes):
    s = summary(pruned)
    s.model_copy(update={k: getattr(s, k).model_copy(update=v) for k, v in changes.items()}).save(folder)
    return folder


# --- help ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_that_parses(name, capsys):
    assert run([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Example: finn-vitprune {name}" in text
    example = " ".join(text.split("Example: ")[1].split())
    command = typer.main.get_command(program(name)).commands[name]
    with command.make_context(name, shlex.split(example)[2:]) as context:
        assert context.params


def test_h_is_help_and_shells_complete(capsys):
    for command in ([], ["build"]):
        assert run([*command, "--help"]) == 0
        text = capsys.readouterr().out
        assert run([*command, "-h"]) == 0 and capsys.readouterr().out == text and "-h, --help" in text
    words = {"COMP_WORDS": "finn-vitprune build --eng", "COMP_CWORD": "2", "_FINN_VITPRUNE_COMPLETE": "complete_bash"}
    done = subprocess.run([sys.executable, "-m", "finn_vitprune"], env=os.environ | words, capture_output=True, text=True)
    assert done.stdout.split() == ["--engines"]


@pytest.mark.whole
def test_quiet_shows_no_progress_and_verbose_what_is_logged(small_build, tmp_path):
    command = ["build", str(small_build.model), "--fpga-part", "ZCU104", "--stop-step", "step_lower"]
    said = {}
    for option in ("-q", "-v"):
        arguments = [sys.executable, "-m", "finn_vitprune", option, *command, "-o", str(tmp_path / f"build{option}")]
        said[option] = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert " s] " in said["-v"].stdout
    assert " s] " not in said["-q"].stdout and "Stopped before the summary" in said["-q"].stdout
    assert said["-v"].stderr.startswith("lowered ") and not said["-q"].stderr


def test_help_lists_the_commands_and_no_arguments_print_it(capsys):
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name}" in text for name in COMMANDS)
    assert run([]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_help_loads_no_heavy_package(arguments):
    code = (
        f"import sys\nfrom finn_vitprune.cli import run\ncode = run({arguments})\n"
        "heavy = {'torch', 'finn', 'qonnx', 'numpy', 'onnx', 'matplotlib', 'brevitas', 'rich', 'yaml'} & set(sys.modules)\n"
        "sys.exit(code or (f'loaded {heavy}' if heavy else 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("arguments, seconds", [(["--help"], 0.5), (["build"], 1.0), (["doctor"], 1.0)])
def test_help_errors_and_doctor_answer_at_once(arguments, seconds):
    """Processor time of the program and what it starts, the least of five runs; twice the promise is allowed."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "finn_vitprune", *arguments], capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 2 * seconds, times


def test_the_installed_program_exits_with_the_code(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from finn_vitprune.cli import main; main()", "report", str(tmp_path / "nowhere")],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"finn-vitprune: no folder {tmp_path}/nowhere: give the output folder of `finn-vitprune build`\n"


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["biuld"], "Did you mean 'build'?"),
        (["build"], "Missing option '-o'"),
        (["build", "-o", "x", "--clk-ns", "fast"], "--clk-ns"),
        (["build", "-o", "x", "--synth", "some"], "--synth"),
        (["build", "missing.onnx", "-o", "x"], "missing.onnx: no such file"),
        (["build", "-o", "x", "--config", "missing.yaml"], "missing.yaml: no such file"),
        (["build", "-o", "x", "--folding", "."], ".: is a folder, a file is needed"),
        (["build", "-o", "x", "--fpga-part", "xcu25-figd2104-2L-e"], "did you mean xcu250"),
        (["export", "missing.pt", "-o", "y.onnx"], "missing.pt: no such file"),
        (["report", "a", "b", "c"], "one or two folders, not 3"),
        (["train", "-o", "x", "--config", "missing.yaml"], "missing.yaml"),
        (["train", "-o", "x", "--set", "prune.block_keep"], "expected KEY=VALUE"),
        (["train", "-o", "x", "--set", "prune.block_kep=0.5"], "block_keep"),
        (["train", "-o", "x", "--set", "prune.drop_at=[1, 1]"], "encoder 1 is there twice, name it once"),
    ],
)
def test_wrong_input_is_one_line_and_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert message in one_line(capsys, arguments)
    assert [p.name for p in tmp_path.iterdir() if p.name != "cache"] == []


@pytest.mark.parametrize("error, message", [
    (OSError(errno.ENOSPC, "No space left on device"), "finn-vitprune: No space left on device"),
    (PermissionError(errno.EACCES, "Permission denied", "b/report"), "b/report: Permission denied"),
    (OSError("640 requested and 128 written"), "640 requested and 128 written (is the disk full?)"),
    (MemoryError(), "out of memory"),
    (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "out of memory (libtorch_cpu.so: failed to map segment"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "out of memory (DefaultCPUAllocator"),
    (ModuleNotFoundError("No module named 'nowhere.part'", name="nowhere.part"), "the Python package nowhere is missing: make setup"),
])  # fmt: skip
def test_what_the_machine_refuses_is_one_line_and_code_2(error, message, tmp_path, monkeypatch, capsys):
    def refused(*args):
        raise error

    monkeypatch.setattr("finn_vitprune.builds.build.build", refused)
    assert message in one_line(capsys, ["build", "-o", str(tmp_path / "x")])


def test_unreadable_yaml_is_one_line(tmp_path, capsys):
    config = tmp_path / "train.yaml"
    config.write_text("model: [1, 2\nname: x")
    assert str(config) in one_line(capsys, ["train", "-o", str(tmp_path / "o"), "--config", str(config)])


@pytest.mark.parametrize("line", [
    "build -o {} --fpga-part U250", "train -o {}", "explore {} --fpga-part U250 -o x", "import {} --data digits -o x.onnx", "report {}",
    "build -o x --config {}",
])  # fmt: skip
def test_a_name_that_is_not_utf8_is_one_line(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert r"b'a\xff.onnx' is not UTF-8: give files and folders names that are" in one_line(capsys, line.format("a\udcff.onnx").split())
    assert not [p for p in tmp_path.iterdir() if p.name != "cache"]


@pytest.mark.parametrize("line", ["build -o loop --fpga-part U250", "train -o loop", "sweep deit_digits_sweep -o loop"])
def test_an_output_of_links_in_a_circle_is_one_line(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("pool")
    (tmp_path / "pool").symlink_to("loop")
    assert "loop: its links lead in a circle: give another name" in one_line(capsys, line.split())


@pytest.mark.parametrize("line", [
    "build -o o --config deep", "train -o o --config deep", "sweep deep -o o", "build -o o --fpga-part xcx --part-resources deep",
    "build -o o --folding deep", "report deep", "train -o o --set prune.block_keep={deep}",
])  # fmt: skip
def test_nesting_without_end_is_one_line(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    deep = "[" * 20_000
    (tmp_path / "deep").write_text(deep)
    said = one_line(capsys, line.format(deep=deep).split())
    assert "nested too deeply" in said or "recursion limit" in said
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "cache") == ["deep"]


def test_a_float_network_is_sent_to_import(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    g = Graph(("x", TensorProto.FLOAT, [1, 3, 8, 8]))
    g.save(tmp_path / "my vit.onnx", g("Conv", "x", g.weights(4, 3, 3, 3)))
    said = "my vit.onnx is a float network, and QONNX is needed: import it first, `finn-vitprune import 'my vit.onnx' --data DATA -o 'my vit_qonnx.onnx'`"
    for command in (["build", "my vit.onnx", "-o", "b", "--fpga-part", "U250"], ["build", "-o", "b", "--fpga-part", "U250", "--reserve", "my vit.onnx"],
                    ["complexity", "my vit.onnx"]):  # fmt: skip
        assert said in one_line(capsys, command)
    g = Graph(("x", TensorProto.FLOAT, [1, 3]))
    q = g("QuantizeLinear", "x", 0.5)
    g.save(tmp_path / "qdq.onnx", g("DequantizeLinear", q, 0.5))
    assert "qdq.onnx is a QDQ network" in one_line(capsys, ["build", "qdq.onnx", "-o", "b", "--fpga-part", "U250"])
    assert not (tmp_path / "b").exists()


def test_a_constant_without_bounds_is_named_before_it_is_made(tmp_path, monkeypatch, capsys):
    """8.6 billion numbers, from two in the file."""
    monkeypatch.chdir(tmp_path)
    model = onnx.load(EXAMPLE / "deit_digits.onnx")
    model.graph.initializer.append(numpy_helper.from_array(np.array([65_536, 131_072]), "shape"))
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["big"], name="big"))
    model.graph.node.append(helper.make_node("Add", [model.graph.output[0].name, "big"], ["sum"]))
    onnx.save(model, "big.onnx")
    said = one_line(capsys, ["build", "big.onnx", "-o", "b", "--fpga-part", "U250"])
    assert "node big (ConstantOfShape) does not map to hardware: its result of shape [65536, 131072] has more than" in said
    assert not (tmp_path / "b").exists()


def test_images_that_are_too_many_or_not_there_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("finn_vitprune.builds.images.MOST_IMAGES", 3)
    np.savez("x.npz", images=np.zeros((4, 8, 8, 1), np.uint8))
    line = ["build", "-o", "b", "--fpga-part", "U250", "--images", "x.npz"]
    assert "x.npz holds 4 images, and a build verifies with all of up to 3: draw some, as with --max-images 1000" in one_line(capsys, line)
    assert run([*line, "--max-images", "2", "--stop-step", "step_lower"]) == 0


@pytest.mark.parametrize("options, message", [
    ("--frames-in-flight 2", "--frames-in-flight 2 is for engines: add --engines auto, or a number"),
    ("--goal latency", "--goal latency is for a plan with engines: add --engines auto, or a number"),
    ("--engines 99", "99 engines for 4 encoders: use 1 to 4"),
    ("--encoders-per-engine 3,9", "encoders per engine 3,9: use numbers of 1 or more that add up to the 4 encoders"),
    ("--encoders-per-engine 3,0", "--encoders-per-engine 3,0: use numbers of 1 or more, as in 3,4,3,2"),
    ("--encoders-per-engine 2,2 --engines 2", "--engines 2 and --encoders-per-engine 2,2: give one of the two"),
])  # fmt: skip
def test_options_of_a_plan_that_go_not_together_are_refused_before_a_folder_is_made(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert message in one_line(capsys, ["build", "-o", "b", "--fpga-part", "U250", *options.split()])
    assert not [p for p in tmp_path.iterdir() if p.name != "cache"]


def test_a_target_out_of_reach_ends_with_1_and_the_nearest_that_is_not(small_build, tmp_path, capsys):
    line = ["build", str(small_build.model), "--fpga-part", "U250", "--clk-ns", "4", "--synth", "none", "-o", str(tmp_path / "b")]
    assert run([*line, "--target-fps", "2000000000"]) == 1
    said = capsys.readouterr()
    assert "The design does not reach 2,000,000,000 images/s, 0 cycles an image at 4 ns: as planned it reaches" in said.err
    assert not (tmp_path / "b" / "stitched_ip").exists()
    assert run(["report", str(tmp_path / "b")]) == 0 and "does not reach 2,000,000,000 images/s" in " ".join(
        capsys.readouterr().out.split()
    )
    nearest = said.err.split("--target-fps ")[1].split(",")[0]
    assert run([*line, "--target-fps", nearest, "--estimate-only"]) == 0
    assert run([*line, "--target-fps", str(int(int(nearest) * 1.05)), "--estimate-only"]) == 1


def test_a_file_that_is_no_onnx(tmp_path, capsys):
    model = tmp_path / "model.onnx"
    model.write_text("not a model")
    err = one_line(capsys, ["build", str(model), "-o", str(tmp_path / "out"), "--fpga-part", "xcu250"])
    assert f"{model} is not an ONNX" in err


@pytest.mark.parametrize("content", [b"not an array", b"", b"PK\x03\x04 a damaged archive"])
def test_simulate_refuses_what_is_no_array(tmp_path, capsys, content):
    (tmp_path / "x.npy").write_bytes(content)
    err = one_line(capsys, ["simulate", str(tmp_path), "--images", str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy")])
    assert "x.npy is not a .npy file" in err


def test_an_interrupt_exits_with_130(tmp_path, monkeypatch, capsys):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("finn_vitprune.builds.build.build", interrupted)
    assert "interrupted" in one_line(capsys, ["build", "-o", str(tmp_path / "x")], code=130)


@pytest.mark.parametrize("swallow", ["", "with suppress(BaseException): "], ids=["", "swallowed by a library"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_time_is_an_interrupt(how, swallow):
    script = f"""
import os, time
from contextlib import suppress
from finn_vitprune import cli, progress
def run(arguments):
    {swallow}os.kill(os.getpid(), {how:d}) or time.sleep(60)
    progress.line("next")
cli.run = run
cli.main([])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "finn-vitprune: interrupted\n")


def test_a_defect_is_one_line_with_the_traceback_in_a_file(tmp_path, monkeypatch, capsys):
    def broken(*args):
        raise ZeroDivisionError("no luck")

    monkeypatch.setattr("finn_vitprune.builds.build.build", broken)
    err = one_line(capsys, ["build", "-o", str(tmp_path / "x")], code=3)
    log = tmp_path / "cache" / "crash.log"
    assert "ZeroDivisionError: no luck" in err and str(log) in err
    assert "Traceback" in log.read_text() and "no luck" in log.read_text()
    monkeypatch.setenv("FINN_VITPRUNE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run(["build", "-o", str(tmp_path / "x")])


def test_debug_shows_the_traceback_of_a_user_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FINN_VITPRUNE_DEBUG", "1")
    assert run(["report", str(tmp_path / "nowhere")]) == 2
    assert "Traceback" in capsys.readouterr().err


# --- build ---------------------------------------------------------------------------------------


def fake_build(monkeypatch, write=None):
    """Replace the flow; returns the list of options it was called with."""
    calls = []

    def build(options):
        calls.append(options)
        progress.line("folding")
        if write is not None:
            built(options.output_dir, **write)
        return options.output_dir

    monkeypatch.setattr("finn_vitprune.builds.build.build", build)
    return calls


def test_build_passes_every_option_on(tmp_path, monkeypatch, capsys):
    calls = fake_build(monkeypatch, {})
    (tmp_path / "c.yaml").write_text("steps: [a, b]")
    (tmp_path / "f.json").touch()
    np.savez(tmp_path / "i.npz", images=np.zeros(1))
    shutil.copy(EXAMPLE / "deit_digits.onnx", tmp_path / "m.onnx")
    parts = tmp_path / "p.json"
    parts.write_text(json.dumps({"xcmine": {"LUT": 1, "FF": 2, "DSP": 3, "BRAM36": 4, "URAM": 5}}))
    line = f"build m.onnx -o out --fpga-part xcmine --part-resources {parts} --config c.yaml --clk-ns 4 --jobs 1 "
    line += "--target-fps 1000 --folding f.json --images i.npz --max-images 9 --synth none --start-step a --stop-step b"
    line += " --mac-style dsp48e2 --seed 5"
    monkeypatch.chdir(tmp_path)
    assert run([*line.split(), "--estimate-only"]) == 0
    (o,) = calls
    assert (str(o.model), str(o.output_dir), o.fpga_part) == ("m.onnx", "out", "xcmine")
    assert (o.part_resources, str(o.config), str(o.folding), str(o.images)) == (parts, "c.yaml", "f.json", "i.npz")
    assert (o.clk_ns, o.target_fps, o.max_images, o.jobs, o.seed) == (4.0, 1000, 9, 1, 5)
    assert (o.synth, o.start_step, o.stop_step, o.estimate_only) == ("none", "a", "b", True)
    assert o.mac_style == "dsp48e2"


def test_build_leaves_to_the_config_what_was_not_given_and_takes_board_names(tmp_path, monkeypatch):
    calls = fake_build(monkeypatch, {})
    assert run(["build", "-o", str(tmp_path / "o"), "--fpga-part", "zcu104"]) == 0
    assert run(["build", "-o", str(tmp_path / "o")]) == 0
    assert calls[0].fpga_part == "zcu104"
    o = calls[1]
    assert (o.model, o.fpga_part, o.config, o.clk_ns, o.target_fps, o.folding, o.images) == (None,) * 7


def test_build_ends_with_the_verdict_and_prints_tables_when_asked(tmp_path, monkeypatch, capsys):
    fake_build(monkeypatch, {})
    assert run(["build", "-o", str(tmp_path / "o")]) == 0
    out = capsys.readouterr().out
    assert "folding" in out and "images through the RTL" not in out and "rate        100,000 images/s  measured" in out
    assert (tmp_path / "o" / "report.html").is_file() and f"page: {tmp_path / 'o' / 'report.html'}" in out
    assert run(["build", "-o", str(tmp_path / "o"), "--full"]) == 0
    out = capsys.readouterr().out
    assert "images through the RTL" in out and "Balance" in out and out.splitlines()[-1].startswith(("page: ", "next: "))


def test_build_with_mismatches_exits_with_1(tmp_path, monkeypatch, capsys):
    fake_build(monkeypatch, {"verify": {"rtl_mismatches": 3}})
    assert "differs from the hardware graph" in one_line(capsys, ["build", "-o", str(tmp_path / "o")], code=1)


def test_build_that_stops_early_does_not_show_an_older_summary(tmp_path, monkeypatch, capsys):
    built(tmp_path / "o")
    fake_build(monkeypatch)
    assert run(["build", "-o", str(tmp_path / "o"), "--estimate-only"]) == 0
    out = capsys.readouterr().out
    assert "Stopped before the summary" in out and "images through the RTL" not in out


# --- simulate, report, train ---------------------------------------------------------------------


def test_simulate_writes_the_logits_of_the_array(tmp_path, monkeypatch, capsys):
    images = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8, 1)
    seen = []

    def simulate(build_dir, pixels, contents):
        assert contents is None
        seen.append((build_dir, pixels))
        return np.array([[1, -5], [7, 2**30]], dtype=np.int32)

    monkeypatch.setattr("finn_vitprune.builds.simulate.simulate", simulate)
    np.save(tmp_path / "x.npy", images)
    (tmp_path / "stitched_ip").mkdir()
    (tmp_path / "stitched_ip" / "design.json").touch()
    out = tmp_path / "new" / "y.npy"
    assert run(["simulate", str(tmp_path), "--images", str(tmp_path / "x.npy"), "-o", str(out)]) == 0
    assert seen[0][0] == tmp_path and np.array_equal(seen[0][1], images)
    result = np.load(out)
    assert result.dtype == np.int32 and result.tolist() == [[1, -5], [7, 2**30]]
    assert [p.name for p in out.parent.iterdir()] == ["y.npy"]


def test_report_of_a_build_that_stopped_says_what_it_is_and_where(tmp_path, capsys):
    folder = tmp_path / "build"
    assert run(["build", "--fpga-part", "ZCU104", "--stop-step", "step_lower", "-o", str(folder)]) == 0
    capsys.readouterr()
    page = tmp_path / "page.html"
    assert run(["report", str(folder), "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert (
        len(out.splitlines()) <= 12
        and "Stopped before the summary" in out
        and "after step_lower" in out
        and "deit_digits.onnx (SHA-256" in out
    )
    assert "after step_lower" in page.read_text() and "xczu7ev" in page.read_text()
    (folder / "build_record.json").write_text("{}")
    assert run(["report", str(folder)]) == 2
    assert "is not a record of this version" in capsys.readouterr().err


def test_report_of_one_and_of_two_builds(tmp_path, capsys):
    dense, pruned = built(tmp_path / "dense", pruned=False), built(tmp_path / "pruned")
    assert run(["report", str(pruned), "--nodes"]) == 0
    assert "Resources by node" in capsys.readouterr().out
    page = tmp_path / "page.html"
    assert run(["report", str(dense), str(pruned), "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert "dense → pruned" in out and "50,000 images/s → 100,000 images/s  2.00 x" in out and len(out.splitlines()) <= 12
    assert "0.500" in page.read_text() and page.read_text().startswith("<!DOCTYPE html>")


def test_report_of_a_damaged_summary(tmp_path, capsys):
    (built(tmp_path / "b") / FILE).write_text("[]")
    assert "not a summary of this version" in one_line(capsys, ["report", str(tmp_path / "b")])


def test_two_trainings_at_once_in_one_folder(tmp_path, capsys):
    (tmp_path / "o").mkdir()
    with alone_in(tmp_path / "o", "training"):
        assert f"another training is running in {tmp_path / 'o'}" in one_line(capsys, ["train", "-o", str(tmp_path / "o")])


def test_two_sweeps_at_once_with_one_results_file(tmp_path, capsys):
    results = tmp_path / "o" / "results.json"
    with alone_with(results, "sweep"):
        assert f"another sweep is writing {results}" in one_line(capsys, ["sweep", "deit_digits_sweep", "-o", str(tmp_path / "o")])
    assert not results.exists()


def test_changes_reach_nested_values():
    content = {"name": "a", "prune": {"block_keep": 0.5, "drop_at": [1]}}
    changed = with_changes(content, ["prune.block_keep=0.4", "prune.drop_at=[2, 3]", "quant.act_bits=4", "name=b"])
    assert changed == {"name": "b", "prune": {"block_keep": 0.4, "drop_at": [2, 3]}, "quant": {"act_bits": 4}}
    assert content["prune"]["block_keep"] == 0.5
    with pytest.raises(UserError, match="name is a value"):
        with_changes(content, ["name.x=1"])


# --- doctor --------------------------------------------------------------------------------------


def test_doctor_finds_the_open_flow_complete_here(capsys):
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "is complete" in out
    for tool in ("python", "finn-plus", "qonnx", "brevitas", "torch", "onnx", "timm", "verilator", "pyosys", "vivado"):
        assert tool in out


def test_doctor_says_what_the_timing_estimate_is_and_is_not(capsys):
    run(["doctor"])
    out = " ".join(capsys.readouterr().out.split())
    assert "estimated before placement" in out and "no timing closure" in out


def test_doctor_without_a_compiler_says_how_to_get_one(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    assert run(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "lacks: g++" in out and "apt install g++" in out


def test_doctor_takes_a_program_that_fails_for_missing(monkeypatch, capsys, tmp_path):
    fake = tmp_path / "badcxx"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("CXX", str(fake))
    monkeypatch.setenv("COLUMNS", "400")
    assert run(["doctor"]) == 1
    assert "does not run" in capsys.readouterr().out


def test_doctor_as_json_and_the_parts(capsys):
    assert run(["doctor", "--json"]) == 0
    tools = {row["tool"]: row for row in json.loads(capsys.readouterr().out)}
    assert tools["torch"]["ok"] and tools["torch"]["version"] and not tools["perl"]["needed"]
    assert run(["doctor", "--parts", "--json"]) == 0
    parts = {row["device"]: row for row in json.loads(capsys.readouterr().out)}
    assert parts["xcu250"]["boards"] == ["U250"] and parts["xcu250"]["DSP"] == 12_288 and parts["xczu7ev"]["boards"]
    assert run(["doctor", "--parts"]) == 0
    out = capsys.readouterr().out
    assert all(device in out for device in parts) and "ZCU104" in out
    assert run(["build", "--fpga-part", "potato", "-o", "nowhere"]) == 2
    assert "`finn-vitprune doctor --parts` lists all" in capsys.readouterr().err


def test_doctor_reports_a_wrong_version(monkeypatch, capsys):
    import importlib.metadata as metadata

    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.4.0" if name == "finn-plus" else real(name))
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "1.4.0" in out and "==1.6.1 is needed" in out and "lacks: finn-plus" in out


# --- complexity ----------------------------------------------------------------------------------


def test_complexity_of_deit_small_is_the_published_one(capsys):
    """4.6 GMAC and 22 M parameters; at b = 16 and all rates .5 about a quarter of the products is left."""
    line = "complexity deit_small_patch16_224 --block-size 16 --token-keep 0.5 --drop-at 3,7,10 --json"
    assert run(line.split()) == 0
    c = json.loads(capsys.readouterr().out)["formula"]
    assert c["macs_dense"] == pytest.approx(4.60e9, rel=0.005) and c["params_dense"] == pytest.approx(22e6, rel=0.005)
    assert 3.9 < c["macs_ratio"] < 4.2
    assert [t["mlp"] for t in c["tokens"]] == [197, 197, 100, 100, 100, 100, 52, 52, 52, 28, 28, 28]


@pytest.mark.parametrize(
    "arguments,message",
    [
        ("deit_smal_patch16_224", "did you mean deit_small_patch16_224"),
        ("missing.onnx", "missing.onnx: no such file"),
        ("deit_small_patch16_224 --block-size 24", "block size 24 does not divide"),
        ("deit_small_patch16_224 --drop-at 13", "encoders 1 to 12"),
        ("deit_small_patch16_224 --drop-at x", "expected numbers with commas"),
        ("deit_small_patch16_224 --drop-at 3,3", "--drop-at 3,3: encoder 3 is there twice, name it once"),
        ("deit_small_patch16_224 --drop-at 3 --token-keep 1", "--drop-at 3 drops nothing at --token-keep 1"),
        ("deit_small_patch16_224 --token-keep 0.5", "--token-keep 0.5 needs --drop-at"),
        ("deit_small_patch16_224 --block-keep 1.5", "--block-keep 1.5 is not a share"),
        ("resnet18", "not a plain ViT or DeiT"),
    ],
)
def test_complexity_refuses_in_one_line(arguments, message, capsys):
    assert message in one_line(capsys, ["complexity", *arguments.split()])


@pytest.mark.slow
def test_train_then_complexity_of_checkpoint_and_model(tmp_path, capsys):
    """Two encoders of width 32, one epoch each: formula on both files agrees, the graph adds the padding alone."""
    out = tmp_path / "run"
    changes = ["teacher.epochs=1", "student.epochs=1", "student.warmup_epochs=0", "student.hold_epochs=1"]
    changes += ["model.depth=2", "model.dim=32", "model.heads=2", "prune.drop_at=[1]"]
    assert run(["train", "-o", str(out), "--seed", "3", *(a for c in changes for a in ("--set", c))]) == 0
    said = capsys.readouterr().out
    assert f"everything is in {out}" in said and "teacher epoch 1 of 1: loss" in said and "student epoch 1 of 1: loss" in said
    assert {"checkpoint.pt", "metrics.json", "model.onnx"} <= {p.name for p in out.iterdir()}
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["seed"], metrics["config"]["model"]["dim"], metrics["name"]) == (3, 32, "run")

    found = {}
    for name in ("checkpoint.pt", "model.onnx"):
        assert run(["complexity", str(out / name), "--json"]) == 0
        found[name] = json.loads(capsys.readouterr().out)
    formula, count = found["model.onnx"]["formula"], found["model.onnx"]["count"]
    assert found["checkpoint.pt"]["formula"] == formula
    assert count["macs"] == formula["macs"]
    assert count["params"] == formula["params"]
