"""FINN without our command line: the lines of docs/finn.md, FINN's program with its worker processes, steps among steps."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from finn.builder.build_dataflow_config import VerificationStepType, hw_codegen_dataflow_steps
from onnx import TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds import steps as ours
from finn_vitprune.builds.build import DEFAULT_CONFIG, BuildOptions, build
from finn_vitprune.builds.finn_builder import DataflowBuildConfig, run_builder
from finn_vitprune.cli import run as command
from finn_vitprune.custom_ops.registry import make_node
from finn_vitprune.errors import UserError
from finn_vitprune.execute.qonnx_runner import QonnxRunner
from tests.vit_models import random_vit

PAGE = Path(__file__).parents[2] / "docs" / "finn.md"
OURS = "finn_vitprune.builds.steps."
QUICK = {"synth": "none", "stalled_images": 1, "traced_images": 1, "max_images": 4}
PROGRAM = [sys.executable, "-m", "finn_vitprune.plugin", "build", "--accept-defaults", "--skip-dep-update"]


def page_block(kind: str) -> str:
    """The first block of the page in ``kind``, python or nothing."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return next(text for language, text in blocks if language == kind)


@pytest.fixture(scope="module")
def qonnx(tmp_path_factory) -> Path:
    """A random network of one encoder with a token drop."""
    path = tmp_path_factory.mktemp("qonnx") / "model.onnx"
    random_vit(image=8, depth=1, drop_at=(1,), token_keep="0.5")[0].save(str(path))
    return path


@pytest.fixture
def user(tmp_path, qonnx):
    """A folder with the model, and a shell in it: no Vivado, no settings of FINN, nothing to download."""
    shutil.copy(qonnx, tmp_path)
    (tmp_path / "none.yaml").write_text("git_deps: {}\nboardfile_deps: {}\ndirect_download_deps: {}\n")

    def run(*command: str, exit_code: int = 0, **variables: str) -> str:
        """What the command says, in one line without times."""
        theirs = ("FINN_", "XILINX", "PYTEST_")
        environment = {n: v for n, v in os.environ.items() if not n.startswith(theirs) or n == "FINN_VITPRUNE_CACHE"} | {
            "FINN_DEPS_DEFINITIONS": str(tmp_path / "none.yaml"),
            "FINN_DEPS": str(tmp_path / "deps"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            **variables,
        }
        done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == exit_code, done.stdout
        return " ".join(re.sub(r"\[[-0-9: ]+\]", "", done.stdout).split())

    run.folder = tmp_path
    return run


def settings(folder: Path, **values: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vitprune.json").write_text(json.dumps(QUICK | values))
    return folder


def check_build(folder: Path) -> None:
    assert json.loads((folder / "report" / "metadata_builder.json").read_text())["status"] == "ok"
    found = json.loads((folder / "report" / "vitprune_summary.json").read_text())["verify"]
    assert (found["images"], found["rtl_mismatches"]) == (4, 0)
    assert command(["report", str(folder)]) == 0


def test_the_python_lines_of_the_readme(user):
    folder = settings(user.folder / "build" / "mine")
    (user.folder / "mine.py").write_text(page_block("python"))
    user("python", "mine.py")
    check_build(folder)


def test_the_program_of_the_readme(user):
    folder = settings(user.folder / "build" / "accelerator")
    (user.folder / "builds").mkdir()
    shutil.copy(DEFAULT_CONFIG, user.folder / "builds")
    user("bash", "-ec", page_block(""))
    check_build(folder)


@pytest.mark.whole
def test_engines_are_asked_for_in_the_settings_of_the_folder(user):
    random_vit(image=8, depth=2, drop_at=(1,), token_keep="0.5")[0].save(str(user.folder / "model.onnx"))
    folder = settings(user.folder / "build" / "accelerator", engines=1, frames_in_flight=2)
    (user.folder / "builds").mkdir()
    shutil.copy(DEFAULT_CONFIG, user.folder / "builds")
    user("bash", "-ec", page_block(""))
    check_build(folder)
    found = json.loads((folder / "report" / "vitprune_summary.json").read_text())["nodes"]
    assert "engine of encoders 1 to 2, QKV" in {node["layer"] for node in found}


@pytest.mark.whole
def test_worker_processes_have_the_ops_and_the_simulator(user):
    """FINN spawns them, so they start without what the program did; the step is the user's, beside the config."""
    shape = {"tokens": 2, "channels": 4, "SIMD": 2}
    nodes = [make_node("VitFork_rtl", ["x"], ["y", "z"], name="fork", **shape, inputDataType="UINT8")]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 2, 4)) for n in "xyz"]
    model = ModelWrapper(helper.make_model(helper.make_graph(nodes, "small", infos[:1], infos[1:])))
    for name in "xyz":
        model.set_tensor_datatype(name, DataType["UINT8"])
    model.save(str(user.folder / "fork.onnx"))
    (user.folder / "my_steps.py").write_text("""
import multiprocessing
import numpy as np
from finn.core.onnx_exec import execute_onnx
from finn.transformation.fpgadataflow.prepare_rtlsim import PrepareRTLSim
from finn.transformation.fpgadataflow.set_exec_mode import SetExecMode

def step_run(model, cfg):
    transformation = PrepareRTLSim()
    assert multiprocessing.get_start_method() == "spawn" and transformation._num_workers == 2
    x = np.arange(8, dtype=np.float32).reshape(1, 2, 4)
    got = execute_onnx(model.transform(transformation).transform(SetExecMode("rtlsim")), {"x": x})
    print("the RTL forks:", np.array_equal(got["y"], x) and np.array_equal(got["z"], x))
    return model
""")
    config = {
        "output_dir": "out",
        "fpga_part": "xcu250-figd2104-2L-e",
        "target_fps": 1,
        "generate_outputs": [],
        "steps": ["step_hw_codegen", "my_steps.step_run"],
    }
    (user.folder / "my.yaml").write_text(yaml.safe_dump(config))
    assert "the RTL forks: True" in user(*PROGRAM, "my.yaml", "fork.onnx", NUM_DEFAULT_WORKERS="2")


