"""The normal form: what a tensor of an ONNX graph is, seen through every reshape and constant.

A tensor is a constant, or a :class:`View` of a term. A term is one step of a network (a linear layer, a
LayerNorm, an attention product) with a base array ``[rows, columns]``: tokens by channels. A view's index
(:mod:`finn_vitprune.graph.rules`) holds flat positions in that base array. A scalar function of each element
(a scale, the parts of GELU) is kept as its values on a grid
(:mod:`finn_vitprune.ingest.normal_form.functions`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from finn_vitprune.graph.node import Node
from finn_vitprune.graph.rules import Indexed, Symbolic
from finn_vitprune.models.config import NormKind


@dataclass(frozen=True, eq=False, repr=False)
class Term:
    """One step of the network; equal only to itself.

    node: the ONNX node that made it; absorbed: terms that it replaces (a bias added, a scale folded).
    """

    rows: int
    columns: int
    node: Node
    absorbed: tuple[Term, ...] = field(default=(), kw_only=True)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.rows} x {self.columns} of node {self.node.name}>"


@dataclass(frozen=True, eq=False, repr=False)
class View(Indexed):
    """A tensor as a view of ``term``.

    fn: values of an element-wise function on the grid, or None; by: the node that made it so.
    """

    term: Term
    fn: np.ndarray | None = None
    by: Node | None = None

    def __repr__(self) -> str:
        return f"<View {list(self.shape)} of {self.term!r}>"

    def same_as(self, other: View) -> bool:
        """Whether both show the same elements of one term (functions may differ)."""
        if self.term is not other.term:
            return False
        return self.index is other.index or np.array_equal(self.index, other.index)


@dataclass(frozen=True, eq=False, repr=False)
class TokenRows:
    """Whole rows of a term: all, or those numbered ``rows``."""

    term: Term
    rows: tuple[int, ...] | None = None

    @property
    def count(self) -> int:
        return self.term.rows if self.rows is None else len(self.rows)


@dataclass(frozen=True, eq=False, repr=False)
class HeadView:
    """``[H, N, D']`` view of a term: columns ``[H, D']``, every head over the same rows."""

    term: Term
    columns: np.ndarray


@dataclass(frozen=True, eq=False)
class Angles:
    """By what pairs of channels are turned: cosines and sines ``[T, N, D' / 2]``, T 1 for all heads or their number."""

    cos: np.ndarray
    sin: np.ndarray

    @property
    def tables(self) -> int:
        """T."""
        return len(self.cos)

    def alike(self) -> Angles:
        """The same with as many tables of cosines as of sines."""
        tables = max(len(self.cos), len(self.sin))
        return Angles(*(np.broadcast_to(a, (tables, *a.shape[1:])) for a in (self.cos, self.sin)))

    def near(self, other: Angles) -> bool:
        """Whether another one turns by the same angles."""
        return all(a.shape == b.shape and np.allclose(a, b, rtol=0, atol=1e-6) for a, b in ((self.cos, other.cos), (self.sin, other.sin)))


@dataclass(frozen=True, eq=False, repr=False)
class Mixed(Symbolic, kind="channels of a layer that are weighed by constants and added"):
    """Every element the sum of some elements of ``term``, times a constant each, times ``factor``.

    ``indices`` and ``weights``, of the tensor's shape: one array a product.
    """

    term: Linear
    indices: tuple[np.ndarray, ...]
    weights: tuple[np.ndarray, ...]
    factor: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.indices[0].shape

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in (*self.indices, *self.weights))

    def moved(self, function: Callable[[np.ndarray], np.ndarray]) -> Mixed:
        return replace(self, indices=tuple(map(function, self.indices)), weights=tuple(map(function, self.weights)))


# --- the terms -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Pixels(Term):
    """The input image, one row of all its values; element by element ``x scale + offset``."""

    shape: tuple[int, ...]
    scale: np.ndarray | None = None
    offset: np.ndarray | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Opaque(Term):
    """A tensor of which only the shape is known: the result of a rejected node, or an input that is not an image."""


@dataclass(frozen=True, eq=False, repr=False)
class Patches(Term):
    """Pixels gathered into rows, one a patch: ``index`` ``[patches, pixels]``."""

    pixels: Pixels
    index: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Linear(Term):
    """``x W + b``, W ``[in, out]``; ``scaled``: a vector was multiplied into W and b (LayerScale)."""

    x: TokenRows
    weight: np.ndarray
    bias: np.ndarray | None = None
    scaled: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class Norm(Term):
    """LayerNorm or RMSNorm over the columns."""

    x: TokenRows
    gamma: np.ndarray | None
    beta: np.ndarray | None
    eps: float
    kind: NormKind = NormKind.LAYER


@dataclass(frozen=True, eq=False, repr=False)
class HeadNorm(Term):
    """LayerNorm or RMSNorm of heads: of parts of ``width`` columns, side by side, of the rows of ``x``. Gamma and beta ``[width]`` serve all."""

    x: Linear
    width: int
    gamma: np.ndarray | None
    beta: np.ndarray | None
    eps: float
    kind: NormKind


@dataclass(frozen=True, eq=False, repr=False)
class Activation(Term):
    """An element-wise function by name (:data:`finn_vitprune.ingest.normal_form.functions.KNOWN`)."""

    x: Term
    name: str


@dataclass(frozen=True, eq=False, repr=False)
class Columns:
    """Some columns of a linear layer, in any order, of every row."""

    term: Linear
    columns: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Gated(Term):
    """The function ``name`` of one layer's columns, the gates, times another's, the values, element by element."""

    gates: Columns
    values: Columns
    name: str


@dataclass(frozen=True, eq=False, repr=False)
class Sum(Term):
    """Sum of two tensors, a residual addition as a rule."""

    a: TokenRows
    b: TokenRows


@dataclass(frozen=True, eq=False, repr=False)
class Embedded(Term):
    """Row i is ``token[i] + position[i]``, plus row ``source[i]`` of ``x``, which reads patches, where that is not -1."""

    x: Linear
    source: np.ndarray
    token: np.ndarray
    position: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Query(Term):
    """A query that is the same for every image: one row of constants, ``values`` ``[1, H D']``."""

    values: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Scores(Term):
    """``q k^T factor``, rows are heads times queries; with ``angles``, pairs of neighbouring columns of q and k are turned first, and with
    ``bias`` ``[H, NQ, N]`` it is added.
    """

    q: HeadView
    k: HeadView
    factor: float
    angles: Angles | None = None
    bias: np.ndarray | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Softmax(Term):
    """Softmax of ``scores factor`` over the keys."""

    scores: Scores
    factor: float


@dataclass(frozen=True, eq=False, repr=False)
class Attended(Term):
    """Softmax times V; columns are head by head."""

    probabilities: Softmax
    v: HeadView


@dataclass(frozen=True, eq=False, repr=False)
class Mean(Term):
    """Mean over rows of ``x``; one row."""

    x: TokenRows


@dataclass(frozen=True, eq=False, repr=False)
class Probabilities(Term):
    """Softmax after the classifier."""

    x: TokenRows


@dataclass(frozen=True, eq=False, repr=False)
class Statistic(Term):
    """A step on the way to LayerNorm or RMSNorm, over the last axis of ``x``: mean, centred, variance, mean square."""

    kind: str
    x: View
