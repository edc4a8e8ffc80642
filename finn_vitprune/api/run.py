"""``finn-vitprune run``: images through an accelerator on a target."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from finn_vitprune import progress
from finn_vitprune.api.accelerator import Accelerator, AcceleratorStatus
from finn_vitprune.builds.images import BuildImages, Images, input_shape, output_classes
from finn_vitprune.files import whole_file
from finn_vitprune.link.serial_port import BAUD
from finn_vitprune.report.quantities import accuracy_text
from finn_vitprune.report.verdict import Verdict, VerdictLine

SHOWN = 24
"""Classes that a verdict has room for."""


@dataclass(frozen=True)
class TargetRunOptions:
    """What runs where.

    Attributes:
        target: as of :class:`.Accelerator`. images: a file or folder, of which ``most`` are drawn with ``seed``. contents: loaded before.
        baud: of the serial port.
    """

    target: str
    images: Path
    most: int | None = None
    seed: int = 0
    contents: Path | None = None
    baud: int = BAUD


@dataclass(frozen=True)
class TargetRun:
    """What came of images.

    Attributes:
        images: that went through. logits: int32 ``[F, classes]``. scale: what a logit of 1 is worth, one number or one a class.
        seconds: of all images. status: of the target after them.
    """

    images: Images
    logits: np.ndarray
    scale: float | list[float]
    seconds: float
    status: AcceleratorStatus

    @property
    def classes(self) -> np.ndarray:
        """The class of each image, int64 ``[F]``."""
        return (self.logits * np.asarray(self.scale)).argmax(-1)

    @property
    def accuracy(self) -> float | None:
        """Share of the images whose class is their label; None without labels."""
        return None if self.images.labels is None else float((self.classes == self.images.labels).mean())

    def as_dict(self) -> dict[str, object]:
        """Plain data."""
        return {
            "target": self.status.target, "design": self.status.design, "images": len(self.logits), "classes": self.classes.tolist(),
            "accuracy": self.accuracy, "resent": self.status.resent, "seconds": round(self.seconds, 3),
        }  # fmt: skip

    def verdict(self, build: Path, output: Path | None) -> Verdict:
        """What came, on one screen."""
        warnings = []
        if resent := self.status.resent:
            warnings.append(f"{resent:,} transfers were made again: they, or their answers, were damaged or lost.")
        shown = " ".join(map(str, self.classes[:SHOWN])) + (" ..." if len(self.classes) > SHOWN else "")
        lines = [VerdictLine("images", self.images.text), VerdictLine("classes", shown)]
        if self.accuracy is not None:
            lines.insert(0, VerdictLine("accuracy", accuracy_text(self.accuracy)))
        lines.append(
            VerdictLine("speed", f"{len(self.logits) / max(self.seconds, 1e-9):,.1f} images/s on this computer, to the target and back")
        )
        following = "the same command with -o logits.npz, which keeps the logits"
        if output is not None:
            lines.append(VerdictLine("logits", str(output)))
            following = f"finn-vitprune report {build}" if build.is_dir() else f"finn-vitprune build {build} --fpga-part PART -o FOLDER"
        return Verdict(f"{build.name} on {self.status.target}", str(build), tuple(warnings), tuple(lines), next=following)

    def save(self, path: Path) -> None:
        """Write the logits, whole or not at all: alone as ``.npy``; as ``.npz`` with ``classes``, ``index`` (which images of the file
        these are), and ``labels`` where there are some."""
        arrays: dict[str, Any] = {"logits": self.logits, "classes": self.classes, "index": self.images.index}
        if self.images.labels is not None:
            arrays["labels"] = self.images.labels
        with whole_file(path) as partial, partial.open("wb") as file:
            if path.suffix == ".npy":
                np.save(file, self.logits)
            else:
                np.savez(file, **arrays)


def run_on(build: Path, options: TargetRunOptions) -> TargetRun:
    """Run images through the accelerator of a build; for the target ``integers`` a QONNX file, too.

    Raises:
        UserError: as of :class:`.Accelerator`, or the images cannot be read or do not fit.
    """
    with Accelerator(options.target, build, baud=options.baud) as accelerator:
        if options.contents is not None:
            accelerator.load(options.contents)
        model = accelerator.integers.program.model
        images = BuildImages(options.images, options.most, options.seed).load(input_shape(model), output_classes(model))
        logits, pace, started = [], progress.Pace(len(images.pixels)), time.monotonic()
        for found in accelerator.stream(images.pixels):
            logits.append(found)
            progress.status(f"running on {options.target}: image {pace.at(len(logits))}")
        return TargetRun(images, np.stack(logits), accelerator.logit_scale, time.monotonic() - started, accelerator.status())