@pytest.mark.whole
def test_a_wrong_input_ends_finns_program_with_one_line_and_exit_code_1(user):
    settings(user.folder / "build" / "accelerator", images="absent.npz")
    shutil.copy(DEFAULT_CONFIG, user.folder / "my.yaml")
    said = user(*PROGRAM, "my.yaml", "model.onnx", exit_code=1)
    assert "FINN ERROR: images file absent.npz does not exist" in said and "Traceback" not in said


seen: list[set[str]] = []


def step_look(model: ModelWrapper, cfg: DataflowBuildConfig) -> ModelWrapper:
    """A user's step: notes the op types."""
    seen.append({node.op_type for node in model.graph.node})
    return model


def steps_run(cfg: DataflowBuildConfig) -> list[str]:
    times = json.loads((Path(cfg.output_dir) / "report" / "time_per_step.json").read_text())
    return [name for name in times if name != "total_build_time"]


@pytest.mark.parametrize("form", ["functions", "YAML"])
def test_steps_of_finn_and_of_the_user_among_ours(form, qonnx, tmp_path, monkeypatch):
    """By ``inject_steps_before`` and ``inject_steps_after`` of a config file, or of one made in Python."""
    seen.clear()
    monkeypatch.syspath_prepend(Path(__file__).parent)
    look = step_look if form == "functions" else f"{__name__}.step_look"
    inject = {
        "inject_steps_after": {"step_lower": [look, "step_qonnx_to_finn"], "step_fold": ["step_transpose_decomposition"]},
        "inject_steps_before": {"step_fold": ["step_minimize_bit_width", look]},
    }
    config = yaml.safe_load(DEFAULT_CONFIG.read_text()) | {"stop_step": "step_insert_streams"}
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(config | (inject if form == "YAML" else {})))
    cfg = DataflowBuildConfig.construct_from(path)
    cfg.output_dir = str(settings(tmp_path / "out"))
    if form == "functions":
        cfg.inject_steps_after, cfg.inject_steps_before = inject.values()
        cfg.steps = [getattr(ours, s.removeprefix(OURS)) if s.startswith(OURS) else s for s in cfg.steps]
    run_builder(qonnx, cfg)
    assert steps_run(cfg) == [
        "step_tidy_up",
        "step_lower",
        "step_look",
        "step_qonnx_to_finn",
        "step_create_dataflow_partition",
        "step_specialize_layers",
        "step_minimize_bit_width",
        "step_fold",
        "step_transpose_decomposition",
        "step_apply_folding_config",
        "step_insert_streams",
    ]
    lowered, specialised = seen
    assert "BlockSparseMVAU" in lowered and "BlockSparseMVAU_rtl" in specialised


