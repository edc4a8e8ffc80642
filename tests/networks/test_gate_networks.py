"""Networks with gated MLPs: arithmetic by hand, training, pruning in pairs, QONNX, hardware graph, check, engines."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from timm.layers import SwiGLU, SwiGLUPacked

from finn_vitprune import numerics
from finn_vitprune.builds.checks.lowering_check import check_lowering
from finn_vitprune.complexity.formulas import counted
from finn_vitprune.complexity.modules import count_model, pruned_by_score
from finn_vitprune.errors import UserError
from finn_vitprune.execute.golden import run as golden_run
from finn_vitprune.execute.program import IntegerProgram
from finn_vitprune.export.export import to_qonnx
from finn_vitprune.export.gate import check_export, record
from finn_vitprune.ingest.check.answers import Mapped
from finn_vitprune.ingest.check.check_qonnx import check_qonnx
from finn_vitprune.ingest.onnx_file.model_file import load
from finn_vitprune.models.config import EncoderShape, MlpActivation, Pooling, ViTConfig
from finn_vitprune.models.freeze import TIE_DISTANCE, freeze, kept_block_masks
from finn_vitprune.models.timm_weights import config_of_timm, load_timm
from finn_vitprune.models.vit import Mlp, PrunedViT
from finn_vitprune.pruning.config import PruneConfig
from finn_vitprune.pruning.cut import cut
from finn_vitprune.pruning.scores import PruneScores
from finn_vitprune.training.config import parse_config
from finn_vitprune.training.teacher import make_teacher
from finn_vitprune.transforms.engines.room import with_room
from finn_vitprune.transforms.lowering.lower import Unmapped, lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from finn_vitprune.transforms.streams.hardware_only import HardwareOnly
from finn_vitprune.transforms.streams.node_names import node_names
from tests.pruned_timm import calibrated_masks, grey_images, lowered_alike
from tests.sampling import sampled
from tests.training.test_models import tiny_timm

NEURONS = 32


def network(activation: MlpActivation, **options) -> PrunedViT:
    """Two encoders of three heads, 4 x 4 patches, 32 neurons; random weights."""
    torch.manual_seed(2)
    config = ViTConfig.dense(8, 1, 2, 24, 3, 2, 5, mlp_ratio=NEURONS / 24, activation=activation, gated=True, **options)
    model = PrunedViT(config)
    with torch.no_grad():
        for linear in model.linears().values():
            linear.weight.normal_(std=0.3)
            linear.bias.normal_(std=0.1)
        for parameter in (model.prefix_tokens, model.pos_embed):
            parameter.normal_(std=0.3)
    return model


def masked(activation: MlpActivation, **options):
    """The network, calibrated, and masks of about half of its blocks and neurons."""
    model = network(activation, **options)
    masks = calibrated_masks(model, grey_images())
    return model.eval(), masks


def frozen(activation: MlpActivation = MlpActivation.SILU, **options) -> PrunedViT:
    return freeze(cut(*masked(activation, **options)))


def test_the_float_network_is_timms(tmp_path):
    teacher = tiny_timm(mlp_layer=SwiGLU, act_layer=torch.nn.SiLU).eval()
    config = config_of_timm(teacher)
    assert config.gated and config.activation is MlpActivation.SILU
    model = PrunedViT(config)
    load_timm(model, teacher.state_dict(), (0.5,) * config.channels, (0.5,) * config.channels)
    model.quantise(False)
    pixels = torch.randint(0, 256, (3, config.image_size, config.image_size, config.channels)).float()
    with torch.no_grad():
        assert torch.allclose(model.eval()(pixels), teacher(((pixels / 255 - 0.5) / 0.5).permute(0, 3, 1, 2)), atol=1e-4)


def test_a_pruned_neuron_goes_with_its_gate():
    model, masks = masked(MlpActivation.SILU)
    small = cut(model, masks)
    for block, part, mask in zip(model.blocks, small.blocks, masks, strict=True):
        kept = mask.neurons.bool()
        assert int(kept.sum()) == NEURONS // 2 and part.mlp.fc1.weight.shape == (NEURONS, 24)
        pairs, whole = part.mlp.fc1.weight.unflatten(0, (-1, 2)), block.mlp.fc1.weight.unflatten(0, (-1, 2))
        assert torch.equal(pairs, whole[kept]) and torch.equal(part.mlp.fc2.weight, block.mlp.fc2.weight[:, kept])
    with torch.no_grad():
        model.quantise(False)
        small.quantise(False)
        assert torch.allclose(small(grey_images()), model(grey_images(), masks), atol=1e-4)


def test_magnitude_of_a_neuron_is_that_of_gate_and_value_times_that_of_its_column():
    model = network(MlpActivation.SILU)
    scores = PruneScores(model.config, PruneConfig(block_size=8, block_keep="0.6", neuron_keep="0.5"))
    scores.set_to_magnitude(model)
    mlp = model.blocks[1].mlp
    wanted = [mlp.fc1.weight[2 * i : 2 * i + 2].norm() * mlp.fc2.weight[:, i].norm() for i in range(NEURONS)]
    assert torch.allclose(scores.encoders[1].neurons, torch.stack(wanted), rtol=1e-5)


CASES = [
    (MlpActivation.SILU, {}), (MlpActivation.GELU, {"act_bits": 4}), (MlpActivation.SIGMOID, {"pooling": Pooling.PATCHES}),
    (MlpActivation.GELU, {"weight_bits": 4}), (MlpActivation.RELU, {}), (MlpActivation.QUICK_GELU, {}), (MlpActivation.GELU_TANH, {}),
]  # fmt: skip


@pytest.mark.parametrize("activation, options", CASES, ids=str)
def test_quantised_results_are_what_the_specification_says(activation, options):
    """In float32: codes and their products are whole numbers until they are rounded."""
    model = frozen(activation, **options)
    found = record(model, grey_images())
    for i, block in enumerate(model.blocks):
        mlp, bits = block.mlp, model.config.act_bits
        codes = {
            name: np.rint(found[f"blocks.{i}.mlp.{name}"].astype(np.float64) / quant.scale.number).astype(np.int64)
            for name, quant in (("pre_quant", mlp.pre_quant), ("gate.value_quant", mlp.gate.value_quant), ("act_quant", mlp.act_quant))
        }
        lo, hi = numerics.int_range(bits, signed=True)
        of_codes = mlp.activation(torch.arange(lo, hi + 1).double() * mlp.pre_quant.scale.number).numpy()
        low, high = numerics.int_range(numerics.GATE_BITS, signed=True)
        factors = np.clip(np.rint(of_codes / mlp.gate.factor_quant.scale.number), low, high).astype(np.int64)
        assert np.abs(factors).max() > 1 << (numerics.GATE_BITS - 4), "factors use few of their bits"
        products = factors[codes["pre_quant"] - lo] * codes["gate.value_quant"]
        assert np.array_equal(codes["act_quant"], np.clip(np.rint(products * 2.0**-mlp.gate.shift), lo, hi))


@pytest.mark.parametrize("activation", sampled(MlpActivation, 2))
def test_no_factor_of_a_frozen_network_is_near_a_tie(activation):
    for block in frozen(activation).blocks:
        mlp = block.mlp
        activated = mlp.activation(torch.arange(-128, 128).double() * mlp.pre_quant.scale.number)
        factors = (activated / mlp.gate.factor_quant.scale.number).numpy()
        assert np.abs(factors - np.floor(factors) - 0.5).min() > TIE_DISTANCE / 2


def test_results_of_a_small_range_leave_the_fewest_bits_after_the_point():
    """Then the largest factors are clipped, and results with them: their quantiser says so, too."""
    model, masks = masked(MlpActivation.SILU)
    model.blocks[0].mlp.act_quant.scale.set(model.blocks[0].mlp.act_quant.scale.number / 500)
    small = freeze(cut(model, masks))
    gate = small.blocks[0].mlp.gate
    assert gate.shift == numerics.GATE_LEAST_SHIFT
    factors = record(small, grey_images())["blocks.0.mlp.gate.factor_quant"] / gate.factor_quant.scale.number
    assert round(float(factors.max())) == 2047
    graph = to_qonnx(small)
    graph.set_metadata_prop("block_size", "8")
    assert check_export(small, graph, grey_images(4).numpy().astype(np.uint8)).passed
    check, _, _ = check_lowering(graph, lower(graph), grey_images().numpy().astype(np.uint8))
    assert check.problem == ""


def test_training_goes_through_the_gate():
    model = network(MlpActivation.SILU).train()
    model.calibrate(grey_images())
    model(grey_images()).square().sum().backward()
    for block in model.blocks:
        assert (block.mlp.fc1.weight.grad.abs().amax(1) > 0).all()
        for quant in (block.mlp.pre_quant, block.mlp.gate.value_quant, block.mlp.act_quant):
            assert quant.scale.log_scale.grad.abs() > 0


@cache
def exported() -> bytes:
    """A frozen network as QONNX."""
    graph = to_qonnx(frozen())
    graph.set_metadata_prop("block_size", "8")
    return graph.model.SerializeToString()


@pytest.mark.parametrize("activation, options", sampled(CASES, 1, several=True))
def test_the_export_passes_its_gate_and_lowers_to_the_same_codes(activation, options):
    model = frozen(activation, **options)
    graph = to_qonnx(model)
    graph.set_metadata_prop("block_size", "8")
    lowered, _ = lowered_alike(model, grey_images(), graph)
    pixels = grey_images().numpy().astype(np.uint8)
    gates = lowered.model.get_nodes_by_op_type("VitGate")
    assert len(gates) == 2 and not lowered.model.get_nodes_by_op_type("VitLookup")
    compared = {match.qonnx.removesuffix(".Quant_output_0") for match in lowered.matches}
    assert {f"blocks.1.mlp.{name}" for name in ("pre_quant", "gate.value_quant", "act_quant")} <= compared
    first = [getCustomOp(lowered.model.find_producer(node.input[0])) for node in gates]
    assert [(op.onnx_node.op_type, op.get_nodeattr("MH")) for op in first] == [("BlockSparseMVAU", NEURONS)] * 2, (
        "one matrix unit, in pairs"
    )
    program = IntegerProgram(lowered.model)
    assert not any("Gate" in name for name in program.through_golden_models)
    wanted = [node.output[0] for node in gates]
    fast, slow = program.run(pixels, wanted), golden_run(lowered.model, {lowered.model.graph.input[0].name: pixels})
    assert all(np.array_equal(fast[name], slow[name]) for name in wanted)

    tidy = lowered.model.transform(TidyLowered()).transform(HardwareOnly())
    names = {str(name) for name in node_names(tidy).values()}
    assert {"encoder 1, MLP 1", "encoder 1, MLP gate", "encoder 1, MLP 2", "encoder 2, MLP gate"} <= names
    tokens = [getCustomOp(node).get_nodeattr("tokens") for node in tidy.get_nodes_by_op_type("VitGate")]
    assert tokens == [17, 1 if model.config.pooling is Pooling.CLASS else 17]
    grown = with_room(tidy, float("inf"))
    most = [getCustomOp(node) for node in grown.get_nodes_by_op_type("VitGate")]
    assert [(op.verify_node(), op.source.channels) for op in most] == [([], 2 * 4 * 24)] * 2


def test_check_says_what_the_nodes_become(tmp_path):
    path = tmp_path / "model.onnx"
    model = ModelWrapper(exported())
    model.save(str(path))
    checked = check_qonnx(model.model, load(path), path, None, None)
    assert not checked.rejections
    shapes = checked.structure.config.encoders
    assert checked.structure.config.gated and [shape.neurons for shape in shapes] == [NEURONS // 2] * 2
    units = {row.op_type: row.answer for row in checked.rows if row.place == 1 and ".mlp." in row.node}
    assert units["Sigmoid"] == units["Mul"] == Mapped("VitGate")
    assert Mapped("BlockSparseMVAU, VitGate") in {row.answer for row in checked.rows if row.place == 1}
    assert not any("VitLookup" in str(row.answer) for row in checked.rows)


def test_formula_and_count_agree():
    """Products by hand, too: three matrices of D x M in every MLP."""
    config = network(MlpActivation.SILU).config
    prune = PruneConfig(block_size=8, block_keep="0.6", neuron_keep="0.5")
    dense, small = pruned_by_score(config, prune)
    by_count, by_formula = count_model(dense, small, 8), counted(dense.config, small.config, kept_block_masks(small, 8))
    assert by_count == by_formula
    plain, _ = pruned_by_score(replace(config, gated=False), prune)
    assert by_count.macs_dense - count_model(plain, plain, 8).macs_dense == 2 * 17 * 24 * NEURONS
    assert by_count.params_dense - count_model(plain, plain, 8).params_dense == 2 * (24 + 1) * NEURONS


def changed(**scales):
    """The file with other scales of some quantisers, by the last part of their names."""
    graph = ModelWrapper(exported())
    for node in graph.graph.node:
        for name, factor in scales.items():
            if node.op_type == "Quant" and node.name.endswith(f"blocks.0.mlp.{name}.Quant") and factor is not None:
                graph.set_initializer(node.input[1], graph.get_initializer(node.input[1]) * np.float32(factor))
    return graph


def unsigned_factors():
    """Of twice the resolution, too many for the table."""
    graph = changed(**{"gate.factor_quant": 1 / 64})
    node = next(n for n in graph.graph.node if n.op_type == "Quant" and n.name.endswith("blocks.0.mlp.gate.factor_quant.Quant"))
    next(a for a in node.attribute if a.name == "signed").i = 0
    return graph


def with_bits(name: str, bits: int):
    graph = ModelWrapper(exported())
    node = next(n for n in graph.graph.node if n.op_type == "Quant" and n.name.endswith(f"blocks.0.mlp.{name}.Quant"))
    node.input[3] = "other_bits"
    graph.set_initializer("other_bits", np.array(bits, np.float32))
    return graph


def test_gates_and_values_may_have_one_quantiser(monkeypatch):
    """As in a model of somebody else, whose hidden channels are quantised before they are told apart."""

    def forward(mlp, x, mask=None):
        hidden = mlp.pre_quant(mlp.fc1(x))
        factors = mlp.gate.factor_quant(mlp.activation(hidden[..., ::2]))
        return mlp.fc2_quant(mlp.fc2(mlp.act_quant(factors * hidden[..., 1::2])))

    model = frozen()
    for block in model.blocks:
        mlp = block.mlp
        for rows in (mlp.fc1.weight_scale.held, mlp.fc1.weight.data, mlp.fc1.bias.data):
            rows[1::2] *= mlp.pre_quant.scale.number / mlp.gate.value_quant.scale.number
        mlp.gate.factor_quant.scale.fix(mlp.act_quant.scale.number / mlp.pre_quant.scale.number * 2.0**-mlp.gate.shift)
    monkeypatch.setattr(Mlp, "forward", forward)
    graph = to_qonnx(model)
    graph.set_metadata_prop("block_size", "8")
    lowered = lower(graph)
    assert len(lowered.model.get_nodes_by_op_type("VitGate")) == 2
    matched = [m for m in lowered.matches if m.qonnx == "blocks.0.mlp.pre_quant.Quant_output_0"]
    assert len(matched) == 1 and sorted(matched[0].index.reshape(-1).tolist()) == list(range(17 * NEURONS))
    check, _, _ = check_lowering(graph, lowered, grey_images().numpy().astype(np.uint8))
    assert check.problem == ""


@pytest.mark.parametrize(
    "graph, message",
    [
        (lambda: changed(act_quant=1.1), "scales of factors, values and results do not go by a shift"),
        (lambda: with_bits("gate.factor_quant", 8), "two different streams are combined; .*quantise the activation of the gate to 12 bits"),
        (lambda: with_bits("gate.value_quant", 4), "gates and values must be signed codes of one width"),
        (unsigned_factors, "factors are 0 to 4095, not -2048 to 2047"),
        (lambda: with_bits("act_quant", 16), "the results must be signed codes of at most 8 bits"),
    ],
    ids=["scales", "narrow factors", "narrow values", "unsigned factors", "wide results"],
)
def test_what_the_hardware_does_not_have_is_named(graph, message):
    with pytest.raises(Unmapped, match=message):
        lower(graph())


def test_what_cannot_be_configured():
    config = network(MlpActivation.SILU).config
    with pytest.raises(ValueError, match="attention pooling beside gated MLPs"):
        replace(config, pooling=Pooling.ATTENTION, pooler=EncoderShape(3, 32))
    with pytest.raises(UserError, match="model.gated true is for networks of given sizes"):
        parse_config({"name": "x", "model": {"timm": "deit_tiny_patch16_224", "gated": True}})
    with pytest.raises(UserError, match="its MLP is GluMlp.* use SwiGLU"):
        config_of_timm(tiny_timm(mlp_layer=SwiGLUPacked))
    with pytest.raises(UserError, match="it has attention pooling beside gated MLPs"):
        config_of_timm(tiny_timm(mlp_layer=SwiGLU, act_layer=torch.nn.SiLU, global_pool="map", class_token=False))


def test_training_makes_a_teacher_with_gates():
    config = parse_config({"name": "x", "model": {"gated": True, "activation": "silu", "dim": 16, "heads": 2, "depth": 1}})
    dense = config_of_timm(make_teacher(config, config.load_data()))
    assert dense.gated and dense.activation is MlpActivation.SILU and dense.encoders[0].neurons == 64
