"""Damaged files: never a traceback, always exit code 1 or 2 with the cause, within time and memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from finn_vitprune.errors import UserError
from finn_vitprune.ingest.check.check import check
from finn_vitprune.ingest.onnx_file.model_file import load
from tests.ingest_models import export, small_timm

ROOT = Path(__file__).parents[2]
SECONDS, MIB = 60, 2048


def check_all(folder, *count):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.mutated_onnx", str(folder), *count],
        capture_output=True, text=True, timeout=900, env=environment,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    return [json.loads(line) for line in run.stdout.splitlines()]


def assert_refused(results):
    for result in results:
        assert result["code"] in (1, 2), result
        assert result["said"], result
        assert "Traceback" not in str(result["said"]), result
        assert result["seconds"] < SECONDS, result
        assert result["mib"] < MIB, result


def test_thirty_damaged_files_are_refused_with_a_cause(tmp_path):
    results = check_all(tmp_path, "30")
    assert len(results) == 60
    assert_refused(results)


@pytest.mark.slow
@pytest.mark.whole
def test_all_damaged_files_are_refused_with_a_cause(tmp_path):
    results = check_all(tmp_path)
    assert sum(r["name"].startswith("check ") for r in results) >= 300
    assert len({r["name"] for r in results}) == len(results)
    assert_refused(results)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return export(small_timm(), tmp_path_factory.mktemp("sound") / "model.onnx")


def damaged(sound, path, edit):
    model = onnx.load(str(sound))
    edit(model)
    onnx.save(model, str(path))
    return path


def weight(model):
    return next(t for t in model.graph.initializer if t.name == "patch_embed.proj.weight")


def set_nan(model):
    array = numpy_helper.to_array(weight(model)).copy()
    array[0, 0, 0, 0] = np.nan
    weight(model).CopyFrom(numpy_helper.from_array(array, "patch_embed.proj.weight"))


def set_external(location, **entries):
    def edit(model):
        tensor = weight(model)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            tensor.external_data.add(key=key, value=str(value))

    return edit


CAUSES = {
    "NaN": (set_nan, "tensor patch_embed.proj.weight of shape [24, 3, 16, 16] holds NaN"),
    "missing": (lambda m: m.graph.initializer.remove(weight(m)), "reads patch_embed.proj.weight, which no node makes"),
    "too short": (lambda m: weight(m).dims.__setitem__(0, 25), "of shape [25, 3, 16, 16] needs 76,800 bytes, the file holds 73,728"),
    "cycle": (lambda m: m.graph.node[5].input.__setitem__(0, m.graph.node[-1].output[0]), "the graph has a cycle"),
    "twice": (lambda m: m.graph.node.add().CopyFrom(m.graph.node[3]), "has two producers"),
    "no file": (set_external("gone.data"), "gone.data, and that file is missing"),
    "outside": (set_external("../x.data"), "which is not in the folder of the model"),
    "opset": (lambda m: setattr(m.opset_import[0], "version", 9), "has opset 9, 11 to 23 are read"),
    "no nodes": (lambda m: m.graph.ClearField("node"), "its graph has no nodes"),
}


@pytest.mark.parametrize("case", CAUSES)
def test_the_cause_is_named(sound, tmp_path, case):
    edit, text = CAUSES[case]
    path = damaged(sound, tmp_path / "model.onnx", edit)
    with pytest.raises(UserError) as error:
        load(path)
    assert text in str(error.value)
    assert "\n" not in str(error.value)


def test_external_data_that_is_too_short_is_named(sound, tmp_path):
    (tmp_path / "short.data").write_bytes(bytes(100))
    path = damaged(sound, tmp_path / "model.onnx", set_external("short.data"))
    with pytest.raises(UserError, match="73,728 are meant, the file has 100"):
        load(path)


def test_a_file_of_another_kind_and_a_file_cut_off_say_so(sound, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("hello, this is a text file and no model")
    with pytest.raises(UserError, match="is not an ONNX file, or is truncated"):
        load(path)
    path.write_bytes(sound.read_bytes()[:5000])
    with pytest.raises(UserError, match="is not an ONNX file, or is truncated"):
        load(path)


def test_nodes_in_any_order_are_read(sound, tmp_path):
    def reverse(model):
        nodes = list(model.graph.node)[::-1]
        model.graph.ClearField("node")
        model.graph.node.extend(nodes)

    assert check(damaged(sound, tmp_path / "model.onnx", reverse)).passed


def test_a_tensor_that_would_be_huge_is_not_made(sound, tmp_path):
    def expand(model):
        last = model.graph.output[0].name
        model.graph.node[-1].output[0] = "before"
        model.graph.initializer.append(numpy_helper.from_array(np.array([10**6, 10**6, 1, 1]), "huge"))
        model.graph.node.append(helper.make_node("Expand", ["before", "huge"], [last], name="blow"))

    first = check(damaged(sound, tmp_path / "model.onnx", expand)).rejections[0]
    assert first.node == "blow"
    assert "more than 33,554,432 elements" in first.reason


def calling(*called):
    """F calls these local functions; the first node of the graph calls F."""

    def edit(model):
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
        for name in ("F", "G"):
            nodes = [helper.make_node(c, ["x"], ["y"], domain="local") for c in called]
            model.functions.append(helper.make_function("local", name, ["x"], ["y"], nodes, opsets))
        model.opset_import.append(opsets[1])
        node = next(n for n in model.graph.node if n.op_type == "Add")
        node.op_type, node.domain = "F", "local"

    return edit


@pytest.mark.parametrize("called", ["F", "G"])
def test_functions_that_call_themselves_are_not_unfolded(sound, tmp_path, called):
    path = damaged(sound, tmp_path / "model.onnx", calling(called))
    with pytest.raises(UserError, match="calls itself"):
        load(path)


def test_functions_that_unfold_to_too_many_nodes_are_not_unfolded(sound, tmp_path):
    def edit(model):
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
        for i in range(8):  # each calls the next ten times
            kind = {"domain": "local"} if i < 7 else {}
            nodes = [helper.make_node(f"F{i + 1}" if kind else "Abs", ["x"], [f"y{k}"], **kind) for k in range(10)]
            model.functions.append(helper.make_function("local", f"F{i}", ["x"], ["y0"], nodes, opsets))
        model.opset_import.append(opsets[1])
        node = next(n for n in model.graph.node if n.op_type == "Erf")
        node.op_type, node.domain = "F0", "local"

    with pytest.raises(UserError, match="its local functions unfold to 100,000,[0-9]{3} nodes, 200,000 are read"):
        load(damaged(sound, tmp_path / "model.onnx", edit))


@pytest.mark.parametrize(
    "start,what",
    [
        (b"PK\x03\x04", "a zip archive"),
        (b"\x1f\x8b", "packed with gzip"),
        (b"<html>", "a page of HTML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path, start, what):
    path = tmp_path / "model.onnx"
    path.write_bytes(start + b"\xff" * 40)
    with pytest.raises(UserError, match=what):
        load(path)


def test_a_stride_of_zero_is_no_end_of_the_process(sound, tmp_path):
    def edit(model):
        node = next(n for n in model.graph.node if n.op_type == "Conv")
        next(a for a in node.attribute if a.name == "strides").ints[:] = [0, 0]

    first = check(damaged(sound, tmp_path / "model.onnx", edit)).rejections[0]
    assert first.op_type == "Conv" and "stride [0, 0]" in first.reason
