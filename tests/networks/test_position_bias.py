"""Networks with relative position bias: files, training, pruning, QONNX, hardware graph, refusals, RTL of a BEiT bit for bit."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from qonnx.custom_op.registry import getCustomOp
from timm import layers
from timm.models.beit import Beit
from timm.models.vision_transformer import Attention
from torch import nn

from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.cli import run
from finn_vitprune.errors import UserError
from finn_vitprune.execute.golden import run as golden_run
from finn_vitprune.execute.program import IntegerProgram
from finn_vitprune.export.export import to_qonnx
from finn_vitprune.export.gate import record
from finn_vitprune.ingest.check.check_float import check_float
from finn_vitprune.ingest.check.check_qonnx import check_qonnx
from finn_vitprune.ingest.check.checked import structure_text
from finn_vitprune.ingest.onnx_file.model_file import load
from finn_vitprune.ingest.recognise.read import read
from finn_vitprune.models.config import Pooling, ViTConfig
from finn_vitprune.models.freeze import freeze
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.report.summary import Summary
from finn_vitprune.transforms.engines.bind import bind
from finn_vitprune.transforms.engines.room import with_room
from finn_vitprune.transforms.lowering.lower import Unmapped, lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from finn_vitprune.transforms.streams.hardware_only import HardwareOnly
from tests.ingest.test_rotary_files import same_logits
from tests.ingest_models import SMALL, export, randomised, small_timm
from tests.pruned_timm import cut_without_a_head, grey_images, lowered_alike
from tests.random_builds.agreement import assert_every_way, assert_seed_agrees, stored_designs
from tests.random_builds.draw import BIASES
from tests.sampling import sampled

PART = "xcu250-figd2104-2L-e"


def network(**options) -> PrunedViT:
    """Two encoders of three heads, 4 x 4 patches and a class token; random weights and biases."""
    torch.manual_seed(2)
    config = ViTConfig.dense(
        image_size=8, channels=1, patch_size=2, dim=24, heads=3, depth=2, classes=5, mlp_ratio=2.0, position_bias=True, **options
    )
    model = PrunedViT(config)
    with torch.no_grad():
        for linear in model.linears().values():
            linear.weight.normal_(std=0.3)
            linear.bias.normal_(std=0.1)
        for parameter in (model.prefix_tokens, model.pos_embed, *(block.attn.bias.table for block in model.blocks)):
            parameter.normal_(std=0.5)
    return model


def frozen(**options) -> PrunedViT:
    """Pruned to about half of its blocks and neurons, a head less in the first encoder, calibrated, frozen."""
    model = network(**options)
    small, masks = cut_without_a_head(model, grey_images())
    kept = masks[0].heads.bool()
    assert not kept[1] and torch.equal(small.blocks[0].attn.bias.table, model.blocks[0].attn.bias.table[kept])
    return freeze(small)


def test_logits_have_the_bias_of_their_pair_before_they_are_rounded():
    model = frozen()
    attn, found = model.blocks[0].attn, record(model.double(), grey_images().double())
    q, k = (found[f"blocks.0.attn.{name}_quant"] for name in "qk")
    bias = attn.bias.quant
    product = attn.q_quant.scale.number * attn.k_quant.scale.number
    shift = round(np.log2(bias.scale.number / product))
    assert shift >= 0 and abs(bias.scale.number / (product * 2**shift) - 1) < 1e-6
    codes = np.rint(attn.bias.table.detach().numpy() / bias.scale.number).astype(np.int64)
    assert 64 <= np.abs(codes).max() <= 127
    pairs = (q, attn.q_quant), (k, attn.k_quant)
    q, k = (np.rint(x / quant.scale.number).astype(np.int64).reshape(8, 17, attn.heads, 8).swapaxes(1, 2) for x, quant in pairs)
    sums = q @ k.swapaxes(-1, -2) + (codes << shift)
    real = sums * product / attn.logit_quant.scale.number
    logits = found["blocks.0.attn.logit_quant"] / attn.logit_quant.scale.number
    assert np.abs(logits - real.clip(-128, 127)).max() < 0.501 and np.abs(logits).max() > 20


@pytest.mark.parametrize("options", sampled([{"pooling": Pooling.CLASS}, {"pooling": Pooling.PATCHES, "act_bits": 4}], 1))
def test_the_export_passes_its_gate_and_lowers_to_the_same_codes(options):
    model = frozen(**options)
    graph = to_qonnx(model)
    graph.set_metadata_prop("block_size", "8")
    lowered, _ = lowered_alike(model, grey_images(), graph)
    pixels = grey_images().numpy().astype(np.uint8)
    made = [node.output[0] for node in lowered.model.get_nodes_by_op_type("PrunedAttention")]
    program = IntegerProgram(lowered.model)
    assert not any("Attention" in name for name in program.through_golden_models)
    fast, slow = program.run(pixels, made), golden_run(lowered.model, {lowered.model.graph.input[0].name: pixels})
    assert all(np.array_equal(fast[name], slow[name]) for name in made)
    tidy = lowered.model.transform(TidyLowered()).transform(HardwareOnly())
    ops = [getCustomOp(node) for node in tidy.get_nodes_by_op_type("PrunedAttention")]
    assert [op.get_nodeattr("bias_bits") for op in ops] == [8, 8] and ops[0].get_nodeattr("heads") == 2
    assert ops[1].get_nodeattr("queries") == (1 if options["pooling"] is Pooling.CLASS else 17)
    grown = with_room(tidy, float("inf"))
    node = grown.get_nodes_by_op_type("PrunedAttention")[0]
    assert getCustomOp(node).verify_node() == [] and grown.get_initializer(node.input[3]).shape == (3, 17, 17)
    roles = {unit.role: unit.nodes for unit in bind(tidy, 1).engines[0].units}
    assert all(len(names) == 1 for names in roles["attention"]) and len(roles["attention"]) == 2


def test_check_says_what_the_nodes_become(tmp_path):
    path, graph = tmp_path / "model.onnx", to_qonnx(frozen())
    graph.set_metadata_prop("block_size", "8")
    graph.save(str(path))
    checked = check_qonnx(graph.model, load(path), path, None, None)
    assert not checked.rejections and checked.mapped == len(checked.rows)
    assert "relative position bias" in structure_text(checked.structure)


def test_training_moves_the_bias():
    model = network().train()
    model.calibrate(grey_images())
    model(grey_images()).square().sum().backward()
    assert all(block.attn.bias.table.grad.abs().sum() > 0 for block in model.blocks)


@pytest.mark.parametrize("change, message", [(1.5, "times a power of two"), (2.0**-20, "times a power of two")])
def test_a_bias_at_another_scale_is_named(change, message):
    graph = to_qonnx(frozen())
    quant = next(n for n in graph.graph.node if n.op_type == "Quant" and "bias" in n.name)
    graph.set_initializer(quant.input[1], graph.get_initializer(quant.input[1]) * np.float32(change))
    with pytest.raises(Unmapped, match=message):
        lower(graph)


def test_what_cannot_be_configured():
    config = network().config
    with pytest.raises(UserError, match="token keep rate 0.5: with relative position bias"):
        config.with_token_drop("0.5", (1,))
    with pytest.raises(ValueError, match="relative position bias needs encoders that keep all tokens"):
        replace(config, encoders=(replace(config.encoders[0], keep=3),) * 2)


class BiasWithoutClassToken(Attention):
    """Relative positions of the patches alone: the table is padded for the class token."""

    def forward(self, x, attn_mask=None, is_causal=False):
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        table = nn.functional.pad(self.qkv.weight[: tokens - 1, : tokens - 1], (1, 0, 1, 0))
        attention = (q @ k.transpose(-2, -1) + table).softmax(-1)
        return self.proj((attention @ v).transpose(1, 2).reshape(batch, tokens, width))


PATCHES_ALONE = {"pos_embed": "none", "class_token": False, "global_pool": "avg"}
FILES = {
    "BEiT": lambda: Beit(**SMALL, use_abs_pos_emb=False, use_rel_pos_bias=True, init_values=0.1),
    "beside positions": lambda: Beit(**SMALL, use_abs_pos_emb=True, use_rel_pos_bias=True),
    "padded table": lambda: small_timm(attn_layer=BiasWithoutClassToken),
    "no positions but these": lambda: small_timm(attn_layer=BiasWithoutClassToken, **PATCHES_ALONE),
    "and a LayerNorm on the patches": lambda: small_timm(attn_layer=BiasWithoutClassToken, pre_norm=True, **PATCHES_ALONE),
}


@pytest.mark.parametrize("name", sampled(FILES, 1))
@pytest.mark.parametrize("fuse", sampled([False, True], 1))
def test_files_with_a_bias_are_recognised_and_computed(tmp_path, monkeypatch, name, fuse):
    """Attention written out, and as the dynamo exporter has it in one, with the bias as its mask."""
    monkeypatch.setattr(layers.config, "_USE_FUSED_ATTN", int(fuse))
    path = export(randomised(FILES[name]()), tmp_path / "model.onnx", **({"opset": 18, "dynamo": True, "verbose": False} if fuse else {}))
    checked = check_float(load(path), path)
    assert not checked.rejections and checked.mapped == len(checked.rows)
    assert "relative position bias" in structure_text(checked.structure)
    vit = read(path).vit
    assert vit is not None and vit.config.position_bias and same_logits(path, vit)


def beit() -> Beit:
    """As timm's BEiT: no positions but the table of each encoder, LayerScale, a mean before the last LayerNorm."""
    torch.manual_seed(6)
    model = Beit(
        img_size=8, patch_size=2, in_chans=1, num_classes=10, embed_dim=32, depth=2, num_heads=2, use_abs_pos_emb=False,
        use_rel_pos_bias=True, init_values=0.3,
    ).eval()  # fmt: skip
    for block in model.blocks:
        block.attn.fused_attn = False
        nn.init.normal_(block.attn.qkv.weight, std=0.4)
        nn.init.normal_(block.attn.relative_position_bias_table, std=1.0)
    return model


