"""Which unit a cell of a flat netlist is of."""

from __future__ import annotations

import pytest

from finn_vitprune.boards.units import UnitCells, cells_by_unit, packed_cells, top_module, unit_of_cells

PORTS = {"TRELLIS_FF": ("DI", "Q"), "LUT4": ("A", "Z"), "CCU2C": ("A0", "S0"), "TRELLIS_DPR16X4": ("RAD", "DO"), "MULT18X18D": ("A0", "P0")}
"""An input and an output of cells."""


def cell(kind: str, out: int, into: int) -> dict:
    ports = PORTS[kind]
    return {"type": kind, "connections": dict(zip(ports, ([into], [out]))), "port_directions": dict(zip(ports, ("input", "output")))}


NETLIST = {
    "modules": {
        "box": {"attributes": {}, "cells": {}, "netnames": {}},
        "vp_board": {
            "attributes": {"top": "1"},
            "cells": {
                "$a$1": cell("TRELLIS_FF", 1, 9),  # between both units: it goes with what it drives
                "$a$2": cell("LUT4", 2, 1),
                "$a$3": cell("LUT4", 3, 2),
                "$a$4": cell("TRELLIS_FF", 4, 3),
                "$flatten\\accelerator.inst_B_rtl_0.inst.$auto$5": cell("CCU2C", 5, 4),
                "accelerator.inst_A_rtl_1.inst.ram.0": cell("TRELLIS_DPR16X4", 6, 5),
                "$a$7": cell("LUT4", 7, 6),
                "$a$8": cell("MULT18X18D", 8, 7),
            },
            "netnames": {
                "accelerator.inst_A_rtl_1.out0_V_tdata": {"bits": [1]},
                "accelerator.inst_B_rtl_0.in0_V_tdata": {"bits": [1, "0"]},
                "accelerator.inst_B_rtl_0.inst.x_q": {"bits": [4]},
                "link.link.count_q": {"bits": [8]},
                "accelerator.stream": {"bits": [3]},
            },
        },
    }
}


def test_cells_go_by_the_names_of_their_nets_and_logic_by_what_it_drives():
    found = cells_by_unit(
        NETLIST,
        unit_of_cells(top_module(NETLIST)),
        {"$a$4": 2.5, "$a$1": 3.0, "accelerator.inst_A_rtl_1.inst.ram.0$DPRAM_COMB2": 1.25, "unknown": 0.5},
    )
    assert found == {
        "A_rtl_1": UnitCells(COMB=6, ns=1.25),
        "B_rtl_0": UnitCells(COMB=4, FF=2, ns=3.0, estimated_ns=3.027),  # a register, two LUTs and their wires
        "link": UnitCells(COMB=1, MULT18=1),
        "other": UnitCells(ns=0.5),
    }


@pytest.mark.parametrize("nets", [{}, {"accelerator.inst_B_rtl_0.inst.x_q": {"bits": ["x"]}}])
def test_a_design_without_names_is_of_no_unit(nets):
    module = NETLIST["modules"]["vp_board"] | {"netnames": nets}
    module["cells"] = {name: of for name, of in module["cells"].items() if name.startswith("$a")}
    found = cells_by_unit({"modules": {"vp_board": module}}, unit_of_cells(module), {})
    assert found == {"other": UnitCells(COMB=3, FF=2, MULT18=1, estimated_ns=3.027)}


def carry(into: int | str, out: int | str, sums: tuple[int, int]) -> dict:
    pins = {"CIN": [into], "COUT": [out], "S0": [sums[0]], "S1": [sums[1]]}
    return {"type": "CCU2C", "connections": pins, "port_directions": {"CIN": "input", "COUT": "output", "S0": "output", "S1": "output"}}


def test_the_ends_of_carry_chains_are_counted_as_nextpnr_makes_them():
    """A chain of three from a constant, whose middle carry a LUT reads, too; one of two from a net, and one that stands alone."""
    cells = {
        "a0": carry("0", 10, (1, 2)),
        "a1": carry(10, 11, (3, 4)),
        "a2": carry(11, 12, (5, 6)),
        "lut": cell("LUT4", 30, 11),
        "b0": carry(30, 20, (7, 8)),
        "b1": carry(20, 21, (9, 31)),
        "c0": carry("1", 40, (32, 33)),
    }
    module = {"cells": cells, "ports": {"out": {"bits": [21, 1]}}}
    assert {kind for _, kind, _ in packed_cells(module)} == {"COMB"}
    assert {name: count for name, _, count in packed_cells(module)} == {
        "a0": 4,
        "a1": 4,
        "a2": 4,
        "lut": 1,
        "b0": 4,
        "b1": 4,
        "c0": 6,
        "$PACKER_GND": 1,
        "$PACKER_VCC": 1,
    }
