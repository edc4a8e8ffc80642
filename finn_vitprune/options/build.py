"""The options of ``build``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args
from zipfile import is_zipfile

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from finn_vitprune.errors import UserError
from finn_vitprune.files import output_path
from finn_vitprune.options.base import Option, Options
from finn_vitprune.options.configs import ConfigKind, config_file, step_names
from finn_vitprune.options.shared import BudgetOption, Jobs, PartResources, ShellOption, known
from finn_vitprune.synth.boards import DEFAULT_NS, board_named, boards
from finn_vitprune.synth.budget import Budget, shares_for
from finn_vitprune.synth.family import ULTRASCALE
from finn_vitprune.synth.grid_data import dies_on
from finn_vitprune.synth.parts import NO_SHELL, Part, get_part, shell_table

Simulation = Literal["auto", "whole", "units"]
"""The design in one piece, unit by unit, or what its size says."""
Synth = Literal["nodes", "none"]
"""What Yosys synthesises: every node, or nothing."""
FrameCheck = Literal["frame", "transfer"]
"""Where the source raises TLAST: in the last beat of every frame, or in that of a transfer of some frames."""
Goal = Literal["throughput", "latency"]
"""The shortest interval of images, or the shortest latency of one."""
Export = Literal["vivado"]
"""For whom the build is exported."""
MacStyle = Literal["portable", "dsp48e2", "lut"]
"""MAC implementations."""
DENSE = "dense"
"""Room for the dense network."""
NPZ = "give one with `images`, uint8 [frames, H, W, C], and `labels` if there are some, as numpy.savez writes it (`import` writes one, too), or a folder of image files"
"""What a file of images holds, or what else there may be."""
VIVADO_STEPS = (
    "step_hw_ipgen",
    "step_create_stitched_ip",
    "step_out_of_context_synthesis",
    "step_synthesize_bitfile",
    "step_make_driver",
    "step_deployment_package",
)
"""FINN's own steps that follow where ``vivado`` is on PATH."""


def _engines(value: Any) -> Any:
    """A number of engines, or auto."""
    if not isinstance(value, str) or value == "auto":
        return value
    if not value.isdecimal() or int(value) < 1:
        raise UserError(f"--engines {value}: use a number of 1 or more, or auto")
    return int(value)


def _counts(value: Any) -> Any:
    """``3,4,3,2`` as numbers."""
    if not isinstance(value, str):
        return (value,) if isinstance(value, int) else value
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise UserError(f"--encoders-per-engine {value}: use numbers with commas between them, as in 3,4,3,2") from None


def _config(value: Any) -> Any:
    """A file, or the name of one of the package."""
    return config_file(str(value), ConfigKind.BUILD) if isinstance(value, str | Path) else value


def _reserved(value: Any) -> Any:
    """Models, and the room that a design has besides: a share, or :data:`DENSE`."""
    return tuple(map(_model_or_room, value)) if isinstance(value, list | tuple) else value


def _model_or_room(value: Any) -> Any:
    if not isinstance(value, str) or value == DENSE:
        return value
    try:
        share = None if Path(value).is_file() else float(value)
    except ValueError:
        share = None
    if share is not None and not 0 < share < inf:
        raise UserError(f"--reserve {value}: use a share above 0, as 0.2, or dense")
    return Path(value) if share is None else share


