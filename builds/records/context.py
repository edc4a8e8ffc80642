"""What the steps of one build share: its folder, settings, part, images and the parent model, each read once."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from finn.builder.build_dataflow_config import DataflowBuildConfig
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.images import BuildImages, Images, input_shape, output_classes
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.built.record import step_name
from finn_vitprune.options.build import BuildSettings
from finn_vitprune.synth.family import ULTRASCALE
from finn_vitprune.synth.parts import Part, get_part
from finn_vitprune.transforms.planning.plan_options import PlanOptions


class BuildContext:
    """Lives as long as FINN's config object of the build, so that no build sees another's."""

    def __init__(self, cfg: DataflowBuildConfig) -> None:
        self.cfg = cfg
        self.folder = BuildFolder(Path(cfg.output_dir).resolve())
        self._images: Images | None = None

    @classmethod
    def of(cls, cfg: DataflowBuildConfig) -> BuildContext:
        """The context that goes with ``cfg``; the first step that asks makes it."""
        if "_vitprune" not in vars(cfg):
            cfg._vitprune = cls(cfg)
        return cfg._vitprune

    @cached_property
    def settings(self) -> BuildSettings:
        """The settings of the folder, or the defaults."""
        return self.folder.settings.load() or BuildSettings()

    @property
    def simulates(self) -> bool:
        """Whether the build goes on to the simulation of its images."""
        steps = list(map(step_name, self.cfg.steps or ()))
        last = self.cfg.stop_step
        return "step_simulate" in (steps[: steps.index(last) + 1] if last in steps else steps)

    def model_before(self, step: str) -> Path:
        """Where FINN keeps the model that the step takes; no such file where the step is the first, or the folder has none."""
        steps = list(map(step_name, self.cfg.steps or ()))
        before = steps[steps.index(step) - 1] if step in steps[1:] else "none"
        return self.folder.intermediate_models / f"{before}.onnx"

    @cached_property
    def part(self) -> Part:
        """The FPGA, as its shell leaves it."""
        name = self.cfg.fpga_part or self.cfg.board or self.cfg._resolve_fpga_part()
        return get_part(name, self.settings.part_resources).with_shell(self.settings.shell)

    @property
    def synthesises(self) -> bool:
        """Whether Yosys counts the nodes: of an ECP5 ``bitstream`` maps the design as a whole."""
        return self.settings.synth != "none" and self.part.planned_as == ULTRASCALE

    @cached_property
    def plan_options(self) -> PlanOptions:
        """What the settings say of a plan."""
        return PlanOptions(goal=self.settings.goal, budget=self.settings.budget, mac_style=self.settings.mac_style)

    @cached_property
    def parent(self) -> ModelWrapper:
        """The graph around the accelerator; there once FINN has made the partition."""
        return ModelWrapper(str(self.folder.parent))

    def images(self, model: ModelWrapper) -> Images:
        """The images to verify with, in the shape that ``model``, QONNX or parent, takes."""
        if self._images is None:
            source = BuildImages(self.settings.images, self.settings.max_images, self.settings.seed)
            self._images = source.load(input_shape(model), output_classes(model))
        return self._images
