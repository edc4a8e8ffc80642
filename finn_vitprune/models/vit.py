"""The quantised pruned vision transformer, top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finn_vitprune.models.config import (
    LOGIT_BITS,
    PIXEL_BITS,
    RESIDUAL_BITS,
    EncoderShape,
    MlpActivation,
    PoolerShape,
    Pooling,
    Rotary,
    ViTConfig,
)
from finn_vitprune.models.evaluate import hooked
from finn_vitprune.models.gate import Gate
from finn_vitprune.models.layers import (
    DropTokens,
    EntryNorm,
    IntLayerNorm,
    ModulesOf,
    PrunedLinear,
    RotaryTable,
    TokenMean,
    Turn,
    token_scores,
)
from finn_vitprune.models.pooling import AttentionPool
from finn_vitprune.models.position_bias import PositionBias
from finn_vitprune.models.qk_norm import QueryKeyNorm
from finn_vitprune.models.quantizers import ActQuant, ActScale, ResidualQuant
from finn_vitprune.numerics import EXP_MAX, kept_tokens, tokens_after_drop


@dataclass(frozen=True)
class EncoderMask:
    """Masks (1 keeps, 0 prunes) of one encoder in training.

    qkv ``[3 H D', D]``, qkv_bias ``[3 H D']``, proj ``[D, H D']``, proj_bias ``[D]``, heads ``[H]``,
    neurons ``[M]``.
    """

    qkv: Tensor
    qkv_bias: Tensor
    proj: Tensor
    proj_bias: Tensor
    heads: Tensor
    neurons: Tensor


class Attention(nn.Module):
    """Multi-head attention with deferred softmax; 1/sqrt(D') is part of W_q."""

    def __init__(self, config: ViTConfig, shape: EncoderShape, residual: ActScale) -> None:
        super().__init__()
        self.heads, self.head_dim = shape.heads, config.head_dim
        width = shape.heads * config.head_dim
        self.qkv = PrunedLinear(config.dim, 3 * width, config.weight_bits)
        self.q_quant, self.v_quant = ActQuant(config.act_bits), ActQuant(config.act_bits)
        if config.qk_norm is None:
            self.qk_norm, self.k_quant = None, ActQuant(config.act_bits)
        else:
            self.qk_norm = QueryKeyNorm(config, config.qk_norm, shape.heads, self.v_quant)
        self.rotary = config.rotary is not None
        if self.rotary:
            self.angles = RotaryTable(1 if config.rotary is Rotary.SHARED else shape.heads, config.tokens, config.head_dim)
            self.q_turn, self.k_turn = (Turn(self.angles, quant) for quant in (self.q_quant, self.k_quant))
        self.bias = PositionBias(shape.heads, config.tokens, *self.multiplied) if config.position_bias else None
        self.logit_quant = ActQuant(LOGIT_BITS)
        self.exp_quant = ActQuant(8, signed=False, scale=ActScale(1 / EXP_MAX, learned=False))
        self.out_quant = ActQuant(config.act_bits)
        self.proj = PrunedLinear(width, config.dim, config.weight_bits)
        self.proj_quant = ResidualQuant(residual)

    def forward(self, x: Tensor, mask: EncoderMask | None, want_scores: bool) -> tuple[Tensor, Tensor | None]:
        """x ``[B, N, D]`` -> branch result ``[B, N, D]`` at residual scale, and scores ``[B, N]``."""
        batch, tokens, _ = x.shape
        masked = (None, None) if mask is None else (mask.qkv, mask.qkv_bias)
        q, k, v = self.qkv(x, *masked).split(self.heads * self.head_dim, dim=-1)
        heads = (batch, tokens, self.heads, self.head_dim)
        if self.qk_norm is not None:
            q, k, v = self.qk_norm(q, k, v)
        q = self.q_quant(q).reshape(heads).transpose(1, 2)
        k = self.k_quant(k).reshape(heads) if self.qk_norm is None else k
        if self.rotary:
            q, k = self.q_turn(q), self.k_turn(k.transpose(1, 2)).transpose(2, 3)
        else:
            k = k.permute(0, 2, 3, 1)
        v = (self.v_quant(v).reshape(heads) if self.qk_norm is None else self.v_quant(v)).transpose(1, 2)
        products = q @ k
        logits = self.logit_quant(products if self.bias is None else self.bias(products))
        e = self.exp_quant(torch.exp(logits - logits.amax(-1, keepdim=True)))
        out = self.out_quant((e @ v) / e.sum(-1, keepdim=True))
        live = None if mask is None else mask.heads
        if live is not None:
            out = out * live.view(1, -1, 1, 1)
        out = out.transpose(1, 2).reshape(batch, tokens, self.heads * self.head_dim)
        masked = (None, None) if mask is None else (mask.proj, mask.proj_bias)
        scores = token_scores(e[:, :, 0], live) if want_scores else None
        return self.proj_quant(self.proj(out, *masked)), scores

    @property
    def projected(self) -> tuple[ActQuant, ActQuant, ActQuant]:
        """The quantisers of queries, keys and values as the matrix makes them."""
        n = self.qk_norm
        return (self.q_quant, self.k_quant, self.v_quant) if n is None else (n.q_wide, n.k_wide, n.v_wide)

    @property
    def multiplied(self) -> tuple[ActQuant, ActQuant]:
        """The quantisers of queries and keys as they are multiplied."""
        return self.q_quant, self.k_quant if self.qk_norm is None else self.qk_norm.k_norm.quant


ACTIVATIONS: dict[MlpActivation, Callable[[Tensor], Tensor]] = {
    MlpActivation.GELU: F.gelu,
    MlpActivation.GELU_TANH: partial(F.gelu, approximate="tanh"),
    MlpActivation.QUICK_GELU: lambda x: x * torch.sigmoid(1.702 * x),
    MlpActivation.SILU: F.silu,
    MlpActivation.RELU: F.relu,
    MlpActivation.SIGMOID: torch.sigmoid,
}


class Mlp(nn.Module):
    """Two linear layers with an activation between two quantisers (a table over codes in hardware).

    With gates, rows 2i and 2i + 1 of fc1 are the gate and the value of neuron i (:class:`Gate`).
    """

    def __init__(self, config: ViTConfig, shape: EncoderShape | PoolerShape, residual: ActScale, gated: bool = False) -> None:
        super().__init__()
        self.rows = 2 if gated else 1
        """Of fc1, for each neuron."""
        self.fc1 = PrunedLinear(config.dim, self.rows * shape.neurons, config.weight_bits)
        self.pre_quant = ActQuant(config.act_bits)
        self.act_quant = ActQuant(config.act_bits, lowest=None if gated else config.activation.lowest)
        self.activation = ACTIVATIONS[config.activation]
        self.gate = Gate(config.activation, self.activation, self.pre_quant, self.act_quant) if gated else None
        self.fc2 = PrunedLinear(shape.neurons, config.dim, config.weight_bits)
        self.fc2_quant = ResidualQuant(residual)

    def forward(self, x: Tensor, mask: EncoderMask | None) -> Tensor:
        """x ``[B, N, D]`` -> branch result at residual scale."""
        rows = None if mask is None else self.rows_of(mask.neurons)
        hidden = self.fc1(x, None if rows is None else rows.unsqueeze(1), rows)
        if self.gate is None:
            hidden = self.act_quant(self.activation(self.pre_quant(hidden)))
        else:
            activated = self.activation(self.pre_quant(hidden[..., ::2]))
            hidden = self.act_quant(*self.gate(activated, hidden[..., 1::2]))
        return self.fc2_quant(self.fc2(hidden, None if mask is None else mask.neurons.unsqueeze(0)))

    def rows_of(self, neurons: Tensor) -> Tensor:
        """What is said of each neuron ``[M]`` for each row of fc1."""
        return neurons.repeat_interleave(self.rows)


class Encoder(nn.Module):
    """Pre-norm encoder: attention, residual add, optional token drop, MLP, residual add."""

    def __init__(self, config: ViTConfig, shape: EncoderShape, residual: ActScale) -> None:
        super().__init__()
        self.norm1 = IntLayerNorm(config.dim, config.eps, config.act_bits, residual, config.norm)
        self.attn = Attention(config, shape, residual)
        self.add1_quant = ResidualQuant(residual)
        self.drop = None if shape.keep is None else DropTokens(shape.keep, config.protected, residual)
        self.norm2 = IntLayerNorm(config.dim, config.eps, config.act_bits, residual, config.norm)
        self.mlp = Mlp(config, shape, residual, config.gated)
        self.add2_quant = ResidualQuant(residual)

    def forward(self, x: Tensor, mask: EncoderMask | None = None) -> Tensor:
        branch, scores = self.attn(self.norm1(x), mask, want_scores=self.drop is not None)
        x = self.add1_quant(x + branch)
        if self.drop is not None:
            live = self.attn.heads if mask is None else int(mask.heads.sum())
            x = self.drop(x, scores, live)
        return self.add2_quant(x + self.mlp(self.norm2(x), mask))


class PrunedViT(nn.Module):
    """Quantised DeiT/ViT on uint8 images ``[B, H, W, C]`` (as floats) -> logits ``[B, classes]``.

    Integers from the pixels to the logits, as docs/numerics.md defines them. Weights come from a timm
    state dict through :func:`finn_vitprune.models.timm_weights.load_timm`.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.residual_scale = ActScale(2.0**-10, learned=False)
        self.pixel_quant = ActQuant(PIXEL_BITS, signed=False, scale=ActScale(1.0, learned=False))
        outer_bits = config.outer_bits or config.weight_bits
        self.patch_embed = PrunedLinear(config.patch_dim, config.dim, outer_bits)
        self.prefix_tokens = nn.Parameter(torch.zeros(1, config.prefix, config.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.tokens, config.dim))
        if config.norm_pre:
            self.entry_scale = ActScale(2.0**-10, learned=False)
        self.patch_quant, self.prefix_quant, self.pos_quant, self.embed_quant = (ResidualQuant(self.embed_scale) for _ in range(4))
        if config.norm_pre:
            self.norm_pre = EntryNorm(config.dim, config.eps, self.embed_scale, self.residual_scale, config.norm)
        self.blocks: ModulesOf[Encoder] = ModulesOf(Encoder(config, s, self.residual_scale) for s in config.encoders)
        before_norm = self.residual_scale
        if config.pools_mean:
            of_residual = self.residual_scale if config.norm_after_pooling else None
            tokens = config.token_counts()[-1][1]
            self.pool = TokenMean(tokens, config.first_pooled, config.act_bits, of_residual)
            before_norm = self.pool.quant.scale if config.norm_after_pooling else before_norm
        if config.final_norm:
            self.norm = IntLayerNorm(config.dim, config.eps, config.act_bits, before_norm, config.norm)
        if config.pooler is not None:
            self.pool_scale = ActScale(2.0**-10, learned=False)
            self.attn_pool = AttentionPool(config, config.pooler, Mlp(config, config.pooler, self.pool_scale), self.pool_scale)
        if config.pooler is not None or (config.pooling is Pooling.CLASS and not config.final_norm):
            self.class_quant = ActQuant(config.act_bits)
        self.head = PrunedLinear(config.dim, config.classes, outer_bits, per_channel=False)

    def patchify(self, images: Tensor) -> Tensor:
        """``[B, H, W, C]`` -> ``[B, P, p p C]``: patches row-major, inside a patch (y, x, c)."""
        c, batch = self.config, images.shape[0]
        side = c.image_size // c.patch_size
        x = images.reshape(batch, side, c.patch_size, side, c.patch_size, c.channels)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(batch, c.patches, c.patch_dim)

    def embed(self, images: Tensor) -> Tensor:
        """Images to the residual stream that enters the first encoder."""
        x = self.patch_quant(self.patch_embed(self.patchify(self.pixel_quant(images))))
        if self.config.prefix:
            prefix = self.prefix_quant(self.prefix_tokens)
            if images.shape[0] != 1:
                prefix = prefix.expand(images.shape[0], -1, -1)
            x = torch.cat([prefix, x], dim=1)
        x = self.embed_quant(x + self.pos_quant(self.pos_embed))
        return self.norm_pre(x) if self.config.norm_pre else x

    def forward(self, images: Tensor, masks: Iterable[EncoderMask] | None = None) -> Tensor:
        x = self.embed(images)
        wanted: Iterable[EncoderMask | None] = [None] * len(self.blocks) if masks is None else masks
        for block, mask in zip(self.blocks, wanted, strict=True):
            x = block(x, mask)
        return self.head(self.pooled(x)).flatten(1)

    def pooled(self, x: Tensor) -> Tensor:
        """The last residual sum ``[B, N, D]`` to what the classifier reads ``[B, 1, D]``."""
        c = self.config
        if c.pooling.attends:
            read = x[:, c.first_pooled :] if c.first_pooled else x
            return self.class_quant(self.attn_pool(self.norm(read)))
        if c.pooling is Pooling.CLASS:
            return self.norm(x[:, :1]) if c.final_norm else self.class_quant(x[:, :1])
        if c.norm_after_pooling:
            return self.norm(self.pool(x))
        return self.pool(self.norm(x) if c.final_norm else x)

    @property
    def embed_scale(self) -> ActScale:
        """The scale of the embedded tokens: the residual stream's, unless a LayerNorm stands between the two."""
        return self.entry_scale if self.config.norm_pre else self.residual_scale

    @property
    def head_quant(self) -> ActQuant:
        """The quantiser of what the classifier reads."""
        c = self.config
        if c.pools_mean and not c.norm_after_pooling:
            return self.pool.quant
        return self.norm.quant if c.final_norm and c.pooler is None else self.class_quant

    @property
    def stream_scales(self) -> tuple[ActScale, ...]:
        """The scales of the INT16 streams: of the encoders, and where they have their own of the embedded tokens, of attention pooling, and of
        queries and keys before their norms."""
        found = [self.residual_scale]
        found += [self.entry_scale] if self.config.norm_pre else []
        found += [self.pool_scale] if self.config.pooler is not None else []
        norms = (block.attn.qk_norm for block in self.blocks)
        found += [scale for norm in norms if norm is not None for scale in (norm.q_scale, norm.k_scale)]
        return tuple(found)

    # --- switches of training ---

    def quantise(self, on: bool) -> None:
        """Switch quantisation of weights and activations on or off (a float network with the same drops)."""
        for module in self.modules():
            if isinstance(module, ActQuant | PrunedLinear | DropTokens):
                module.quantised = on

    def set_token_keep(self, rate: float | str) -> None:
        """Let every token drop keep the share ``rate`` of its tokens, counted down the encoders."""
        tokens, prefix = self.config.tokens, self.config.protected
        for block in self.blocks:
            if block.drop is not None:
                block.drop.k = kept_tokens(rate, tokens, prefix)
                tokens = tokens_after_drop(tokens, block.drop.k, prefix)

    # --- scales ---

    def quantizers(self) -> dict[str, ActQuant]:
        """Every activation quantiser by its module name."""
        return {name: m for name, m in self.named_modules() if isinstance(m, ActQuant)}

    def linears(self) -> dict[str, PrunedLinear]:
        """Every linear layer by its module name."""
        return {name: m for name, m in self.named_modules() if isinstance(m, PrunedLinear)}

    @torch.no_grad()
    def calibrate(self, images: Tensor, masks: list[EncoderMask] | None = None, batch: int = 128) -> None:
        """Set every activation scale from float values of ``images``; INT16 scales as :meth:`calibrate_residual`."""
        with self._observed(ActQuant) as observed:
            for name in [n for n in observed if n.endswith(("pixel_quant", "exp_quant"))]:
                observed.pop(name).observing = False
            for start in range(0, len(images), batch):
                self(images[start : start + batch], masks)
        self.calibrate_residual(images, masks, batch)

    @torch.no_grad()
    def calibrate_residual(self, images: Tensor, masks: list[EncoderMask] | None = None, batch: int = 128) -> float:
        """Set :attr:`stream_scales` to max|x| / 2^14 over ``images`` (1 where all x are 0), at the scales of everything else; returns that of the encoders."""
        with self._observed(ResidualQuant) as observed:
            for start in range(0, len(images), batch):
                self(images[start : start + batch], masks)
        for scale in self.stream_scales:
            largest = max(q.largest for q in observed.values() if q.scale is scale)
            scale.set((largest or 1.0) / 2.0 ** (RESIDUAL_BITS - 2))
        return self.residual_scale.number

    @contextmanager
    def _observed(self, kind: type[ActQuant]) -> Iterator[dict[str, ActQuant]]:
        training, chosen = self.training, {n: q for n, q in self.quantizers().items() if isinstance(q, kind)}
        self.eval()
        for quantizer in chosen.values():
            quantizer.start_observing()
        try:
            yield chosen
        finally:
            for quantizer in chosen.values():
                quantizer.finish_observing()
            self.train(training)

    @contextmanager
    def counting_saturations(self) -> Iterator[dict[str, int]]:
        """Counts values that the residual quantisers clip while the context is open."""
        chosen = {name: q for name, q in self.quantizers().items() if isinstance(q, ResidualQuant)}
        counts = dict.fromkeys(chosen, 0)

        def hook(name: str, module: ResidualQuant, args: tuple[Tensor, ...]) -> None:
            counts[name] += module.outside(args[0])

        with hooked(q.register_forward_pre_hook(partial(hook, name)) for name, q in chosen.items()):
            yield counts
