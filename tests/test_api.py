"""What scripts import from the package itself: it is there, documented, typed, and costs nothing until it is used."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import finn_vitprune

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text()


def test_the_package_itself_imports_nothing_heavy():
    code = "import sys, finn_vitprune; print(sorted({'torch', 'finn', 'numpy', 'pydantic'} & set(sys.modules)), len(dir(finn_vitprune)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.startswith("[] ")


@pytest.mark.parametrize("name", finn_vitprune.__all__)
def test_every_public_name_is_there_documented_and_typed(name):
    found = getattr(finn_vitprune, name)
    assert found.__doc__ and f"`{name}`" in PAGE
    if inspect.isfunction(found):
        hints = inspect.signature(found)
        assert hints.return_annotation is not inspect.Signature.empty
        assert all(p.annotation is not inspect.Parameter.empty for p in hints.parameters.values())


def test_type_checkers_see_the_same_names():
    tree = ast.parse((ROOT / "finn_vitprune" / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {f"{node.module}.{alias.name}" for node in block.body for alias in node.names}
    homes = {f"finn_vitprune.{module}.{name}" for module, names in finn_vitprune._PLACES.items() for name in names}
    assert seen == homes
    assert (ROOT / "finn_vitprune" / "py.typed").is_file()


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'bild'"):
        finn_vitprune.bild  # noqa: B018


def test_examples_of_the_page_are_python_and_use_public_names_alone():
    for text in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("finn_vitprune"):
                assert node.module == "finn_vitprune" and {alias.name for alias in node.names} <= set(finn_vitprune.__all__)


def test_a_build_and_its_summary(tmp_path):
    from finn_vitprune import BuildOptions, Summary, build

    summary = Summary.load(build(BuildOptions(None, tmp_path / "build", fpga_part="ZCU104", estimate_only=True)))
    assert summary.part.fits and summary.plan.interval_cycles > 0
