"""The files of columns and wires, and the parts whose columns they have; without NumPy, so that options can be checked at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources

from finn_vitprune.errors import UserError
from finn_vitprune.synth.parts import Part


def content(name: str) -> dict:
    """What ``grids.json`` or ``wires.json`` holds."""
    return json.loads(resources.files("finn_vitprune.synth").joinpath(name).read_text())


@lru_cache(maxsize=1)
def die_names() -> dict[str, Sequence[str]]:
    """The names of the dies of each device, from SLR0 on."""
    return {device: row["dies"] for row in content("grids.json")["parts"] for device in row["devices"]}


def dies_on(part: Part) -> Sequence[str]:
    """The names of the dies of a part, from SLR0 on.

    Raises:
        UserError: the columns of the part are not known.
    """
    if (names := die_names().get(part.device)) is None:
        raise UserError(
            f"places of units are not possible on {part.name}: the columns of its die are not known; they are of {', '.join(sorted(die_names()))}"
        )
    return names
