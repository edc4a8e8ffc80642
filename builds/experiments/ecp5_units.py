"""``python -m builds.experiments.ecp5_units``: units mapped to an ECP5 by Yosys, and the prices of ``ecp5.json`` that fit them.

Units are small ones of every kind, and those of the digits example with hardware for every encoder, on one engine, and loadable. Of the small
ones ROMs hold a fixed pattern, of the others what the network has. ``--write`` writes the prices that fit the rows.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from scipy.optimize import lsq_linear

import finn_vitprune.plugin  # noqa: F401
from builds.experiments.study import Only, Study, rtl_digest, start
from builds.experiments.timing_units import Made, attention, drop, gate, matrix, norm, requant, rmsnorm, rotary, stream
from finn_vitprune.bench.resources import sources
from finn_vitprune.bench.units import build_node
from finn_vitprune.boards.place import map_unit
from finn_vitprune.builds.build import EXAMPLE, build
from finn_vitprune.custom_ops.engine.engine import engines_of, flattened
from finn_vitprune.custom_ops.op import ecp5
from finn_vitprune.custom_ops.op.rtl_backend import VitRTLBackend
from finn_vitprune.custom_ops.op.structure import UnitParts
from finn_vitprune.errors import UserError
from finn_vitprune.files import write_json
from finn_vitprune.options.build import BuildOptions
from finn_vitprune.report.tables import TextTable

OUTPUT = Path("builds/results/board/units")
PRICES = Path(ecp5.__file__).with_name("ecp5.json")
DIGITS = {
    "digits": {"folding": EXAMPLE / "deit_digits_ulx3s.json"},
    "digits on one engine": {"engines": 1, "target_fps": 1000, "mac_style": "portable"},
    "digits, loadable": {"folding": EXAMPLE / "deit_digits_ulx3s.json", "loadable": True},
}
"""Designs of the example, by options of ``build``; planned for a part of AMD, so that their folds do not depend on the prices."""
MOST = {"VitLayerNorm_rtl": 2, "VitFork_rtl": 2, "VitAdd_rtl": 2, "VitFIFO_rtl": 9, "VitLookup_rtl": 2, "VitSplit_rtl": 2}
"""Nodes of a design of which no more are mapped, by type."""
RIDGE = 0.1
"""How much a price is held to the one that is expected, against the shares of a unit that the rows explain."""
FEW = 100
"""Cells of a unit below which errors are told in cells alone."""
TITLE = "Units on an ECP5: mapped and estimated"
TEXT = """Yosys maps each unit alone (`synth_lattice -family ecp5`). The estimate is the one that plans make: products and memories follow Yosys'
rules, the remaining logic has a price for each part ([`ecp5.json`](../../../../custom_ops/op/ecp5.json)), fitted to these rows.

