"""A network with gated MLPs from timm to RTL: imported, pruned, quantised, tuned, bit for bit; a pipeline, an engine, a loaded design."""

import json

import numpy as np
import pytest
import torch
from timm.layers import SwiGLUPacked
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.cli import run
from finn_vitprune.report.summary import Summary

PART = "xcu250-figd2104-2L-e"

pytestmark = pytest.mark.slow


def network() -> VisionTransformer:
    """As DINOv2's largest: packed SwiGLU, LayerScale, a class token."""
    torch.manual_seed(6)
    model = VisionTransformer(
        img_size=8, patch_size=2, in_chans=1, num_classes=10, embed_dim=32, depth=2, num_heads=2, init_values=0.3, mlp_ratio=3.0,
        mlp_layer=SwiGLUPacked, act_layer=nn.SiLU,
    ).eval()  # fmt: skip
    for block in model.blocks:
        nn.init.normal_(block.attn.qkv.weight, std=0.4)
        nn.init.normal_(block.mlp.fc1.weight, std=0.4)
    return model


CASES = [
    pytest.param([], {}, id="pipeline, 8 bits", marks=pytest.mark.whole),
    pytest.param(["--weight-bits", "4"], {"loadable": True}, id="loaded, 4-bit weights", marks=pytest.mark.whole),
    pytest.param(["--fine-tune-epochs", "1"], {"engines": 1}, id="an engine, tuned", marks=pytest.mark.whole),
]


@pytest.mark.parametrize("importing, building", CASES)
def test_a_network_with_gated_mlps_is_bit_exact_in_rtl(tmp_path, capsys, importing, building):
    torch.onnx.export(network(), (torch.zeros(1, 1, 8, 8),), str(tmp_path / "float.onnx"), opset_version=17, dynamo=False)
    given = ["--data", "digits", "--block-size", "8", "--block-keep", "0.6", "--neuron-keep", "0.5", "--json"]
    assert run(["import", str(tmp_path / "float.onnx"), "-o", str(tmp_path / "pruned.onnx"), *given, *importing]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["onnxruntime"]["relative"] < 1e-4 and found["gate"]["reason"] == ""
    output = tmp_path / "build"
    build(BuildOptions(
        model=tmp_path / "pruned.onnx", output_dir=output, fpga_part=PART, target_fps=50_000,
        images=tmp_path / "pruned.npz", max_images=8, synth="none", **building,
    ))  # fmt: skip
    summary = Summary.load(output)
    verify = summary.verify
    assert (verify.images, verify.rtl_mismatches, verify.class_changes, verify.saturations) == (8, 0, 0, 0)
    assert len(np.unique(np.load(output / "verification_output" / "rtl_logits.npy"))) > 10
    assert list((output / "stitched_ip").rglob("vp_gate.sv"))
    assert [t.mlp for t in summary.model.tokens] == [17, 1]
