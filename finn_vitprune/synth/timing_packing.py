"""Registers that Vivado moves into DSP slices and memories, and inverters into LUTs; Yosys leaves them beside.

Packed are flip-flops whose slice or memory has its own register free:

- operands of a DSP slice without registers, where every bit of a port comes from a flip-flop that drives operands alone;
- results of such a slice, and data of block RAM and UltraRAM, where every bit drives one flip-flop and nothing else. Two
  flip-flops in a row behind a slice are P and M, behind UltraRAM OREG and OREG_ECC.

The flip-flops of a port share enable and reset, and are not set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from finn_vitprune.synth.timing_cells import ULTRASCALE_PLUS, Sink
from finn_vitprune.synth.wiring import CellKind, Cells, Wiring

_REGISTERS = ("FDRE", "FDSE", "FDCE", "FDPE")
_RESET = {"FDRE": "R", "FDSE": "S", "FDCE": "CLR", "FDPE": "PRE"}


@dataclass(frozen=True)
class _Output:
    """Ports of data, parameters of their registers with the value that means one, in the order of packing, control ports."""

    ports: tuple[str, ...]
    steps: tuple[tuple[str, str], ...]
    enable: str
    reset: str


_OUTPUTS = {
    "DSP48E2": _Output(("P",), (("PREG", "1"), ("MREG", "1")), "CEP", "RSTP"),
    "RAMB A": _Output(("DOUTADOUT", "DOUTPADOUTP"), (("DOA_REG", "1"),), "REGCEAREGCE", "RSTREGARSTREG"),
    "RAMB B": _Output(("DOUTBDOUT", "DOUTPBDOUTP"), (("DOB_REG", "1"),), "REGCEB", "RSTREGB"),
    "URAM288 A": _Output(("DOUT_A",), (("OREG_A", "TRUE"), ("OREG_ECC_A", "TRUE")), "OREG_CE_A", "RST_A"),
    "URAM288 B": _Output(("DOUT_B",), (("OREG_B", "TRUE"), ("OREG_ECC_B", "TRUE")), "OREG_CE_B", "RST_B"),
}
"""By type and side."""


@dataclass
class _Registers:
    """All flip-flops as arrays; ``of_q`` and ``of_d`` are places by net, -1 for none."""

    d: np.ndarray
    q: np.ndarray
    enable: np.ndarray
    reset: np.ndarray
    set: np.ndarray
    of_q: np.ndarray
    of_d: np.ndarray
    gone: np.ndarray

    @classmethod
    def of(cls, wiring: Wiring) -> _Registers:
        groups = [g for g in wiring.cells if g.kind.type in _REGISTERS]

        def pins(*ports: str) -> np.ndarray:
            return np.concatenate([g.nets[:, g.kind.columns(*ports)[0]] for g in groups] or [np.zeros(0, np.int32)])

        d, q, enable = pins("D"), pins("Q"), pins("CE")
        resets = [g.nets[:, g.kind.columns(_RESET[g.kind.type])[0]] for g in groups]
        reset = np.concatenate(resets or [np.zeros(0, np.int32)])
        sets = [np.full(len(g.nets), g.kind.type in ("FDSE", "FDPE")) for g in groups]
        of_q, of_d = np.full(wiring.nets, -1), np.full(wiring.nets, -1)
        of_q[q], of_d[d] = np.arange(len(q)), np.arange(len(d))
        of_q[0] = of_d[0] = -1
        is_set = np.concatenate(sets or [np.zeros(0, bool)]) & (reset > 0)
        return cls(d, q, enable, reset, is_set, of_q, of_d, np.zeros(len(d), bool))


def pack(wiring: Wiring) -> Wiring:
    """The netlist with registers in DSP slices and memories, and inverters in LUTs."""
    wiring = _absorb_inverters(wiring)
    registers = _Registers.of(wiring)
    cells = [g for g in wiring.cells if g.kind.type not in _REGISTERS]
    slices = _pack_operands(wiring, [g for g in cells if _is_bare(g.kind)], registers)
    cells = _pack_outputs(wiring, [*(g for g in cells if not _is_bare(g.kind)), *slices], registers)
    place = 0
    for group in (g for g in wiring.cells if g.kind.type in _REGISTERS):
        here = slice(place, place + len(group.nets))
        cells.append(group.take(~registers.gone[here]))
        place = here.stop
    return replace(wiring, cells=tuple(g for g in cells if len(g.nets)))


def _is_bare(kind: CellKind) -> bool:
    """A slice that Yosys made of ``*``: it has no M and no P. What the sources instantiate with these stays as it is."""
    return kind.type == "DSP48E2" and kind.parameter("MREG", "1") == kind.parameter("PREG", "1") == "0"


def _absorb_inverters(wiring: Wiring) -> Wiring:
    """Inverters that drive nothing but LUTs and resets of flip-flops, which invert for themselves."""
    inverters = [g for g in wiring.cells if g.kind.type == "INV"]
    if not inverters:
        return wiring
    total, inside = ULTRASCALE_PLUS.loads(wiring), ULTRASCALE_PLUS.loads(wiring, Sink.LUT, Sink.RESET)
    to = np.arange(wiring.nets, dtype=np.int32)
    cells = [g for g in wiring.cells if g.kind.type != "INV"]
    for group in inverters:
        source, out = (group.nets[:, group.kind.columns(port)[0]] for port in ("I", "O"))
        gone = (total[out] == inside[out]) & (out > 0) & (source > 0)
        to[out[gone]] = source[gone]
        cells.append(group.take(~gone))
    while not np.array_equal(to[to], to):
        to = to[to]
    moved = tuple(replace(g, nets=to[g.nets]) for g in cells if len(g.nets))
    return replace(wiring, cells=moved)


def _pack_operands(wiring: Wiring, slices: list[Cells], registers: _Registers) -> list[Cells]:
    """Slices with their operand registers, those of equal registers in a group; a constant counts as registered."""
    if not slices:
        return []
    total = ULTRASCALE_PLUS.loads(wiring)
    operands = np.bincount(ULTRASCALE_PLUS.input_nets(slices, Sink.OPERAND), minlength=wiring.nets)
    good = np.append((total[registers.q] == operands[registers.q]) & ~registers.set, False)
    places = [(g, port, g.kind.columns(port)) for g in slices for port in "ABCD" if g.kind.columns(port)]
    while True:
        verdicts, bad = [], np.zeros(len(good), bool)
        for group, port, columns in places:
            nets = group.nets[:, columns]
            owner = registers.of_q[nets]
            used = nets > 0
            constant = ~used.any(1) & (port in "AB")  # needs no register
            ok = constant | (used.any(1) & (good[owner] | ~used).all(1) & _alike(owner, used, registers))
            verdicts.append(ok)
            bad[owner[~ok][used[~ok]]] = True
        if not (bad[:-1] & good[:-1]).any():
            break
        good &= ~bad
    by_group: dict[int, dict[str, np.ndarray]] = {}
    for (group, port, _), ok in zip(places, verdicts):
        by_group.setdefault(id(group), {})[port] = ok
    packed = []
    for group in slices:
        ports = by_group[id(group)]
        code = sum(ok.astype(int) << i for i, ok in enumerate(ports.values()))
        for value in np.unique(code):
            part = group.take(code == value)
            for i, port in enumerate(ports):
                if value >> i & 1:
                    part = _with_operand(part, port, registers)
            packed.append(part)
    return packed


def _with_operand(group: Cells, port: str, registers: _Registers) -> Cells:
    """The slices with the registers of a port inside."""
    columns = group.kind.columns(port)
    nets = group.nets.copy()
    owner = registers.of_q[nets[:, columns]]
    used = nets[:, columns] > 0
    nets[:, columns] = np.where(used, registers.d[owner], 0)
    registers.gone[owner[used]] = True
    first = owner[np.arange(len(owner)), used.argmax(1)]
    kind = group.kind.with_parameter(f"{port}REG", "1")
    control = {f"CE{port}": registers.enable[first], f"RST{port}": registers.reset[first]}
    return _with_pins(Cells(kind, nets, group.name, group.scope), control)


def _with_pins(group: Cells, nets: dict[str, np.ndarray]) -> Cells:
    """The cells with nets at control pins; a pin that is there already takes the net where it has none."""
    kind, matrix = group.kind, group.nets.copy()
    for port, values in nets.items():
        if columns := kind.columns(port):
            matrix[:, columns[0]] = np.where(matrix[:, columns[0]] > 0, matrix[:, columns[0]], values)
        else:
            kind = CellKind(kind.type, kind.parameters, (*kind.pins, (port, 0, False)))
            matrix = np.concatenate([matrix, values[:, None]], axis=1)
    return Cells(kind, matrix, group.name, group.scope)


def _alike(owner: np.ndarray, used: np.ndarray, registers: _Registers) -> np.ndarray:
    """Rows whose flip-flops have one enable and one reset."""
    alike = np.ones(len(owner), bool)
    for control in (registers.enable, registers.reset):
        nets = np.append(control, 0)[owner]
        top = np.where(used, nets, -1).max(1, initial=-1)
        alike &= (~used | (nets == top[:, None])).all(1)
    return alike


def _pack_outputs(wiring: Wiring, cells: list[Cells], registers: _Registers) -> list[Cells]:
    """The cells with registers at their outputs, those of equal registers in a group."""
    total = ULTRASCALE_PLUS.loads(wiring)
    for side, output in _OUTPUTS.items():
        packed = []
        for group in cells:
            found = group.kind.type.startswith(side.split()[0]) and group.kind.columns(*output.ports)
            packed += _pack_steps(group, output, total, registers) if found else [group]
        cells = packed
    return cells


def _pack_steps(group: Cells, output: _Output, total: np.ndarray, registers: _Registers) -> list[Cells]:
    """The cells with one register after the other, as far as there are flip-flops."""
    if group.kind.type == "DSP48E2" and not _is_bare(group.kind):
        return [group]
    done = []
    for parameter, value in output.steps:
        if group.kind.parameter(parameter) != value:
            ok = _drive_registers(group, output.ports, total, registers)
            done.append(group.take(~ok))
            group = _with_output(group.take(ok), output, registers)
            group = Cells(group.kind.with_parameter(parameter, value), group.nets, group.name, group.scope)
    return [g for g in (*done, group) if len(g.nets)]


def _drive_registers(group: Cells, ports: tuple[str, ...], total: np.ndarray, registers: _Registers) -> np.ndarray:
    """Cells of which every used output drives a flip-flop and nothing else."""
    nets = group.nets[:, group.kind.columns(*ports)]
    used = (nets > 0) & (total[nets] > 0)
    owner = np.where(used, registers.of_d[nets], -1)
    free = np.append(~registers.set & ~registers.gone, False)[owner]
    return used.any(1) & ((total[nets] == 1) & free | ~used).all(1) & _alike(owner, used, registers)


def _with_output(group: Cells, output: _Output, registers: _Registers) -> Cells:
    """The cells with the flip-flops at their outputs inside."""
    if not len(group.nets):
        return group
    columns, nets = group.kind.columns(*output.ports), group.nets.copy()
    owner = registers.of_d[nets[:, columns]]
    used = owner >= 0
    registers.gone[owner[used]] = True
    nets[:, columns] = np.where(used, registers.q[owner], 0)
    first = owner[np.arange(len(owner)), used.argmax(1)]
    controls = {output.enable: registers.enable[first], output.reset: registers.reset[first]}
    return _with_pins(Cells(group.kind, nets, group.name, group.scope), controls)
