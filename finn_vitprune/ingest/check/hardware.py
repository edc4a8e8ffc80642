"""What of a recognised vision transformer this project cannot build yet, and what changes on the way."""

from __future__ import annotations

from math import gcd

from finn_vitprune.graph.node import Rejection
from finn_vitprune.ingest.recognise.network import FoundNetwork, RecognisedViT
from finn_vitprune.models.config import Pooling
from finn_vitprune.synth.parts import Part

MAX_DIM = 1664
"""Widest token of the LayerNorm unit (``finn_vitprune.custom_ops.layernorm.layernorm.MAX_CHANNELS``)."""
BRAM36_BITS = 36 * 1024


def gaps(network: FoundNetwork, vit: RecognisedViT) -> list[Rejection]:
    """Parts without hardware, each at the node it comes from."""
    found, mlp_widths = [], [e.neurons for e in vit.config.encoders]
    if vit.config.pooling == Pooling.CLASS and vit.config.prefix == 0:
        text = "the classifier reads one token, and no class token stands before the patches"
        advice = "use a model with a class token, or one that pools by the mean of its tokens"
        found.append(Rejection.at(network.embedding.embedded.node, text, advice))
    if not 2 <= vit.config.dim <= MAX_DIM:
        norm = network.encoders[0][0].norm
        found.append(
            Rejection.at(norm.node, f"tokens of width {vit.config.dim}: {norm.kind.text} takes 2 to {MAX_DIM}", "use a smaller model")
        )
    if gcd(vit.config.dim, vit.config.head_dim, *mlp_widths) < 2:
        attended = network.encoders[0][0].attended
        widths = f"width {vit.config.dim}, head width {vit.config.head_dim} and MLP width {mlp_widths[0]}"
        text = f"no block size divides {widths}"
        found.append(Rejection.at(attended.node, text, "use a model whose widths share a factor of 2 or more"))
    return found


def notes(vit: RecognisedViT, part: Part | None = None) -> list[str]:
    """What import does besides quantising and pruning, and what the weights take of a part."""
    lines = [] if part is None else [_memory(vit, part)]
    if vit.layer_scale:
        lines.append("LayerScale is folded into the projection and the second MLP layer")
    if vit.distilled_head:
        lines.append("the distillation classifier is left out: logits come from the class token's classifier alone")
    if vit.untrained_head:
        lines.append("the head is untrained (all its weights are zero): every image gets the same logits")
    if vit.scaling is not None:
        lines.append("the normalisation of pixels inside the graph is folded into the patch embedding")
    return lines


def _memory(vit: RecognisedViT, part: Part) -> str:
    """Weights at 8 bits against the block RAM of a part."""
    weights = sum(a.size for name, a in vit.weights.items() if name.endswith("weight") and a.ndim > 1)
    need, offer = 8 * weights / 1e6, BRAM36_BITS * part.BRAM36 / 1e6
    advice = "" if need <= offer else ": prune, or use weights of fewer bits"
    return f"weights of 8 bits take {need:,.1f} Mb, the block RAM of {part.name} has {offer:,.1f}{advice}"
