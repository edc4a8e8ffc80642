"""A packed model comes back as it was, or not at all."""

from __future__ import annotations

import lzma
import shutil

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from finn_vitprune.builds.build import EXAMPLE, BuildOptions, build
from finn_vitprune.built.record import record_of
from finn_vitprune.cli.app import program
from finn_vitprune.errors import UserError
from finn_vitprune.graph import packed as packing
from finn_vitprune.graph.packed import KEY, MAGIC, packed, unpacked, write_model
from finn_vitprune.graph.reading import read_model

DIGITS = EXAMPLE / "deit_digits.onnx"


def _same(a: ModelProto, b: ModelProto) -> bool:
    """Equal in all but the sign of zeros."""
    pairs = list(zip(a.graph.initializer, b.graph.initializer, strict=True))
    if not all(np.array_equal(numpy_helper.to_array(x), numpy_helper.to_array(y)) and x.data_type == y.data_type for x, y in pairs):
        return False
    bare = []
    for model in (a, b):
        without = ModelProto()
        without.CopyFrom(model)
        for tensor in without.graph.initializer:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
        bare.append(without.SerializeToString(deterministic=True))
    return bare[0] == bare[1]


def _one_weight(values: np.ndarray, scale: np.ndarray, uses: int = 1) -> ModelProto:
    tensors = [numpy_helper.from_array(values, "w"), numpy_helper.from_array(scale, "s")]
    tensors += [numpy_helper.from_array(np.float32(x), n) for n, x in (("z", 0), ("b", 8))]
    nodes = [helper.make_node("Quant", ["w", "s", "z", "b"], [f"q{i}"], domain="qonnx.custom_op.general") for i in range(uses)]
    outputs = [helper.make_tensor_value_info(f"q{i}", TensorProto.FLOAT, values.shape) for i in range(uses)]
    return helper.make_model(helper.make_graph(nodes, "g", [], outputs, tensors))


def _stored(content: bytes) -> dict[str, TensorProto]:
    return {t.name: t for t in ModelProto.FromString(lzma.decompress(content)).graph.initializer}


def _export(*arguments: object):
    return CliRunner().invoke(program("export"), ["export", *map(str, arguments)])


def test_a_packed_network_comes_back_and_is_much_smaller():
    model = read_model(DIGITS)
    content = packed(model)
    assert _same(unpacked(content), model)
    assert len(content) < 0.3 * DIGITS.stat().st_size
    weights = [t for name, t in _stored(content).items() if name.endswith(".weight") and len(t.dims) == 2]
    assert len(weights) == 18 and all(t.data_type == TensorProto.INT8 for t in weights)


@pytest.mark.parametrize("bits, kind", [(4, TensorProto.INT8), (8, TensorProto.INT8), (12, TensorProto.INT16), (20, TensorProto.INT32)])
def test_integers_of_any_width_come_back(bits, kind):
    rng, top = np.random.default_rng(bits), 2 ** (bits - 1) - 1
    codes, scale = rng.integers(-top, top + 1, (64, 48)), rng.uniform(1e-4, 1e-2, (64, 1)).astype(np.float32)
    codes[0, 0] = top
    model = _one_weight(codes.astype(np.float32) * scale, scale)
    content = packed(model)
    assert _stored(content)["w"].data_type == kind
    assert unpacked(content).SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


@pytest.mark.parametrize("case", ["no integers", "one bit off", "infinite", "scale 0", "wider scale", "two uses"])
def test_what_is_not_exactly_integers_stays_as_it_is(case):
    scale = np.float32([[0.25]])
    values = np.arange(12, dtype=np.float32).reshape(3, 4) * scale
    if case == "no integers":
        values += np.float32(0.1)
    elif case == "one bit off":
        values[2, 3] = np.nextafter(values[2, 3], np.float32(9))
    elif case == "infinite":
        values[0, 0] = np.inf
    elif case == "scale 0":
        scale = np.float32([[0.0]])
    elif case == "wider scale":
        scale = np.full((3, 3, 4), 0.25, np.float32)
    model = _one_weight(values, scale, uses=2 if case == "two uses" else 1)
    content = packed(model)
    assert _stored(content)["w"].data_type == TensorProto.FLOAT
    assert _same(unpacked(content), model)


def test_a_negative_zero_becomes_zero():
    model = _one_weight(np.float32([[-0.0, 0.5]]), np.float32([[0.5]]))
    weight = numpy_helper.to_array(unpacked(packed(model)).graph.initializer[0])
    assert weight.tolist() == [[0, 0.5]] and not np.signbit(weight).any()


