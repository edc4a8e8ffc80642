"""Names that options had before: they work for one release more, with a note, and stand in no help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


def _always(_: str | None) -> bool:
    return True


def _a_value(following: str | None) -> bool:
    """Whether the option was given a value, which it has no longer."""
    return following is not None and not following.startswith("-")


def _no_kind_of_synthesis(following: str | None) -> bool:
    """Whether --synth is the flag that it was in ``explore``."""
    return following not in ("nodes", "none")


@dataclass(frozen=True)
class Renamed:
    """What is written now (words of a command line), and whether the old meaning is meant, by the word that follows."""

    now: str
    meant: Callable[[str | None], bool] = _always


RENAMED: dict[str, dict[str, Renamed]] = {
    "train": {"--dataset": Renamed("--data")},
    "sweep": {"--results": Renamed("--json-file")},
    "import": {
        "--recover-epochs": Renamed("--fine-tune-epochs"), "--mlp-keep": Renamed("--neuron-keep"), "--dataset": Renamed("--data"),
    },
    "check": {"--all": Renamed("--nodes")},
    "complexity": {"--mlp-keep": Renamed("--neuron-keep")},
    "build": {"--workers": Renamed("--jobs"), "--mac-body": Renamed("--mac-style")},
    "explore": {
        "--parts": Renamed("--fpga-part"), "--workers": Renamed("--jobs"), "--synth": Renamed("--synth nodes", _no_kind_of_synthesis),
    },
    "simulate": {"--input": Renamed("--images")},
    "picture": {"--images": Renamed("--max-images")},
    "bench-units": {
        "--json": Renamed("--json-file", _a_value), "--block": Renamed("--block-size"), "--keep": Renamed("--block-keep"),
        "--part": Renamed("--measure"), "--mac-body": Renamed("--mac-style"),
    },
}  # fmt: skip
"""By command and old name. A name that another command still has keeps its meaning there."""


def in_present_words(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments with old names replaced by the present ones, and a note for each name."""
    command = next((place for place, argument in enumerate(arguments) if not argument.startswith("-")), len(arguments))
    old = RENAMED.get("".join(arguments[command : command + 1]), {})
    result, notes = list(arguments[: command + 1]), []
    rest = arguments[command + 1 :]
    for place, argument in enumerate(rest):
        if argument == "--":
            return [*result, *rest[place:]], notes
        option, equals, value = argument.partition("=")
        following = value if equals else "".join(rest[place + 1 : place + 2]) or None
        found = old.get(option)
        if found is None or not found.meant(following):
            result.append(argument)
            continue
        notes.append(f"{option} is now {found.now}; the old name works for one release more")
        result += f"{found.now}{equals}{value}".split(" ", found.now.count(" "))
    return result, list(dict.fromkeys(notes))
