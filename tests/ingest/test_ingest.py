"""Recognition: exports of many kinds are one network, and its weights come back under timm's names."""

import numpy as np
import onnx
import pytest
import timm.layers
import torch
import torchvision
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn

from finn_vitprune.ingest.onnx_file.model_file import Kind, load
from finn_vitprune.ingest.recognise.read import read
from finn_vitprune.models.config import EncoderShape, MlpActivation
from tests.ingest_models import Multihead, assert_same_logits, export, hugging_face, randomised, small_distilled, small_timm
from tests.sampling import sampled


def recognised(path):
    found = read(path)
    assert found.rejections == (), [str(r) for r in found.rejections]
    assert found.vit is not None
    return found.vit


def assert_shapes(vit, prefix=1):
    assert (vit.config.image_size, vit.config.channels, vit.config.patch_size, vit.config.dim, vit.config.head_dim) == (64, 3, 16, 24, 8)
    assert (vit.config.encoders, vit.config.classes, vit.config.prefix) == ((EncoderShape(3, 96),) * 2, 5, prefix)
    assert vit.config.tokens == 16 + prefix


def assert_weights_equal(vit, state):
    state = {k: v.numpy() for k, v in state.items()}
    assert set(vit.weights) == set(state)
    for name, array in state.items():
        assert np.array_equal(vit.weights[name], array), name


@pytest.mark.parametrize("opset", [11, 14, 17, 20])
def test_torchscript_exports_give_back_every_weight_exactly(tmp_path, opset):
    timm.layers.set_fused_attn(opset >= 14)  # torch exports the fused form from opset 14 on
    try:
        model = small_timm()
        path = export(model, tmp_path / "model.onnx", opset)
    finally:
        timm.layers.set_fused_attn(True)
    vit = recognised(path)
    assert_shapes(vit)
    assert (vit.config.eps, vit.config.activation.text, vit.config.pooling) == (1e-6, "GELU", "class")
    assert_weights_equal(vit, model.state_dict())
    assert_same_logits(path, vit)


@pytest.mark.slow
@pytest.mark.parametrize("opset", sampled([18, 23], 1))
def test_dynamo_exports_with_external_data_give_back_every_weight_exactly(tmp_path, opset):
    model = small_timm()
    path = export(model, tmp_path / "model.onnx", opset, dynamo=True, external_data=True, verbose=False)
    assert (tmp_path / "model.onnx.data").is_file()
    vit = recognised(path)
    assert_shapes(vit)
    assert_weights_equal(vit, model.state_dict())


def test_a_distilled_model_has_two_prefix_tokens_and_two_classifiers(tmp_path):
    model = small_distilled()
    path = export(model, tmp_path / "model.onnx")
    vit = recognised(path)
    assert_shapes(vit, prefix=2)
    assert vit.distilled_head
    assert_weights_equal(vit, model.state_dict())
    assert_same_logits(path, vit)


@pytest.mark.parametrize("fc_norm", [True, False])
def test_mean_pooling_of_the_patches_is_recognised_with_the_place_of_the_last_norm(tmp_path, fc_norm):
    path = export(small_timm(global_pool="avg", fc_norm=fc_norm), tmp_path / "model.onnx")
    vit = recognised(path)
    assert_shapes(vit)
    assert (vit.config.pooling, vit.config.norm_after_pooling) == ("mean", fc_norm)
    assert_same_logits(path, vit)


def test_a_model_without_class_token_is_recognised(tmp_path):
    path = export(small_timm(global_pool="avg", class_token=False), tmp_path / "model.onnx")
    vit = recognised(path)
    assert_shapes(vit, prefix=0)
    assert vit.config.pooling == "mean"
    assert_same_logits(path, vit)


@pytest.mark.parametrize("exporter, opset", [("torchscript", 14), ("torchscript", 17), pytest.param("dynamo", 20, marks=pytest.mark.slow)])
def test_a_norm_before_the_encoders_is_recognised_with_its_gamma_and_beta(tmp_path, exporter, opset):
    model, dynamo = small_timm(pre_norm=True), exporter == "dynamo"
    path = export(model, tmp_path / "model.onnx", opset, dynamo=dynamo, **{"verbose": False} if dynamo else {})
    vit = recognised(path)
    assert_shapes(vit)
    assert vit.config.norm_pre
    assert_weights_equal(vit, model.state_dict() | {"patch_embed.proj.bias": torch.zeros(24)})
    assert_same_logits(path, vit)


@pytest.mark.parametrize("options", [{}, {"global_pool": "avg"}, {"pre_norm": True}], ids=str)
@pytest.mark.parametrize("opset", [14, 20])
def test_a_network_without_a_norm_before_the_classifier_is_recognised(tmp_path, opset, options):
    model = small_timm(final_norm=False, **options)
    path = export(model, tmp_path / "model.onnx", opset)
    vit = recognised(path)
    assert not vit.config.final_norm and not any(name.startswith(("norm.", "fc_norm.")) for name in vit.weights)
    assert_same_logits(path, vit)


