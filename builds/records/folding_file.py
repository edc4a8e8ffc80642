"""Folding files (FINN's JSON of node attributes), checked against the graph that they are for."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.engine.engine import VitEngine, engines_of
from finn_vitprune.custom_ops.op.base import FoldedOp, VitOp
from finn_vitprune.custom_ops.op.shared import SharedOp
from finn_vitprune.errors import UserError
from finn_vitprune.files import read_json
from finn_vitprune.synth.parts import Part
from finn_vitprune.transforms.engines.engine_units import bind_units, role_ops, unit_name
from finn_vitprune.transforms.engines.fold_engines import write_folds
from finn_vitprune.transforms.streams.insert_crossings import check_slrs
from finn_vitprune.transforms.streams.insert_streams import InsertStreams

FOLDING_ATTRIBUTES = [
    "SIMD",
    "PE",
    "TOKENS",
    "LANES",
    "in_width",
    "out_width",
    "mac_style",
    "lut_lanes",
    "interval",
    "ranking",
    "ram_style",
    "recip_bits_per_cycle",
    "roots",
]
"""What a folding says, whatever the mask is."""
HARDWARE_ATTRIBUTES = [*FOLDING_ATTRIBUTES, "lane_blocks", "lane_slots", "inFIFODepths", "depth"]
SETTABLE = {*HARDWARE_ATTRIBUTES, "slr", "link_stages", "mem_port", "partition_id", "device_id"}
"""What a folding file may set: how the hardware is built, not what it computes."""
OF_INSERTED = {"depth", "ram_style"}
"""What it may set of a FIFO that the build inserts."""
DEFAULTS = "Defaults"

_KINDS = {
    "i": (int, "an integer"), "f": (float, "a number"), "s": (str, "a text"), "ints": (list[int], "a list of integers"),
    "floats": (list[float], "a list of numbers"), "strings": (list[str], "a list of texts"),
}  # fmt: skip


def check_folding_file(path: Path, model: ModelWrapper, part: Part) -> None:
    """Check everything that the file ``path`` sets.

    Args:
        model: the hardware graph before folding, its ops specialised and its nodes named; stays as it is.
    Raises:
        UserError: the file cannot be read, a node or an attribute is unknown, or a value is not possible; the text names
            file, node and attribute, and what would work.
    """
    config = read_folding_file(path)
    try:
        _check(config, copy.deepcopy(model), part)
    except UserError as error:
        raise UserError(f"folding file {path}: {error}") from None


def inserted(op: VitOp) -> bool:
    """Whether the build puts the op between those of the model."""
    return op.is_buffer or op.is_converter or op.is_crossing


def read_folding_file(path: Path) -> dict[str, dict]:
    """What a folding file sets, by node.

    Raises:
        UserError: it cannot be read, or is no folding file.
    """
    config = read_json(path, "folding file")
    if not isinstance(config, dict) or not all(isinstance(entry, dict) for entry in config.values()):
        raise UserError(
            f'folding file {path}: must hold an object of attributes for each node, for example {{"VitAdd_rtl_0": {{"SIMD": 4}}}}'
        )
    for attribute, pairs in config.get(DEFAULTS, {}).items():
        kinds = pairs[1::2] if isinstance(pairs, list) else []
        lone_all = "all" not in kinds or len(pairs) == 2
        if not kinds or len(pairs) % 2 or not lone_all or not all(isinstance(kind, str | list) for kind in kinds):
            raise UserError(
                f'folding file {path}: {DEFAULTS} of {attribute} must be pairs of a value and op types, as in [4, ["VitAdd_rtl"]]'
            )
    return config


def _check(config: dict[str, dict], model: ModelWrapper, part: Part) -> None:
    ops = _ops(model)
    units = {unit_name(engine, role): own for engine in engines_of(model) for role, own in role_ops(engine, engine.body)}
    for name, own in ({name: [op] for name, op in ops.items()} | units).items():
        for op in own:
            for attribute, value in _entries(config, name, op):
                _check_value(op, attribute, value)
                if attribute == "link_stages" and name in units:
                    raise UserError(f"link_stages cannot be set for {name}: streams in an engine get no registers; leave it out")
                op.set_nodeattr(attribute, value)
            if not (len(own) > 1 and isinstance(op, SharedOp)):  # their unit is checked below
                op.verify_node()
            op.check_part(part)
    for engine in engines_of(model):
        write_folds(engine, config)
        bind_units(engine)
        for node in engine.hardware.graph.node:
            getCustomOp(node).verify_node()
    check_slrs(model)
    others = config.keys() - ops.keys() - units.keys() - {DEFAULTS}
    between = {name: op for name, op in _ops(model.transform(InsertStreams())).items() if inserted(op)} if others else {}
    for name in sorted(others):
        if name not in between:
            kinds = sorted({op.rpartition("_")[0] for op in ops})
            alike = [op for op in ops if op.rpartition("_")[0] == name.rpartition("_")[0]]
            use = (
                f"use {alike[0]} to {alike[-1]}" if alike else f"give the file of this model: its nodes are {', '.join(kinds)} and a number"
            )
            raise UserError(f"the model has no node {name}; delete its entry, or {use}")
        for attribute, value in config[name].items():
            _check_inserted(between[name], attribute, value)


def _ops(model: ModelWrapper) -> dict[str, VitOp]:
    """The hardware ops by node name, in graph order."""
    ops = {node.name: getCustomOp(node) for node in model.graph.node if node.domain.startswith("finn")}
    return {name: op for name, op in ops.items() if isinstance(op, VitOp)}


def _entries(config: dict[str, dict], name: str, op: VitOp) -> Iterator[tuple[str, object]]:
    """What the file sets of a node, in FINN's order: defaults of its op type first."""
    for attribute, pairs in config.get(DEFAULTS, {}).items():
        for value, kinds in zip(pairs[::2], pairs[1::2]):
            if kinds == "all" or op.onnx_node.op_type in kinds:
                yield attribute, value
    yield from config.get(name, {}).items()


