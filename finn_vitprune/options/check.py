"""The options of ``check``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from finn_vitprune.options.base import Option, Options
from finn_vitprune.options.shared import BudgetOption, PartResources, ShellOption
from finn_vitprune.synth.budget import Budget


class CheckOptions(Options):
    """Of which file it is said what becomes of it, and what part it must fit."""

    COMMAND: ClassVar[str] = "check"
    GROUPS: ClassVar[Mapping[str, str]] = {"The file": "model nodes", "A part that it must fit": "part budget shell part_resources"}

    model: Annotated[Path, Option(place=True, metavar="MODEL", file=True), Field(description="The ONNX file: float, QDQ or QONNX.")]
    fpga_part: Annotated[
        str | None, Option(keyword="part", metavar="PART"),
        Field(description="A QONNX file must fit this part or board; of other files the weights are compared with it."),
    ] = None  # fmt: skip
    budget: BudgetOption = Budget()
    shell: ShellOption = None
    part_resources: PartResources = None
    nodes: Annotated[bool, Field(description="Prints a row a node, not a row a part of the network.")] = False
