"""Gated MLPs in float files: timm's forms are recognised, and what the hardware does not have is refused by name."""

from functools import partial

import numpy as np
import pytest
from timm.layers import GluMlp, SwiGLU, SwiGLUPacked
from timm.models.eva import Eva
from torch import nn
from torch.nn import functional as F

from finn_vitprune.ingest.check.answers import Mapped
from finn_vitprune.ingest.check.check_float import check_float
from finn_vitprune.ingest.check.checked import structure_text
from finn_vitprune.ingest.onnx_file.model_file import load
from finn_vitprune.ingest.recognise.read import read
from finn_vitprune.models.config import MlpActivation
from tests.ingest.test_rotary_files import exported, same_logits
from tests.ingest_models import SMALL, randomised, small_timm
from tests.sampling import spread


def glu(activation, **options):
    return partial(GluMlp, act_layer=activation, **options)


KINDS = {
    "one layer, gate first": (SwiGLUPacked, MlpActivation.SILU, 24, False),
    "one layer, gate first, dynamo": (SwiGLUPacked, MlpActivation.SILU, 24, True),
    "two layers": (SwiGLU, MlpActivation.SILU, 48, False),
    "two layers, dynamo": (SwiGLU, MlpActivation.SILU, 48, True),
    "sigmoid, gate last": (GluMlp, MlpActivation.SIGMOID, 24, False),
    "GELU, gate last, dynamo": (glu(nn.GELU), MlpActivation.GELU, 24, True),
    "ReLU, without biases": (glu(nn.ReLU, gate_last=False, bias=(False, True)), MlpActivation.RELU, 24, False),
    "GELU in its tanh form": (glu(partial(nn.GELU, approximate="tanh")), MlpActivation.GELU_TANH, 24, False),
}
"""Layer of timm, activation, neurons, and whether the dynamo exporter writes the file."""


def network(layer):
    """The encoders hand their own activation on, which is left out here."""
    return small_timm(mlp_layer=lambda in_features, hidden_features, **unused: layer(in_features, hidden_features), mlp_ratio=2.0)


@pytest.mark.parametrize("kind", spread(list(KINDS), 4))
def test_it_is_recognised_in_files_of_timm(tmp_path, kind):
    layer, activation, neurons, dynamo = KINDS[kind]
    path = exported(network(layer), tmp_path / "model.onnx", dynamo)
    found = read(path)
    assert found.vit is not None, [str(r) for r in found.rejections]
    config = found.vit.config
    assert config.gated and config.activation is activation
    assert [shape.neurons for shape in config.encoders] == [neurons, neurons]
    assert found.vit.weights["blocks.1.mlp.fc1_g.weight"].shape == found.vit.weights["blocks.0.mlp.fc1_x.weight"].shape == (neurons, 24)
    assert same_logits(path, found.vit)


def test_weights_of_two_layers_are_those_of_the_file(tmp_path):
    model = network(SwiGLU)
    found = read(exported(model, tmp_path / "model.onnx")).vit.weights
    for name, wanted in model.state_dict().items():
        if ".mlp." in name:
            assert np.array_equal(found[name], wanted.numpy()), name


def test_rotary_positions_beside_gates(tmp_path):
    """As DINOv3's larger networks."""
    model = Eva(**SMALL, use_rot_pos_emb=True, swiglu_mlp=True, init_values=0.1, global_pool="token")
    for block in model.blocks:
        block.attn.fused_attn = False
    path = exported(randomised(model), tmp_path / "model.onnx")
    found = read(path)
    assert found.vit is not None, [str(r) for r in found.rejections]
    assert found.vit.config.gated and found.vit.config.rotary is not None
    assert same_logits(path, found.vit)


def test_the_answer_of_check_names_the_unit(tmp_path):
    path = exported(network(SwiGLU), tmp_path / "model.onnx")
    checked = check_float(load(path), path)
    assert not checked.rejections and "gated MLPs of width 48" in structure_text(checked.structure)
    units = {row.answer for row in checked.rows if row.place == 1}
    assert {Mapped("VitGate", "SiLU"), Mapped("BlockSparseMVAU", "MLP, gates and values", "24 x 96")} <= units, units


class Written(nn.Module):
    """A gated MLP of which a function says what is multiplied."""

    def __init__(self, product, in_features, hidden_features, **unused) -> None:
        super().__init__()
        self.product = product
        self.gate, self.value = nn.Linear(in_features, hidden_features), nn.Linear(in_features, hidden_features)
        self.last = nn.Linear(hidden_features, in_features)

    def forward(self, x):
        return self.last(self.product(self.gate(x), self.value(x)))


class Normed(SwiGLU):
    def __init__(self, in_features, hidden_features, **unused) -> None:
        super().__init__(in_features, hidden_features, norm_layer=partial(nn.LayerNorm, eps=1e-6))


def test_scales_and_offsets_beside_the_activation_are_taken_into_the_layers(tmp_path):
    written = partial(Written, lambda g, x: (0.5 * x - 0.1) * F.silu(g))
    path = exported(small_timm(mlp_layer=written), tmp_path / "model.onnx")
    found = read(path)
    assert found.vit is not None, [str(r) for r in found.rejections]
    assert same_logits(path, found.vit)


@pytest.mark.parametrize(
    "layer, reason",
    [
        (partial(Written, lambda g, x: g * x), "gated MLP (no activation in the gate)"),
        (partial(Written, lambda g, x: F.silu(g) * F.relu(x)), "gated MLP (SiLU and ReLU)"),
        (partial(Written, lambda g, x: F.elu(g) * x), "activation ELU in the gate of an MLP"),
        (partial(Written, lambda g, x: F.silu(g) * x.flip(1)), "gated MLP (gate SiLU): a factor of shape [1, 17, 96]"),
        (Normed, "gated MLP with a LayerNorm: it stands before the second layer"),
    ],
    ids=["no activation", "two", "ELU", "other tokens", "norm"],
)
def test_what_the_hardware_does_not_have_is_refused_by_name(tmp_path, layer, reason):
    found = read(exported(small_timm(mlp_layer=layer), tmp_path / "model.onnx"))
    assert found.vit is None
    assert found.rejections[0].reason.startswith(reason), found.rejections
    assert found.rejections[0].help


class OneGated(nn.Module):
    """Gates in one encoder of two."""

    made = 0

    def __new__(cls, in_features, hidden_features, **unused):
        cls.made += 1
        return Written(lambda g, x: F.silu(g) * x, in_features, hidden_features) if cls.made % 2 else _plain(in_features, hidden_features)


def _plain(width, hidden):
    return nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, width))


def test_gates_in_some_encoders_alone_are_refused(tmp_path):
    found = read(exported(small_timm(mlp_layer=OneGated), tmp_path / "model.onnx"))
    assert found.vit is None and "gated MLP False in encoder 2, True in the first encoder" in found.rejections[0].reason


def test_attention_pooling_beside_gates_is_refused(tmp_path):
    model = small_timm(mlp_layer=SwiGLU, global_pool="map", class_token=False, act_layer=nn.SiLU)
    found = read(exported(model, tmp_path / "model.onnx"))
    assert found.vit is None and "attention pooling" in found.rejections[0].reason, found.rejections
