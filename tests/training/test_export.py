"""Promises of the export: the file computes what PyTorch computes, or is not written."""

import time

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from timm.models.vision_transformer import VisionTransformer

from finn_vitprune import numerics
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.export.export import describe, export, to_qonnx
from finn_vitprune.export.gate import check_export
from finn_vitprune.export.metadata import ModelMetadata
from finn_vitprune.models.config import MlpActivation
from finn_vitprune.models.freeze import freeze, kept_block_masks
from finn_vitprune.models.timm_weights import config_of_timm, load_timm
from finn_vitprune.models.vit import ACTIVATIONS, PrunedViT
from finn_vitprune.pruning.config import PruneConfig
from finn_vitprune.pruning.cut import cut
from finn_vitprune.pruning.scores import PruneScores
from finn_vitprune.transforms.lowering.lower import lower
from tests.sampling import sampled, spread

torch.set_num_threads(1)


@torch.no_grad()
def pruned(teacher, keep: str, block: int, drops: dict[str, tuple[int, ...]], images: torch.Tensor, **bits):
    config = config_of_timm(teacher, **bits)
    for rate, layers in drops.items():
        config = config.with_token_drop(rate, layers)
    model = PrunedViT(config)
    load_timm(model, teacher.state_dict(), (0.5,) * config.channels, (0.5,) * config.channels)
    scores = PruneScores(config, PruneConfig(block, keep, keep))
    scores.set_to_magnitude(model)
    masks = scores.masks()
    model.calibrate(images, masks)
    return config, freeze(cut(model.eval(), masks))


def exported(bits: int, activation: str = "gelu"):
    """A small pruned network that drops tokens, its metadata, and images."""
    torch.manual_seed(7)
    sizes = dict(img_size=8, patch_size=2, in_chans=1, num_classes=10, embed_dim=32, depth=2, num_heads=2)
    teacher = VisionTransformer(**sizes, act_layer=activation).eval()
    for parameter in teacher.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    images = torch.randint(0, 256, (24, 8, 8, 1)).float()
    config, frozen = pruned(teacher, "0.5", 8, {"0.7": (1,)}, images, weight_bits=bits, act_bits=bits)
    metadata = describe("small", config, frozen, 8, 0.5, 0.5, 0.7)
    return frozen, metadata, images.numpy().astype(np.uint8)


@pytest.fixture(scope="module", params=[8, 4], ids=["8bit", "4bit"])
def small(request):
    return exported(request.param)


def test_every_quantiser_and_drop_equals_pytorch(small):
    frozen, _, images = small
    report = check_export(frozen, to_qonnx(frozen), images, end_to_end=2)
    assert report.passed, report.reason
    assert report.values > 24 * 17 * 32 * 20 and report.near_ties < 1e-4 * report.values
    assert report.images == 2 and report.max_logit_diff < 0.05 * report.logit_scale


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("activation", sampled((a for a in MlpActivation if a is not MlpActivation.GELU), 1))
def test_every_activation_is_a_table_of_its_values(activation, bits):
    frozen, _, images = exported(bits, activation.value)
    assert frozen.config.activation is activation
    report = check_export(frozen, model := to_qonnx(frozen), images, end_to_end=2)
    assert report.passed, report.reason
    hardware = lower(model).model
    lookups = [n for n in hardware.graph.node if n.op_type == "VitLookup"]
    lo, hi = numerics.int_range(bits, True)
    for lookup, mlp in zip(lookups, (block.mlp for block in frozen.blocks), strict=True):
        codes = torch.arange(lo, hi + 1).double() * float(mlp.pre_quant.scale.number)
        scale = float(mlp.act_quant.scale.number)
        values = (ACTIVATIONS[activation](codes) / scale).numpy() + mlp.act_quant.zero.code(scale, bits)
        table, nearest = hardware.get_initializer(lookup.input[1]).flatten(), np.rint(values).clip(lo, hi)
        beside = np.abs(values - np.floor(values) - 0.5) < numerics.TIE_TOLERANCE
        assert np.array_equal(table[~beside], nearest[~beside]) and beside.mean() < 0.05
    logits = golden.run(hardware, {hardware.graph.input[0].name: images})[hardware.graph.output[0].name].reshape(len(images), -1)
    with torch.no_grad():
        floats = frozen(torch.from_numpy(images).float()).numpy()
    assert (logits.argmax(1) == floats.argmax(1)).mean() > 0.9


def test_the_written_file_runs_in_qonnx_with_pixels_in_and_logits_out(small, tmp_path):
    frozen, metadata, images = small
    export(frozen, tmp_path / "model.onnx", metadata, images[:4])
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    model = ModelWrapper(str(tmp_path / "model.onnx"))
    assert model.get_tensor_shape("images") == [1, 8, 8, 1] and model.get_tensor_shape("logits") == [1, 10]
    assert model.get_tensor_datatype("images").name == "UINT8"
    assert all(o.version >= 17 for o in model.model.opset_import if o.domain == "")
    for image in images[:3]:
        batch = image[None].astype(np.float32)
        found = execute_onnx(model, {"images": batch})["logits"]
        with torch.no_grad():
            assert found.argmax() == int(frozen(torch.from_numpy(batch)).argmax())