@pytest.mark.parametrize("opset", [14, 17])
def test_layer_scale_is_folded(tmp_path, opset):
    path = export(small_timm(init_values=0.1), tmp_path / "model.onnx", opset)
    vit = recognised(path)
    assert vit.layer_scale
    assert_same_logits(path, vit)


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("activation", MlpActivation)
def test_activations_are_told_apart(tmp_path, activation, opset):
    path = export(small_timm(act_layer=activation.value), tmp_path / "model.onnx", opset)
    vit = recognised(path)
    assert vit.config.activation is activation
    assert_same_logits(path, vit)


def test_positions_of_the_patches_alone_are_recognised(tmp_path):
    path = export(small_timm(no_embed_class=True), tmp_path / "model.onnx")
    vit = recognised(path)
    assert np.all(vit.weights["pos_embed"][0, 0] == 0)
    assert_same_logits(path, vit)


@pytest.mark.parametrize("opset", [14, 17])
def test_separate_query_key_value_with_open_dimensions_as_optimum_exports_them(tmp_path, opset):
    axes = {"pixel_values": dict(enumerate(("batch_size", "num_channels", "height", "width")))}
    axes |= {"logits": {0: "batch_size"}}
    path = export(
        hugging_face(), tmp_path / "model.onnx", opset, dynamic_axes=axes, input_names=["pixel_values"],
        output_names=["logits"],
    )  # fmt: skip
    vit = recognised(path)
    assert_shapes(vit)
    assert vit.config.eps == 1e-12
    assert_same_logits(path, vit)


class Wrapped(nn.Module):
    """A ViT with pixels of 0 to 255 in the last axis, normalised inside."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = small_timm()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]))

    def forward(self, x):
        return self.vit(((x / 255.0 - self.mean) / self.std).permute(0, 3, 1, 2)).softmax(-1)


def test_pixels_normalised_inside_and_channels_last_and_probabilities(tmp_path):
    model = Wrapped().eval()
    path = export(model, tmp_path / "model.onnx", shape=(1, 64, 64, 3))
    vit = recognised(path)
    assert vit.channels_last
    assert vit.scaling.pixel_range == 255.0
    mean, std = vit.scaling.mean_and_std()
    assert np.allclose(mean, model.mean, atol=1e-6)
    assert np.allclose(std, model.std, atol=1e-6)
    assert_weights_equal(vit, model.vit.state_dict())


class Einsums(nn.Module):
    """Patches by reshape, attention by einsum, the scale on the keys, q, k and v as thirds of the columns."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(768, 24)
        self.cls = nn.Parameter(torch.zeros(1, 1, 24))
        self.pos = nn.Parameter(torch.zeros(1, 17, 24))
        self.norm1, self.norm2, self.norm = (nn.LayerNorm(24) for _ in range(3))
        self.qkv, self.proj = nn.Linear(24, 72, bias=False), nn.Linear(24, 24)
        self.fc1, self.fc2, self.head = nn.Linear(24, 96), nn.Linear(96, 24), nn.Linear(24, 5)

    def forward(self, x):
        x = x.reshape(1, 3, 4, 16, 4, 16).permute(0, 2, 4, 3, 5, 1).reshape(1, 16, 768)
        x = torch.cat([self.cls + self.pos[:, :1], self.embed(x) + self.pos[:, 1:]], 1)
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        q, k, v = (t.reshape(1, 17, 3, 8) for t in (q, k * 0.3, v))
        a = torch.einsum("bihd,bjhd->bhij", q, k).softmax(-1)
        x = x + self.proj(torch.einsum("bhij,bjhd->bihd", a, v).reshape(1, 17, 24))
        h = self.fc1(self.norm2(x))
        x = x + self.fc2(0.5 * h * (1 + torch.erf(h * 0.70710678)))
        return self.head(self.norm(x[:, 0]))


def test_einsum_reshaped_patches_and_a_scale_of_its_own(tmp_path):
    path = export(randomised(Einsums()), tmp_path / "model.onnx")
    vit = recognised(path)
    assert ([e.heads for e in vit.config.encoders], vit.config.patch_size, vit.config.prefix) == ([3], 16, 1)
    assert_same_logits(path, vit)


def test_multihead_attention_of_torch(tmp_path):
    model = randomised(Multihead())
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        path = export(model, tmp_path / "model.onnx", 17)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    vit = recognised(path)
    assert_shapes(vit)
    assert_same_logits(path, vit)


@pytest.mark.parametrize("open_batch", [False, True])
def test_torchvisions_vit(tmp_path, open_batch):
    model = randomised(torchvision.models.VisionTransformer(64, 16, 2, 3, 24, 96, num_classes=5))
    torch.backends.mha.set_fastpath_enabled(False)
    axes = {"x": {0: "batch"}} if open_batch else None
    try:
        path = export(model, tmp_path / "model.onnx", 17, dynamic_axes=axes)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    vit = recognised(path)
    assert_shapes(vit)
    assert_same_logits(path, vit)


