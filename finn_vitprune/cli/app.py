"""The typer program, put together from the command modules."""

from __future__ import annotations

from typing import Annotated

import typer

from finn_vitprune import __version__
from finn_vitprune.cli import bench_units, build, check, complexity, doctor, export, import_model, picture
from finn_vitprune.cli import report, simulate, sweep, train

app = typer.Typer(
    name="finn-vitprune",
    help="From a vision transformer to a pruned, token-dropping FPGA accelerator.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_COMMANDS = (
    train, picture, sweep, export, import_model, check, build, simulate, report, complexity, bench_units, doctor,
)  # fmt: skip
for _module in _COMMANDS:
    app.command(name=_module.NAME, epilog=f"Example: {_module.EXAMPLE}")(_module.command)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"finn-vitprune {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
