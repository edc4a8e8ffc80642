"""What is not supported is rejected by its name, at the node where it stands."""

import numpy as np
import pytest
import timm.layers
import torch
from timm.models.cait import Cait
from timm.models.eva import Eva
from timm.models.mlp_mixer import MlpMixer
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import Attention, ParallelScalingBlock, ParallelThingsBlock, ResPostBlock
from torch import nn

from finn_vitprune.cli import run
from finn_vitprune.graph.node import Rejection
from finn_vitprune.ingest.check.check import check
from finn_vitprune.ingest.check.checked import refusal, verdict
from finn_vitprune.ingest.recognise.features import FEATURES, features, importance
from finn_vitprune.ingest.recognise.read import read
from tests.ingest_models import SMALL, Multihead, export, randomised, run_onnx, small_timm


class Causal(nn.Module):
    """A ViT in which no token sees a later one."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = Multihead()

    def forward(self, x):
        mask = torch.full((17, 17), float("-inf")).triu(1)
        return self.vit(x, mask)


class Text(nn.Module):
    """Looks words up: a BERT in small, or a GPT-2, which reshapes its ids, has a causal mask, and answers with words."""

    def __init__(self, decoder) -> None:
        super().__init__()
        self.decoder = decoder
        self.words, self.positions, self.norm = nn.Embedding(10, 24), nn.Embedding(20, 24), nn.LayerNorm(24)
        self.layer = nn.TransformerEncoderLayer(24, 3, 96, activation="gelu", norm_first=decoder, batch_first=True)
        self.head = nn.Linear(24, 5)

    def forward(self, ids):
        length = ids.shape[1]
        x = self.words(ids.view(-1, length) if self.decoder else ids) + self.positions(torch.arange(length))
        if self.decoder:
            mask = torch.full((length, length), float("-inf")).triu(1)
            return self.norm(self.layer(x, mask)) @ self.words.weight.T
        return self.head(self.layer(self.norm(x))[:, 0])


class Beside(nn.Module):
    """An image and words."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.words = nn.Conv2d(3, 24, 16, 16), nn.Embedding(10, 24)

    def forward(self, image, ids):
        return self.patches(image).flatten(1) @ self.words(ids)[:, 0].T


class Gated(nn.Module):
    """A gated MLP without an activation in its gate."""

    def __init__(self, in_features, hidden_features, out_features=None, **unused) -> None:
        super().__init__()
        self.w12 = nn.Linear(in_features, 2 * hidden_features)
        self.w3 = nn.Linear(hidden_features, in_features)

    def forward(self, x):
        a, b = self.w12(x).chunk(2, -1)
        return self.w3(a * b)


class ChannelsLast(nn.BatchNorm1d):
    """BatchNorm in place of LayerNorm, on ``[1, N, C]``."""

    def forward(self, x):
        return super().forward(x.transpose(1, 2)).transpose(1, 2) if x.dim() == 3 else super().forward(x)


class Differential(Attention):
    """Two attentions, one taken from the other."""

    def forward(self, x, attn_mask=None, is_causal=False):
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        first = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        second = (k @ q.transpose(-2, -1)).softmax(-1) @ v
        return self.proj((first - 0.5 * second).transpose(1, 2).reshape(batch, tokens, width))


def other_eps():
    model = small_timm(pre_norm=True)
    model.norm_pre.eps = 1e-3
    return model


def with_head(*layers, **options):
    """A ViT with these layers in place of its classifier."""
    model = small_timm(**options)
    model.head = nn.Sequential(*layers)
    return model


