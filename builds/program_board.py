"""``finn-vitprune program``: the bitstream of a build into a board."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finn_vitprune import progress
from finn_vitprune.boards.place import BITSTREAM
from finn_vitprune.boards.tools import LOADER, program
from finn_vitprune.builds.bitstream import FOLDER, read_board
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.built.record import DESIGN
from finn_vitprune.errors import UserError
from finn_vitprune.processes import ProcessGroup
from finn_vitprune.synth.boards import board_named, loader_name


@dataclass(frozen=True)
class LoaderCommand:
    """A call of openFPGALoader. board: whose bitstream ``file`` is. design: number of the design in it."""

    board: str
    file: Path
    design: int
    words: Sequence[str]

    def __str__(self) -> str:
        return shlex.join(self.words)

    def run(self) -> None:
        """Load the bitstream; what the loader says is printed.

        Raises:
            UserError: it fails.
        """
        progress.begin(f"{LOADER} loads {self.file} into {self.board}")
        with ProcessGroup() as group:
            code = group.start(list(self.words)).wait()
        if code:
            raise UserError(f"{LOADER} failed with exit code {code}: is {self.board} connected, and may you use its USB port? ({self})")


def loader_command(build_dir: Path, board: str | None = None, folder: Path | None = None, flash: bool = False) -> LoaderCommand:
    """How the bitstream of a build gets into a board.

    Args:
        board: which it has to be for; by default the one that it was made for. folder: of the bitstream, by default ``bitstream`` in the
            build. flash: it is written to the board's flash and is there after power-up, too; otherwise it is lost with the power.
    Raises:
        UserError: there is no bitstream, or one of another design, for another board or for a bare part; openFPGALoader is missing.
    """
    wanted = None if board is None else board_named(board)
    folder = folder or build_dir / FOLDER
    found = read_board(folder)
    if wanted is not None and wanted.name != found.board:
        raise UserError(
            f"{folder / BITSTREAM} is for {found.board}, not for {wanted.name}: finn-vitprune bitstream {build_dir} --board {wanted.name}"
        )
    stitched = BuildFolder(Path(build_dir).resolve()).stitched
    if (stitched / DESIGN).is_file() and StitchedDesign.load(stitched).number != found.design:
        raise UserError(f"{folder} is of another design than {build_dir}: make the bitstream again")
    name = loader_name(board_named(found.board))
    if name is None:
        raise UserError(f"{folder / BITSTREAM} is for the bare part {found.board}, whose pins are of no board: make one for a board")
    words = [program(LOADER).path, "-b", name, *(["-f"] if flash else []), str(folder / BITSTREAM)]
    return LoaderCommand(found.board, folder / BITSTREAM, found.design, words)