def test_other_integers_are_refused():
    small = ModelProto.FromString(lzma.decompress(packed(read_model(DIGITS))))
    weight = next(t for t in small.graph.initializer if t.data_type == TensorProto.INT8)
    weight.raw_data = bytes([weight.raw_data[0] ^ 1]) + weight.raw_data[1:]
    with pytest.raises(UserError, match="digest differs"):
        unpacked(lzma.compress(small.SerializeToString()))


@pytest.mark.parametrize("damage", ["cut", "flipped", "no model", "foreign", "stripped"])
def test_damaged_and_foreign_files_are_refused_with_the_file_named(damage, tmp_path):
    content = packed(read_model(DIGITS))
    small = ModelProto.FromString(lzma.decompress(content))
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content = content[:5000] + bytes([content[5000] ^ 64]) + content[5001:]
    elif damage == "no model":
        content = lzma.compress(b"\xff" * 100)
    elif damage == "foreign":
        content = lzma.compress(DIGITS.read_bytes())
    else:
        del small.metadata_props[[e.key for e in small.metadata_props].index(KEY)]
        content = lzma.compress(small.SerializeToString())
    assert content.startswith(MAGIC)
    (path := tmp_path / "net.xz").write_bytes(content)
    with pytest.raises(UserError, match=r"net\.xz (is|does) "):
        read_model(path)


def test_integers_for_weights_are_no_model(tmp_path):
    """What `xz -d` leaves: evaluated as it is it would answer at random."""
    (path := tmp_path / "net.onnx").write_bytes(lzma.decompress(packed(read_model(DIGITS))))
    with pytest.raises(UserError, match=r"net\.onnx holds the integers of a packed model: give the packed file"):
        read_model(path)
    assert isinstance(_export(path, "-o", tmp_path / "again.xz").exception, UserError) and not (tmp_path / "again.xz").exists()


def test_a_file_that_grows_without_end_is_refused_in_little_memory(monkeypatch):
    monkeypatch.setattr(packing, "MOST_BYTES", 1 << 20)
    with pytest.raises(UserError, match="holds more than 1,048,576 bytes"):
        unpacked(lzma.compress(bytes(1 << 24)))
    with pytest.raises(UserError, match="up to 1,048,576 are packed"):
        packed(_one_weight(np.ones((1 << 10, 1 << 10), np.float32), np.float32([[0.5]])))


@pytest.mark.parametrize("says", ["{}", "[]", '{"digest": "x", "scales": []}', '{"digest": "x", "scales": {"nothing": "s"}}', "no JSON"])
def test_metadata_by_hand_is_refused(says):
    small = ModelProto.FromString(lzma.decompress(packed(read_model(DIGITS))))
    next(e for e in small.metadata_props if e.key == KEY).value = says
    with pytest.raises(UserError, match="not by `finn-vitprune export`"):
        unpacked(lzma.compress(small.SerializeToString()))


def test_a_name_whose_images_would_not_be_found_is_refused(tmp_path):
    with pytest.raises(UserError, match="so give net.xz"):
        write_model(read_model(DIGITS), tmp_path / "net.onnx.xz")
    assert not list(tmp_path.iterdir())


def test_a_build_takes_a_packed_model_and_the_images_beside_it(tmp_path):
    write_model(read_model(DIGITS), path := tmp_path / "net.xz")
    shutil.copy(EXAMPLE / "images.npz", tmp_path / "net.npz")
    build(BuildOptions(model=path, output_dir=tmp_path / "b", fpga_part="ZCU104", stop_step="step_lower", max_images=3))
    record = record_of(tmp_path / "b")
    assert record.options["model"].startswith("net.xz") and record.options["images"].startswith("net.npz")
    assert (tmp_path / "b" / "intermediate_models" / "step_lower.onnx").is_file()


def test_export_packs_and_unpacks(tmp_path):
    small, again = tmp_path / "net.xz", tmp_path / "again.onnx"
    assert f"written: {small}" in _export(DIGITS, "-o", small).output
    assert _export(small, "-o", again).exit_code == 0
    assert _same(onnx.load(again), read_model(DIGITS)) and sorted(p.name for p in tmp_path.iterdir()) == ["again.onnx", "net.xz"]


def test_export_refuses_to_name_a_plain_file_packed(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    error = _export(tmp_path / "checkpoint.pt", "-o", tmp_path / "m.xz").exception
    assert isinstance(error, UserError) and "a checkpoint is exported as .onnx" in str(error)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    (path := tmp_path / "net.onnx").write_bytes(b"mine")
    monkeypatch.setattr("pathlib.Path.write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        write_model(read_model(DIGITS), path)
    assert path.read_bytes() == b"mine" and len(list(tmp_path.iterdir())) == 1
