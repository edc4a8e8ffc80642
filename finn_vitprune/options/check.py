"""The options of ``check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from finn_vitprune.options.base import Option, Options
from finn_vitprune.options.shared import BudgetOption, PartResources, ShellOption
from finn_vitprune.synth.budget import Budget
from finn_vitprune.synth.parts import NO_SHELL


class CheckOptions(Options):
    """Of which file it is said what becomes of it, and what part it must fit."""

    COMMAND: ClassVar[str] = "check"

    model: Annotated[Path, Option(place=True, metavar="MODEL", file=True), Field(description="ONNX file: float, QDQ or QONNX.")]
    fpga_part: Annotated[
        str | None, Option(keyword="part", metavar="PART"),
        Field(description="Part or board that a QONNX file must fit; of other files the weights are compared."),
    ] = None  # fmt: skip
    budget: BudgetOption = Budget()
    shell: ShellOption = NO_SHELL
    part_resources: PartResources = None
    nodes: Annotated[bool, Field(description="A row per node, not per part.")] = False
