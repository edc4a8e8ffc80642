"""A design: what a build folder holds, or a plan that needs none."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Self, Unpack

import numpy as np

from finn_vitprune.api.integers import Integers
from finn_vitprune.api.signature import spelled_out
from finn_vitprune.api.temporary import TemporaryPlace
from finn_vitprune.builds.evaluate import evaluate
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.builds.records.story import page_of
from finn_vitprune.builds.simulate import simulate
from finn_vitprune.built.evaluation import evaluation_of
from finn_vitprune.built.record import record_of
from finn_vitprune.built.verdict import verdict_of
from finn_vitprune.errors import UserError
from finn_vitprune.files import write_text
from finn_vitprune.options.evaluate import EvaluateOptions
from finn_vitprune.options.keywords import EvaluateKeywords
from finn_vitprune.report.accuracy import Evaluation
from finn_vitprune.report.build_verdict import build_verdict
from finn_vitprune.report.quantities import images_per_second, milliseconds
from finn_vitprune.report.summary import Summary
from finn_vitprune.report.verdict import Verdict


class Design:
    """An accelerator, of :meth:`Network.build` or :meth:`Network.plan`, or of a folder that was built earlier.

    ``print(design)`` says what it is and whether it fits, in at most 12 lines.
    """

    def __init__(self, folder: Path, kept: TemporaryPlace | None = None) -> None:
        """Of the folder of a build; ``kept`` is that folder where it goes when nobody needs the design any more: it is a plan."""
        self.folder, self._kept = folder, kept

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The design in the folder of a build.

        Raises:
            UserError: no build is there.
        """
        path = Path(folder)
        if record_of(path) is None:
            Summary.load(path)  # says what is missing
        if not path.is_dir():
            raise UserError(f"{path} is a file: give the folder of a build")
        return cls(path)

    @property
    def summary(self) -> Summary:
        """All figures: cycles, resources, checks, every node.

        Raises:
            UserError: the build stopped before its estimates.
        """
        return Summary.load(self.folder)

    @property
    def verdict(self) -> Verdict:
        """What the design came to: bad news first, then figures, each with how it was found, and the next step."""
        if self._kept is None:
            return verdict_of(self.folder)
        return build_verdict(self.summary, {}, evaluation_of(self.folder), "", following="build(to=FOLDER) with the same options")

    def __str__(self) -> str:
        return str(self.verdict)

    def __repr__(self) -> str:
        return f"<Design {self.verdict.title}>"

    @property
    def fits(self) -> bool:
        """Whether the part has room for it: counted where the design was synthesised, else by estimate."""
        part = self.summary.part
        return part is not None and part.fits is True

    @property
    def images_per_second(self) -> float:
        """The rate at the chosen clock: simulated where there was a simulation, else as planned."""
        s = self.summary
        if s.interval is None or s.clk_ns is None:
            raise UserError(f"the rate of {self.folder} is not known: the build stopped before its plan")
        return s.rtlsim.fps if s.rtlsim is not None else images_per_second(s.interval[0], s.clk_ns)

    @property
    def latency_ms(self) -> float:
        """From the first pixel of a lone image to its logits, by the first that is known of simulation, plan and formula."""
        s = self.summary
        if s.latency is None or s.clk_ns is None:
            raise UserError(f"the latency of {self.folder} is not known: the build stopped before its plan")
        return milliseconds(s.latency[0], s.clk_ns)

    @cached_property
    def _integers(self) -> Integers:
        return Integers.of(self.folder)

    @property
    def logit_scale(self) -> float | list[float]:
        """What a logit of 1 is worth, one number or one a class."""
        return self._integers.logit_scale

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The logits that the accelerator computes, bit for bit, without a simulation of its RTL.

        Args:
            images: uint8 ``[F, H, W, C]``, or ``[F, H, W]`` of grey images.
        Returns:
            int32 ``[F, classes]``.
        Raises:
            UserError: images of another shape or type, or the folder is not as the build wrote it.
        """
        return self._integers.logits(images)

    def simulate(self, images: np.ndarray, contents: str | Path | None = None) -> np.ndarray:
        """The logits of the RTL itself, simulated in Verilator: seconds to minutes an image.

        Args:
            images: as of :meth:`predict`. contents: loaded in place of the design's own, a file of ``finn-vitprune contents``.
        Returns:
            int32 ``[F, classes]``.
        Raises:
            UserError: as of :meth:`predict`, or nothing was built that could be simulated.
        """
        if not BuildFolder(self.folder).stitched.is_dir():
            raise UserError("there is no RTL to simulate: this is a plan, build it, or use predict, whose integers are the same")
        return simulate(self.folder, images, None if contents is None else Path(contents))

    @spelled_out(EvaluateKeywords)
    def evaluate(self, data: str, **options: Unpack[EvaluateKeywords]) -> Evaluation:
        """The accuracy of the accelerator's integers over a data set.

        Args:
            data: as ``imagefolder:PATH``, ``npz:FILE``, ``csv:FILE``, ``digits``. options: of ``finn-vitprune evaluate``.
        Raises:
            UserError: an option, or the data, is wrong.
        """
        return evaluate(EvaluateOptions.of_keywords({"target": self.folder, "data": data, **options}))

    def report(self, html: str | Path) -> Path:
        """Write one self-contained page, and give its path."""
        write_text(html, page_of(self.folder))
        return Path(html)
