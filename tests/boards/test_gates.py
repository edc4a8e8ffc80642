"""Truth tables as Verilog, evaluated as Python's operators on all inputs at once."""

import numpy as np
import pytest

from finn_vitprune.boards.gates import expression


def value(text: str, inputs: int) -> int:
    """The table that a text computes; bit ``i`` is the output for inputs ``i``."""
    size = 1 << inputs
    full = (1 << size) - 1
    names = {f"n{k}": sum(1 << i for i in range(size) if i >> k & 1) for k in range(inputs)} | {"ZERO": 0, "ONE": full}
    return eval(text, {}, names) & full


@pytest.mark.parametrize("inputs", [0, 1, 2, 3])
def test_every_table_of_few_inputs(inputs):
    for table in range(1 << (1 << inputs)):
        assert value(expression(table, [f"n{k}" for k in range(inputs)]), inputs) == table


def test_tables_of_four_inputs():
    for table in np.random.default_rng(0).integers(0, 1 << 16, 300).tolist():
        assert value(expression(table, ["n0", "n1", "n2", "n3"]), 4) == table, hex(table)


def test_an_input_that_is_not_there_is_zero():
    assert value(expression(0b1000_0110, ["n0", None, "n1"]), 2) == 0b0010  # its tables at 0, 1, 4 and 5


def test_constants_are_folded():
    assert expression(0x96AA, ["a", "b", "ONE", "ONE"]) in ("(a ^ ~b)", "(b ^ ~a)")
    assert expression(0x96AA, ["a", "b", "ONE", "ZERO"]) == "a"


def test_a_sum_and_a_choice_are_short():
    assert expression(0x6666, ["a", "b", "c", "d"]) in ("(a ^ b)", "(b ^ a)")
    assert expression(0xCACA, ["a", "b", "c", "d"]).count("&") == 2
