"""What scripts import from the package itself: it is there, documented, typed, and costs nothing until it is used."""

from __future__ import annotations

import ast
import gc
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from qonnx.core.modelwrapper import ModelWrapper
from rich.console import Console

import finn_vitprune
from finn_vitprune import (
    Checked,
    Design,
    ModelMetadata,
    Network,
    Summary,
    TextTable,
    TidyLowered,
    TrainConfig,
    UserError,
    explore,
    kept_patches,
    load,
    lower,
    picture,
    train,
)  # fmt: skip
from finn_vitprune.execute import golden
from finn_vitprune.graph.packed import write_model
from finn_vitprune.graph.reading import read_model
from tests import keywords
from tests.ingest_models import export, small_timm
from tests.snippets import snippets

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


def test_snippets_use_public_names_alone():
    used = {
        n.attr for s in snippets() for n in ast.walk(ast.parse(s.code)) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "fv"
    }
    assert {"load", "Design", "explore"} <= used <= set(finn_vitprune.__all__)


def test_keywords_are_those_of_the_options():
    assert keywords.FILE.read_text() == keywords.text(), "python -m tests.keywords --write"


@pytest.mark.parametrize(
    "method", [Network.build, Network.plan, Network.check, Network.compress, Network.evaluate, Design.evaluate, explore]
)
def test_editors_see_every_keyword(method):
    names = inspect.signature(method).parameters
    assert "options" not in names and len(names) > 3 and all(p.annotation is not p.empty for n, p in names.items() if n != "self")


# --- from a file to a design ---------------------------------------------------------------------

EXAMPLE = ROOT / "builds" / "example"


@pytest.fixture(scope="module")
def network() -> Network:
    return load(EXAMPLE / "deit_digits.onnx")


@pytest.fixture(scope="module")
def planned(network) -> Design:
    return network.plan(part="ZCU104", engines=1, target_fps=3000)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.load(EXAMPLE / "images.npz")["images"]


def test_a_network_says_what_it_is_in_five_lines(network):
    lines = str(network).splitlines()
    assert len(lines) == 5 and lines[0] == "deit_digits, 8 bits, half of the 8 x 8 blocks, 70 % of the tokens 2 times (QONNX)"
    assert "8 x 8 x 1" in lines[1] and "10 classes" in lines[1] and "4 of width 64" in lines[2]
    assert (network.complexity.macs, network.metadata.macs) == (1_272_704, 1_272_704)


def test_a_check_prints_a_row_a_part_and_its_verdict_last(small_build):
    checked = load(small_build.model).check(part="ZCU104")
    assert isinstance(checked, Checked) and checked.passed and checked.fit.part.name.startswith("xczu7ev")
    text = str(checked)
    assert (
        "PrunedAttention" in text
        and text.splitlines()[-1].startswith("yes: ")
        and max(map(len, text.split("One image", maxsplit=1)[0].splitlines())) <= 150
    )


def test_a_plan_has_figures_and_leaves_nothing(network, planned):
    s = planned.summary
    assert planned.fits and s.part.fits and planned.images_per_second == 1e9 / (4 * s.plan.interval_cycles)
    assert planned.latency_ms == pytest.approx(s.plan.latency_cycles * 4e-6)
    text = str(planned)
    assert text.startswith(network.metadata.name) and "Only estimates" in text and str(planned.folder) not in text and "Stopped" not in text
    with pytest.raises(UserError, match="this is a plan, build it"):
        planned.simulate(np.zeros((1, 8, 8, 1), np.uint8))
    other = network.plan(part="ZCU104", target_fps=3000)
    place = other.folder
    assert place.is_dir() and other.summary.plan.interval_cycles != s.plan.interval_cycles
    del other
    gc.collect()
    assert not place.exists()


def test_predictions_are_the_golden_models(network, planned, images):
    found = lower(ModelWrapper(str(network.path)))
    hardware = found.model.transform(TidyLowered())
    logits = golden.run(hardware, {hardware.graph.input[0].name: images})[hardware.graph.output[0].name].reshape(len(images), -1)
    for way in (network, planned):
        assert np.array_equal(way.predict(images), logits) and way.predict(images[:3, ..., 0]).dtype == np.int32
    real = np.load(EXAMPLE / "images.npz")["logits"]
    assert np.abs(logits * np.asarray(planned.logit_scale) - real)[0].max() < 1e-3


@pytest.mark.parametrize("wrong, text", [
    (np.zeros((1, 9, 9, 1), np.uint8), "the input has shape [1, 9, 9, 1]; the model takes [frames, 8, 8, 1]"),
    (np.zeros((1, 8, 8, 1), np.float32), "the input is float32; pixels are uint8"), (np.zeros((0, 8, 8, 1), np.uint8), "the input holds no images"),
])  # fmt: skip
def test_images_that_do_not_fit_are_refused(network, wrong, text):
    with pytest.raises(UserError, match=re.escape(text)):
        network.predict(wrong)


