"""Parameters of a command made of the model of its options, as typer takes them from a signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from finn_vitprune.cli import params
from finn_vitprune.options.base import Given, Options, plain, word_of

AS_TYPED = (str, int, float, bool, Path)
"""Types that typer makes of a word itself."""


def with_options(command: Callable[..., None], options: type[Options]) -> Callable[..., None]:
    """``command``, whose first parameter is an object of ``options``, with a parameter for each option and then its own others."""
    own = list(inspect.signature(command, eval_str=True, locals={options.__name__: options}).parameters.values())[1:]
    parameters = [_parameter(field) for field in options.fields() if field.option.typed]

    def called(**given: object) -> None:
        kept = {parameter.name: given.pop(parameter.name) for parameter in own}
        chosen = options.of_parameters(given)
        chosen.files()
        command(chosen, **kept)

    others = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    called.__signature__ = inspect.Signature([*parameters, *others])
    called.__doc__ = command.__doc__
    return called


def _parameter(field: Given) -> inspect.Parameter:
    kind, default = _kind(field), inspect.Parameter.empty if field.info.is_required() else _default(field)
    if default is None:
        kind = Optional[kind]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, _typer_of(field)])


def _typer_of(field: Given) -> Any:
    """The declaration: flags, help, limits, how the word is read."""
    option, info = field.option, field.info
    limits = {name: limit for name, limit in (("min", _limit(info, "ge")), ("max", _limit(info, "le"))) if limit is not None}
    parser = None if option.parse is None else params.parser(option.parse)
    given: dict[str, Any] = {"help": info.description, "metavar": option.metavar, "parser": parser, **limits}
    if option.place:
        return typer.Argument(**given)
    flag = field.flag
    if field.kind is bool:
        flag = f"{flag}/--no-{flag.removeprefix('--')}" if info.default else flag
    return typer.Option(*([option.short] if option.short else []), flag, **given)


def _kind(field: Given) -> Any:
    """What typer reads the words as; those that the model itself takes stay texts."""
    kind, option = field.kind, field.option
    if option.many:
        return list[plain(get_args(kind)[0]) if option.place else str]
    if option.parse is not None:
        return option.parse
    if option.text:
        return str
    if get_origin(kind) is Literal:
        return Literal[tuple(map(str, get_args(kind)))]
    if kind in AS_TYPED or (isinstance(kind, type) and issubclass(kind, Enum)):
        return kind
    raise TypeError(f"{field.name}: say how a word becomes {kind}")


def _default(field: Given) -> Any:
    """The value where nothing is said, as a word where the option is read of one."""
    default, option = field.info.get_default(call_default_factory=True), field.option
    if default in (None, ()) or isinstance(default, BaseModel):
        return None
    as_text = option.parse is not None or option.text or get_origin(field.kind) is Literal
    return word_of(default) if as_text else default


def _limit(info: FieldInfo, name: str) -> float | None:
    return next((getattr(m, name) for m in info.metadata if hasattr(m, name)), None)
