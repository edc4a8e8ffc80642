"""``check``: will this file build, or import and then build, and if not, why."""

from __future__ import annotations

from pathlib import Path

from finn_vitprune.errors import UserError
from finn_vitprune.graph.reading import read_proto
from finn_vitprune.ingest.check.check_float import check_float
from finn_vitprune.ingest.check.checked import Checked
from finn_vitprune.ingest.onnx_file.model_file import Kind, from_proto
from finn_vitprune.synth import parts
from finn_vitprune.synth.budget import Budget


def check(
    path: Path, fpga_part: str | None = None, budget: Budget = Budget(), shell: str | None = None, part_resources: Path | None = None
) -> Checked:
    """Look at every node of an ONNX file.

    Args:
        path: float, QDQ or QONNX.
        fpga_part: a QONNX file must fit it, by the estimates of the plan that fills it; of another file the weights are
            compared with it (a note).
        budget: shares of the part that a plan may use. shell: what else is on it, None: what a card has. part_resources: file of other parts.
    Raises:
        UserError: the file cannot be read or is not a sound graph, or the part is unknown or missing.
    """
    if fpga_part is None and (shell is not None or budget != Budget() or part_resources is not None):
        raise UserError("--budget, --shell and --part-resources say something of a part: give --fpga-part too")
    part = None if fpga_part is None else parts.get_part(fpga_part, part_resources).with_shell(shell)
    proto = read_proto(path)
    model = from_proto(proto, path)
    if model.kind is not Kind.QONNX:
        return check_float(model, path, part)
    from finn_vitprune.ingest.check.check_qonnx import check_qonnx  # loads FINN, which takes seconds

    return check_qonnx(proto, model, path, part, budget)
