"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from finn_vitprune.errors import UserError
from finn_vitprune.options.base import Option
from finn_vitprune.synth.budget import AnyBudget, Budget


def _budget(value: Any) -> Any:
    return Budget.parse(value) if isinstance(value, str) else value


BudgetOption = Annotated[
    AnyBudget,
    BeforeValidator(_budget),
    Field(description="The plan may use these shares of the part, as LUT=0.7,DSP=0.85; of an ECP5 as COMB=0.8,MULT18=1,EBR=1,FF=0.8."),
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
