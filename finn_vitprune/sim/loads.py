"""What goes through the port of a design, or the load chain of a unit, before the first frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from finn_vitprune.sim import bus
from finn_vitprune.sim.contents import CHAIN, INDEX, Contents


def read_loads(folder: Path) -> dict[str, np.ndarray]:
    """By port, as :meth:`.run.Simulator.run` takes it; empty for a folder in which nothing is loaded.

    Raises:
        UserError: the contents in ``folder`` are damaged.
    """
    return loads(Contents.load(folder)) if (folder / INDEX).is_file() else {}


def loads(contents: Contents) -> dict[str, np.ndarray]:
    """The same of ``contents``: the steps of a whole load at a design's port, the words alone at a unit's chain."""
    return {contents.port: contents.data if contents.port == CHAIN else bus.load(contents.words)}
