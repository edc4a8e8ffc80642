"""``finn-vitprune build``: one call from a model file to a verified accelerator, through FINN's builder."""

from __future__ import annotations

import io
import logging
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from finn_vitprune import finn_setup, progress
from finn_vitprune.builds.settings import BuildSettings
from finn_vitprune.errors import UserError
from finn_vitprune.graph.reading import read_model

HERE = Path(__file__).parent
DEFAULT_CONFIG = HERE / "dataflow.yaml"
EXAMPLE = HERE / "example"
ESTIMATE_STEP = "step_generate_estimate_reports"
VIVADO_STEPS = (
    "step_hw_ipgen", "step_create_stitched_ip", "step_out_of_context_synthesis", "step_synthesize_bitfile",
    "step_make_driver", "step_deployment_package",
)
"""FINN's own steps that follow where ``vivado`` is on PATH."""


@dataclass(frozen=True)
class BuildOptions:
    """What the user asked for. ``model`` None is the bundled example; None elsewhere leaves the config's value."""

    model: Path | None
    output_dir: Path
    fpga_part: str | None = None
    config: Path | None = None
    clk_ns: float | None = None
    target_fps: int | None = None
    folding: Path | None = None
    estimate_only: bool = False
    start_step: str | None = None
    stop_step: str | None = None
    synth: str = "nodes"
    mac_body: str | None = None
    part_resources: Path | None = None
    images: Path | None = None
    max_images: int | None = None
    workers: int = 2


def build(options: BuildOptions) -> Path:
    """Run the build; returns the output folder.

    Raises:
        UserError: the input or set-up is wrong, or a step failed; details are in ``build_dataflow.log``.
    """
    model = options.model or EXAMPLE / "deit_digits.onnx"
    source = read_model(model)
    folder = options.output_dir.resolve()
    _check_output(folder, options)
    import finn_vitprune.custom_ops  # noqa: F401  (registers the ops)
    from qonnx.core.modelwrapper import ModelWrapper

    from finn_vitprune.synth.parts import get_part
    from finn_vitprune.transforms.lower import check_op_types

    config = _config(options)
    get_part(config["fpga_part"], options.part_resources)
    check_op_types(ModelWrapper(source))
    settings = _settings(options, model)
    finn_setup.prepare(folder / "hdl")
    settings.save(folder)
    _run(model, config, folder)
    return folder


def _check_output(folder: Path, options: BuildOptions) -> None:
    if folder.is_file():
        raise UserError(f"output {folder} is a file; give a folder")
    foreign = folder.is_dir() and any(folder.iterdir()) and not (folder / "vitprune.json").is_file()
    if foreign:
        raise UserError(f"output folder {folder} is not empty and holds no build of this program; give a new one")
    if options.start_step and not (folder / "intermediate_models").is_dir():
        raise UserError(f"cannot start from {options.start_step}: {folder} holds no earlier build")


