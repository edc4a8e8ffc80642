"""Options that several commands take whose options are no model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

T = TypeVar("T")


def parser(parse: Callable[[str], T]) -> Callable[[str], T]:
    """``parse``, whose ValueErrors are those of the option."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parsed


Jobs = Annotated[int, typer.Option(min=1, help="This many jobs run at a time, in processes of their own.")]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Runs the jobs on the Dask cluster of this scheduler, as tcp://head:8786 (docs/cluster.md)."),
]
