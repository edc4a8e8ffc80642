"""Options in frozen dataclasses, checked where they are made: on the command line and in Python with the same words."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import get_type_hints

from pydantic import TypeAdapter, ValidationError

from finn_vitprune.errors import UserError


@cache
def _adapters(cls: type) -> dict[str, TypeAdapter]:
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: TypeAdapter(hints[field.name]) for field in fields(cls)}


def check_types(options: object) -> None:
    """Give every field of a frozen dataclass the type that it states: ``"magnitude"`` becomes a ``Score``, a text a ``Path``.

    For ``__post_init__``. Types may be annotated with limits of pydantic.

    Raises:
        UserError: a value is not possible; the text names the field, the value and what would work.
    """
    for name, adapter in _adapters(type(options)).items():
        value = getattr(options, name)
        try:
            object.__setattr__(options, name, adapter.validate_python(value))
        except ValidationError as error:
            raise UserError(f"{name} {value}: {said(error)}") from None


def said(error: ValidationError) -> str:
    """The first problem in words."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    return str(cause) if cause is not None else first["msg"]
