"""Models are lowered to the same graph as after FINN's own step."""

import pytest
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.build import EXAMPLE
from finn_vitprune.transforms.lowering.lower import lower
from finn_vitprune.transforms.lowering.tidy_source import TidySource
from tests.sampling import spread
from tests.vit_models import random_vit

SOURCES = {
    "the example": lambda: ModelWrapper(str(EXAMPLE / "deit_digits.onnx")),
    "a drop, biases": lambda: random_vit(depth=2, drop_at=(1,), bias=0.5)[0],
    "dense, four bits": lambda: random_vit(depth=1, keep="1.0", bits=4)[0],
}


@pytest.mark.parametrize("source", spread(SOURCES, 3, first=1))
def test_what_is_lowered_is_what_is_lowered_after_finns_step(source):
    from finn.builder.build_dataflow_config import DataflowBuildConfig  # after FINN is set up
    from finn.builder.build_dataflow_steps import step_tidy_up

    model = SOURCES[source]()
    before = model.model.SerializeToString()
    config = DataflowBuildConfig(output_dir="", synth_clk_period_ns=5.0, generate_outputs=[])
    ours, finns = (lower(tidy).model.model for tidy in (model.transform(TidySource()), step_tidy_up(model, config)))
    assert ours == finns
    assert model.model.SerializeToString() == before