def _check_value(op: VitOp, attribute: str, value: object) -> None:
    if isinstance(op, VitEngine) and attribute not in ("SIMD", "slr"):
        units = [unit_name(op, role) for role, _ in role_ops(op, op.body)]
        raise UserError(
            f"{attribute} cannot be set for node {op.onnx_node.name}; use SIMD, slr, or the names of its units: {', '.join(units)}"
        )
    types = {name: kind for name, kind in op.get_nodeattr_types().items() if name in SETTABLE}
    node, use = op.onnx_node.name, ", ".join(name for name in HARDWARE_ATTRIBUTES if name in types)
    if attribute not in types:
        raise UserError(f"{attribute} cannot be set for node {node}; use {use}")
    kind, _, _, *allowed = types[attribute]
    known, words = _KINDS[kind]
    choices = sorted(allowed[0]) if allowed else ()
    if attribute == "SIMD" and not isinstance(op, FoldedOp):
        choices = op.widths
    if choices:
        words = ", ".join(map(str, choices))
    try:
        TypeAdapter(known).validate_python(value, strict=True)
        held = not choices or value in choices
    except ValidationError:
        held = False
    if attribute == "inFIFODepths":
        count = len(op.in_streams())
        held = held and len(value) in (1, count) and min(value) >= 1
        words += f" from 1 on, {count} or one for all inputs"
    if not held:
        raise UserError(f"{attribute} {json.dumps(value)} of node {node} is not possible; use {words}")


def _check_inserted(op: VitOp, attribute: str, value: object) -> None:
    """FIFOs take another depth and memory; all else of what is inserted follows from its neighbours."""
    if op.is_buffer and attribute in OF_INSERTED:
        _check_value(op, attribute, value)
        op.set_nodeattr(attribute, value)
        op.verify_node()
    elif attribute not in op.get_nodeattr_types() or not _equal(op.get_nodeattr(attribute), value):
        raise UserError(f"{attribute} of node {op.onnx_node.name} follows from the nodes beside it; leave it out")


def _equal(own: object, value: object) -> bool:
    return list(own) == value if isinstance(value, list) else own == value
