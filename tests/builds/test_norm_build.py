"""Networks with RMSNorm and with QK-norm from timm to RTL: imported, pruned, quantised, bit for bit in pipelines and on engines."""

import json
import warnings

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.cli import run
from finn_vitprune.report.summary import Summary
from tests.ingest.test_norm_files import Written

PART = "xcu250-figd2104-2L-e"

pytestmark = pytest.mark.slow


def network(**options) -> VisionTransformer:
    torch.manual_seed(6)
    model = VisionTransformer(
        img_size=8, patch_size=2, in_chans=1, num_classes=10, embed_dim=32, depth=2, num_heads=2, mlp_ratio=3.0, **options
    ).eval()
    for name, parameter in model.named_parameters():
        if name.endswith(("qkv.weight", "fc1.weight")):
            nn.init.normal_(parameter, std=0.4)
        elif "norm" in name:
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model


CASES = [
    pytest.param({"norm_layer": Written}, [], {}, id="RMSNorm, 8 bits", marks=pytest.mark.whole),
    pytest.param({"qk_norm": True}, ["--weight-bits", "4"], {}, id="QK-norm, 4-bit weights", marks=pytest.mark.whole),
    pytest.param({"norm_layer": Written, "qk_norm": True}, [], {}, id="RMSNorm, of queries and keys too, 8 bits", marks=pytest.mark.whole),
    pytest.param({"norm_layer": Written}, ["--weight-bits", "4"], {"loadable": True}, id="RMSNorm, loaded", marks=pytest.mark.whole),
    pytest.param({"norm_layer": Written}, [], {"engines": 1}, id="RMSNorm, an engine", marks=pytest.mark.whole),
    pytest.param({"qk_norm": True}, [], {"engines": 1}, id="QK-norm, an engine, 8 bits"),
    pytest.param(
        {"norm_layer": Written, "qk_norm": True},
        ["--weight-bits", "4", "--activation-bits", "4"],
        {"engines": 1, "frames_in_flight": 2},
        id="RMSNorm, of queries and keys too, an engine, 4 bits, two images",
        marks=pytest.mark.whole,
    ),
    pytest.param({"qk_norm": True}, [], {"engines": 1, "loadable": True}, id="QK-norm, an engine, loaded", marks=pytest.mark.whole),
    pytest.param({"qk_norm": True}, [], {"loadable": True}, id="QK-norm, loaded", marks=pytest.mark.whole),
]


def imported(tmp_path, options, importing=()):
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(network(**options), (torch.zeros(1, 1, 8, 8),), str(tmp_path / "float.onnx"), opset_version=17, dynamo=False)
    given = ["--data", "digits", "--block-size", "8", "--block-keep", "0.6", "--neuron-keep", "0.5", "--json"]
    assert run(["import", str(tmp_path / "float.onnx"), "-o", str(tmp_path / "pruned.onnx"), *given, *importing]) == 0


def options_of(tmp_path, **more):
    return BuildOptions(
        model=tmp_path / "pruned.onnx", output_dir=tmp_path / "build", fpga_part=PART, target_fps=50_000,
        images=tmp_path / "pruned.npz", max_images=8, synth="none", **more,
    )  # fmt: skip


@pytest.mark.parametrize("options, importing, building", CASES)
def test_a_network_with_other_norms_is_bit_exact_in_rtl(tmp_path, capsys, options, importing, building):
    imported(tmp_path, options, importing)
    found = json.loads(capsys.readouterr().out)
    assert found["onnxruntime"]["relative"] < 1e-4 and found["gate"]["reason"] == ""
    given = options_of(tmp_path, **building)
    build(given)
    summary = Summary.load(given.output_dir)
    verify = summary.verify
    assert (verify.images, verify.rtl_mismatches, verify.class_changes, verify.saturations) == (8, 0, 0, 0)
    assert len(np.unique(np.load(given.output_dir / "verification_output" / "rtl_logits.npy"))) > 10
    layers = {row.layer.split(", ")[-1] for row in summary.nodes}
    kind = "RMSNorm" if "norm_layer" in options else "LayerNorm"
    assert ({f"Q {kind}", f"K {kind}", "Q scale"} <= layers) == ("qk_norm" in options)
    assert any(kind in layer for layer in layers) and not (kind == "RMSNorm" and any("LayerNorm" in layer for layer in layers))
