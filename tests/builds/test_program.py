"""The fast integers are those of the golden models, in every value of every stream."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
import torch
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.token_drop.token_drop import VitTokenDrop
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden, program
from finn_vitprune.execute.program import IntegerProgram
from finn_vitprune.export.export import to_qonnx
from finn_vitprune.transforms.lowering.lower import lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from tests.random_builds.draw import draw, draw_engines, network
from tests.sampling import sampled
from tests.vit_models import random_vit

EXAMPLE = files("finn_vitprune.builds") / "example"
SEEDS, GROUP = 300, 10


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def hardware(model: ModelWrapper) -> ModelWrapper:
    return lower(model).model.transform(TidyLowered())


def tensors_of(model: ModelWrapper) -> list[str]:
    return [name for node in model.graph.node for name in node.output]


def differing(model: ModelWrapper, images: np.ndarray) -> list[str]:
    """Tensors in which the program and the golden models differ, on whole images."""
    wanted = golden.run(model, {model.graph.input[0].name: images})
    found = IntegerProgram(model).run(images, tensors_of(model))
    return [name for name in tensors_of(model) if found[name].shape != wanted[name].shape or np.any(found[name] != wanted[name])]


def at_the_ends(model: ModelWrapper, seed: int) -> list[str]:
    """Nodes whose kernel differs from the golden model on the lowest, highest and random values of their input types."""
    rng, fast, wrong = np.random.default_rng(seed), IntegerProgram(model), []
    for node, step in zip(model.graph.node, fast._steps, strict=True):
        if not golden.is_hardware(node):
            continue
        op, values = getCustomOp(node), {}
        for name, stream in zip(step.inputs, op.in_streams()):
            shape, lo, hi = model.get_tensor_shape(name)[1:], int(stream.dtype.min()), int(stream.dtype.max())
            if isinstance(op, VitTokenDrop) and name == step.inputs[1]:  # scores of a frame sum to 2**16 a head at most
                hi = op.folding().score_limit // shape[0]
            drawn = rng.integers(lo, hi + 1, (4, *shape))
            drawn[0], drawn[1], drawn[2] = lo, hi, rng.choice([lo, hi], shape)
            values[name] = drawn
        wanted = golden.run_node(model, node, values)
        kinds = [program.torch_type(stream.dtype) for stream in op.in_streams()]
        found = step.kernel(*(torch.from_numpy(values[name]).to(kind) for name, kind in zip(step.inputs, kinds)))
        if any(not np.array_equal(made.numpy().astype(np.int64), wanted[name]) for made, name in zip(found, node.output)):
            wrong.append(node.name)
    return wrong


@pytest.mark.parametrize("name", ["deit_digits", "deit_digits_dense", "deit_fmnist"])
def test_the_examples_in_every_stream(name):
    model = hardware(ModelWrapper(str(EXAMPLE / f"{name}.onnx")))
    file = EXAMPLE / ("images.npz" if name == "deit_digits" else f"{name}.npz")
    images = np.load(file)["images"][:20]
    assert IntegerProgram(model).through_golden_models == ()
    assert differing(model, images) == []
    assert at_the_ends(model, 1) == []


@pytest.mark.parametrize("first", sampled(range(0, SEEDS, GROUP), 0))
def test_random_structures_in_every_stream(first):
    """Networks as random builds draw them: shapes, bits, drops, pooling, removed heads, empty rows; noise and extreme images."""
    wrong, compared = {}, 0
    for seed in range(first, first + GROUP):
        try:
            frozen, images = network(draw_engines(seed).network if seed % 2 else draw(seed))
            model = hardware(to_qonnx(frozen))
        except UserError:
            continue
        compared += 1
        if found := differing(model, images) + at_the_ends(model, seed):
            wrong[seed] = found
    assert not wrong and compared


@pytest.mark.parametrize("exact", [True, False], ids=["int8", "float32"])
def test_either_product_gives_the_same(monkeypatch, exact):
    if exact and not program.int8_is_exact():
        pytest.skip("this processor saturates int8 products")
    monkeypatch.setattr(program, "int8_is_exact", lambda: exact)
    source, images = random_vit(dim=32, heads=2, bias=0.5)
    model = hardware(source)
    assert differing(model, images) == [] and at_the_ends(model, 0) == []


def test_sums_beyond_a_float_take_the_next_type(monkeypatch):
    """With bounds so low that nothing fits float32, products are float64; with lower ones still, golden models."""
    monkeypatch.setattr(program, "int8_is_exact", lambda: False)
    source, images = random_vit()
    model = hardware(source)
    monkeypatch.setattr(program, "FLOAT32_EXACT", 1)
    assert differing(model, images) == []
    monkeypatch.setattr(program, "FLOAT64_EXACT", 1)
    assert {"BlockSparseMVAU", "PrunedAttention"} <= {name.partition("_")[0] for name in IntegerProgram(model).through_golden_models}
    assert differing(model, images) == []


def test_batches_do_not_change_what_an_image_gives(monkeypatch):
    source, images = random_vit()
    fast = IntegerProgram(hardware(source))
    whole = fast.logits(images)
    fast.batch = 3
    assert np.array_equal(fast.logits(images), whole)
    assert np.array_equal(np.concatenate([fast.logits(image[None]) for image in images]), whole)


def test_an_int8_product_that_saturates_is_found_out(monkeypatch):
    """As processors without a 32-bit dot product do it: pairs of products are added in 16 bits."""

    def saturating(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        pairs = x.int().unsqueeze(-1) * w.int()
        return (pairs[:, ::2] + pairs[:, 1::2]).clamp(-32768, 32767).sum(1, dtype=torch.int32)

    monkeypatch.setattr(torch, "_int_mm", saturating)
    program.int8_is_exact.cache_clear()
    assert not program.int8_is_exact()
    program.int8_is_exact.cache_clear()