SWIN = dict(img_size=64, patch_size=4, embed_dim=12, depths=(2,), num_heads=(3,), window_size=4, num_classes=5)
CASES = {
    "causal mask": (Causal, "Add", "causal mask: no token of 17 sees a later one"),
    "differential attention": (lambda: small_timm(attn_layer=Differential), "Sub", "differential attention"),
    "stem": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.Conv2d(8, 8, 2, 2), nn.Flatten(), nn.Linear(128, 5)),
        "Conv",
        "convolutional stem: a convolution of kernel [2, 2]",
    ),
    "window attention": (
        lambda: SwinTransformer(**SWIN),
        "MatMul",
        "window attention: 16 groups of 16 of the 256 tokens",
    ),
    "attention pooling": (
        lambda: small_timm(global_pool="map", class_token=False, final_norm=False),
        None,
        "attention pooling: the key is",
    ),
    "class attention": (lambda: Cait(**SMALL), None, "talking heads"),
    "parallel MLP": (lambda: small_timm(block_fn=ParallelScalingBlock), None, "parallel blocks"),
    "parallel branches": (lambda: small_timm(block_fn=ParallelThingsBlock), None, "parallel blocks"),
    "norm after the branch": (lambda: small_timm(block_fn=ResPostBlock), None, "post-norm"),
    "norm after the sum": (lambda: Multihead(norm_first=False), None, "post-norm"),
    "register tokens": (
        lambda: small_timm(reg_tokens=16),
        "Add",
        "register tokens: 17 tokens stand beside the patches",
    ),
    "bilinear MLP": (lambda: small_timm(mlp_layer=Gated), "Mul", "gated MLP (no activation in the gate)"),
    "ELU": (lambda: small_timm(act_layer=nn.ELU), "Elu", "activation ELU in the MLP"),
    "Mish": (lambda: small_timm(act_layer=nn.Mish), None, "activation Mish in the MLP"),
    "another eps before the encoders": (other_eps, "LayerNormalization", "eps 0.001 of a LayerNorm, 1e-06 of the first one"),
    "hidden layer in the head": (
        lambda: with_head(nn.Linear(24, 12), nn.ReLU(), nn.Linear(12, 5)),
        "Gemm",
        "hidden layer in the head: 12 neurons with ReLU before the classifier (node /head/head.2/Gemm)",
    ),
    "hidden layers behind the mean": (
        lambda: with_head(nn.Linear(24, 12), nn.LayerNorm(12), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 5), global_pool="avg"),
        "Gemm",
        "hidden layer in the head: 12 and 8 neurons with LayerNorm and tanh before the classifier",
    ),
    "ReLU before the classifier": (
        lambda: with_head(nn.ReLU(), nn.Linear(24, 5)),
        "Relu",
        "ReLU stands between the last LayerNorm and the classifier",
    ),
    "no classifier": (lambda: small_timm(num_classes=0), None, "not a linear classifier"),
    "tokens as output": (
        lambda: small_timm(num_classes=0, global_pool=""),
        None,
        "no single output of shape [1, classes]",
    ),
    "mixer": (
        lambda: MlpMixer(img_size=64, patch_size=16, embed_dim=24, num_blocks=1, num_classes=5),
        "MatMul",
        "over the tokens",
    ),
    "convolutions": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8192, 5)),
        "Conv",
        "kernel [3, 3], stride [2, 2], group 1, padded",
    ),
    "odd patches": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 10, 10), nn.Flatten(), nn.Linear(288, 5)),
        "Conv",
        "patches of 10 x 10 do not divide an image of 64 x 64",
    ),
}  # fmt: skip

INCOMPLETE = {
    "ReLU before the classifier",
    "no positions",
    "another eps before the encoders",
    "no classifier",
    "tokens as output",
    "odd patches",
}
"""Cases in which no part is of another kind: one is missing, or does not fit."""


@pytest.fixture(autouse=True)
def plain_attention():
    """Attention as matrix products, which every exporter can write."""
    torch.backends.mha.set_fastpath_enabled(False)
    timm.layers.set_fused_attn(False)
    yield
    timm.layers.set_fused_attn(True)
    torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_by_name_with_what_would_help(tmp_path, case):
    make, op_type, text = CASES[case]
    path = export(randomised(make()), tmp_path / "model.onnx")
    found = read(path)
    assert found.rejections
    first = found.rejections[0]
    assert text in first.reason, [str(r) for r in found.rejections]
    assert first.help
    assert (importance(first) == len(FEATURES)) == (case in INCOMPLETE)
    if op_type is not None:
        assert first.op_type == op_type


