"""The plugin itself: ``import finn_vitprune.plugin`` is all that a user of FINN needs."""

from __future__ import annotations

from pathlib import Path

from finn_vitprune import finn_setup
from finn_vitprune.custom_ops import registry


def register(build_dir: Path | None = None) -> None:
    """Prepare FINN and register all ops with FINN and qonnx. Idempotent; importing this module calls it.

    Args:
        build_dir: where FINN generates code (:func:`finn_vitprune.finn_setup.prepare`).
    """
    finn_setup.prepare(build_dir)
    registry.register_ops()


register()
