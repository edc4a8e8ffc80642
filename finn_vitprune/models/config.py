"""Shapes and bit widths of a vision transformer, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction
from typing import Any

from finn_vitprune.errors import UserError
from finn_vitprune.numerics import kept_tokens, tokens_after_drop

PIXEL_BITS = 8
RESIDUAL_BITS = 16
ENTRY_BITS = 8
"""Of the codes and of the weights of the LayerNorm before the encoders, whatever other layers have."""
LOGIT_BITS = 8
MAX_PREFIX = 16
"""Most tokens before the patches: class token, distillation token, registers."""


class Pooling(str, Enum):
    """What the classifier reads: the class token, the mean of the patch tokens or of all tokens, or what a learned query finds in these."""

    CLASS = "class"
    PATCHES = "mean"
    ALL = "mean of all tokens"
    ATTENTION_PATCHES = "attention to the patches"
    ATTENTION = "attention"

    @property
    def attends(self) -> bool:
        """Whether a learned query attends to the tokens."""
        return self in (Pooling.ATTENTION, Pooling.ATTENTION_PATCHES)

    @property
    def leaves_prefix(self) -> bool:
        """Whether it reads the patches alone."""
        return self in (Pooling.PATCHES, Pooling.ATTENTION_PATCHES)


class Rotary(str, Enum):
    """Rotary position embedding of queries and keys: one table of angles for all heads of an encoder, or one for each head."""

    SHARED = "shared"
    HEADS = "heads"


class NormKind(str, Enum):
    """What normalises tokens: LayerNorm, or RMSNorm, which divides by the root of the mean square and takes no mean from its input.

    text: its name in texts. article: with one. centred: whether it takes the mean from its input.
    """

    text: str
    article: str
    centred: bool

    LAYER = "layernorm", "LayerNorm", "a LayerNorm", True
    RMS = "rmsnorm", "RMSNorm", "an RMSNorm", False

    def __new__(cls, name: str, text: str, article: str, centred: bool) -> NormKind:
        member = str.__new__(cls, name)
        member._value_, member.text, member.article, member.centred = name, text, article, centred
        return member


class MlpActivation(str, Enum):
    """The function between the two layers of an MLP, by timm's name. In hardware it is a table over codes.

    text: its name in texts. lowest: its smallest value. bounded: its values are at most 1; others give at most the magnitude of
    their argument.
    """

    text: str
    lowest: float
    bounded: bool

    GELU = "gelu", "GELU", -0.16997
    GELU_TANH = "gelu_tanh", "GELU in its tanh form", -0.17004
    QUICK_GELU = "quick_gelu", "QuickGELU", -0.16361
    SILU = "silu", "SiLU", -0.27846
    RELU = "relu", "ReLU", 0.0
    SIGMOID = "sigmoid", "sigmoid", 0.0, True

    def __new__(cls, name: str, text: str, lowest: float, bounded: bool = False) -> MlpActivation:
        member = str.__new__(cls, name)
        member._value_, member.text, member.lowest, member.bounded = name, text, lowest, bounded
        return member


@dataclass(frozen=True)
class EncoderShape:
    """What one encoder holds: live heads, MLP neurons, and ``keep`` tokens besides the prefix after its drop (None: no drop)."""

    heads: int
    neurons: int
    keep: int | None = None


@dataclass(frozen=True)
class PoolerShape:
    """What attention pooling holds: ``heads`` of ``head_dim`` channels each, which encoders need not have, and MLP neurons."""

    heads: int
    head_dim: int
    neurons: int


@dataclass(frozen=True)
class ViTConfig:
    """A plain or distilled ViT/DeiT.

    ``prefix`` is the number of prefix tokens, 0 to :data:`MAX_PREFIX`: the class token, then distillation token or
    registers; where pooling is by mean it may be registers alone, or none. Token drops keep them and rank the other
    tokens by the attention of the first one. ``ranked_prefix`` of them, the last ones, are ranked all the same (the
    reference does so with the distillation token). ``head_dim`` is D' of one head;
    ``encoders`` holds one :class:`EncoderShape` per encoder. ``norm_after_pooling``: the last LayerNorm
    reads the mean, not the tokens (timm's ``fc_norm``). ``outer_bits``: of the weights of the patch embedding and of the
    classifier, None: ``weight_bits``. ``activation``: of all MLPs. ``gated``: MLPs of encoders have a gate beside every neuron, whose
    activation its value is multiplied by (SwiGLU, GEGLU, ReGLU, GLU). ``norm_pre``: a LayerNorm with gamma and beta stands before
    the first encoder, on the residual stream (CLIP). ``final_norm`` False: none stands behind the last one, and the classifier reads
    the residual stream. ``rotary``: queries and keys are turned, token by token but for the prefix; None: they are not. ``pooler``: the shape of
    attention pooling (SigLIP), which reads the last LayerNorm's tokens and has no gates. ``norm``: all that is called LayerNorm here is of this
    kind. ``qk_norm``: queries and keys have one of this kind, over the channels of each head; None: they have none. ``position_bias``: products of
    queries and keys have a number added, by head, query and key (relative position bias).

    Raises:
        ValueError: the last LayerNorm reads the mean, or attention pooling reads it, and there is none; queries are turned in pairs of an odd
            width, or tokens dropped; ``pooler`` without attention pooling, or attention pooling without it, or with ``gated``; attention to the patches
            where prefix tokens are ranked and may be dropped; ``qk_norm`` over heads of one channel, or with ``rotary``; ``position_bias`` where
            tokens are dropped.
    """

    image_size: int
    channels: int
    patch_size: int
    dim: int
    head_dim: int
    classes: int
    encoders: tuple[EncoderShape, ...]
    prefix: int = 1
    eps: float = 1e-6
    weight_bits: int = 8
    act_bits: int = 8
    outer_bits: int | None = None
    pooling: Pooling = Pooling.CLASS
    norm_after_pooling: bool = False
    activation: MlpActivation = MlpActivation.GELU
    gated: bool = False
    ranked_prefix: int = 0
    norm_pre: bool = False
    final_norm: bool = True
    rotary: Rotary | None = None
    pooler: PoolerShape | None = None
    norm: NormKind = NormKind.LAYER
    qk_norm: NormKind | None = None
    position_bias: bool = False

    def __post_init__(self) -> None:
        whole = {None, self.tokens - self.protected}
        if self.rotary is not None and (self.head_dim % 2 or any(shape.keep not in whole for shape in self.encoders)):
            raise ValueError("rotary position embedding needs heads of an even width, and encoders that keep all tokens")
        if self.qk_norm is not None and (self.rotary is not None or self.head_dim < 2):
            raise ValueError("QK-norm needs heads of two channels or more, and queries and keys that are not turned")
        if self.position_bias and any(shape.keep not in whole for shape in self.encoders):
            raise ValueError("relative position bias needs encoders that keep all tokens")
        if self.pooling.attends != (self.pooler is not None):
            raise ValueError(
                f"pooling {self.pooling.value} with pooler {self.pooler}: heads and neurons are given for attention pooling alone"
            )
        if self.pooling.attends and self.gated:
            raise ValueError("attention pooling beside gated MLPs: its own MLP has no gates, and all MLPs have one activation")
        if self.pooling is Pooling.ATTENTION_PATCHES and self.ranked_prefix and any(shape.keep is not None for shape in self.encoders):
            raise ValueError("attention to the patches with ranked prefix tokens: which rows are patches at the end depends on the image")
        if self.pooling.attends and (self.norm_after_pooling or not self.final_norm):
            raise ValueError("attention pooling reads the tokens of the last LayerNorm: final_norm, not norm_after_pooling")
        if self.norm_after_pooling and not self.final_norm:
            raise ValueError("norm_after_pooling without final_norm: there is no LayerNorm that could read the mean")

    @classmethod
    def dense(
        cls,
        image_size: int,
        channels: int,
        patch_size: int,
        dim: int,
        heads: int,
        depth: int,
        classes: int,
        mlp_ratio: float = 4.0,
        **options: Any,
    ) -> ViTConfig:
        """All heads and neurons, no token drop. ``options`` are further fields of this class."""
        shape = EncoderShape(heads, int(dim * mlp_ratio))
        return cls(image_size, channels, patch_size, dim, dim // heads, classes, (shape,) * depth, **options)

    def with_encoders(self, encoders: tuple[EncoderShape, ...]) -> ViTConfig:
        """The same network with other encoder shapes."""
        return replace(self, encoders=tuple(encoders))

    def with_token_drop(self, rate: float | str, layers: tuple[int, ...]) -> ViTConfig:
        """Token drop at keep rate ``rate`` in the encoders ``layers`` (counted from 1).

        Raises:
            UserError: see :meth:`check_token_keep`.
        """
        if layers:
            self.check_token_keep(rate)
        tokens, encoders = self.tokens, []
        for index, shape in enumerate(self.encoders, start=1):
            keep = kept_tokens(rate, tokens, self.protected) if index in layers else None
            encoders.append(replace(shape, keep=keep))
            tokens = tokens if keep is None else tokens_after_drop(tokens, keep, self.protected)
        return self.with_encoders(tuple(encoders))

    def check_token_keep(self, rate: float | str) -> None:
        """Tokens can be dropped where a class token or a register stands before the patches, whose attention ranks them.

        Raises:
            UserError: a rate below 1 for a network of patches alone, or one with rotary position embedding or relative position bias.
        """
        if (self.rotary is not None or self.position_bias) and Fraction(str(rate)) < 1:
            what = "relative position bias" if self.rotary is None else "rotary position embedding"
            raise UserError(
                f"token keep rate {rate}: with {what} the rows of a table belong to tokens by their place, and which "
                "tokens are left after a drop depends on the image: use 1 (blocks, neurons and heads can be pruned)"
            )
        if not self.protected and Fraction(str(rate)) < 1:
            raise UserError(
                f"token keep rate {rate}: tokens are ranked by the attention of a class token or register, and this network "
                "has patches alone: use 1 (blocks, neurons and heads can be pruned)"
            )

    @property
    def last_drop(self) -> int:
        """The last encoder (from 1) that can drop tokens: before a class token the last of all has no others to work for."""
        return len(self.encoders) - (self.pooling is Pooling.CLASS)

    @property
    def hidden_rows(self) -> int:
        """Rows of the first matrix of an encoder's MLP for each neuron: 2 if a gate is beside it."""
        return 2 if self.gated else 1

    @property
    def pools_mean(self) -> bool:
        """Whether the classifier reads a mean over tokens."""
        return self.pooling in (Pooling.PATCHES, Pooling.ALL)

    @property
    def protected(self) -> int:
        """Prefix tokens that no token drop drops."""
        return self.prefix - self.ranked_prefix

    @property
    def first_pooled(self) -> int:
        """First token that pooling reads."""
        return self.prefix if self.pooling.leaves_prefix else 0

    @property
    def pooled(self) -> int:
        """Tokens that pooling reads, of those that the drops leave."""
        return 1 if self.pooling is Pooling.CLASS else self.token_counts()[-1][1] - self.first_pooled

    @property
    def patches(self) -> int:
        """Patches of one image."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def patch_dim(self) -> int:
        """Pixels of one patch, all channels."""
        return self.patch_size**2 * self.channels

    @property
    def tokens(self) -> int:
        """Tokens that enter the first encoder."""
        return self.patches + self.prefix

    def token_counts(self) -> list[tuple[int, int]]:
        """Per encoder: tokens into attention and tokens into its MLP (after its drop)."""
        counts, tokens = [], self.tokens
        for shape in self.encoders:
            after = tokens if shape.keep is None else tokens_after_drop(tokens, shape.keep, self.protected)
            counts.append((tokens, after))
            tokens = after
        return counts
