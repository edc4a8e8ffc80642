"""What the Verilog of a netlist refuses, and what it is made of, with netlists written by hand."""

import json

import pytest

from finn_vitprune.boards.netlist import NetlistError, RoutedNetlist, to_verilog


def netlist(tmp_path, cells: dict[str, tuple[str, dict[str, str], dict[str, int]]]) -> RoutedNetlist:
    """Cells (type, parameters, nets) behind a board's clock pin, net 2, whose clock is net 3."""
    pins = {"clk": ("input", 2), "rx": ("input", 4), "tx": ("output", 6)}
    pads = {
        "clk$io": ("TRELLIS_IO", {"DIR": "INPUT"}, {"B": 2, "O": 3}),
        "rx$io": ("TRELLIS_IO", {"DIR": "INPUT"}, {"B": 4, "O": 5}),
        "tx$io": ("TRELLIS_IO", {"DIR": "OUTPUT"}, {"B": 6, "I": 7}),
    }
    found = {"modules": {"top": {
        "ports": {name: {"direction": way, "bits": [net]} for name, (way, net) in pins.items()},
        "cells": {
            name: {"type": kind, "parameters": parameters, "connections": {port: [net] for port, net in nets.items()} | {"none": []}}
            for name, (kind, parameters, nets) in (pads | cells).items()
        },
    }}}  # fmt: skip
    path = tmp_path / "routed.json"
    path.write_text(json.dumps(found))
    return RoutedNetlist.load(path)


REGISTER = {"SD": "1 ", "REGSET": "RESET", "LSRMUX": "LSR", "GSR": "DISABLED", "CLKMUX": "CLK", "CEMUX": "1 "}
COMB = {"INITVAL": "0110011001100110"}


def ff(more=(), **nets):
    return "TRELLIS_FF", REGISTER | dict(more), {"CLK": 3, "DI": 5, "Q": 7} | nets


def text(tmp_path, **cells) -> str:
    return to_verilog(netlist(tmp_path, cells), tmp_path).verilog.read_text()


def test_a_register_between_pins(tmp_path):
    found = text(tmp_path, q=ff())
    assert "n7 <= n5;" in found and "wire [63:0] n5 = rx;" in found and "assign tx = n7;" in found


def test_enable_and_reset_in_the_order_that_the_cell_says(tmp_path):
    enable = {"CEMUX": "CE"}
    first = text(
        tmp_path,
        q=ff(enable | {"SRMODE": "LSR_OVER_CE"}, CE=8, LSR=9),
        a=("TRELLIS_COMB", COMB, {"F": 8}),
        b=("TRELLIS_COMB", COMB, {"F": 9}),
    )
    assert "n7 <= (((n5 & n8) | (n7 & ~n8)) & ~n9);" in first
    last = text(
        tmp_path,
        q=ff(enable | {"SRMODE": "CE_OVER_LSR"}, CE=8, LSR=9),
        a=("TRELLIS_COMB", COMB, {"F": 8}),
        b=("TRELLIS_COMB", COMB, {"F": 9}),
    )
    assert "n7 <= (((n5 & ~n9) & n8) | (n7 & ~n8));" in last
    ones = text(tmp_path, q=ff({"REGSET": "SET", "SRMODE": "LSR_OVER_CE", "LSRMUX": "INV"}, LSR=5))
    assert "reg [63:0] n7 = ONE;" in ones and "n7 <= (n5 | ~n5);" in ones


def test_an_input_of_a_carry_that_is_not_connected_is_one(tmp_path):
    """Yosys' adder has D at 1 and C at whether it subtracts; its sum is then A xor not B."""
    adder = {"MODE": "CCU2", "CCU2_INJECT1": "NO", "INITVAL": "1001011010101010"}
    found = text(tmp_path, c=("TRELLIS_COMB", adder, {"A": 5, "B": 5, "FCI": 8, "F": 7, "FCO": 9}), q=ff(Q=8))
    assert "wire [63:0] c9 = (n5 ^ ~n5);" in found
    assert "wire [63:0] n9 = (c9 & n8) | (~c9 & n5);" in found and "wire [63:0] n7 = c9 ^ n8;" in found


