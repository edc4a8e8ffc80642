"""Frames whose beats do not add up are counted, and what leaves is whole frames: the unit alone, and designs with and without a load port."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from finn.transformation.fpgadataflow.prepare_ip import PrepareIP
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune import load_port
from finn_vitprune.builds.stitched.accelerator import in_one_piece
from finn_vitprune.builds.stitched.stitch import StitchedDesign, stitch
from finn_vitprune.sim import Stimulus, bus
from finn_vitprune.sim.beats import pack, unpack
from finn_vitprune.sim.contents import Contents
from finn_vitprune.transforms.streams.insert_frame_check import CHECK, InsertFrameCheck
from finn_vitprune.transforms.streams.insert_load_port import InsertLoadPort
from tests.rtl.benches import frame_check_design
from tests.rtl.benches.frame_check_design import CHECKS, PORTS, Sent, compile_checked, run_checked, sent
from tests.rtl.benches.helper import PART, generate_op
from tests.rtl.benches.load_design import BUS, INPUT, OUTPUT, two_matrices
from tests.sampling import spread


@pytest.mark.parametrize("name", spread(CHECKS, 4))
def test_whole_frames_leave_and_wrong_ones_are_counted(name):
    op, _, keep = generate_op("VitFrameCheck", CHECKS[name].attributes)
    bits = op.in_streams()[0].tdata_bits, op.out_streams()[0].tdata_bits
    simulator = compile_checked("dut", op.get_rtl_file_list(abspath=True), PORTS, bits, Path(keep.name))
    frame_check_design.check_frames(op, simulator, Path(keep.name))


@dataclass(frozen=True)
class Network:
    """Two matrices behind a frame check, stitched, and their product."""

    design: StitchedDesign
    product: np.ndarray
    each: bool

    def sent(self, wrong: dict[int, int]) -> tuple[Sent, np.ndarray]:
        """Nine frames, those of ``wrong`` with so many beats more or, below 0, fewer; and what must leave."""
        source = self.design.input
        shape = (9, source.tokens, source.channels)
        frames = pack(np.random.default_rng(4).integers(-8, 8, shape), source).reshape(9, source.beats, -1)
        lengths = [source.beats + wrong.get(i, 0) for i in range(9)]
        ends = [self.each or i in wrong or i % 4 == 2 for i in range(8)] + [True]
        given = sent(frames, lengths, ends, self.each)
        return given, pack(unpack(given.passed, source) @ self.product, self.design.output)


@pytest.fixture(scope="module", params=[pytest.param(True, id="each"), pytest.param(False, id="transfer", marks=pytest.mark.whole)])
def each(request) -> bool:
    return request.param


def network(each: bool, folder: Path, ram_style: str) -> Network:
    model, product = two_matrices(7)
    for node in model.graph.node:
        getCustomOp(node).set_nodeattr("ram_style", ram_style)
    model = model.transform(InsertLoadPort()).transform(InsertFrameCheck(each)).transform(PrepareIP(PART, 5.0))
    return Network(stitch(model, folder), product, each)


WRONG = ({}, {3: -1}, {3: 1}, {0: -1}, {1: 1, 2: -1, 5: 2}, {2: -3, 3: 5, 7: 1})
"""No frame, one with a beat lost, one with a beat too many, and several."""
STIMULI = (
    Stimulus(),
    Stimulus(seed=3, pause=0.3, stall=0.3),
    Stimulus(seed=4, stall=0.6),
    Stimulus(seed=5, pause=0.1, stall=0.1, burst=30),
)


def test_in_a_design_images_after_a_wrong_one_are_right(each, tmp_path):
    found = network(each, tmp_path, "block")
    design = found.design
    assert design.frame_check and not design.loads
    top = (tmp_path / "finn_design.v").read_text()
    assert "input  wire s_axis_0_tlast" in top and "output wire [31:0] wrong_frames" in top
    sources = [tmp_path / name for name in (*design.sources, "finn_design.v")]
    bits = design.input.tdata_bits, design.output.tdata_bits
    simulator = compile_checked("finn_design", sources, (INPUT, OUTPUT), bits, tmp_path)
    for wrong in WRONG:
        given, wanted = found.sent(wrong)
        assert given.wrong == len(wrong)
        for stimulus in STIMULI:
            run_checked(simulator, given, wanted, tmp_path, stimulus)


def test_a_load_port_has_the_count_in_a_register(each, tmp_path):
    """Read over the bus when all frames have left; a write to its address is none to CONTROL, and no other register has changed."""
    found = network(each, tmp_path, "ultra")
    design, simulated = found.design, in_one_piece(found.design)
    assert design.frame_check and design.loads[0].address_bits == load_port.ADDRESS_BITS + 1
    words = Contents.load(tmp_path).words
    state = [bus.read(a) for a in (load_port.WRONG_FRAMES, load_port.FRAMES, load_port.STATUS, load_port.TOTAL)]
    for wrong in WRONG:
        given, wanted = found.sent(wrong)
        for stimulus in STIMULI:
            steps = [bus.load(words), bus.wait(3000), bus.write(load_port.WRONG_FRAMES, load_port.BEGIN), bus.wait(9), *state]
            stimulus = Stimulus(**vars(stimulus) | {"load_first": False})
            result = simulated.simulator.run(
                {INPUT: given.fed},
                {OUTPUT: wanted},
                data_dir=tmp_path,
                stimulus=stimulus,
                idle_limit=9000,
                loads={BUS: np.concatenate(steps)},
            )
            assert result.ok, (wrong, stimulus, result.deadlock, result.extra_beats, result.violations)
            assert result.loads[BUS].reads == (len(wrong), 0, load_port.OPEN, len(words) - 5)


def test_finn_finds_tlast_and_the_count():
    """TLAST is of the stream by its name; the count is a pin of the top."""
    op, _, keep = generate_op("VitFrameCheck", CHECKS["3 beats, TLAST with each frame"].attributes)
    names = op.get_verilog_top_module_intf_names()
    assert names["ap_none"] == ["wrong_frames"] and [name for name, _ in names["s_axis"]] == ["in0_V"]
    assert "input wire [0:0] in0_V_tlast" in (Path(keep.name) / "dut.v").read_text()


def test_blocks_of_finn_s_design_connect_the_count():
    model, _ = two_matrices(7)
    model = model.transform(InsertLoadPort()).transform(InsertFrameCheck(each=True))
    names = [node.name for node in model.graph.node]
    assert names[:2] == [f"{CHECK}_0", "VitLoadPort_rtl_0"]
    port = getCustomOp(model.graph.node[1])
    port.set_nodeattr("code_gen_dir_ipgen", ".")
    assert f"connect_bd_net [get_bd_pins {CHECK}_0/wrong_frames] [get_bd_pins VitLoadPort_rtl_0/wrong_frames]" in port.code_generation_ipi()
