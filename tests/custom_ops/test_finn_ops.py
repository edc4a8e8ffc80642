"""FINN's own RTL ops on the Verilator stand-in for ``finn.xsi``, node by node, against FINN's own Python models.

The sources are those of the installed finn-plus. Parameters are drawn from seeds, which a failure prints.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from finn.core.onnx_exec import execute_onnx
from finn.transformation.fpgadataflow.prepare_ip import PrepareIP
from finn.transformation.fpgadataflow.prepare_rtlsim import PrepareRTLSim
from finn.transformation.fpgadataflow.set_exec_mode import SetExecMode
from finn.transformation.fpgadataflow.set_folding import SetFolding
from finn.util.exception import FINNUserError
from onnx import TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames

import finn_vitprune.plugin  # noqa: F401
from finn_vitprune.custom_ops.registry import make_node
from finn_vitprune.errors import UserError
from tests.sampling import sampled

ULTRASCALE, VERSAL = "xczu7ev-ffvc1156-2-e", "xcvc1902-vsva2197-2MP-e-S"


@dataclass(frozen=True)
class FinnOp:
    """A node of one of FINN's ops: its attributes, the types of its streams, its weights."""

    op_type: str
    attributes: dict[str, object]
    input_type: str
    output_type: str | None = None
    weights: np.ndarray | None = None
    weight_type: str = "INT8"
    part: str = ULTRASCALE

    def model(self) -> ModelWrapper:
        """The node alone, its code generated and its RTL compiled."""
        weights = [] if self.weights is None else ["weights"]
        node = helper.make_node(
            self.op_type, ["x", *weights], ["y"], domain="finn.custom_op.fpgadataflow.rtl", backend="fpgadataflow", **self.attributes
        )
        op = getCustomOp(node)
        infos = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
            for name, shape in (("x", op.get_normal_input_shape()), ("y", op.get_normal_output_shape()))
        ]
        model = ModelWrapper(helper.make_model(helper.make_graph([node], "one", infos[:1], infos[1:])))
        model.set_tensor_datatype("x", DataType[self.input_type])
        model.set_tensor_datatype("y", DataType[self.output_type or self.input_type])
        if self.weights is not None:
            model.set_initializer("weights", self.weights.astype(np.float32))
            model.set_tensor_datatype("weights", DataType[self.weight_type])
        return model.transform(GiveUniqueNodeNames()).transform(PrepareIP(self.part, 5.0))


def select_token(rng: np.random.Generator) -> FinnOp:
    simd, tokens = int(rng.choice([1, 2, 4])), int(rng.integers(2, 9))
    return FinnOp(
        "SelectToken_rtl",
        {
            "NumTokens": tokens,
            "NumChannels": simd * int(rng.integers(1, 6)),
            "TokenIndex": int(rng.integers(-tokens, tokens)),
            "SIMD": simd,
            "inputDataType": "INT5",
            "outputDataType": "INT5",
        },
        "INT5",
    )


def width_converter(rng: np.random.Generator) -> FinnOp:
    narrow, ratio = int(rng.integers(1, 5)), int(rng.integers(2, 5))
    shape, widths = [1, int(rng.integers(2, 6)), narrow * ratio * int(rng.integers(1, 4))], [narrow * 3, narrow * ratio * 3]
    rng.shuffle(widths)
    return FinnOp(
        "StreamingDataWidthConverter_rtl",
        {"inShape": shape, "outShape": shape, "inWidth": widths[0], "outWidth": widths[1], "dataType": "INT3"},
        "INT3",
    )


def padding(rng: np.random.Generator) -> FinnOp:
    simd = int(rng.choice([1, 2, 4]))
    return FinnOp(
        "FMPadding_rtl",
        {
            "ImgDim": rng.integers(2, 7, 2).tolist(),
            "Padding": rng.integers(0, 3, 4).tolist(),
            "NumChannels": simd * int(rng.integers(1, 4)),
            "SIMD": simd,
            "inputDataType": "UINT6",
            "dynamic_mode": int(rng.integers(2)),
        },
        "UINT6",
    )