class BuildRequest(Options):
    """What is built, where, and how far; the rest of a build's options are its settings.

    What is None leaves the config's value.
    """

    model: Annotated[
        Path | None,
        Option(place=True, metavar="MODEL.onnx", file=True),
        Field(description="The QONNX model to build; without it the bundled example is built."),
    ] = None
    output_dir: Annotated[
        Path,
        Option(flag="--output", short="-o", keyword="to", key="output_dir", first="step_hw_codegen"),
        Field(description="The folder of the build. A second build there goes on where the first one stopped."),
    ]
    fpga_part: Annotated[
        str | None,
        Option(keyword="part", key="fpga_part", first="step_specialize_layers"),
        Field(description="The part (xcu250-figd2104-2L-e) or board (ZCU104); `doctor --parts` lists them. Without it the config decides."),
    ] = None
    board: Annotated[
        str | None,
        Option(first="step_specialize_layers"),
        Field(
            description="The ECP5 board (ulx3s-85f) or part (LFE5U-45F) of `bitstream`, in place of --fpga-part; the clock is then 80 MHz where --clk-ns does not say otherwise (docs/board.md)."
        ),
    ] = None
    config: Annotated[
        Path | None, BeforeValidator(_config),
        Option(metavar="FILE|NAME", text=True, file=True),
        Field(description="FINN's build config (YAML), or the name of one of the package. Options here override it."),
    ] = None  # fmt: skip
    clk_ns: Annotated[
        float | None, Option(key="synth_clk_period_ns", first="step_fold"),
        Field(ge=0.1, allow_inf_nan=False, description="The clock period in ns; without it the config decides (4)."),
    ] = None  # fmt: skip
    target_fps: Annotated[
        int | None,
        Option(key="target_fps", first="step_fold"),
        Field(ge=1, description="The plan reaches this many images/s with as little as possible; without it the plan fills the part."),
    ] = None
    folding: Annotated[
        Path | None, Option(key="folding_config_file", file=True, first="step_fold"),
        Field(description="Nothing is planned: this folding config (JSON, FINN's format) decides."),
    ] = None  # fmt: skip
    estimate_only: Annotated[bool, Field(description="Stops after the estimates: cycles, resources, whether the design fits.")] = False
    start_step: Annotated[
        str | None,
        Option(key="start_step"),
        Field(description="Begins at this step, with the results of the steps before; their names are those of --stop-step."),
    ] = None
    stop_step: Annotated[
        str | None,
        Option(key="stop_step"),
        Field(
            description="Stops after this step: step_tidy_up, step_lower, step_create_dataflow_partition, step_specialize_layers, step_fold, step_apply_folding_config, step_insert_streams, step_generate_estimate_reports, step_check_part, step_hw_codegen, step_stitch, step_simulate, step_synthesise or step_summarise."
        ),
    ] = None
    export: Annotated[
        Export | None,
        Field(
            description="Once all is verified, a folder for Vivado is written, too: sources, contents, Tcl, a host example (docs/vivado.md)."
        ),
    ] = None