def test_the_first_line_of_the_answer_names_what_is_not_supported_in_an_eva02(tmp_path, capsys):
    """Its norms of queries and keys are turned; what comes behind them is not judged."""
    model = Eva(**SMALL, use_rot_pos_emb=True, ref_feat_shape=(4, 4), swiglu_mlp=True, scale_mlp=True, qkv_fused=False, qk_norm=True)
    path = export(randomised(model), tmp_path / "eva02.onnx")
    checked = check(path)
    first = f"does not take this float file: node {checked.rejections[0].node} ({checked.rejections[0].op_type}): QK-norm: a table of shape"
    assert first in verdict(checked)
    assert not any("window attention" in r.reason for r in checked.rejections)  # nothing in it attends in windows
    assert run(["import", str(path), "--data", "npz:nowhere.npz", "-o", str(tmp_path / "out.onnx")]) == 2
    assert "QK-norm: a table of shape" in capsys.readouterr().err


def test_the_first_line_of_the_answer_names_all_parts_of_an_eva02(tmp_path):
    model = Eva(**SMALL, use_rot_pos_emb=True, ref_feat_shape=(4, 4), swiglu_mlp=True, scale_mlp=True, qkv_fused=False)
    checked = check(export(randomised(model), tmp_path / "eva02.onnx"))
    assert "gated MLP with a LayerNorm" in verdict(checked)


def test_parts_are_named_once_and_the_most_important_first():
    def reason(text):
        return Rejection("n", "Mul", text)

    found = [reason(t) for t in ("activation ReLU", "something else", "gated MLP (gate none): x", "gated MLP (gate SiLU): x")]
    assert features(found) == ["gated MLP (gate none)", "activation ReLU"]
    assert refusal(found) == f"gated MLP (gate none) and activation ReLU are not supported. First: {found[0]}"
    assert refusal(found[1:]) == str(found[1])  # what decides has no such name
    assert refusal(found[2:]) == str(found[2])


def first_help(path):
    """What would help by the first rejection of a file."""
    return read(path).rejections[0].help


def test_two_linear_layers_as_head_become_one_as_the_answer_says_and_are_taken(tmp_path):
    model = randomised(with_head(nn.Linear(24, 12), nn.Linear(12, 5)))
    path = export(model, tmp_path / "model.onnx")
    assert first_help(path) == "multiply the linear layers into one, it computes the same"
    first, second = model.head
    one = nn.Linear(24, 5)
    one.weight.data, one.bias.data = second.weight @ first.weight, second(first.bias)
    expected = run_onnx(path, images := np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32))
    model.head = one
    found = read(export(model, tmp_path / "one.onnx"))
    assert found.rejections == ()
    assert np.abs(run_onnx(tmp_path / "one.onnx", images) - expected).max() < 1e-4 * np.abs(expected).max()
    hidden = export(randomised(with_head(nn.Linear(24, 12), nn.ReLU(), nn.Linear(12, 5))), tmp_path / "hidden.onnx")
    assert first_help(hidden) == "train a head of one linear layer"


FOLD_BEHIND = "fold it into the linear layer that reads it: s = scale / sqrt(variance + epsilon), W becomes diag(s) W"


def folded(norm, head):
    """The linear layer that computes ``head(norm(x))``, as the answer on a BatchNorm before it says."""
    s = norm.weight / (norm.running_var + norm.eps).sqrt()
    one = nn.Linear(head.in_features, head.out_features)
    one.weight.data = head.weight * s  # torch holds W transposed
    one.bias.data = head.bias + (norm.bias - norm.running_mean * s) @ head.weight.T
    return one


