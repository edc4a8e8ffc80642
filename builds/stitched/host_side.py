"""The host's side of a design: images to beats of its input stream, beats of its output stream to logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from finn_vitprune.builds.images import check_pixels, input_shape, to_patches
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.sim.beats import pack, unpack


@dataclass(frozen=True)
class HostSide:
    """What a host computes. order ``[patches, pixels per patch]``: the pixel of an image ``[1, H, W, C]`` at each place of the input."""

    design: StitchedDesign
    shape: list[int]
    order: np.ndarray

    @classmethod
    def of(cls, design: StitchedDesign) -> Self:
        """Of a design; the nodes around its accelerator only move pixels.

        Raises:
            UserError: it was stitched without the graph around it.
        """
        graph = design.host()
        shape = input_shape(graph)
        return cls(design, shape, to_patches(graph, np.arange(np.prod(shape)).reshape(shape))[0])

    def patches(self, images: np.ndarray) -> np.ndarray:
        """int64 ``[F, patches, pixels per patch]`` of uint8 ``[F, H, W, C]``, or ``[F, H, W]`` of grey images.

        Raises:
            UserError: images of another shape or type.
        """
        pixels = check_pixels(np.asarray(images), self.shape, "the input")
        return pixels.reshape(len(pixels), -1)[:, self.order].astype(np.int64)

    def beats(self, images: np.ndarray) -> np.ndarray:
        """The beats of images, one after another, uint8 ``[F * beats, bytes]``; errors are those of :meth:`patches`."""
        return pack(self.patches(images), self.design.input)

    def payloads(self, images: np.ndarray) -> list[bytes]:
        """The same as bytes, image by image."""
        return [one.tobytes() for one in self.beats(images).reshape(len(images), -1)]

    def logits(self, beats: np.ndarray) -> np.ndarray:
        """int32 ``[F, classes]`` of beats, uint8 ``[F * beats, bytes]``."""
        stream = self.design.output
        return unpack(beats, stream).reshape(len(beats) // stream.beats, -1).astype(np.int32)
