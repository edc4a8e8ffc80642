"""The typer program, put together from the command modules."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from finn_vitprune import __version__
from finn_vitprune.cli import (
    bench_units, build, check, complexity, contents, doctor, evaluate, explore, export, import_model, picture, report, simulate, sweep, train,
)  # fmt: skip
from finn_vitprune.cli.answer import with_answer

HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="finn-vitprune",
    help="From a vision transformer to a pruned, token-dropping FPGA accelerator.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=HELP,
)

_COMMANDS = {
    "train": train, "picture": picture, "sweep": sweep, "export": export, "import": import_model, "check": check,
    "build": build, "explore": explore, "contents": contents, "simulate": simulate, "evaluate": evaluate, "report": report, "complexity": complexity, "bench-units": bench_units,
    "doctor": doctor,
}  # fmt: skip
for _name, _module in _COMMANDS.items():
    app.command(name=_name, epilog=f"Example: {_module.EXAMPLE}", context_settings=HELP)(with_answer(_module.command))


def _version(value: bool) -> None:
    if value:
        typer.echo(f"finn-vitprune {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Show no progress: results, notes and errors alone.")] = False,
    plain: Annotated[bool, typer.Option("--no-progress", help="Show progress as lines, without what moves.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Print what is logged, too, on standard error.")] = False,
) -> None:
    from finn_vitprune.cli.terminal import Shown, show_progress

    show_progress(Shown.NOTHING if quiet else Shown.LINES if plain else Shown.ALL)
    if verbose:
        log = logging.getLogger("finn_vitprune")
        log.setLevel(logging.INFO)
        log.addHandler(logging.StreamHandler())
