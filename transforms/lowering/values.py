"""What a QONNX tensor means in integer hardware: the values that the lowering rules pass along.

They are positions in a base array (:mod:`finn_vitprune.graph.rules`); for a stream of codes the position of an
element is ``token * channels + channel``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from finn_vitprune.graph.rules import Indexed, Symbolic


@dataclass(frozen=True)
class QConst(Symbolic, kind="a quantised constant"):
    """A quantised constant: integer ``codes`` and real ``scale``, both of the tensor's shape."""

    codes: np.ndarray
    scale: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape

    def moved(self, function: Callable[[np.ndarray], np.ndarray]) -> Self:
        return replace(self, codes=function(self.codes), scale=function(self.scale))

    @property
    def value(self) -> np.ndarray:
        return self.codes * self.scale


@dataclass(frozen=True)
class Image(Indexed, kind="the input image"):
    """The model's input: uint8 pixels; ``tensor`` is the host tensor of this layout."""

    tensor: str


@dataclass(frozen=True)
class Codes(Indexed, kind="a stream of codes"):
    """A stream of the hardware graph: tensor ``[1, tokens, channels]`` of codes at ``scale``."""

    tensor: str
    tokens: int
    channels: int
    scale: float
    bits: int
    signed: bool


@dataclass(frozen=True)
class ZeroPointed(Indexed, kind="codes with a zero point"):
    """A stream in which the code ``zero`` stands for 0. A matrix product takes it into its bias."""

    codes: Codes
    zero: int


@dataclass(frozen=True)
class Acc(Indexed, kind="accumulators that are not quantised"):
    """Accumulators of a matrix product: base ``[tokens, MH]``, real value (x w) s_x s_w[c] + bias[c]."""

    x: Codes
    weights: np.ndarray = field(compare=False)
    weight_scale: np.ndarray = field(compare=False)
    bias: np.ndarray = field(compare=False)
    node: str = ""


@dataclass(frozen=True)
class QAcc(Indexed, kind="quantised accumulators"):
    """Accumulators after requantisation, not yet built: some columns of ``acc`` as codes at ``scale``.

    whole: index of the QONNX tensor ``tensor``, which fixed the codes.
    """

    acc: Acc
    scale: float
    bits: int
    signed: bool
    narrow: bool
    tensor: str
    whole: np.ndarray = field(compare=False)


@dataclass(frozen=True)
class Weighed(Indexed, kind="codes times a table"):
    """Columns of ``x`` in any layout, element by element times ``factor``, of the tensor's shape."""

    x: QAcc
    factor: np.ndarray = field(compare=False)

    def moved(self, function: Callable[[np.ndarray], np.ndarray]) -> Self:
        return replace(self, index=function(self.index), factor=function(self.factor))


@dataclass(frozen=True)
class Turning(Indexed, kind="turned queries or keys that are not quantised"):
    """``x`` of the layout ``[1, H, N, D']`` with pairs of neighbouring channels turned; table ``[H, N, D']``: c, s, c, s, ... as codes."""

    x: QAcc
    table: np.ndarray = field(compare=False)


@dataclass(frozen=True)
class Turned(Turning, kind="turned queries or keys"):
    """The same as codes at the scale of ``x``, the QONNX tensor ``tensor`` of index ``whole``."""

    tensor: str
    whole: np.ndarray = field(compare=False)

    @property
    def acc(self) -> Acc:
        """The matrix product that it was computed from."""
        return self.x.acc

    @property
    def scale(self) -> float:
        """That of what was turned."""
        return self.x.scale

    @property
    def bits(self) -> int:
        """Those of what was turned."""
        return self.x.bits

    @property
    def signed(self) -> bool:
        """Whether codes are signed."""
        return self.x.signed

    @property
    def whole_heads(self) -> bool:
        """Whether this shows all elements in the order of the table."""
        return bool(np.array_equal(self.index.reshape(-1), self.whole.reshape(-1)))