def crop(rng: np.random.Generator) -> FinnOp:
    simd, (north, south, west, east) = int(rng.choice([1, 2, 4])), rng.integers(0, 3, 4).tolist()
    height, width = np.add(rng.integers(1, 5, 2), (north + south, west + east)).tolist()
    return FinnOp(
        "Crop_rtl",
        {
            "DataType": "INT7",
            "ImgDim": [height, width],
            "NumChannels": simd * int(rng.integers(1, 4)),
            "SIMD": simd,
            "CropNorth": north,
            "CropSouth": south,
            "CropWest": west,
            "CropEast": east,
            "numInputVectors": [1],
        },
        "INT7",
    )


def matrix_unit(rng: np.random.Generator) -> FinnOp:
    simd, pe = int(rng.choice([2, 3, 4])), int(rng.choice([1, 2, 4]))
    mw, mh = simd * int(rng.integers(1, 5)), pe * int(rng.integers(1, 4))
    return FinnOp(
        "MVAU_rtl",
        {
            "MW": mw,
            "MH": mh,
            "SIMD": simd,
            "PE": pe,
            "inputDataType": "INT8",
            "weightDataType": "INT4",
            "outputDataType": "INT20",
            "accDataType": "INT20",
            "noActivation": 1,
            "resType": "dsp",
            "numInputVectors": [1, int(rng.integers(1, 4))],
        },
        "INT8",
        "INT20",
        rng.integers(-8, 8, (mw, mh)),
        "INT4",
    )


def matrix_unit_of_dsp58(rng: np.random.Generator) -> FinnOp:
    return replace(matrix_unit(rng), part=VERSAL)


def depthwise_unit(rng: np.random.Generator) -> FinnOp:
    pe, (height, width) = int(rng.choice([1, 2, 4])), rng.integers(1, 5, 2).tolist()
    channels, kernel = pe * int(rng.integers(1, 4)), [int(rng.integers(1, 4)), int(rng.integers(2, 4))]
    simd = int(rng.choice([1, kernel[1], kernel[0] * kernel[1]]))
    return FinnOp(
        "VVAU_rtl",
        {
            "PE": pe,
            "SIMD": simd,
            "Dim": [height, width],
            "Channels": channels,
            "Kernel": kernel,
            "resType": "dsp",
            "inputDataType": "UINT4",
            "weightDataType": "INT6",
            "outputDataType": "INT18",
            "accDataType": "INT18",
            "noActivation": 1,
        },
        "UINT4",
        "INT18",
        rng.integers(-32, 32, (channels, 1, *kernel)),
        "INT6",
        VERSAL,
    )


def thresholds(rng: np.random.Generator) -> FinnOp:
    """With ports for thresholds of the host, which stay idle."""
    pe = int(rng.choice([1, 2, 4]))
    channels = pe * int(rng.integers(1, 4))
    return FinnOp(
        "Thresholding_rtl",
        {
            "NumChannels": channels,
            "PE": pe,
            "numSteps": 7,
            "inputDataType": "INT8",
            "weightDataType": "INT8",
            "outputDataType": "UINT3",
            "numInputVectors": [1, int(rng.integers(1, 6))],
        },
        "INT8",
        "UINT3",
        np.sort(rng.integers(-100, 100, (channels, 7))),
    )


def fifo(rng: np.random.Generator) -> FinnOp:
    simd, beats = int(rng.choice([1, 2, 4])), int(rng.integers(1, 40))
    return FinnOp(
        "StreamingFIFO_rtl",
        {
            "depth": int(rng.choice([2, 8, 64, 600])),
            "folded_shape": [1, beats, simd],
            "normal_shape": [1, beats * simd],
            "dataType": "INT4",
            "impl_style": "rtl",
        },
        "INT4",
    )


def sliding_window(rng: np.random.Generator) -> FinnOp:
    simd, size, kernel = int(rng.choice([1, 2, 4])), int(rng.integers(4, 7)), int(rng.integers(2, 4))
    return FinnOp(
        "ConvolutionInputGenerator_rtl",
        {
            "ConvKernelDim": [kernel, kernel],
            "IFMDim": [size, size],
            "OFMDim": [size - kernel + 1] * 2,
            "Stride": [1, 1],
            "Dilation": [1, 1],
            "IFMChannels": 4,
            "SIMD": simd,
            "M": 1,
            "inputDataType": "INT4",
            "outputDataType": "INT4",
        },
        "INT4",
    )


