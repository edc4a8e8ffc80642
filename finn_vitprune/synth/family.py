"""Families of parts: what their resources are called, and what of them a plan counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PartFamily:
    """A family, as plans and reports see it.

    Attributes:
        name: as :class:`.Part` has it.
        kinds: what a plan counts: logic, multipliers, block RAM in units of 18 Kbit, and a further resource.
        shown: what the resources of :class:`.Resources` are called: LUT, FF, DSP, BRAM36 and URAM; nothing where there are none.
        ram18: whether block RAM is counted in units of 18 Kbit, not of 36.
        mac, ram: MAC implementations of matrix units, and places of memories, that a plan may choose.
    """

    name: str
    kinds: tuple[str, str, str, str]
    shown: tuple[str, str, str, str, str]
    ram18: bool
    mac: tuple[str, ...]
    ram: tuple[str, ...]

    @property
    def ram_kinds(self) -> tuple[int, ...]:
        """Places of RAM in ``kinds``."""
        return (2, 3) if "ultra" in self.ram else (2,)

    @property
    def names(self) -> dict[str, str]:
        """``shown`` by the names of :class:`.Resources`."""
        return dict(zip(("LUT", "FF", "DSP", "BRAM36", "URAM"), self.shown))

    def amount(self, resource: str, amount: float) -> float:
        """An amount of :class:`.Resources` as it is shown."""
        return 2 * amount if resource == "BRAM36" and self.ram18 else amount


ULTRASCALE = PartFamily(
    "UltraScale+", ("LUT", "DSP", "BRAM", "URAM"), ("LUT", "FF", "DSP", "BRAM36", "URAM"), False, ("dsp48e2", "lut"),
    ("distributed", "block", "ultra"),
)  # fmt: skip
ECP5 = PartFamily(
    "ECP5", ("COMB", "MULT18", "EBR", "FF"), ("COMB", "FF", "MULT18", "EBR", ""), True, ("portable", "lut"), ("distributed", "block")
)
"""Lattice ECP5: a TRELLIS_COMB is a LUT of four inputs."""


def family_named(name: str) -> PartFamily:
    """How parts of a family are planned: those of AMD all as UltraScale+."""
    return ECP5 if name == ECP5.name else ULTRASCALE
