"""``finn-vitprune bitstream``: a finished build as a bitstream for a board, with open tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finn_vitprune.cli.answer import Json, answer

EXAMPLE = "finn-vitprune bitstream build/digits --board ulx3s-85f"


def command(
    build_dir: Annotated[Path, typer.Argument(metavar="BUILD", help="The folder of a finished build.")],
    board: Annotated[
        str, typer.Option(help="The board (ulx3s-85f, ulx3s-45f, ulx3s-25f), or a bare part (LFE5U-85F, LFE5U-45F, LFE5U-25F).")
    ] = "ulx3s-85f",
    clk_ns: Annotated[float, typer.Option(metavar="NUMBER", min=2.5, max=100, help="The clock period in ns that the PLL makes.")] = 12.5,
    seeds: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Routes with this many seeds; the fastest design counts.")] = 1,
    jobs: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="So many seeds run at a time, in processes of their own.")] = 1,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The folder to write; by default BUILD/bitstream.")] = None,
    json_output: Json = False,
) -> None:
    """Make a bitstream of a finished build: map, place and route, check the clock, pack.

    Exits with 1 when the design does not fit the part, or the routed design misses the clock. A run that is stopped goes on where it
    was.
    """
    from finn_vitprune.built.record import STITCHED, need_design
    from finn_vitprune.cli.terminal import progress_lines

    need_design(build_dir / STITCHED)
    from finn_vitprune.builds.bitstream import FOLDER, BitstreamOptions, make_bitstream

    folder = output or build_dir / FOLDER
    with progress_lines():
        found = make_bitstream(build_dir, folder, BitstreamOptions(board, clk_ns, seeds, jobs))
    if answer({"build": str(build_dir), "output": str(folder), **found.as_dict()}):
        return
    typer.echo(
        f"{folder / 'board.bit'}: {found.bitstream_bytes:,} bytes for {found.board}, {found.routed.mhz:g} MHz routed ({found.used_text})"
    )
    typer.echo(f"next: finn-vitprune gate-level {build_dir}" + (f" --bitstream {folder}" if output else ""))