@pytest.mark.parametrize("options", [{}, {"global_pool": "avg", "fc_norm": False}], ids=str)
def test_a_batchnorm_before_the_head_is_folded_into_it_as_the_answer_says_and_is_taken(tmp_path, options):
    model = randomised(with_head(nn.BatchNorm1d(24), nn.Linear(24, 5), **options))
    norm, head = model.head
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    path = export(model, tmp_path / "model.onnx")
    first = read(path).rejections[0]
    assert first.op_type == "BatchNormalization"
    assert first.help.startswith(FOLD_BEHIND)
    images = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    expected = run_onnx(path, images)
    model.head = folded(norm, head)
    assert read(export(model, tmp_path / "folded.onnx")).rejections == ()
    assert np.abs(run_onnx(tmp_path / "folded.onnx", images) - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("make", "help"),
    [
        (lambda: with_head(nn.Linear(24, 12), nn.BatchNorm1d(12), nn.Linear(12, 5)), "fold it into the linear layer before it"),
        (lambda: with_head(nn.Linear(24, 12), nn.ReLU(), nn.BatchNorm1d(12), nn.Linear(12, 5)), FOLD_BEHIND),
        (lambda: small_timm(norm_layer=ChannelsLast), "use a plain ViT or DeiT, with LayerNorm"),
    ],
    ids=["behind a linear layer", "behind ReLU", "in place of LayerNorm"],
)
def test_a_batchnorm_elsewhere_gets_the_advice_of_its_place(tmp_path, make, help):
    model = randomised(make())
    path = export(model, tmp_path / "model.onnx", training=torch.onnx.TrainingMode.PRESERVE)
    first = read(path).rejections[0]
    assert first.op_type == "BatchNormalization"
    assert first.help.startswith(help)


def test_a_causal_flag_of_the_attention_operator_is_a_causal_mask(tmp_path):
    import onnx

    path = export(small_timm(), tmp_path / "model.onnx")
    model = onnx.load(str(path))
    model.opset_import[0].version = 23
    for node in [n for n in model.graph.node if n.op_type == "Softmax"]:
        scores = next(n for n in model.graph.node if node.input[0] in n.output)
        product = next(n for n in model.graph.node if node.output[0] in n.input)
        transposed = next(n for n in model.graph.node if scores.input[1] in n.output)
        inputs = [scores.input[0], transposed.input[0], product.input[1]]
        fused = onnx.helper.make_node("Attention", inputs, [product.output[0]], is_causal=1)
        at = list(model.graph.node).index(product)
        for gone in (scores, node, product):
            model.graph.node.remove(gone)
        model.graph.node.insert(at - 2, fused)
    onnx.save(model, str(path))
    found = read(path)
    assert "causal mask" in found.rejections[0].reason
    assert found.rejections[0].op_type == "Attention"


IDS = (torch.zeros(1, 7, dtype=torch.long),)


@pytest.mark.parametrize("open_length", [False, True])
@pytest.mark.parametrize("decoder", [False, True], ids=["as in BERT", "as in GPT-2"])
def test_a_text_model_is_refused_as_one_at_its_token_ids(tmp_path, decoder, open_length):
    path = tmp_path / "model.onnx"
    axes = {"input_ids": {0: "batch", 1: "length"}} if open_length else None
    torch.onnx.export(
        randomised(Text(decoder)), IDS, str(path), opset_version=17, dynamo=False, input_names=["input_ids"], dynamic_axes=axes
    )
    first = read(path).rejections[0]
    assert (first.node, first.op_type) == ("input_ids", "input")
    assert first.reason == "text model: node /words/Gather (Gather) looks its token ids up in a table of 10 x 24"
    assert "one image" in first.help


def test_an_image_in_another_shape_is_no_text_model(tmp_path):
    path = export(nn.Linear(24, 5), tmp_path / "model.onnx", shape=(1, 24))
    assert read(path).rejections[0].reason == "the input has 2 dimensions"
    path = tmp_path / "beside.onnx"  # as CLIP has both
    torch.onnx.export(Beside(), (torch.zeros(1, 3, 16, 16), *IDS), str(path), opset_version=17, dynamo=False)
    assert read(path).rejections[0].reason.startswith("the model has 2 inputs")


def test_a_fixed_batch_and_an_open_image_size_are_refused(tmp_path):
    path = export(small_timm(), tmp_path / "model.onnx", shape=(2, 3, 64, 64))
    assert "batch size 2 is fixed" in read(path).rejections[0].reason
    net = nn.Sequential(nn.Conv2d(3, 8, 16, 16), nn.Flatten())
    path = export(net, tmp_path / "open.onnx", dynamic_axes={"x": {2: "h", 3: "w"}})
    assert "stays open" in read(path).rejections[0].reason


def test_several_reasons_are_all_named(tmp_path):
    path = export(small_timm(mlp_layer=Gated), tmp_path / "model.onnx")
    text = " ".join(r.reason for r in read(path).rejections)
    assert text.count("gated MLP") == 2
