"""Values of options that several commands take."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Optional

import typer

from finn_vitprune.errors import UserError
from finn_vitprune.pruning.choices import Share


def share(text: str) -> Share:
    """A kept share, the exact decimal as written."""
    try:
        return Share(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        if 0 < (value := float(text)) < math.inf:
            return value
    except ValueError:
        pass
    raise typer.BadParameter(f"{text}: use a number above 0")


def bits(text: str) -> tuple[int, int]:
    """Bits of weights and of activations: ``4/8``, or ``8`` for both."""
    weights, slash, activations = text.strip().partition("/")
    try:
        found = int(weights), int(activations if slash else weights)
    except ValueError:
        found = 0, 0
    if min(found) < 1:
        raise UserError(f"--bits {text}: use numbers of bits, or weights/activations, as 4/8")
    return found


class Ints(tuple[int, ...]):
    """Whole numbers with commas between them; empty text gives none."""

    item: type = int
    example = "3,7,10"

    @classmethod
    def parse(cls, text: str) -> Ints:
        """The numbers in ``text``."""
        try:
            return cls(map(cls.item, text.split(","))) if text.strip() else cls()
        except ValueError:
            raise typer.BadParameter(f"{text}: expected numbers with commas, for example {cls.example}") from None


class Floats(Ints):
    """Numbers with commas between them."""

    item = float
    example = "0.485,0.456,0.406"


Jobs = Annotated[int, typer.Option(min=1, help="Jobs at a time, in processes of their own.")]
PartResources = Annotated[Optional[Path], typer.Option(metavar="FILE", help="JSON or YAML with the resources of other parts.")]
Budget = Annotated[
    Optional[str], typer.Option(metavar="SHARES", help="Shares of the part that may be used, as LUT=0.7,DSP=0.85,BRAM=0.8,URAM=0.85.")
]
Shell = Annotated[str, typer.Option(help="What else is on the part: none or xdma (figures and sources in docs/slrs.md).")]
"""Options of commands that plan."""
Scheduler = Annotated[
    Optional[str], typer.Option(metavar="ADDRESS", help="Run the jobs on the Dask cluster of this scheduler, as tcp://head:8786 (docs/cluster.md).")
]
