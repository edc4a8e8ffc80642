"""FINN's own execution runs our RTL: execute_onnx with exec_mode rtlsim, and FINN's interface below it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import finn.xsi as xsi
import numpy as np
import pytest
from finn.core.onnx_exec import execute_onnx
from finn.transformation.fpgadataflow.prepare_ip import PrepareIP
from finn.util.basic import getHWCustomOp
from finn.util.exception import FINNUserError
from onnx import TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.stitched.stitch import annotate, stitch
from finn_vitprune.custom_ops.registry import make_node
from finn_vitprune.sim.contents import Contents
from finn_vitprune.transforms.streams.insert_load_port import InsertLoadPort

PART = "xczu7ev-ffvc1156-2-e"


def lookup_and_fork() -> tuple[ModelWrapper, np.ndarray]:
    """x INT8 [1, 4, 6] through a table, then to two outputs; and the table."""
    table = (np.arange(256) * 37) % 251
    shape = {"tokens": 4, "channels": 6, "SIMD": 3}
    nodes = [
        make_node("VitLookup_rtl", ["x", "table"], ["y"], name="VitLookup_0", **shape, inputDataType="INT8", outputDataType="UINT8"),
        make_node("VitFork_rtl", ["y"], ["z0", "z1"], name="VitFork_0", **shape, inputDataType="UINT8"),
    ]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 4, 6)) for n in ("x", "y", "z0", "z1")]
    graph = helper.make_graph(nodes, "small", infos[:1], infos[2:], value_info=infos[1:2])
    model = ModelWrapper(helper.make_model(graph))
    model.set_initializer("table", table.astype(np.float32))
    model.set_tensor_datatype("x", DataType["INT8"])
    for name in ("y", "z0", "z1"):
        model.set_tensor_datatype(name, DataType["UINT8"])
    return model, table


@pytest.fixture(scope="module")
def prepared():
    model, table = lookup_and_fork()
    model = model.transform(PrepareIP(PART, 5.0))
    for node in model.graph.node:
        op = getHWCustomOp(node)
        op.prepare_rtlsim(behav=False)
        op.set_nodeattr("exec_mode", "rtlsim")
    return model, table


def test_execute_onnx_runs_the_rtl_of_every_node(prepared):
    model, table = prepared
    x = np.random.default_rng(1).integers(-128, 127, (1, 4, 6), endpoint=True).astype(np.float32)
    got = execute_onnx(model, {"x": x})
    want = table[x.astype(int) + 128]
    assert np.array_equal(got["z0"], want) and np.array_equal(got["z1"], want)
    for node in model.graph.node:
        op = getHWCustomOp(node)
        assert "xsim.dir" in op.get_nodeattr("rtlsim_so")
        assert op.get_exp_cycles() <= op.get_nodeattr("cycles_rtlsim") <= op.get_exp_cycles() + 6


def test_it_is_the_rtl_that_ran_and_not_the_golden_model(prepared):
    model, table = prepared
    op = getHWCustomOp(model.graph.node[0])
    folder = op.get_nodeattr("rtlsim_so").split("xsim.dir")[0]
    rom = Path(folder) / op.memory_file("table")
    honest = rom.read_text()
    x = np.zeros((1, 4, 6), np.float32)
    try:
        rom.write_text(honest.replace(f"{table[128]:02x}\n", "ee\n"))
        assert np.all(execute_onnx(model, {"x": x})["z0"] == 0xEE)
    finally:
        rom.write_text(honest)
    assert np.all(execute_onnx(model, {"x": x})["z0"] == table[128])


def test_a_standstill_is_finns_error_and_names_the_stream(prepared):
    model, _ = prepared
    op = getHWCustomOp(model.graph.node[0])
    sim = op.get_rtlsim()
    io = {"inputs": {"in0": [1, 2, 3]}, "outputs": {"out0": []}}
    with pytest.raises(FINNUserError, match="out0_V: 3 of 8 beats"):
        xsi.rtlsim_multi_io(sim, io, 8, sname="_V", liveness_threshold=100)
    assert xsi.rtlsim_multi_io(sim, io, 3, sname="_V", liveness_threshold=100) < 10
    assert len(io["outputs"]["out0"]) == 3
    assert sim.is_open()
    xsi.close_rtlsim(sim)
    assert not sim.is_open()


def test_vhdl_is_refused_by_name(tmp_path):
    with pytest.raises(FINNUserError, match="thing.vhd"):
        xsi.compile_sim_obj("top", [str(tmp_path / "thing.vhd")], tmp_path)


def matrix_in_ultraram() -> tuple[ModelWrapper, np.ndarray]:
    """x INT4 [1, 4, 16] times W [16, 16], then that times V [16, 16]; and W V."""
    rng = np.random.default_rng(2)
    weights = rng.integers(-8, 8, (2, 16, 16))
    shape = {"tokens": 4, "MW": 16, "MH": 16, "block": 8, "SIMD": 4, "PE": 2, "in_width": 2, "out_width": 2}
    types = [("INT4", "INT16"), ("INT16", "INT32")]
    nodes = [
        make_node(
            "BlockSparseMVAU_rtl",
            [x, f"w{i}", "bias"],
            [y],
            name=f"BlockSparseMVAU_{i}",
            **shape,
            requant=0,
            ram_style="ultra",
            inputDataType=types[i][0],
            weightDataType="INT4",
            outputDataType=types[i][1],
        )
        for i, (x, y) in enumerate([("x", "y"), ("y", "z")])
    ]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 4, 16)) for n in ("x", "y", "z")]
    model = ModelWrapper(helper.make_model(helper.make_graph(nodes, "two", infos[:1], infos[2:], value_info=infos[1:2])))
    for i in range(2):
        model.set_initializer(f"w{i}", weights[i].astype(np.float32))
    model.set_initializer("bias", np.zeros(16, np.float32))
    for name, kind in (("x", "INT4"), ("y", "INT16"), ("z", "INT32")):
        model.set_tensor_datatype(name, DataType[kind])
    return model, weights[0] @ weights[1]


def test_weights_in_ultraram_are_loaded_in_node_and_stitched_simulation(tmp_path):
    """FINN's own execution of each node, load port and end among them, and of the stitched design gives x W V, by hand."""
    model, product = matrix_in_ultraram()
    model = model.transform(InsertLoadPort()).transform(PrepareIP(PART, 5.0))
    assert [node.op_type for node in model.graph.node] == [
        "VitLoadPort_rtl",
        "BlockSparseMVAU_rtl",
        "BlockSparseMVAU_rtl",
        "VitLoadEnd_rtl",
    ]
    x = np.random.default_rng(3).integers(-8, 8, (1, 4, 16)).astype(np.float32)
    for node in model.graph.node:
        op = getHWCustomOp(node)
        op.prepare_rtlsim(behav=False)
        op.set_nodeattr("exec_mode", "rtlsim")
    assert np.array_equal(execute_onnx(model, {"x": x})["z"], x @ product)

    design = stitch(model, tmp_path / "stitched")
    assert [(load.port, load.node, load.words) for load in design.loads] == [("s_axilite_0", "VitLoadPort_rtl_0", 64)]
    annotate(model, design, 5.0)
    assert "'axilite': ['s_axilite_0']" in model.get_metadata_prop("vivado_stitch_ifnames")
    model.set_metadata_prop("exec_mode", "rtlsim")
    assert np.array_equal(execute_onnx(model, {"x": x})["z"], x @ product)
    contents = Contents.load(design.folder)
    replace(contents, data=contents.data ^ 1).save(design.folder)
    model.set_metadata_prop("rtlsim_so", "")  # compiled again, with the other contents
    assert not np.array_equal(execute_onnx(model, {"x": x})["z"], x @ product)
    (tmp_path / "stitched" / "load.json").unlink()
    (tmp_path / "sim").mkdir()
    with pytest.raises(FINNUserError, match="no contents.bin and load.json of finn_design beside its sources"):
        xsi.compile_sim_obj("finn_design", sorted(Path(design.folder).glob("*v")), tmp_path / "sim")
