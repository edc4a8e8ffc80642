"""Graphs of loadable designs: which networks they take, however their encoders are dealt to engines, and which they refuse."""

import copy
from functools import lru_cache
from itertools import product

import numpy as np
import pytest
from finn.builder.build_dataflow_config import DataflowBuildConfig
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from tests.sampling import sampled
from tests.vit_models import random_vit

from finn_vitprune.builds.folding_file import FOLDING_ATTRIBUTES
from finn_vitprune.builds.networks import Reserved, flat_hardware, reserve, reserved
from finn_vitprune.builds.settings import BuildSettings
from finn_vitprune.builds.steps import in_engines
from finn_vitprune.errors import UserError
from finn_vitprune.sim.contents import Contents
from finn_vitprune.transforms.insert_load_port import InsertLoadPort
from finn_vitprune.transforms.insert_streams import InsertStreams
from finn_vitprune.transforms.loadable import contents_for, like
from finn_vitprune.transforms.node_names import kind_of
from finn_vitprune.transforms.plan_engines import bind_units, engines_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loaded graphs")]
CONFIG = DataflowBuildConfig(output_dir=".", synth_clk_period_ns=5.0, generate_outputs=[], fpga_part="xczu7ev-ffvc1156-2-e")
NUMBER = 7


@lru_cache(maxsize=None)
def _flat(options: tuple[tuple[str, object], ...]) -> bytes:
    return flat_hardware(random_vit(**dict(options))[0], CONFIG).hardware.model.SerializeToString()


def flat(**options) -> ModelWrapper:
    """The flat hardware of a random network."""
    return ModelWrapper(_flat(tuple(sorted(options.items()))))


def design(own: ModelWrapper, dealt: tuple[int, ...] | None, others=(), **settings) -> ModelWrapper:
    """A loadable design with nothing folded. ``others``: networks that are reserved."""
    settings = BuildSettings(encoders_per_engine=dealt, **settings)
    model, networks = reserved(own, settings, CONFIG)
    model = in_engines(model, settings)
    for engine in engines_of(model):
        bind_units(engine)
    reserve(model, [*networks, *(Reserved(f"network {i}", other) for i, other in enumerate(others))])
    return model.transform(InsertStreams()).transform(InsertLoadPort(design=NUMBER))


def contents(made: ModelWrapper, network: ModelWrapper) -> Contents:
    """What the design is loaded with to be ``network``."""
    return contents_for(copy.deepcopy(made), like(made, copy.deepcopy(network), FOLDING_ATTRIBUTES), NUMBER, "port")


def deals(most: int) -> list[tuple[int, ...]]:
    """All ways to deal 1 to ``most`` encoders to engines, those first that have engines of one and of several encoders."""
    found = []
    for count in range(1, most + 1):
        for cuts in product((False, True), repeat=count - 1):
            ends = [i + 1 for i, cut in enumerate((*cuts, True)) if cut]
            found.append(tuple(int(n) for n in np.diff([0, *ends])))
    return sorted(found, key=lambda deal: (not (1 in deal and max(deal) > 1), sum(deal), deal))


@pytest.mark.parametrize("dealt", sampled(deals(5), 4), ids=str)
def test_every_deal_of_encoders_is_reserved_for_and_loaded(dealt):
    depth = sum(dealt)
    own, other, dense = (
        flat(depth=depth, drop_at=drops, seed=seed, keep=keep)
        for drops, seed, keep in (((1,), 1, "0.5"), ((depth,), 2, "0.75"), ((), 3, "1.0"))
    )
    made = design(own, dealt, [other], room="dense")
    words = [contents(made, network).data for network in (own, other, dense)]
    assert len({len(data) for data in words}) == 1 and len({data.tobytes() for data in words}) == 3
