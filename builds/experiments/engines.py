"""The digits example on engines: every image bit for bit, cycles beside the plan, rate and latency beside the pipeline's.

Run by ``make engines``, which takes some minutes: ``python -m finn_vitprune.builds.experiments.engines -o builds/results/engines``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from finn_vitprune import progress
from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.settings import BuildSettings
from finn_vitprune.errors import AnswerIsNo
from finn_vitprune.files import write_json, write_text
from finn_vitprune.report.summary import Summary

PART = "xcu250-figd2104-2L-e"
SETTINGS = ((1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2))
"""Engines and frames in flight."""
WITHIN = 0.02
"""By how much cycles may differ from the plan's."""


@dataclass(frozen=True)
class EngineRun:
    """A build: engines and frames in flight (0 of the pipeline), images and mismatches, cycles measured and planned, products a cycle."""

    engines: int
    frames_in_flight: int
    images: int
    mismatches: int
    interval: float
    interval_planned: int
    latency: int
    latency_planned: int
    products: int
    LUT: int
    DSP: int
    BRAM36: float

    @property
    def error(self) -> float:
        """Largest relative difference of cycles from the plan's."""
        pairs = ((self.interval, self.interval_planned), (self.latency, self.latency_planned))
        return max(abs(measured / planned - 1) for measured, planned in pairs)
