"""timm ViT/DeiT weights into :class:`PrunedViT`: affine LayerNorm and pixel scaling folded into matrices."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import timm
import torch
from timm.layers import AttentionPoolLatent, GluMlp, Mlp, RmsNorm, SwiGLU
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from finn_vitprune.errors import UserError
from finn_vitprune.models.config import MAX_PREFIX, EncoderShape, MlpActivation, NormKind, PoolerShape, Pooling, ViTConfig
from finn_vitprune.models.pooling import AttentionPool
from finn_vitprune.models.vit import ACTIVATIONS, Attention, PrunedViT

IGNORED = ("head_dist.",)
"""Parts of a timm state dict that are not used: a distilled model answers with ``head`` alone."""
POOLINGS = {
    "token": (Pooling.CLASS, Pooling.CLASS),
    "avg": (Pooling.PATCHES, Pooling.ALL),
    "map": (Pooling.ATTENTION_PATCHES, Pooling.ATTENTION),
}
"""By timm's ``global_pool``: without and with ``pool_include_prefix``."""
NORMS: dict[NormKind, tuple[type[nn.Module], ...]] = {NormKind.LAYER: (nn.LayerNorm,), NormKind.RMS: (RmsNorm, nn.RMSNorm)}
"""The modules of each kind."""
PREFIX_TOKENS = ("cls_token", "dist_token", "reg_token")
"""timm's names of prefix tokens ``[1, count, D]``, in the order of their rows."""


def config_of_timm(model: nn.Module, **bits: int) -> ViTConfig:
    """The :class:`ViTConfig` of a timm ``VisionTransformer`` (plain or distilled).

    Raises:
        UserError: the model has a part that this project has no hardware for.
    """
    problem = _unsupported(model)
    if problem:
        raise UserError(f"timm model {type(model).__name__} is not supported: {problem}")
    block, proj = model.blocks[0], model.patch_embed.proj
    assert isinstance(block, Block) and isinstance(block.mlp, Mlp | SwiGLU)
    activation, norm = _activation(block.mlp.act), _norm_kind(block.norm1)
    assert activation is not None and norm is not None  # others are not supported
    height, _width = model.patch_embed.img_size
    return ViTConfig(
        image_size=height,
        channels=proj.in_channels,
        patch_size=proj.kernel_size[0],
        dim=model.embed_dim,
        head_dim=block.attn.head_dim,
        classes=model.head.out_features,
        encoders=tuple(EncoderShape(b.attn.num_heads, b.mlp.fc2.in_features) for b in model.blocks),
        prefix=model.num_prefix_tokens,
        eps=float(block.norm1.eps),
        pooling=_pooling(model),
        norm_after_pooling=not isinstance(model.fc_norm, nn.Identity),
        activation=activation,
        gated=isinstance(block.mlp, SwiGLU),
        norm_pre=not isinstance(model.norm_pre, nn.Identity),
        final_norm=not all(isinstance(norm, nn.Identity) for norm in (model.norm, model.fc_norm)),
        rotary=None,
        position_bias=False,
        pooler=_pooler(model),
        norm=norm,
        qk_norm=_norm_kind(block.attn.q_norm),
        **bits,
    )


def config_of_name(name: str) -> ViTConfig:
    """The :class:`ViTConfig` of the timm model ``name``, without making its weights.

    Raises:
        UserError: no such model, or one that this project has no hardware for.
    """
    if not timm.is_model(name):
        raise UserError(f"{name} is neither a file nor a timm model{near(name, ('*deit*', 'vit_*'))}")
    try:
        with torch.device("meta"):
            network = timm.create_model(name)
    except RuntimeError as e:  # an unknown tag after the dot
        raise UserError(f"timm model {name}: {e}") from e
    if not isinstance(network, VisionTransformer):
        raise UserError(f"timm model {name} is not a plain ViT or DeiT ({type(network).__name__})")
    try:
        return config_of_timm(network)
    except AttributeError as e:
        raise UserError(f"timm model {name} has encoders or a classifier of another form ({e})") from e


def near(name: str, kinds: tuple[str, ...] = ("",)) -> str:
    """The timm models that ``name`` may be meant for, as the end of a message."""
    found = difflib.get_close_matches(name, [model for kind in kinds for model in timm.list_models(kind)], n=3)
    return f", did you mean {', '.join(found)}?" if found else ""


def _pooling(model: nn.Module) -> Pooling:
    """What the classifier reads; without prefix tokens the patches are all tokens, a mean over "the patches", attention to "all"."""
    patches, whole = POOLINGS[getattr(model, "global_pool", "token")]
    if not model.num_prefix_tokens:
        return whole if whole.attends else patches
    return whole if getattr(model, "pool_include_prefix", False) else patches


