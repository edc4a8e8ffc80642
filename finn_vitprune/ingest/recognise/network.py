"""What was recognised: the parts of a vision transformer, its shapes, and its weights under timm's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from finn_vitprune.graph.node import Rejection
from finn_vitprune.ingest.normal_form.terms import (
    Activation,
    Attended,
    Columns,
    Embedded,
    Gated,
    Linear,
    Mean,
    Norm,
    Patches,
    Probabilities,
    Query,
    Sum,
    Term,
    TokenRows,
)
from finn_vitprune.models.config import MlpActivation, ViTConfig

ACTIVATIONS = {a.text: a for a in MlpActivation}
"""Those of MLPs that are supported, by the names that the normal form gives them."""
ACTIVATION_HELP = f"supported are {', '.join(ACTIVATIONS)}"
PLAIN = "pre-norm encoders are supported: x + attention(norm(x)), then x + MLP(norm(x))"


@dataclass(frozen=True)
class InputScaling:
    """Normalisation of the pixels inside the graph: ``x scale + offset``, one number a channel."""

    scale: tuple[float, ...]
    offset: tuple[float, ...]

    @property
    def pixel_range(self) -> float:
        """Largest value of a pixel that this is made for: 255, or 1 where images come scaled to 0..1."""
        return 255.0 if max(abs(s) for s in self.scale) < 0.1 else 1.0

    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The same as ``(pixel / 255 - mean) / std`` on pixels of 0 to 255."""
        scale = [s * self.pixel_range for s in self.scale]
        return tuple(-o / s for o, s in zip(self.offset, scale)), tuple(1.0 / s for s in scale)


@dataclass(frozen=True)
class RecognisedViT:
    """A pre-norm vision transformer that was recognised in a graph.

    config: its shapes. scaling: normalisation inside the graph. channels_last: the input is
    ``[1, H, W, C]``. layer_scale: one was folded into proj and fc2.
    distilled_head: logits are the mean of two classifiers. output: the graph output that was followed;
    probabilities: it is the softmax of the logits.

    weights: timm's names and layouts (``patch_embed.proj.weight`` ``[D, C, p, p]``,
    ``blocks.<i>.attn.qkv.weight`` ``[3 H D', D]``, ...). timm computes with them what the file computes, on
    normalised pixels where ``scaling`` is given; of rotary position embedding ``blocks.<i>.attn.rotary.cos`` and ``.sin``
    ``[T, N, D' / 2]`` besides, by which neighbouring channels of q and k are turned, which timm does not have. Of attention pooling
    ``attn_pool.latent`` ``[1, 1, H D']`` is the query itself, and ``attn_pool.q`` is left out.
    """

    config: ViTConfig
    scaling: InputScaling | None
    channels_last: bool
    layer_scale: bool
    distilled_head: bool
    output: str
    probabilities: bool
    weights: Mapping[str, np.ndarray]

    @property
    def changes(self) -> bool:
        """Whether import leaves a part out: a second classifier."""
        return self.distilled_head

    @property
    def untrained_head(self) -> bool:
        """Whether all weights of the classifiers are zero, as some networks are created: the logits are the biases."""
        return not any(self.weights[name].any() for name in ("head.weight", "head_dist.weight") if name in self.weights)


class NotRecognised(Exception):
    """The network is not a vision transformer that is supported; ``rejection`` says why."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(str(rejection))
        self.rejection = rejection

    @classmethod
    def at(cls, term: Term, reason: str, help: str = "") -> NotRecognised:
        """Rejected at the node that made ``term``."""
        return cls(Rejection.at(term.node, reason, help))


@dataclass(frozen=True)
class Embedding:
    """The embedded tokens and what they are made of; weight ``[D, C, p, p]``, on normalised pixels.

    rows: the rows of ``embedded`` in this project's order: ``prefix`` prefix tokens, that of the classifier first, then the patches.
    """

    embedded: Embedded
    layer: Linear
    patches: Patches
    image_size: int
    channels: int
    patch_size: int
    channels_last: bool
    rows: np.ndarray
    prefix: int
    weight: np.ndarray
    bias: np.ndarray
    scaling: InputScaling | None


@dataclass(frozen=True)
class AttentionBranch:
    """Attention branch of an encoder: its LayerNorm, softmax and V product, projection."""

    norm: Norm
    attended: Attended
    proj: Linear
    add: Sum


@dataclass(frozen=True)
class MlpBranch:
    """MLP branch of an encoder; ``activation`` stands on one linear layer, or gates some columns of one, or of two."""

    norm: Norm
    activation: Activation | Gated
    fc2: Linear
    add: Sum

    @property
    def gated(self) -> bool:
        """Whether neurons have gates."""
        return isinstance(self.activation, Gated)

    @property
    def first(self) -> tuple[tuple[str, Columns], ...]:
        """What neurons are computed by, under timm's names: ``fc1``, or ``fc1_g`` of the gates and ``fc1_x`` of the values."""
        if isinstance(self.activation, Gated):
            return ("fc1_g", self.activation.gates), ("fc1_x", self.activation.values)
        assert isinstance(self.activation.x, Linear)
        return (("fc1", Columns(self.activation.x, np.arange(self.activation.x.columns))),)

    @property
    def neurons(self) -> int:
        """M."""
        return self.activation.columns


def residual_rows(read: TokenRows) -> tuple[int, ...]:
    """The rows of the residual stream that ``read`` takes, of itself or of a LayerNorm of it."""
    rows = tuple(range(read.term.rows)) if read.rows is None else read.rows
    picked = read.term.x.rows if isinstance(read.term, Norm) else None
    return rows if picked is None else tuple(picked[row] for row in rows)


@dataclass(frozen=True)
class PoolBranch:
    """Attention pooling: softmax and V product of a constant query, projection, MLP on its result; ``rows`` of the residual stream are read."""

    attended: Attended
    proj: Linear
    mlp: MlpBranch
    rows: tuple[int, ...]

    @property
    def query(self) -> Query:
        """The constant query."""
        found = self.attended.probabilities.scores.q.term
        assert isinstance(found, Query)
        return found


@dataclass(frozen=True)
class Classifier:
    """From the last residual sum to the logits; ``norm`` None: there is none.

    The classifier reads what ``pool`` or ``mean`` gives; both None: token ``row``, the class token.
    """

    norm: Norm | None
    heads: tuple[Linear, ...]
    mean: Mean | None
    norm_after_pooling: bool
    probabilities: Probabilities | None = None
    row: int = 0
    pool: PoolBranch | None = None


@dataclass(frozen=True)
class FoundNetwork:
    """The matched parts, in the order of the data; ``output`` names the graph output that was followed.

    entry: the LayerNorm before the encoders, None where there is none.
    """

    embedding: Embedding
    entry: Norm | None
    encoders: tuple[tuple[AttentionBranch, MlpBranch], ...]
    classifier: Classifier
    output: str
