"""Makes FINN+ importable and usable as a library where there is no Vivado.

FINN+ asks for global settings, binds its RTL simulation to Vivado's XSI, and writes Vivado's version at the end of a build.
:func:`prepare` gives it settings and, where there is no Vivado, this project's Verilator functions of the same names. It must
run before any import of ``finn.builder`` or ``finn.custom_op``: the package ``finn_vitprune.custom_ops`` calls it
before it imports anything else. Environment variables stay as they are.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import finn.util.basic as basic
import finn.util.settings as global_settings
import finn.xsi as xsi
from finn.interface.settings import FINNSettings

from finn_vitprune.cache import cache_dir
from finn_vitprune.graph import qonnx_passes
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


def settings(build_dir: Path | None = None) -> FINNSettings:
    """FINN's settings as its environment variables and settings file have them.

    Args:
        build_dir: where FINN generates code; by default what ``FINN_BUILD_DIR`` or the settings file says, a relative path
            or none meaning a folder in the cache.
    """
    result = FINNSettings.init(flow_config=cache_dir() / "finn.yaml", finn_build_dir=build_dir, auto_set_environment_vars=False)
    result.finn_build_dir.mkdir(parents=True, exist_ok=True)
    return result


def prepare() -> None:
    """Set FINN's global settings, if nobody did, what replaces Vivado, if there is none, and qonnx's slow passes. Idempotent."""
    qonnx_passes.use_index()
    if global_settings._SETTINGS is None:
        global_settings._SETTINGS = settings()
    if vivado_on_path():
        return
    for name in _XSI_NAMES:
        setattr(xsi, name, getattr(finn_xsi, name))
    xsi.is_available = xsi.ensure_available = lambda: True
    basic.get_vivado_root = lambda: "none (no Vivado on this machine)"