DRAWS = [select_token, width_converter, padding, crop, matrix_unit, matrix_unit_of_dsp58, depthwise_unit, thresholds, fifo, sliding_window]


@pytest.mark.parametrize("seed", sampled([1, 2], 1))
@pytest.mark.parametrize("draw", DRAWS)
def test_finns_rtl_equals_finns_model(draw, seed):
    rng = np.random.default_rng(seed)
    op = draw(rng)
    print(f"seed {seed}: {op.op_type} {op.attributes} {op.part}")
    model = op.model()
    shape = model.get_tensor_shape("x")
    kind = DataType[op.input_type]
    x = {"x": rng.integers(int(kind.min()), int(kind.max()) + 1, shape).astype(np.float32)}
    want = execute_onnx(model.transform(SetExecMode("cppsim")), x)["y"]
    rtl = model.transform(PrepareRTLSim()).transform(SetExecMode("rtlsim"))
    got = execute_onnx(rtl, x)["y"]
    assert np.array_equal(got, want)
    assert np.any(want)
    assert "xsim.dir" in getCustomOp(rtl.graph.node[0]).get_nodeattr("rtlsim_so")


def lookup() -> ModelWrapper:
    """A table of this project: code c of INT3 gives c + 4."""
    node = make_node(
        "VitLookup_rtl", ["x", "table"], ["y"], name="lookup", tokens=1, channels=4, SIMD=2, inputDataType="INT3", outputDataType="INT4",
    )  # fmt: skip
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 1, 4)) for name in "xy"]
    model = ModelWrapper(helper.make_model(helper.make_graph([node], "one", infos[:1], infos[1:])))
    model.set_initializer("table", np.arange(8, dtype=np.float32).reshape(8, 1))
    for name, kind in (("x", "INT3"), ("y", "INT4"), ("table", "INT4")):
        model.set_tensor_datatype(name, DataType[kind])
    return model


@pytest.mark.parametrize("code", [-5, 4, -1000])
def test_codes_outside_of_a_stream_are_refused_where_finn_executes(code):
    model = lookup()
    inside = np.array([[[-4, -1, 0, 3]]], np.float32)
    assert execute_onnx(model, {"x": inside})["y"].tolist() == [[[0, 3, 4, 7]]]
    with pytest.raises(UserError, match=f"lookup: input x holds {code}, INT3 goes from -4 to 3"):
        execute_onnx(model, {"x": np.array([[[-4, code, 0, 3]]], np.float32)})


def test_no_code_is_outside_of_a_stream():
    with pytest.raises(UserError, match="lookup: input x holds nan"):
        getCustomOp(lookup().graph.node[0]).execute_node({"x": np.full((1, 1, 4), np.nan), "table": np.zeros((8, 1)), "y": None}, None)


def test_finns_set_folding_refuses_our_ops_and_folds_its_own():
    model = lookup()
    with pytest.raises(
        FINNUserError, match="step_target_fps_parallelization runs, does not fold lookup, an op of finn-vitprune: .*step_fold folds"
    ):
        model.transform(SetFolding(1))
    theirs = FinnOp("Thresholding_rtl", {
        "NumChannels": 4, "PE": 1, "numSteps": 7, "inputDataType": "INT8", "weightDataType": "INT8", "outputDataType": "UINT3",
        "numInputVectors": [1, 1],
    }, "INT8", "UINT3", np.sort(np.arange(28).reshape(4, 7))).model()  # fmt: skip
    assert getCustomOp(theirs.transform(SetFolding(1)).graph.node[0]).get_nodeattr("PE") == 4


def test_float_rtl_is_refused_with_its_cause():
    op = FinnOp(
        "LayerNorm_rtl",
        {"SIMD": 1, "ifm_dim": [1, 2, 4], "epsilon": 1e-5, "inputDataType": "FLOAT32", "outputDataType": "FLOAT32"},
        "FLOAT32",
        part=VERSAL,
    )
    with pytest.raises(FINNUserError, match="computes with shortreal.*exec_mode cppsim"):
        op.model().transform(PrepareRTLSim())
