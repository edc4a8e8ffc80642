"""The target ``netlist`` where a netlist answers wrongly: by a stand-in of its simulator, which keeps to the rules of the link.

A real netlist is in ``tests/boards/test_board_commands.py``."""

from __future__ import annotations

import json

import numpy as np
import pytest

from finn_vitprune import Accelerator, UserError
from finn_vitprune.api import targets
from finn_vitprune.boards.gate import GateRun
from finn_vitprune.boards.netlist import LANES
from finn_vitprune.link.frames import CRC, FrameReader, FrameType, LinkFrame, LinkStatus
from finn_vitprune.sim.beats import pack
from tests.boards.test_board_commands import board_json
from tests.link.board import tiny


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    found = tiny(tmp_path_factory.mktemp("tiny"))
    (found.folder / "bitstream").mkdir()
    (found.folder / "bitstream" / "board.json").write_text(json.dumps(board_json(design=found.design.number)))
    return found


class Simulator:
    """Boards with the network's integers in them; those of ``silent`` give no logits. ``design`` and ``image_bytes`` are what they say."""

    def __init__(self, network) -> None:
        self.network, self.silent, self.design, self.image_bytes, self.runs = network, set(), network.design.number, 16, 0
        with Accelerator("integers", network.folder) as integers:
            logits = integers.predict(network.images)
        pixels = {image.tobytes(): place for place, image in enumerate(network.images)}
        order = targets.HostSide.of(network.design).order.reshape(-1)
        beats = {np.frombuffer(raw, np.uint8)[order].tobytes(): place for raw, place in pixels.items()}
        self.answers = {raw: pack(logits[place].reshape(1, 1, -1), network.design.output).tobytes() for raw, place in beats.items()}

    def run(self, messages, expected, times) -> GateRun:
        self.runs += 1
        received = [[] for _ in range(LANES)]
        for board, sent in messages.items():
            for frame in FrameReader({FrameType.IMAGE: 16, FrameType.QUERY: 0}).feed(b"".join(one.data for one in sent)):
                received[board] += (self.status(frame) if frame.type == FrameType.QUERY else self.logits(board, frame)).encoded
        assert all(len(received[board]) == count or board in self.silent for board, count in expected.items())
        return GateRun(received, 1000, [0] * LANES)

    def status(self, frame: LinkFrame) -> LinkFrame:
        return LinkFrame(
            FrameType.STATUS, frame.number, LinkStatus.LAYOUT.pack(1, self.design, self.image_bytes, 40, 4, 100, 0, 1, *[0] * 7)
        )

    def logits(self, board: int, frame: LinkFrame) -> LinkFrame:
        crc = frame.crc ^ 1 if board in self.silent else frame.crc  # as of another frame: a host takes no such logits
        return LinkFrame(FrameType.LOGITS, frame.number, CRC.pack(crc) + self.answers[frame.payload])


@pytest.fixture
def simulator(network, monkeypatch):
    found = Simulator(network)
    monkeypatch.setattr(targets, "compile_netlist", lambda path: found)
    return found


def test_images_are_dealt_to_boards_and_come_back_in_order(network, simulator):
    places = np.random.default_rng(0).integers(0, 64, 5 * LANES)
    with Accelerator("netlist", network.folder) as netlist, Accelerator("integers", network.folder) as integers:
        assert (netlist.predict(network.images[places]) == integers.predict(network.images[places])).all()
        assert simulator.runs == 1 + 2, "its status, then 4 images a board, then the rest"
        assert netlist.status().board.design == netlist.status().design == network.design.number


def test_missing_logits_are_an_error(network, simulator):
    with Accelerator(f"netlist:{network.folder / 'bitstream'}", network.folder) as netlist:
        simulator.silent.add(3)
        with pytest.raises(UserError, match="the routed netlist gave no logits of 1 of 5 images"):
            netlist.predict(network.images[:5])


@pytest.mark.parametrize("change, said", [
    ({"design": 7}, "holds design 0x00000007, .* program it with that design's bitstream"), ({"image_bytes": 17}, "takes images of 17 bytes"),
])  # fmt: skip
def test_a_netlist_of_another_design_is_refused(network, simulator, change, said):
    vars(simulator).update(change)
    with pytest.raises(UserError, match=said):
        Accelerator("netlist", network.folder)


def test_a_bitstream_of_another_design_is_refused_before_it_is_simulated(network, tmp_path):
    (tmp_path / "board.json").write_text(json.dumps(board_json(design=network.design.number ^ 1)))
    with pytest.raises(UserError, match=f"{tmp_path} is of another design than .*: make the bitstream again"):
        Accelerator(f"netlist:{tmp_path}", network.folder)
