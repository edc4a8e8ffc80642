"""What each term of a recognised network becomes in hardware, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from finn_vitprune.ingest.check.answers import CLASSIFIER, EMBEDDING, Constant, Mapped
from finn_vitprune.ingest.normal_form.terms import (
    Activation,
    Attended,
    Embedded,
    Gated,
    HeadNorm,
    Linear,
    Mean,
    Norm,
    Patches,
    Pixels,
    Probabilities,
    Query,
    Scores,
    Softmax,
    Statistic,
    Sum,
    Term,
)
from finn_vitprune.ingest.recognise.network import AttentionBranch, FoundNetwork, MlpBranch, PoolBranch

MATRIX, NORM, ATTENTION, ROTARY = "BlockSparseMVAU", "VitLayerNorm", "PrunedAttention", "VitRotary"
UNITS: dict[type[Term], Mapped] = {
    Linear: Mapped(MATRIX),
    Norm: Mapped(NORM),
    HeadNorm: Mapped(NORM, "norm of queries or keys"),
    Statistic: Mapped(NORM),
    Activation: Mapped("VitLookup"),
    Gated: Mapped("VitGate"),
    Sum: Mapped("VitAdd"),
    Embedded: Mapped("VitTokenEmbed"),
    Query: Mapped(MATRIX, "the constant query"),
    Scores: Mapped(ATTENTION),
    Softmax: Mapped(ATTENTION),
    Attended: Mapped(ATTENTION),
    Mean: Mapped("VitTokenMean"),
    Patches: Mapped(MATRIX),
    Pixels: Mapped("the host (order and scale of pixels)"),
    Probabilities: Mapped("nothing (softmax of the logits is left to the host)"),
}


@dataclass(frozen=True)
class Role:
    """Place of a term and what it becomes; ``then`` is what a function that follows it becomes."""

    place: str | int
    becomes: Mapped | Constant
    then: Mapped | None = None


def roles_of(network: FoundNetwork) -> dict[int, Role]:
    """The role of every term by its ``id``, those that were absorbed on the way included."""
    found: dict[int, Role] = {}
    for term, role in _parts(network):
        _assign(found, term, role)
    return found


def _assign(found: dict[int, Role], term: Term, role: Role) -> None:
    waiting = [term]
    while waiting:
        term = waiting.pop()
        if id(term) not in found:
            found[id(term)] = role
            waiting += term.absorbed


def _parts(network: FoundNetwork) -> Iterator[tuple[Term, Role]]:
    """Terms before those that absorb them."""
    e = network.embedding
    patches = Role(EMBEDDING, matrix(e.layer, "patch embedding"))
    yield e.patches, patches
    yield e.patches.pixels, Role(EMBEDDING, Constant("constants of the patch embedding (scale of the pixels)"))
    yield e.layer, patches
    added = ("positions", "class token and positions", "prefix tokens and positions")[min(e.prefix, 2)]
    yield e.embedded, Role(EMBEDDING, Mapped("VitTokenEmbed", added, f"{e.embedded.rows} tokens"))
    if network.entry is not None:
        yield network.entry, Role(EMBEDDING, Mapped(f"{NORM} and {MATRIX}", "its gamma and beta"))
    for i, (attention, mlp) in enumerate(network.encoders, start=1):
        yield from _attention_parts(i, attention)
        yield from _mlp_parts(i, mlp)
    c = network.classifier
    if c.norm is not None:
        yield c.norm, Role(CLASSIFIER, UNITS[Norm])
    if c.mean is not None:
        yield c.mean, Role(CLASSIFIER, UNITS[Mean])
    if c.pool is not None:
        yield from _pool_parts(c.pool)
    yield c.heads[0], Role(CLASSIFIER, matrix(c.heads[0], "classifier"))
    for head in c.heads[1:]:
        yield head, Role(CLASSIFIER, Mapped("nothing (the distillation classifier is left out)"))
    if c.probabilities is not None:
        yield c.probabilities, Role(CLASSIFIER, UNITS[Probabilities])


def _attention_parts(encoder: int, a: AttentionBranch) -> Iterator[tuple[Term, Role]]:
    scores = a.attended.probabilities.scores
    heads, width = scores.q.columns.shape
    qkv = Mapped(MATRIX, "queries, keys and values", f"{a.norm.columns} x {3 * heads * width}")
    attention = Mapped(ATTENTION, size=f"{heads} heads of {width}")
    yield a.norm, Role(encoder, UNITS[Norm])
    for view in (scores.q, scores.k, a.attended.v):
        turned, layer = scores.angles is not None and view is not a.attended.v, view.term
        if isinstance(layer, HeadNorm):
            of = "queries" if view is scores.q else "keys"
            yield layer, Role(encoder, Mapped(NORM if of == "keys" else f"{NORM} and {MATRIX}", f"norm of {of}"))
            layer = layer.x
        yield layer, Role(encoder, qkv, then=Mapped(ROTARY, "rotary position embedding") if turned else attention)
    yield scores, Role(encoder, attention)
    yield a.attended, Role(encoder, attention)
    yield a.proj, Role(encoder, matrix(a.proj, "projection"))
    yield a.add, Role(encoder, UNITS[Sum])


def _pool_parts(pool: PoolBranch) -> Iterator[tuple[Term, Role]]:
    scores = pool.attended.probabilities.scores
    heads, width = scores.k.columns.shape
    attention = Mapped(ATTENTION, "pooling", f"{heads} heads of {width}")
    yield scores.q.term, Role(CLASSIFIER, UNITS[Query])
    for view in (scores.k, pool.attended.v):
        layer = view.term
        yield layer, Role(CLASSIFIER, Mapped(MATRIX, "keys and values", f"{pool.mlp.norm.columns} x {2 * heads * width}"), then=attention)
    yield scores, Role(CLASSIFIER, attention)
    yield pool.attended, Role(CLASSIFIER, attention)
    yield pool.proj, Role(CLASSIFIER, matrix(pool.proj, "projection"))
    yield from _mlp_parts(CLASSIFIER, pool.mlp)


def _mlp_parts(encoder: int | str, m: MlpBranch) -> Iterator[tuple[Term, Role]]:
    activation = replace(UNITS[type(m.activation)], purpose=m.activation.name)
    first = Mapped(MATRIX, "MLP, gates and values" if m.gated else "MLP", f"{m.norm.columns} x {len(m.first) * m.neurons}")
    yield m.norm, Role(encoder, UNITS[Norm])
    for _, part in m.first:
        yield part.term, Role(encoder, first, then=activation)
    yield m.activation, Role(encoder, activation)
    yield m.fc2, Role(encoder, matrix(m.fc2, "MLP"))
    yield m.add, Role(encoder, UNITS[Sum])


def matrix(layer: Linear, purpose: str = "") -> Mapped:
    """The matrix unit of a linear layer."""
    return Mapped(MATRIX, purpose, f"{layer.weight.shape[0]} x {layer.weight.shape[1]}")