def test_half_precision_weights_are_taken_as_they_are(tmp_path):
    model = small_timm().half()
    path = tmp_path / "model.onnx"
    zeros = torch.zeros(1, 3, 64, 64, dtype=torch.half)
    torch.onnx.export(model, (zeros,), str(path), opset_version=17, dynamo=False)
    vit = recognised(path)
    assert vit.config.activation is MlpActivation.GELU
    assert_weights_equal(vit, {k: v.float() for k, v in model.state_dict().items()})


class Calibration(CalibrationDataReader):
    """Two random images for onnxruntime's quantiser."""

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        self.images = iter([{"x": draw.normal(size=(1, 3, 64, 64)).astype(np.float32)} for _ in range(2)])

    def get_next(self):
        return next(self.images, None)


@pytest.mark.parametrize("per_channel", [False, True])
def test_files_of_onnxruntimes_quantiser_come_within_half_a_step(tmp_path, per_channel):
    model = small_timm()
    path = export(model, tmp_path / "float.onnx")
    quantize_static(
        str(path), str(tmp_path / "qdq.onnx"), Calibration(), quant_format=QuantFormat.QDQ,
        per_channel=per_channel, weight_type=QuantType.QInt8,
    )  # fmt: skip
    vit = recognised(tmp_path / "qdq.onnx")
    assert_shapes(vit)
    for name, tensor in model.state_dict().items():
        step = tensor.abs().max().item() / 127
        assert np.abs(vit.weights[name] - tensor.numpy()).max() <= 0.51 * step + 1e-6, name


def test_a_file_of_quantised_operators_is_refused_with_the_form_that_works(tmp_path):
    path = export(small_timm(), tmp_path / "float.onnx")
    target = str(tmp_path / "operators.onnx")
    quantize_static(str(path), target, Calibration(), quant_format=QuantFormat.QOperator)
    rejection = read(tmp_path / "operators.onnx").rejections[0]
    assert rejection.op_type.startswith("QLinear")
    assert "QDQ form" in rejection.help


def quantised_weights(path, target):
    """The file with every matrix as int8 codes, per output channel, and a quantiser before every MatMul."""
    model = onnx.load(str(path))
    graph, nodes = model.graph, []
    arrays = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    expected = {}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in arrays:
            name, w = node.input[1], arrays[node.input[1]]
            scale = (np.abs(w).max(0) / 127).astype(np.float32)
            codes = np.rint(w / scale).astype(np.int8)
            expected[name] = codes * scale
            graph.initializer.extend(
                numpy_helper.from_array(a, f"{name}_{s}")
                for s, a in (("codes", codes), ("scale", scale), ("zero", np.zeros(len(scale), np.int8)))
            )
            inputs = [f"{name}_{s}" for s in ("codes", "scale", "zero")]
            nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}_real"], axis=1))
            node.input[1] = f"{name}_real"
            x = node.input[0]
            step = numpy_helper.from_array(np.float32(1e-4), f"{name}_step")
            zero = numpy_helper.from_array(np.int16(0), f"{name}_zero16")
            graph.initializer.extend([step, zero])
            quantiser = [f"{name}_step", f"{name}_zero16"]
            nodes.append(helper.make_node("QuantizeLinear", [x, *quantiser], [f"{name}_x"]))
            nodes.append(helper.make_node("DequantizeLinear", [f"{name}_x", *quantiser], [f"{name}_xq"]))
            node.input[0] = f"{name}_xq"
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, str(target))
    return expected


def test_qdq_files_are_taken_in_by_their_dequantised_weights(tmp_path):
    path = export(small_timm(), tmp_path / "float.onnx")
    expected = quantised_weights(path, tmp_path / "qdq.onnx")
    assert load(tmp_path / "qdq.onnx").kind is Kind.QDQ
    vit = recognised(tmp_path / "qdq.onnx")
    for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
        array = vit.weights[f"blocks.1.{name}.weight"]
        assert any(np.array_equal(array.T, e) for e in expected.values()), name


def test_node_names_play_no_part(tmp_path):
    path = export(small_timm(), tmp_path / "model.onnx")
    model = onnx.load(str(path))
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, str(path))
    assert_shapes(recognised(path))


def test_the_shapes_fit_the_models_of_this_project(tmp_path):
    from finn_vitprune.models.timm_weights import load_timm
    from finn_vitprune.models.vit import PrunedViT

    vit = recognised(export(small_timm(init_values=0.1), tmp_path / "model.onnx"))
    network = PrunedViT(vit.config)
    load_timm(network, {k: torch.from_numpy(np.array(v)) for k, v in vit.weights.items()}, (0, 0, 0), (1, 1, 1))
    network.quantise(False)
    images = torch.randint(0, 256, (2, 64, 64, 3)).float()
    expected = small_timm(init_values=0.1)(images.permute(0, 3, 1, 2) / 255)
    assert torch.allclose(network.eval()(images), expected, atol=1e-3)
