"""The integers of a hardware graph, in batches and fast: the same values as :mod:`.golden`, which is the specification.

Every node becomes a kernel of PyTorch operations on narrow integer tensors. Three facts make the kernels exact; nothing else is assumed.

- **Products in int8.** oneDNN multiplies int8 by int8 and adds in int32. A sum of K products stays below K 2^14, so int32 holds it to
  K = 2^17 - 1. Processors without such an instruction may saturate pairs of products at 16 bits, which :func:`int8_is_exact` finds out.
- **Products in floats.** A float32 holds every integer up to 2^24, a float64 up to 2^53. If the largest input times the largest sum of
  magnitudes of a column stays within, every partial sum is an integer that is held, in any order of addition.
  (INT8 x INT8 stays within float32 to K = 1,023 whatever the weights; the bound of the real weights is usually far smaller.)
- **Requantisation.** x m 2^-s with integers |x m| < 2^53 is one float64 product: m 2^-s is exact, and so is the result, which ``round``
  then rounds to the nearest integer, ties to even.

A node whose sizes leave these bounds, or that has no kernel, runs through its golden model: slower, never different.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from onnx import NodeProto
from qonnx.core.datatype import BaseDataType, DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from torch import Tensor

from finn_vitprune.custom_ops.attention.pruned_attention import PrunedAttention
from finn_vitprune.custom_ops.elementwise.add import VitAdd
from finn_vitprune.custom_ops.elementwise.gate import VitGate
from finn_vitprune.custom_ops.elementwise.lookup import VitLookup
from finn_vitprune.custom_ops.elementwise.requant import VitRequant
from finn_vitprune.custom_ops.elementwise.rotary import VitRotary
from finn_vitprune.custom_ops.layernorm.layernorm import VitLayerNorm
from finn_vitprune.custom_ops.mvau.block_sparse_mvau import BlockSparseMVAU
from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.custom_ops.streams.fork import VitFork
from finn_vitprune.custom_ops.streams.split import VitSplit
from finn_vitprune.custom_ops.token_drop.token_drop import VitTokenDrop
from finn_vitprune.custom_ops.tokens.select_token import VitSelectToken
from finn_vitprune.custom_ops.tokens.token_embed import VitTokenEmbed
from finn_vitprune.custom_ops.tokens.token_mean import VitTokenMean
from finn_vitprune.execute import golden
from finn_vitprune.models import integer
from finn_vitprune.numerics import EXP_MAX, GATE_SHIFT, ROTARY_ONE, SCORE_BITS, int_range

BATCH_VALUES, MOST_IMAGES = 1 << 21, 256
"""Values of the largest stream in a batch, and images in it: enough to hide what a call costs, little memory."""
FLOAT32_EXACT, FLOAT64_EXACT = 1 << 24, 1 << 53
"""A float holds every integer of at most this magnitude."""
CHUNK = 1 << 15
"""Values that are requantised at once: as float64 they stay in a core's cache."""

Kernel = Callable[..., "list[Tensor]"]
"""Output tensors ``[B, tokens, channels]`` of one node from its streams."""