def _pooler(model: nn.Module) -> PoolerShape | None:
    """The shape of attention pooling."""
    pool: Any = getattr(model, "attn_pool", None)
    return None if pool is None else PoolerShape(pool.num_heads, pool.head_dim, pool.mlp.fc1.out_features)


def _unsupported_pool(model: VisionTransformer, block: Block, activation: MlpActivation | None) -> str | None:
    """Why the attention pooling of a model with encoders that are supported, such as ``block``, cannot be built, or None."""
    pool = model.attn_pool
    if not isinstance(pool, AttentionPoolLatent):
        return f"its pooling is {type(pool).__name__}"
    kind = _norm_kind(block.norm1)
    if not isinstance(pool.mlp, Mlp) or kind is None or _norm_kind(pool.norm) is not kind:
        return f"its attention pooling has no MLP with a {(kind or NormKind.LAYER).text}"
    checks = [
        (pool.latent_len != 1, f"its attention pooling has {pool.latent_len} queries, not one"),
        (pool.pos_embed is not None, "its attention pooling has positions of its own"),
        (not all(isinstance(norm, nn.Identity) for norm in (pool.q_norm, pool.k_norm)), "its attention pooling normalises queries and keys"),
        (pool.norm.eps != block.norm1.eps, f"eps {pool.norm.eps:g} of a LayerNorm in its attention pooling, {block.norm1.eps:g} of others"),
        (_activation(pool.mlp.act) is not activation, "its attention pooling has another activation than its encoders"),
        (isinstance(model.norm, nn.Identity), "its attention pooling reads tokens without a LayerNorm"),
        (not isinstance(model.fc_norm, nn.Identity), "it has a norm after attention pooling"),
    ]  # fmt: skip
    return next((text for bad, text in checks if bad), None)


def _norm_kind(module: object) -> NormKind | None:
    """Which one a module is; None of others."""
    return next((kind for kind, classes in NORMS.items() if isinstance(module, classes)), None)


def _unsupported_norm(model: VisionTransformer, block: Block) -> str | None:
    """Why the norms of a model with encoders such as ``block`` cannot be built, or None: all are of one kind."""
    kind, known = _norm_kind(block.norm1), " or ".join(kind.text for kind in NormKind)
    if kind is None:
        return f"its norms are {type(block.norm1).__name__}, not {known}"
    places = (
        ("its norm before the encoders", model.norm_pre), ("the norm before its MLPs", block.norm2), ("its last norm", model.norm),
        ("its last norm", model.fc_norm),
    )  # fmt: skip
    others = ((place, m) for place, m in places if not isinstance(m, nn.Identity) and _norm_kind(m) is not kind)
    return next((f"{place} is {type(m).__name__}, others are {kind.text}" for place, m in others), None)


def _activation(module: nn.Module) -> MlpActivation | None:
    """Which one a module is, by its values; None of others."""
    if any(True for _ in module.parameters()):
        return None
    x = torch.linspace(-8, 8, 129)
    values = module(x.clone())  # some work in place
    return next((a for a, function in ACTIVATIONS.items() if torch.allclose(values, function(x), rtol=0, atol=1e-5)), None)


def _unsupported(model: nn.Module) -> str | None:
    """Why a timm model cannot be built, or None."""
    if not isinstance(model, VisionTransformer):
        return "it is not a VisionTransformer of timm"
    block = model.blocks[0]
    if not isinstance(block, Block):
        return f"its encoders are {type(block).__name__}"
    if isinstance(block.mlp, GluMlp):
        return "its MLP is GluMlp, of which weights do not say which half is the gate: use SwiGLU, or import it from a file"
    if not isinstance(block.mlp, Mlp | SwiGLU):
        return f"its MLP is {type(block.mlp).__name__}"
    height, width = model.patch_embed.img_size
    pool = getattr(model, "global_pool", "token")
    checks = [
        (not isinstance(model.head, nn.Linear), "it has no classifier"),
        (height != width, f"images of {height} x {width} are not square"),
        (pool not in POOLINGS, f"global_pool is {pool!r}, not {', '.join(map(repr, POOLINGS))}"),
        (model.num_prefix_tokens > MAX_PREFIX, f"it has {model.num_prefix_tokens} prefix tokens, at most {MAX_PREFIX} can be"),
        (
            not isinstance(block.attn.q_norm, nn.Identity) and _norm_kind(block.attn.q_norm) is None,
            f"its queries have a {type(block.attn.q_norm).__name__}, not {' or '.join(kind.text for kind in NormKind)}",
        ),
        (
            _norm_kind(block.attn.k_norm) is not _norm_kind(block.attn.q_norm),
            f"its keys have a {type(block.attn.k_norm).__name__}, its queries a {type(block.attn.q_norm).__name__}",
        ),
        (not isinstance(block.attn.norm, nn.Identity), "its attention has a norm before the projection"),
        (not isinstance(getattr(block, "ls1", nn.Identity()), nn.Identity), "it has layer scale"),
        (
            _activation(block.mlp.act) is None,
            f"its activation is {type(block.mlp.act).__name__}, not {', '.join(a.text for a in MlpActivation)}",
        ),
        (not isinstance(block.mlp.norm, nn.Identity), "its MLP has a norm between its layers"),
        (pool == "map" and isinstance(block.mlp, SwiGLU), "it has attention pooling beside gated MLPs"),
        (pool == "token" and not isinstance(model.fc_norm, nn.Identity), "it has a norm after the class token"),
    ]
    problem = next((text for bad, text in checks if bad), None) or _unsupported_norm(model, block)
    return _unsupported_pool(model, block, _activation(block.mlp.act)) if problem is None and pool == "map" else problem


