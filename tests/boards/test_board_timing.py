"""Estimates of ECP5 netlists that are written by hand."""

import pytest

from finn_vitprune.boards import timing
from finn_vitprune.synth.wiring import Wiring

NS = timing.ECP5.constants.ns


def netlist(cells: dict[str, tuple[str, dict[str, list]]]) -> Wiring:
    """A module of ``cells``: type and nets by port; Z, F, Q, S, COUT, P and DO are outputs."""
    outputs = ("Z", "Q", "S0", "S1", "COUT", "DOA0", *(f"P{i}" for i in range(36)))
    return Wiring.from_json({"modules": {"top": {"attributes": {"top": "1"}, "cells": {
        name: {"type": kind, "connections": pins, "port_directions": {p: "output" if p in outputs else "input" for p in pins}}
        for name, (kind, pins) in cells.items()
    }}}})  # fmt: skip


def ff(d: int, q: int) -> tuple[str, dict]:
    return "TRELLIS_FF", {"CLK": [2], "DI": [d], "Q": [q]}


def lut(*pins: int) -> tuple[str, dict]:
    return "LUT4", dict(zip("ABCD", ([n] for n in pins[:-1]))) | {"Z": [pins[-1]]}


def test_a_path_of_two_luts_by_hand():
    found = timing.estimate(netlist({"a": ff(9, 10), "b": lut(10, 11), "c": lut(11, 12), "d": ff(12, 13)}))
    assert found.levels == 2
    assert found.low == pytest.approx(NS["ff_out"] + 2 * NS["net"] + 2 * NS["lut"] + NS["lut_to_ff"], abs=1e-3)


def test_a_carry_chain_takes_what_its_bits_add():
    def chain(pairs: int) -> float:
        cells = {"a": ff(9, 10), "end": ff(100 + pairs, 200)}
        for i in range(pairs):
            sums = {"S1": [100 + pairs]} if i == pairs - 1 else {}
            cells[f"c{i}"] = ("CCU2C", {"A0": [10 if i == 0 else 0], "CIN": [50 + i] if i else ["0"], "COUT": [51 + i], **sums})
        return timing.estimate(netlist(cells)).low

    assert chain(5) - chain(4) == pytest.approx(NS["carry_chain"], abs=1e-3)


def test_a_multiplier_and_a_memory_count():
    product = netlist({"a": ff(9, 10), "m": ("MULT18X18D", {"A0": [10], "P0": [11]}), "d": ff(11, 12)})
    expected = NS["ff_out"] + 2 * NS["net"] + NS["multiply"] + NS["ff_d"] + NS["to_ff"]
    assert timing.estimate(product).low == pytest.approx(expected, abs=1e-3)
    memory = timing.estimate(netlist({"r": ("DP16KD", {"CLKA": [2], "DOA0": [10]}), "b": lut(10, 11), "d": ff(11, 12)}))
    assert memory.ram_levels == 1 and memory.low > NS["bram_out"] + NS["net"] + NS["lut"]


def test_the_slowest_end_of_each_unit():
    """From a register over a LUT to a register of another unit, which has a memory behind it that no one drives."""
    found = timing.slowest_ends(
        netlist({"a": ff(9, 10), "b": lut(10, 11), "c": ff(11, 12), "e": ff(12, 13)}), {10: "one", 11: "two", 12: "two", 13: "three"}
    )
    direct = NS["ff_out"] + NS["net"] + NS["to_ff"] + NS["ff_d"]
    assert found == {
        "two": pytest.approx(NS["ff_out"] + NS["net"] + NS["lut"] + NS["lut_to_ff"], abs=1e-3), "three": pytest.approx(direct, abs=1e-3),
    }  # fmt: skip
