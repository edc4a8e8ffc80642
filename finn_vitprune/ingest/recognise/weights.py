"""Shapes and weights of a matched network, under timm's names and with timm's arithmetic."""

from __future__ import annotations

import numpy as np

from finn_vitprune.graph.node import Rejection
from finn_vitprune.ingest.normal_form.terms import Attended, Columns, HeadNorm, HeadView, Linear, Norm, Term
from finn_vitprune.ingest.recognise.network import (
    ACTIVATIONS,
    AttentionBranch,
    FoundNetwork,
    MlpBranch,
    NotRecognised,
    PoolBranch,
    RecognisedViT,
    residual_rows,
)
from finn_vitprune.models.config import EncoderShape, NormKind, PoolerShape, Pooling, Rotary, ViTConfig

EXACT = 1e-5
"""Relative difference of a scale that counts as none: constants are float32 or half precision."""


def gather(network: FoundNetwork) -> RecognisedViT:
    """The network as shapes and weights.

    Raises:
        NotRecognised: encoders differ in what must be the same, or a weight is infinite.
    """
    e, c = network.embedding, network.classifier
    weights = _embedding_weights(network)
    if network.entry is not None:
        _norm(weights, "norm_pre", network.entry)
    shapes = []
    for i, (attention, mlp) in enumerate(network.encoders):
        shapes.append(_attention(weights, f"blocks.{i}", attention))
        _mlp(weights, f"blocks.{i}", mlp)
    if c.norm is not None:
        _norm(weights, "fc_norm" if c.norm_after_pooling else "norm", c.norm)
    pooler = None
    if c.pool is not None:
        pooler = PoolerShape(*_pool(weights, c.pool), c.pool.mlp.neurons)
    for name, head in zip(("head", "head_dist"), c.heads):
        _linear(weights, name, head)
    _check_finite(weights)
    pairs = network.encoders
    mlps = [m for _, m in pairs] + ([] if c.pool is None else [c.pool.mlp])
    config = ViTConfig(
        image_size=e.image_size,
        channels=e.channels,
        patch_size=e.patch_size,
        dim=e.layer.columns,
        head_dim=_same([d for _, d in shapes], network, "head width"),
        classes=c.heads[0].columns,
        encoders=tuple(EncoderShape(h, m.neurons) for (h, _), (_, m) in zip(shapes, pairs, strict=False)),
        prefix=e.prefix,
        eps=_same_eps(network),
        pooling=_pooling(network),
        norm_after_pooling=c.norm_after_pooling,
        norm=_norm_kind(network),
        qk_norm=_qk_norm(network),
        norm_pre=network.entry is not None,
        final_norm=c.norm is not None,
        rotary=_rotary(weights, network),
        position_bias=_position_bias(weights, network),
        activation=_same([ACTIVATIONS[m.activation.name] for m in mlps], network, "activation"),
        gated=_gated(network),
        pooler=pooler,
    )
    return RecognisedViT(
        config,
        scaling=e.scaling,
        channels_last=e.channels_last,
        layer_scale=any(layer.scaled for layer in (*(a.proj for a, _ in pairs), *(m.fc2 for m in mlps))),
        distilled_head=len(c.heads) == 2,
        output=network.output,
        probabilities=c.probabilities is not None,
        weights=weights,
    )


def _rotary(weights: dict[str, np.ndarray], network: FoundNetwork) -> Rotary | None:
    """Add the tables of all encoders, tokens in this project's order, to ``weights``."""
    angles = [a.attended.probabilities.scores.angles for a, _ in network.encoders]
    _same([a is not None for a in angles], network, "rotary position embedding")
    found = [a for a in angles if a is not None]
    if not found:
        return None
    rotary = Rotary.SHARED if all(a.tables == 1 for a in found) else Rotary.HEADS
    for i, (own, (attention, _)) in enumerate(zip(found, network.encoders, strict=True)):
        heads = len(attention.attended.v.columns) if rotary is Rotary.HEADS else 1
        for name, table in (("cos", own.cos), ("sin", own.sin)):
            in_order = np.asarray(table[:, network.embedding.rows], np.float32)
            weights[f"blocks.{i}.attn.rotary.{name}"] = np.ascontiguousarray(np.broadcast_to(in_order, (heads, *in_order.shape[1:])))
    return rotary


def _position_bias(weights: dict[str, np.ndarray], network: FoundNetwork) -> bool:
    """Add the tables of all encoders, tokens in this project's order, to ``weights``."""
    found = [a.attended.probabilities for a, _ in network.encoders]
    biased = _same([soft.scores.bias is not None for soft in found], network, "relative position bias")
    rows = network.embedding.rows
    for i, soft in enumerate(found):
        if (bias := soft.scores.bias) is not None:
            if bias.shape[1:] != (len(rows), len(rows)):
                what = f"relative position bias of {bias.shape[1]} queries and {bias.shape[2]} keys"
                raise NotRecognised.at(soft, f"{what}, there are {len(rows)} tokens", "export the whole network")
            weights[f"blocks.{i}.attn.position_bias"] = np.ascontiguousarray(bias[:, rows][:, :, rows] * np.float32(soft.factor))
    return biased


