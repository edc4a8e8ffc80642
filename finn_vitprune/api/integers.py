"""The integers of a network as a function of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.evaluate import integer_network
from finn_vitprune.builds.images import check_pixels, input_shape
from finn_vitprune.execute.program import IntegerProgram


@dataclass(frozen=True)
class Integers:
    """A network that is ready to run. logit_scale: what a logit of 1 is worth, one number or one a class."""

    program: IntegerProgram
    logit_scale: float | list[float]

    @classmethod
    def of(cls, target: Path, contents: Path | None = None) -> Integers:
        """Of a QONNX file, or the folder of a build.

        Args:
            contents: of a build, the network of this file of ``finn-vitprune contents`` in place of its own.
        Raises:
            UserError: it is neither, or not as the build wrote it; the contents are not for this build.
        """
        with integer_network(target, contents) as network:
            return cls(IntegerProgram(ModelWrapper(str(network.hardware))), network.logit_scale)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """int32 ``[F, classes]`` of uint8 ``[F, H, W, C]``, or ``[F, H, W]`` of grey images.

        Raises:
            UserError: the images have another shape or type.
        """
        pixels = check_pixels(np.asarray(images), input_shape(self.program.model), "the input")
        return self.program.logits(pixels).astype(np.int32)
