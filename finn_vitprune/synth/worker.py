"""One Yosys run in a process of its own: ``python -m finn_vitprune.synth.worker job.json stat.json``.

Yosys ends the process it lives in when it meets an error, hence the separate process. The job file
holds ``{"commands": [...]}``; the log goes to standard output, the errors to standard error, the
result of ``stat -json`` to the second file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(job_file: str, stat_file: str) -> None:
    """Run the commands of the job on an empty design, then write its statistics."""
    from pyosys import libyosys

    commands = json.loads(Path(job_file).read_text())["commands"]
    design = libyosys.Design()
    for command in commands:
        libyosys.run_pass(command, design)
    libyosys.run_pass(f"tee -q -o {stat_file} stat -json", design)


if __name__ == "__main__":
    main(*sys.argv[1:3])
