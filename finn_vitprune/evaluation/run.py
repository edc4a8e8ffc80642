"""Runs a network's integers over images, chunk by chunk: in worker processes, resumable."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune import jobs
from finn_vitprune.cache import cache_dir
from finn_vitprune.errors import UserError
from finn_vitprune.evaluation.sources import ImageSource
from finn_vitprune.execute.program import IntegerProgram
from finn_vitprune.files import BROKEN_ARRAYS, sha256, whole_file
from finn_vitprune.training.parallel import own_device

CHUNK = 128
"""Images of a job: what an interruption costs at most, for each process."""
NAMED = 3


class Reference(Protocol):
    """What the integers are compared with; data that can be pickled. identity: a digest of what its answers depend on."""

    @property
    def identity(self) -> str: ...

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """``[F, classes]`` of uint8 ``[F, H, W, C]``."""


@dataclass(frozen=True)
class Answers:
    """Logits of the images that could be read.

    index: their numbers. logits: integers ``[n, classes]``. reference: the float network's, or None. damaged: numbers of those that could
    not be read. seconds: what the integers took, of one process, without reading images.
    """

    index: np.ndarray
    logits: np.ndarray
    reference: np.ndarray | None
    damaged: tuple[int, ...]
    seconds: float


def answers(
    hardware: Path,
    source: ImageSource,
    chosen: np.ndarray,
    reference: Reference | None = None,
    workers: int = 1,
    skip_damaged: bool = False,
) -> Answers:
    """The logits of the images of ``source`` with the numbers ``chosen``.

    What is finished is kept in the cache until all is: a run that was interrupted goes on where it was. A GPU computes where there is one.

    Args:
        hardware: a hardware graph as ``step_lower`` leaves it.
        workers: processes; one where a GPU computes.
        skip_damaged: leave out images that cannot be read.
    Raises:
        UserError: an image cannot be read and ``skip_damaged`` is not set.
    """
    kept = _Chunks(_key(hardware, source, chosen, reference))
    chunks = [tuple(chosen[start : start + CHUNK].tolist()) for start in range(0, len(chosen), CHUNK)]
    done = {i: found for i in range(len(chunks)) if (found := kept.load(i)) is not None}
    for found in done.values():
        _refuse_damaged(found, source, skip_damaged)
    todo = [i for i in range(len(chunks)) if i not in done]
    work = partial(_answered, hardware, source, reference, chunks)
    told = jobs.Told("integers of images", len(todo))
    alone = workers == 1 or own_device().type == "cuda"
    for number, found in jobs.run(work, todo, 0 if alone else min(workers, len(todo)), lambda i: f"images {chunks[i][0]} on", told):
        _refuse_damaged(found, source, skip_damaged)
        kept.save(number, found)
        done[number] = found
    whole = _joined([done[i] for i in range(len(chunks))])
    if not len(whole.index):
        raise UserError(f"{source.name}: none of the {len(chosen)} images can be read: give others")
    kept.remove()
    return whole


def _answered(hardware: Path, source: ImageSource, reference: Reference | None, chunks: Sequence[tuple[int, ...]], number: int) -> Answers:
    """One chunk, in a worker."""
    torch.set_num_threads(1)
    index = np.array(chunks[number])
    pixels, damaged = source.read(index)
    whole = ~np.isin(index, damaged)
    index, pixels = index[whole], pixels[whole]
    program = _program(hardware, sha256(hardware))
    started = time.perf_counter()
    logits = program.logits(pixels) if len(pixels) else np.zeros((0, program.classes), np.int64)
    seconds = time.perf_counter() - started
    floats = None if reference is None else reference.logits(pixels)
    return Answers(index, logits, floats, tuple(damaged), seconds)


@lru_cache(maxsize=1)
def _program(path: Path, digest: str) -> IntegerProgram:
    return IntegerProgram(ModelWrapper(str(path)), own_device())


def _refuse_damaged(found: Answers, source: ImageSource, skip_damaged: bool) -> None:
    if found.damaged and not skip_damaged:
        names = ", ".join(source.image_name(i) for i in found.damaged[:NAMED])
        more = f" and {len(found.damaged) - NAMED} more" if len(found.damaged) > NAMED else ""
        raise UserError(f"{source.name}: cannot read {names}{more}: repair or remove them, or use --skip-damaged")


def _joined(parts: Sequence[Answers]) -> Answers:
    floats = [part.reference for part in parts if part.reference is not None]  # all have one, or none
    return Answers(
        np.concatenate([part.index for part in parts]),
        np.concatenate([part.logits for part in parts]),
        np.concatenate(floats) if floats else None,
        tuple(i for part in parts for i in part.damaged),
        sum(part.seconds for part in parts),
    )


def _key(hardware: Path, source: ImageSource, chosen: np.ndarray, reference: Reference | None) -> str:
    parts = [sha256(hardware), source.identity, hashlib.sha256(chosen.tobytes()).hexdigest(), str(CHUNK)]
    if reference is not None:
        parts.append(reference.identity)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


class _Chunks:
    """Chunks that are done, as npz files in a folder of the cache."""

    def __init__(self, key: str) -> None:
        self.folder = cache_dir() / "evaluations" / key

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06}.npz"

    def load(self, number: int) -> Answers | None:
        """A chunk; None where it is not there, or damaged."""
        try:
            with np.load(self._file(number)) as file:
                damaged = tuple(file["damaged"].tolist())
                return Answers(file["index"], file["logits"], file.get("reference"), damaged, float(file["seconds"]))
        except (*BROKEN_ARRAYS, KeyError):
            return None

    def save(self, number: int, found: Answers) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {
            "index": found.index, "logits": found.logits, "damaged": np.array(found.damaged, np.int64), "seconds": found.seconds,
        }  # fmt: skip
        if found.reference is not None:
            arrays["reference"] = found.reference
        with whole_file(self._file(number)) as path, path.open("wb") as file:
            np.savez(file, **arrays)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
