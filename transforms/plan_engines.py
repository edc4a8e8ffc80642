"""Plans a graph with engines: the folds of their roles and of the nodes outside, for an interval or for a part."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import astuple

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.engine import VitEngine
from finn_vitprune.custom_ops.engine_times import engine_cycles
from finn_vitprune.synth.parts import Part
from finn_vitprune.synth.planned import Planned
from finn_vitprune.transforms.engine_units import engine_units
from finn_vitprune.transforms.fold_engines import fold_engine
from finn_vitprune.transforms.plan import shares_of
from finn_vitprune.transforms.plan_options import PlanOptions, room_of

TRIES = 12
"""Intervals of the roles that are tried for a goal."""
CLOSE = 0.02
"""A plan this near to its goal is not made again."""


def engines_of(model: ModelWrapper) -> list[VitEngine]:
    """The engines of a graph."""
    return [op for op in map(getCustomOp, model.graph.node) if isinstance(op, VitEngine)]


def plan_engines(
    model: ModelWrapper, part: Part, options: PlanOptions, report: Callable[[str], None] = lambda text: None
) -> Planned:
    """Fold ``model``, whose encoders are in engines: for the interval of ``options`` with few resources, else for as short a one
    as fits ``part``. Writes the folds, units and intervals.

    The roles of an engine get an interval of their own, in which each does all of its encoders; the engine's follows from the
    order of frames (:mod:`finn_vitprune.custom_ops.engine_times`).
    """
    room = room_of(part, options.budget).sum(0)
    low, high, best = 1.0, None, None
    guess = float(options.interval or sum(op.macs() for op in map(getCustomOp, model.graph.node)) / max(1.0, 2 * room[1] + room[0] / 60))
    for _ in range(TRIES):
        interval = fold_for(model, math.ceil(guess))
        used = _used(model)
        good = interval <= options.interval if options.interval else bool(np.all(used <= room))
        report(f"{math.ceil(guess):,} cycles a role: an image takes {interval:,}, {'enough' if good else 'not enough'}")
        if options.interval:
            low, high = (guess, high) if good else (low, guess)
            best = guess if good else best
            close = good and interval > (1 - CLOSE) * options.interval
        else:
            low, high = (low, guess) if good else (guess, high)
            best = guess if good else best
            close = good and low > (1 - CLOSE) * guess
        if close:
            break
        guess = math.sqrt(low * high) if high and low > 1 else guess * (0.7 if (good != bool(options.interval)) else 1.4)
    interval = fold_for(model, math.ceil(best or guess))
    used = _used(model)
    return Planned(
        goal="target" if options.interval else "throughput", interval_cycles=interval, fits=bool(np.all(used <= room)), gap=0.0,
        shell=part.shell, budget=dict(options.budget), used=shares_of(used, room), next_interval_cycles=interval,
    )  # fmt: skip


def fold_for(model: ModelWrapper, interval: int) -> int:
    """Fold all nodes, and every role of an engine, for an interval; units and intervals of the engines follow.

    Returns:
        Cycles of a frame of the slowest engine or node.
    """
    for engine in engines_of(model):
        fold_engine(engine, interval)
        bind_units(engine)
    slowest = max(engine.get_exp_cycles() for engine in engines_of(model))
    for op in map(getCustomOp, model.graph.node):
        for name, value in op.folding().for_interval(slowest).attributes().items():
            op.set_nodeattr(name, value)
    return max(getCustomOp(node).get_exp_cycles() for node in model.graph.node)


def bind_units(engine: VitEngine) -> None:
    """Give an engine the units that its folds make, and the interval that they have."""
    engine.set_graph("units", engine_units(engine))
    engine.set_nodeattr("interval", math.ceil(engine_cycles(engine.hardware).interval))


def _used(model: ModelWrapper) -> np.ndarray:
    return sum(np.array(astuple(getCustomOp(node).resources()), dtype=float) for node in model.graph.node)
