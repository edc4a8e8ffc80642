"""One driver on every target: the same logits, or an error, behind a serial port and a faulty line, too."""

from __future__ import annotations

import os
import pty
import sys
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from finn_vitprune import Accelerator, UserError
from finn_vitprune.link.frames import Cause
from finn_vitprune.link.serial_port import SerialPort
from tests.link.board import TIMEOUT_S, SimulatedBoard, compiled, tiny
from tests.link.faults import FROM_BOARD, TO_BOARD, FaultyLine, LineFault, campaign
from tests.sampling import sampled


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def simulator(network):
    return compiled(network.design)


@pytest.fixture(scope="module")
def right(network):
    with Accelerator("integers", network.folder) as driver:
        return driver.predict(network.images)


def on_board(network, simulator, **options) -> Accelerator:
    return Accelerator("serial:sim", network.folder, transport=SimulatedBoard(simulator, network.design), timeout_s=TIMEOUT_S, **options)


def test_every_target_gives_the_same_logits(network, simulator, right):
    assert right.dtype == np.int32 and right.shape == (64, 10) and len(np.unique(right, axis=0)) > 50
    with Accelerator("rtl", network.folder) as rtl, on_board(network, simulator) as board:
        assert (rtl.predict(network.images[:9]) == right[:9]).all()
        assert (board.predict(network.images[:9]) == right[:9]).all()
        streams = [np.stack(list(target.stream(network.images[9:20, :, :, 0]))) for target in (rtl, board)]
        assert all((found == right[9:20]).all() for found in streams)
        states = rtl.status(), board.status()
    assert [s.images for s in states] == [20, 20] and {s.design for s in states} == {network.design.number}
    assert states[0].board is None and states[1].board.pending == 0
    assert states[1].board.design == network.design.number and states[1].board.image_bytes == 16 and states[1].board.logit_bytes == 40
    with Accelerator("integers", network.folder.parent / "model.onnx") as file:
        assert (file.predict(network.images) == right).all() and file.status().design is None


@pytest.mark.slow
@pytest.mark.parametrize("faults", sampled([30, 100, 300], 1))
def test_faults_of_the_line_never_give_wrong_logits(network, simulator, faults):
    """Of every kind, in either direction; the image after each gets through at its first try."""
    found = campaign(network, simulator, faults)
    kinds = {f"{kind} {way} the board" for kinds, way in ((TO_BOARD, "to"), (FROM_BOARD, "from")) for kind in kinds}
    assert set(found.faults) == kinds and found.faults.total() == faults
    assert not (found.wrong or found.late or found.errors), found
    assert found.resent > faults / 2, "most faults cost a frame"


def test_a_line_that_always_fails_is_an_error(network, simulator):
    class Deaf(SimulatedBoard):
        deaf = False

        def write(self, data: bytes) -> None:
            super().write(data[:-1] if self.deaf and len(data) > 12 else data)

    line = Deaf(simulator, network.design)
    with Accelerator("serial:deaf", network.folder, transport=line, timeout_s=TIMEOUT_S, tries=3) as driver:
        line.deaf = True
        with pytest.raises(UserError, match=r"was sent 3 times to the simulated board without logits"):
            driver.predict(network.images[:2])
        assert driver.status().board.refused[Cause.SILENCE] + driver.status().board.refused[Cause.CRC] > 0
        line.deaf = False
        assert len(driver.predict(network.images[:2])) == 2


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A network of the same sizes with other weights."""
    return tiny(tmp_path_factory.mktemp("other"), seed=1)


def test_a_board_that_holds_another_design_is_refused(network, other, simulator):
    board = SimulatedBoard(simulator, network.design)
    with pytest.raises(UserError) as caught:
        Accelerator("serial:sim", other.folder, transport=board, timeout_s=TIMEOUT_S)
    assert f"holds design {network.design.number:#010x}" in str(caught.value) and f"is {other.design.number:#010x}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_number_is_of_the_files_of_the_design(network, other, tmp_path_factory):
    """Another network has another one; the same network built again has the same."""
    again = tiny(tmp_path_factory.mktemp("again")).design.number
    assert again == network.design.number != other.design.number


@pytest.mark.parametrize("target, said", [
    ("pynq", "target pynq is not known: use one of integers, rtl, netlist, serial:/dev/ttyUSB0, pynq:design.bit, xrt:design.xclbin"),
    ("serial:", "target serial: is not known"), ("rtl:x", "target rtl:x is not known"),
    ("serial:/dev/ttyNONE", "cannot open /dev/ttyNONE at 3000000 baud"), ("netlist", "build/bitstream has no bitstream"),
    ("pynq:design.bit", "the Python package pynq is missing"), ("xrt:design.xclbin", "the Python package pyxrt is missing"),
])  # fmt: skip
def test_a_target_that_is_not_there_is_named(network, target, said):
    with pytest.raises(UserError) as caught:
        Accelerator(target, network.folder)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_without_pyserial_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(UserError, match=r"needs pyserial: pip install 'finn-vitprune\[board\]'"):
        SerialPort("/dev/ttyUSB0")


def test_a_speed_that_is_none_is_refused(network):
    with pytest.raises(UserError, match="baud 0: use 1 or more"):
        Accelerator("serial:/dev/ttyUSB0", network.folder, baud=0)


def test_wrong_images_are_refused_before_anything_is_sent(network, simulator):
    with on_board(network, simulator) as driver:
        before = driver.status().board.right
        for images in (np.zeros((2, 5, 4, 1), np.uint8), np.zeros((2, 4, 4, 1)), np.zeros((0, 4, 4, 1), np.uint8)):
            with pytest.raises(UserError):
                driver.predict(images)
        assert driver.status().board.right == before + 1


@contextmanager
def pseudo_terminal(line) -> Iterator[str]:
    """The name of a terminal whose other end is a board; the simulation runs in a thread."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            with suppress(BlockingIOError):
                line.write(os.read(ours, 4096))
            if data := line.read(1e-4):
                os.write(ours, data)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield os.ttyname(theirs)
    finally:
        ended.set()
        thread.join()
        line.close()
        os.close(ours)
        os.close(theirs)


BAUD = 19_200
"""Slower than the simulation, so that the driver's silences are long enough for it."""


def test_a_serial_port(network, simulator, right):
    line = FaultyLine(SimulatedBoard(simulator, network.design))
    with pseudo_terminal(line) as name, Accelerator(f"serial:{name}", network.folder, baud=BAUD, timeout_s=5) as driver:
        assert (driver.predict(network.images[:6]) == right[:6]).all() and driver.resent == 0
        line.fault = LineFault("lost", 20, 1, to_board=True)
        assert (driver.predict(network.images[6:12]) == right[6:12]).all() and driver.resent > 0
        assert driver.status().board.refused[Cause.CRC] > 0


def test_a_serial_port_that_goes_away_is_an_error_in_one_line(network, simulator):
    with pytest.raises(UserError, match=r"^(cannot (read from|write to) /dev/pts/\d+: .*|no answer from /dev/pts/\d+: .*)$"):
        with pseudo_terminal(SimulatedBoard(simulator, network.design)) as name:
            driver = Accelerator(f"serial:{name}", network.folder, baud=BAUD, timeout_s=0.3)
            driver.predict(network.images[:1])
        try:
            driver.predict(network.images[:1])
        finally:
            driver.close()
