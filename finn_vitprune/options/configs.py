"""Configurations by name: those that come with the package, where no file of that path is there."""

from __future__ import annotations

from enum import Enum
from importlib.util import find_spec
from pathlib import Path

from finn_vitprune.errors import UserError
from finn_vitprune.files import read_yaml


class ConfigKind(Enum):
    """What a configuration is for: its words in messages."""

    TRAIN = "training config"
    SWEEP = "sweep"
    BUILD = "build config"


def bundled(kind: ConfigKind) -> dict[str, Path]:
    """The configurations of the package by name."""
    folder = Path(find_spec("finn_vitprune.builds").origin).parent  # without FINN, which an import of the package loads
    found = {path.stem: path for path in sorted((folder if kind is ConfigKind.BUILD else folder / "train").glob("*.yaml"))}
    if kind is ConfigKind.BUILD:
        return found
    return {name: path for name, path in found.items() if name.endswith("_sweep") == (kind is ConfigKind.SWEEP)}


def config_file(text: str, kind: ConfigKind) -> Path:
    """The file that ``text`` means: the one of that path where it exists, else the bundled one of that name.

    Raises:
        UserError: there is neither; the text lists the names.
    """
    path, named = Path(text), bundled(kind)
    if path.is_file():
        return path
    if (found := named.get(text)) is not None:
        return found
    what = "is a folder, a file is needed" if path.is_dir() else "no such file"
    raise UserError(f"{kind.value} {text}: {what}, and none of these names: {', '.join(named)}")


def step_names(config: Path | None) -> list[str]:
    """Steps of a build config, by the names that FINN knows them by; None: the bundled one. Nothing of a config that has none.

    Raises:
        UserError: the file cannot be read.
    """
    found = read_yaml(config or bundled(ConfigKind.BUILD)["dataflow"], ConfigKind.BUILD.value)
    steps = found.get("steps") if isinstance(found, dict) else None
    return [str(step).rpartition(".")[2] for step in steps] if isinstance(steps, list) else []
