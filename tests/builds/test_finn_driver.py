"""FINN's driver: its settings are those that FINN writes, and have all that finn-plus-driver 1.6.1 reads.

That package wants NumPy 1, so that it is not among the development packages. Where it is there, it drives the RTL of a build:
``pip download --no-deps finn-plus-driver==1.6.1``, unpacked, on PYTHONPATH.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from finn.transformation.fpgadataflow.create_dataflow_partition import CreateDataflowPartition
from finn.transformation.fpgadataflow.floorplan import Floorplan
from finn.transformation.fpgadataflow.insert_iodma import InsertIODMA
from finn.transformation.fpgadataflow.make_driver import MakePYNQDriver
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames

from finn_vitprune import Accelerator, load_port
from finn_vitprune.builds.stitched.host_side import HostSide
from finn_vitprune.builds.vivado.finn_driver import driver_platform, driver_settings
from tests.link.board import tiny
from tests.link.cards import Chip

PACKAGE, PART, CLK_NS = "finn_plus_driver", "xczu7ev-ffvc1156-2-e", 4.0
READ = {
    "idt": str, "odt": str, "idma_names": str, "odma_names": str, "ishape_normal": list, "oshape_normal": list, "ishape_folded": list,
    "oshape_folded": list, "ishape_packed": list, "oshape_packed": list,
}  # fmt: skip
"""Lists of ``io_shape_dict``, with an element for each input or output of this type."""
ALONE = {"num_inputs": int, "num_outputs": int, "number_of_external_weights": int, "external_weights_input_shapes": dict}
ASKED_FOR = {"mlo_weight_config"}
"""What the package asks for and does without."""
ARGUMENTS = {"platform": str, "io_shape_dict": dict, "fclk_mhz": float, "runtime_weights": bool}
"""Of its class, which come from ``driver_information``."""


@pytest.fixture(scope="module", params=["fixed", "loadable"])
def network(request, tmp_path_factory):
    options = {"fixed": {}, "loadable": {"loadable": True, "engines": 1}}[request.param]
    return tiny(tmp_path_factory.mktemp(request.param), **options)


@pytest.fixture
def settings(network):
    """As they are read from their file."""
    return json.loads(json.dumps(driver_settings(network.design, PART, CLK_NS)))


def finn_settings(network, place) -> dict:
    """What FINN's own transformations write for the design between data movers, as its flow for Zynq makes them."""
    model = ModelWrapper(str(network.folder / "intermediate_models" / "step_stitch.onnx"))
    for step in (InsertIODMA(), GiveUniqueNodeNames(), Floorplan(), CreateDataflowPartition(str(place))):
        model = model.transform(step)
    for node in model.graph.node:
        if ends := [
            name
            for name, end in (("idma0", model.find_producer(node.input[0])), ("odma0", model.find_consumer(node.output[0])))
            if end is None
        ]:
            getCustomOp(node).set_nodeattr("instance_name", ends[0])  # as ZynqBuild does
    model = model.transform(MakePYNQDriver("zynq-iodma", "FINNDMAOverlay", clk_period_ns=CLK_NS))
    with open(f"{model.get_metadata_prop('pynq_driver_dir')}/settings.json") as file:
        return json.load(file)


def test_they_are_what_finn_writes(network, settings, tmp_path):
    expected = finn_settings(network, tmp_path)
    assert expected["driver_information"]["io_shape_dict"]["ishape_normal"] == [[1, 4, 4]]
    expected["driver_information"]["runtime_weights"] = bool(network.design.loads)  # FINN knows of its own units alone
    assert settings == expected


def test_they_have_all_that_the_package_reads(settings):
    information = settings["driver_information"]
    shapes = information["io_shape_dict"]
    assert set(shapes) == {*READ, *ALONE} and information["driver_type"] == "FINNDMAOverlay"
    for name, kind in READ.items():
        assert len(shapes[name]) == 1 and isinstance(shapes[name][0], kind), name
    assert all(isinstance(shapes[name], kind) for name, kind in ALONE.items())
    assert all(isinstance(information[name], kind) for name, kind in ARGUMENTS.items())
    for way in "io":  # as the package takes the names of types apart
        (text,) = shapes[f"{way}dt"]
        assert DataType[text[text.index("[") + 1 : text.index("]")].strip("'")].name in text
        normal, folded, packed = (shapes[f"{way}shape_{kind}"][0] for kind in ("normal", "folded", "packed"))
        assert np.prod(normal) == np.prod(folded) and packed[:-1] == folded[:-1]


@pytest.mark.parametrize("part, platform", [
    ("xczu7ev-ffvc1156-2-e", "zynq-iodma"), ("xc7z020clg400-1", "zynq-iodma"), ("xck26-sfvc784-2LV-c", "zynq-iodma"), ("XCVC1902", "zynq-iodma"),
    ("xcu250-figd2104-2L-e", "alveo"), ("xcvu9p", "alveo"),
])  # fmt: skip
def test_the_platform_follows_the_part(part, platform):
    assert driver_platform(part) == platform


