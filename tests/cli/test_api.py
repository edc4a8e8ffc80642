"""What scripts import from the package itself: it is there, documented, typed, and costs nothing until it is used."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from rich.console import Console

import finn_vitprune
from finn_vitprune import ModelMetadata, TextTable, TrainConfig, UserError, kept_patches, picture, train

ROOT = Path(__file__).parents[2]
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

    summary = Summary.load(build(BuildOptions(model=None, output_dir=tmp_path / "build", fpga_part="ZCU104", estimate_only=True)))
    assert summary.part.fits and summary.plan.interval_cycles > 0


# --- what training left --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A short training run of three encoders, of which two drop tokens."""
    folder = tmp_path_factory.mktemp("api") / "run"
    config = TrainConfig(
        name="short",
        batch_size=128,
        model={"patch_size": 4, "dim": 16, "depth": 3, "heads": 2, "mlp_ratio": 2},
        prune={"token_keep": 0.5, "drop_at": (1, 2)},
        teacher={"epochs": 1},
        student={"epochs": 1, "warmup_epochs": 0, "hold_epochs": 1},
    )
    train(config, folder, console=Console(quiet=True))
    return folder


def test_the_metadata_of_a_model_file(run):
    found = ModelMetadata.load(run / "model.onnx")
    assert (found.name, found.image_shape, found.token_keep) == ("short", (8, 8, 1), {"1": 0.5, "2": 0.5})
    assert [tokens["in"] for tokens in found.tokens] == [5, 4, 4]  # the class token, two of the others, and the fused one
    assert len(found.kept_blocks) == 4 * 3 and {mask.block for mask in found.kept_blocks.values()} == {8}
    assert sum(found.heads) <= 6 and found.neurons == [16, 16, 16]
    assert found.macs < found.macs_dense and found.params < found.params_dense


@pytest.mark.parametrize(
    "content, message", [(None, "does not exist"), (b"not a model", "is not an ONNX"), ("float", "it was not exported by finn-vitprune")]
)
def test_files_without_metadata_are_refused(content, message, tmp_path):
    path = tmp_path / "other.onnx"
    if content == "float":
        node, info = onnx.helper.make_node("Relu", ["x"], ["y"]), onnx.helper.make_tensor_value_info
        infos = [info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
        onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", infos[:1], infos[1:])), path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        ModelMetadata.load(path)


def test_kept_patches_are_as_many_as_the_drops_keep(run):
    images = np.load(run / "model.npz")["images"][:40]
    kept, points = kept_patches(run, images), ModelMetadata.load(run / "model.onnx").drop_points
    assert [encoder for encoder, _ in kept] == [1, 2]
    (_, first), (_, second) = kept
    assert first.shape == second.shape == (40, 4) and (first.sum(1) == points["1"]).all()
    assert not (second & ~first).any() and set(second.sum(1)) <= {points["2"], points["2"] - 1}  # or the fused token has the place
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(kept, kept_patches(run / "checkpoint.pt", images)))


def test_pictures_of_a_run(run):
    assert {what: picture(run, what).get_suptitle() != "" for what in ("tokens", "masks", "scores", "history")} == dict.fromkeys(
        ("tokens", "masks", "scores", "history"), True
    )


def test_tables_show_as_markdown_in_notebooks():
    table = TextTable("Two|three", ("", "a|b"), (("x", "1"),), "A note.")
    assert table._repr_markdown_() == "**Two|three**\n\n|  | a\\|b |\n|--|--:|\n| x | 1 |\n\nA note."


def test_every_name_has_a_home():
    assert sorted(finn_vitprune._HOMES) == finn_vitprune.__all__
