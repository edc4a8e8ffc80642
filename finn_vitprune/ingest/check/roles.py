"""What each term of a recognised network becomes in hardware, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from finn_vitprune.ingest.check.checked import CLASSIFIER, EMBEDDING
from finn_vitprune.ingest.recognise.network import AttentionBranch, MlpBranch, Network
from finn_vitprune.ingest.normal_form.terms import (
    Activation,
    Attended,
    Embedded,
    Linear,
    Mean,
    Norm,
    Patches,
    Pixels,
    Probabilities,
    Scores,
    Softmax,
    Statistic,
    Sum,
    Term,
)

UNITS: dict[type, str] = {
    Linear: "BlockSparseMVAU",
    Norm: "VitLayerNorm",
    Statistic: "VitLayerNorm",
    Activation: "VitLookup",
    Sum: "VitAdd",
    Embedded: "VitTokenEmbed",
    Scores: "PrunedAttention",
    Softmax: "PrunedAttention",
    Attended: "PrunedAttention",
    Mean: "VitTokenMean",
    Patches: "BlockSparseMVAU",
    Pixels: "the host (order and scale of pixels)",
    Probabilities: "nothing (softmax of the logits is left to the host)",
}
FUNCTION = "VitLookup"


@dataclass(frozen=True)
class Role:
    """Place and hardware unit of a term; ``then`` is that of a function that follows it."""

    place: str
    becomes: str
    then: str = ""


def roles_of(network: Network) -> dict[int, Role]:
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


def _parts(network: Network) -> Iterator[tuple[Term, Role]]:
    """Terms before those that absorb them."""
    e = network.embedding
    yield e.layer.x.term, Role(EMBEDDING, f"BlockSparseMVAU, patch embedding{_size(e.layer)}")
    yield e.layer.x.term.pixels, Role(EMBEDDING, "constants of the patch embedding (scale of the pixels)")
    yield e.layer, Role(EMBEDDING, f"BlockSparseMVAU, patch embedding{_size(e.layer)}")
    added = "class token and positions" if e.prefix else "positions"
    yield e.embedded, Role(EMBEDDING, f"VitTokenEmbed, {added} ({e.embedded.rows} tokens)")
    for i, (attention, mlp) in enumerate(network.encoders, start=1):
        yield from _attention_parts(f"encoder {i}", attention)
        yield from _mlp_parts(f"encoder {i}", mlp)
    c = network.classifier
    yield c.norm, Role(CLASSIFIER, "VitLayerNorm")
    if c.mean is not None:
        yield c.mean, Role(CLASSIFIER, "VitTokenMean")
    yield c.heads[0], Role(CLASSIFIER, f"BlockSparseMVAU, classifier{_size(c.heads[0])}")
    for head in c.heads[1:]:
        yield head, Role(CLASSIFIER, "nothing (the distillation classifier is left out)")
    if c.probabilities is not None:
        yield c.probabilities, Role(CLASSIFIER, UNITS[Probabilities])


def _attention_parts(place: str, a: AttentionBranch) -> Iterator[tuple[Term, Role]]:
    scores = a.attended.probabilities.scores
    heads, width = scores.q.columns.shape
    qkv = f"BlockSparseMVAU, queries, keys and values ({a.norm.columns} x {3 * heads * width})"
    attention = f"PrunedAttention ({heads} heads of {width})"
    yield a.norm, Role(place, "VitLayerNorm")
    for view in (scores.q, scores.k, a.attended.v):
        yield view.term, Role(place, qkv, then=attention)
    yield scores, Role(place, attention, then=attention)
    yield a.attended, Role(place, attention, then=attention)
    yield a.proj, Role(place, f"BlockSparseMVAU, projection{_size(a.proj)}")
    yield a.add, Role(place, "VitAdd")


def _mlp_parts(place: str, m: MlpBranch) -> Iterator[tuple[Term, Role]]:
    yield m.norm, Role(place, "VitLayerNorm")
    yield m.fc1, Role(place, f"BlockSparseMVAU, MLP{_size(m.fc1)}", then="VitLookup, GELU")
    yield m.activation, Role(place, "VitLookup, GELU")
    yield m.fc2, Role(place, f"BlockSparseMVAU, MLP{_size(m.fc2)}")
    yield m.add, Role(place, "VitAdd")


def _size(layer: Linear) -> str:
    return f" ({layer.weight.shape[0]} x {layer.weight.shape[1]})"
