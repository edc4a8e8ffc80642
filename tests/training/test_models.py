"""Promises of the model package: timm weights load, the forward pass is the integer arithmetic."""

import numpy as np
import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from finn_vitprune import numerics
from finn_vitprune.errors import UserError
from finn_vitprune.export.gate import record
from finn_vitprune.models.config import MlpActivation, ViTConfig
from finn_vitprune.models.freeze import exp_tie_distance, freeze, weight_codes
from finn_vitprune.models.layers import DropTokens, token_scores
from finn_vitprune.models.quantizers import ActQuant, ActScale
from finn_vitprune.models.timm_weights import config_of_timm, load_timm
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.training.config import parse_config
from finn_vitprune.training.teacher import make_teacher

torch.set_num_threads(1)


def tiny_timm(seed: int = 0, **options) -> VisionTransformer:
    torch.manual_seed(seed)
    options = {"img_size": 8, "patch_size": 4, "in_chans": 3, "num_classes": 5, "embed_dim": 32, "depth": 2, "num_heads": 2} | options
    model = VisionTransformer(**options).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name or name.endswith("bias"):
            parameter.data += 0.2 * torch.randn_like(parameter)
        elif parameter.ndim > 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def images(count: int, config: ViTConfig, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (count, config.image_size, config.image_size, config.channels)
    return torch.randint(0, 256, shape, generator=generator).float()


MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def timm_logits(model, batch: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    with torch.no_grad():
        return model(((batch / 255 - mean) / std).permute(0, 3, 1, 2))


def loaded(teacher) -> PrunedViT:
    model = PrunedViT(config_of_timm(teacher))
    load_timm(model, teacher.state_dict(), MEAN, STD)
    return model.eval()


@torch.no_grad()
def test_float_forward_equals_timm_exactly_up_to_float32():
    """With quantisers passing values, folded affine, pixel scaling and 1/sqrt(D') give timm's logits."""
    teacher = tiny_timm()
    model = loaded(teacher)
    batch = images(6, model.config)
    for quantizer in model.quantizers().values():
        quantizer.start_observing()
    for linear in model.linears().values():
        linear.weight_quant.disable_quant = True
    for block in model.blocks:
        block.attn.exp_quant.observing = True
    found, expected = model(batch), timm_logits(teacher, batch)
    assert torch.allclose(found, expected, atol=2e-4 * float(expected.abs().max()))


@torch.no_grad()
def test_quantised_forward_is_near_timm():
    teacher = tiny_timm()
    model = loaded(teacher)
    batch = images(32, model.config)
    model.calibrate(batch)
    expected = timm_logits(teacher, batch)
    error = (model(batch) - expected).norm() / expected.norm()
    assert 0 < error < 0.1


@torch.no_grad()
def test_distilled_deit_loads_with_two_prefix_tokens_and_answers_with_head():
    torch.manual_seed(0)
    teacher = timm.create_model("deit_tiny_distilled_patch16_224", img_size=32, depth=1, num_classes=7).eval()
    model = PrunedViT(config_of_timm(teacher))
    load_timm(model, teacher.state_dict(), MEAN, STD)
    assert model.config.prefix == 2 and model.config.tokens == 6
    assert torch.equal(model.prefix_tokens, torch.cat([teacher.cls_token, teacher.dist_token], 1))
    folded = teacher.head.weight * teacher.norm.weight
    assert torch.allclose(model.head.weight, folded)


def test_state_dict_errors_name_the_tensor():
    teacher = tiny_timm()
    model = PrunedViT(config_of_timm(teacher))
    state = teacher.state_dict()
    with pytest.raises(UserError, match="lacks blocks.1.attn.proj.weight"):
        load_timm(model, {k: v for k, v in state.items() if k != "blocks.1.attn.proj.weight"}, MEAN, STD)
    with pytest.raises(UserError, match="no place in the model: extra.thing"):
        load_timm(model, state | {"extra.thing": torch.zeros(1)}, MEAN, STD)
    with pytest.raises(UserError, match=r"blocks.0.mlp.fc1.weight is \[3, 3\], expected \[128, 32\]"):
        load_timm(model, state | {"blocks.0.mlp.fc1.weight": torch.zeros(3, 3)}, MEAN, STD)


def test_unsupported_timm_models_are_refused_by_reason():
    with pytest.raises(UserError, match="layer scale"):
        config_of_timm(tiny_timm(init_values=0.1))
    with pytest.raises(UserError, match="global_pool is 'max', not 'token', 'avg', 'map'"):
        config_of_timm(tiny_timm(global_pool="max"))
    with pytest.raises(UserError, match="its activation is ELU, not GELU, GELU in its tanh form, QuickGELU, SiLU, ReLU"):
        config_of_timm(tiny_timm(act_layer=torch.nn.ELU))


@pytest.mark.parametrize("activation", MlpActivation)
def test_the_activation_of_a_configuration_is_that_of_the_network(activation):
    config = parse_config({"name": "x", "data": "digits", "model": {"activation": activation.value}}, "c.yaml")
    teacher = make_teacher(config, config.load_data())
    assert config_of_timm(teacher).activation is activation
    of_timm = {"name": "x", "data": "digits", "model": {"activation": "relu", "timm": "deit_tiny_patch16_224"}}
    with pytest.raises(UserError, match="model.activation relu is for networks of given sizes, deit_tiny_patch16_224 has its own"):
        parse_config(of_timm, "c.yaml")
    with pytest.raises(UserError, match="model.activation = 'gelo': use gelu, gelu_tanh, quick_gelu, silu, relu or sigmoid"):
        parse_config({"name": "x", "data": "digits", "model": {"activation": "gelo"}}, "c.yaml")


def test_patch_order_is_row_major_then_y_x_c():
    config = ViTConfig.dense(4, 3, 2, 16, 2, 1, 4)
    batch = torch.arange(48.0).reshape(1, 4, 4, 3)
    patches = PrunedViT(config).patchify(batch)
    by_hand = [batch[0, 2 * r + y, 2 * c + x, ch] for r in (0, 1) for c in (0, 1) for y in (0, 1) for x in (0, 1) for ch in (0, 1, 2)]
    assert torch.equal(patches.flatten(), torch.stack(by_hand))


@torch.no_grad()
def frozen_tiny(drop: bool = True) -> tuple[PrunedViT, torch.Tensor]:
    teacher = tiny_timm()
    config = config_of_timm(teacher)
    if drop:
        config = config.with_token_drop("0.5", (1,))
    model = PrunedViT(config)
    load_timm(model, teacher.state_dict(), MEAN, STD)
    batch = images(24, config)
    model.calibrate(batch)
    return freeze(model), batch


def codes(values: np.ndarray, quantizer: ActQuant) -> np.ndarray:
    return np.rint(values.astype(np.float64) / quantizer.scale.number).astype(np.int64)


@torch.no_grad()
def test_every_step_of_an_encoder_is_the_integer_arithmetic():
    """Codes that PyTorch computes equal numerics' functions on PyTorch's own input codes."""
    model, batch = frozen_tiny()
    seen, block, q = record(model, batch), model.blocks[0], model.quantizers()
    residual = model.residual_scale.number

    def at(name: str) -> np.ndarray:
        return codes(seen[name], q[name])

    x = at("embed_quant")
    eps, mult, shift = block.norm1.constants()
    assert np.array_equal(at("blocks.0.norm1.quant"), numerics.layernorm(x, eps, mult, shift, 8))

    def requantised(layer, inputs, s_in, s_out) -> np.ndarray:
        scale = s_in * layer.weight_scale.held.double().numpy().reshape(-1)
        acc = numerics.matmul(inputs, weight_codes(layer).T)
        acc = acc + np.rint(layer.bias.double().numpy() / scale).astype(np.int64)
        m, s = numerics.snap_ratio(scale / s_out)
        assert np.allclose(m * 2.0**-s * s_out, scale, rtol=1e-6), "ratios are snapped"
        return numerics.requantise(acc, m, s, 16 if np.all(s_out == residual) else 8)

    width = block.attn.heads * block.attn.head_dim
    out_scale = np.repeat([q[f"blocks.0.attn.{n}_quant"].scale.number for n in "qkv"], width)
    qkv = requantised(block.attn.qkv, at("blocks.0.norm1.quant"), block.norm1.quant.scale.number, out_scale)
    torch_qkv = np.concatenate([at(f"blocks.0.attn.{n}_quant") for n in "qkv"], axis=-1)
    assert np.abs(qkv - torch_qkv).max() <= 1 and np.mean(qkv != torch_qkv) < 1e-3

    def heads(name: str) -> np.ndarray:
        value = at(f"blocks.0.attn.{name}_quant")
        return value.reshape(*value.shape[:2], block.attn.heads, -1).swapaxes(1, 2)

    a = block.attn
    product = a.q_quant.scale.number * a.k_quant.scale.number
    lm, ls = numerics.snap_ratio(product / a.logit_quant.scale.number)
    num, t = numerics.reciprocal_constant(a.v_quant.scale.number / a.out_quant.scale.number)
    constants = numerics.AttentionConstants(int(lm), ls, 8, num, t, 8)
    table = numerics.exp_table(a.logit_quant.scale.number)
    out, scores = numerics.attention(heads("q"), heads("k"), heads("v"), table, constants)
    torch_out = at("blocks.0.attn.out_quant")
    assert np.abs(out - torch_out).max() <= 1 and np.mean(out != torch_out) < 1e-2
    assert np.array_equal(scores, seen["blocks.0.drop.s"]), "token scores are exact integers"

    dm, ds = numerics.head_mean_constant(a.heads)
    x_codes = np.rint(seen["blocks.0.drop.x"].astype(np.float64) / residual).astype(np.int64)
    dropped = numerics.token_drop(x_codes, scores, block.drop.k, dm, ds)
    assert np.array_equal(np.rint(seen["blocks.0.drop"].astype(np.float64) / residual), dropped)
    assert len({tuple(r) for r in numerics.rank_tokens(scores, block.drop.k).tolist()}) > 1, "depends on the image"


def test_frozen_exp_tables_lie_away_from_ties():
    model, _ = frozen_tiny()
    for block in model.blocks:
        assert exp_tie_distance(block.attn.logit_quant.scale.number) > 1e-3


@torch.no_grad()
def test_freezing_changes_almost_nothing():
    teacher = tiny_timm()
    model = loaded(teacher)
    batch = images(64, model.config)
    model.calibrate(batch)
    before, after = model(batch), freeze(model)(batch)
    assert float((before - after).norm() / before.norm()) < 0.03


@torch.no_grad()
def test_residual_scale_is_a_quarter_of_the_range_and_saturations_are_counted():
    model, batch = frozen_tiny()
    largest = max(np.abs(codes(v, model.quantizers()[k])).max() for k, v in record(model, batch).items() if k.endswith("add2_quant"))
    assert largest <= 1.1 * 2**14
    with model.counting_saturations() as counts:
        model(batch)
    assert sum(counts.values()) == 0
    model.residual_scale.set(model.residual_scale.number / 16)
    with model.counting_saturations() as counts:
        model(batch)
    assert sum(counts.values()) > 0


def test_token_score_and_drop_gradients_reach_attention_and_tokens():
    e = torch.rand(2, 3, 6, requires_grad=True)
    s = token_scores(e, None)
    assert torch.equal(s, s.round())
    x = (torch.randint(-100, 100, (2, 6, 8)) / 64.0).requires_grad_()
    DropTokens(2, 1, ActScale(1 / 64, learned=False))(x, s, 3)[:, -1].sum().backward()
    keep = torch.from_numpy(numerics.rank_tokens(s.detach().long().numpy(), 2))
    assert bool((x.grad[keep] == 0).all()) and bool((x.grad[~keep] != 0).all())
    assert float(e.grad.abs().sum()) > 0


def test_act_quant_picks_a_clipping_point_below_an_outlier():
    quantizer = ActQuant(4)
    values = torch.cat([torch.linspace(-1, 1, 4000), torch.tensor([2.0])])
    quantizer.start_observing()
    assert torch.equal(quantizer(values), values)
    quantizer.finish_observing()
    assert 0.9 < quantizer.scale.number * 7 < 1.6
    codes = torch.round(quantizer(values).detach() / quantizer.scale.value.detach()).long()
    assert torch.equal(codes.unique(), torch.arange(-8, 8)) or codes.abs().max() <= 8


@pytest.mark.parametrize("bits, signed, narrow", [(8, True, False), (8, False, False), (4, True, True)])
def test_one_function_quantises_and_differentiates_as_brevitas_does(bits, signed, narrow):
    from brevitas.core.function_wrapper import Identity
    from brevitas.core.quant import IntQuant

    from finn_vitprune.models.quantizers import RoundClamp

    x = torch.randn(500, generator=torch.Generator().manual_seed(bits)) * 40
    results = []
    for module in (RoundClamp(signed, narrow), IntQuant(narrow, signed, Identity())):
        values, scale = x.clone().requires_grad_(), torch.tensor(0.37, requires_grad=True)
        y = module(scale, torch.tensor(0.0), torch.tensor(float(bits)), values)
        (y * torch.arange(500.0)).sum().backward()
        results.append((y.detach(), values.grad, scale.grad))
    (y, grad, to_scale), (y_brevitas, grad_brevitas, to_scale_brevitas) = results
    assert torch.equal(y, y_brevitas) and y.unique().numel() > 8
    assert torch.allclose(grad, grad_brevitas, rtol=1e-5, atol=0) and 0 < int((grad == 0).sum()) < 499
    assert to_scale == pytest.approx(float(to_scale_brevitas), rel=1e-4)


def test_a_float_student_is_the_float_network_with_the_same_drops():
    """Switched off, quantisation changes nothing but rounding; switched on again, codes are back."""
    model, images = dropping_model()
    quantised = model(images)
    model.quantise(False)
    floats = model(images)
    assert not torch.equal(quantised, floats)
    assert (quantised - floats).abs().max() < 0.2 * floats.abs().max()
    model.quantise(True)
    assert torch.equal(model(images), quantised)


def test_token_keep_can_be_changed_for_training():
    model, images = dropping_model()
    sizes = []
    handle = model.blocks[-1].register_forward_hook(lambda m, args, out: sizes.append(args[0].shape[1]))
    for rate in ("1", "0.75", "0.5"):
        model.set_token_keep(rate)
        model(images)
    handle.remove()
    assert sizes == [17, 14, 10]


def dropping_model():
    torch.manual_seed(2)
    config = ViTConfig.dense(8, 1, 2, 32, 2, 2, 10).with_token_drop("0.5", (1,))
    model = PrunedViT(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim >= 2:
                p.normal_(0, 0.15)
        model.patch_embed.weight.div_(64)
    images = torch.randint(0, 256, (8, 8, 8, 1), generator=torch.Generator().manual_seed(1)).float()
    model.calibrate(images)
    return model, images


@pytest.mark.parametrize(
    "name, reason",
    [
        ("vit_small_patch16_18x2_224", "its encoders are ParallelThingsBlock"),
        ("vit_small_patch8_224", "it has no classifier"),
        ("vit_base_patch16_siglip_224", "it has no classifier"),
        ("resnet18", "it is not a VisionTransformer of timm"),
    ],
)
def test_timm_models_of_another_kind_are_refused_by_name(name, reason):
    import timm

    with torch.device("meta"):
        model = timm.create_model(name)
    with pytest.raises(UserError, match=reason):
        config_of_timm(model)
