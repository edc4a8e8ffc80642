"""Holds the hardware graph against the QONNX model: node by node, and end to end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

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
    """Result of :func:`check_lowering`; ``source`` is the metadata of the model file."""

    images: int
    tensors: list[TensorCheck]
    max_code_difference: int
    differing_share: float
    top1_agreement: float
    logit_scale: float
    largest_scale_change: float
    source: dict[str, str]


def check_lowering(source: ModelWrapper, lowered: Lowered, pixels: np.ndarray) -> tuple[LoweringCheck, np.ndarray]:
    """Compare ``lowered`` with the QONNX model ``source`` on ``pixels`` ``[F, H, W, C]``.

    Each op whose inputs and output have QONNX counterparts runs on the QONNX codes of its inputs.

    Returns:
        The check, and the hardware graph's logits ``[F, classes]``.
    """
    frames, graph = len(pixels), lowered.model.graph
    runner = QonnxRunner(source, sorted({m.qonnx for m in lowered.matches}))
    reference = runner.run(pixels)
    end_to_end = golden.run(lowered.model, {graph.input[0].name: pixels})
    logits = end_to_end[graph.output[0].name].reshape(frames, -1)
    agree = np.argmax(logits, -1) == np.argmax(reference[runner.output].reshape(frames, -1), -1)
    checks = _check_nodes(lowered, reference, end_to_end)
    check = LoweringCheck(
        images=frames,
        tensors=checks,
        max_code_difference=max((c.max_difference for c in checks), default=0),
        differing_share=sum(c.differing for c in checks) / max(sum(c.codes for c in checks), 1),
        top1_agreement=float(np.mean(agree)),
        logit_scale=lowered.logit_scale,
        largest_scale_change=lowered.snap_error,
        source={p.key: p.value for p in source.graph.metadata_props},
    )
    return check, logits


def _check_nodes(
    lowered: Lowered, reference: dict[str, np.ndarray], end_to_end: dict[str, np.ndarray]
) -> list[TensorCheck]:
    """Every op on the QONNX codes of its inputs, against those of its outputs."""
    matches: dict[str, list[Match]] = {}
    for match in lowered.matches:
        matches.setdefault(match.hardware, []).append(match)
    codes = {name: _codes(ms, reference, end_to_end[name].shape) for name, ms in matches.items() if name in end_to_end}
    wanted = {name: values for name, values in codes.items() if values is not None}
    fed, checks = end_to_end | wanted, []
    for node in golden.hardware_nodes(lowered.model):
        for name, got in golden.run_node(lowered.model, node, fed).items():
            # what has no counterpart (scores, the merged Q K V) is passed on as computed from QONNX inputs
            if name not in wanted:
                fed[name] = got
                continue
            for match in matches[name]:
                difference = np.abs(wanted[name] - got).reshape(len(got), -1)[:, match.index.reshape(-1)]
                checks.append(TensorCheck(name, match.qonnx, node.op_type, difference.size,
                                          int(np.count_nonzero(difference)), int(difference.max(initial=0))))
    return checks


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
