"""A design that is loaded over the serial line: its own network, others, and lines that lose what is sent."""

from dataclasses import replace

import numpy as np
import pytest

from finn_vitprune import Accelerator, UserError, load_port
from finn_vitprune.builds.networks import contents_of
from finn_vitprune.link.exchange import Exchange
from finn_vitprune.link.frames import ACCESS_BYTES, FrameType, RegisterAccess
from finn_vitprune.link.registers import LinkRegisters
from tests.link.board import TIMEOUT_S, SimulatedBoard, compiled, tiny
from tests.link.faults import BYTES, FROM_BOARD, TO_BOARD, FaultyLine, LineFault
from tests.vit_models import random_vit


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("loadable"), loadable=True, engines=1)


@pytest.fixture(scope="module")
def simulator(network):
    return compiled(network.design)


@pytest.fixture(scope="module")
def other(network):
    """Contents of another network for it."""
    place = network.folder.parent
    random_vit(depth=1, dim=8, heads=1, drop_at=(), seed=9)[0].save(str(place / "other.onnx"))
    contents_of(place / "other.onnx", network.folder).write(place / "other.bin")
    return place / "other.bin"


def test_an_access_is_the_bytes_that_the_board_reads():
    access = RegisterAccess(8, (1, 0xFFFFFFFF), 12)
    assert len(access.encoded()) == ACCESS_BYTES == 132 and access.encoded()[:12] == bytes([8, 2, 12, 0, 1, 0, 0, 0, 255, 255, 255, 255])
    assert RegisterAccess.decode(access.encoded()) == access


def test_a_board_is_loaded_when_it_is_opened_and_later(network, simulator, other):
    board = SimulatedBoard(simulator, network.design)
    with (
        Accelerator("serial:sim", network.folder, transport=board, timeout_s=TIMEOUT_S) as driver,
        Accelerator("integers", network.folder) as integers,
    ):
        images = network.images[:5]
        own = integers.predict(images)
        assert (driver.predict(images) == own).all() and driver.resent == 0
        driver.load(other)
        integers.load(other)
        changed = integers.predict(images)
        assert (driver.predict(images) == changed).all() and (changed != own).any()
        assert driver.status().contents == other
        interrupted = driver.stream(images)
        next(interrupted)
        driver.load(other)
        assert (driver.predict(images) == changed).all(), "images on their way do not stop a load"
        with pytest.raises(UserError, match="was given other images, or loaded"):
            next(interrupted)