def test_an_overlay_without_contents_of_ours_loads_as_finn_does(tmp_path):
    called = []

    class Overlay:
        runtime_weight_dir = tmp_path

        def load_runtime_weights(self, flush_accel=True):
            called.append(flush_accel)

    load_port.loading_overlay(Overlay)().load_runtime_weights(flush_accel=False)
    assert called == [False]


# The package itself


@pytest.fixture
def package(monkeypatch):
    """``finn_plus_driver`` with a PYNQ whose registers move images through a chip; sets ``chip`` of what it returns."""
    if find_spec(PACKAGE) is None:
        pytest.skip(f"{PACKAGE} is not installed: see the docstring of this module")
    board = SimpleNamespace(chip=None, buffers={}, movers={})
    pynq, ps = ModuleType("pynq"), ModuleType("pynq.ps")

    def allocate(shape, dtype, **options):
        assert set(options) == {"cacheable", "target"}
        buffer = np.zeros(shape, dtype).view(_Buffer)
        buffer.device_address = 0x1_0000_0000 + 0x1000 * len(board.buffers)
        board.buffers[buffer.device_address] = buffer
        return buffer

    class Overlay:
        def __init__(self, bitfile, download, device):
            self.device, self.ip_dict = device, {}
            self.idma0, self.odma0 = _Mover(board, "idma0"), _Mover(board, "odma0")
            self.StreamingDataflowPartition_1 = SimpleNamespace(s_axilite_0=SimpleNamespace(mmio=board.chip))

    pynq.Overlay, pynq.allocate, ps.Clocks = Overlay, allocate, SimpleNamespace()
    for name, module in (("pynq", pynq), ("pynq.ps", ps)):
        monkeypatch.setitem(sys.modules, name, module)
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        monkeypatch.delitem(sys.modules, name)
    board.module = _imported()
    return board


def _imported() -> ModuleType:
    """``overlays/dma.py`` of the package; the other overlays want more than PYNQ."""
    overlays = ModuleType(f"{PACKAGE}.overlays")
    overlays.__path__ = [str(Path(path) / "overlays") for path in importlib.import_module(PACKAGE).__path__]
    sys.modules[overlays.__name__] = overlays
    return importlib.import_module(f"{PACKAGE}.overlays.dma")


class _Buffer(np.ndarray):
    device_address = 0

    def flush(self) -> None:
        """The chip reads memory itself."""

    def invalidate(self) -> None:
        """The chip wrote memory itself."""


class _Mover:
    """The registers of one of FINN's data movers: address, images, start; the input's start moves images through the chip."""

    def __init__(self, board, name) -> None:
        self.board, self.name, self.registers = board, name, {0: 0b110}
        board.movers[name] = self

    def read(self, address: int) -> int:
        return self.registers[address]

    def write(self, address: int, word: int) -> None:
        self.registers[address] = word
        if address == 0:
            assert word == 1
            self.registers[0] = 0
            if self.name == "idma0":
                self.move()

    def move(self) -> None:
        sent, received = (self.board.movers[name]._memory() for name in ("idma0", "odma0"))
        answer = self.board.chip.beats(np.array(sent).reshape(-1, sent.shape[-1]), received.size // received.shape[-1])
        received[:] = answer.reshape(received.shape)
        for mover in self.board.movers.values():
            mover.registers[0] = 0b110

    def _memory(self) -> np.ndarray:
        buffer = self.board.buffers[self.registers[0x10] | self.registers[0x14] << 32]
        assert self.registers[0x1C] == len(buffer), "images"
        return buffer


def test_the_package_reads_what_the_table_says(package):
    """Every key that its source names, and every argument of its class that is not its own business."""
    source = inspect.getsource(package.module.FINNDMAOverlay)
    named = set(re.findall(r'io_shape_dict(?:\[|\.get\(|\.keys\(\)\[?)"(\w+)"', source)) | set(
        re.findall(r'"(\w+)" in (?:self\.)?io_shape_dict', source)
    )
    named |= set(re.findall(r'value\.get\("(\w+)"', source))
    assert named <= {*READ, *ALONE, *ASKED_FOR} and named >= set(READ) and {"num_inputs", "num_outputs"} <= named
    assert set(ARGUMENTS) <= set(inspect.signature(package.module.FINNDMAOverlay.__init__).parameters)


def test_the_package_drives_the_design(package, network, settings):
    """Images as the settings say, packed and unpacked by the package, through the RTL: the logits of the integers."""
    package.chip = Chip(network.design)
    overlay, folder = package.module.FINNDMAOverlay, network.design.folder
    if network.design.loads:
        with pytest.raises(FileNotFoundError, match=r"no \.dat weight files were found"):
            overlay("design.bit", runtime_weight_dir=str(folder), **settings["driver_information"])
        overlay = load_port.loading_overlay(overlay)
    count = 3
    driver = overlay(
        "design.bit",
        batch_size=count,
        runtime_weight_dir=str(folder if network.design.loads else folder / "none"),
        **settings["driver_information"],
    )
    images = network.images[:count]
    found = driver.execute(HostSide.of(network.design).patches(images).astype(np.uint8))
    with Accelerator("integers", network.folder) as integers:
        assert (found.reshape(count, -1) == integers.predict(images)).all()
