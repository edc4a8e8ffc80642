"""A build folder: where everything in it lies, and the results that one step leaves for another."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from finn_vitprune.builds.checks.lowering_check import LoweringCheck
from finn_vitprune.builds.checks.verify import Verification
from finn_vitprune.builds.checks.verify_units import SimulationSeconds
from finn_vitprune.built.evaluation import evaluation_file
from finn_vitprune.built.record import FILE as RECORD
from finn_vitprune.built.record import STITCHED
from finn_vitprune.built.result_file import ResultFile
from finn_vitprune.options.build import BuildSettings
from finn_vitprune.report.summary import FILE as SUMMARY
from finn_vitprune.synth.placed import PlacedDesign
from finn_vitprune.synth.planned import Planned
from finn_vitprune.synth.resources import Resources
from finn_vitprune.synth.timing import Timing


@dataclass(frozen=True)
class QonnxReference:
    """Classes that the QONNX model gives the images, and where these are from."""

    images: str
    top1: list[int]


@dataclass(frozen=True)
class Synthesis:
    """What ``tool`` counted, by node, and what timing its netlists have."""

    tool: str
    per_node: dict[str, Resources]
    timing: dict[str, Timing] = field(default_factory=dict)


class BuildFolder:
    """The paths of a build. Those that FINN's config or steps name are FINN's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hdl = path / "hdl"
        self.log = path / "build_dataflow.log"
        self.auto_folding = path / "auto_folding_config.json"
        self.final_hw_config = path / "final_hw_config.json"
        self.intermediate_models = path / "intermediate_models"
        self.parent = self.intermediate_models / "dataflow_parent.onnx"
        self.stitched = path / STITCHED
        self.runtime_weights = path / "runtime_weights"
        self.vivado = path / "vivado"
        self.rtl_logits = path / "verification_output" / "rtl_logits.npy"
        self.rtl_images = path / "verification_output" / "rtl_images.npy"
        self.settings = ResultFile(path / "vitprune.json", BuildSettings)
        self.record = path / RECORD
        self.summary = path / SUMMARY
        reports = path / "report"
        self.rtlsim_performance = reports / "rtlsim_performance.json"
        self.step_times = ResultFile(reports / "time_per_step.json", dict[str, float])
        self.plan = ResultFile(reports / "plan.json", Planned)
        self.lowering = ResultFile(reports / "lowering.json", LoweringCheck)
        self.reference = ResultFile(reports / "qonnx_reference.json", QonnxReference)
        self.tokens = reports / "tokens.npz"
        self.verification = ResultFile(reports / "rtl_verification.json", Verification)
        self.simulation_seconds = ResultFile(reports / "simulation_seconds.json", SimulationSeconds)
        self.synthesis = ResultFile(reports / "yosys_resources.json", Synthesis)
        self.places = ResultFile(reports / "places.json", PlacedDesign)
        self.evaluation = evaluation_file(path)

    def forget(self, *results: Path) -> None:
        """Delete what steps of an earlier build measured, so that no report speaks of another model.

        Only for FINN's builder alone: in a folder with a record what does not belong to the build was moved aside.
        """
        if not self.record.is_file():
            for path in results:
                path.unlink(missing_ok=True)