def test_a_beit_comes_in_and_is_planned(tmp_path, capsys):
    path, pruned = tmp_path / "float.onnx", tmp_path / "pruned.onnx"
    torch.onnx.export(beit(), (torch.zeros(1, 1, 8, 8),), str(path), opset_version=17, dynamo=False)
    given = ["--data", "digits", "--block-size", "8", "--block-keep", "0.6", "--json"]
    assert run(["import", str(path), "-o", str(pruned), *given]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["onnxruntime"]["relative"] < 1e-4 and found["gate"]["reason"] == ""
    options = BuildOptions(
        model=pruned, output_dir=tmp_path / "build", fpga_part=PART, target_fps=50_000, images=tmp_path / "pruned.npz", max_images=8,
        estimate_only=True,
    )  # fmt: skip
    build(options)
    summary = Summary.load(options.output_dir)
    assert summary.part.fits and "relative position bias" in structure_text(check_float(load(path), path).structure)
    assert run(["import", str(path), "-o", str(tmp_path / "n.onnx"), *given, "--token-keep", "0.5", "--drop-at", "1"]) == 2
    assert "token keep rate 0.5" in capsys.readouterr().err


@pytest.mark.parametrize("seed", sampled([2, 1, 3, 4], 1))
def test_a_random_network_agrees_in_pytorch_qonnx_hardware_graph_and_rtl(seed):
    assert BIASES.design(seed).network.position_bias
    assert_seed_agrees(BIASES, seed)


def test_random_networks_agree():
    """`make random-builds KIND=biases BUILDS=6` goes on from here."""
    assert_every_way(stored_designs(BIASES, 6))
