"""What a unit is made of, in numbers that no family of parts decides: its logic in parts, its products, its memories.

A family (:mod:`.family`) says what each takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from finn_vitprune.custom_ops.op.memory import UnitMemory


@dataclass(frozen=True)
class ProductGroup:
    """``count`` multipliers of ``a`` by ``b`` bits, signs included; those of fixed contents are none."""

    count: int
    a: int
    b: int


@dataclass(frozen=True)
class UnitParts:
    """A unit.

    Attributes:
        kind: a row of the tables of costs. parts: amounts of its logic by names that the row has.
        products, memories: of the unit. units: in it, where it consists of some.
    """

    kind: str
    parts: tuple[tuple[str, float], ...] = ()
    products: tuple[ProductGroup, ...] = ()
    memories: tuple[UnitMemory, ...] = ()
    units: tuple[UnitParts, ...] = ()

    @classmethod
    def of(
        cls,
        kind: str,
        parts: Mapping[str, float],
        products: tuple[ProductGroup, ...] = (),
        memories: tuple[UnitMemory, ...] = (),
        units: tuple[UnitParts, ...] = (),
    ) -> UnitParts:
        """With amounts by part."""
        return cls(kind, tuple(parts.items()), products, memories, units)


def requant_products(lanes: int, acc_bits: int, mult_bits: int) -> tuple[ProductGroup, ...]:
    """Those of the lanes of a ``vp_requant``, whose accumulators are cut by ``vp_multiply``."""
    cut = 17 if mult_bits > 17 else 26
    parts = -(-(acc_bits - 1) // cut)
    whole = (ProductGroup(lanes * (parts - 1), cut + 1, mult_bits + 1),) if parts > 1 else ()
    return *whole, ProductGroup(lanes, acc_bits - (parts - 1) * cut, mult_bits + 1)