def test_metadata_comes_back_and_agrees_with_the_weights(small, tmp_path):
    frozen, metadata, images = small
    export(frozen, tmp_path / "model.onnx", metadata, images[:2])
    model = ModelWrapper(str(tmp_path / "model.onnx"))
    read = ModelMetadata.read(model)
    assert read == metadata
    assert read.tokens == [{"in": 17, "mlp": 14}, {"in": 14, "mlp": 14}] and read.drop_points == {"1": 12}
    weight = numpy_helper.to_array(next(i for i in model.graph.initializer if i.name == "blocks.1.attn.proj.weight"))
    kept = read.kept_blocks["blocks.1.proj"].grid
    assert np.array_equal(kept, (weight.T.reshape(4, 8, -1, 8) != 0).any((1, 3)))
    assert 0 < kept.sum() <= 8


def test_a_model_without_metadata_is_refused(small):
    with pytest.raises(UserError, match="not exported by finn-vitprune"):
        ModelMetadata.read(to_qonnx(small[0]))


def test_two_exports_are_the_same_file(small):
    assert to_qonnx(small[0]).model.SerializeToString() == to_qonnx(small[0]).model.SerializeToString()


@pytest.mark.parametrize(
    "node, position",
    spread(
        [
            ("blocks.0.attn.q_quant.Quant", 1),
            ("blocks.1.mlp.fc2_quant.Quant", 1),
            ("blocks.0.norm1.quant.Quant", 1),
            ("blocks.0.attn.qkv.weight_quant.Quant", 0),
        ],
        6,
        several=True,
    ),
)
def test_gate_refuses_a_graph_that_computes_something_else(small, node, position, tmp_path, monkeypatch):
    """A scale or weight changed by a fifth in the graph is found, and no file appears."""
    frozen, metadata, images = small
    model = to_qonnx(frozen)
    name = next(n for n in model.graph.node if n.name == node).input[position]
    model.set_initializer(name, model.get_initializer(name) * np.float32(1.2))
    report = check_export(frozen, model, images)
    assert not report.passed and "image" in report.reason
    monkeypatch.setattr("finn_vitprune.export.export.to_qonnx", lambda _: model)
    with pytest.raises(UserError, match="export gate failed"):
        export(frozen, tmp_path / "model.onnx", metadata, images)
    assert list(tmp_path.iterdir()) == []


def test_gate_refuses_a_token_drop_that_keeps_others(small):
    frozen, _, images = small
    model = to_qonnx(frozen)
    drop = next(n for n in model.graph.node if n.op_type == "TokenDrop")
    for attribute in drop.attribute:
        if attribute.name == "mult":
            attribute.i //= 2
    report = check_export(frozen, model, images)
    assert "TokenDrop" in report.reason


def test_every_requantisation_ratio_is_a_17_bit_multiplier(small):
    """s_in s_w / s_out = M 2^-S with one S a layer, up to float32; biases lie on the accumulator grid."""
    frozen, _, _ = small
    for block in frozen.blocks:
        a, m, residual = block.attn, block.mlp, frozen.residual_scale.number
        width = a.heads * a.head_dim
        qkv_out = np.repeat([q.scale.number for q in (a.q_quant, a.k_quant, a.v_quant)], width)
        for layer, s_in, s_out in (
            (a.qkv, block.norm1.quant.scale.number, qkv_out),
            (a.proj, a.out_quant.scale.number, residual),
            (m.fc1, block.norm2.quant.scale.number, m.pre_quant.scale.number),
            (m.fc2, m.act_quant.scale.number, residual),
        ):
            scale = layer.weight_scale.held.double().numpy().reshape(-1)
            ratio = s_in * scale / s_out
            mult, shift = numerics.snap_ratio(ratio)
            assert np.allclose(mult * 2.0**-shift, ratio, rtol=3e-7, atol=0) and mult.max() < 2**17
            bias = layer.bias.detach().double().numpy() / (s_in * scale)
            assert np.allclose(bias, np.rint(bias), atol=1e-6 * max(1.0, np.abs(bias).max()))


@pytest.mark.whole
@pytest.mark.slow
def test_deit_small_is_pruned_calibrated_and_exported(tmp_path):
    """The real size with random weights: 12 encoders, 197 tokens, three drops, through the gate."""
    torch.manual_seed(0)
    teacher = timm.create_model("deit_small_patch16_224").eval()
    images = torch.randint(0, 256, (2, 224, 224, 3)).float()
    config, frozen = pruned(teacher, "0.5", 16, {"0.7": (3, 7, 10)}, images)
    metadata = describe("deit_small_patch16_224", config, frozen, 16, 0.5, 0.5, 0.7)
    report = export(frozen, tmp_path / "deit_small.onnx", metadata, images[:1].numpy().astype(np.uint8))
    assert report.passed and report.near_ties < 1e-4 * report.values
    assert [t["mlp"] for t in metadata.tokens][2:10:4] == [140, 100]
    assert metadata.macs_dense / metadata.macs > 2.5
    model = onnx.load(tmp_path / "deit_small.onnx")
    assert sum(n.op_type == "TokenDrop" for n in model.graph.node) == 3
    masks = kept_block_masks(frozen, 16)
    assert all(m.kept == 288 for k, m in masks.items() if frozen.config.encoders[int(k.split(".")[1])].heads == 6)
    source = ModelWrapper(str(tmp_path / "deit_small.onnx"))
    started = time.perf_counter()
    lowered = lower(source)
    assert time.perf_counter() - started < 10
    assert len(lowered.model.get_nodes_by_op_type("PrunedAttention")) == 12
