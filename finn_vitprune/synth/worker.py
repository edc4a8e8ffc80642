"""One Yosys run in a process of its own: ``python -m finn_vitprune.synth.worker job.json result.json``.

Yosys ends the process it lives in when it meets an error, hence the separate process. The job file
holds ``{"commands": [...]}``, which end with a flat netlist; the log goes to standard output, the errors to
standard error, ``{"cells": {type: count}, "depth": {...}}`` to the second file.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from finn_vitprune.synth.depth import logic_depth


def main(job_file: str, result_file: str) -> None:
    """Run the commands of the job on an empty design, then write what its netlist holds."""
    from pyosys import libyosys

    commands = json.loads(Path(job_file).read_text())["commands"]
    design = libyosys.Design()
    for command in commands:
        libyosys.run_pass(command, design)
    libyosys.run_pass("tee -q -o stat.json stat -json", design)
    libyosys.run_pass("write_json netlist.json", design)
    cells = json.loads(Path("stat.json").read_text())["design"]["num_cells_by_type"]
    depth = logic_depth(json.loads(Path("netlist.json").read_text()))
    Path(result_file).write_text(json.dumps({"cells": cells, "depth": asdict(depth)}))


if __name__ == "__main__":
    main(*sys.argv[1:3])
