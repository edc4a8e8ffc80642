"""Designs that are loaded: with the network for which they were folded, and with others that have the same structure.

The hardware of such a design hangs on sizes alone. A network fits it where its graph, put into the design's engines with the design's
folds, gives the same units, and the design's sizes are enough for each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.engine.engine import VitEngine, engines_of, flattened
from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.custom_ops.op.load_chain import LoadedBackend
from finn_vitprune.custom_ops.op.rtl_backend import Memory
from finn_vitprune.errors import UserError
from finn_vitprune.numerics import clog2
from finn_vitprune.sim.contents import Contents
from finn_vitprune.transforms.engines.bind import BEFORE_ENCODERS, encoder_count
from finn_vitprune.transforms.engines.engine_units import bind_units, role_depths, role_ops, shares_of, unit_name
from finn_vitprune.transforms.engines.fold_engines import set_fold, write_folds, written_folds
from finn_vitprune.transforms.engines.insert_engines import DealEncoders
from finn_vitprune.transforms.engines.pad_neurons import neurons_a_beat, pad_neurons
from finn_vitprune.transforms.engines.same_drops import SameDrops, drop_encoders, score_bits
from finn_vitprune.transforms.streams.insert_fifos import SetFifoDepths
from finn_vitprune.transforms.streams.node_names import kind_of, node_names

RAM_WORDS = 512
"""Words of a block RAM at its widest: a FIFO takes no less with fewer."""
PLACE = ("UNIT",)
"""Parameters that say which unit it is, not what it is."""
OF_DEPTH = ("DEPTH", "STYLE", "READ_LATENCY", "PARTS")
"""Parameters of a FIFO that follow from its depth."""
RESIDUALS = ("VitFork", "VitSelectToken")
"""Op types from which a residual comes."""
OF_DROPS = ("VitTokenDrop", "VitSwitch", "VitMerge")
"""Op types of what a design has where a network that it was made for drops tokens."""
RESERVE = "build the design with --reserve and this network's file"


def make_loadable(model: ModelWrapper, others: Sequence[ModelWrapper] = ()) -> None:
    """Let all contents of the units of ``model`` be loaded, and make the units for what each of ``others`` needs, too.

    Args:
        model: folded, its engines with their units, nothing inserted yet.
        others: as :func:`like` gives them.
    Raises:
        UserError: a network needs other units than the design has; the text names the unit.
    """
    networks = [model, *others]
    _deepen(networks)
    for network in networks:
        _change(network, _load_all)
    for other in networks[1:]:
        _check_names(_ops(model), _ops(other))
    for _ in range(2):  # how finely blocks are cut, then the words that follow from it
        kept = [_ops(network) for network in networks]
        for network in networks:
            _change(network, partial(_widen, kept))
    for network in networks:
        _change(network, _fill_rams)
    _change(model, _spare)
    for other in networks[1:]:
        _check_sizes(model, other)


def like(design: ModelWrapper, network: ModelWrapper, attributes: Sequence[str]) -> ModelWrapper:
    """``network``, specialised and with names but nothing inserted, in the engines of ``design`` and with its folds.

    Args:
        attributes: those of folds.
    Raises:
        UserError: it has another number of encoders, or other nodes.
    """
    engines, dealt = engines_of(design), _dealt(design)
    if (count := encoder_count(network)) != sum(dealt):
        raise UserError(f"it has {count} encoders, the design {sum(dealt)}: the number is built in")
    network = pad_neurons(network, neurons_a_beat(design)).transform(SameDrops(drop_encoders(design), score_bits(design)))
    if engines:
        network = network.transform(DealEncoders(dealt, engines[0].batch, shares_of(engines[0])))
        for engine, of_design in zip(engines_of(network), engines, strict=True):
            engine.set_nodeattr("least_depths", of_design.get_nodeattr("least_depths"))
    folds: dict[str, dict[str, Any]] = {}
    for node in design.graph.node:
        op = getCustomOp(node)
        if isinstance(op, VitEngine):
            folds |= written_folds(op, attributes)
        else:
            types = op.get_nodeattr_types()
            folds[node.name] = {name: op.get_nodeattr(name) for name in attributes if name in types}
    for node in network.graph.node:
        op = getCustomOp(node)
        if isinstance(op, VitEngine):
            write_folds(op, folds)
            for role, layers in role_ops(op, op.body):
                for layer in layers:
                    _check_widths(unit_name(op, role), layer)
            bind_units(op)
        else:
            set_fold(op, {name: value for name, value in folds.get(node.name, {}).items() if name in op.get_nodeattr_types()})
            _check_widths(node.name, op)
    return network


def _dealt(design: ModelWrapper) -> list[int]:
    """Encoders of each engine of a design, in their order; one that has units of its own counts as an engine."""
    names = node_names(design)
    flat = {names[node.name].encoder for node in design.graph.node} - {None}
    shared = [[e for e in engine.get_nodeattr("encoders") if e != BEFORE_ENCODERS] for engine in engines_of(design)]
    alone = {*range(1, len(flat) + 1 + sum(map(len, shared)))}.difference(*shared)
    return [len(encoders) for encoders in sorted([*shared, *([encoder] for encoder in alone)])]


def _check_widths(name: str, op: VitOp) -> None:
    """Refuse a network whose rows do not pass a unit in whole beats."""
    try:
        op.in_streams(), op.out_streams()
    except ValueError as error:
        raise UserError(f"{name}: {error}: the design is not made for rows of that length") from None


def contents_for(design: ModelWrapper, network: ModelWrapper, number: int, port: str) -> Contents:
    """What ``design`` is loaded with to be ``network``.

    Args:
        design: with its load port and all units in the order of the chain. network: as :func:`like` gives it.
        number, port: of the design.
    Raises:
        UserError: the design is not made for it; the text names the unit and the size.
    """
    _change(network, _load_all)
    _check_names(_ops(network), _ops(design))
    _check_sizes(design, network)
    whole, units, data, regions = flattened(design), flattened(network), [], []
    made, needed = ({node.name: getCustomOp(node) for node in graph.graph.node} for graph in (whole, units))
    for name, op in made.items():
        if name not in needed:
            continue
        if isinstance(op, LoadedBackend):
            loaded, banks = op.loaded_regions(), needed[name].loaded_banks(units)
            data += [region.packed([bank.words for bank in each]) for region, each in zip(loaded, banks, strict=True)]
            regions += loaded
        else:
            check_same_memories(op.memories(whole), needed[name].memories(units), op.label)
    return Contents(number, tuple(regions), np.concatenate(data), port)


def check_same_hardware(made: VitOp, needed: VitOp) -> None:
    """Raise a UserError unless ``needed`` in the place of ``made`` is the same hardware; depths of FIFOs aside."""
    has, needs = _parameters(made), _parameters(needed)
    for name in has:
        if has[name] != needs[name]:
            use = (
                RESERVE
                if _can_be_both(made, needed)
                else "that is built in, and --reserve does not help: this network needs a design of its own"
            )
            raise UserError(f"unit {made.label} needs {name} {needs[name]} for this network, the design has {has[name]}: {use}")


def _parameters(op: VitOp) -> dict[str, int | str]:
    left_out = OF_DEPTH if op.is_buffer else PLACE
    return {name: value for name, value in op.built_in().items() if name not in left_out}


def _can_be_both(made: VitOp, needed: VitOp) -> bool:
    """Whether a unit can be made for both."""
    if not isinstance(made, LoadedBackend):
        return False
    one, other = (getCustomOp(NodeProto.FromString(op.onnx_node.SerializeToString())) for op in (made, needed))
    one.widen(needed)
    other.widen(one)
    return _parameters(one) == _parameters(other)


def check_same_memories(made: Mapping[str, Memory], needed: Mapping[str, Memory], unit: str) -> None:
    """Raise a UserError where memories that are built in have other contents: those of a unit that cannot be loaded."""
    for name, memory in made.items():
        if not np.array_equal(memory.words, needed[name].words):
            raise UserError(f"unit {unit} has other {name} for this network, and they are built in: this design cannot be loaded with it")


def _ops(model: ModelWrapper) -> dict[str, VitOp]:
    """Units by name, those of engines in their place."""
    return {node.name: op for node in flattened(model).graph.node if isinstance(op := getCustomOp(node), VitOp)}


def _change(model: ModelWrapper, change: Callable[[Mapping[str, VitOp], ModelWrapper], None]) -> None:
    """Change the units of ``model``, and those of its engines: ``change`` gets them by name, and the graph that has their constants."""
    for node in model.graph.node:
        op = getCustomOp(node)
        if isinstance(op, VitEngine):
            hardware = op.hardware
            change({unit.name: getCustomOp(unit) for unit in hardware.graph.node}, hardware)
            op.set_units(hardware)
    change({node.name: op for node in model.graph.node if isinstance(op := getCustomOp(node), VitOp)}, model)


def _load_all(ops: Mapping[str, VitOp], constants: ModelWrapper) -> None:
    for op in ops.values():
        if isinstance(op, LoadedBackend):
            op.set_nodeattr("loaded", 1)
            op.fit(constants)


def _widen(networks: Sequence[Mapping[str, VitOp]], ops: Mapping[str, VitOp], constants: ModelWrapper) -> None:
    for name, op in ops.items():
        for others in networks:
            if isinstance(op, LoadedBackend) and name in others:
                op.widen(others[name])


def _spare(ops: Mapping[str, VitOp], constants: ModelWrapper) -> None:
    for op in ops.values():
        if isinstance(op, LoadedBackend):
            op.spare(constants)


def _move_into(ops: Mapping[str, VitOp], made: Mapping[str, VitOp]) -> None:
    for name, op in ops.items():
        if isinstance(op, LoadedBackend) and name in made:
            op.move_into(made[name])


def _deepen(networks: Sequence[ModelWrapper]) -> None:
    """FIFOs where any network needs one, as deep as the one that needs most: in engines, and before nodes outside of them."""
    for engines in zip(*map(engines_of, networks), strict=True):
        deepest: dict[str, list[int]] = {}
        for engine in engines:
            for role, depths in role_depths(engine).items():
                deepest[role] = list(map(max, zip_longest(deepest.get(role, []), depths, fillvalue=0)))
        for engine in engines:
            engine.set_nodeattr("least_depths", json.dumps(deepest))
            bind_units(engine)
    needed = [_needed_depths(network) for network in networks]
    for network in networks:
        for node in network.graph.node:
            found = [depths[node.name] for depths in needed if node.name in depths]
            getCustomOp(node).set_nodeattr("inFIFODepths", list(map(max, zip_longest(*found, fillvalue=0))))


def _needed_depths(network: ModelWrapper) -> dict[str, list[int]]:
    """FIFO depths in beats at the inputs of every node, engines as a whole."""
    sized = ModelWrapper(network.model, make_deepcopy=True).transform(SetFifoDepths())
    return {node.name: list(getCustomOp(node).get_nodeattr("inFIFODepths")) for node in sized.graph.node}


def _check_sizes(design: ModelWrapper, network: ModelWrapper) -> None:
    """Raise a UserError where the units or the FIFOs of ``design`` are too small for ``network``, all of whose contents are loaded."""
    made = _ops(design)
    _change(network, lambda ops, _: _move_into(ops, made))
    other = [(made[name], op) for name, op in _ops(network).items() if name in made and _parameters(made[name]) != _parameters(op)]
    for of_design, op in sorted(other, key=lambda pair: _can_be_both(*pair)):  # first what no room helps
        check_same_hardware(of_design, op)
    _check_depths(design, network)


def _check_depths(design: ModelWrapper, network: ModelWrapper) -> None:
    """Raise a UserError where a FIFO of the design does not hold a frame that must wait in it.

    Whatever else a network would have in FIFOs costs time alone: it does without in a design that is made for others.
    """
    made = {node.name: getCustomOp(node) for node in design.graph.node}
    for name, depths in _needed_depths(network).items():
        if name in made:
            op = getCustomOp(network.get_node_from_name(name))
            _check_held(made[name].label, network, [op], depths, made[name].get_nodeattr("inFIFODepths"))
    for engine, of_design in zip(engines_of(network), engines_of(design), strict=True):
        body, needed, there = engine.body, role_depths(_without_room(engine)), role_depths(of_design)
        for role, ops in role_ops(engine, body):
            if role not in needed:  # an array: before matrices no frame waits
                continue
            _check_held(unit_name(engine, role), body, ops, needed[role], there[role])


def _check_held(unit: str, model: ModelWrapper, ops: Sequence[VitOp], depths: Sequence[int], of_design: Sequence[int]) -> None:
    """The same of the FIFOs before a unit that works as ``ops``, nodes of ``model``."""
    for i, (depth, there) in enumerate(zip(depths, of_design)):
        frame = max((op.in_streams()[i].beats for op in ops if _waits(model, op, i)), default=0)
        if (needed := min(depth, frame)) > there:
            raise UserError(f"unit {unit} needs a FIFO of {needed} beats at input {i} for this network, the design has {there}: {RESERVE}")


def _waits(model: ModelWrapper, op: VitOp, i: int) -> bool:
    """Whether a frame waits at an input of an op: queries for all keys, the residual for what comes past other units."""
    kind, source = kind_of(op.onnx_node), model.find_producer(op.onnx_node.input[i])
    return (kind, i) == ("PrunedAttention", 0) or (kind == "VitAdd" and source is not None and kind_of(source) in RESIDUALS)


def _without_room(engine: VitEngine) -> VitEngine:
    """An engine whose FIFOs are not made for others."""
    copy = getCustomOp(NodeProto.FromString(engine.onnx_node.SerializeToString()))
    copy.set_nodeattr("least_depths", "")
    return copy


def _fill_rams(ops: Mapping[str, VitOp], _: ModelWrapper) -> None:
    """FIFOs of engines as deep as their RAM is."""
    for op in ops.values():
        if op.is_buffer:
            depth = op.get_nodeattr("depth")
            op.set_nodeattr("depth", -(-depth // RAM_WORDS) * RAM_WORDS if depth > RAM_WORDS else 1 << clog2(depth))


def _check_names(one: Mapping[str, VitOp], other: Mapping[str, VitOp]) -> None:
    """Raise a UserError where two networks have other units, but for FIFOs and converters outside of engines."""
    names, others = ({name for name, op in ops.items() if isinstance(op, LoadedBackend)} for ops in (one, other))
    if names != others:
        name = min(names ^ others)
        drops = kind_of((one.get(name) or other[name]).onnx_node) in OF_DROPS
        use = RESERVE if drops else "networks of one design have the same structure"
        raise UserError(f"one of the networks has a unit {name}, the other has none: {use}")
