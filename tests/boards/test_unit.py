"""One matrix unit to a bitstream for a small part, and its routed netlist against the golden model of the unit."""

import gzip
import json

import numpy as np
import pytest

from finn_vitprune.bench.resources import sources
from finn_vitprune.bench.units import build_node
from finn_vitprune.boards import place
from finn_vitprune.boards.gate import BUTTON, DAMAGED, LineMessage, compile_netlist
from finn_vitprune.boards.host import FRAME_BYTES, BoardHost
from finn_vitprune.boards.netlist import LANES, RoutedNetlist
from finn_vitprune.boards.place import BoardDesign, DesignPorts
from finn_vitprune.builds.floor_plan import floor_plan
from finn_vitprune.errors import DoesNotFit, TargetMissed
from finn_vitprune.execute import golden
from finn_vitprune.link.frames import REFUSED_BYTES, Cause, FrameReader, FrameType, LinkFrame, cause_of
from finn_vitprune.sim.beats import pack
from finn_vitprune.synth.boards import CELLS, board_named

BOARD = board_named("LFE5U-25F")
TOKENS, ROWS, COLUMNS = 4, 8, 8


@pytest.fixture(scope="module")
def unit(tmp_path_factory):
    """A matrix unit (products in multipliers, requantised) with its golden model, and its design for a board."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 128, (ROWS, COLUMNS)) * np.kron([[1, 0], [1, 1]], np.ones((4, 4), int))
    attributes = {
        "TOKENS": 1, "SIMD": 2, "PE": 1, "LANES": 1, "tokens": TOKENS, "MW": ROWS, "MH": COLUMNS, "block": 4, "in_width": 1, "out_width": 1,
        "requant": 1, "shift": 20, "mac_style": "portable", "ram_style": "block",
    } | dict.fromkeys(("inputDataType", "weightDataType", "outputDataType"), "INT8")  # fmt: skip
    op, model = build_node("BlockSparseMVAU", attributes, [weights, rng.integers(-99, 99, COLUMNS), rng.integers(1, 1 << 12, COLUMNS)])
    folder = tmp_path_factory.mktemp("unit")
    files = tuple(sources(op, model, folder))
    [into], [out] = op.in_streams(), op.out_streams()
    sizes = (into.tdata_bits // 8, into.beats, out.tdata_bits // 8, out.beats)
    ports = DesignPorts(input="in0_V", output="out0_V")
    design = BoardDesign(op.onnx_node.name, files, tuple(sorted(folder.glob("*.hex"))), *sizes, number=7, ports=ports)
    return op, model, into, out, design


def golden_outputs(unit, frames: np.ndarray) -> np.ndarray:
    """What the golden model gives, ``[F, TOKENS * COLUMNS]``."""
    op, model, *_ = unit
    [found] = golden.run_node(model, op.onnx_node, {op.onnx_node.input[0]: frames}).values()
    return found.reshape(len(frames), -1)


@pytest.fixture(scope="module")
def routed(unit):
    """The unit, mapped and routed."""
    mapped, clock = place.map_design(unit[-1], BOARD, 20.0)
    return mapped, clock, place.route_design(BOARD, mapped, 1, 1)[0]


@pytest.mark.slow
def test_a_unit_becomes_a_bitstream(routed):
    mapped, clock, found = routed
    counted = place.mapped_cells(mapped)
    assert clock.mhz == 50 and clock.bit == round(50e6 * 256 / 3e6)
    place.need_clock(found, clock)
    assert found.used["MULT18"] == counted["MULT18"] >= 3 and found.used["EBR"] == counted["EBR"] >= 1
    assert found.used["FF"] == pytest.approx(counted["FF"], rel=0.02)
    assert found.used["COMB"] == counted["COMB"], "with the ends of carry chains"
    bitstream = place.pack_design(found)  # which unpacks it and packs it again
    assert bitstream.read_bytes()[:2] == b"\xff\x00" and b"LFE5U-25F" in bitstream.read_bytes()[:200]


@pytest.mark.slow
def test_cells_and_paths_of_units_are_those_of_the_design(routed):
    mapped, _, found = routed
    placed, counted = place.placed_units(mapped, found), place.mapped_cells(mapped)
    units = placed.cells
    assert {kind: sum(getattr(unit, kind) for unit in units.values()) for kind in CELLS} == counted
    ends = json.loads(gzip.decompress((found.folder / place.ENDS).read_bytes()))
    [path] = (p["path"] for p in json.loads((found.folder / place.REPORT).read_text())["critical_paths"] if p["from"] == p["to"])
    setup = sum(piece["delay"] for piece in path if piece["type"] == "setup")
    slowest = ends[path[-1]["to"]["cell"]]
    assert slowest + setup == pytest.approx(1000 / found.mhz, abs=0.01), "the slowest path, with the set-up of its end"
    assert slowest <= max(unit.ns for unit in units.values()) == max(ends.values()), "every path ends in a unit"
    assert units["link"].FF > 500 and not units["link"].MULT18
    assert max(unit.MULT18 for name, unit in units.items() if name != "link") == counted["MULT18"]
    cells = sum(found.used[kind] for kind in ("COMB", "FF", "MULT18", "EBR"))
    assert cells <= sum(count for tiles in placed.tiles.values() for count in tiles.values()) < 1.1 * cells, "RAMW, pins and PLL beside"
    [axis] = floor_plan(placed.tiles, "title").axes
    assert (axis.images[0].get_array() > 0).sum() == len({tile for tiles in placed.tiles.values() for tile in tiles})


@pytest.mark.slow
def test_the_netlist_of_a_unit_computes_what_its_golden_model_does(unit, routed):
    _, _, into, out, _ = unit
    _, clock, found = routed
    frames = np.random.default_rng(1).integers(-128, 128, (LANES + 6, TOKENS, ROWS))
    wanted = golden_outputs(unit, frames)
    payloads = [beats.tobytes() for beats in pack(frames, into).reshape(len(frames), -1)]
    host, netlist = BoardHost(into, out, clock.bit, 1000), found.folder / place.NETLIST
    drawn = RoutedNetlist.load(netlist).faults(20, 3)
    simulator = compile_netlist(netlist, drawn)
    answers = host.ask(simulator, payloads)
    assert answers.came.all() and np.array_equal(answers.logits, wanted)
    noticed = host.notice(simulator, drawn, payloads[:3], wanted[:3])
    assert 5 <= sum(noticed) <= 19, "some faults are seen, and some nets do nothing for these images"
    assert noticed == host.notice(simulator, drawn, payloads[:3], wanted[:3])


@pytest.mark.slow
def test_a_board_goes_on_after_faults_of_its_line(unit, routed):
    """A flipped bit, a missing stop bit and the button, each in the middle of a frame; the next frame is answered rightly by all."""
    _, _, into, out, _ = unit
    _, clock, found = routed
    frames = np.random.default_rng(2).integers(-128, 128, (2, TOKENS, ROWS))
    payloads = [beats.tobytes() for beats in pack(frames, into).reshape(len(frames), -1)]
    first, second = (LinkFrame(FrameType.IMAGE, k, payload).encoded for k, payload in enumerate(payloads))
    middle = len(first) // 2
    sent = {
        0: [*first[:middle], first[middle] ^ 8, *first[middle + 1 :]],
        1: [*first[:middle], first[middle] | DAMAGED, *first[middle + 1 :]],
        2: [*first[:middle], BUTTON, *first[middle:]],
        3: first,
    }
    host = BoardHost(into, out, clock.bit, 1000)
    refused = FRAME_BYTES + REFUSED_BYTES
    with compile_netlist(found.folder / place.NETLIST, RoutedNetlist.load(found.folder / place.NETLIST).faults(20, 3)).boards(
        host.times
    ) as boards:
        run = boards.exchange(
            {board: [LineMessage(symbols)] for board, symbols in sent.items()}, {0: refused, 1: refused, 3: host.answer_bytes}
        )
        again = boards.exchange({board: [LineMessage(second)] for board in sent}, dict.fromkeys(sent, host.answer_bytes))
    causes = [[cause_of(frame) for frame in FrameReader({FrameType.REFUSED: REFUSED_BYTES}).feed(run.bytes_of(board))] for board in sent]
    assert causes[0] == [Cause.CRC] and causes[1][0] == Cause.LINE and causes[2][0] == Cause.START and causes[3] == []
    assert [len(host.answers(run, board, payloads)) for board in sent] == [0, 0, 0, 1]
    wanted = golden_outputs(unit, frames)
    for board in sent:
        assert np.array_equal(host.answers(again, board, payloads)[1], wanted[1])


@pytest.mark.whole
@pytest.mark.slow
def test_damaged_tables_change_logits(unit, routed, tmp_path):
    """The comparison can fail: a netlist with the LUTs behind multipliers inverted does not agree."""
    _, _, into, out, _ = unit
    _, clock, found = routed
    content = json.loads(gzip.decompress((found.folder / place.NETLIST).read_bytes()))
    [module] = content["modules"].values()
    products = {
        net
        for cell in module["cells"].values()
        if cell["type"] == "MULT18X18D"
        for port, bits in cell["connections"].items()
        if port[0] == "P"
        for net in bits
    }
    for cell in module["cells"].values():
        inputs = {bits[0] for port, bits in cell["connections"].items() if port in "ABCD" and bits}
        if cell["type"] == "TRELLIS_COMB" and products & inputs:
            cell["parameters"]["INITVAL"] = "".join("10"[int(bit)] for bit in cell["parameters"]["INITVAL"])
    damaged = tmp_path / "routed.json"
    damaged.write_text(json.dumps(content))
    frames = np.random.default_rng(1).integers(-128, 128, (4, TOKENS, ROWS))
    payloads = [beats.tobytes() for beats in pack(frames, into).reshape(len(frames), -1)]
    answers = BoardHost(into, out, clock.bit, 1000).ask(compile_netlist(damaged), payloads)
    assert not np.array_equal(answers.logits, golden_outputs(unit, frames))


@pytest.mark.slow
def test_what_does_not_fit_or_is_too_slow_is_told(routed):
    *_, found = routed
    much = dict.fromkeys(CELLS, 1) | {"MULT18": 29}
    with pytest.raises(DoesNotFit, match=r"does not fit LFE5U-25F of LFE5U-25F: it needs 29 of 28 MULT18 \(mapped by Yosys\)"):
        place.need_room(BOARD, much, "mapped by Yosys")
    place.need_room(BOARD, much | {"MULT18": 28}, "mapped by Yosys")
    with pytest.raises(TargetMissed, match=r"MHz routed, the clock is 500 MHz; more --seeds may help, or --clk-ns"):
        place.need_clock(found, place.BoardClock(500.0, 1))