@dataclass(frozen=True)
class Normed(Indexed, kind="a LayerNorm output that is not quantised"):
    """LayerNorm, or RMSNorm (not ``centred``), without gamma and beta, of a stream, real valued."""

    x: Codes
    eps: float
    centred: bool = True


@dataclass(frozen=True)
class UnquantisedHeads(Indexed, kind="norms of queries or keys that are not quantised"):
    """LayerNorm, or RMSNorm, of the lines of ``x``, which are heads; real valued, without gamma and beta."""

    x: QAcc
    eps: float
    centred: bool


@dataclass(frozen=True)
class OfHeads(Indexed):
    """Codes of heads that are made of a quantised matrix product: the QONNX tensor ``tensor`` of index ``whole``, base as that of ``x``."""

    x: QAcc
    scale: float
    bits: int
    tensor: str
    whole: np.ndarray = field(compare=False)

    signed = True

    @property
    def acc(self) -> Acc:
        """The matrix product that it was computed from."""
        return self.x.acc


@dataclass(frozen=True)
class NormedHeads(OfHeads, kind="normalised queries or keys"):
    """The codes of :class:`UnquantisedHeads`; the lines of ``whole`` are the heads."""

    eps: float
    centred: bool


@dataclass(frozen=True)
class RoundedHeads(OfHeads, kind="values of fewer bits"):
    """The upper bits of wide codes, rounded."""


@dataclass(frozen=True)
class Squares(Indexed, kind="squares of a stream"):
    """Squares of a stream, or of heads, that are too wide for a table, real valued."""

    x: Codes | QAcc


@dataclass(frozen=True)
class MeanSquare(Indexed, kind="a mean of squares"):
    """Mean of the squares of every line of ``x``, which has the index ``whole``, plus ``eps``; its ``root``. A mean has the position of the
    first element of its line.
    """

    x: Codes | QAcc
    whole: np.ndarray = field(compare=False)
    eps: float = 0.0
    root: bool = False


@dataclass(frozen=True)
class CodeTable(Indexed, kind="an element-wise function that is not quantised"):
    """Any element-wise function of codes of at most 8 bits: its value for every code, lowest code first."""

    x: Codes | QAcc
    values: np.ndarray = field(compare=False)


@dataclass(frozen=True)
class Factors(Indexed, kind="factors of gates"):
    """A function of quantised accumulators, as codes at ``scale`` that are wider than those of streams: what gates of an MLP are."""

    x: QAcc
    codes: np.ndarray = field(compare=False)
    scale: float


@dataclass(frozen=True)
class GatedValues(Indexed, kind="gated values that are not quantised"):
    """Factors times quantised accumulators, element by element; base: ``[tokens, M]`` in order."""

    factors: Factors
    values: QAcc


@dataclass(frozen=True)
class CodeSum(Indexed, kind="a residual sum that is not quantised"):
    """Sum of two streams of one shape and scale."""

    a: Codes
    b: Codes


@dataclass(frozen=True)
class MeanOfTokens(Indexed, kind="a mean over tokens that is not quantised"):
    """Mean over the tokens of a stream from ``first`` on, real valued; base ``[1, D]``."""

    x: Codes
    first: int


@dataclass(frozen=True)
class Rows(Indexed, kind="token rows that are not quantised"):
    """Constant prefix rows before the rows of a stream, plus optional positions; base ``[n + P, D]``."""

    prefix: np.ndarray = field(compare=False)
    x: Codes
    positions: np.ndarray | None = field(default=None, compare=False)


@dataclass(frozen=True)
class QueryKey(Indexed, kind="the product of queries and keys, not quantised"):
    """q k^T; base ``[H, NQ, N]``; ``factor`` is a constant it was multiplied with, ``bias`` codes ``[H, NQ, N]`` that are added then, each 2 to the
    ``bias_shift`` of its own.
    """

    q: QAcc | Turned | NormedHeads
    k: QAcc | Turned | NormedHeads
    factor: float = 1.0
    bias: np.ndarray | None = field(default=None, compare=False)
    bias_shift: int = 0


