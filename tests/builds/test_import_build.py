"""Float models come back through import: pruned, a trained one recovered, and bit for bit in RTL."""

import json

import numpy as np
import pytest
import torch
from qonnx.core.modelwrapper import ModelWrapper
from timm.models.vision_transformer import VisionTransformer

from finn_vitprune.builds.build import EXAMPLE, BuildOptions, build
from finn_vitprune.cli import run
from finn_vitprune.execute.program import IntegerProgram
from finn_vitprune.report.summary import Summary
from finn_vitprune.training.config import load_config
from finn_vitprune.training.data import digits
from finn_vitprune.training.teacher import load_weights, make_teacher

PART = "xcu250-figd2104-2L-e"
CONFIG = "builds/train/deit_digits.yaml"
EPOCHS = 5
"""Of fine-tuning."""
RTL_IMAGES = 24

pytestmark = [pytest.mark.whole, pytest.mark.xdist_group("import build")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, request):
    """The float model of the example as ONNX, imported at the rates it was trained with."""
    folder = tmp_path_factory.mktemp("import")
    data = digits()
    source = make_teacher(load_config(request.config.rootpath / CONFIG), data)
    load_weights(source, EXAMPLE / "deit_digits_float.pt")
    image = torch.zeros(1, data.channels, *data.image_size)
    torch.onnx.export(source.eval(), (image,), str(folder / "float.onnx"), opset_version=17, dynamo=False)
    return folder


@pytest.fixture(scope="module")
def stages(folder):
    """Accuracy of each stage by name."""
    from contextlib import redirect_stdout
    from io import StringIO

    with redirect_stdout(StringIO()) as text:
        code = run([
            "import", str(folder / "float.onnx"), "--data", "digits", "-o", str(folder / "pruned.onnx"),
            "--block-size", "8", "--block-keep", "0.5", "--token-keep", "0.7", "--drop-at", "2,3",
            "--fine-tune-epochs", str(EPOCHS), "--batch-size", "32", "--json",
        ])  # fmt: skip
    assert code == 0
    found = json.loads(text.getvalue())
    assert found["eval_images"] == 360
    assert found["complexity"]["macs_dense"] / found["complexity"]["macs"] > 2.5
    return {s["name"]: s["accuracy"] for s in found["stages"]}


def test_recovery_comes_within_two_points_of_the_float_model(stages):
    assert stages["float"] == pytest.approx(0.9861, abs=1e-3)  # builds/example/metrics.json
    assert stages["pruned"] < stages["float"] - 0.1  # recovery, not luck, brings it back
    assert stages["integer"] >= stages["float"] - 0.02


def test_the_imported_model_is_bit_exact_in_rtl(folder, stages):
    output = folder / "build"
    build(BuildOptions(
        model=folder / "pruned.onnx", output_dir=output, fpga_part=PART, target_fps=100_000,
        images=folder / "pruned.npz", max_images=RTL_IMAGES, synth="none",
    ))  # fmt: skip
    verify = Summary.load(output).verify
    assert verify.images == RTL_IMAGES
    assert (verify.rtl_mismatches, verify.class_changes, verify.saturations) == (0, 0, 0)
    logits = np.load(output / "verification_output" / "rtl_logits.npy")
    chosen = np.load(output / "verification_output" / "rtl_images.npy")
    with np.load(folder / "pruned.npz") as sample:
        right = (np.argmax(logits, -1) == sample["labels"][chosen]).mean()
        same = (np.argmax(logits, -1) == sample["logits"][chosen].argmax(-1)).mean()
        lowered = ModelWrapper(str(output / "intermediate_models" / "step_lower.onnx"))
        assert np.array_equal(IntegerProgram(lowered).logits(sample["images"][chosen]), logits.reshape(len(chosen), -1))
    assert verify.accuracy == pytest.approx(right)
    assert same >= 0.95


@pytest.mark.parametrize("options", [{"class_token": False, "fc_norm": False}, {}], ids=("no class token", "fc_norm"))
def test_a_network_that_pools_by_mean_is_bit_exact_in_rtl(tmp_path, options, capsys):
    torch.manual_seed(5)
    network = VisionTransformer(
        img_size=8, patch_size=2, in_chans=1, num_classes=10, embed_dim=32, depth=2, num_heads=2,
        global_pool="avg", **options,
    ).eval()  # fmt: skip
    zeros, path = torch.zeros(1, 1, 8, 8), str(tmp_path / "float.onnx")
    torch.onnx.export(network, zeros, path, opset_version=17, dynamo=False)
    code = run([
        "import", str(tmp_path / "float.onnx"), "--data", "digits", "-o", str(tmp_path / "pruned.onnx"),
        "--block-size", "8", "--block-keep", "0.5", "--json",
    ])  # fmt: skip
    assert code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["onnxruntime"]["relative"] < 1e-4 and found["gate"]["reason"] == ""
    output = tmp_path / "build"
    build(BuildOptions(
        model=tmp_path / "pruned.onnx", output_dir=output, fpga_part=PART, target_fps=50_000,
        images=tmp_path / "pruned.npz", max_images=8, synth="none",
    ))  # fmt: skip
    verify = Summary.load(output).verify
    assert (verify.images, verify.rtl_mismatches, verify.class_changes, verify.saturations) == (8, 0, 0, 0)
    assert found["complexity"]["macs"] == Summary.load(output).model.macs
    assert list((output / "stitched_ip").rglob("vp_token_mean.sv"))
