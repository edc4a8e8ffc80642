"""``--set key=value`` of the command line, applied to a nested configuration."""

from __future__ import annotations

from collections.abc import Sequence

from finn_vitprune.errors import UserError


def apply(content: dict, changes: Sequence[str]) -> dict:
    """A copy of ``content`` with ``a.b=value`` changes; values are read as YAML (numbers, lists, words).

    Raises:
        UserError: a change that is not KEY=VALUE, or whose key runs through a value.
    """
    import copy

    import yaml

    result = copy.deepcopy(content)
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or not all(key.split(".")):
            raise UserError(f"--set {change}: expected KEY=VALUE, for example --set prune.block_keep=0.4")
        *parents, last = key.split(".")
        section = result
        for name in parents:
            section = section.setdefault(name, {})
            if not isinstance(section, dict):
                raise UserError(f"--set {change}: {name} is a value, not a section")
        section[last] = yaml.safe_load(text)
    return result
