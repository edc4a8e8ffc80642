"""Makes FINN+ importable and usable as a library where there is no Vivado.

FINN+ reads global settings on import and binds its RTL simulation to Vivado's XSI. :func:`prepare`
gives it settings and, where there is no Vivado, this project's Verilator functions of the same names. It must
run before any import of ``finn.builder`` or ``finn.custom_op``: the package ``finn_vitprune.custom_ops`` calls it
before it imports anything else.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from finn_vitprune.cache import cache_dir
from finn_vitprune.sim import finn_xsi

_XSI_NAMES = (
    "SimEngine",
    "locate_glbl",
    "compile_sim_obj",
    "get_simkernel_so",
    "load_sim_obj",
    "reset_rtlsim",
    "close_rtlsim",
    "rtlsim_multi_io",
)


def vivado_on_path() -> bool:
    """Whether a ``vivado`` executable is on PATH."""
    return shutil.which("vivado") is not None


def prepare(build_dir: Path | None = None) -> None:
    """Set FINN's global settings and, without Vivado, its simulation functions. Idempotent.

    Args:
        build_dir: where FINN generates code; by default ``$FINN_BUILD_DIR`` or a folder in the cache.
    """
    if build_dir is not None:
        os.environ["FINN_BUILD_DIR"] = str(build_dir)
    os.environ.setdefault("FINN_BUILD_DIR", str(cache_dir() / "finn_build"))
    Path(os.environ["FINN_BUILD_DIR"]).mkdir(parents=True, exist_ok=True)

    import finn.util.settings as settings

    if settings._SETTINGS is None or build_dir is not None:
        settings.initialize_dummy_settings()
        settings.get_settings().finn_build_dir = Path(os.environ["FINN_BUILD_DIR"])

    if vivado_on_path() or getattr(sys.modules.get("finn.xsi"), "_vitprune", False):
        return
    import finn.xsi as xsi

    for name in _XSI_NAMES:
        setattr(xsi, name, getattr(finn_xsi, name))
    xsi.is_available = lambda: True
    xsi.ensure_available = lambda: True
    xsi._vitprune = True
