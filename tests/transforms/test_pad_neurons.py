"""Neurons without weights, which fill the last beat of a row."""

import numpy as np
import pytest
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.builds.networks import flat_hardware
from finn_vitprune.custom_ops.engine.engine import engines_of
from finn_vitprune.transforms.engines.engine_units import unit_name
from finn_vitprune.transforms.engines.fold_engines import write_folds
from finn_vitprune.transforms.engines.insert_engines import DealEncoders
from finn_vitprune.transforms.engines.pad_neurons import INTO, OUT_OF, neurons_a_beat, pad_neurons
from finn_vitprune.transforms.streams.node_names import kind_of, node_names
from tests.networks.test_gate_networks import exported
from tests.reloads import golden_logits
from tests.transforms.test_loaded_graphs import CONFIG, flat

TABLE = {"dim": 32, "heads": 4, "depth": 2, "keep": "0.4"}


def network_of(kind: str) -> ModelWrapper:
    """Flat hardware with an activation, or a gate, between the matrices of its MLPs."""
    return flat(**TABLE) if kind == "table" else flat_hardware(ModelWrapper(exported()), CONFIG).hardware


def neurons(model) -> list[int]:
    """Rows of the second matrices of the MLPs."""
    names = node_names(model)
    return [getCustomOp(node).get_nodeattr("MW") for node in model.graph.node if names[node.name].layer == OUT_OF]


@pytest.mark.parametrize("kind", ["table", "gate"])
@pytest.mark.parametrize("multiple", [24, 48])
def test_the_logits_stay_the_same(kind, multiple):
    network = network_of(kind)
    (source,) = network.graph.input
    shape = network.get_tensor_shape(source.name)
    images = np.random.default_rng(1).integers(0, 256, (8, *shape[-2:]))
    wanted = golden_logits(network, images)
    padded = pad_neurons(network, multiple)
    assert any(n % multiple for n in neurons(network)) and not any(n % multiple for n in neurons(padded))
    assert max(a - b for a, b in zip(neurons(padded), neurons(network))) < multiple
    assert np.array_equal(golden_logits(padded, images), wanted)
    kept = [int(np.count_nonzero(m.get_initializer(n.input[1]))) for m in (network, padded) for n in m.graph.node if _is_matrix(m, n)]
    assert kept[: len(kept) // 2] == kept[len(kept) // 2 :], "no weight more"


def _is_matrix(model, node) -> bool:
    return kind_of(node) == "BlockSparseMVAU" and node_names(model)[node.name].layer in (INTO, OUT_OF)


def test_whole_beats_are_left_alone():
    network = network_of("table")
    (most,) = {*neurons(network)}
    assert pad_neurons(network, most).model.SerializeToString() == network.model.SerializeToString()


@pytest.mark.parametrize("engine", [True, False], ids=["engine", "pipeline"])
def test_a_design_says_how_many_neurons_a_beat_has(engine):
    made = flat(dim=32, heads=4, depth=2, keep="0.5")
    if engine:
        made = made.transform(DealEncoders(1))
        (shared,) = engines_of(made)
        write_folds(shared, {unit_name(shared, INTO): {"out_width": 8}, unit_name(shared, OUT_OF): {"in_width": 16}})
    else:
        names = node_names(made)
        for node in made.graph.node:
            if names[node.name].layer in (INTO, OUT_OF):
                getCustomOp(node).set_nodeattr(*(("out_width", 8) if names[node.name].layer == INTO else ("in_width", 16)))
    assert neurons_a_beat(made) == 16