def test_a_stuck_net_is_cut_from_its_driver(tmp_path):
    made = netlist(tmp_path, {"q": ff()})
    [fault] = made.faults(1, 0)
    assert (fault.cell, fault.port, fault.net) == ("q", "Q", 7)
    found = to_verilog(made, tmp_path, [fault]).verilog.read_text()
    assert "wire [63:0] n7 = ((q7) & ~stuck0[0]) | stuck1[0];" in found and "q7 <= n5;" in found
    with pytest.raises(NetlistError, match="2 faults are more than the 1 outputs"):
        made.faults(2, 0)


def test_faults_are_drawn_by_their_seed(tmp_path):
    made = netlist(tmp_path, {f"l{k}": ("TRELLIS_COMB", COMB, {"A": 5, "F": 10 + k}) for k in range(50)})
    assert made.faults(20, 1) == made.faults(20, 1) != made.faults(20, 2)
    assert len({fault.net for fault in made.faults(50, 3)}) == 50


def test_only_outputs_are_stuck(tmp_path):
    """A multiplexer behind two LUTs has F1 as an input; a carry has FCI."""
    wide = ("TRELLIS_COMB", COMB, {"A": 5, "M": 5, "F1": 8, "F": 9, "OFX": 7})
    chain = ("TRELLIS_COMB", COMB | {"MODE": "CCU2"}, {"A": 5, "FCI": 10, "F": 8, "FCO": 11})
    memory = ("DP16KD", {}, {"DIA0": 5, "DOA0": 12, "DOB17": 13})
    sites = netlist(tmp_path, {"w": wide, "c": chain, "b": memory, "m": ("MULT18X18D", {}, {"A0": 5, "P35": 14})}).sites()
    assert sites == [
        ("w", "F", 9),
        ("w", "OFX", 7),
        ("c", "F", 8),
        ("c", "FCO", 11),
        ("b", "DOA0", 12),
        ("b", "DOB17", 13),
        ("m", "P35", 14),
    ]


CLOCK = {"WCK": 3, "WRE": 5, "WD": 5, "F": 7}
REFUSED = {
    "TRELLIS_FF q has an asynchronous reset": {"q": ff({"SRMODE": "ASYNC"}, LSR=5)},
    "its CLK is not the clock of the board": {"q": ff(CLK=5)},
    "CLKMUX is INV": {"q": ff({"CLKMUX": "INV"})},
    "JTAGG j is not simulated": {"j": ("JTAGG", {}, {})},
    "MODE is WIDE": {"c": ("TRELLIS_COMB", COMB | {"MODE": "WIDE"}, {"F": 7})},
    "is RAM with contents": {"r": ("TRELLIS_COMB", COMB | {"MODE": "DPRAM"}, CLOCK)},
    "REG_PIPELINE_CLK is CLK0": {"m": ("MULT18X18D", {"REG_PIPELINE_CLK": "CLK0"}, {})},
    "its SIGNEDA changes": {"m": ("MULT18X18D", {}, {"SIGNEDA": 5})},
    "REGMODE_A is OUTREG": {"b": ("DP16KD", {"REGMODE_A": "OUTREG"}, {})},
    "2 PLLs": {"p": ("EHXPLLL", {}, {"CLKOP": 8}), "q": ("EHXPLLL", {}, {"CLKOP": 9})},
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_not_modelled_is_refused(tmp_path, why):
    with pytest.raises(NetlistError, match=why):
        text(tmp_path, **REFUSED[why])


def test_a_file_that_is_no_netlist(tmp_path):
    (tmp_path / "routed.json").write_text("{}")
    with pytest.raises(NetlistError, match="is no netlist of nextpnr"):
        RoutedNetlist.load(tmp_path / "routed.json")