@torch.no_grad()
def load_timm(model: PrunedViT, state: Mapping[str, Tensor], mean: Sequence[float], std: Sequence[float]) -> None:
    """Load a timm state dict into ``model`` (which must have all heads and neurons of it).

    Gamma and beta of every norm go into the following matrix and bias (of the one before the encoders, and of those of queries and keys, into
    its own), 1/sqrt(D') into W_q and b_q or into that of the queries' norm, ``(pixel / 255 - mean) / std`` into the patch embedding.

    Args:
        state: keys of timm's ``VisionTransformer`` or ``VisionTransformerDistilled``; ``pos_embed`` has a row for every token, or
            one for every patch (timm's ``no_embed_class``). Of a network with rotary position embedding, ``blocks.<i>.attn.rotary.cos``
            and ``.sin`` ``[T, N, D' / 2]`` besides, with the pairs of channels side by side; with relative position bias
            ``blocks.<i>.attn.position_bias`` ``[H, N, N]``. Of gated MLPs ``mlp.fc1_g`` and ``mlp.fc1_x``
            (timm's ``SwiGLU``).
        mean, std: one value per channel, for pixels scaled to 0..1.
    Raises:
        UserError: a tensor is missing, left over, or has the wrong shape.
    """
    state = {k: v.detach().float() for k, v in state.items() if not k.startswith(IGNORED)}
    used: set[str] = set()

    def take(name: str, shape: tuple[int, ...] | None = None) -> Tensor:
        if name not in state:
            raise UserError(f"timm state dict lacks {name}")
        used.add(name)
        if shape is not None and tuple(state[name].shape) != tuple(shape):
            raise UserError(f"timm state dict: {name} is {list(state[name].shape)}, expected {list(shape)}")
        return state[name]

    def beta(norm: str) -> Tensor:
        name = f"{norm}.bias"  # an RMSNorm has none as a rule
        return take(name) if name in state else torch.zeros_like(take(f"{norm}.weight"))

    def linear(target: nn.Module, name: str, norm: str | None = None, rows: slice = slice(None)) -> None:
        weight = take(f"{name}.weight", target.weight[rows].shape)
        bias = take(f"{name}.bias") if f"{name}.bias" in state else torch.zeros(target.weight.shape[0])
        if norm is not None:  # (x gamma + beta) W^T + b as one matrix and bias on x
            weight, bias = weight * take(f"{norm}.weight"), bias + weight @ beta(norm)
        target.weight[rows].copy_(weight)
        target.bias[rows].copy_(bias)

    c = model.config
    patches = take("patch_embed.proj.weight", (c.dim, c.channels, c.patch_size, c.patch_size))
    name = "patch_embed.proj.bias"  # CLIP's has none
    _load_patch_embedding(model, patches, take(name) if name in state else torch.zeros(c.dim), mean, std)
    _load_tokens(model, state, take)
    if c.norm_pre:
        model.norm_pre.scale.set(take("norm_pre.weight", (c.dim,)), beta("norm_pre"))
    for i, block in enumerate(model.blocks):
        _load_attention(block.attn, f"blocks.{i}", c.head_dim, take, linear, beta)
        for row, name in enumerate(("fc1_g", "fc1_x") if c.gated else ("fc1",)):
            linear(block.mlp.fc1, f"blocks.{i}.mlp.{name}", f"blocks.{i}.norm2", slice(row, None, block.mlp.rows))
        linear(block.mlp.fc2, f"blocks.{i}.mlp.fc2")
    if c.pooler is not None:
        _load_pool(model.attn_pool, state, take, linear)
    linear(model.head, "head", _norm_before_head(c))
    left = sorted(set(state) - used)
    if left:
        raise UserError(f"timm state dict has tensors with no place in the model: {', '.join(left[:4])}")


