"""Engines: encoders in one node, the same bits as the flat graph, units that are one of each role."""

import numpy as np
import pytest
from test_folding import example  # noqa: F401 (a fixture: four encoders, drops in two, the last one for the class token)

from finn_vitprune.execute import golden
from finn_vitprune.transforms.bind import bind
from finn_vitprune.transforms.insert_engines import InsertEngines
from finn_vitprune.transforms.plan_engines import engines_of


@pytest.mark.parametrize("engines, encoders", [(1, [[1, 2, 3, 4]]), ((2, 2), [[1, 2], [3, 4]]), ((3, 1), [[1, 2, 3]])])
def test_engines_compute_what_their_encoders_do(example, engines, encoders):
    binding = bind(example, engines)
    inside = example.transform(InsertEngines(binding))
    assert [list(op.get_nodeattr("encoders")) for op in engines_of(inside)] == encoders
    stream = np.random.default_rng(3).integers(0, 255, (3, *example.get_tensor_shape(example.graph.input[0].name)[1:]))
    flat, whole = (golden.run(m, {m.graph.input[0].name: stream})[m.graph.output[0].name] for m in (example, inside))
    assert np.array_equal(flat, whole)
    kept = sum(len(t.float_data) or np.prod(t.dims) for t in inside.graph.initializer)
    body = sum(np.prod(t.dims) for op in engines_of(inside) for t in op.get_nodeattr("body").initializer)
    assert kept + body == sum(np.prod(t.dims) for t in example.graph.initializer)
