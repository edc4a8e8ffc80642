"""The parts of networks that reasons name at their start, so that an answer can name them all in one line."""

from __future__ import annotations

from collections.abc import Iterable

from finn_vitprune.graph.node import Rejection

FEATURES = (
    "text model",
    "a convolution that is not a patch embedding",
    "convolutional stem",
    "squeeze-and-excitation",
    "window attention",
    "attention pooling",
    "causal mask",
    "attention mask",
    "differential attention",
    "talking heads",
    "rotary position embedding",
    "relative position bias",
    "a linear layer over the tokens",
    "parallel blocks",
    "gated MLP",
    "QK-norm",
    "post-norm",
    "a LayerNorm stands on the patches",
    "BatchNorm",
    "register tokens",
    "hidden layer in the head",
    "activation",
)
"""How reasons begin that name a part, the most important part first."""


def importance(rejection: Rejection) -> int:
    """Place of a reason among all, 0 for the most important; reasons that name no part come last."""
    return next((i for i, part in enumerate(FEATURES) if rejection.reason.startswith(part)), len(FEATURES))


def features(rejections: Iterable[Rejection]) -> list[str]:
    """The parts that reasons name, each once, with what the first reason says of it, the most important first."""
    found: dict[int, str] = {}
    for rejection in rejections:
        found.setdefault(importance(rejection), rejection.reason.partition(": ")[0])
    return [found[place] for place in sorted(found) if place < len(FEATURES)]
