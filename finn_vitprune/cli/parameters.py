"""Parameters of a command made of the model of its options, as typer takes them from a signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, get_args, get_origin

import typer
from pydantic import BaseModel

from finn_vitprune.options.base import Given, Options, word_of


def with_options(command: Callable[..., None], options: type[Options]) -> Callable[..., None]:
    """``command``, whose first parameter is an object of ``options``, with a parameter for each option and then its own others."""
    own = list(inspect.signature(command, eval_str=True, locals={options.__name__: options}).parameters.values())[1:]
    fields = {field.keyword: field for field in options.fields() if field.option.typed}
    places = {keyword: heading for heading, words in options.GROUPS.items() for keyword in words.split()}
    parameters = [_parameter(fields[keyword], heading) for keyword, heading in places.items()]
    parameters += [_parameter(field, None) for keyword, field in fields.items() if keyword not in places]

    def called(**given: object) -> None:
        kept = {parameter.name: given.pop(parameter.name) for parameter in own}
        chosen = options.of_parameters(given)
        chosen.files()
        command(chosen, **kept)

    others = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    called.__signature__ = inspect.Signature([*parameters, *others])
    called.__doc__ = command.__doc__
    return called


def _parameter(field: Given, group: str | None) -> inspect.Parameter:
    kind, default = _kind(field), inspect.Parameter.empty if field.info.is_required() else _default(field)
    if default is None:
        kind = Optional[kind]
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, _typer_of(field, group)]
    )


def _typer_of(field: Given, group: str | None) -> Any:
    """The declaration: flags, help, group. What the word means, and whether it is possible, says the model alone."""
    option, info = field.option, field.info
    given: dict[str, Any] = {"help": info.description, "metavar": _metavar(field), "rich_help_panel": group}
    if option.place:
        return typer.Argument(**given)
    flag = field.flag
    if field.kind is bool:
        flag = f"{flag}/--no-{flag.removeprefix('--')}" if info.default else flag
    if words := _known_words(field):
        given["autocompletion"] = lambda: words
    return typer.Option(*([option.short] if option.short else []), flag, **given)


def _known_words(field: Given) -> list[str]:
    """All words that an option takes; nothing where they cannot be listed."""
    kind = field.kind
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(member.value) for member in kind]
    return list(map(str, get_args(kind))) if get_origin(kind) is Literal else []


def _metavar(field: Given) -> str | None:
    """What the help calls the value."""
    if field.option.metavar or field.kind is bool:
        return field.option.metavar
    if words := _known_words(field):
        return "|".join(words)
    return {int: "NUMBER", float: "NUMBER", Path: "PATH"}.get(field.kind, "TEXT")


def _kind(field: Given) -> Any:
    """What typer reads the words as: flags and files; all others stay words."""
    if field.option.many:
        return list[Path] if field.option.place else list[str]
    return field.kind if field.kind in (bool, Path) and not field.option.text else str


def _default(field: Given) -> Any:
    """The value where nothing is said, as a word."""
    default = field.info.get_default(call_default_factory=True)
    if default in (None, ()) or isinstance(default, BaseModel):
        return None
    return default if isinstance(default, bool | Path) else word_of(default)