class BuildSettings(Options):
    """What the steps of a build read beyond FINN's own config.

    FINN's ``DataflowBuildConfig`` rejects unknown keys, so these travel in ``<output_dir>/vitprune.json``. A build started with
    FINN's ``build_dataflow_cfg`` alone has no such file and gets the defaults.
    """

    mac_style: Annotated[
        MacStyle | None, known("--mac-style", *get_args(MacStyle)), Option(text=True, first="step_fold"),
        Field(description="All matrix units multiply so: portable (inferred), dsp48e2 (cascades) or lut; without it the plan chooses."),
    ] = None  # fmt: skip
    engines: Annotated[
        Annotated[int, Field(ge=1)] | Literal["auto"] | None, BeforeValidator(_engines), Option(text=True, first="step_fold"),
        Field(description="This many engines run the encoders one after another; auto takes as many as serve the goal. Without it every encoder has hardware of its own."),
    ] = None  # fmt: skip
    encoders_per_engine: Annotated[
        tuple[int, ...] | None, BeforeValidator(_counts), Option(text=True, first="step_fold"),
        Field(description="Each engine runs this many encoders, as in 3,4,3,2; it stands in place of --engines."),
    ] = None  # fmt: skip
    frames_in_flight: Annotated[
        int | None, Option(first="step_fold"),
        Field(ge=1, description="An engine of several encoders works on this many images at once; with engines the default is 1."),
    ] = None  # fmt: skip
    goal: Annotated[
        Goal, Option(first="step_fold"),
        Field(description="A plan with engines looks for this: many images/s, or a short time for one, with --target-fps at no fewer images/s than that."),
    ] = "throughput"  # fmt: skip
    loadable: Annotated[
        bool, Option(first="step_fold"),
        Field(description="All contents come through the load port, so that the design serves other networks of its sizes."),
    ] = False  # fmt: skip
    reserve: Annotated[
        tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["dense"] | Path, ...], BeforeValidator(_reserved),
        Option(metavar="MODEL|SHARE|dense", many=True, file=True, first="step_fold"),
        Field(description="The design serves this model, too, or networks that keep this share more, as 0.2, or all of them (dense). It may be given "
                          "again, and the design is loadable then."),
    ] = ()  # fmt: skip
    frame_check: Annotated[
        FrameCheck | None, Option(first="step_insert_streams"),
        Field(description="Frames whose beats do not add up are counted (docs/loading.md): the input has TLAST in the last beat of every frame, "
                          "or of a transfer of frames."),
    ] = None  # fmt: skip
    budget: BudgetOption = Budget()
    shell: ShellOption = None
    images: Annotated[
        Path | None,
        Option(file=True, folder=True, first="step_lower"),
        Field(
            description="The images to verify with: a folder of image files, or an .npz file with `images`, uint8 [frames, H, W, C], and if there are `labels`, integers [frames]. Without it MODEL.npz beside the model, else random images."
        ),
    ] = None
    max_images: Annotated[
        int | None,
        Option(first="step_lower"),
        Field(ge=1, description="Verifies with this many of the images, drawn with --seed; without it with all."),
    ] = None
    lowering_images: Annotated[
        int, Option(typed=False, first="step_lower"), Field(ge=1, description="The lowering is checked node by node on this many images.")
    ] = 8
    traced_images: Annotated[
        int, Option(typed=False, first="step_simulate"), Field(ge=1, description="Every internal stream is compared for this many images.")
    ] = 4
    stalled_images: Annotated[
        int,
        Option(typed=False, first="step_simulate"),
        Field(ge=1, description="This many images run again with random pauses and stalls."),
    ] = 24
    simulation: Annotated[
        Simulation, Option(first="step_simulate"),
        Field(description="Simulates the design in one piece (whole), unit by unit (units), or as its size says (auto)."),
    ] = "auto"  # fmt: skip
    synth: Annotated[
        Synth, Option(first="step_check_part"),
        Field(description="Yosys synthesises every node, or nothing. For an ECP5 it is nothing: `bitstream` maps the design."),
    ] = "nodes"  # fmt: skip
    places: Annotated[
        bool,
        Option(first="step_check_part"),
        Field(
            description="Every unit gets a place on the columns of the part (docs/places.md): timing with distance, a floor plan, and Pblocks with --export."
        ),
    ] = False
    link_registers: Annotated[
        Literal["taken", "high"] | None, known("--link-registers", "taken", "high"),
        Option(metavar="SET", first="step_insert_streams"),
        Field(
            description="Streams whose way is too long for the clock by the taken or the high constants of wires get registers (docs/places.md); with --places."
        ),
    ] = None  # fmt: skip
    part_resources: PartResources = None
    jobs: Jobs = 2
    seed: Annotated[int, Option(first="step_lower"), Field(ge=0, description="The seed of random and drawn images, pauses and stalls.")] = 0

    @model_validator(mode="after")
    def _of_one_plan(self) -> Self:
        """Nothing is asked for that another option makes void."""
        counts = self.encoders_per_engine
        said = ",".join(map(str, counts or ()))
        if counts is not None and min(counts, default=0) < 1:
            raise UserError(f"--encoders-per-engine {said}: use numbers of 1 or more, as in 3,4,3,2")
        if counts is not None and self.engines is not None:
            raise UserError(f"--engines {self.engines} and --encoders-per-engine {said}: give one of the two")
        if self.dealt is None and self.frames_in_flight is not None:
            raise UserError(f"--frames-in-flight {self.frames_in_flight} is for engines: add --engines auto, or a number, or leave it out")
        if self.dealt is None and self.goal == "latency":
            raise UserError("--goal latency is for a plan with engines: add --engines auto, or a number")
        return self

    @model_validator(mode="after")
    def _of_one_room(self) -> Self:
        """How much room there is is said once."""
        rooms = [value for value in self.reserve if not isinstance(value, Path)]
        if len(rooms) > 1:
            raise UserError(f"--reserve {' and '.join(map(str, rooms))}: say the room once, as a share or as dense")
        return self

    @property
    def recorded(self) -> dict[str, Any]:
        """What of them results depend on, where it is said, by the names that records have."""
        said = {field.key: getattr(self, field.name) for field in self.fields() if field.option.matters}
        return {key: value for key, value in said.items() if value is not None and value is not False and value != ()}

    @property
    def dealt(self) -> int | tuple[int, ...] | Literal["auto"] | None:
        """How encoders are dealt to engines: the encoders of each, where they are given, else ``engines``."""
        return self.encoders_per_engine or self.engines


