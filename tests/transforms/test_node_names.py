"""Names of nodes by encoder and layer: as the modules of the network are called, of which the QONNX tensors have their names."""

import re
from pathlib import Path

import pytest
from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper

from builds.experiments.deit_models import hardware_graph
from finn_vitprune.custom_ops.registry import hardware_op, make_node
from finn_vitprune.transforms.lowering.lower import lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from finn_vitprune.transforms.planning.fold import FoldForInterval
from finn_vitprune.transforms.streams.insert_streams import InsertStreams
from finn_vitprune.transforms.streams.node_names import NodeName, node_names
from tests.vit_models import random_vit

DEMO = Path(__file__).parents[2] / "builds" / "example" / "deit_digits.onnx"
MODULES = {
    "norm1.quant": "LayerNorm 1", "attn.q_quant": "QKV split", "attn.k_quant": "QKV split", "attn.v_quant": "QKV split",
    "attn.out_quant": "attention", "attn.proj_quant": "projection", "add1_quant": "attention add", "drop": "token drop",
    "norm2.quant": "LayerNorm 2", "mlp.pre_quant": "MLP 1", "mlp.act_quant": "MLP activation", "mlp.fc2_quant": "MLP 2",
    "add2_quant": "MLP add", "patch_quant": "patch embedding", "embed_quant": "token embedding", "norm.quant": "final LayerNorm",
    "pool.quant": "mean of tokens", "norm_pre.norm.quant": "initial LayerNorm", "norm_pre.scale_quant": "initial scale", "class_quant": "requantisation",
    "attn_pool.k_quant": "pooling KV", "attn_pool.v_quant": "pooling KV", "attn_pool.out_quant": "pooling attention",
    "attn_pool.proj_quant": "pooling projection", "attn_pool.norm.quant": "pooling LayerNorm", "attn_pool.mlp.pre_quant": "pooling MLP 1",
    "attn_pool.mlp.act_quant": "pooling activation", "attn_pool.mlp.fc2_quant": "pooling MLP 2", "attn_pool.add_quant": "pooling add",
}  # fmt: skip
"""Module of the network to the word for its node; in the last encoder Q and KV are matrix units of their own."""


def by_module(source):
    """The tidy hardware graph, and for each of its nodes that QONNX knows, the names that the modules there ask for."""
    lowered = lower(source)
    tidy = lowered.model.transform(TidyLowered())
    wanted: dict[str, set[NodeName]] = {}
    for match in lowered.matches:
        node = tidy.find_producer(match.hardware)
        found = re.fullmatch(r"(?:blocks\.(\d+)\.)?(.+?)\.(?:Quant|TokenDrop)_output_0", match.qonnx)
        if node is None or found is None:
            continue
        encoder = None if found[1] is None else int(found[1]) + 1
        layer = MODULES[found[2]]
        if layer == "QKV split" and node.op_type == "BlockSparseMVAU":
            layer = "Q" if found[2] == "attn.q_quant" else "KV"
        wanted.setdefault(node.name, set()).add(NodeName(encoder, layer))
    return tidy, wanted


def digits():
    return ModelWrapper(str(DEMO))


CASES = {
    "digits": digits,
    "small": lambda: random_vit()[0],
    "deit_small": lambda: random_vit(image=8, depth=12, drop_at=(3, 7, 10), token_keep="0.7")[0],
    "mean": lambda: random_vit(drop_at=(), token_keep="1", global_pool="avg")[0],
    "mean_of_norm": lambda: random_vit(drop_at=(), token_keep="1", global_pool="avg", fc_norm=False)[0],
    "norm_pre": lambda: random_vit(pre_norm=True)[0],
    "no_final_norm": lambda: random_vit(final_norm=False)[0],
    "no_class_token": lambda: random_vit(drop_at=(), token_keep="1", global_pool="avg", class_token=False)[0],
    "no_class_token_map": lambda: random_vit(drop_at=(), token_keep="1", global_pool="map", class_token=False)[0],
}


@pytest.mark.parametrize("case", [pytest.param(c, marks=[pytest.mark.whole] * (c == "deit_small")) for c in CASES])
def test_names_are_those_of_the_modules(case):
    model, wanted = by_module(CASES[case]())
    names = node_names(model)
    assert len(wanted) > 14 and {n: {names[n]} for n in wanted} == wanted
    kinds = {n.name: n.op_type for n in model.graph.node if hardware_op(n) is not None}
    assert {kinds[n] for n in kinds if n not in wanted} <= {"BlockSparseMVAU", "VitFork", "VitSelectToken"}
    matrices = [str(names[n]) for n, kind in kinds.items() if kind == "BlockSparseMVAU" and n not in wanted]
    last = int(max(n.encoder for n in names.values() if n.encoder))
    whole = last if "mean" in case or "no_class" in case else last - 1
    pooling = ["pooling Q"] * ("map" in case)
    assert sorted(matrices) == sorted(["classifier", *pooling, *(f"encoder {i}, QKV" for i in range(1, whole + 1))])


