"""Compares the internal streams of a run with the tensors of the flat graph, in every bit.

Streams outside of engines carry a frame an image. Inside of an engine a frame belongs to an encoder, and frames have other sizes
there: the tags that its entry sent say whose frame is next, and the frames of an encoder come in the order of the images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from finn_vitprune import progress
from finn_vitprune.builds.stitched.accelerator import RtlRun
from finn_vitprune.builds.stitched.edges import InEngine, StitchedEdge
from finn_vitprune.sim.beats import unpack_elements
from finn_vitprune.transforms.engines.engine_streams import entry_order, joined

NAMED = 10
"""Places that differ, of which the first are named."""


@dataclass(frozen=True)
class Place:
    """Where a stream differs: its name, the encoder (from 1; 0: the patch embedding on a unit of an engine; None outside of engines), the image (from 0), codes that differ."""

    stream: str
    encoder: int | None
    image: int
    codes: int

    def __str__(self) -> str:
        encoder = "" if self.encoder is None else f"encoder {self.encoder}, " if self.encoder else "patch embedding, "
        return f"{self.stream}: {encoder}image {self.image}: {self.codes:,} codes differ"


@dataclass(frozen=True)
class Compared:
    """Streams that were compared, those that were not because it is not known what they carry, and what differs.

    ``differing`` is in the order of the images, of each in the order in which it passes: the first is nearest to the cause.
    """

    streams: int
    left_out: tuple[str, ...]
    differing: tuple[Place, ...]

    @property
    def codes(self) -> int:
        """Codes that differ, those of frames that did not come included."""
        return sum(place.codes for place in self.differing)

    @property
    def first(self) -> tuple[str, ...]:
        """The first places that differ, in words."""
        return tuple(map(str, self.differing[:NAMED]))

    def report(self) -> None:
        """Name what was not compared, and what differs."""
        for name in self.left_out:
            progress.line(f"{name} is not compared: no tensor of the flat graph is what it carries")
        for place in self.first:
            progress.line(place)
        if len(self.differing) > NAMED:
            progress.line(f"{len(self.differing) - NAMED:,} other frames of internal streams differ")


def compare(edges: Sequence[StitchedEdge], run: RtlRun, tensors: Mapping[str, np.ndarray], images: int) -> Compared:
    """Compare the internal streams of a run in which ``images`` images were traced.

    Args:
        tensors: of :func:`.specification`, ``[images, tokens, channels]``.
    """
    entries = ((e.inside, e.tensor) for e in edges if e.inside and e.tags and e.of_entry)
    orders = {inside.engine: order(inside, _elements(run, tensor), images) for inside, tensor in entries}
    first = {e.inside.engine: number for number, e in reversed([*enumerate(edges)]) if e.inside}
    found = []
    for number, edge in enumerate(edges):
        if edge.image_beats:
            for place in _differing(edge, _elements(run, edge.tensor), orders, tensors, images):
                begins = first[edge.inside.engine] if edge.inside else number
                found.append(((place.image, begins, place.encoder or 0, number), place))
    found.sort(key=lambda at: at[0])
    left_out = tuple(e.name for e in edges if not e.image_beats)
    return Compared(len(edges) - len(left_out), left_out, tuple(place for _, place in found))


def order(inside: InEngine, sent: np.ndarray, images: int) -> list[int]:
    """The encoders (from 0) of the frames that enter an engine, by batches that are as large as the tags that were sent say.

    Args:
        sent: tags of the entry. A batch has as many frames as it sent tags of the pass with which images begin.
        images: that enter at least.
    """
    tags = entry_order(inside.encoders)
    found: list[int] = []
    while len(found) < max(len(sent), images * len(tags)):
        fresh = sent[len(found) : len(found) + inside.batch] == tags[0]
        frames = max(1, len(fresh) if fresh.all() else int(np.argmin(fresh)))
        found += [encoder for encoder in tags for _ in range(frames)]
    return found


def deal(inside: InEngine, simd: int, values: np.ndarray, encoders: Sequence[int]) -> list[list[np.ndarray]]:
    """The whole frames of a stream in an engine, flat, for each encoder in the order of the images.

    Args:
        simd: elements a beat.
        values: the first elements. encoders: of the frames that entered the engine (:func:`order`).
    """
    sizes, place = [beats * simd for beats in inside.beats], 0
    frames: list[list[np.ndarray]] = [[] for _ in sizes]
    for encoder in encoders:
        if place + sizes[encoder] > len(values):
            break
        frames[encoder].append(values[place : place + sizes[encoder]])
        place += sizes[encoder]
    return frames


def _elements(run: RtlRun, tensor: str) -> np.ndarray:
    """What was captured of a stream, one element after another."""
    beats, stream = run.traces[tensor]
    return unpack_elements(beats, stream.simd, stream.dtype.bitwidth(), stream.dtype.signed()).reshape(-1)


def _differing(
    edge: StitchedEdge, values: np.ndarray, orders: Mapping[str, list[int]], tensors: Mapping[str, np.ndarray], images: int
) -> Iterator[Place]:
    """The frames of a stream that differ."""
    inside, simd = edge.inside, edge.stream.simd
    if inside is None:
        yield from _of_encoder(edge.name, None, _frames(values, edge.stream.beats * simd), tensors[edge.tensor])
    elif edge.tags:
        yield from _wrong_tags(edge.name, inside, values, orders[inside.engine], images)
    else:
        for number, frames, carries in zip(inside.encoders, deal(inside, simd, values, orders[inside.engine]), inside.carries):
            if carries:
                yield from _of_encoder(edge.name, number, frames, joined(carries, tensors))


def _frames(values: np.ndarray, size: int) -> list[np.ndarray]:
    return [values[i : i + size] for i in range(0, len(values) - size + 1, size)]


def _of_encoder(name: str, encoder: int | None, frames: Sequence[np.ndarray], wanted: np.ndarray) -> Iterator[Place]:
    """The frames of an encoder that differ from ``wanted`` ``[images, tokens, channels]``, or that did not come."""
    for image, values in enumerate(wanted.reshape(len(wanted), -1)):
        codes = len(values) if image >= len(frames) else np.count_nonzero(frames[image] != values)
        if codes:
            yield Place(name, encoder, image, int(codes))


def _wrong_tags(name: str, inside: InEngine, tags: np.ndarray, encoders: Sequence[int], images: int) -> Iterator[Place]:
    """The frames of which another tag came than their encoder's."""
    seen: Counter[int] = Counter()
    for number, encoder in enumerate(encoder for encoder in encoders if inside.beats[encoder]):
        if seen[encoder] < images and (number >= len(tags) or tags[number] != encoder):
            yield Place(name, inside.encoders[encoder], seen[encoder], 1)
        seen[encoder] += 1
