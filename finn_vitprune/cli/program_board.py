"""``finn-vitprune program``: the bitstream of a build into a board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finn_vitprune.cli.answer import Json, answer

EXAMPLE = "finn-vitprune program build/digits --board ulx3s-85f"


def command(
    build_dir: Annotated[Path, typer.Argument(metavar="BUILD", help="The folder of a build that has a bitstream.")],
    board: Annotated[str | None, typer.Option(help="The board; a bitstream for another one is refused.")] = None,
    bitstream: Annotated[Path | None, typer.Option(help="The folder of the bitstream; by default BUILD/bitstream.")] = None,
    flash: Annotated[
        bool, typer.Option("--flash", help="Writes the flash of the board, so that the design is there after power-up.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Prints the command, and does not run it.")] = False,
    json_output: Json = False,
) -> None:
    """Load the bitstream of a build into a board, with openFPGALoader."""
    from finn_vitprune.builds.program_board import loader_command
    from finn_vitprune.cli.terminal import progress_lines

    found = loader_command(build_dir, board, bitstream, flash)
    if not dry_run:
        with progress_lines():
            found.run()
    document = {"build": str(build_dir), "board": found.board, "design": found.design, "command": list(found.words), "ran": not dry_run}
    if not answer(document):
        typer.echo(str(found) if dry_run else f"{found.board} holds design {found.design:#010x} of {found.file}")