@pytest.mark.parametrize("kinds", [("lost", "flipped"), pytest.param(("cut", "doubled", "inserted", "broken"), marks=pytest.mark.whole)])
@pytest.mark.parametrize("to_board", [True, False])
def test_a_line_that_damages_a_load_loads_all_the_same(network, simulator, other, to_board, kinds):
    """Each kind of fault at some frame of a load: words that came are not sent twice, others again."""
    line = FaultyLine(SimulatedBoard(simulator, network.design))
    rng = np.random.default_rng(int(to_board))
    with (
        Accelerator("serial:sim", network.folder, transport=line, timeout_s=TIMEOUT_S) as driver,
        Accelerator("integers", network.folder) as integers,
    ):
        integers.load(other)
        right = integers.predict(network.images[:2])
        sent = (1 + -(-(load_words(network) + 5) // 32)) * (ACCESS_BYTES + 12) if to_board else 16 * 6
        for kind in (kind for kind in kinds if kind in (TO_BOARD if to_board else FROM_BOARD)):
            line.fault = replace(
                LineFault.draw(rng, BYTES), kind=kind, place=int(rng.integers(sent)), size=int(rng.integers(1, 4)), to_board=to_board
            )
            before = driver.resent
            driver.load(other)
            assert (driver.predict(network.images[:2]) == right).all(), kind
            assert not line.fault.kind, f"{kind} was made"
            assert driver.resent >= before


def load_words(network) -> int:
    return network.design.loads[0].words


def test_a_line_that_loses_every_answer_is_an_error(network, simulator, other):
    class Mute(SimulatedBoard):
        mute = False

        def read(self, seconds: float) -> bytes:
            data = super().read(seconds)
            return b"" if self.mute else data

    line = Mute(simulator, network.design)
    with Accelerator("serial:sim", network.folder, transport=line, timeout_s=TIMEOUT_S, tries=2) as driver:
        line.mute = True
        with pytest.raises(UserError, match=r"registers behind the simulated board were asked 2 times without an answer"):
            driver.load(other)
        line.mute = False
        with pytest.raises(UserError, match="the last load of the board at the simulated board failed: load it again"):
            driver.predict(network.images[:1])
        driver.load(other)
        assert len(driver.predict(network.images[:1])) == 1


def test_damaged_contents_are_refused_and_right_ones_load_after(network, simulator, other, tmp_path):
    raw = bytearray(other.read_bytes())
    raw[40] ^= 1
    board = SimulatedBoard(simulator, network.design)
    with Accelerator("serial:sim", network.folder, transport=board, timeout_s=TIMEOUT_S) as driver:
        exchange = Exchange(board, TIMEOUT_S)
        (tmp_path / "damaged.bin").write_bytes(raw)
        with pytest.raises(load_port.LoadError, match="the checksum is wrong"):
            load_port.load(LinkRegisters(exchange), network.design.folder, contents=tmp_path / "damaged.bin")
        driver.load(other)
        assert len(driver.predict(network.images[:1])) == 1


def test_a_board_that_forgets_in_the_middle_of_a_load_is_an_error(network, simulator):
    """After a reset the port has taken fewer words than were sent: nothing is guessed."""
    board = SimulatedBoard(simulator, network.design)
    exchange = Exchange(board, TIMEOUT_S)
    port = LinkRegisters(exchange)
    port.write(load_port.CONTROL, load_port.BEGIN)
    while port.read(load_port.STATUS) != load_port.LOADING:
        pass
    words = np.frombuffer((network.design.folder / "contents.bin").read_bytes(), "<u4")
    for word in words[:64]:
        port.write(load_port.DATA, int(word))
    assert port.read(load_port.TAKEN) == 60
    exchange.access(RegisterAccess(load_port.CONTROL, (1,), load_port.STATUS))  # as another host would

    class Lost(Exception):
        pass

    original, calls = exchange.access, []

    def lossy(access):
        calls.append(access)
        return None if len(calls) == 1 else original(access)

    exchange.access = lossy
    with pytest.raises(UserError, match="took 0 words of a load, and 60 were sent: load again"):
        for word in words[64:96]:
            port.write(load_port.DATA, int(word))
    board.close()


def test_a_design_without_a_load_port_refuses(network, other, tmp_path):
    fixed = tiny(tmp_path)
    board = SimulatedBoard(compiled(fixed.design), fixed.design)
    with Accelerator("serial:sim", fixed.folder, transport=board, timeout_s=TIMEOUT_S) as driver:
        with pytest.raises(UserError, match="has no load port: build it with --loadable or --reserve"):
            driver.load(other)
        assert driver._on._exchange.access(RegisterAccess(4, (), 4)) is None, "refused: its type is unknown"
        assert len(driver.predict(fixed.images[:1])) == 1
    assert FrameType.ACCESS not in (FrameType.IMAGE, FrameType.QUERY)


class SilentPort:
    """A board that does what it is asked, and of which some answers are lost."""

    tries, name = 3, "the port"

    def __init__(self, lost: int) -> None:
        self.transport, self.resent, self.lost, self.words, self.asked = self, 0, lost, [], 0

    def access(self, access: RegisterAccess) -> int | None:
        self.asked += 1
        if access.write == load_port.DATA:
            self.words += access.words
        if access.words and self.lost:
            self.lost -= 1
            return None
        return {load_port.STATUS: load_port.LOADING, load_port.TAKEN: max(0, len(self.words) - 4)}[access.read]


def test_words_that_came_are_not_sent_again():
    port = SilentPort(lost=1)
    window = LinkRegisters(port)
    for word in range(40):
        window.write(load_port.DATA, word)
    assert window.read(load_port.TAKEN) == 36 and port.words == list(range(40))
    assert port.resent == 0 and port.asked == 5, "two frames, two questions about the lost answer, one of the caller"


def test_a_header_whose_answer_is_lost_is_not_sent_twice():
    window = LinkRegisters(port := SilentPort(lost=1))
    for word in range(3):
        window.write(load_port.DATA, word)
    with pytest.raises(UserError, match="did not say whether it has the header of a load: load again"):
        window.read(load_port.TAKEN)
    assert port.words == [0, 1, 2]


def test_the_last_try_is_not_counted_as_sent_again():
    window = LinkRegisters(port := SilentPort(lost=9))
    with pytest.raises(UserError, match="asked 3 times without an answer"):
        window.write(load_port.CONTROL, load_port.BEGIN)
    assert port.resent == 2
