"""Truth tables as Verilog, with as few operators as a search over the order of inputs finds."""

from __future__ import annotations

from functools import cache

ZERO, ONE = "ZERO", "ONE"
"""Names of the constants."""


@cache
def formula(table: int, inputs: int) -> tuple[str, int]:
    """Verilog of a table of ``inputs`` inputs, and its operators; bit ``i`` of the table is the output where input ``k`` is bit ``k`` of ``i``.

    Inputs are ``{0}``, ``{1}`` and so on.
    """
    size = 1 << inputs
    if table == 0:
        return ZERO, 0
    if table == (1 << size) - 1:
        return ONE, 0
    found = []
    for k in range(inputs):
        low, high = _cofactor(table, inputs, k, 0), _cofactor(table, inputs, k, 1)
        if low == high:
            return _over(low, inputs, k)
        found.append(_split(low, high, inputs, k))
    return min(found, key=lambda one: one[1])


def expression(table: int, names: list[str | None]) -> str:
    """Verilog of a table with these nets at its inputs, of which some may be constants; an input of None is 0."""
    used = list(names)
    for k in reversed(range(len(used))):
        if used[k] in (None, ZERO, ONE):
            table = _cofactor(table, len(used), k, int(used[k] == ONE))
            del used[k]
    return formula(table, len(used))[0].format(*used)


def _cofactor(table: int, inputs: int, k: int, value: int) -> int:
    """The table without input ``k``, which is ``value``."""
    places = [i for i in range(1 << inputs) if (i >> k & 1) == value]
    return sum((table >> i & 1) << n for n, i in enumerate(places))


def _over(table: int, inputs: int, k: int) -> tuple[str, int]:
    """The formula of a table without input ``k``, in the names of all inputs."""
    text, operators = formula(table, inputs - 1)
    return text.format(*(f"{{{i}}}" for i in range(inputs) if i != k)), operators


def _split(low: int, high: int, inputs: int, k: int) -> tuple[str, int]:
    """The formula of what is ``low`` where input ``k`` is 0 and ``high`` where it is 1."""
    size = 1 << (inputs - 1)
    full = (1 << size) - 1
    (off, off_cost), (on, on_cost), name = _over(low, inputs, k), _over(high, inputs, k), f"{{{k}}}"
    if (low, high) == (0, full):
        return name, 0
    if (low, high) == (full, 0):
        return f"~{name}", 1
    if low == 0:
        return f"({name} & {on})", on_cost + 1
    if high == 0:
        return f"(~{name} & {off})", off_cost + 2
    if low == full:
        return f"(~{name} | {on})", on_cost + 2
    if high == full:
        return f"({name} | {off})", off_cost + 1
    if high == low ^ full:
        return f"({name} ^ {off})", off_cost + 1
    return f"(({name} & {on}) | (~{name} & {off}))", on_cost + off_cost + 4
