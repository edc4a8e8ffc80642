"""A graph with engines as a plan sees it: its units, the places of its nodes, and the graph with foldings of its units."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.attention.pruned_attention import PrunedAttention
from finn_vitprune.custom_ops.engine.engine import VitEngine, engines_of
from finn_vitprune.custom_ops.op.folding import STREAM_SLACK, Styles
from finn_vitprune.errors import UserError
from finn_vitprune.transforms.engines.engine_units import array_role, bind_units, engine_units, role_ops, unit_name
from finn_vitprune.transforms.engines.fold_engines import StreamFolds, set_fold, write_folds
from finn_vitprune.transforms.planning.plan_problem import PlanUnit, Problem, Solved, When
from finn_vitprune.transforms.planning.soonest import Wave, Works

ARRAY_PACE = 0.4
"""Of the pace of units without products: an array does a layer in a share of its time, and each group at once."""
ROOM_SLOTS = ("lane_blocks", "lane_slots")
"""Attributes of a fold that each encoder has of its own."""


def regions_of(model: ModelWrapper, slrs: int) -> list[int]:
    """The SLR of every node.

    Engines are dealt to the SLRs in their order, and what is outside stands with the engine before it, or with the first. Where
    there are fewer engines than SLRs the part counts as a whole, and all are in region 0.
    """
    engines = len(engines_of(model))
    if engines < slrs:
        return [0] * len(model.graph.node)
    passed = np.cumsum([isinstance(getCustomOp(node), VitEngine) for node in model.graph.node])
    return (np.maximum(passed - 1, 0) * slrs // engines).tolist()


class EngineGraph:
    """A graph with engines, which stays as it is: its units, and what its nodes get that nothing is chosen for."""

    def __init__(self, model: ModelWrapper) -> None:
        self.model = ModelWrapper(model.model, make_deepcopy=True)
        self.streams: list[StreamFolds] = []
        self.engine_of: dict[str, str] = {}
        """The engine of each unit that is in one."""
        self.layer_waves: dict[str, list[int]] = {}
        """The waves of an engine in which the layers of such a unit work, from 0."""
        inside: list[PlanUnit] = []
        for engine in engines_of(self.model):
            engine.set_graph("units", engine_units(engine))
            self.streams.append(StreamFolds(engine))
            own = list(_units(engine))
            self.layer_waves |= _layer_waves(engine)
            self.engine_of |= dict.fromkeys((unit.name for unit in own), engine.onnx_node.name)
            inside += own
        ops = [op for op in map(getCustomOp, self.model.graph.node) if not isinstance(op, VitEngine)]
        self.units = (*inside, *(PlanUnit(op.onnx_node.name, op.folding(), when=When.OUTSIDE) for op in ops))

    def problem(self, room: np.ndarray, prices: np.ndarray, styles: Styles) -> Problem:
        """Its plan in the SLRs with this ``room`` (``[slrs, kinds]``), or in the part as a whole."""
        regions = self.regions(len(room))
        room = room if max(regions.values()) else room.sum(0, keepdims=True)
        nodes = [self.engine_of.get(unit.name, unit.name) for unit in self.units]
        return Problem.of(self.units, room, prices, styles, [regions[node] for node in nodes])

    def regions(self, slrs: int) -> dict[str, int]:
        """The SLR of every node by its name."""
        return dict(zip((node.name for node in self.model.graph.node), regions_of(self.model, slrs)))

    @property
    def waves(self) -> tuple[Wave, ...]:
        """What works at once while an image is alone, wave by wave (:mod:`.soonest`).

        Nodes before the first engine work while its first queries, keys and values are made, and so does a patch embedding on a unit of
        the engine; those behind it have a wave each. A unit may do several layers in one.
        """
        numbers = {unit.name: number for number, unit in enumerate(self.units)}
        found: list[Wave] = []
        before: Works = ()
        for node in self.model.graph.node:
            if node.name in numbers:
                step: Works = ((numbers[node.name], 0),)
                before, found = (before, [*found, Wave(step)]) if found else (before + step, found)
                continue
            own = [
                (number, self.layer_waves[unit.name])
                for number, unit in enumerate(self.units)
                if self.engine_of.get(unit.name) == node.name
            ]
            for wave in range(1 + max(max(waves) for _, waves in own)):
                works = before + tuple((number, layer) for number, waves in own for layer, at in enumerate(waves) if at == wave)
                found.append(Wave(works, node.name))
                before = ()
        return tuple(found)

    def written(self, solved: Solved, before: float, slrs: int) -> ModelWrapper:
        """The graph with foldings of its units; what has no products is as fast as the fastest of them need."""
        if len(self.units) != len(solved.foldings):
            raise UserError("layers of two units were planned on one: that can be planned, but not yet be built")
        model = ModelWrapper(self.model.model, make_deepcopy=True)
        pace, regions = solved.interval * min(1.0, before), self.regions(slrs)
        folds = {unit.name: folding.attributes() for unit, folding in zip(self.units, solved.foldings)}
        inside = {name: {a: value for a, value in folds[name].items() if a not in ROOM_SLOTS} for name in self.engine_of}
        streams = iter(self.streams)
        for node in model.graph.node:
            op = getCustomOp(node)
            if isinstance(op, VitEngine):
                own_pace = pace * (ARRAY_PACE if op.get_nodeattr("array") else 1)
                own: dict[str, Mapping[str, int | str]] = {node.name: {"SIMD": _port_width(op, int(own_pace * STREAM_SLACK))}}
                write_folds(op, {**next(streams).within(int(own_pace)), **inside, **own})
                bind_units(op)
            else:
                set_fold(op, folds[node.name])
            if slrs > 1:
                op.set_nodeattr("slr", regions[node.name])
        return model

    def held(self, model: ModelWrapper, problem: Problem) -> np.ndarray:
        """``[places, kinds]``: what the units take in ``model``."""
        ops = {op.onnx_node.name: op for op in map(getCustomOp, model.graph.node)}
        for engine in engines_of(model):
            ops |= {node.name: getCustomOp(node) for node in engine.structure.graph.node}
        return problem.used_by([ops[unit.name].amounts(problem.styles.family) for unit in self.units])


def _units(engine: VitEngine) -> Iterator[PlanUnit]:
    """The units of an engine that have products, in the order of its roles."""
    nodes = {node.name: node for node in engine.structure.graph.node}
    when = When.BEFORE
    for role, ops in role_ops(engine, engine.body):
        if isinstance(ops[0], PrunedAttention):
            when = When.REST
        if ops[0].macs():
            name = unit_name(engine, role)
            yield PlanUnit(name, getCustomOp(nodes[name]).folding(), tuple(op.folding() for op in ops), when)


def _layer_waves(engine: VitEngine) -> dict[str, list[int]]:
    """Of each unit with products by its name the waves in which its layers work: layers before the attention in that of their encoder,
    which is over when the attention can begin, all others in the one after it; the pass before the encoders is in the first."""
    roles, nodes = json.loads(engine.get_nodeattr("roles")), {node.name: getCustomOp(node) for node in engine.body.graph.node}
    encoders = len(engine.get_nodeattr("encoders")) - engine.embeds
    array, late = engine.get_nodeattr("array"), 0
    found: dict[str, list[int]] = {}
    together: dict[str, list[int]] = {}
    for role, names in roles:
        ops = [[nodes[name] for name in own] for own in names]
        if any(isinstance(op, PrunedAttention) for own in ops for op in own):
            late = 1
        if role not in array and not any(op.macs() for own in ops for op in own):
            continue  # an array makes the pass of such a layer all the same
        waves = [0 if tag == encoders else tag + late for tag, own in enumerate(ops) if own]
        (together if role in array else found)[role] = waves
    found = {unit_name(engine, role): waves for role, waves in found.items()}
    if array:
        found[unit_name(engine, array_role(engine))] = [wave for role in array for wave in together[role]]
    return found


def _port_width(engine: VitEngine, interval: int) -> int:
    """The narrowest port through which a frame enters all encoders in the interval, else the widest."""
    nodes = {node.op_type: getCustomOp(node) for node in engine.structure.graph.node}
    tokens = sum(nodes["VitEngineEntry_rtl"].get_nodeattr("tokens"))
    elements = tokens * engine.get_nodeattr("channels")
    return next((width for width in engine.widths if elements <= width * interval), engine.widths[-1])
