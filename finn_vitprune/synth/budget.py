"""Shares of a part that a plan may use."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from finn_vitprune.errors import UserError
from finn_vitprune.synth.family import ECP5
from finn_vitprune.synth.parts import NO_SHELL, Part

Share = Annotated[float, Field(gt=0, le=1)]

BARE: Mapping[str, Share] = MappingProxyType({"LUT": 0.7, "DSP": 0.8, "BRAM": 0.8, "URAM": 0.8})
"""Of a part of AMD."""
CARD: Mapping[str, Share] = MappingProxyType({"LUT": 0.8, "DSP": 0.8, "BRAM": 0.7, "URAM": 0.6})
"""Of what a shell leaves: DSP, BRAM and URAM have a mean of :data:`SHELL_MEAN`."""
SHELL_MEAN = 0.7
"""Share of DSP, BRAM and URAM of what a shell leaves, on average, up to which FINN takes a build on a card to close."""
SHELL_FF = 0.5
"""The same of flip-flops."""
MEAN, MEAN_OF = "MEAN", ("DSP", "BRAM", "URAM")
"""In a budget, the most that the shares of these are on average, of the whole part."""
FF_PER_LUT = 1.35
"""Flip-flops that Yosys counts for a LUT: 1.348 in DeiT-Small at 8 bits, 1.331 at 4. Some of them become registers of DSP slices."""
LATTICE: Mapping[str, Share] = MappingProxyType({"COMB": 0.8, "MULT18": 1.0, "EBR": 0.95, "FF": 0.8})
"""Of an ECP5, whose multipliers and block RAM are counted exactly; the serial link takes one or two of the latter."""


class Budget(BaseModel):
    """Shares of a part's resources that a plan may use, those that are given; placing and routing need the rest.

    :func:`shares_for` has the others, which depend on the part. ``MEAN``: the most that DSP, BRAM and URAM take on average
    (:func:`mean_for`). ``FF`` of a part of AMD: no plan estimates flip-flops, so it limits LUTs, with :data:`FF_PER_LUT` of them each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    LUT: Share | None = None
    DSP: Share | None = None
    BRAM: Share | None = None
    URAM: Share | None = None
    COMB: Share | None = None
    MULT18: Share | None = None
    EBR: Share | None = None
    FF: Share | None = None
    MEAN: Share | None = None

    @property
    def given(self) -> dict[str, Share]:
        """The shares that are said."""
        return {kind: share for kind, share in self if share is not None}

    def __str__(self) -> str:
        """As :meth:`parse` and ``--budget`` take it."""
        return text_of(self.given)

    @staticmethod
    def parse(text: str) -> Budget:
        """``LUT=0.7,DSP=0.85``, or ``COMB=0.8`` of an ECP5.

        Raises:
            UserError: a name is unknown, names are of two families, or a share is none.
        """
        shares = {}
        for entry in filter(None, (entry.strip() for entry in text.split(","))):
            name, equals, value = (part.strip() for part in entry.partition("="))
            name = name.upper()
            if not equals or name not in Budget.model_fields:
                raise UserError(f"budget {entry}: use a resource and a share, such as {text_of(BARE)}")
            try:
                shares[name] = float(value)
            except ValueError:
                raise UserError(f"budget {entry}: {value} is not a number; use a share above 0 and up to 1") from None
            if not 0 < shares[name] <= 1:
                raise UserError(f"budget {entry}: use a share above 0 and up to 1")
        if not any(own >= shares.keys() for own in (_AMD, LATTICE.keys())):
            raise UserError(f"budget {text}: its resources are of two families; use {text_of(BARE)}, or {text_of(LATTICE)} of an ECP5")
        return Budget(**shares)


def text_of(shares: Mapping[str, Share]) -> str:
    """As :meth:`Budget.parse` takes it."""
    return ",".join(f"{kind}={share:g}" for kind, share in shares.items())


_AMD = {*BARE, "FF", MEAN}
"""What a budget of a part of AMD may name."""


def shares_for(part: Part, budget: Budget) -> dict[str, Share]:
    """What a plan may use of each resource of a part, in the order of its family; defaults where ``budget`` says nothing.

    Of LUTs, what it says of flip-flops allows.

    Raises:
        UserError: it names resources of another family.
    """
    family = part.planned_as
    defaults = LATTICE if family == ECP5 else BARE if part.shell == NO_SHELL else CARD
    if not budget.given.keys() <= (defaults.keys() if family == ECP5 else _AMD):
        raise UserError(f"--budget {budget}: parts of {family.name} have other resources; use {text_of(defaults)}")
    shares = dict(defaults) | {kind: share for kind, share in budget.given.items() if kind in defaults}
    if family != ECP5 and budget.FF is not None:
        shares["LUT"] = min(shares["LUT"], budget.FF / flip_flops_of(part, 1.0))
    return shares


def mean_for(part: Part, budget: Budget) -> Share:
    """The most that a plan may use of DSP, BRAM and URAM of a part on average; 1 where nothing is said."""
    if budget.MEAN is not None:
        return budget.MEAN
    return 1.0 if part.planned_as == ECP5 or part.shell == NO_SHELL else SHELL_MEAN


def flip_flops_of(part: Part, luts: float) -> float:
    """The share of a part's flip-flops that comes with this share of its LUTs, by :data:`FF_PER_LUT`."""
    return luts * FF_PER_LUT * part.LUT / max(part.FF, 1)
