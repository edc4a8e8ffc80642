"""``finn-vitprune build``: one call from a model file to a verified accelerator, through FINN's builder."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from onnx import ModelProto
from pydantic import Field, JsonValue
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune import __version__, finn_setup
from finn_vitprune.builds.finn_builder import DataflowBuildConfig, all_steps, run_builder
from finn_vitprune.builds.folder import BuildFolder
from finn_vitprune.builds.folding_file import check_folding_file, read_folding_file
from finn_vitprune.builds.images import check_images
from finn_vitprune.builds.networks import check_network, flat_hardware, reserved
from finn_vitprune.builds.record import build_in, file_option, is_foreign, step_name
from finn_vitprune.builds.settings import BuildSettings
from finn_vitprune.builds.steps import in_engines
from finn_vitprune.builds.vivado.export import refuse_foreign
from finn_vitprune.custom_ops.mvau_mac import known_mac_style
from finn_vitprune.errors import DoesNotFit, TargetMissed, UserError
from finn_vitprune.files import output_path, read_yaml
from finn_vitprune.graph.reading import read_qonnx
from finn_vitprune.options import check_types
from finn_vitprune.report.summary import FILE, Summary
from finn_vitprune.synth.parts import get_part
from finn_vitprune.transforms.lower import check_op_types

HERE = Path(__file__).parent
DEFAULT_CONFIG = HERE / "dataflow.yaml"
EXAMPLE = HERE / "example"
ESTIMATE_STEPS = ("step_check_part", "step_generate_estimate_reports")
"""Where `--estimate-only` stops: the first of these that the config has."""
VIVADO_STEPS = (
    "step_hw_ipgen", "step_create_stitched_ip", "step_out_of_context_synthesis", "step_synthesize_bitfile",
    "step_make_driver", "step_deployment_package",
)
"""FINN's own steps that follow where ``vivado`` is on PATH."""
Export = Literal["vivado"]
"""For whom the build is exported."""
EXPORT_STEPS: dict[Export, str] = {"vivado": "finn_vitprune.builds.steps.step_export_vivado"}
"""What then comes after the simulation and the summary; FINN's steps for bitfiles, which take the graph apart, follow."""


@dataclass(frozen=True)
class BuildOptions:
    """What the user asked for. Without ``model`` the bundled example is built, without ``export`` nothing is exported; None elsewhere leaves
    the config's value.
    """

    model: Path | None
    output_dir: Path
    fpga_part: str | None = None
    config: Path | None = None
    clk_ns: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    target_fps: Annotated[int, Field(ge=1)] | None = None
    folding: Path | None = None
    estimate_only: bool = False
    start_step: str | None = None
    stop_step: str | None = None
    export: Export | None = None
    settings: BuildSettings = BuildSettings()

    def __post_init__(self) -> None:
        check_types(self)
        output_path(self.output_dir)
        if self.target_fps is not None and self.settings.goal == "latency":
            raise UserError(f"--goal latency is for a plan without a target: leave it out, or --target-fps {self.target_fps}")


def build(options: BuildOptions) -> Path:
    """Run the build; returns the output folder. Whether the design fits the part and reaches its target, and what it is, says its summary.

    Raises:
        UserError: the input or set-up is wrong, or a step failed; details are in ``build_dataflow.log``.
    """
    model = options.model or EXAMPLE / "deit_digits.onnx"
    source = read_qonnx(model)
    folder = BuildFolder(options.output_dir.resolve())
    _check_output(folder, options)
    config = _config(options)
    part = get_part(config["fpga_part"], options.settings.part_resources).with_shell(options.settings.shell)
    check_op_types(ModelWrapper(source))
    settings = _settings(options, model)
    check_images(settings, ModelWrapper(source))
    try:
        cfg = DataflowBuildConfig.from_dict(config)
    except Exception as error:
        raise UserError(f"FINN rejects the build config: {str(error).splitlines()[0]}") from None
    steps = all_steps(cfg)
    names = list(map(step_name, steps))
    _check_range(cfg, names)
    if options.export is not None:
        _check_export(folder, options.export, cfg.stop_step, names)
    if cfg.folding_config_file is not None or (cfg.start_step is None and settings.dealt not in (None, "auto")):
        hardware = flat_hardware(ModelWrapper(source), cfg).hardware
        if settings.loads_networks and cfg.folding_config_file is not None:
            hardware, _ = reserved(hardware, settings, cfg)
        hardware = in_engines(hardware, settings)
        if cfg.folding_config_file is not None:
            check_folding_file(cfg.folding_config_file, hardware, part)
    with build_in(folder.path, _recorded(model, source, config, settings, names), names) as results:
        results.admit(cfg.start_step, _inputs(model, options, settings, cfg))
        folder.settings.save(settings)
        cfg.steps, cfg.inject_steps_before, cfg.inject_steps_after = [results.watched(step) for step in steps], {}, {}
        try:
            with suppress(DoesNotFit, TargetMissed):
                run_builder(model, cfg)
            _complete_summary(folder)
        except UserError as error:
            if isinstance(error.__cause__, OSError):
                results.discard()
            raise
        finally:
            results.close()
    return folder.path


def _check_output(folder: BuildFolder, options: BuildOptions) -> None:
    path = folder.path
    if path.is_file():
        raise UserError(f"output {path} is a file; give a folder")
    if is_foreign(path):
        raise UserError(f"output folder {path} is not empty and does not hold a build of this version; give a new one")
    if options.start_step and not folder.intermediate_models.is_dir():
        raise UserError(f"cannot start from {options.start_step}: {path} holds no earlier build")


