"""Holds the hardware graph against the QONNX model: node by node, and end to end."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.execute import golden
from finn_vitprune.execute.qonnx_runner import QonnxRunner
from finn_vitprune.transforms.lowering import Lowered, Match


@dataclass(frozen=True)
class TensorCheck:
    """One hardware tensor, its op fed the QONNX tensors: codes compared, how many differ, by how much."""

    tensor: str
    qonnx: str
    op_type: str
    codes: int
    differing: int
    max_difference: int


@dataclass(frozen=True)
class LoweringCheck:
    """Result of :func:`check_lowering`."""

    images: int
    tensors: list[TensorCheck]
    max_code_difference: int
    differing_share: float
    top1_agreement: float

    def as_dict(self) -> dict:
        """For JSON."""
        return asdict(self)


def check_lowering(source: ModelWrapper, lowered: Lowered, pixels: np.ndarray) -> LoweringCheck:
    """Compare ``lowered`` with the QONNX model ``source`` on ``pixels`` ``[F, H, W, C]``.

    Each op whose inputs and output have QONNX counterparts runs on the QONNX codes of its inputs.
    """
    matches: dict[str, list[Match]] = {}
    for match in lowered.matches:
        matches.setdefault(match.hardware, []).append(match)
    runner = QonnxRunner(source, sorted({m.qonnx for m in lowered.matches}))
    reference = runner.run(pixels)
    end_to_end = golden.run(lowered.model, {lowered.model.graph.input[0].name: pixels})
    fed = {name: _codes(ms, reference, end_to_end[name].shape) for name, ms in matches.items() if name in end_to_end}
    checks = []
    for node in lowered.model.graph.node:
        if not node.domain.startswith("finn.custom_op.fpgadataflow"):
            continue
        values = {**end_to_end, **{k: v for k, v in fed.items() if v is not None}}
        outputs = _run(lowered.model, node, values)
        for name, got in zip(node.output, outputs):
            # what has no counterpart (scores, the merged Q K V) is passed on as computed from QONNX inputs
            if fed.get(name) is None:
                end_to_end[name] = got
                continue
            for match in matches[name]:
                wanted = fed[name].reshape(len(pixels), -1)[:, match.index.reshape(-1)]
                seen = got.reshape(len(pixels), -1)[:, match.index.reshape(-1)]
                difference = np.abs(wanted - seen)
                checks.append(TensorCheck(name, match.qonnx, node.op_type, difference.size,
                                          int(np.count_nonzero(difference)), int(difference.max(initial=0))))
    final = golden.run(lowered.model, {lowered.model.graph.input[0].name: pixels})
    logits = final[lowered.model.graph.output[0].name].reshape(len(pixels), -1)
    agree = np.argmax(logits, -1) == np.argmax(reference[runner.output].reshape(len(pixels), -1), -1)
    codes = sum(c.codes for c in checks)
    return LoweringCheck(
        len(pixels), checks, max((c.max_difference for c in checks), default=0),
        sum(c.differing for c in checks) / max(codes, 1), float(np.mean(agree)),
    )


def _codes(matches: list[Match], reference: dict[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray | None:
    """Codes of a hardware tensor from its QONNX counterparts; None when these do not cover it."""
    frames = shape[0]
    size = int(np.prod(shape[1:]))
    codes, seen = np.zeros((frames, size), np.int64), np.zeros(size, bool)
    for match in matches:
        index = match.index.reshape(-1)
        codes[:, index] = np.rint(reference[match.qonnx].reshape(frames, -1).astype(np.float64) / match.scale)
        seen[index] = True
    return codes.reshape(shape) if seen.all() else None


def _run(model: ModelWrapper, node, values: dict[str, np.ndarray]) -> list[np.ndarray]:
    constants = {i.name for i in model.graph.initializer}
    arrays = [
        np.rint(model.get_initializer(n)).astype(np.int64) if n in constants else values[n] for n in node.input
    ]
    return getCustomOp(node).compute(*arrays)
