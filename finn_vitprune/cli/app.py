"""The typer program, put together from the command modules."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Annotated

import typer

from finn_vitprune import __version__
from finn_vitprune.cli import (
    bench_units,
    bitstream,
    build,
    check,
    complexity,
    contents,
    doctor,
    evaluate,
    explore,
    export,
    gate_level,
    import_model,
    picture,
    program_board,
    report,
    run_target,
    simulate,
    sweep,
    train,
)  # fmt: skip
from finn_vitprune.cli.answer import with_answer
from finn_vitprune.cli.help import GroupedCommand, columns

HELP = ["-h", "--help"]

COMMANDS = {
    "train": train, "picture": picture, "sweep": sweep, "export": export, "import": import_model, "check": check,
    "build": build, "explore": explore, "contents": contents, "simulate": simulate, "evaluate": evaluate, "report": report,
    "complexity": complexity, "bitstream": bitstream, "gate-level": gate_level, "program": program_board, "run": run_target,
    "bench-units": bench_units, "doctor": doctor,
}  # fmt: skip


def program(wanted: str | None = None) -> typer.Typer:
    """The program with all commands; with ``wanted`` that one alone has its parameters, others just their help, which takes no
    time.
    """
    width = columns()
    settings = {"help_option_names": HELP, "max_content_width": width, "terminal_width": width}
    app = typer.Typer(
        name="finn-vitprune",
        help="From a vision transformer to a pruned, token-dropping FPGA accelerator.",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=settings,
    )
    app.callback()(_root)
    for name, module in COMMANDS.items():
        command = _command(module) if wanted in (None, name) else _named(module.command.__doc__)
        app.command(name=name, cls=GroupedCommand, epilog=f"Example: {module.EXAMPLE}", context_settings=settings)(command)
    return app


def _command(module: ModuleType) -> Callable[..., None]:
    """The command of a module. Where it names a model of options, as ``module:class``, its parameters are made of that."""
    command = module.command
    if place := getattr(module, "OPTIONS", None):
        from finn_vitprune.cli.parameters import with_options

        home, _, name = place.partition(":")
        command = with_options(command, getattr(import_module(home), name))
    return with_answer(command)


def _named(help: str) -> Callable[[], None]:
    def command() -> None:
        pass

    command.__doc__ = help
    return command


def _version(value: bool) -> None:
    if value:
        typer.echo(f"finn-vitprune {__version__}")
        raise typer.Exit()


def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Prints the version.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Shows no progress: results, notes and errors alone.")] = False,
    plain: Annotated[bool, typer.Option("--no-progress", help="Shows progress as lines, without what moves.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Prints what is logged, too, on standard error.")] = False,
) -> None:
    from finn_vitprune.cli.terminal import Shown, show_progress

    show_progress(Shown.NOTHING if quiet else Shown.LINES if plain else Shown.ALL)
    if verbose:
        log = logging.getLogger("finn_vitprune")
        log.setLevel(logging.INFO)
        log.addHandler(logging.StreamHandler())
