"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from finn_vitprune.errors import UserError
from finn_vitprune.options.base import Option
from finn_vitprune.synth.budget import Budget


def _budget(value: Any) -> Any:
    return Budget.parse(value) if isinstance(value, str) else value


BudgetOption = Annotated[
    Budget,
    BeforeValidator(_budget),
    Field(description="Shares of the part that may be used, as LUT=0.7,DSP=0.85,BRAM=0.8,URAM=0.85."),
    Option(metavar="SHARES", text=True, first="step_fold"),
]
ShellOption = Annotated[
    str, Field(description="What else is on the part: none or xdma (figures and sources in docs/slrs.md)."), Option(first="step_fold")
]
PartResources = Annotated[
    Path | None, Field(description="JSON or YAML with the resources of other parts."), Option(metavar="FILE", file=True, first="step_fold")
]
Jobs = Annotated[int, Field(ge=1, description="Jobs at a time, in processes of their own."), Option(matters=False)]


def known(flag: str, *names: str) -> BeforeValidator:
    """Refuses a text that is none of ``names``, with a text that has them."""

    def check(value: Any) -> Any:
        if isinstance(value, str) and value not in names:
            raise UserError(f"{flag} {value} is unknown: use {', '.join(names)}")
        return value

    return BeforeValidator(check)
