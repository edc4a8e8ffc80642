"""``finn-vitprune build``: one call from a model file to a verified accelerator, through FINN's builder."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from onnx import ModelProto
from pydantic import JsonValue
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune import __version__, finn_setup
from finn_vitprune.builds.finn_builder import DataflowBuildConfig, all_steps, run_builder
from finn_vitprune.builds.images import BuildImages
from finn_vitprune.builds.networks import Reservation, flat_hardware
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.builds.records.folding_file import check_folding_file, read_folding_file
from finn_vitprune.builds.steps import in_engines
from finn_vitprune.builds.vivado.export import refuse_foreign
from finn_vitprune.built.record import build_in, file_options, is_foreign, step_name
from finn_vitprune.errors import DoesNotFit, TargetMissed, UserError
from finn_vitprune.files import read_yaml, sha256
from finn_vitprune.graph.reading import read_qonnx
from finn_vitprune.options.build import VIVADO_STEPS, BuildOptions, BuildSettings, Export
from finn_vitprune.report.summary import FILE, Summary
from finn_vitprune.synth.parts import get_part
from finn_vitprune.training.folder_data import image_files
from finn_vitprune.transforms.lowering.lower import check_op_types
from finn_vitprune.transforms.planning.partition import shared_in

HERE = Path(__file__).parent
DEFAULT_CONFIG = HERE / "dataflow.yaml"
EXAMPLE = HERE / "example"
ESTIMATE_STEPS = ("step_check_part", "step_generate_estimate_reports")
"""Where `--estimate-only` stops: the first of these that the config has."""
EXPORT_STEPS: dict[Export, str] = {"vivado": "finn_vitprune.builds.steps.step_export_vivado"}
"""What then comes after the simulation and the summary; FINN's steps for bitfiles, which take the graph apart, follow."""


def build(options: BuildOptions) -> Path:
    """Run the build; returns the output folder. Whether the design fits the part and reaches its target, and what it is, says its summary.

    Raises:
        UserError: the input or set-up is wrong, or a step failed; details are in ``build_dataflow.log``.
    """
    files = options.files()
    model, folder = options.model or EXAMPLE / "deit_digits.onnx", BuildFolder(options.output_dir.resolve())
    source = read_qonnx(model)
    _check_output(folder.path)
    if options.start_step and not folder.intermediate_models.is_dir():
        raise UserError(f"cannot start from {options.start_step}: {folder.path} holds no earlier build")
    config = _config(options)
    part = get_part(config["fpga_part"], options.part_resources).with_shell(options.shell)
    config["fpga_part"] = part.name
    check_op_types(ModelWrapper(source))
    beside = (model.with_suffix(".npz"), *([EXAMPLE / "images.npz"] if options.model is None else ()))
    settings = options.settings(images=next(filter(Path.is_file, beside), None), shell=part.shell)
    BuildImages(settings.images, settings.max_images, settings.seed).check(ModelWrapper(source))
    reservation = Reservation(settings.reserve, settings.loadable)
    reservation.check()
    try:
        cfg = DataflowBuildConfig.from_dict(config)
    except Exception as error:
        raise UserError(f"FINN rejects the build config: {str(error).splitlines()[0]}") from None
    steps = all_steps(cfg)
    names = list(map(step_name, steps))
    _check_range(cfg, names)
    _check_export(folder, cfg.stop_step, names)
    folding = cfg.folding_config_file
    if folding is not None or (cfg.start_step is None and settings.dealt not in (None, "auto")):
        hardware = flat_hardware(ModelWrapper(source), cfg).hardware
        if reservation.loads and folding is not None:
            hardware, _ = reservation.networks(hardware, cfg)
        hardware = in_engines(hardware, settings, "" if folding is None else shared_in(read_folding_file(folding)))
        if folding is not None:
            check_folding_file(folding, hardware, part)
    with build_in(folder.path, _recorded(model, source, config, settings, names), names) as results:
        results.admit(cfg.start_step, [path.resolve() for path in (*files, *filter(None, (model, settings.images, folding)))])
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


def _check_output(path: Path) -> None:
    if is_foreign(path):
        raise UserError(f"output folder {path} is not empty and does not hold a build of this version; give a new one")


def _config(options: BuildOptions) -> dict[str, Any]:
    """FINN's config: the YAML, then what the user gave."""
    path = options.config or (EXAMPLE / "build.yaml" if options.model is None else DEFAULT_CONFIG)
    config = read_yaml(path, "build config")
    if not isinstance(config, dict) or not config.get("steps"):
        raise UserError(f"build config {path} has no `steps`; see {DEFAULT_CONFIG.name} of finn_vitprune.builds")
    if options.config is None and options.model is not None:
        del config["target_fps"]  # FINN alone needs one; here the folding fills the part
    steps, last = config["steps"], {}
    if options.estimate_only:
        names = set(map(step_name, steps))
        last["stop_step"] = next((step for step in ESTIMATE_STEPS if step in names), ESTIMATE_STEPS[-1])
    elif finn_setup.vivado_on_path() and "step_create_stitched_ip" not in steps:
        steps = [*steps, *VIVADO_STEPS]
    if options.export is not None:
        steps = _with_export(steps, EXPORT_STEPS[options.export])
    found = config | {"steps": steps} | options.finn_config | last
    if not found.get("fpga_part"):
        raise UserError("no FPGA part given; use --fpga-part, for example --fpga-part xcu250-figd2104-2L-e")
    return found


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


def _check_export(folder: BuildFolder, stop_step: str | None, steps: list[str]) -> None:
    """That the build comes to its export, and that nothing of others is in its place."""
    for export, step in EXPORT_STEPS.items():
        if (name := step_name(step)) in steps:
            if stop_step is not None and steps.index(stop_step) < steps.index(name):
                raise UserError(
                    f"--export {export} is for a build that is verified, and this one stops after {stop_step}: leave one of them out"
                )
            refuse_foreign(folder.vivado)


def _recorded(
    model: Path, source: ModelProto, config: dict[str, object], settings: BuildSettings, steps: list[str]
) -> dict[str, JsonValue]:
    """The options that results depend on. Of a file its name and contents count."""
    left_out = ("start_step", "stop_step", "inject_steps_before", "inject_steps_after")
    found = {
        "finn_vitprune": __version__,
        "model": f"{model.name} (SHA-256 {hashlib.sha256(source.SerializeToString()).hexdigest()[:16]})",
        **{name: value for name, value in config.items() if name not in left_out},
        **settings.recorded,
        "steps": steps,
    }
    if settings.images is not None and settings.images.is_dir():
        contents = "".join(
            f"{os.path.relpath(os.fsdecode(f), settings.images)} {sha256(os.fsdecode(f))}\n" for f in image_files(settings.images)
        )
        found["images"] = f"{settings.images.name} (SHA-256 {hashlib.sha256(os.fsencode(contents)).hexdigest()[:16]})"
    return json.loads(json.dumps({name: file_options(value) for name, value in found.items() if value is not None}, default=str))


def _complete_summary(folder: BuildFolder) -> None:
    """FINN writes its step times when all steps are done: take them into the summary."""
    times = folder.step_times.load()
    if (folder.path / FILE).is_file() and times is not None:
        summary = Summary.read(folder.path / FILE)  # the record gets its digest when the build is over
        summary.model_copy(update={"time_s": times}).save(folder.path)