class BuildOptions(BuildSettings, BuildRequest):
    """Everything that a user may say to ``build``."""

    COMMAND: ClassVar[str] = "build"
    GROUPS: ClassVar[Mapping[str, str]] = {
        "What is built, and for what": "model to part board config part_resources shell",
        "The plan": "target_fps clk_ns engines encoders_per_engine frames_in_flight goal budget mac_style folding",
        "Other networks on the same design": "loadable reserve frame_check",
        "Images and checks": "images max_images seed simulation synth places link_registers",
        "How far": "estimate_only stop_step start_step export jobs",
    }

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if (output := output_path(self.output_dir)).is_file():
            raise UserError(f"output {output} is a file: give a folder")
        if self.images is not None and self.images.is_file() and not is_zipfile(self.images):
            raise UserError(f"--images {self.images} is not an .npz file: {NPZ}")
        if self.images is not None and self.images.is_dir() and output.is_relative_to(self.images.resolve()):
            raise UserError(
                f"output {output} is in the folder of --images {self.images}, so the build would be among its images: give another one"
            )
        if self.shell is not None and self.shell not in (names := (NO_SHELL, *shell_table())):
            raise UserError(f"--shell {self.shell} is unknown: use {' or '.join(names)}")
        self._check_steps()
        if self.link_registers is not None and not self.places:
            raise UserError("--link-registers is for units with places: add --places")
        if self.board is not None and self.fpga_part is not None:
            raise UserError(f"--board {self.board} and --fpga-part {self.fpga_part}: give one of the two")
        if self.board is not None:
            board_named(self.board)
        wanted = self.fpga_part if self.board is None else self.board
        if wanted is not None and (self.part_resources is None or self.part_resources.is_file()):
            self._check_part(get_part(wanted, self.part_resources).with_shell(self.shell))
        return self

    def _check_part(self, part: Part) -> None:
        """That the part has what the other options ask for."""
        family = part.planned_as
        shares_for(part, self.budget)
        if family == ULTRASCALE:
            if self.places:
                dies_on(part)
            return
        if self.mac_style is not None and self.mac_style not in family.mac:
            raise UserError(f"--mac-style {self.mac_style} is not possible on {part.name}: use {' or '.join(family.mac)}")
        asked = {"--frame-check": self.frame_check, "--places": self.places, "--export": self.export}
        for flag in (flag for flag, value in asked.items() if value):
            raise UserError(f"{flag} is not possible on {part.name}, an {family.name}: leave it out, or give a part of AMD")

    def _check_steps(self) -> None:
        """That a step where the build begins or ends is one of its config, or of those that may follow."""
        for flag, step in (("--start-step", self.start_step), ("--stop-step", self.stop_step)):
            if step is not None and (self.config is None or self.config.is_file()):
                known = [*step_names(self.config), *(f"step_export_{export}" for export in get_args(Export)), *VIVADO_STEPS]
                if step not in known:
                    near = difflib.get_close_matches(step, known, n=1)
                    raise UserError(
                        f"{flag} {step} is unknown: " + (f"did you mean {near[0]}?" if near else f"steps are {', '.join(known)}")
                    )

    def settings(self, images: Path | None = None, shell: str | None = None) -> BuildSettings:
        """What steps read of them, files with their full paths; ``images`` where none are given, the ``shell`` of the part as it is."""
        chosen: dict[str, Any] = {name: getattr(self, name) for name in BuildSettings.model_fields}
        chosen |= {"images": self.images or images, "shell": None if shell == NO_SHELL else shell}
        chosen["reserve"] = tuple(value.resolve() if isinstance(value, Path) else value for value in self.reserve)
        return BuildSettings(**{name: value.resolve() if isinstance(value, Path) else value for name, value in chosen.items()})

    @property
    def finn_config(self) -> dict[str, Any]:
        """What they say of FINN's build config, by its keys; files with their full paths."""
        given = {
            field.option.key: value for field in self.fields() if field.option.key and (value := getattr(self, field.name)) is not None
        }
        wanted = self.fpga_part if self.board is None else self.board
        if wanted is not None and wanted.lower() in map(str.lower, boards()):
            given = {"synth_clk_period_ns": DEFAULT_NS} | given | {"fpga_part": wanted}
        return {key: str(value.resolve()) if isinstance(value, Path) else value for key, value in given.items()}


def engines_text(given: Mapping[str, JsonValue]) -> str:
    """What a record says of engines, in words; empty where there are none."""
    engines = given.get("engines") or given.get("encoders_per_engine")
    return f"{engines}, {given.get('frames_in_flight') or 1} in flight, for {given.get('goal')}" if engines else ""