def _config(options: BuildOptions) -> dict[str, object]:
    """FINN's config: the YAML, then what the user gave."""
    config = _read_config(options.config or (EXAMPLE / "build.yaml" if options.model is None else DEFAULT_CONFIG))
    if options.config is None and options.model is not None:
        del config["target_fps"]  # FINN alone needs one; here the folding fills the part
    given = {
        "fpga_part": options.fpga_part, "synth_clk_period_ns": options.clk_ns, "target_fps": options.target_fps,
        "folding_config_file": options.folding and str(options.folding.resolve()),
        "start_step": options.start_step, "stop_step": options.stop_step,
    }
    config.update({k: v for k, v in given.items() if v is not None})
    if options.folding is not None:
        read_folding_file(options.folding)
    if options.estimate_only:
        names = set(map(step_name, config["steps"]))
        config["stop_step"] = next((step for step in ESTIMATE_STEPS if step in names), ESTIMATE_STEPS[-1])
    elif finn_setup.vivado_on_path() and "step_create_stitched_ip" not in config["steps"]:
        config["steps"] = [*config["steps"], *VIVADO_STEPS]
    if options.export is not None:
        config["steps"] = _with_export(config["steps"], EXPORT_STEPS[options.export])
    if not config.get("fpga_part"):
        raise UserError("no FPGA part given; use --fpga-part, for example --fpga-part xcu250-figd2104-2L-e")
    return config | {"output_dir": str(options.output_dir.resolve())}


def _check_range(cfg: DataflowBuildConfig, steps: list[str]) -> None:
    """That start and stop step are among the steps, in order. The first one is where FINN starts anyway."""
    for key in ("start_step", "stop_step"):
        name = getattr(cfg, key)
        if name is not None and name not in steps:
            raise UserError(f"{key.replace('_', ' ')} {name} is not in the config; steps are {', '.join(steps)}")
    if cfg.start_step == steps[0]:
        cfg.start_step = None
    if cfg.start_step and cfg.stop_step and steps.index(cfg.start_step) > steps.index(cfg.stop_step):
        raise UserError(f"start step {cfg.start_step} comes after stop step {cfg.stop_step}: nothing would run")


def _with_export(steps: list[str], step: str) -> list[str]:
    """The steps with an export among them: after the last of those that it looks at, in a config without any at the end."""
    others = [other for other in steps if step_name(other) != step_name(step)]
    before = [i for i, other in enumerate(others) if step_name(other) in ("step_simulate", "step_summarise")]
    place = before[-1] + 1 if before else len(others)
    return [*others[:place], step, *others[place:]]


def _check_export(folder: BuildFolder, export: Export, stop_step: str | None, steps: list[str]) -> None:
    """That the build comes to its export, and that nothing of others is in its place."""
    if stop_step is not None and steps.index(stop_step) < steps.index(step_name(EXPORT_STEPS[export])):
        raise UserError(f"--export {export} is for a build that is verified, and this one stops after {stop_step}: leave one of them out")
    refuse_foreign(folder.vivado)


def _recorded(
    model: Path, source: ModelProto, config: dict[str, object], settings: BuildSettings, steps: list[str]
) -> dict[str, JsonValue]:
    """The options that results depend on. Of a file its name and contents count."""
    found = {
        "finn_vitprune": __version__,
        "model": f"{model.name} (SHA-256 {hashlib.sha256(source.SerializeToString()).hexdigest()[:16]})",
        **config, **dict(settings), "steps": steps,
    }
    left_out = ("start_step", "stop_step", "inject_steps_before", "inject_steps_after", "jobs")
    found = {name: value for name, value in found.items() if name not in left_out and value is not None}
    for name, value in found.items():
        if isinstance(value, str | Path) and Path(value).is_file():
            found[name] = file_option(Path(value))
    made_for = {"loadable": settings.loadable or None, "reserve": [file_option(path) for path in settings.reserve] or None}
    found = {name: value for name, value in (found | made_for).items() if value is not None}
    return json.loads(json.dumps(found, default=str))


def _inputs(model: Path, options: BuildOptions, settings: BuildSettings, cfg: DataflowBuildConfig) -> list[Path]:
    files = (model, options.config, settings.images, settings.part_resources, cfg.folding_config_file, *settings.reserve)
    return [path for path in files if path is not None]


def _read_config(path: Path) -> dict[str, object]:
    config = read_yaml(path, "build config")
    if not isinstance(config, dict) or not config.get("steps"):
        raise UserError(f"build config {path} has no `steps`; see {DEFAULT_CONFIG.name} of finn_vitprune.builds")
    return config


def _settings(options: BuildOptions, model: Path) -> BuildSettings:
    """The settings to keep: paths in full, and the images that lie beside the model where none are given."""
    settings = options.settings
    known_mac_style(settings.mac_style)
    images = settings.images
    if images is None:
        beside = [model.with_suffix(".npz"), *([EXAMPLE / "images.npz"] if options.model is None else [])]
        images = next(filter(Path.is_file, beside), None)
    elif not images.is_file():
        raise UserError(f"images file {images} does not exist")
    paths = {"images": images, "part_resources": settings.part_resources}
    found = {name: path and path.resolve() for name, path in paths.items()}
    for path in settings.reserve:
        if not path.is_file():
            raise UserError(f"model {path} to reserve for does not exist")
        check_network(path)
    return settings.model_copy(update=found | {"reserve": tuple(path.resolve() for path in settings.reserve)})


def _complete_summary(folder: BuildFolder) -> None:
    """FINN writes its step times when all steps are done: take them into the summary."""
    times = folder.step_times.load()
    if (folder.path / FILE).is_file() and times is not None:
        summary = Summary.read(folder.path / FILE)  # the record gets its digest when the build is over
        summary.model_copy(update={"time_s": times}).save(folder.path)
