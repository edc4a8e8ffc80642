"""What a QONNX tensor means in integer hardware: the values that the lowering rules pass along.

A value that stands for hardware data carries an ``index``: an integer array of the ONNX tensor's shape
whose entries are flat positions in the value's base array (``token * channels + channel`` for a
stream). Reshape, Transpose, Slice, Split, Gather and friends only act on that array, so the rules see
through any chain of them without knowing its form.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class Const:
    """A constant in float (or integer) values."""

    value: np.ndarray

    def view(self, f) -> "Const":
        return Const(f(self.value))


@dataclass(frozen=True)
class QConst:
    """A quantised constant: integer ``codes`` and real ``scale``, both of the tensor's shape."""

    codes: np.ndarray
    scale: np.ndarray

    def view(self, f) -> "QConst":
        return QConst(f(self.codes), f(self.scale))

    @property
    def value(self) -> np.ndarray:
        return self.codes * self.scale


@dataclass(frozen=True)
class Indexed:
    """Base of the values that stand for hardware data."""

    index: np.ndarray

    def view(self, f) -> "Indexed":
        return replace(self, index=f(self.index))


@dataclass(frozen=True)
class Image(Indexed):
    """The model's input: uint8 pixels; ``tensor`` is the host tensor of this layout."""

    tensor: str
    bits: int = 8


@dataclass(frozen=True)
class Stream(Indexed):
    """A stream of the hardware graph: tensor ``[1, tokens, channels]`` of codes at ``scale``."""

    tensor: str
    tokens: int
    channels: int
    scale: float
    bits: int
    signed: bool


@dataclass(frozen=True)
class Acc(Indexed):
    """Accumulators of a matrix product: base ``[tokens, MH]``, real value (x w) s_x s_w[c] + bias[c]."""

    x: Stream
    weights: np.ndarray = field(compare=False)
    weight_scale: np.ndarray = field(compare=False)
    bias: np.ndarray = field(compare=False)
    node: str = ""


@dataclass(frozen=True)
class QAcc(Indexed):
    """Accumulators after requantisation, not yet built: some columns of ``acc`` as codes at ``scale``."""

    acc: Acc
    scale: float
    bits: int
    signed: bool
    narrow: bool = False
    tensor: str = ""


@dataclass(frozen=True)
class Normed(Indexed):
    """LayerNorm (without gamma and beta) of a stream, real valued."""

    x: Stream
    eps: float


@dataclass(frozen=True)
class Table(Indexed):
    """Any element-wise function of a stream of at most 8 bits: its value for every code, lowest code first."""

    x: Stream
    values: np.ndarray = field(compare=False)


@dataclass(frozen=True)
class Sum(Indexed):
    """Sum of two streams of one shape and scale."""

    a: Stream
    b: Stream


@dataclass(frozen=True)
class Mean(Indexed):
    """Mean over the tokens of a stream from ``first`` on, real valued; base ``[1, D]``."""

    x: Stream
    first: int


@dataclass(frozen=True)
class Rows(Indexed):
    """Constant prefix rows before the rows of a stream, plus optional positions; base ``[n + P, D]``."""

    prefix: np.ndarray = field(compare=False)
    x: Stream
    positions: np.ndarray | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Product(Indexed):
    """q k^T; base ``[H, NQ, N]``; ``factor`` is a constant it was multiplied with."""

    q: QAcc
    k: QAcc
    factor: float = 1.0


@dataclass(frozen=True)
class Logits(Indexed):
    """Quantised q k^T."""

    product: Product
    scale: float
    bits: int
    tensor: str = ""


@dataclass(frozen=True)
class RowMax(Indexed):
    """Largest logit of each row; base ``[H, NQ]``."""

    logits: Logits


@dataclass(frozen=True)
class Diff(Indexed):
    """Logit minus the largest of its row."""

    logits: Logits


@dataclass(frozen=True)
class ExpDiff(Indexed):
    """exp(logit - max), real valued."""

    logits: Logits


@dataclass(frozen=True)
class Numerator(Indexed):
    """E: the UINT8 numerators of the deferred softmax; ``unit`` is the real value of code 1."""

    logits: Logits
    unit: float


@dataclass(frozen=True)
class RowSum(Indexed):
    """Z: row sums of E; base ``[H, NQ]``."""

    e: Numerator
    unit: float


@dataclass(frozen=True)
class Weighted(Indexed):
    """E v before the division; base ``[NQ, H D']`` in channel order h D' + d."""

    e: Numerator
    v: QAcc


@dataclass(frozen=True)
class Attended(Indexed):
    """E v / Z, real valued; base ``[NQ, H D']``."""

    e: Numerator
    v: QAcc


@dataclass(frozen=True)
class Shares(Indexed):
    """floor(2**16 E / Z) of query row 0; base ``[H, N]``."""

    logits: Logits


@dataclass(frozen=True)
class Scores(Indexed):
    """Token scores of one attention: sum of the shares over the heads; base ``[N]``."""

    logits: Logits


Value = Const | QConst | Indexed


def is_range(index: np.ndarray) -> bool:
    """Whether the entries are 0, 1, 2, ... in order."""
    return bool(np.array_equal(index.reshape(-1), np.arange(index.size)))


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


def single_token(index: np.ndarray, tokens: int, channels: int) -> int | None:
    """The token when ``index`` is one whole row of a stream, else None."""
    flat = index.reshape(-1)
    if flat.size != channels or flat[0] % channels or not np.array_equal(flat, np.arange(channels) + flat[0]):
        return None
    return int(flat[0]) // channels
