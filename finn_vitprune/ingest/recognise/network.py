"""The parts of a matched vision transformer, and what of them the hardware takes."""

from __future__ import annotations

from dataclasses import dataclass

from finn_vitprune.ingest.normal_form.terms import Activation, Attended, Linear, Mean, Norm, Probabilities, Sum
from finn_vitprune.ingest.recognise.embedding import Embedding

ACTIVATION_HELP = "the hardware is built for models with GELU"
GELUS = {"GELU": "exact", "GELU in its tanh form": "tanh"}
PLAIN = "pre-norm encoders are supported: x + attention(norm(x)), then x + MLP(norm(x))"


@dataclass(frozen=True)
class AttentionBranch:
    """Attention branch of an encoder: its LayerNorm, softmax and V product, projection."""

    norm: Norm
    attended: Attended
    proj: Linear
    add: Sum


@dataclass(frozen=True)
class MlpBranch:
    """MLP branch of an encoder."""

    norm: Norm
    fc1: Linear
    activation: Activation
    fc2: Linear
    add: Sum


@dataclass(frozen=True)
class Classifier:
    """From the last residual sum to the logits; ``pooling`` is "class" or "mean"."""

    norm: Norm
    heads: tuple[Linear, ...]
    pooling: str
    mean: Mean | None
    norm_after_pooling: bool
    probabilities: Probabilities | None = None


@dataclass(frozen=True)
class Network:
    """The matched parts, in the order of the data; ``output`` names the graph output that was followed."""

    embedding: Embedding
    encoders: tuple[tuple[AttentionBranch, MlpBranch], ...]
    classifier: Classifier
    output: str
