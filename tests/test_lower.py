"""Lowering: every node maps or says why not; the hardware graph equals QONNX up to ties of float32."""

import time

import numpy as np
import pytest
from onnx import helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import SortGraph
from vit_models import random_vit

from finn_vitprune.execute import golden
from finn_vitprune.builds.lowering_check import check_lowering
from finn_vitprune.execute.qonnx_runner import QonnxRunner
from finn_vitprune.transforms.drop_unused_scores import DropUnusedScores
from finn_vitprune.transforms.insert_forks import InsertForks
from finn_vitprune.transforms.lower import Unmapped, lower
from finn_vitprune.transforms.narrow_class_token import NarrowClassToken

CASES = [
    dict(),
    dict(image=8, dim=24, heads=3, depth=3, drop_at=(1, 2), token_keep="0.7"),
    dict(depth=1, drop_at=(), keep="1"),
    dict(image=6, depth=2, drop_at=(1,), token_keep="0.85", seed=3),
    dict(image=8, dim=32, heads=2, block=16, drop_at=(2,)),
]


def ops(model, op_type):
    return [getCustomOp(n) for n in model.get_nodes_by_op_type(op_type)]


def hardware(lowered):
    model = lowered.model
    for transformation in (DropUnusedScores(), NarrowClassToken(), DropUnusedScores(), InsertForks(), SortGraph()):
        model = model.transform(transformation)
    return model


@pytest.mark.parametrize("case", CASES)
def test_every_op_equals_qonnx_up_to_one_code_at_ties(case):
    source, images = random_vit(**case)
    check = check_lowering(source, lower(source), images)
    assert check.max_code_difference <= 1
    assert check.differing_share < 1e-3
    assert check.top1_agreement >= 15 / 16
    fed = {c.op_type for c in check.tensors}
    assert {"BlockSparseMVAU", "VitTokenEmbed", "VitLayerNorm", "PrunedAttention", "VitAdd", "VitLookup"} <= fed


@pytest.mark.parametrize("case", CASES)
def test_narrowing_and_forks_change_no_bit_and_leave_one_token_in_the_last_encoder(case):
    source, images = random_vit(**case)
    lowered = lower(source)
    model = hardware(lowered)
    feed = {model.graph.input[0].name: images}
    before = golden.run(lowered.model, feed)[lowered.model.graph.output[0].name]
    after = golden.run(model, feed)[model.graph.output[0].name]
    assert np.array_equal(before.reshape(16, -1), after.reshape(16, -1))
    *_, last = ops(model, "PrunedAttention")
    assert last.get_nodeattr("queries") == 1
    assert last.get_nodeattr("scores") == 0
    assert ops(model, "VitLookup")[-1].get_nodeattr("tokens") == 1
    drops = [d for d in case.get("drop_at", (1,)) if d < case.get("depth", 2)]
    assert len(ops(model, "VitTokenDrop")) == len(drops)
    for node in model.graph.node:
        for tensor in node.output:
            assert len(model.find_consumers(tensor) or [None]) == 1, f"{tensor} has several readers"


def test_lowering_takes_one_pass_and_its_time_grows_with_the_nodes():
    times = {}
    for depth in (2, 12):
        source, _ = random_vit(depth=depth)
        lower(source)
        started = time.perf_counter()
        lower(source)
        times[depth] = time.perf_counter() - started
    assert times[12] < 12 * max(times[2], 0.01)
    assert times[12] < 2.0


def test_runner_equals_qonnx_execution():
    from qonnx.core.onnx_exec import execute_onnx

    source, images = random_vit()
    names = [n.output[0] for n in source.graph.node if n.op_type in ("Quant", "TokenDrop") and n.input[0] not in
             {i.name for i in source.graph.initializer}]
    fast = QonnxRunner(source, names).run(images[:2])
    for i, image in enumerate(images[:2]):
        slow = execute_onnx(source, {source.graph.input[0].name: image[None].astype(np.float32)}, True)
        for name in names:
            assert np.array_equal(fast[name][i], slow[name][0]), name