def _load_attention(
    attn: Attention, place: str, head_dim: int, take: Callable[..., Tensor], linear: Callable[..., None], beta: Callable[[str], Tensor]
) -> None:
    """Attention of the encoder ``place``; 1/sqrt(D') goes into W_q, or into the scale of the queries' norm."""
    linear(attn.qkv, f"{place}.attn.qkv", f"{place}.norm1")
    linear(attn.proj, f"{place}.attn.proj")
    if (norm := attn.qk_norm) is None:
        rows = slice(0, attn.heads * head_dim)
        attn.qkv.weight[rows] *= head_dim**-0.5
        attn.qkv.bias[rows] *= head_dim**-0.5
    else:
        beta(f"{place}.attn.k_norm")  # softmax does not see it
        of_keys = take(f"{place}.attn.k_norm.weight", (head_dim,)) * head_dim**-0.5
        gamma, offset = take(f"{place}.attn.q_norm.weight", (head_dim,)), beta(f"{place}.attn.q_norm")
        norm.scale.set((gamma * of_keys).repeat(attn.heads), (offset * of_keys).repeat(attn.heads))
    if attn.rotary:
        attn.angles.set(*(take(f"{place}.attn.rotary.{name}", attn.angles.shape) for name in ("cos", "sin")))
    if attn.bias is not None:
        attn.bias.table.copy_(take(f"{place}.attn.position_bias", tuple(attn.bias.table.shape)))


def _norm_before_head(config: ViTConfig) -> str | None:
    """timm's name of the LayerNorm whose gamma and beta go into the classifier."""
    if not config.final_norm or config.pooler is not None:
        return None
    return "fc_norm" if config.norm_after_pooling else "norm"


def _load_pool(pool: AttentionPool, state: Mapping[str, Tensor], take: Callable[[str], Tensor], linear: Callable[..., None]) -> None:
    """Attention pooling; its latent is the query itself where no matrix is applied to it."""
    query = take("attn_pool.latent")
    if "attn_pool.q.weight" in state:
        query = query @ take("attn_pool.q.weight").T
    if "attn_pool.q.bias" in state:
        query = query + take("attn_pool.q.bias")
    if query.shape != pool.query.shape:
        raise UserError(f"timm state dict: the query of attn_pool is {list(query.shape)}, expected {list(pool.query.shape)}")
    pool.query.copy_(query * pool.head_dim**-0.5)
    linear(pool.kv, "attn_pool.kv", "norm")
    linear(pool.proj, "attn_pool.proj")
    linear(pool.mlp.fc1, "attn_pool.mlp.fc1", "attn_pool.norm")
    linear(pool.mlp.fc2, "attn_pool.mlp.fc2")


def _load_tokens(model: PrunedViT, state: Mapping[str, Tensor], take: Callable[..., Tensor]) -> None:
    """Prefix tokens and positions; ``take`` gives a tensor of ``state``."""
    c = model.config
    tokens = [take(name) for name in PREFIX_TOKENS if name in state]
    found = sum(token.shape[1] for token in tokens)
    if found != c.prefix:
        raise UserError(f"timm state dict has {found} prefix tokens, the model {c.prefix}")
    if tokens:
        model.prefix_tokens.copy_(torch.cat(tokens, 1))
    of_patches = "pos_embed" in state and state["pos_embed"].shape[1] == c.patches
    model.pos_embed.zero_()
    model.pos_embed[:, c.prefix * of_patches :].copy_(take("pos_embed", (1, c.patches if of_patches else c.tokens, c.dim)))


def _load_patch_embedding(model: PrunedViT, weight: Tensor, bias: Tensor, mean: Sequence[float], std: Sequence[float]) -> None:
    c = model.config
    mean_t, std_t = (torch.tensor(list(v), dtype=weight.dtype).view(1, -1, 1, 1) for v in (mean, std))
    scaled = weight / std_t
    model.patch_embed.weight.copy_((scaled / 255.0).permute(0, 2, 3, 1).reshape(c.dim, c.patch_dim))
    model.patch_embed.bias.copy_(bias - (scaled * mean_t).sum((1, 2, 3)))
