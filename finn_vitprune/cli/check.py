"""``finn-vitprune check``: what every node of an ONNX file becomes, or why it does not map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from finn_vitprune.cli.answer import Json, answer

if TYPE_CHECKING:
    from finn_vitprune.options.check import CheckOptions

EXAMPLE = "finn-vitprune check deit_small.onnx --json"
OPTIONS = "finn_vitprune.options.check:CheckOptions"


def command(options: CheckOptions, json_output: Json = False) -> None:
    """Say for every node what it becomes in hardware, or why not and what would help.

    Exit code 0 is a promise: a QONNX file builds, a float or QDQ file imports and then builds. 1 when not.
    With --fpga-part a QONNX file must fit the part too, by estimate.
    """
    from finn_vitprune import progress
    from finn_vitprune.cli.terminal import progress_lines
    from finn_vitprune.ingest.check.check import check
    from finn_vitprune.ingest.check.checked import as_dict

    with progress_lines():
        progress.status(f"checking {options.model}")
        checked = check(options.model, options.fpga_part, options.budget, options.shell, options.part_resources)
    if not answer(as_dict(checked)):
        from rich.console import Console

        checked.show(Console(), options.nodes)
    raise typer.Exit(0 if checked.passed else 1)