def test_our_steps_among_finns(qonnx, tmp_path):
    """In FINN's own list of steps, less what has nothing to do; the result is bit-exact."""
    left_out = ("step_streamline", "step_convert_to_hw", "step_target_fps_parallelization")
    steps = [s for s in hw_codegen_dataflow_steps if s not in left_out]
    cfg = DataflowBuildConfig.construct_from(
        DataflowBuildConfig(
            output_dir=str(settings(tmp_path / "out")),
            steps=steps,
            target_fps=1000,
            fpga_part="xcu250-figd2104-2L-e",
            synth_clk_period_ns=4.0,
            generate_outputs=[],
            inject_steps_before={
                "step_qonnx_to_finn": ["step_tidy_up", OURS + "step_lower"],
                "step_apply_folding_config": [OURS + "step_fold"],
                "step_generate_estimate_reports": [OURS + "step_insert_streams"],
            },
            inject_steps_after={"step_hw_codegen": [OURS + s for s in ("step_stitch", "step_simulate", "step_summarise")]},
        )
    )
    run_builder(qonnx, cfg)
    assert [s for s in steps_run(cfg) if s in steps and s != "step_tidy_up"] == [s for s in steps if s != "step_tidy_up"]
    check_build(tmp_path / "out")


@pytest.mark.parametrize(
    "steps, message",
    [
        ([OURS + "step_fold"], "step_fold takes RTL ops of this project alone, and Quant_0 is a Quant"),
        ([OURS + "step_lower", OURS + "step_fold"], "Reshape_0 is a Reshape"),
        ([OURS + "step_lower", "step_create_dataflow_partition", OURS + "step_fold"], "BlockSparseMVAU_0 is a BlockSparseMVAU"),
        ([OURS + "step_lower", "step_convert_to_hw", "step_create_dataflow_partition", OURS + "step_fold"], "a Shuffle"),
        ([OURS + "step_lower", "step_create_dataflow_partition", "step_specialize_layers", OURS + "step_stitch"], "no HDL yet"),
    ],
)
def test_steps_out_of_order_are_named(steps, message, qonnx, tmp_path):
    cfg = DataflowBuildConfig(
        output_dir=str(settings(tmp_path / "out")),
        steps=["step_tidy_up", *steps],
        fpga_part="xcu250-figd2104-2L-e",
        generate_outputs=[],
        target_fps=1000,
    )
    with pytest.raises(UserError, match=message):
        run_builder(qonnx, cfg)


def test_our_own_build_fills_the_part_unless_a_config_names_a_target(qonnx, tmp_path, monkeypatch):
    targets = []
    monkeypatch.setattr("finn_vitprune.builds.build.run_builder", lambda model, cfg: targets.append(cfg.target_fps))
    for config in (None, DEFAULT_CONFIG):
        build(BuildOptions(model=qonnx, output_dir=tmp_path / str(config is None), config=config))
    assert targets == [None, 1000]


@pytest.mark.parametrize(
    "content, message",
    [('{"image": "x.npz"}', "vitprune.json: unknown option image: did you mean images"), ('{"images": ', "vitprune.json: Invalid JSON")],
)
def test_settings_that_are_wrong_are_named(content, message, qonnx, tmp_path):
    cfg = DataflowBuildConfig.construct_from(DEFAULT_CONFIG)
    cfg.output_dir, cfg.stop_step = str(tmp_path), "step_lower"
    (tmp_path / "vitprune.json").write_text(content)
    with pytest.raises(UserError, match=message):
        run_builder(qonnx, cfg)


@pytest.mark.parametrize(
    "step, after",
    [(VerificationStepType.TIDY_UP_PYTHON, "step_tidy_up"), (VerificationStepType.FOLDED_HLS_CPPSIM, "step_minimize_bit_width")],
)
def test_finns_verification_before_and_after_the_lowering(step, after, qonnx, tmp_path):
    """FINN executes QONNX, with its TokenDrop, and the golden models: the logits of onnxruntime, and these without scale."""
    pixels = np.random.default_rng(7).integers(0, 256, (1, 8, 8, 1), dtype=np.uint8)
    [logits] = QonnxRunner(ModelWrapper(str(qonnx))).run(pixels).values()
    np.save(tmp_path / "in.npy", pixels.astype(np.float32))
    np.save(tmp_path / "want.npy", logits)
    cfg = DataflowBuildConfig.construct_from(DEFAULT_CONFIG)
    cfg.output_dir, cfg.stop_step = str(settings(tmp_path / "out")), after
    cfg.inject_steps_after = {"step_apply_folding_config": ["step_minimize_bit_width"]}
    cfg.verify_steps = [step]
    cfg.verify_input_npy, cfg.verify_expected_output_npy = tmp_path / "in.npy", tmp_path / "want.npy"
    run_builder(qonnx, cfg)
    [found] = (tmp_path / "out" / "verification_output").iterdir()
    got = np.load(found).reshape(logits.shape)
    if step == VerificationStepType.TIDY_UP_PYTHON:
        assert "SUCCESS" in found.name
    assert np.allclose(got * (logits.max() / got.max()), logits, atol=1e-4 * np.abs(logits).max())