@pytest.mark.whole
def test_what_stands_between_units_is_called_by_what_it_feeds():
    model = hardware_graph(CASES["deit_small"]()).transform(FoldForInterval(2_000)).transform(InsertStreams())
    names = node_names(model)
    assert len(set(map(str, names.values()))) == len(model.graph.node)
    fifos = {str(names[n.name]) for n in model.get_nodes_by_op_type("VitFIFO_rtl")}
    for i in range(1, 13):
        assert f"encoder {i}, attention residual FIFO" in fifos and (f"encoder {i}, MLP residual FIFO" in fifos or i == 12)
    assert {f"encoder {i}, attention Q FIFO" for i in range(1, 12)} <= fifos
    assert {f"encoder {i}, MLP fork input FIFO" for i in (3, 7, 10)} <= fifos
    for fifo in fifos:
        assert fifo.startswith(("encoder", "token embedding", "final", "classifier")), fifo


def chain(*nodes):
    """A model of nodes (op type, inputs, outputs), named by their place."""
    made = [make_node(kind, ins.split(), outs.split(), name=f"n{i}") for i, (kind, ins, outs) in enumerate(nodes)]
    return ModelWrapper(helper.make_model(helper.make_graph(made, "chain", [], [])))


def mlp(source, out, tag):
    """A residual block without attention from stream ``source`` to ``out``."""
    t = [f"{tag}{i}" for i in range(6)]
    return [
        ("VitFork_rtl", source, f"{t[0]} {t[1]}"), ("VitLayerNorm_rtl", t[0], t[2]), ("BlockSparseMVAU_rtl", t[2], t[3]),
        ("VitLookup_rtl", t[3], t[4]), ("BlockSparseMVAU_rtl", t[4], t[5]), ("VitAdd_rtl", f"{t[1]} {t[5]}", out),
    ]  # fmt: skip


def attention(source, out, tag):
    """A residual block of attention."""
    t = [f"{tag}{i}" for i in range(8)]
    return [
        ("VitFork_rtl", source, f"{t[0]} {t[1]}"), ("VitFIFO_rtl", t[1], t[7]), ("VitLayerNorm_rtl", t[0], t[2]),
        ("BlockSparseMVAU_rtl", t[2], t[3]), ("VitSplit_rtl", t[3], f"{t[4]} {t[5]}"), ("PrunedAttention_rtl", f"{t[4]} {t[5]}", t[6]),
        ("BlockSparseMVAU_rtl", t[6], f"{tag}p"), ("VitAdd_rtl", f"{t[7]} {tag}p", out),
    ]  # fmt: skip


def listed(*nodes):
    return [str(name) for name in node_names(chain(*nodes)).values()]


MLP = ("MLP fork", "LayerNorm 2", "MLP 1", "MLP activation", "MLP 2", "MLP add")
ATTENTION = ("attention fork", "attention residual FIFO", "LayerNorm 1", "QKV", "QKV split", "attention", "projection", "attention add")


def test_an_encoder_that_lacks_attention_or_its_mlp_counts():
    """Attention alone, a whole encoder, an MLP alone; an add ends each block."""
    nodes = [*attention("x", "a", "a"), *attention("a", "b", "b"), *mlp("b", "c", "c"), *mlp("c", "d", "d")]
    wanted = [*(f"encoder 1, {t}" for t in ATTENTION), *(f"encoder 2, {t}" for t in (*ATTENTION, *MLP)), *(f"encoder 3, {t}" for t in MLP)]
    assert listed(*nodes) == wanted


def test_crossings_converters_and_what_loads_the_design():
    found = listed(
        ("VitLoadPort_rtl", "image", "p0"), ("BlockSparseMVAU_rtl", "p0", "p1"), ("VitCrossing_rtl", "p1", "p2"),
        ("VitFIFO_rtl", "p2", "p3"), ("VitFIFO_rtl", "p3", "x"), *mlp("x", "a", "a"), ("VitWidthConverter_rtl", "a", "b"),
        ("VitSelectToken_rtl", "b", "c"), ("VitFIFO_rtl", "c", "d"), ("BlockSparseMVAU_rtl", "d", "e"), ("VitFIFO_rtl", "e", "f"),
        ("VitLoadEnd_rtl", "f", "g"), ("MyHTTPThing", "g", "h"),
    )  # fmt: skip
    start = ["load port", "patch embedding", *(f"encoder 1, MLP fork input {t}" for t in ("registers", "FIFO", "FIFO 2"))]  # in no SLR
    end = [f"classifier input {t}" for t in ("width converter", "token selection", "FIFO")]
    assert found == [*start, *(f"encoder 1, {t}" for t in MLP), *end, "classifier", "load end input FIFO", "load end", "my HTTP thing"]


def test_an_op_that_names_do_not_know_is_in_the_encoder_of_its_stream():
    nodes = [
        ("VitOther_rtl", kind_in, out) if kind == "VitLookup_rtl" else (kind, kind_in, out) for kind, kind_in, out in mlp("x", "a", "a")
    ]
    assert listed(*nodes)[3] == "encoder 1, other"


def test_a_piece_of_a_network_without_encoders():
    assert listed(("BlockSparseMVAU_rtl", "x", "a"), ("VitFIFO_rtl", "a", "b"), ("BlockSparseMVAU_rtl", "b", "c"), ("VitFIFO_rtl", "c", "d")) == [
        "matrix unit", "matrix unit input FIFO", "matrix unit 2", "matrix unit output FIFO",
    ]  # fmt: skip
    assert listed(("VitFIFO", "x", "y")) == ["FIFO"]
