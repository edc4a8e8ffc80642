"""The plugin: importing this prepares FINN and registers all ops. It comes before anything of FINN is imported.

``python -m finn_vitprune.plugin`` is FINN's own program ``finn`` with the plugin. FINN's worker processes import the main
module again, as Python's ``multiprocessing`` does, and so they have the ops too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import patch

import finn_vitprune.custom_ops  # noqa: F401


def main() -> None:
    """Run ``finn``. A failed build gives exit code 1, which FINN's program does not."""
    import finn.builder.build_dataflow as builder
    from finn.builder.build_dataflow_config import DataflowBuildConfig
    from finn.interface.run_finn import main as finn

    build = builder.build_dataflow_cfg

    def build_dataflow_cfg(model: str | Path, cfg: DataflowBuildConfig) -> None:
        if build(model, cfg):
            sys.exit(1)

    with patch.object(builder, "build_dataflow_cfg", build_dataflow_cfg):
        finn()


if __name__ == "__main__":
    main()