def _gated(network: FoundNetwork) -> bool:
    mlps, pool = [mlp for _, mlp in network.encoders], network.classifier.pool
    if pool is not None and (other := next((mlp for mlp in (*mlps, pool.mlp) if mlp.gated), None)) is not None:
        raise NotRecognised.at(other.activation, "gated MLP: in a network with attention pooling", "use one with another pooling")
    return _same([mlp.gated for mlp in mlps], network, "gated MLP")


def _pooling(network: FoundNetwork) -> Pooling:
    at: Term
    mean, pool, prefix = network.classifier.mean, network.classifier.pool, network.embedding.prefix
    if pool is not None:
        at, rows, what = pool.attended, pool.rows, "attention pooling: it reads"
        known = ((0, Pooling.ATTENTION), (prefix, Pooling.ATTENTION_PATCHES))
    elif mean is not None:
        at, rows, what = mean, residual_rows(mean.x), "a mean over"
        known = ((prefix, Pooling.PATCHES), (0, Pooling.ALL))
    else:
        return Pooling.CLASS
    for first, pooling in known:
        if sorted(rows) == sorted(network.embedding.rows[first:].tolist()):
            return pooling
    text = f"{what} {len(rows)} of {network.embedding.embedded.rows} tokens"
    raise NotRecognised.at(at, text, "pool over all tokens, over all patches, or by the class token")


def _same(values: list, network: FoundNetwork, what: str):
    for i, value in enumerate(values):
        if value != values[0]:
            pool = network.classifier.pool if i == len(network.encoders) else None
            term = network.encoders[i][0].attended if pool is None else pool.attended
            place = f"encoder {i + 1}" if pool is None else "attention pooling"
            raise NotRecognised.at(term, f"{what} {value} in {place}, {values[0]} in the first encoder", "all must be the same")
    return values[0]


def _norms(network: FoundNetwork) -> list[Norm]:
    """Those of the encoders first."""
    norms = [n for a, m in network.encoders for n in (a.norm, m.norm)]
    pool = network.classifier.pool
    return norms + [n for n in (network.classifier.norm, network.entry, None if pool is None else pool.mlp.norm) if n is not None]


def _head_norms(network: FoundNetwork) -> list[HeadNorm]:
    scores = [a.attended.probabilities.scores for a, _ in network.encoders]
    return [term for s in scores for term in (s.q.term, s.k.term) if isinstance(term, HeadNorm)]


def _qk_norm(network: FoundNetwork) -> NormKind | None:
    terms = [a.attended.probabilities.scores.k.term for a, _ in network.encoders]
    kinds = [term.kind if isinstance(term, HeadNorm) else None for term in terms]
    for norm in _head_norms(network):
        if norm.width < 2:
            raise NotRecognised.at(norm, "QK-norm over heads of one channel", "use wider heads")
    _same(["none" if kind is None else kind.text for kind in kinds], network, "QK-norm")
    return kinds[0]


def _norm_kind(network: FoundNetwork) -> NormKind:
    first, *others = _norms(network)
    for norm in others:
        if norm.kind is not first.kind:
            raise NotRecognised.at(norm, f"{norm.kind.article}, where the first norm is {first.kind.article}", "one kind for all")
    return first.kind


def _same_eps(network: FoundNetwork) -> float:
    first, *others = _norms(network) + _head_norms(network)
    for norm in others:
        if norm.eps != first.eps:
            raise NotRecognised.at(norm, f"eps {norm.eps:g} of {norm.kind.article}, {first.eps:g} of the first one", "one eps for all")
    return first.eps


# --- the tensors ---------------------------------------------------------------------------------


def _embedding_weights(network: FoundNetwork) -> dict[str, np.ndarray]:
    e = network.embedding
    weights = {"patch_embed.proj.weight": e.weight, "patch_embed.proj.bias": e.bias}
    tokens = e.embedded.token[e.rows[: e.prefix]]
    if len(tokens):
        weights["cls_token"] = tokens[None, :1]
    if len(tokens) > 1:
        weights["reg_token" if len(tokens) > 2 else "dist_token"] = tokens[None, 1:]
    weights["pos_embed"] = e.embedded.position[e.rows][None]
    return weights