class IntegerProgram:
    """A lowered hardware graph, ready to run on batches of images."""

    def __init__(self, model: ModelWrapper, device: torch.device | str = "cpu") -> None:
        """Prepare a kernel for each node.

        Args:
            model: as ``step_lower`` leaves it: uint8 images ``[1, H, W, C]`` in, logits out, a node a layer.
        """
        self.model, self.device = model, torch.device(device)
        if self.device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = False  # products of 10 bits would not be exact
        self.input, self.output = model.graph.input[0].name, model.graph.output[0].name
        self._steps = [self._step(node) for node in model.graph.node]
        largest = max((int(np.prod(model.get_tensor_shape(name) or [1])) for step in self._steps for name in step.outputs), default=1)
        self.batch = max(1, min(MOST_IMAGES, BATCH_VALUES // largest))
        self._last = {name: i for i, step in enumerate(self._steps) for name in step.inputs}

    @property
    def through_golden_models(self) -> tuple[str, ...]:
        """Names of the nodes without a kernel."""
        return tuple(step.name for step in self._steps if step.golden)

    @torch.inference_mode()
    def run(self, images: np.ndarray, tensors: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """The logits, and ``tensors`` besides, of ``images`` ``[F, H, W, C]``, any number of them.

        Returns:
            int64 arrays ``[F, ...]`` by tensor name, shapes as :func:`.golden.run` gives them.
        """
        wanted = tuple(dict.fromkeys([*tensors, self.output]))
        parts = [self._run(images[start : start + self.batch], wanted) for start in range(0, len(images), self.batch)]
        return {name: np.concatenate([part[name] for part in parts]) for name in wanted}

    @property
    def classes(self) -> int:
        """Logits of an image."""
        return int(np.prod(self.model.get_tensor_shape(self.output)[1:]))

    def logits(self, images: np.ndarray) -> np.ndarray:
        """int64 ``[F, classes]``."""
        return self.run(images)[self.output].reshape(len(images), -1)

    def _run(self, images: np.ndarray, wanted: Sequence[str]) -> dict[str, np.ndarray]:
        values = {self.input: torch.from_numpy(np.ascontiguousarray(images)).to(self.device)}
        for i, step in enumerate(self._steps):
            values.update(zip(step.outputs, step.kernel(*(values[name] for name in step.inputs)), strict=True))
            for name in set(step.inputs):
                if self._last[name] == i and name not in wanted:
                    del values[name]
        return {name: values[name].cpu().numpy().astype(np.int64) for name in wanted}

    def _step(self, node: NodeProto) -> _Step:
        streams = tuple(name for name in node.input if self.model.get_initializer(name) is None)
        if not golden.is_hardware(node):
            return _Step(node.name, streams, tuple(node.output), self._host_kernel(node))
        op = getCustomOp(node)
        constants = [np.rint(array) for name in node.input if (array := self.model.get_initializer(name)) is not None]
        make = next((make for kind, make in KERNELS.items() if isinstance(op, kind)), None)
        kernel = make and make(op, constants, self.device)
        return _Step(node.name, streams, tuple(node.output), kernel or self._golden_kernel(node), golden=kernel is None)

    def _host_kernel(self, node: NodeProto) -> Kernel:
        """A node that only moves pixels, as an index into each image."""
        orders = [torch.from_numpy(order).to(self.device) for order in golden.pixel_orders(self.model, node)]
        return lambda x: [x.reshape(len(x), -1)[:, order.reshape(-1)].reshape(-1, *order.shape) for order in orders]

    def _golden_kernel(self, node: NodeProto) -> Kernel:
        streams = [name for name in node.input if self.model.get_initializer(name) is None]

        def kernel(*inputs: Tensor) -> list[Tensor]:
            values = {name: x.cpu().numpy() for name, x in zip(streams, inputs, strict=True)}
            made = golden.run_node(self.model, node, values)
            return [torch.from_numpy(made[name]).to(self.device) for name in node.output]

        return kernel


@dataclass(frozen=True)
class _Step:
    """A node: the names of its streams, and what computes it. golden: it is the golden model."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    kernel: Kernel
    golden: bool = False


# --- what the kernels share ---------------------------------------------------------------------------------------


@cache
def int8_is_exact() -> bool:
    """Whether this processor's int8 product adds in int32 without saturating, tried on the largest products of either sign."""
    try:
        for a, b in ((-128, -128), (-128, 127), (127, -128), (127, 127)):
            x, w = torch.full((32, 256), a, dtype=torch.int8), torch.full((256, 32), b, dtype=torch.int8)
            if not bool((torch._int_mm(x, w) == 256 * a * b).all()):
                return False
    except (RuntimeError, AttributeError):
        return False
    return True


def torch_type(dtype: BaseDataType) -> torch.dtype:
    """The narrowest integer type of PyTorch that holds a FINN type."""
    if not dtype.signed():
        return torch.uint8 if dtype.bitwidth() <= 8 else _signed(dtype.bitwidth() + 1)
    return _signed(dtype.bitwidth())


def _signed(bits: int) -> torch.dtype:
    return torch.int8 if bits <= 8 else torch.int16 if bits <= 16 else torch.int32 if bits <= 32 else torch.int64


def magnitude(dtype: BaseDataType) -> int:
    """The largest magnitude of a FINN type."""
    return int(max(abs(dtype.min()), abs(dtype.max())))


def requantise(x: Tensor, ratio: Tensor, dtype: BaseDataType) -> Tensor:
    """``clip(round_half_even(x ratio))`` as codes of ``dtype``; |x ratio's multiplier| < 2^53.

    Args:
        x: integers ``[rows, channels]`` of any type. ratio: float64 ``mult 2^-shift`` that broadcasts, by row or channel.
    """
    made = torch.empty(x.shape, dtype=torch_type(dtype), device=x.device)
    lo, hi = int_range(dtype.bitwidth(), dtype.signed())
    rows = max(1, CHUNK // x.shape[1])
    work = torch.empty((min(rows, len(x)), x.shape[1]), dtype=torch.float64, device=x.device)
    by_row = len(ratio) == len(x) and ratio.shape[-1] == 1 and ratio.ndim == 2
    for start in range(0, len(x), rows):
        end = min(start + rows, len(x))
        part = work[: end - start].copy_(x[start:end])
        part.mul_(ratio[start:end] if by_row else ratio).round_().clamp_(lo, hi)
        made[start:end] = part
    return made


def _ratio(mult: np.ndarray | int, shift: int, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ldexp(np.atleast_1d(np.asarray(mult, np.float64)), -shift)).to(device)


# --- kernels ------------------------------------------------------------------------------------------------------


def _matrix(op: BlockSparseMVAU, constants: list[np.ndarray], device: torch.device) -> Kernel | None:
    weights, bias = constants[0].astype(np.int64), constants[1].astype(np.int64).reshape(-1)
    x = DataType[op.get_nodeattr("inputDataType")]
    y = DataType[op.get_nodeattr("outputDataType")]
    largest = int((np.abs(weights).sum(0) * magnitude(x) + np.abs(bias)).max())
    rows = np.flatnonzero(weights.any(1))  # inputs that no kept block reads cost nothing
    kept = None if len(rows) == len(weights) else torch.from_numpy(rows).to(device)
    product = _product(weights[rows], bias, x, largest, device)
    if product is None:
        return None
    if op.get_nodeattr("requant"):
        mult, shift = constants[2].astype(np.int64).reshape(-1), op.get_nodeattr("shift")
        if largest * int(mult.max()) >= FLOAT64_EXACT:
            return None
        ratio = _ratio(mult, shift, device)

    def kernel(x: Tensor) -> list[Tensor]:
        flat = x.reshape(-1, x.shape[-1])
        acc = product(flat if kept is None else flat[:, kept])
        made = requantise(acc, ratio, y) if op.get_nodeattr("requant") else acc.to(torch.int64)
        return [made.reshape(*x.shape[:-1], -1)]

    return kernel


def _product(
    weights: np.ndarray, bias: np.ndarray, x: BaseDataType, largest: int, device: torch.device
) -> Callable[[Tensor], Tensor] | None:
    """``x W + bias`` as a product that is exact for sums up to ``largest``; None where none is."""
    if (
        device.type == "cpu"
        and torch_type(x) == torch.int8
        and np.abs(weights + 0.5).max(initial=0) < 128
        and largest < 1 << 31
        and int8_is_exact()
    ):
        w8 = torch.from_numpy(weights.astype(np.int8))
        b32 = torch.from_numpy(bias.astype(np.int32))
        return lambda x: torch._int_mm(x, w8).add_(b32)
    if largest >= FLOAT64_EXACT:
        return None
    kind = torch.float32 if largest <= FLOAT32_EXACT else torch.float64
    w, b = (torch.from_numpy(array).to(device, kind) for array in (weights, bias))
    return lambda x: torch.addmm(b, x.to(kind), w)


def _attention(op: PrunedAttention, constants: list[np.ndarray], device: torch.device) -> Kernel | None:
    c, heads, dim, tokens = op.constants(), *(op.get_nodeattr(name) for name in ("heads", "head_dim", "tokens"))
    code = magnitude(DataType[op.get_nodeattr("inputDataType")])
    bias = None
    if op.get_nodeattr("bias_bits"):
        bias = torch.from_numpy(op.own_bias(constants[1]).astype(np.float32) * 2.0**c.bias_shift).to(device, torch.float32)
    logit, out = dim * code * code + (0 if bias is None else int(bias.abs().max())), tokens * EXP_MAX * code
    if max(logit * c.logit_mult, out * (c.recip_num // EXP_MAX)) >= FLOAT64_EXACT or max(logit, out) > FLOAT32_EXACT:
        return None
    codes, outputs = DataType[f"INT{c.logit_bits}"], DataType[f"INT{c.out_bits}"]
    scale = _ratio(c.logit_mult, c.logit_shift, device)
    table = torch.from_numpy(constants[0].reshape(-1).astype(np.float32)).to(device)
    scores = op.get_nodeattr("scores")

    def kernel(q: Tensor, kv: Tensor) -> list[Tensor]:
        batch = len(q)
        q, k, v = (x.reshape(batch, -1, heads, dim).transpose(1, 2).to(torch.float32) for x in (q, *kv.split(heads * dim, dim=-1)))
        acc = q @ k.transpose(-1, -2)
        acc = acc if bias is None else acc + bias
        logits = requantise(acc.reshape(-1, acc.shape[-1]), scale, codes).to(torch.int32).view(acc.shape)
        e = table[logits.amax(-1, keepdim=True) - logits]
        z = e.sum(-1, keepdim=True, dtype=torch.float64)
        recip = torch.floor(c.recip_num / z)
        recip -= (recip * z > c.recip_num).double()  # a quotient beside an integer may have been rounded up to it
        ratio = torch.ldexp(recip, torch.tensor(-c.recip_shift, device=device)).reshape(-1, 1)
        o = requantise((e @ v).reshape(-1, dim), ratio, outputs).view(batch, heads, -1, dim)
        made = [o.transpose(1, 2).reshape(batch, -1, heads * dim)]
        if scores:
            first = e[..., 0, :].long() << SCORE_BITS
            made.append((first // z[..., 0, :].long()).sum(1).unsqueeze(-1))
        return made

    return kernel


def _layernorm(op: VitLayerNorm, _: list[np.ndarray], device: torch.device) -> Kernel | None:
    eps, mult, shift = (op.get_nodeattr(name) for name in ("eps", "mult", "shift"))
    target, code = op.target.dtype, magnitude(op.source.dtype)
    channels, rows, passed = op.width, op.get_nodeattr("rows"), op.get_nodeattr("passed")
    if channels * channels * code * code >= FLOAT64_EXACT:
        return None

    def norm(x: Tensor) -> Tensor:
        flat = x.reshape(-1, channels).double()
        s1 = flat.sum(-1, keepdim=True) if op.centred else flat.new_zeros(())
        s2 = flat.square().sum(-1, keepdim=True)
        r, e = integer.reciprocal_sqrt((channels * s2 - s1 * s1).long() + eps)
        ratio = torch.ldexp((r * mult >> 16).double(), -(8 + e + shift))
        return requantise(flat.mul_(channels).sub_(s1), ratio, target).view(x.shape)

    upper = torch.tensor([2.0 ** (target.bitwidth() - op.source.dtype.bitwidth())], dtype=torch.float64, device=device)

    def heads(x: Tensor) -> Tensor:
        split = x.reshape(*x.shape[:-1], rows, channels)
        values = split[..., rows - passed :, :].double()
        made = norm(split[..., : rows - passed, :].contiguous()), requantise(values.reshape(-1, channels), upper, target).view(values.shape)
        return torch.cat(made, -2).view(x.shape)

    return lambda x: [heads(x) if passed else norm(x)]


def _requant(op: VitRequant, constants: list[np.ndarray], device: torch.device) -> Kernel | None:
    mult = constants[0].astype(np.int64).reshape(-1)
    if magnitude(op.source.dtype) * int(mult.max()) >= FLOAT64_EXACT:
        return None
    ratio, target = _ratio(mult, op.get_nodeattr("shift"), device), op.target.dtype
    return lambda x: [requantise(x.reshape(-1, x.shape[-1]), ratio, target).view(x.shape)]


def _rotary(op: VitRotary, constants: list[np.ndarray], device: torch.device) -> Kernel:
    """Sums of two products of at most 18 bits, times a power of two."""
    rotated, dtype = op.get_nodeattr("rotated"), op.source.dtype
    table = np.tile(constants[0].reshape(op.source.tokens, -1), rotated // op.get_nodeattr("table_channels"))
    cos, sin = (torch.from_numpy(table[:, i::2].astype(np.int32)).to(device) for i in (0, 1))
    lo, hi = int_range(dtype.bitwidth(), signed=True)

    def kernel(x: Tensor) -> list[Tensor]:
        a, b = x[..., :rotated:2].to(torch.int32), x[..., 1:rotated:2].to(torch.int32)
        sums = torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)
        turned = torch.round(sums.to(torch.float32) / ROTARY_ONE).clamp_(lo, hi).to(torch_type(dtype))
        return [torch.cat([turned, x[..., rotated:]], dim=-1)]

    return kernel


def _gate(op: VitGate, constants: list[np.ndarray], device: torch.device) -> Kernel:
    """Products of at most 2^24, exact in float32, times a power of two."""
    lowest, target = int(op.source.dtype.min()), op.target.dtype
    table = torch.from_numpy(constants[0].reshape(-1).astype(np.float32)).to(device)
    lo, hi = int_range(target.bitwidth(), signed=True)

    def kernel(x: Tensor) -> list[Tensor]:
        product = table[x[..., ::2].to(torch.int32) - lowest] * x[..., 1::2]
        return [torch.round(product * 2.0**-GATE_SHIFT).clamp_(lo, hi).to(torch_type(target))]

    return kernel


def _lookup(op: VitLookup, constants: list[np.ndarray], device: torch.device) -> Kernel:
    lowest, kind = int(op.source.dtype.min()), torch_type(op.target.dtype)
    table = torch.from_numpy(constants[0].reshape(-1).astype(np.int64)).to(device, kind)
    return lambda x: [table[x.to(torch.int32) - lowest]]


def _add(op: VitAdd, _: list[np.ndarray], device: torch.device) -> Kernel:
    lo, hi = int_range(op.source.dtype.bitwidth(), signed=True)
    kind = torch_type(op.source.dtype)
    return lambda a, b: [(a.to(torch.int32) + b).clamp_(lo, hi).to(kind)]


def _token_embed(op: VitTokenEmbed, constants: list[np.ndarray], device: torch.device) -> Kernel:
    dtype = op.out_streams()[0].dtype
    lo, hi = int_range(dtype.bitwidth(), signed=True)
    prefix, positions = (torch.from_numpy(array.astype(np.int64)).to(device) for array in constants)

    def kernel(x: Tensor) -> list[Tensor]:
        rows = prefix.reshape(1, op.get_nodeattr("prefix"), x.shape[-1]).expand(len(x), -1, -1)
        return [(torch.cat([rows, x.long()], 1) + positions).clamp_(lo, hi).to(torch_type(dtype))]

    return kernel


def _token_drop(op: VitTokenDrop, _: list[np.ndarray], device: torch.device) -> Kernel:
    f = op.folding()

    def kernel(x: Tensor, scores: Tensor) -> list[Tensor]:
        scores = scores[..., 0]
        if f.drops and bool((scores[..., f.prefix :].sum(-1) > f.score_limit).any()):
            raise ValueError(f"scores of a frame sum to more than {f.score_limit}, 2**16 a head of {f.heads}")
        return [integer.token_drop(x.long(), scores.long(), f.k, f.mult, f.shift, prefix=f.prefix).to(x.dtype)]

    return kernel


def _token_mean(op: VitTokenMean, _: list[np.ndarray], device: torch.device) -> Kernel | None:
    first, mult, shift = (op.get_nodeattr(name) for name in ("first", "mult", "shift"))
    if magnitude(op.source.dtype) * op.source.tokens * mult >= FLOAT64_EXACT:
        return None
    ratio = _ratio(mult, shift, device)
    return lambda x: [requantise(x[:, first:].sum(1, dtype=torch.int64), ratio, op.target.dtype).unsqueeze(1)]


def _slices(op: VitSplit | VitSelectToken | VitFork, _: list[np.ndarray], device: torch.device) -> Kernel:
    """Ops that only pass parts of what comes: their golden models work on tensors as they are."""
    return lambda x: [made.contiguous() for made in _passed(op, x)]


def _passed(op: VitSplit | VitSelectToken | VitFork, x: Tensor) -> list[Tensor]:
    if isinstance(op, VitSplit):
        first = op.get_nodeattr("first")
        return [x[:, : op.first_tokens, :first], x[..., first:]]
    if isinstance(op, VitSelectToken):
        return [x[:, op.selected.start : op.selected.stop]]
    return [x] * len(op.onnx_node.output)


KERNELS: Mapping[type[VitOp], Callable[[VitOp, list[np.ndarray], torch.device], Kernel | None]] = {
    BlockSparseMVAU: _matrix,
    PrunedAttention: _attention,
    VitLayerNorm: _layernorm,
    VitRequant: _requant,
    VitRotary: _rotary,
    VitGate: _gate,
    VitLookup: _lookup,
    VitAdd: _add,
    VitTokenEmbed: _token_embed,
    VitTokenDrop: _token_drop,
    VitTokenMean: _token_mean,
    VitSplit: _slices,
    VitSelectToken: _slices,
    VitFork: _slices,
}
"""What makes the kernel of an op from the op, its constants and the device; None: its sizes are out of bounds."""