def broken(change):
    source, _ = random_vit()
    model = ModelWrapper(source.model.SerializeToString())
    return model, change(model)


def unmapped(model):
    with pytest.raises(Unmapped) as caught:
        lower(model)
    return str(caught.value)


def test_unknown_op_names_node_and_op_type():
    model, node = broken(lambda m: next(n for n in m.graph.node if n.op_type == "Gelu"))
    node.op_type = "Mish"
    assert unmapped(model) == f"node {node.name} (Mish) does not map to hardware: no rule for this op type"


def test_other_rounding_mode_is_refused_by_name():
    def change(model):
        node = next(n for n in model.graph.node if n.op_type == "Quant" and "q_quant" in n.name)
        next(a for a in node.attribute if a.name == "rounding_mode").s = b"FLOOR"
        return node

    model, node = broken(change)
    text = unmapped(model)
    assert node.name in text and "FLOOR" in text and "half to even" in text


def test_zero_point_is_refused():
    def change(model):
        node = next(n for n in model.graph.node if n.op_type == "Quant" and "act_quant" in n.name)
        model.set_initializer(node.input[2], np.array(3.0, np.float32))
        return node

    model, _ = broken(change)
    assert "zero point 3" in unmapped(model)


def test_float_weights_are_refused_with_advice():
    def change(model):
        node = next(n for n in model.graph.node if n.op_type == "Quant" and "fc1.weight" in n.name)
        for other in model.graph.node:
            for i, name in enumerate(other.input):
                if name == node.output[0]:
                    other.input[i] = node.input[0]
        model.graph.node.remove(node)

    model, _ = broken(change)
    assert "weights are not quantised" in unmapped(model)


def test_plain_softmax_is_refused_with_the_form_that_maps():
    def change(model):
        node = next(n for n in model.graph.node if n.op_type == "ReduceMax")
        del node.input[1:]
        del node.attribute[:]
        node.op_type = "Softmax"

    model, _ = broken(change)
    assert "softmax is deferred" in unmapped(model)


def test_gamma_that_was_not_folded_is_refused():
    def change(model):
        node = next(n for n in model.graph.node if n.op_type == "LayerNormalization")
        model.set_initializer(node.input[1], np.full_like(model.get_initializer(node.input[1]), 1.5))

    model, _ = broken(change)
    assert "gamma and beta must be folded" in unmapped(model)


def test_erf_form_of_gelu_maps_to_the_same_table():
    source, images = random_vit()
    model = ModelWrapper(source.model.SerializeToString())
    for node in [n for n in model.graph.node if n.op_type == "Gelu"]:
        position = list(model.graph.node).index(node)
        x, y = node.input[0], node.output[0]
        constants = {"sqrt2": np.sqrt(2.0), "one": 1.0, "half": 0.5}
        for name, value in constants.items():
            if model.get_initializer(f"gelu_{name}") is None:
                model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), f"gelu_{name}"))
        chain = [
            helper.make_node("Div", [x, "gelu_sqrt2"], [y + "a"]), helper.make_node("Erf", [y + "a"], [y + "b"]),
            helper.make_node("Add", [y + "b", "gelu_one"], [y + "c"]), helper.make_node("Mul", [x, y + "c"], [y + "d"]),
            helper.make_node("Mul", [y + "d", "gelu_half"], [y]),
        ]
        model.graph.node.remove(node)
        for new in reversed(chain):
            model.graph.node.insert(position, new)
    a, b = lower(source).model, lower(model).model
    tables = [[m.get_initializer(n.input[1]) for n in m.get_nodes_by_op_type("VitLookup")] for m in (a, b)]
    assert len(tables[0]) == 2
    for one, other in zip(*tables):
        assert np.array_equal(one, other)