def _norm(weights: dict[str, np.ndarray], name: str, norm: Norm | HeadNorm, scale: float = 1.0) -> None:
    """Gamma and beta, times ``scale``."""
    width = norm.columns if isinstance(norm, Norm) else norm.width
    gamma = np.ones(width, np.float32) if norm.gamma is None else norm.gamma
    beta = np.zeros(width, np.float32) if norm.beta is None else norm.beta
    if abs(scale - 1.0) > EXACT:
        gamma, beta = (np.asarray(array * np.float32(scale), np.float32) for array in (gamma, beta))
    weights[f"{name}.weight"] = gamma
    if norm.kind is NormKind.LAYER or beta.any():  # an RMSNorm has none as a rule
        weights[f"{name}.bias"] = beta


def _linear(weights: dict[str, np.ndarray], name: str, layer: Linear) -> None:
    weights[f"{name}.weight"] = np.ascontiguousarray(layer.weight.T)
    weights[f"{name}.bias"] = _bias(layer)


def _bias(layer: Linear) -> np.ndarray:
    return np.zeros(layer.columns, np.float32) if layer.bias is None else layer.bias


def _attention(weights: dict[str, np.ndarray], name: str, attention: AttentionBranch) -> tuple[int, int]:
    """Weights of one attention branch; returns heads and head width."""
    views, scale = _views(attention.attended)
    heads, width = views[0].columns.shape
    parts = [_columns(v) for v in views]
    query, key = views[0].term, views[1].term
    if isinstance(query, HeadNorm) and isinstance(key, HeadNorm):
        _norm(weights, f"{name}.attn.q_norm", query, scale)
        _norm(weights, f"{name}.attn.k_norm", key)
    elif abs(scale - 1.0) > EXACT:
        weight, bias = (np.asarray(p * np.float32(scale), np.float32) for p in parts[0])
        parts[0] = weight, bias
    _norm(weights, f"{name}.norm1", attention.norm)
    weights[f"{name}.attn.qkv.weight"] = np.concatenate([w for w, _ in parts])
    weights[f"{name}.attn.qkv.bias"] = np.concatenate([b for _, b in parts])
    _linear(weights, f"{name}.attn.proj", attention.proj)
    return heads, width


def _views(attended: Attended) -> tuple[tuple[HeadView, HeadView, HeadView], float]:
    """Views of queries, keys and values, and what the scores are multiplied with beside timm's 1/sqrt(D')."""
    soft = attended.probabilities
    views = (soft.scores.q, soft.scores.k, attended.v)
    heads, width = views[0].columns.shape
    if any(v.columns.shape != (heads, width) for v in views):
        shapes = ", ".join(f"{v.columns.shape[0]} x {v.columns.shape[1]}" for v in views)
        raise NotRecognised.at(attended, f"queries, keys and values have {shapes} heads x width", "they must be the same")
    return views, soft.scores.factor * soft.factor * width**0.5


def _pool(weights: dict[str, np.ndarray], pool: PoolBranch) -> tuple[int, int]:
    """Weights of attention pooling; returns heads and head width."""
    (query, *others), scale = _views(pool.attended)
    weights["attn_pool.latent"] = np.asarray(pool.query.values[None, :, query.columns.reshape(-1)] * np.float32(scale), np.float32)
    parts = [_columns(v) for v in others]
    weights["attn_pool.kv.weight"] = np.concatenate([w for w, _ in parts])
    weights["attn_pool.kv.bias"] = np.concatenate([b for _, b in parts])
    _linear(weights, "attn_pool.proj", pool.proj)
    _norm(weights, "attn_pool.norm", pool.mlp.norm)
    _layers(weights, "attn_pool", pool.mlp)
    heads, width = query.columns.shape
    return heads, width


def _columns(view: HeadView | Columns) -> tuple[np.ndarray, np.ndarray]:
    """``(W [H D', D], b [H D'])`` of a view of a linear layer."""
    columns, layer = view.columns.reshape(-1), view.term.x if isinstance(view.term, HeadNorm) else view.term
    assert isinstance(layer, Linear)
    return np.ascontiguousarray(layer.weight[:, columns].T), _bias(layer)[columns]


def _mlp(weights: dict[str, np.ndarray], name: str, mlp: MlpBranch) -> None:
    _norm(weights, f"{name}.norm2", mlp.norm)
    _layers(weights, name, mlp)


def _layers(weights: dict[str, np.ndarray], name: str, mlp: MlpBranch) -> None:
    for layer, part in mlp.first:
        weights[f"{name}.mlp.{layer}.weight"], weights[f"{name}.mlp.{layer}.bias"] = _columns(part)
    _linear(weights, f"{name}.mlp.fc2", mlp.fc2)


def _check_finite(weights: dict[str, np.ndarray]) -> None:
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise NotRecognised(Rejection(name, "weights", f"{name} holds an infinite value", "the file is damaged, or the model diverged"))
