"""Shares of a part that a plan may use."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from finn_vitprune.errors import UserError
from finn_vitprune.synth.family import ECP5, ULTRASCALE, PartFamily

Share = Annotated[float, Field(gt=0, le=1)]


class _Shares(BaseModel):
    """Shares of resources, by the names of a family of parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __str__(self) -> str:
        """As :meth:`Budget.parse` and ``--budget`` take it."""
        return ",".join(f"{kind}={share:g}" for kind, share in self)


class Budget(_Shares):
    """Shares of a part's resources that a plan may use; placing and routing need the rest."""

    FAMILY: ClassVar[PartFamily] = ULTRASCALE

    LUT: Share = 0.7
    DSP: Share = 0.8
    BRAM: Share = 0.8
    URAM: Share = 0.8

    @staticmethod
    def parse(text: str) -> AnyBudget:
        """``LUT=0.7,DSP=0.85``, or ``COMB=0.8`` of an ECP5: those that are not named keep their default.

        Raises:
            UserError: a name is unknown, names are of two families, or a share is none.
        """
        shares = {}
        for entry in filter(None, (entry.strip() for entry in text.split(","))):
            name, equals, value = (part.strip() for part in entry.partition("="))
            name = name.upper()
            if not equals or not any(name in budget.model_fields for budget in BUDGETS):
                raise UserError(f"budget {entry}: use a resource and a share, such as {Budget()}")
            try:
                shares[name] = float(value)
            except ValueError:
                raise UserError(f"budget {entry}: {value} is not a number; use a share above 0 and up to 1") from None
            if not 0 < shares[name] <= 1:
                raise UserError(f"budget {entry}: use a share above 0 and up to 1")
        found = [budget for budget in BUDGETS if budget.model_fields.keys() >= shares.keys()]
        if not found:
            raise UserError(f"budget {text}: its resources are of two families; use {Budget()}, or {Ecp5Budget()} of an ECP5")
        return found[0](**shares)


class Ecp5Budget(_Shares):
    """The same of an ECP5, whose multipliers and block RAM are counted exactly; the serial link takes one or two of the latter."""

    FAMILY: ClassVar[PartFamily] = ECP5

    COMB: Share = 0.8
    MULT18: Share = 1.0
    EBR: Share = 0.95
    FF: Share = 0.8


AnyBudget = Budget | Ecp5Budget
BUDGETS: tuple[type[Budget], type[Ecp5Budget]] = (Budget, Ecp5Budget)


def budget_for(family: PartFamily, budget: AnyBudget) -> AnyBudget:
    """A budget for a part of a family: that of the family where none was given.

    Raises:
        UserError: it names resources of another family.
    """
    if family == budget.FAMILY:
        return budget
    own = next(kind() for kind in BUDGETS if family == kind.FAMILY)
    if budget != type(budget)():
        raise UserError(f"--budget {budget}: parts of {family.name} have other resources; use {own}")
    return own