def _config(options: BuildOptions) -> dict:
    """FINN's config as a dictionary: the YAML, then what the user gave on the command line."""
    path = options.config or (EXAMPLE / "build.yaml" if options.model is None else DEFAULT_CONFIG)
    try:
        config = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read build config {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"build config {path} is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(config, dict) or not config.get("steps"):
        raise UserError(f"build config {path} has no `steps`; see {DEFAULT_CONFIG.name} of finn_vitprune.builds")
    given = {
        "fpga_part": options.fpga_part, "synth_clk_period_ns": options.clk_ns, "target_fps": options.target_fps,
        "folding_config_file": options.folding and str(options.folding.resolve()),
        "start_step": options.start_step, "stop_step": options.stop_step,
    }
    config.update({k: v for k, v in given.items() if v is not None})
    if options.folding is not None and not options.folding.is_file():
        raise UserError(f"folding file {options.folding} does not exist")
    if options.estimate_only:
        config["stop_step"] = ESTIMATE_STEP
    elif finn_setup.vivado_on_path() and "step_create_stitched_ip" not in config["steps"]:
        config["steps"] = [*config["steps"], *VIVADO_STEPS]
    names = [str(s).rsplit(".", 1)[-1] for s in config["steps"]]
    for key in ("start_step", "stop_step"):
        if config.get(key) and config[key] not in names:
            raise UserError(f"{key.replace('_', ' ')} {config[key]} is not in the config; steps are {', '.join(names)}")
    if not config.get("fpga_part"):
        raise UserError("no FPGA part given; use --fpga-part, for example --fpga-part xcu250-figd2104-2L-e")
    config["output_dir"] = str(options.output_dir.resolve())
    return config


def _settings(options: BuildOptions, model: Path) -> BuildSettings:
    from finn_vitprune.custom_ops.mvau_mac import known_body

    images = options.images
    if images is None:
        images = next((p for p in (model.with_suffix(".npz"), EXAMPLE / "images.npz" if options.model is None else None)
                       if p is not None and p.is_file()), None)
    elif not images.is_file():
        raise UserError(f"images file {images} does not exist")
    return BuildSettings(
        images=None if images is None else str(images.resolve()), max_images=options.max_images, synth=options.synth,
        part_resources=options.part_resources and str(options.part_resources.resolve()), workers=options.workers,
        mac_body=known_body(options.mac_body),
    )


def _run(model: Path, config: dict, folder: Path) -> None:
    import finn.builder.build_dataflow as builder
    from finn.builder.build_dataflow_config import DataflowBuildConfig

    try:
        cfg = DataflowBuildConfig.from_dict(config)
    except Exception as error:
        raise UserError(f"FINN refuses the build config: {str(error).splitlines()[0]}") from None
    failure = folder / "failure.txt"
    failure.unlink(missing_ok=True)
    if not finn_setup.vivado_on_path():
        builder.get_vivado_root = lambda: "none (no Vivado on this machine)"
    try:
        with _captured_output():
            code = builder.build_dataflow_cfg(str(model), cfg)
    except UserError:
        raise
    except Exception as error:
        if failure.is_file():
            raise UserError(failure.read_text().strip()) from error
        raise
    if code:
        reason = failure.read_text().strip() if failure.is_file() else _last_error(folder)
        raise UserError(reason)
    _complete_summary(folder)


def _complete_summary(folder: Path) -> None:
    """FINN writes its step times when all steps are done: take them into the summary."""
    import json

    from finn_vitprune.report.summary import FILE, Summary

    times = folder / "report" / "time_per_step.json"
    if (folder / FILE).is_file() and times.is_file():
        summary = Summary.load(folder)
        summary.model_copy(update={"time_s": json.loads(times.read_text())}).save(folder)


def _last_error(folder: Path) -> str:
    log = folder / "build_dataflow.log"
    lines = [line for line in log.read_text(errors="replace").splitlines() if "ERROR" in line] if log.is_file() else []
    text = lines[-1].split("ERROR:", 1)[-1].strip() if lines else "FINN's builder stopped"
    return f"{text} (details in {log})"


@contextmanager
def _captured_output():
    """FINN prints its steps; show them as progress and give stdout, stderr and logging back afterwards."""
    stdout, stderr, handlers = sys.stdout, sys.stderr, logging.root.handlers[:]
    level = logging.root.level
    sys.stdout = sys.stderr = _StepLines()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = stdout, stderr
        for handler in logging.root.handlers[:]:
            if handler not in handlers:
                logging.root.removeHandler(handler)
                handler.close()
        for handler in handlers:
            if handler not in logging.root.handlers:
                logging.root.addHandler(handler)
        logging.root.setLevel(level)
        logging.captureWarnings(False)


class _StepLines(io.TextIOBase):
    """A stream that shows FINN's ``Running step`` lines and drops the rest: all of it is in the log."""

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if "Running step:" in line:
                progress.place().line(line.split("Running step:", 1)[1].strip())
        return len(text)

    def fileno(self) -> int:
        raise OSError("no file descriptor")

