"""Signatures that name every option, for editors that ask the running program."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeVar, get_type_hints

F = TypeVar("F", bound=Callable)


def spelled_out(keywords: type) -> Callable[[F], F]:
    """Of a function with ``**options: Unpack[keywords]``: these stand one by one in its signature, as Jupyter completes them."""
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in get_type_hints(keywords).items()
    ]

    def named(function: F) -> F:
        signature = inspect.signature(function)
        parameters = [*list(signature.parameters.values())[:-1], *more]
        function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return function

    return named
