"""The options of ``evaluate``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from finn_vitprune.errors import UserError
from finn_vitprune.files import output_path
from finn_vitprune.options.base import Option, Options
from finn_vitprune.options.shared import Jobs
from finn_vitprune.options.texts import Floats


class EvaluateOptions(Options):
    """What to evaluate on, and with what beside it."""

    COMMAND: ClassVar[str] = "evaluate"
    GROUPS: ClassVar[Mapping[str, str]] = {
        "What is evaluated, on what": "target data classes max_images seed skip_damaged",
        "What is beside it": "reference mean std contents",
        "Output and jobs": "html jobs",
    }

    target: Annotated[Path, Option(place=True, metavar="MODEL_OR_BUILD"), Field(description="The QONNX model, or the folder of a build.")]
    data: Annotated[
        str, Option(metavar="DATA"),
        Field(description="The images, and their labels: imagefolder:PATH (PATH/val/CLASS/FILE or PATH/CLASS/FILE), csv:FILE (lines of file,label), "
                          "npz:FILE (`images`, uint8 [frames, H, W, C], and `labels`, integers [frames]), digits, fashion-mnist."),
    ]  # fmt: skip
    reference: Annotated[
        Path | None, Option(flag="--float", keyword="reference", metavar="FILE.onnx", file=True),
        Field(description="The float network is evaluated beside: its accuracy, and where answers differ."),
    ] = None  # fmt: skip
    contents: Annotated[
        Path | None, Option(metavar="FILE", file=True),
        Field(description="Of a build, the network of this file of `contents` is evaluated in place of its own."),
    ] = None  # fmt: skip
    classes: Annotated[
        Path | None, Option(metavar="FILE", file=True),
        Field(description="A JSON file maps names of classes in the data to the network's numbers."),
    ] = None  # fmt: skip
    max_images: Annotated[
        int | None, Field(ge=1, description="Draws this many of the images, each class in its share; without it all are taken.")
    ] = None
    seed: Annotated[int, Field(ge=0, description="The seed of --max-images.")] = 0
    skip_damaged: Annotated[bool, Field(description="Leaves out images that cannot be read, and names them.")] = False
    mean: Annotated[
        tuple[float, ...] | None, Option(parse=Floats, metavar="NUMBERS"),
        Field(description="The float network takes this mean of pixels / 255."),
    ] = None  # fmt: skip
    std: Annotated[
        tuple[float, ...] | None, Option(parse=Floats, metavar="NUMBERS"),
        Field(description="The deviation to --mean; without both the data's own are taken."),
    ] = None  # fmt: skip
    jobs: Jobs = os.cpu_count() or 1
    html: Annotated[
        Path | None, Option(metavar="FILE", matters=False),
        Field(description="Writes one self-contained page, too, with the worst images."),
    ] = None  # fmt: skip

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.contents is not None and not self.target.is_dir():
            raise UserError(f"--contents is for a build, {self.target} is not a folder: leave it out, or give the folder of the build")
        if self.html is not None and output_path(self.html).is_dir():
            raise UserError(f"{self.html} is a folder: give a file for the page")
        if self.reference is None and (self.mean is not None or self.std is not None):
            raise UserError("--mean and --std are for the float network: give it with --float, or leave them out")
        if (self.mean is None) != (self.std is None):
            raise UserError("--mean and --std go together: give both, or neither")
        return self