@dataclass(frozen=True)
class PoolKey(Indexed, kind="the product of a constant query and keys, not quantised"):
    """q k^T of attention pooling; base ``[H, 1, N]``; q: codes ``[H, D']``; ``factor`` is a constant it was multiplied with."""

    q: QConst
    k: QAcc
    factor: float = 1.0


@dataclass(frozen=True)
class Logits(Indexed, kind="attention logits"):
    """Quantised q k^T, the QONNX tensor ``tensor`` of shape ``whole``."""

    product: QueryKey | PoolKey
    scale: float
    bits: int
    tensor: str
    whole: tuple[int, ...]


@dataclass(frozen=True)
class OfLogits(Indexed):
    """Base of what is computed from quantised q k^T."""

    logits: Logits


@dataclass(frozen=True)
class RowMax(OfLogits, kind="the largest logit of each row"):
    """Largest logit of each row; base ``[H, NQ]``."""


@dataclass(frozen=True)
class Diff(OfLogits, kind="logits minus the largest of their row"):
    """Logit minus the largest of its row."""


@dataclass(frozen=True)
class ExpDiff(OfLogits, kind="exp of logits, not quantised"):
    """exp(logit - max), real valued."""


@dataclass(frozen=True)
class Numerator(OfLogits, kind="softmax numerators"):
    """E: the UINT8 numerators of the deferred softmax, QONNX tensor ``tensor``; ``unit`` is the real value of code 1."""

    unit: float
    tensor: str


@dataclass(frozen=True)
class RowSum(Indexed, kind="row sums of softmax numerators"):
    """Z: row sums of E; base ``[H, NQ]``."""

    e: Numerator
    unit: float


@dataclass(frozen=True)
class Weighted(Indexed, kind="softmax numerators times values"):
    """E v before the division; base ``[NQ, H D']`` in channel order h D' + d."""

    e: Numerator
    v: QAcc | RoundedHeads


@dataclass(frozen=True)
class AttentionOutput(Indexed, kind="an attention output that is not quantised"):
    """E v / Z, real valued; base ``[NQ, H D']``."""

    e: Numerator
    v: QAcc | RoundedHeads


@dataclass(frozen=True)
class Shares(OfLogits, kind="shares of the class token's attention"):
    """floor(2**16 E / Z) of query row 0; base ``[H, N]``."""


@dataclass(frozen=True)
class TokenScores(OfLogits, kind="token scores"):
    """Token scores of one attention: sum of the shares over the heads; base ``[N]``."""


def column_selection(index: np.ndarray, tokens: int, channels: int) -> np.ndarray | None:
    """Columns ``[C]`` when ``index`` (``[..., tokens, C]``) takes the same columns of every token in order."""
    if index.ndim < 2 or index.size != int(np.prod(index.shape[-2:])) or index.shape[-2] != tokens:
        return None
    flat = index.reshape(tokens, -1)
    columns = flat[0]
    expected = np.arange(tokens)[:, None] * channels + columns[None, :]
    return columns if columns.size and columns.max() < channels and np.array_equal(flat, expected) else None


def head_columns(index: np.ndarray, channels: int) -> np.ndarray | None:
    """Columns ``[H, D']`` when ``index`` (``[1, H, N, D']``) is a per-head view of ``[N, channels]``."""
    if index.ndim == 4 and index.shape[0] == 1:
        index = index[0]
    if index.ndim != 3:
        return None
    tokens = np.arange(index.shape[1])[None, :, None]
    columns = index - tokens * channels
    first = columns[:, :1, :]
    if first.min() < 0 or first.max() >= channels or not np.array_equal(columns, np.broadcast_to(first, columns.shape)):
        return None
    return first[:, 0, :]


def whole_tokens(index: np.ndarray, channels: int) -> range | None:
    """The tokens when ``index`` is whole rows of a stream, one after another, else None."""
    flat = index.reshape(-1)
    if not flat.size or flat.size % channels or flat[0] % channels or not np.array_equal(flat, np.arange(flat.size) + flat[0]):
        return None
    first = int(flat[0]) // channels
    return range(first, first + flat.size // channels)
