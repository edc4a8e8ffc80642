"""What a student's encoders give beside what its teacher's give."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from finn_vitprune.errors import UserError
from finn_vitprune.models.evaluate import hooked


class FeatureError:
    """The error of a student's encoders in a pass, times a weight; with weight 0 nothing is looked at.

    Args:
        student, teacher: networks whose encoders are ``blocks``.
    Raises:
        UserError: the teacher has not as many encoders, of the same width.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, weight: float) -> None:
        self.weight, self._networks = weight, (student, teacher)
        self._outputs: tuple[list[Tensor], list[Tensor]] = ([], [])
        if weight and _shape(student) != _shape(teacher):
            raise UserError("student.distill_features needs a teacher with the student's encoders: use 0, or the teacher of the same sizes")

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Keep what the encoders of both networks give, pass by pass."""
        for kept in self._outputs:
            kept.clear()
        pairs = zip(self._networks, self._outputs)
        blocks = [(kept, n.blocks[0], block) for n, kept in pairs if self.weight for block in n.blocks]
        with hooked(block.register_forward_hook(partial(_keep, kept, first)) for kept, first, block in blocks):
            yield

    def of_last_pass(self) -> Tensor:
        """Weight times the mean error of the encoders, one value an image ``[B]``."""
        pairs = zip(*self._outputs, strict=True)
        return self.weight * sum(_error(x, y) for x, y in pairs) / len(self._outputs[0])


def _shape(network: nn.Module) -> tuple[int, int | None]:
    """Encoders and their width."""
    return len(getattr(network, "blocks", ())), getattr(getattr(network, "pos_embed", None), "shape", (None,))[-1]


def _keep(kept: list[Tensor], first: nn.Module, block: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    """A forward hook."""
    if block is first:
        kept.clear()
    kept.append(output.float())


def _error(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared error of two encoders' outputs ``[B, N, D]``, normalised as the next LayerNorm does; ``[B]``.

    Of all tokens where both have the same, of token 0 where one of them dropped some.
    """
    if x.shape != y.shape:
        x, y = x[:, :1], y[:, :1]
    width = x.shape[-1:]
    return (F.layer_norm(x, width) - F.layer_norm(y, width)).square().mean((1, 2))
