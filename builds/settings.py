"""What our build steps need beyond FINN's own config: a small JSON file beside the build's outputs.

FINN's ``DataflowBuildConfig`` rejects unknown keys, so these travel in ``<output_dir>/vitprune.json``.
A build started with FINN's ``build_dataflow_cfg`` alone has no such file and gets the defaults.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from finn_vitprune.errors import UserError
from finn_vitprune.synth.budget import Budget
from finn_vitprune.synth.parts import NO_SHELL

Simulation = Literal["auto", "whole", "units"]
"""The design in one piece, unit by unit, or what its size says."""

Synth = Literal["nodes", "none"]
"""What Yosys synthesises: every node, or nothing."""


DENSE = "dense"
"""Room for the dense network."""
Goal = Literal["throughput", "latency"]
"""The shortest interval of images, or the shortest latency of one."""


class BuildSettings(BaseModel):
    """Settings of this project's build steps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: Path | None = Field(None, description="npz with `images` [F,H,W,C] uint8, optionally `labels` [F] (or [F,1]), `logits`")
    max_images: int | None = Field(None, ge=1, description="verify with so many of the images, drawn with `seed`")
    lowering_images: int = Field(8, ge=1, description="images of the node-by-node check of the lowering")
    traced_images: int = Field(4, ge=1, description="images for which every internal stream is compared")
    stalled_images: int = Field(24, ge=1, description="images run again with random pauses and stalls")
    simulation: Simulation = "auto"
    synth: Synth = "nodes"
    mac_style: str | None = Field(
        None, description="MAC implementation of all matrix units, where the folding file names none; None: the plan chooses"
    )
    engines: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
        None, description="engines that the encoders are dealt to; auto: as the goal wants; None: hardware for every encoder"
    )
    encoders_per_engine: tuple[int, ...] | None = Field(None, description="encoders of each engine, in place of `engines`")
    frames_in_flight: int | None = Field(
        None, ge=1, description="images that an engine of several encoders works on at once; None: one, or with `engines` auto as the goal wants"
    )
    loadable: bool = Field(False, description="all contents come through the load port, so that the design serves other networks of its sizes")
    reserve: tuple[Path, ...] = Field((), description="models that the design is made for, too; it is loadable then")
    room: Annotated[float, Field(gt=0)] | Literal["dense"] | None = Field(
        None, description="share of tokens, heads, neurons and blocks more than the model keeps that the design is made for; dense: all; it is loadable then"
    )
    goal: Goal = Field("throughput", description="what a plan with engines and without a target looks for")
    budget: Budget = Field(Budget(), description="shares of the part that a plan may use")
    shell: str = Field(NO_SHELL, description="what else is on the part: none, or a shell of the table")
    part_resources: Path | None = Field(None, description="JSON or YAML with the resources of other parts")
    jobs: int = Field(2, ge=1, validation_alias=AliasChoices("jobs", "workers"), description="processes of synthesis and of simulation unit by unit at a time")
    seed: int = 0

    @model_validator(mode="after")
    def _of_one_plan(self) -> Self:
        """Nothing is asked for that another option makes void."""
        counts = self.encoders_per_engine
        said = ",".join(map(str, counts or ()))
        if counts is not None and min(counts, default=0) < 1:
            raise UserError(f"encoders per engine {said}: use numbers of 1 or more, as in 3,4,3,2")
        if counts is not None and self.engines is not None:
            raise UserError(f"engines {self.engines} and encoders per engine {said}: give one of the two")
        if self.dealt is None and self.frames_in_flight is not None:
            raise UserError(f"frames in flight {self.frames_in_flight} are for engines: add --engines auto, or a number, or leave them out")
        if self.dealt is None and self.goal == "latency":
            raise UserError("goal latency is for a plan with engines: add --engines auto, or a number")
        return self

    @property
    def loads_networks(self) -> bool:
        """Whether the design can be loaded with whole networks."""
        return self.loadable or bool(self.reserve) or self.room is not None

    @property
    def dealt(self) -> int | tuple[int, ...] | Literal["auto"] | None:
        """How encoders are dealt to engines: the encoders of each, where they are given, else ``engines``."""
        return self.encoders_per_engine or self.engines
