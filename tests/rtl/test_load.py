"""Loading a design: cut off, repeated, damaged, for another design, while frames are inside, in any timing of the bus."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from finn_vitprune import load_port
from finn_vitprune.sim import Stimulus, bus, compile_top
from finn_vitprune.sim.contents import Contents
from tests.rtl.benches import load_design
from tests.rtl.benches.load_design import BUS, FOLDS, INPUT, Loadable, loadable


@pytest.fixture(scope="module", params=FOLDS)
def design(request) -> Loadable:
    found = loadable(request.param)
    return replace(found, simulator=compile_top("finn_design", found.sources, *found.ports[:2], loads=found.ports[2]))


@pytest.mark.parametrize("check", [
    load_design.check_loads, load_design.check_refusals, load_design.check_registers, load_design.check_reload,
])  # fmt: skip
def test_loads(check, design):
    check(design)


def test_filled_memories_need_no_load(design):
    """The files that the back door reads hold what a load brings, and the gate is open at once."""
    for product, contents in enumerate(design.contents):
        contents.fill(design.design.folder)
        for stimulus in (Stimulus(), Stimulus(seed=8, pause=0.3, stall=0.3, reset_at=40)):
            result = design.run([], design.frames(3), stimulus, product, fill=True)
            assert result.ok and result.in_cycles[INPUT][0] < 20, (result.deadlock, result.mismatches)


class SimulatedPort:
    """The registers as a host sees them: a read is a run of its own that repeats all writes before it, at a host's pace."""

    def __init__(self, design: Loadable) -> None:
        self.design, self.steps = design, []

    def read(self, address: int) -> int:
        result = self.design.run([*self.steps, bus.read(address)], self.design.frames(1))
        return result.loads[BUS].reads[-1]

    def write(self, address: int, word: int) -> None:
        self.steps += [bus.write(address, word), bus.wait(40)]


def test_the_host_s_routine_loads_a_design(design):
    """From reset to the first image, through the registers that the RTL has."""
    said, port = [], SimulatedPort(design)
    load_port.load(port, design.design.folder, tell=said.append)
    assert port.read(load_port.STATUS) == load_port.OPEN and design.run(port.steps, design.frames(2)).ok
    assert said == [f"loading {region.unit} {region.memory}" for region in design.contents[0].regions]


def test_finn_s_overlay_loads_through_its_partition(design):
    port = SimulatedPort(design)

    class Overlay:
        StreamingDataflowPartition_1 = SimpleNamespace(s_axilite_0=SimpleNamespace(mmio=port))

    load_port.loading_overlay(Overlay)().load_design(design.design.folder)
    assert design.run(port.steps, design.frames(2)).ok


def test_the_host_s_routine_says_what_is_wrong(design, tmp_path):
    replace(design.contents[0], design=design.contents[0].design ^ 1).save(tmp_path)
    port = SimulatedPort(design)
    with pytest.raises(load_port.LoadError, match=r"these contents are for another design \(0 of \d+ data words taken, design 0x"):
        load_port.load(port, tmp_path)
    port.steps = [load_design.begin(), load_design.put(Contents.load(design.design.folder).words[:5])]
    first, second, *_ = design.contents[0].regions
    assert load_port.loading(port, design.design.folder) == f"loading {first.unit} {first.memory}"
    port.steps.append(load_design.put(np.zeros(first.size - 1, np.uint32)))
    assert load_port.loading(port, design.design.folder) == f"loading {second.unit} {second.memory}"
    assert load_port.loading(SimulatedPort(design), design.design.folder) == "nothing is loaded"
