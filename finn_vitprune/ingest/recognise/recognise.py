"""Matches a pre-norm vision transformer on the normal form, from the logits back to the image."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from finn_vitprune.graph.node import Rejection
from finn_vitprune.graph.rules import Unknown
from finn_vitprune.ingest.normal_form import functions
from finn_vitprune.ingest.normal_form.normaliser import Normalised
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
    Probabilities,
    Query,
    Sum,
    Term,
    View,
)
from finn_vitprune.ingest.recognise.embedding import match_embedding
from finn_vitprune.ingest.recognise.network import (
    ACTIVATION_HELP,
    ACTIVATIONS,
    PLAIN,
    AttentionBranch,
    Classifier,
    FoundNetwork,
    MlpBranch,
    NotRecognised,
    PoolBranch,
    RecognisedViT,
    residual_rows,
)
from finn_vitprune.ingest.recognise.survey import Surveyed
from finn_vitprune.ingest.recognise.weights import gather

CLASS_TOKEN = "use a model that pools by class token, mean or attention (timm: global_pool 'token', 'avg' or 'map')"
QK_NORM = "queries and keys may have a norm each, over the channels of a head"
POOLING = "attention pooling reads tokens of the last LayerNorm, and an MLP and the classifier follow"


@dataclass(frozen=True)
class Recognition:
    """What was found in a file: the network with its parts, or the reasons why not, the first one decides.

    surveyed: every node by itself, where the file is not supported.
    """

    normalised: Normalised
    network: FoundNetwork | None = None
    vit: RecognisedViT | None = None
    rejections: tuple[Rejection, ...] = field(default=())
    surveyed: Surveyed | None = None


def recognise(normalised: Normalised) -> Recognition:
    """The vision transformer of a normalised graph, or why there is none."""
    found = list(normalised.rejections)
    try:
        network = _network(normalised)
        vit = None if found else gather(network)
    except NotRecognised as e:
        rejections = found if e.rejection in found else [*found, e.rejection]
        return Recognition(normalised, rejections=tuple(rejections))
    return Recognition(normalised, network, vit, tuple(found))


def _network(normalised: Normalised) -> FoundNetwork:
    output, view = _logits(normalised)
    classifier, x = _classifier(view)
    blocks, start = _blocks(x)
    embedded, entry = _entry(start)
    if not blocks:
        raise NotRecognised.at(start, "no encoder stands between the patches and the classifier", PLAIN)
    encoders = _pairs(blocks)
    embedding = match_embedding(embedded, classifier.row)
    if len(classifier.heads) == 2 and (embedding.prefix < 2 or embedding.rows[1] != 1):
        raise NotRecognised.at(classifier.heads[1], "the second classifier reads token 1, a patch", CLASS_TOKEN)
    return FoundNetwork(embedding, entry, encoders, classifier, output)


# --- the classifier ------------------------------------------------------------------------------


def _logits(normalised: Normalised) -> tuple[str, View]:
    """The output that holds logits: the only one, or that named so, or the only one of two dimensions."""
    outputs = {n: v for n, v in normalised.outputs.items() if not isinstance(v, Unknown)}
    if not outputs:
        raise NotRecognised(next(v.rejection for v in normalised.outputs.values() if isinstance(v, Unknown)))
    flat = {n: v for n, v in outputs.items() if isinstance(v, View) and v.index.ndim == 2}
    name = "logits" if "logits" in outputs else next(iter(flat), None)
    if name is None or (len(flat) > 1 and name != "logits"):
        shapes = ", ".join(f"{n} {list(v.shape)}" for n, v in outputs.items() if isinstance(v, View))
        raise NotRecognised(
            Rejection(
                next(iter(outputs)), "output",
                f"no single output of shape [1, classes]: there are {shapes or 'constants'}",
                "export the model with its classifier, and with that output alone",
            )
        )  # fmt: skip
    value = outputs[name]
    if not isinstance(value, View):
        raise NotRecognised(Rejection(name, "output", "it is a constant: it does not depend on the image"))
    return name, value


def _classifier(view: View) -> tuple[Classifier, Term]:
    """The classifier and the residual stream that it reads."""
    term = view.term
    probabilities: Probabilities | None = None
    if isinstance(term, Probabilities):
        probabilities, term = term, term.x.term
    heads = _heads(term, view)
    head = heads[0]
    _refuse_hidden_layers(head)
    x, mean = head.x, None
    if isinstance(x.term, Mean):
        mean, x = x.term, x.term.x
    elif isinstance(x.term, Norm) and isinstance(x.term.x.term, Mean):
        mean = x.term.x.term
        return Classifier(x.term, heads, mean, True, probabilities), mean.x.term
    read = x.term
    if isinstance(read, Norm) and _pooled(read.x.term) is not None:
        raise NotRecognised.at(read, "attention pooling: a LayerNorm stands between it and the classifier", POOLING)
    if (proj := _pooled(read)) is not None:
        before_pool, pool = _pool(read, proj)
        if mean is not None:
            raise NotRecognised.at(mean, "attention pooling: a mean is taken of its one token", POOLING)
        return Classifier(before_pool, heads, None, False, probabilities, pool=pool), before_pool.x.term
    if not isinstance(read, (Norm, Sum)):
        raise NotRecognised.at(head, f"the classifier reads {_what(read)}, not a LayerNorm or the last encoder", "export a whole network")
    norm = read if isinstance(read, Norm) else None
    before = read if norm is None else norm.x.term
    if mean is not None:
        return Classifier(norm, heads, mean, False, probabilities), before
    picked = x if norm is None or norm.x.rows is None else norm.x
    if picked.rows is None or len(picked.rows) != 1:
        count = picked.count if picked.rows is None else len(picked.rows)
        raise NotRecognised.at(head, f"the classifier reads {count} tokens, not one alone", CLASS_TOKEN)
    return Classifier(norm, heads, None, False, probabilities, picked.rows[0]), before


def _pooled(term: Term) -> Linear | None:
    """The projection of attention pooling, if ``term`` is the sum of it and an MLP, or it alone."""
    sides = (term.a.term, term.b.term) if isinstance(term, Sum) else (term,)
    return next((side for side in sides if isinstance(side, Linear) and isinstance(side.x.term, Attended) and _is_pool(side.x.term)), None)


def _is_pool(attended: Attended) -> bool:
    return isinstance(attended.probabilities.scores.q.term, Query)


def _pool(add: Term, proj: Linear) -> tuple[Norm, PoolBranch]:
    """Attention pooling that ends in ``add``, and the LayerNorm that it reads."""
    attended = proj.x.term
    assert isinstance(attended, Attended)
    if not isinstance(add, Sum):
        raise NotRecognised.at(proj, "attention pooling: no MLP follows its projection", POOLING)
    other = next(side.term for side in (add.a, add.b) if side.term is not proj)
    mlp = _match_branch(other, proj, add) if isinstance(other, Linear) else None
    if not isinstance(mlp, MlpBranch):
        raise NotRecognised.at(add, f"attention pooling: {_what(other)} is added to its projection, not an MLP", POOLING)
    if attended.probabilities.scores.bias is not None:
        raise NotRecognised.at(attended, "attention pooling: relative position bias", POOLING)
    norms, rows = [], []
    for name, view in (("key", attended.probabilities.scores.k), ("value", attended.v)):
        layer = view.term
        if isinstance(layer, Norm | HeadNorm):
            raise NotRecognised.at(layer, f"attention pooling: QK-norm, the {name} is normalised", POOLING)
        if not isinstance(layer, Linear) or not isinstance(layer.x.term, Norm):
            raise NotRecognised.at(layer, f"attention pooling: the {name} is {_what(layer)}, not a linear layer on a LayerNorm", POOLING)
        norms.append(layer.x.term)
        rows.append(residual_rows(layer.x))
    if norms[0] is not norms[1]:
        raise NotRecognised.at(attended, "attention pooling: keys and values come from different LayerNorms", POOLING)
    if rows[0] != rows[1]:
        raise NotRecognised.at(attended, "attention pooling: keys and values come from different tokens", POOLING)
    return norms[0], PoolBranch(attended, proj, mlp, rows[0])


def _heads(term: Term, view: View) -> tuple[Linear, ...]:
    """One linear layer, or the two of a distilled model, averaged."""
    if isinstance(term, Linear):
        if view.fn is not None and term is view.term:
            raise NotRecognised.at(term, "the logits pass a function after the classifier", "export without it")
        return (term,)
    if isinstance(term, Sum):
        pair = [t for t in (term.a.term, term.b.term) if isinstance(t, Linear)]
        half = functions.affine(view.fn)
        if len(pair) == 2 and half == (0.5, 0.0):
            first = {_token_of(t): t for t in pair}
            if set(first) == {0, 1}:
                return first[0], first[1]
    raise NotRecognised.at(term, f"the output is {_what(term)}, not a linear classifier", "export with the classifier")


def _refuse_hidden_layers(head: Linear) -> None:
    """Raise where more than the last LayerNorm and the pooling stand between the residual stream and the classifier."""
    parts, term = [], head.x.term
    while isinstance(term, (Linear, Activation, Norm, Mean)):
        parts.append(term)
        term = term.x if isinstance(term, Activation) else term.x.term
    if not isinstance(term, (Sum, Embedded)):
        return  # no residual stream: what is missing there decides
    hidden = [i for i, part in enumerate(parts) if isinstance(part, Linear)]
    if hidden:
        widths = " and ".join(str(parts[i].columns) for i in reversed(hidden))
        between = dict.fromkeys(_function(part) for part in reversed(parts[: hidden[-1]]))
        names = " and ".join(filter(None, between))
        text = f"hidden layer in the head: {widths} neurons{' with ' * bool(names)}{names} before the classifier"
        help = "train a head of one linear layer" if names else "multiply the linear layers into one, it computes the same"
        raise NotRecognised.at(parts[hidden[-1]], f"{text} (node {head.node.name})", help)
    function = next((part for part in parts if isinstance(part, Activation)), None)
    if function is not None:
        text = f"{function.name} stands between the last LayerNorm and the classifier (node {head.node.name})"
        raise NotRecognised.at(function, text, "train the classifier without it")


def _function(part: Term) -> str:
    """The name of what keeps two linear layers from being one, or ""."""
    return part.name if isinstance(part, Activation) else part.kind.text if isinstance(part, Norm) else ""


def _token_of(head: Linear) -> int | None:
    rows = head.x.rows
    if rows is None and isinstance(head.x.term, Norm):
        rows = head.x.term.x.rows
    return rows[0] if rows is not None and len(rows) == 1 else None


def _what(term: Term) -> str:
    return f"the result of node {term.node.name} ({term.node.op_type}, {type(term).__name__.lower()})"


# --- the encoders --------------------------------------------------------------------------------


def _blocks(x: Term) -> tuple[list[AttentionBranch | MlpBranch], Term]:
    """Residual branches from the last to the first, and what the first encoder reads."""
    found: list[AttentionBranch | MlpBranch] = []
    while isinstance(x, Sum):
        branch, rest = _branch(x)
        found.append(branch)
        x = rest
    return found, x


def _entry(x: Term) -> tuple[Embedded, Norm | None]:
    """The embedded tokens that the first encoder reads, and the LayerNorm between the two."""
    if (found := _embedded(x)) is not None:
        return found, None
    if isinstance(x, Norm):
        if x.x.rows is None and (found := _embedded(x.x.term)) is not None:
            return found, x
        raise NotRecognised.at(x, "post-norm: a LayerNorm stands on the residual stream", PLAIN)
    raise NotRecognised.at(x, f"the residual stream comes from {_what(x)}", PLAIN)


def _embedded(x: Term) -> Embedded | None:
    """Tokens, or patches alone, without positions, as tokens; None for anything else."""
    if isinstance(x, Linear) and isinstance(x.x.term, Patches):
        none = np.zeros((x.rows, x.columns), np.float32)
        return Embedded(x.rows, x.columns, x.node, x=x, source=np.arange(x.rows), token=none, position=none)
    return x if isinstance(x, Embedded) else None


def _branch(add: Sum) -> tuple[AttentionBranch | MlpBranch, Term]:
    sides = (add.a, add.b)
    for side in sides:
        if side.rows is not None:
            raise NotRecognised.at(add, f"an encoder continues with {side.count} of {side.term.rows} tokens", PLAIN)
    for branch, rest in (sides, sides[::-1]):
        if isinstance(branch.term, Linear) and not isinstance(branch.term.x.term, Patches):
            return _match_branch(branch.term, rest.term, add), rest.term
    terms = [s.term for s in sides]
    if any(isinstance(t, Norm) for t in terms):
        raise NotRecognised.at(add, "post-norm: a LayerNorm stands at the end of a branch", PLAIN)
    if all(isinstance(t, (Sum, Embedded)) for t in terms):
        raise NotRecognised.at(add, "parallel blocks: several branches are summed before they join the residual stream", PLAIN)
    raise NotRecognised.at(add, f"{_what(terms[0])} and {_what(terms[1])} are added", PLAIN)


def _match_branch(last: Linear, rest: Term, add: Sum) -> AttentionBranch | MlpBranch:
    inner = last.x.term
    if isinstance(inner, Attended):
        norm = _attention_norm(inner, rest)
        return AttentionBranch(norm, inner, last, add)
    if isinstance(inner, Activation | Gated):
        if isinstance(inner, Activation) and not isinstance(inner.x, Linear):
            raise NotRecognised.at(inner, f"{inner.name} of {_what(inner.x)}", PLAIN)
        if inner.name not in ACTIVATIONS:
            raise NotRecognised.at(inner, f"activation {inner.name} in the {'gate of an ' * isinstance(inner, Gated)}MLP", ACTIVATION_HELP)
        return _mlp_branch(inner, last, rest, add)
    if isinstance(inner, Norm) and isinstance(inner.x.term, Activation | Gated):
        kind = "gated MLP" if isinstance(inner.x.term, Gated) else "MLP"
        raise NotRecognised.at(inner, f"{kind} with a LayerNorm: it stands before the second layer", "use a model without one there")
    if isinstance(inner, (Norm, Linear)):
        raise NotRecognised.at(last, f"a branch that is one linear layer on {_what(inner)}, without an activation or attention", PLAIN)
    raise NotRecognised.at(last, f"a branch ends in a linear layer on {_what(inner)}", PLAIN)


def _mlp_branch(inner: Activation | Gated, last: Linear, rest: Term, add: Sum) -> MlpBranch:
    layers = [inner.x] if isinstance(inner, Activation) else [inner.gates.term, inner.values.term]
    norms = [_norm_of(layer, rest) for layer in layers if isinstance(layer, Linear)]
    if any(norm is not norms[0] for norm in norms):
        raise NotRecognised.at(inner, "gated MLP: gates and values come from different LayerNorms", PLAIN)
    return MlpBranch(norms[0], inner, last, add)


def _attention_norm(attended: Attended, rest: Term) -> Norm:
    scores = attended.probabilities.scores
    layers: list[Linear] = []
    for name, view in (("query", scores.q), ("key", scores.k), ("value", attended.v)):
        layer = view.term
        if isinstance(layer, Query):
            raise NotRecognised.at(attended, "attention pooling: a constant query attends in an encoder", PLAIN)
        if isinstance(layer, Norm):
            raise NotRecognised.at(layer, f"QK-norm: the {name} is normalised over all heads at once", QK_NORM)
        if isinstance(layer, HeadNorm):
            if view is attended.v or view.columns.shape[1] != layer.width:
                what = (
                    "the value is normalised" if view is attended.v else f"over {layer.width} channels, heads have {view.columns.shape[1]}"
                )
                raise NotRecognised.at(layer, f"QK-norm: {what}", QK_NORM)
            layer = layer.x
        if not isinstance(layer, Linear):
            raise NotRecognised.at(layer, f"the {name} is {_what(layer)}, not a linear layer", PLAIN)
        layers.append(layer)
    query, key = scores.q.term, scores.k.term
    kinds = [term.kind if isinstance(term, HeadNorm) else None for term in (query, key)]
    if kinds[0] is not kinds[1]:
        raise NotRecognised.at(
            query if kinds[1] is None else key, "QK-norm: queries and keys have norms of two kinds, or one has none", QK_NORM
        )
    if kinds[0] is not None and scores.angles is not None:
        raise NotRecognised.at(query, "QK-norm with rotary position embedding", QK_NORM)
    norms = [_norm_of(layer, rest) for layer in layers]
    if any(n is not norms[0] for n in norms):
        raise NotRecognised.at(attended, "queries, keys and values come from different LayerNorms (cross attention)", PLAIN)
    return norms[0]


def _norm_of(layer: Linear, rest: Term) -> Norm:
    """The LayerNorm before a branch; it must read the residual stream that the branch is added to."""
    norm = layer.x.term
    if not isinstance(norm, Norm) or layer.x.rows is not None:
        post = "post-norm: " if isinstance(norm, (Sum, Embedded)) else ""
        raise NotRecognised.at(layer, f"{post}a branch starts with a linear layer on {_what(norm)}, not on a LayerNorm", PLAIN)
    if norm is rest:
        raise NotRecognised.at(norm, "post-norm: a LayerNorm stands on the residual stream", PLAIN)
    if norm.x.term is not rest or norm.x.rows is not None:
        raise NotRecognised.at(norm, "parallel blocks: attention and MLP read the same tokens and are added together", PLAIN)
    return norm


def _pairs(blocks: list[AttentionBranch | MlpBranch]) -> tuple[tuple[AttentionBranch, MlpBranch], ...]:
    """Attention and MLP in turn, first encoder first."""
    blocks = blocks[::-1]
    for i, block in enumerate(blocks):
        wanted = MlpBranch if i % 2 else AttentionBranch
        if not isinstance(block, wanted):
            other = "attention" if wanted is MlpBranch else "MLP"
            raise NotRecognised.at(block.add, f"two {other} branches follow each other (encoder {i // 2 + 1})", PLAIN)
    if len(blocks) % 2:
        raise NotRecognised.at(blocks[-1].add, f"encoder {len(blocks) // 2 + 1} has no MLP", PLAIN)
    attention = (block for block in blocks if isinstance(block, AttentionBranch))
    mlps = (block for block in blocks if isinstance(block, MlpBranch))
    return tuple(zip(attention, mlps, strict=True))