def test_tokens_are_those_that_the_hardware_leaves(network, images, tmp_path):
    images = images[:4]
    logits, found = network.predict(images), network.tokens(images)
    assert found.predicted.tolist() == logits.argmax(1).tolist() and found.encoders.tolist() == [2, 3]
    assert found.left.sum(2)[0].tolist() == [12] * len(images) and "image 1: predicted" in found.lines[0]
    assert len(found.figure([f"class {i}" for i in range(10)]).axes) == 3 * len(images)
    write_model(read_model(network.path), packed := tmp_path / "small.xz")
    assert np.array_equal(load(packed).tokens(images).left, found.left)
    with pytest.raises(UserError, match="the input has shape"):
        network.tokens(images[:, :-1])
    with pytest.raises(UserError, match="names: there are 2, and the images are of classes up to"):
        found.figure(["a", "b"])
    again = load(packed).save(tmp_path / "again.onnx")
    assert onnx.load(again.path).graph.node and np.array_equal(again.predict(images), logits)


def test_a_design_comes_back_from_its_folder(small_build):
    design = Design.load(small_build.folder)
    images, s = small_build.images[:4], Summary.load(small_build.folder)
    assert np.array_equal(design.predict(images), design.simulate(images))
    assert design.images_per_second == s.rtlsim.fps and design.latency_ms == s.rtlsim.latency_ms
    assert str(design) == str(design.verdict) and str(small_build.folder) in str(design)


def test_a_page_and_an_evaluation(planned, tmp_path):
    assert planned.report(tmp_path / "page.html").read_text().startswith("<!")
    found = planned.evaluate("digits", max_images=50, jobs=1)
    assert found.images == 50 and f"{100 * found.accuracy:.1f} %" in str(found)


@pytest.mark.whole
def test_a_compressed_network_lives_as_long_as_it_is_needed(tmp_path):
    """Without a name for the file; a copy stays."""
    source = export(small_timm(img_size=8, patch_size=2, in_chans=1), tmp_path / "float.onnx", shape=(1, 1, 8, 8))
    np.savez(tmp_path / "images.npz", images=np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8))
    small = load(source).compress(
        f"npz:{tmp_path / 'images.npz'}", block_keep=0.5, block_size=4, token_keep=0.7, drop_at=[1], eval_images=8
    )
    assert (small.metadata.block_keep, small.metadata.token_keep, small.kind.value) == (0.5, {"1": 0.7}, "QONNX")
    assert "float_compressed" in str(small) and "plan(part=...)" in str(small) and len(small.imported.stages) >= 3
    copy, place = small.save(tmp_path / "kept.onnx"), small.path
    with pytest.raises(UserError, match="is there already"):
        small.save(copy.path)
    (tmp_path / "other.npz").write_text("mine")
    with pytest.raises(UserError, match=r"other\.npz is there already"):
        small.save(tmp_path / "other.onnx")
    assert (tmp_path / "other.npz").read_text() == "mine" and not (tmp_path / "other.onnx").exists()
    assert small.save(tmp_path / "plain").path.is_file()
    images = np.load(copy.path.with_suffix(".npz"))["images"]
    logits = small.predict(images)
    del small
    gc.collect()
    assert not place.exists() and np.array_equal(copy.predict(images), logits) and "kept.npz" in str(copy)


@pytest.mark.parametrize("call, text", [
    (lambda net: net.plan(part="xcu25"), "unknown part xcu25: did you mean xcu250"),
    (lambda net: net.plan(part="U250", clk_ns=0), "--clk-ns 0: use 0.1 or more"),
    (lambda net: net.plan(part="U250", engine=1), "unknown option engine: did you mean engines?"),
    (lambda net: net.plan(part="U250", engines=0), "--engines 0: use 1 or more"),
    (lambda net: net.plan(part="U250", engines=99), "99 engines for 4 encoders"),
    (lambda net: net.plan(part="U250", images="no.npz"), "no.npz: no such file"),
    (lambda net: net.build(part="U250", to="b", synth="all"), "--synth all: use nodes or none"),
    (lambda net: net.compress("digits", block_keep=1.5), "--block-keep 1.5"),
    (lambda net: net.compress("digits", weight_bits=5), "--weight-bits 5: use 4 or 8"),
    (lambda net: net.compress("digits", drop_at=3, token_keep=0.5), "--drop-at 3: use a list"),
    (lambda net: net.evaluate("digits", max_images=0), "--max-images 0: use 1 or more"),
    (lambda net: net.evaluate("nosuch"), "nosuch"),
    (lambda net: net.check(budget="LUT=0.5"), "give --fpga-part too"),
    (lambda net: explore(net, "U250", to="e", engines=0), "--engines 0: use numbers of 1 or more, or pipeline"),
    (lambda net: load("nofile.onnx"), "nofile.onnx does not exist"),
    (lambda net: load("."), "is a folder: give an ONNX file; Design.load reads the folder of a build"),
    (lambda net: Design.load("nofolder"), "no folder nofolder"), (lambda net: Design.load(__file__), "is not a summary"),
])  # fmt: skip
def test_wrong_values_are_refused_at_the_call_and_leave_nothing(network, call, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=re.escape(text)) as raised:
        call(network)
    assert "\n" not in str(raised.value) and not list(tmp_path.iterdir())


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
