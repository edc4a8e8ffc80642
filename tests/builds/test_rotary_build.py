"""A network with rotary position embedding from timm to RTL: imported, pruned, quantised, bit for bit."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from timm.models.eva import Eva
from torch import nn

from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.cli import run
from finn_vitprune.report.summary import Summary

PART = "xcu250-figd2104-2L-e"

pytestmark = pytest.mark.slow


def network() -> Eva:
    """As DINOv3: halves of a head turned, registers, LayerScale, no positions but these; class token's answer."""
    torch.manual_seed(6)
    model = Eva(
        img_size=8, patch_size=2, in_chans=1, num_classes=10, embed_dim=32, depth=2, num_heads=2, global_pool="token", init_values=0.3,
        use_rot_pos_emb=True, use_abs_pos_emb=False, rope_type="dinov3", rope_rotate_half=True, num_reg_tokens=2,
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
    ).eval()  # fmt: skip
    for block in model.blocks:
        block.attn.fused_attn = False
        nn.init.normal_(block.attn.qkv.weight, std=0.4)
    return model


CASES = [
    pytest.param([], {"engines": 1}, id="an engine"),
    pytest.param([], {}, id="pipeline", marks=pytest.mark.whole),
    pytest.param([], {"loadable": True}, id="loaded", marks=pytest.mark.whole),
    pytest.param([], {"engines": 1, "loadable": True}, id="an engine, loaded", marks=pytest.mark.whole),
    pytest.param(
        ["--weight-bits", "4", "--activation-bits", "4"], {"engines": 1, "frames_in_flight": 2}, id="an engine, 4 bits, two images",
        marks=pytest.mark.whole,
    ),
]  # fmt: skip


@pytest.mark.parametrize("importing, building", CASES)
def test_a_network_with_rotary_position_embedding_is_bit_exact_in_rtl(tmp_path, capsys, importing, building):
    torch.onnx.export(network(), (torch.zeros(1, 1, 8, 8),), str(tmp_path / "float.onnx"), opset_version=17, dynamo=False)
    given = ["--data", "digits", "--block-size", "8", "--block-keep", "0.6", "--json", *importing]
    code = run(["import", str(tmp_path / "float.onnx"), "-o", str(tmp_path / "pruned.onnx"), *given])
    assert code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["onnxruntime"]["relative"] < 1e-4 and found["gate"]["reason"] == ""
    output = tmp_path / "build"
    build(BuildOptions(
        model=tmp_path / "pruned.onnx", output_dir=output, fpga_part=PART, target_fps=50_000,
        images=tmp_path / "pruned.npz", max_images=8, synth="none", **building,
    ))  # fmt: skip
    verify = Summary.load(output).verify
    assert (verify.images, verify.rtl_mismatches, verify.class_changes, verify.saturations) == (8, 0, 0, 0)
    assert len(np.unique(np.load(output / "verification_output" / "rtl_logits.npy"))) > 10
    assert list((output / "stitched_ip").rglob("vp_rotary.sv"))
    code = run(["import", str(tmp_path / "float.onnx"), "-o", str(tmp_path / "n.onnx"), *given, "--token-keep", "0.5", "--drop-at", "1"])
    assert code == 2
    assert "token keep rate 0.5: with rotary position embedding" in capsys.readouterr().err