```
python -m builds.experiments.ecp5_units --write
```
"""

EXPECTED: dict[str, dict[str, tuple[float, float]]] = {
    "memory": {"chosen": (1, 0), "rows": (1.5, 0), "rom": (1, 0), "weights": (1.3, 0), "deep_rom": (2, 0), "block": (1, 0), "read": (0, 1)},
    "matrix": {
        "adders": (1, 1), "sums": (2, 1), "choices": (2.5, 0.3), "gates": (1.5, 0.3), "registers": (0, 1), "splits": (1, 0),
        "chosen": (1.2, 0), "chosen_q": (0.3, 1), "of_lanes": (1.2, 0), "outputs": (1.5, 1), "factors": (1.5, 3), "codes": (3, 3),
        "entries": (1, 2), "one": (140, 150), "lanes": (15, 40), "rows": (0.3, 1), "ports": (1, 1.5), "rows_in_order": (2, 3),
        "weights": (0, 1), "shared": (60, 60),
    },
    "attention": {
        "one": (250, 250), "scores": (100, 200), "logits": (1, 1), "values": (1, 1), "fields": (0, 1), "splits": (1, 0), "factors": (1.5, 3),
        "divide": (1.2, 1.2), "sums": (2, 2), "shift": (1, 1), "codes": (1.5, 3), "banks": (1, 3), "exp": (1.5, 2), "counts": (4, 4),
        "shared": (1.5, 1.5),
    },
    "layernorm": {
        "one": (300, 300), "simd": (400, 500), "roots": (700, 650), "groups": (50, 100), "wide": (2, 2), "sums": (50, 50),
        "shared": (1.5, 1.5),
    },
    "rmsnorm": {
        "one": (110.6, 109.1), "simd": (250.3, 428.8), "roots": (889.7, 592), "groups": (0, 1.714), "wide": (0, 0.629), "sums": (0, 14.8),
        "shared": (0.486, 0.748),
    },
    "drop": {
        "one": (60, 60), "lanes": (1.2, 1), "fused": (1.2, 1.2), "held": (1, 1), "ranking": (1.3, 1), "loaded": (50, 50), "widths": (1, 2),
        "bits": (1, 2),
    },
    "requant": {"one": (40, 50), "factors": (1.5, 3), "codes": (3, 3), "bits": (0.5, 1)},
    "rotary": {"one": (87.3, 70), "factors": (0, 2), "sums": (1.014, 3.66), "codes": (4.95, 0.1)},
    "gate": {"one": (45.6, 26.1), "factors": (0.623, 3.634), "codes": (0.678, 2.193), "shared": (13.4, 3.6)},
    "mean": {"one": (40, 50), "factors": (1.5, 3), "codes": (3, 3), "bits": (0.5, 1), "sums": (1.5, 2)},
    "embed": {"one": (40, 50), "bits": (4, 6)},
    "width": {"one": (7, 8), "bits": (1, 2), "held": (0.2, 1), "shifted": (1.5, 0)},
    "registers": {"one": (7, 4), "bits": (1, 2)},
    "load": {"stages": (0, 1), "hops": (6, 36), "data": (0, 1), "places": (1, 1), "banks": (1, 2), "table": (1.884, 0)},
    "fifo": {"one": (5, 8), "pointer": (6, 4), "held": (0.3, 1), "later": (10, 5), "later_held": (1, 1)},
} | {
    kind: {"one": (10, 10), "logic": (1, 0.8), "bits": (0.3, 0.8), "shared": (5, 5)}
    for kind in (
        "VitAdd", "VitFork", "VitLookup", "VitSelectToken", "VitSplit", "VitSwitch", "VitMerge", "VitEngineEntry", "VitEngineExit",
        "VitLoadPort", "VitLoadEnd", "VitFrameCheck", "VitCrossing",
    )
}  # fmt: skip
"""COMB and FF that the RTL lets expect of each part. A part that is in no row keeps them."""


@dataclass(frozen=True)
class MappedUnit:
    """A unit as Yosys mapped it, with its parts by ``kind.part``, and what the rules of products and memories say.

    Attributes:
        rtl: digest of the RTL. dpr, mult18_said, ebr_said: by the rules.
    """

    rtl: str
    COMB: int
    FF: int
    MULT18: int
    EBR: int
    parts: dict[str, float]
    dpr: int
    mult18_said: int
    ebr_said: int


@dataclass(frozen=True)
class DesignUnit:
    """A node of a design of :data:`DIGITS`."""

    design: str
    node: str


def small() -> dict[str, Made]:
    """Small units of every kind."""
    found: dict[str, Made] = {}
    for style in ("portable", "lut"):
        for lanes in ((1, 1, 1, 1), (1, 8, 8, 1), (2, 4, 4, 1), (4, 2, 2, 2), (1, 2, 4, 4), (2, 8, 1, 2)):
            found[f"matrix {style} {lanes}"] = matrix(48, 48, lanes, style, "block", 8, 8)
    found["matrix4 portable"] = matrix(48, 48, (2, 4, 4, 1), "portable", "distributed", 4, 8)
    found["matrix4 lut"] = matrix(48, 48, (1, 4, 4, 1), "lut", "distributed", 4, 8)
    found["matrix b16 portable"] = matrix(96, 96, (1, 16, 2, 1), "portable", "block", 8, 16)
    found["matrix b16 lut"] = matrix(96, 96, (2, 16, 2, 1), "lut", "block", 8, 16)
    for simd, pe, tokens, heads, head_dim, bits, ram in (
        (2, 2, 17, 2, 8, 8, "auto"), (4, 2, 17, 2, 8, 8, "block"), (1, 1, 17, 2, 8, 8, "auto"), (4, 4, 50, 3, 16, 8, "block"),
        (8, 3, 50, 3, 16, 4, "distributed"), (4, 1, 50, 3, 16, 8, "auto"),
    ):  # fmt: skip
        found[f"attention {simd} {pe} {tokens} {heads} {head_dim} {bits} {ram}"] = attention(simd, pe, ram, bits, tokens, heads, head_dim)
    found |= _named("norm", norm, (17, 48, 4, 1), (17, 48, 2, 2), (17, 48, 1, 1), (50, 96, 8, 2), (17, 48, 4, 3))
    found |= _named("rmsnorm", rmsnorm, (17, 48, 4, 1), (17, 48, 1, 1), (50, 96, 8, 2))
    found |= _named("rotary", rotary, (17, 1, 48, 48, 12, 4, 8), (17, 1, 48, 48, 12, 2, 4), (50, 1, 96, 64, 32, 8, 8))
    found |= _named("gate", gate, (17, 96, 4, 8, 8), (17, 96, 8, 8, 4), (17, 96, 2, 4, 4))
    found |= _named("drop", drop, (17, 48, 4, 8, 2), (17, 48, 1, 8, 2), (50, 96, 4, 25, 3), (50, 96, 2, 25, 3))
    for simd in (4, 1):
        found[f"requant {simd}"] = requant(simd, 48)
    for simd in (1, 4):
        found[f"add {simd}"] = stream("VitAdd", simd, "INT16")
        found[f"fork {simd}"] = stream("VitFork", simd, "INT16")
        found[f"select {simd}"] = stream("VitSelectToken", simd, "INT16", index=0)
        found[f"split {simd}"] = stream("VitSplit", simd, "INT8", channels=576, first=192)
        mean = {"mult": 10923, "shift": 21, "outputDataType": "INT16", "channels": 48, "tokens": 17}
        found[f"mean {simd}"] = stream("VitTokenMean", simd, "INT16", **mean)
        rows = [np.arange(48), np.arange(17 * 48).reshape(17, 48)]
        found[f"embed {simd}"] = "VitTokenEmbed", {"tokens_in": 16, "prefix": 1, "channels": 48, "SIMD": simd}, rows
    for a, b in ((4, 1), (1, 4), (6, 4), (2, 8)):
        sides = {"tokens": 17, "channels": 48, "in_simd": a, "out_simd": b, "inputDataType": "INT8"}
        found[f"width {a} {b}"] = "VitWidthConverter", sides, []
    for depth, width, ram in (
        (2, 16, "auto"), (3, 8, "auto"), (16, 8, "auto"), (16, 64, "auto"), (64, 32, "distributed"), (200, 16, "distributed"),
        (64, 32, "block"), (600, 16, "block"), (2048, 8, "block"), (2100, 64, "block"), (5000, 8, "block"), (20000, 8, "block"),
        (33, 8, "distributed"), (1000, 8, "distributed"),
    ):  # fmt: skip
        found[f"fifo {depth} {width} {ram}"] = stream("VitFIFO", width // 8, "INT8", depth=depth, ram_style=ram, channels=384)
    return found


def _named(kind: str, make: Callable[..., Made], *shapes: tuple[int, ...]) -> dict[str, Made]:
    return {f"{kind} {shape}": make(*shape) for shape in shapes}


@cache
def graph(design: str) -> ModelWrapper:
    """The hardware graph of a design, its estimates made in a folder that is removed."""
    with tempfile.TemporaryDirectory(prefix="vitprune_ecp5_") as name:
        options = BuildOptions(
            model=EXAMPLE / "deit_digits.onnx", images=EXAMPLE / "images.npz", fpga_part="ZCU104", clk_ns=12, synth="none",
            estimate_only=True, output_dir=Path(name) / "build", **DIGITS[design],
        )  # fmt: skip
        model = ModelWrapper(str(build(options) / "intermediate_models" / "step_check_part.onnx"))
    return flattened(model) if engines_of(model) else model


def nodes(design: str) -> dict[str, DesignUnit]:
    """The nodes of a design, of equal ones the first, as many as :data:`MOST` allows."""
    found: dict[str, DesignUnit] = {}
    seen, counts = set(), Counter[str]()
    for node in graph(design).graph.node:
        parameters = getCustomOp(node).rtl_parameters().items()
        shape = node.op_type, *((k, v) for k, v in parameters if k not in ("SHIFT", "UNIT") and not str(v).endswith(".hex"))
        if shape not in seen and counts[node.op_type] < MOST.get(node.op_type, 99):
            counts[node.op_type] += 1
            found[f"{design}: {node.name}"] = DesignUnit(design, node.name)
        seen.add(shape)
    return found


def op_of(unit: Made | DesignUnit) -> tuple[VitRTLBackend, ModelWrapper]:
    """The op of a unit, and the graph that holds it."""
    if isinstance(unit, DesignUnit):
        model = graph(unit.design)
        return getCustomOp(model.get_node_from_name(unit.node)), model
    op, model = build_node(*unit)
    if op.onnx_node.op_type == "BlockSparseMVAU_rtl":
        op.plan(model.get_initializer(op.onnx_node.input[1]))
    return op, model


def mapped(unit: Made | DesignUnit) -> MappedUnit:
    """Map a unit.

    Raises:
        RouteError: Yosys fails.
    """
    op, model = op_of(unit)
    with tempfile.TemporaryDirectory(prefix="vitprune_ecp5_") as name:
        folder = Path(name)
        files = sources(op, model, folder)
        for path in folder.rglob("*.hex"):
            if path.parent != folder:
                shutil.copy(path, folder)
        cells = map_unit(op.onnx_node.name, files, folder, contents=isinstance(unit, DesignUnit))
    return row_of(op, cells)


def row_of(op: VitRTLBackend, cells: Mapping[str, int]) -> MappedUnit:
    """The row of an op that was mapped."""
    each = list(_each(op.made_of()))
    parts: Counter[str] = Counter()
    for s in each:
        parts.update({f"{s.kind}.{name}": amount for name, amount in s.parts if amount})
        parts.update({f"{ecp5.MEMORY}.{name}": amount for name, amount in ecp5.memory_parts(s.memories).items() if amount})
    memories = [memory for s in each for memory in s.memories]
    return MappedUnit(
        rtl_digest(), parts=dict(parts), dpr=sum(map(ecp5.dpr_rams, memories)), ebr_said=sum(map(ecp5.block_rams, memories)),
        mult18_said=sum(ecp5.multipliers(p) for s in each for p in s.products), **cells,
    )  # fmt: skip


def _each(unit: UnitParts) -> list[UnitParts]:
    return [unit, *(inner for own in unit.units for inner in _each(own))]


def fit(rows: Mapping[str, MappedUnit]) -> dict[str, dict[str, list[float]]]:
    """Prices, as ``ecp5.json`` has them: the least squares of the relative errors, none negative, held to what is expected."""
    names = sorted({name for row in rows.values() for name in row.parts})
    amounts = np.array([[row.parts.get(name, 0.0) for name in names] for row in rows.values()])
    found = {kind: {part: list(map(float, both)) for part, both in parts.items()} for kind, parts in EXPECTED.items()}
    for place, resource in enumerate(("COMB", "FF")):
        total = np.array([getattr(row, resource) for row in rows.values()], dtype=float)
        logic = total - np.array([ecp5.DPR_COMB * row.dpr * (resource == "COMB") for row in rows.values()])
        weight = 1 / np.maximum(total, FEW / 2)
        expected = np.array([EXPECTED[kind][part][place] for kind, part in (name.split(".") for name in names)], dtype=float)
        held = RIDGE * np.maximum((amounts * weight[:, None]).max(0), 1e-9)
        matrix_ = np.vstack([amounts * weight[:, None], np.diag(held)])
        prices = lsq_linear(matrix_, np.concatenate([logic * weight, held * expected]), bounds=(0, np.inf)).x
        for name, price in zip(names, prices):
            kind, part = name.split(".")
            found[kind][part][place] = round(float(price), 3)
    return found


def said(row: MappedUnit) -> tuple[float, float]:
    """COMB and FF of a row, by the prices of the package."""
    prices = ecp5.table()
    both = np.array([ecp5.DPR_COMB * row.dpr, 0.0])
    for name, amount in row.parts.items():
        kind, part = name.split(".")
        both += amount * np.array(prices[kind][part])
    return float(both[0]), float(both[1])


def tables(rows: Mapping[str, MappedUnit]) -> list[TextTable]:
    """Units beside their estimates, and the errors."""
    cells, errors = [], {"COMB": [], "FF": []}
    for name, row in rows.items():
        comb, ff = said(row)
        texts = []
        for kind, value in (("COMB", comb), ("FF", ff)):
            true = getattr(row, kind)
            errors[kind].append((value - true) / true if true >= FEW else 0.0)
            texts += [f"{true:,}", f"{value:,.0f}", f"{100 * (value / true - 1):+.1f}" if true >= FEW else f"{value - true:+.0f} cells"]
        cells.append((name, *texts, f"{row.MULT18} / {row.mult18_said}", f"{row.EBR} / {row.ebr_said}"))
    heads = ("unit", "COMB", "estimate", "error, %", "FF", "estimate", "error, %", "MULT18 / estimate", "EBR / estimate")
    wrong = sum(row.MULT18 != row.mult18_said or row.EBR != row.ebr_said for row in rows.values())
    summary = [
        (kind, f"{100 * np.abs(found).mean():.1f}", f"{100 * min(found):+.1f}", f"{100 * max(found):+.1f}") for kind, found in errors.items()
    ]  # fmt: skip
    note = f"Of units of {FEW} cells or more. MULT18 and EBR differ in {wrong} of {len(rows)} units."
    return [
        TextTable("Errors of the estimates", ("", "mean, %", "lowest, %", "highest, %"), tuple(summary), note),
        TextTable("Units", heads, tuple(cells)),
    ]


def study() -> Study[Made | DesignUnit, MappedUnit]:
    """All units by name."""
    units = {**small(), **{name: unit for design in DIGITS for name, unit in nodes(design).items()}}
    rtl = rtl_digest()
    return Study(
        units, MappedUnit, mapped, tables, TITLE, TEXT, lambda row: f"{row.COMB:,} COMB, {row.FF:,} FF", lambda _, row: row.rtl == rtl,
        (UserError,),
    )  # fmt: skip


def main(
    output: Annotated[Path, typer.Option("--output", "-o")] = OUTPUT,
    only: Only = None,
    write: Annotated[bool, typer.Option("--write", help="Write the prices that fit the rows.")] = False,
) -> None:
    """Map the units that have no row, and write the page."""
    own = study()
    rows = own.go(output, only)
    if write:
        write_json(PRICES, fit(rows), indent=1)
        ecp5.table.cache_clear()
        own.write(output, rows)


if __name__ == "__main__":
    start(lambda: typer.run(main))
