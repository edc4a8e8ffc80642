"""Lowering: every node maps or says why not; the hardware graph equals QONNX up to ties."""

import time

import numpy as np
import pytest
from onnx import helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import SortGraph

from finn_vitprune.builds.checks.lowering_check import check_lowering
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.execute.qonnx_runner import QonnxRunner
from finn_vitprune.graph.rules import Indexed, Symbolic
from finn_vitprune.transforms.lowering import values
from finn_vitprune.transforms.lowering.drop_unused_scores import DropUnusedScores
from finn_vitprune.transforms.lowering.insert_forks import InsertForks
from finn_vitprune.transforms.lowering.lower import Unmapped, lower
from finn_vitprune.transforms.lowering.narrow_class_token import NarrowClassToken
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from finn_vitprune.transforms.streams.hardware_only import HardwareOnly
from tests.sampling import spread
from tests.vit_models import random_vit

CASES = [
    {},
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


@pytest.mark.parametrize("case", spread(CASES, 3))
def test_every_op_equals_qonnx_up_to_ties(case):
    source, images = random_vit(**case)
    check, _, _ = check_lowering(source, lower(source), images)
    assert check.problem == ""
    assert check.ties < 1e-3 * check.codes
    fed = {c.node.rpartition("_")[0] for c in check.tensors}
    assert {"BlockSparseMVAU", "VitTokenEmbed", "VitLayerNorm", "PrunedAttention", "VitAdd", "VitLookup"} <= fed


def test_the_hardware_alone_begins_and_ends_at_one_stream():
    lowered = lower(random_vit()[0]).model.transform(TidyLowered())
    model = lowered.transform(HardwareOnly())
    source, sink = model.graph.input[0].name, model.graph.output[0].name
    assert len(model.graph.input) == len(model.graph.output) == 1
    assert model.find_consumer(source).op_type == "BlockSparseMVAU" and model.find_producer(sink).op_type == "BlockSparseMVAU"
    for name in (source, sink):
        assert model.get_tensor_shape(name) == lowered.get_tensor_shape(name)
        assert model.get_tensor_datatype(name) == lowered.get_tensor_datatype(name)
    model.graph.node.remove(model.get_nodes_by_op_type("VitTokenEmbed")[0])
    with pytest.raises(UserError, match="2 streams from the host .*: a model needs one input and one output"):
        model.transform(HardwareOnly())


@pytest.mark.parametrize("case", spread(CASES, 3))
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


@pytest.mark.whole
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
    names = [
        n.output[0]
        for n in source.graph.node
        if n.op_type in ("Quant", "TokenDrop") and n.input[0] not in {i.name for i in source.graph.initializer}
    ]
    fast = QonnxRunner(source, names).run(images[:2])
    for i, image in enumerate(images[:2]):
        slow = execute_onnx(source, {source.graph.input[0].name: image[None].astype(np.float32)}, True)
        for name in names:
            assert np.allclose(fast[name][i], slow[name][0], rtol=1e-5, atol=1e-9), name


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
    node.op_type = "Celu"
    assert unmapped(model) == f"node {node.name} (Celu) does not map to hardware: no rule for this op type"


def test_other_rounding_mode_is_refused_by_name():
    def change(model):
        node = next(n for n in model.graph.node if n.op_type == "Quant" and "q_quant" in n.name)
        next(a for a in node.attribute if a.name == "rounding_mode").s = b"FLOOR"
        return node

    model, node = broken(change)
    text = unmapped(model)
    assert node.name in text and "FLOOR" in text and "half to even" in text


def with_zero_point(quantiser: str, zero: float | list[float]):
    def change(model):
        node = next(n for n in model.graph.node if n.op_type == "Quant" and n.name.startswith(quantiser))
        model.set_initializer(node.input[2], np.array(zero, np.float32))
        return node

    return broken(change)[0]


@pytest.mark.parametrize(
    "quantiser",
    [
        "blocks.0.norm1.quant",
        "blocks.0.attn.q_quant",
        "blocks.0.mlp.pre_quant",
        "blocks.0.add1_quant",
        "blocks.1.attn.out_quant",
        "blocks.0.mlp.fc1.weight_quant",
    ],
)
def test_a_zero_point_is_refused_where_no_table_can_hold_it(quantiser):
    assert "zero point 3" in unmapped(with_zero_point(quantiser, 3))


@pytest.mark.parametrize("zero", [0.5, [1.0, 2.0], [], float("inf"), 1e12])
def test_a_zero_point_is_one_integer(zero):
    assert "the zero point must be one integer" in unmapped(with_zero_point("blocks.0.mlp.act_quant", zero))


def test_a_reader_other_than_a_matrix_product_takes_no_zero_point():
    def change(model):
        node = next(n for n in model.graph.node if n.op_type == "Gelu")
        for other in model.graph.node:
            if other.op_type == "MatMul" and "mlp.fc2" in other.name and "blocks.0" in other.name:
                other.op_type = "Add"
        return node

    model, _ = broken(change)
    assert "Add of codes with a zero point, a quantised constant has no hardware form" in unmapped(model)


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
    source, _images = random_vit()
    model = ModelWrapper(source.model.SerializeToString())
    for node in [n for n in model.graph.node if n.op_type == "Gelu"]:
        position = list(model.graph.node).index(node)
        x, y = node.input[0], node.output[0]
        constants = {"sqrt2": np.sqrt(2.0), "one": 1.0, "half": 0.5}
        for name, value in constants.items():
            if model.get_initializer(f"gelu_{name}") is None:
                model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), f"gelu_{name}"))
        chain = [
            helper.make_node("Div", [x, "gelu_sqrt2"], [y + "a"]),
            helper.make_node("Erf", [y + "a"], [y + "b"]),
            helper.make_node("Add", [y + "b", "gelu_one"], [y + "c"]),
            helper.make_node("Mul", [x, y + "c"], [y + "d"]),
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


# --- small graphs by hand: layout operators in every form ---------------------------------------------


def layer(*nodes, output, constants=(), columns=40):
    """QONNX: 4 patches of 6 pixels ``x``, one quantised linear layer ``y`` of ``columns``, then ``nodes``."""
    draw = np.random.default_rng(0)
    scale, zero, bits = (np.array(v, np.float32) for v in (0.5, 0.0, 8.0))
    wide = np.array(64.0, np.float32)
    weights = draw.integers(-100, 101, (6, columns)).astype(np.float32) * 0.5
    arrays = {"w": weights, "scale": scale, "wide": wide, "zero": zero, "bits": bits, **dict(constants)}
    quant = dict(domain="qonnx.custom_op.general", narrow=0, rounding_mode="ROUND", signed=1)
    made = [
        helper.make_node("Quant", ["w", "scale", "zero", "bits"], ["wq"], name="weights", **quant),
        helper.make_node("MatMul", ["x", "wq"], ["acc"], name="product"),
        helper.make_node("Quant", ["acc", "wide", "zero", "bits"], ["y"], name="codes", **quant),
        *nodes,
    ]
    graph = helper.make_graph(
        made,
        "layer",
        [helper.make_tensor_value_info("x", 1, [1, 4, 6])],
        [helper.make_tensor_value_info(output, 1, None)],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("qonnx.custom_op.general", 1)]
    model = ModelWrapper(helper.make_model(graph, opset_imports=opsets))
    model.set_metadata_prop("block_size", "2")
    return model


def logits_of(model):
    """Codes of the lowered graph in the order of the QONNX output, and what NumPy makes of the layer ``[4, 40]``."""
    lowered = lower(model)
    pixels = np.random.default_rng(1).integers(0, 256, (1, 4, 6)).astype(np.uint8)
    name, output = lowered.model.graph.input[0].name, lowered.model.graph.output[0].name
    codes = golden.run(lowered.model, {name: pixels})[output].reshape(-1)
    weights = model.get_initializer("w")
    expected = np.clip(np.rint(pixels[0].astype(np.float64) @ weights / 64.0), -128, 127)
    return codes[lowered.matches[-1].index], expected


def split(parts, inputs=(), **attributes):
    outputs = [f"part{i}" for i in range(parts)]
    return helper.make_node("Split", ["y", *inputs], outputs, name="split", axis=-1, **attributes)


@pytest.mark.parametrize("part, columns", [(0, slice(0, 12)), (1, slice(12, 40))])
def test_an_uneven_split_gives_the_columns_of_its_sizes(part, columns):
    codes, expected = logits_of(layer(split(2, ["sizes"]), output=f"part{part}", constants={"sizes": [12, 28]}.items()))
    assert np.array_equal(codes[0], expected[:, columns])


@pytest.mark.parametrize("part, columns", [(0, slice(0, 14)), (2, slice(28, 40))])
def test_a_split_by_number_leaves_the_rest_to_the_last_part(part, columns):
    codes, expected = logits_of(layer(split(3, num_outputs=3), output=f"part{part}"))
    assert np.array_equal(codes[0], expected[:, columns])


def reshape(target, **attributes):
    node = helper.make_node("Reshape", ["y", "target"], ["z"], name="reshape", **attributes)
    return layer(node, output="z", constants={"target": np.array(target, np.int64)}.items())


def test_zero_in_a_reshape_keeps_the_dimension_unless_allowzero_says_otherwise():
    codes, expected = logits_of(reshape([0, 1, 4, 40]))
    assert np.array_equal(codes.reshape(4, 40), expected)
    codes, expected = logits_of(reshape([1, 1, 4, 40], allowzero=1))
    assert np.array_equal(codes.reshape(4, 40), expected)
    text = unmapped(reshape([0, 4, 40], allowzero=1))
    assert text.startswith("node reshape (Reshape) does not map to hardware: inputs of shape [1, 4, 40], [3] do not fit")


MALFORMED = {
    "sizes that do not add up": (split(2, ["c"]), [12, 27], "split [12, 27] of 40 values into 2 outputs"),
    "a size too many": (split(2, ["c"]), [12, 20, 8], "split [12, 20, 8] of 40 values into 2 outputs"),
    "another size": (helper.make_node("Reshape", ["y", "c"], ["part0"]), [1, 3, 50], "cannot reshape array of size 160"),
    "an axis too far": (helper.make_node("Unsqueeze", ["y", "c"], ["part0"]), [7], "axis 7 is out of bounds"),
    "an index too far": (helper.make_node("Gather", ["y", "c"], ["part0"], axis=1), [4], "index 4 is out of bounds"),
    "a step of zero": (helper.make_node("Slice", ["y", "c", "c", "c", "c"], ["part0"]), [0], "step cannot be zero"),
    "no target": (helper.make_node("Reshape", ["y", ""], ["part0"]), [1], "input 1 is missing"),
    "not a constant": (helper.make_node("Reshape", ["c", "y"], ["part0"]), [1], "input 1 (y) must be a constant"),
    "not made": (helper.make_node("Relu", ["nowhere"], ["part0"]), [1], "input nowhere has no producer before it"),
    "too large": (helper.make_node("Expand", ["y", "c"], ["part0"]), [10**6, 10**6, 1, 1, 1], "more than 33,554,432 elements"),
    "padded": (helper.make_node("Pad", ["y", "c"], ["part0"]), [0, 0, 0, 0, 1, 0], "Pad of a stream of codes"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_layout_operator_is_a_reason_at_its_node(case):
    node, constant, text = MALFORMED[case]
    found = unmapped(layer(node, output="part0", constants={"c": np.array(constant, np.int64)}.items()))
    assert f"({node.op_type}) does not map to hardware" in found and text in found


def test_an_error_carries_the_node_and_the_tensor_at_fault():
    node = helper.make_node("Reshape", ["c", "y"], ["part0"], name="by_codes")
    with pytest.raises(Unmapped) as caught:
        lower(layer(node, output="part0", constants={"c": [1]}.items()))
    why = caught.value.why
    assert (why.node.name, why.tensor, why.help) == ("by_codes", "y", "export with fixed shapes")
    turned = helper.make_node("Transpose", ["y"], ["part0"], name="turn", perm=[0, 2, 1])
    with pytest.raises(Unmapped, match="node turn .Transpose. does not map to hardware: as model output: ") as caught:
        lower(layer(turned, output="part0"))
    assert (caught.value.why.node.name, caught.value.why.tensor) == ("turn", "part0")


def then(condition):
    """``If`` whose branch taken is Identity of ``y``, and whose other one is an operator without a rule."""
    branches = [
        helper.make_graph(
            [helper.make_node(op, ["y"], [f"{op}_out"], name=op)], op, [], [helper.make_tensor_value_info(f"{op}_out", 1, None)]
        )
        for op in ("Identity", "Celu")
    ]
    first, second = branches if condition else branches[::-1]
    return helper.make_node("If", ["c"], ["z"], then_branch=first, else_branch=second)


SAME = {
    "Shape of some dimensions": (
        [helper.make_node("Shape", ["y"], ["s"], start=1, end=3), helper.make_node("Concat", ["c", "s"], ["t"], axis=0),
         helper.make_node("Reshape", ["y", "t"], ["z"])], [1],
    ),
    "Size": (
        [helper.make_node("Size", ["y"], ["s"]), helper.make_node("Div", ["s", "c"], ["d"]),
         helper.make_node("Concat", ["one", "four", "d"], ["t"], axis=0), helper.make_node("Reshape", ["y", "t"], ["z"])],
        [4],
    ),
    "Slice backwards twice": (
        [helper.make_node("Slice", ["y", "c", "least", "two", "c"], ["r"]),
         helper.make_node("Slice", ["r", "c", "least", "two", "c"], ["z"])], [-1],
    ),
    "Expand to its own shape": ([helper.make_node("Expand", ["y", "c"], ["z"])], [1, 4, 40]),
    "Tile once": ([helper.make_node("Tile", ["y", "c"], ["z"])], [1, 1, 1]),
    "Pad of nothing": ([helper.make_node("Pad", ["y", "c"], ["z"])], [0] * 6),
    "If, first branch": ([then(True)], True),
    "If, second branch": ([then(False)], False),
    "CastLike": ([helper.make_node("CastLike", ["y", "c"], ["z"])], 1.0),
    "a constant of whole numbers": (
        [helper.make_node("Constant", [], ["t"], value_ints=[1, 4, 40]), helper.make_node("Reshape", ["y", "t"], ["z"])], 0
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SAME)
def test_operators_that_change_nothing_leave_the_hardware_graph_as_it_is(case):
    nodes, constant = SAME[case]
    constants = {"c": np.array(constant), "one": [1], "four": [4], "two": [2], "least": [np.iinfo(np.int64).min]}
    plain = lower(layer(output="y", constants=constants.items()))
    edited = lower(layer(*nodes, output="z", constants=constants.items()))
    assert edited.model.model.SerializeToString(deterministic=True) == plain.model.model.SerializeToString(deterministic=True)
    assert np.array_equal(edited.matches[-1].index, plain.matches[-1].index)


def test_softmax_numerators_in_another_order_do_not_reach_the_values():
    def change(model):
        exp = next(n for n in model.graph.node if n.op_type == "Exp")
        quant = model.find_consumers(exp.output[0])[0]
        product = next(n for n in model.find_consumers(quant.output[0]) if n.op_type == "MatMul")
        for name, number in {"last": -1, "least": np.iinfo(np.int64).min, "keys": 3}.items():
            model.graph.initializer.append(numpy_helper.from_array(np.array([number]), name))
        node = helper.make_node("Slice", [quant.output[0], "last", "least", "keys", "last"], ["turned"], name="turn")
        model.graph.node.insert(list(model.graph.node).index(product), node)
        product.input[0] = "turned"

    model, _ = broken(change)
    assert "softmax numerators are cut or reordered" in unmapped(model)


def test_every_value_has_a_name_of_its_own_in_messages():
    """Messages name a value by its ``kind``, never by its class."""
    kinds = [
        v.kind
        for v in vars(values).values()
        if isinstance(v, type) and issubclass(v, Symbolic) and v not in (Symbolic, Indexed, values.OfHeads, values.OfLogits)
    ]
    assert len(kinds) == len(set(kinds)) >= 20
    assert Symbolic.kind not in kinds
