"""Binding of a flat graph to engines: encoders dealt, one unit of each role, every node once."""

import copy
import itertools

import numpy as np
import pytest
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.engine.engine import engines_of
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.transforms.engines.bind import IN_SPLIT, PREFERENCE, bind, deal
from finn_vitprune.transforms.engines.engine_units import role_ops
from finn_vitprune.transforms.engines.insert_engines import InsertEngines
from finn_vitprune.transforms.streams.node_names import node_names


def every_deal(encoders: int, engines: int):
    for cuts in itertools.combinations(range(1, encoders), engines - 1):
        yield tuple(b - a for a, b in itertools.pairwise((0, *cuts, encoders)))


@pytest.mark.parametrize("seed", range(30))
def test_encoders_are_dealt_evenly_and_cut_behind_token_drops(seed):
    rng = np.random.default_rng(seed)
    encoders = int(rng.integers(1, 9))
    engines, work = int(rng.integers(1, encoders + 1)), rng.integers(1, 60, encoders).tolist()
    natural = (rng.random(encoders) < 0.4).tolist()

    def largest(sizes):
        return max(sum(work[end - size : end]) for size, end in zip(sizes, itertools.accumulate(sizes)))

    def unnatural(sizes):
        return sum(not natural[end - 1] for end in list(itertools.accumulate(sizes))[:-1])

    every = list(every_deal(encoders, engines))
    allowed = [sizes for sizes in every if largest(sizes) <= (1 + PREFERENCE) * min(map(largest, every))]
    found = deal(work, engines, natural)
    assert found in allowed and unnatural(found) == min(map(unnatural, allowed))
    assert largest(found) == min(largest(sizes) for sizes in allowed if unnatural(sizes) == unnatural(found))


@pytest.mark.parametrize("engines, sizes", [(1, (4,)), (2, None), (4, (1, 1, 1, 1)), ((1, 3), (1, 3)), ((3, 1), (3, 1))])
def test_every_node_is_bound_once_in_the_order_of_the_graph(example, engines, sizes):
    binding = bind(example, engines)
    assert sizes is None or tuple(len(e.encoders) for e in binding.engines) == sizes
    assert [e for engine in binding.engines for e in engine.encoders] == [1, 2, 3, 4]
    bound = [name for engine in binding.engines for unit in engine.units for names in unit.nodes for name in names]
    layers = {name: of.layer for name, of in node_names(example).items()}
    split = [n for n in layers if layers[n] in IN_SPLIT and len(binding.engines[-1].encoders) > 1]
    assert sorted([*bound, *binding.outside, *split]) == sorted(layers)
    assert len({len(unit.nodes) for engine in binding.engines for unit in engine.units} - {len(e.encoders) for e in binding.engines}) == 0


def test_as_many_engines_as_encoders_are_the_pipeline(example):
    """The graph stays as it is: all else, and what the builds of the pipeline show, follows."""
    pipeline = [node.SerializeToString(deterministic=True) for node in example.graph.node]
    inside = example.transform(InsertEngines(bind(example, 4), frames_in_flight=1))
    assert [node.SerializeToString(deterministic=True) for node in inside.graph.node] == pipeline


def test_weights_of_a_role_have_the_widest_of_their_types(example):
    """Codes of one encoder may be small: lowering gives them fewer bits."""
    model = ModelWrapper(copy.deepcopy(example.model))
    binding = bind(model, (3, 1))
    (_, (name,), _) = next(unit.nodes for unit in binding.engines[0].units if unit.role == "MLP 1")
    node = model.get_node_from_name(name)
    model.set_initializer(node.input[1], np.sign(model.get_initializer(node.input[1])))
    getCustomOp(node).set_nodeattr("weightDataType", "INT2")
    inside = model.transform(InsertEngines(binding))
    (engine,) = engines_of(inside)
    types = {op.get_nodeattr("weightDataType") for role, ops in role_ops(engine, engine.body) if role == "MLP 1" for op in ops}
    assert types == {"INT8"}
    source, sink = model.graph.node[0].input[0], model.graph.node[-1].output[0]
    image = np.random.default_rng(1).integers(0, 17, (1, *model.get_tensor_shape(source)[-2:]))
    flat, whole = (golden.run(m, {source: image})[sink] for m in (model, inside))
    assert np.array_equal(flat, whole)


def test_one_engine_has_one_unit_of_each_role(example):
    (engine,) = bind(example, 1).engines
    units = {unit.role: unit.nodes for unit in engine.units}
    assert len(units) == len(engine.units) and units["QKV"][3] == ("BlockSparseMVAU_13", "BlockSparseMVAU_14")
    assert [len(names) for names in units["token drop"]] == [0, 1, 1, 0]
    assert [len(names) for names in units["attention residual token selection"]] == [0, 0, 0, 1]
    assert all(len(names) == 1 for role in ("LayerNorm 1", "attention", "MLP 2") for names in units[role])


@pytest.mark.parametrize("engines, message", [
    (0, "0 engines for 4 encoders: use 1 to 4"), (5, "5 engines for 4 encoders: use 1 to 4"),
    ((2, 1), "encoders per engine 2,1: use numbers of 1 or more that add up to the 4 encoders"),
    ((4, 0), "encoders per engine 4,0: use numbers of 1 or more"), ((), "encoders per engine : use numbers"),
])  # fmt: skip
def test_what_cannot_be_dealt_is_named(example, engines, message):
    with pytest.raises(UserError, match=f"^{message}"):
        bind(example, engines)
