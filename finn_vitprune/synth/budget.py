"""Shares of a part that a plan may use."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from finn_vitprune.errors import UserError

Share = Annotated[float, Field(gt=0, le=1)]


class Budget(BaseModel):
    """Shares of a part's resources that a plan may use; placing and routing need the rest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    LUT: Share = 0.7
    DSP: Share = 0.8
    BRAM: Share = 0.8
    URAM: Share = 0.8

    def __str__(self) -> str:
        """As :meth:`parse` and ``--budget`` take it."""
        return ",".join(f"{kind}={share:g}" for kind, share in self)

    @classmethod
    def parse(cls, text: str) -> Self:
        """``LUT=0.7,DSP=0.85``: those that are not named keep their default.

        Raises:
            UserError: a name is unknown or a share is none.
        """
        shares = {}
        for entry in filter(None, (entry.strip() for entry in text.split(","))):
            name, equals, value = (part.strip() for part in entry.partition("="))
            name = name.upper()
            if not equals or name not in cls.model_fields:
                raise UserError(f"budget {entry}: use a resource and a share, such as {cls()}")
            try:
                shares[name] = float(value)
            except ValueError:
                raise UserError(f"budget {entry}: {value} is not a number; use a share above 0 and up to 1") from None
            if not 0 < shares[name] <= 1:
                raise UserError(f"budget {entry}: use a share above 0 and up to 1")
        return cls(**shares)
