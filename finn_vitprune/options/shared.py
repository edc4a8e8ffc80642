"""Options that several commands take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from finn_vitprune.errors import UserError
from finn_vitprune.options.base import Option
from finn_vitprune.synth.budget import BARE, CARD, LATTICE, Budget, Share


def _budget(value: Any) -> Any:
    return Budget.parse(value) if isinstance(value, str) else value


def said(shares: Mapping[str, Share]) -> str:
    """In words that a narrow terminal breaks."""
    return ", ".join(f"{kind} {share:g}" for kind, share in shares.items())


BudgetOption = Annotated[
    Budget,
    BeforeValidator(_budget),
    Field(
        description="The plan may use these shares of the part, as LUT=0.75,DSP=0.85. What is not said is "
        f"{said(BARE)}; on a card with its shell {said(CARD)}; on an ECP5 {said(LATTICE)}."
    ),
    Option(metavar="SHARES", text=True, first="step_fold"),
]
ShellOption = Annotated[
    str | None,
    Field(
        description="This is on the part, too: none or xdma. Without it a card by its name, as U250, has xdma, and a part by its number none (docs/slrs.md)."
    ),
    Option(first="step_fold"),
]
PartResources = Annotated[
    Path | None,
    Field(description="A JSON or YAML file has the resources of other parts."),
    Option(metavar="FILE", file=True, first="step_fold"),
]
Jobs = Annotated[int, Field(ge=1, description="This many jobs run at a time, in processes of their own."), Option(matters=False)]


def known(flag: str, *names: str) -> BeforeValidator:
    """Refuses a text that is none of ``names``, with a text that has them."""

    def check(value: Any) -> Any:
        if isinstance(value, str) and value not in names:
            raise UserError(f"{flag} {value} is unknown: use {', '.join(names)}")
        return value

    return BeforeValidator(check)
