"""Load images beside a unit's sources: 32-bit words to write through its AXI4-Lite ports before the first frame.

``axilite.json`` names the file of each port; a file holds one hexadecimal word a line (FINN's ``.dat`` format
of weights that are written at run time), word i for byte address 4 i.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from finn_vitprune.files import write_json, write_text

INDEX = "axilite.json"


def write_image(path: Path, words: np.ndarray) -> None:
    """Write uint32 ``words`` to a ``.dat`` file."""
    write_text(path, "".join(f"{int(w):08x}\n" for w in words))


def read_image(path: Path) -> np.ndarray:
    """The words of a ``.dat`` file, uint32."""
    return np.array([int(line, 16) for line in path.read_text().split()], dtype=np.uint32)


def write_index(folder: Path, files: Mapping[str, str]) -> None:
    """Write which file of ``folder`` belongs to which port."""
    write_json(folder / INDEX, dict(files), indent=1)


def read_index(folder: Path) -> dict[str, str]:
    """File name by port name; empty for a folder without load images."""
    path = folder / INDEX
    return json.loads(path.read_text()) if path.is_file() else {}


def read_loads(folder: Path) -> dict[str, np.ndarray]:
    """The words for every port of the design in ``folder``."""
    return {port: read_image(folder / name) for port, name in read_index(folder).items()}
