"""Whatever of the project is imported first, FINN is prepared and all ops are registered, in FINN and in qonnx."""

import os
import subprocess
import sys

import finn.custom_op.fpgadataflow as finn_ops
import finn.custom_op.fpgadataflow.rtl as finn_rtl_ops
import pytest

from finn_vitprune.custom_ops.registry import OPS, register_ops
from tests.sampling import spread

CHECK = """
import {module}
import finn.custom_op.fpgadataflow as ops, finn.custom_op.fpgadataflow.rtl as rtl, finn.util.settings as settings, finn.xsi
from qonnx.custom_op.registry import is_custom_op
from finn_vitprune.custom_ops.registry import OPS
assert set(OPS) <= set(ops.custom_op) and {{op + "_rtl" for op in OPS}} <= set(rtl.custom_op)
assert is_custom_op("finn_vitprune.custom_ops", "TokenDrop")
assert settings.get_settings().finn_build_dir.is_dir() and finn.xsi.is_available()
"""


@pytest.mark.parametrize(
    "module", spread(["plugin", "custom_ops", "custom_ops.op.base", "custom_ops.elementwise.lookup", "transforms.lowering.lower"], 6)
)
def test_one_import_is_enough(module):
    check = CHECK.format(module=f"finn_vitprune.{module}")
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_qonnx_needs_no_import_at_all():
    """The domain of the op is the name of the package."""
    check = "from qonnx.custom_op.registry import is_custom_op; assert is_custom_op('finn_vitprune.custom_ops', 'TokenDrop')"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True).returncode == 0


def test_registering_again_changes_nothing():
    before = [dict(module.custom_op) for module in (finn_ops, finn_rtl_ops)]
    register_ops()
    assert [dict(module.custom_op) for module in (finn_ops, finn_rtl_ops)] == before
    assert set(OPS) <= set(before[0])


def test_the_plugin_leaves_the_environment_and_takes_finns_settings_from_it(tmp_path):
    check = (
        "import os; before = dict(os.environ); import finn_vitprune.plugin, finn.util.settings as settings;"
        "assert dict(os.environ) == before; print(settings.get_settings().finn_build_dir)"
    )
    for variables, folder in (({}, tmp_path / "cache" / "FINN_TMP"), ({"FINN_BUILD_DIR": str(tmp_path / "hdl")}, tmp_path / "hdl")):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FINN_")}
        environment |= {"FINN_VITPRUNE_CACHE": str(tmp_path / "cache"), **variables}
        done = subprocess.run([sys.executable, "-c", check], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == str(folder) and folder.is_dir()
