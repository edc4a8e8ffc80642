"""What FPGA parts offer: a table with sources, board names, and the user's own parts.

``parts.json`` holds one row per part with the AMD document its numbers are from, and what each die (super logic
region, SLR) has, where that is known. Package, speed and temperature grade do not change the resources, so a part is
found by its device (``xcu250`` of ``xcu250-figd2104-2L-e``). ``shells.json`` holds what a shell (the platform of an
accelerator card) leaves of each SLR, with what its source says.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path

from finn_vitprune.errors import UserError
from finn_vitprune.files import read_yaml
from finn_vitprune.synth.boards import Ecp5Part, boards, source
from finn_vitprune.synth.family import ECP5, ULTRASCALE, PartFamily, family_named
from finn_vitprune.synth.resources import Resources, total

KINDS = ("LUT", "FF", "DSP", "BRAM36", "URAM")
"""Resources that a part is judged by."""

NO_SHELL = "none"
"""The shell of a part that holds nothing but the accelerator."""
CARD_SHELL = "xdma"
"""The shell of an accelerator card."""

_PACKAGE = re.compile(r"[a-z]{4}[0-9]{3,4}$")


@dataclass(frozen=True)
class Shortfall:
    """A resource of which a part has less than is needed."""

    resource: str
    need: float
    has: int

    def __str__(self) -> str:
        return f"{self.need:,g} of {self.has:,} {self.resource}"


@dataclass(frozen=True)
class Part:
    """An FPGA: name as FINN and Vivado write it, device, family, resources of the whole part.

    ``source`` is the document the numbers are from; ``slrs`` the number of super logic regions; ``dies`` what each of
    them has, from SLR0 on, empty where that is not known; ``dies_source`` how it is known. ``shell``: what else is on
    the part; the resources are then those that it leaves. ``board``: of which it is the part, where it was asked for so.
    """

    name: str
    device: str
    family: str
    LUT: int
    FF: int
    DSP: int
    BRAM36: int
    URAM: int
    slrs: int = 1
    source: str = ""
    dies: tuple[Resources, ...] = ()
    dies_source: str = ""
    shell: str = NO_SHELL
    board: str = ""

    @property
    def whole(self) -> Resources:
        """What the whole part has."""
        return Resources(**{kind: getattr(self, kind) for kind in KINDS})

    def slr_offers(self, shell: str = NO_SHELL) -> tuple[Resources, ...]:
        """What each SLR has for the accelerator, from SLR0 on.

        A part of which only the total is known is one region: nothing is known that a division could keep to.

        Raises:
            UserError: there are no figures of ``shell`` for this part.
        """
        return self.with_shell(shell).dies or (self.whole,)

    def offer(self, shell: str = NO_SHELL) -> Resources:
        """What the part has for the accelerator: the sum of :meth:`slr_offers`."""
        return total(self.slr_offers(shell))

    def with_shell(self, shell: str | None) -> Part:
        """The part with what ``shell`` leaves of it; itself for "none". None: the shell that a card has, where the part is that of one.

        Raises:
            UserError: there are no figures of ``shell`` for this part.
        """
        rows = shell_table()
        if shell is None:
            shell = CARD_SHELL if self.board and self.device in rows[CARD_SHELL] else NO_SHELL
        if shell in (NO_SHELL, self.shell):
            return self
        if shell not in rows:
            raise UserError(f"unknown shell {shell}: use {', '.join([NO_SHELL, *rows])}")
        if (row := rows[shell].get(self.device)) is None:
            known = ", ".join(rows[shell])
            raise UserError(f"there are no figures of the shell {shell} on {self.name}: use {NO_SHELL}, or one of {known}")
        left = total(row.left)
        return replace(
            self, LUT=left.LUT, FF=left.FF, DSP=left.DSP, BRAM36=int(left.BRAM36), URAM=left.URAM,
            dies=row.left, dies_source=row.source, shell=shell,
        )  # fmt: skip

    @property
    def note(self) -> str:
        """What a reader must know about numbers mapped for this part; empty when nothing."""
        if self.planned_as == ECP5:
            return "estimated for an ECP5: LUT are its COMB, DSP its MULT18, a BRAM36 two of its EBR; `bitstream` maps, places and routes"
        return "" if self.family == "UltraScale+" else f"mapped for UltraScale+ primitives, the part is {self.family}"

    @property
    def planned_as(self) -> PartFamily:
        """The family as which plans and estimates take it."""
        return family_named(self.family)

    def lacks(self, used: Resources) -> tuple[Shortfall, ...]:
        """The resources that are used beyond what the part has; empty where the design fits."""
        amounts = ((kind, getattr(used, kind), getattr(self, kind)) for kind in KINDS)
        family = self.planned_as
        return tuple(
            Shortfall(family.names[kind] or kind, family.amount(kind, need), int(family.amount(kind, has)))
            for kind, need, has in amounts if need > has
        )  # fmt: skip


@dataclass(frozen=True)
class ShellRow:
    """What a shell leaves of each SLR of one device, from SLR0 on, and what ``source`` says of it."""

    left: tuple[Resources, ...]
    source: str


@dataclass(frozen=True)
class PartFit:
    """Resources beside a part. ``method``: who counted them; ``help``: what would help where they do not fit."""

    part: Part
    used: Resources
    method: str
    help: tuple[str, ...] = ()

    @property
    def short(self) -> tuple[Shortfall, ...]:
        """What the part has too little of."""
        return self.part.lacks(self.used)

    @property
    def text(self) -> str:
        """The answer no, in one line."""
        return no_text(self.part.name, self.short, self.method, self.help)


def get_part(name: str, resources_file: str | Path | None = None) -> Part:
    """The part of a name: Vivado's part name, a device alone, or a board name that FINN knows.

    Args:
        name: for example ``xcu250-figd2104-2L-e``, ``xczu7ev`` or ``ZCU104`` (any case).
        resources_file: JSON or YAML, part name (or device) to its resources:
            ``{"xcvu23p-vsva1365-2-e": {"LUT": ..., "FF": ..., "DSP": ..., "BRAM36": ..., "URAM": ...}}``,
            optionally ``slrs``, ``dies`` (what each SLR has, in the same form) and ``family``. Its parts come
            before the table.
    Raises:
        UserError: unknown name (near ones are suggested), or a file that cannot be used.
    """
    own = _read_resources_file(Path(resources_file)) if resources_file is not None else {}
    board = {b.lower(): p for b, p in board_parts().items()}
    full = name if name.lower().startswith("xc") or name.lower() in own else board.get(name.lower(), name)
    for key in (full.lower(), full.lower().split("-")[0]):
        if key in own:
            return _own_part(full, own[key], str(resources_file))
    if (device := _device(full.lower())) is not None:
        return Part(name=full, board="" if full == name else name, **part_table()[device])
    if (ecp5 := {name.lower(): found.part for name, found in boards().items()}.get(full.lower())) is not None:
        return _ecp5_part(ecp5)
    raise UserError(_unknown(name, full, own))


def _ecp5_part(part: Ecp5Part) -> Part:
    """What plans know of an ECP5."""
    return Part(part.name, part.name.lower(), ECP5.name, part.COMB, part.FF, part.MULT18, part.EBR // 2, 0, source=source())


def known_part(name: str) -> Part | None:
    """The part of a name, None for one that is not in the table."""
    try:
        return get_part(name)
    except UserError:
        return None


def no_text(part: str, short: Sequence[Shortfall], method: str, help: Sequence[str]) -> str:
    """That a design does not fit, in one line: each resource with need and capacity, who counted, what would help."""
    return "; ".join([f"does not fit {part}: needs {', '.join(map(str, short))} ({method})", *help])


def smallest_part(used: Resources, family: PartFamily = ULTRASCALE) -> str | None:
    """The device of the table with the fewest LUTs that has all of ``used``; None where no part of the family has."""
    return next((part.name for part in _plannable(family) if not part.lacks(used)), None)


def larger_parts(part: Part) -> list[Part]:
    """Devices of the table, UltraScale+ or as the part an ECP5, with at least as much of everything, and more LUTs, the smallest first."""
    return [p for p in _plannable(part.planned_as) if p.LUT > part.LUT and not p.lacks(part.whole)]


def family_of(name: str) -> PartFamily:
    """As which family plans take the part of a name, known or not."""
    return ECP5 if name.lower() in map(str.lower, boards()) else ULTRASCALE


def _plannable(family: PartFamily) -> list[Part]:
    """The devices of a family, the smallest first."""
    if family == ECP5:
        found = [_ecp5_part(board.part) for name, board in boards().items() if name == board.part.name]
    else:
        found = [Part(name=device, **row) for device, row in part_table().items() if row["family"] == family.name]
    return sorted(found, key=lambda part: part.LUT)


def board_parts() -> dict[str, str]:
    """Board name to part name, as FINN has them."""
    from finn.util.basic import part_map

    return dict(part_map)


@lru_cache(maxsize=1)
def part_table() -> dict[str, dict]:
    """Device to what :class:`Part` holds of it besides the name."""
    content = json.loads(resources.files("finn_vitprune.synth").joinpath("parts.json").read_text())
    return {
        device: {"device": device, "dies": _dies(row.get("dies", []))} | {k: v for k, v in row.items() if k not in ("devices", "dies")}
        for row in content["parts"]
        for device in row["devices"]
    }


@lru_cache(maxsize=1)
def shell_table() -> dict[str, dict[str, ShellRow]]:
    """What is left of a device, by shell and device."""
    content = json.loads(resources.files("finn_vitprune.synth").joinpath("shells.json").read_text())
    return {
        shell: {device: ShellRow(_dies(row["left"]), row["source"]) for device, row in rows.items()}
        for shell, rows in content["shells"].items()
    }


def _dies(rows: Sequence[dict[str, int]]) -> tuple[Resources, ...]:
    return tuple(Resources(**row) for row in rows)


def _device(name: str) -> str | None:
    """The device of a part name, with a dash before the package (UltraScale) or none (older spelling)."""
    head = name.split("-", maxsplit=1)[0]
    return next((device for device in (head, _PACKAGE.sub("", head)) if device in part_table()), None)


def _unknown(name: str, full: str, own: dict[str, dict]) -> str:
    names = {n.lower(): n for n in [*board_parts(), *board_parts().values(), *sorted(part_table()), *boards(), *own]}
    head = full.lower().split("-")[0]
    near = [names[n] for n in difflib.get_close_matches(full.lower(), names, n=2, cutoff=0.6)]
    near += [names[n] for n in difflib.get_close_matches(head, names, n=3, cutoff=0.7) if names[n] not in near]
    hint = f"did you mean {', '.join(near[:4])}? " if near else ""
    if full.lower().startswith("xc7"):
        hint = "7-series parts are not supported (DSP48E2 and UltraScale RAM are needed). "
    if not hint:
        hint = f"boards are {', '.join(board for board, part in board_parts().items() if known_part(part))}; "
    what = f"unknown part {name}" if full == name else f"unknown part {full} of board {name}"
    return f"{what}: {hint}`finn-vitprune doctor --parts` lists all parts; build and check take others with --part-resources FILE"


def _read_resources_file(path: Path) -> dict[str, dict]:
    content = read_yaml(path, "part resources")  # JSON is YAML
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise UserError(f'part resources {path}: expected {{"PART": {{"LUT": ..., "FF": ..., ...}}}}')
    return {str(name).lower(): values for name, values in content.items()}


def _own_part(name: str, values: dict, path: str) -> Part:
    where = f"part resources {path}, part {name}"
    _check_amounts(where, {"slrs": 1} | values, ("slrs", "dies", "family", "source"), (*KINDS, "slrs"))
    dies = values.get("dies", [])
    if not isinstance(dies, list) or not all(isinstance(die, dict) for die in dies):
        raise UserError(f"{where}: dies must be a list of the resources of each SLR")
    for i, die in enumerate(dies):
        _check_amounts(f"{where}, SLR {i}", die)
    slrs = values.get("slrs", len(dies) or 1)
    if dies and len(dies) != slrs:
        raise UserError(f"{where}: slrs is {slrs}, but dies has {len(dies)}")
    for kind in KINDS if dies else ():
        if (found := sum(die[kind] for die in dies)) != values[kind]:
            raise UserError(f"{where}: the dies have {found} {kind} together, the part {values[kind]}")
    defaults = {"family": "UltraScale+", "source": path}
    own = {"slrs": slrs, "dies": _dies(dies), "dies_source": path if dies else ""}
    return Part(name=name, device=name.lower().split("-")[0], **(defaults | values | own))


def _check_amounts(where: str, values: dict, others: Sequence[str] = (), numbers: Sequence[str] = KINDS) -> None:
    """Raise a UserError unless ``values`` has all resources, no key beside ``others``, and whole ``numbers``."""
    missing = [k for k in KINDS if k not in values]
    extra = sorted(set(values) - {*KINDS, *others})
    if missing or extra:
        problem = f"{', '.join(missing)} missing" if missing else f"unknown key {', '.join(extra)}"
        raise UserError(f"{where}: {problem}; keys are {', '.join([*KINDS, *others])}")
    for key in numbers:
        value = values[key]
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise UserError(f"{where}: {key} is {value!r}, a whole number is needed")
