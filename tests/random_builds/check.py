"""One random network through the whole flow, its four forms against each other by the rules of docs/numerics.md."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.folder import BuildFolder
from finn_vitprune.builds.settings import BuildSettings
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.execute.qonnx_runner import QonnxRunner
from finn_vitprune.export.export import describe, to_qonnx
from finn_vitprune.export.gate import check_export
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.report.summary import Summary
from tests.random_builds.draw import Drawn, DrawnEngines, draw, draw_engines, network

PART = "xcu250-figd2104-2L-e"
AGREE, REFUSED, DISAGREE = "agree", "refused", "disagree"
LOGIT_ERROR = 1e-6
"""Share of the largest logit by which PyTorch, QONNX and hardware may differ where no code differs: scales are float32."""


@dataclass(frozen=True)
class Outcome:
    """What became of a seed. ``agree``, ``refused: <by what and why>``, or ``disagree: <what>``, which is a fault.

    export_ties: codes of QONNX that differ from PyTorch's beside a tie; ties: codes of the hardware graph that differ
    from QONNX's so; codes: compared between these two; logit_mismatches: values of the RTL that differ from the graph's.
    """

    seed: int
    outcome: str
    drawn: dict[str, object]
    images: int = 0
    export_ties: int = 0
    codes: int = 0
    ties: int = 0
    streams: int = 0
    rtl_mismatches: int = 0
    seconds: float = 0.0

    @property
    def fault(self) -> bool:
        """Whether something differs and nobody said so."""
        return not self.outcome.startswith((AGREE, REFUSED))


def check_seed(seed: int) -> Outcome:
    """Draw, export, build, simulate and compare; what the project refuses is an outcome, all else an error."""
    return _outcome(seed, draw(seed), {})


def check_engines(seed: int) -> Outcome:
    """The same of a network whose encoders share engines."""
    drawn = draw_engines(seed)
    settings = {"encoders_per_engine": drawn.encoders_per_engine, "frames_in_flight": drawn.frames_in_flight}
    return _outcome(seed, drawn, settings)


def _outcome(seed: int, drawn: Drawn | DrawnEngines, settings: dict[str, object]) -> Outcome:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="random_build_") as folder:
        found = _check(drawn.network if isinstance(drawn, DrawnEngines) else drawn, Path(folder), settings)
    return Outcome(seed, drawn=asdict(drawn), seconds=round(time.monotonic() - started, 1), **found)


def _check(drawn: Drawn, folder: Path, engines: dict[str, object]) -> dict[str, object]:
    try:
        frozen, images = network(drawn)
    except UserError as error:
        return {"outcome": f"{REFUSED}: export: {error}"}
    model, path = to_qonnx(frozen), folder / "model.onnx"
    rates = (float(r) for r in (drawn.block_keep, drawn.neuron_keep, drawn.token_keep))
    describe(f"random_{drawn.seed}", drawn.config, frozen, drawn.block, *rates).write(model)
    gate = check_export(frozen, model, images)
    found = {"images": len(images), "export_ties": gate.near_ties}
    if not gate.passed:
        return found | {"outcome": f"{REFUSED}: export gate: {gate.reason}"}
    model.save(str(path))
    np.savez(path.with_suffix(".npz"), images=images)
    options = BuildOptions(
        path, folder / "build", PART, target_fps=drawn.target_fps,
        settings=BuildSettings(synth="none", lowering_images=len(images), traced_images=2, stalled_images=4, **engines),
    )
    try:
        build(options)
        if (plan := Summary.load(options.output_dir).plan) is not None and plan.missed:
            build(replace(options, target_fps=plan.reached_fps))
    except UserError as error:
        kind = DISAGREE if str(error).startswith("FINN's builder stopped") else REFUSED  # the first is a defect in words
        return found | {"outcome": f"{kind}: build: {error}".replace(str(folder), "FOLDER")}
    return found | _compare(frozen, images, ModelWrapper(str(path)), BuildFolder(options.output_dir), gate.near_ties)


def _compare(
    frozen: PrunedViT, images: np.ndarray, model: ModelWrapper, folder: BuildFolder, export_ties: int
) -> dict[str, object]:
    """The logits of all four forms, beside what the build says of itself."""
    verify = Summary.load(folder.path).verify
    lowering = folder.lowering.load()
    hardware = ModelWrapper(str(folder.intermediate_models / "step_lower.onnx"))
    rtl = np.load(folder.rtl_logits)
    graph = golden.run(hardware, {hardware.graph.input[0].name: images})[hardware.graph.output[0].name]
    graph = graph.reshape(len(images), -1)
    qonnx = QonnxRunner(model).run(images)[model.graph.output[0].name].reshape(len(images), -1)
    with torch.no_grad():
        torch_logits = frozen.double()(torch.from_numpy(images.astype(np.float64))).numpy()
    real, limit = graph * lowering.logit_scale, LOGIT_ERROR * max(np.abs(qonnx).max(), 1e-9)
    wrong = [
        text
        for bad, text in (
            (not np.array_equal(rtl, graph), "logits of RTL and hardware graph"),
            (verify.rtl_mismatches or verify.class_changes, f"the build counts {verify.rtl_mismatches} RTL mismatches"),
            (lowering.faults, f"the build counts {lowering.faults} faults of lowering and goes on"),
            (not lowering.ties and np.abs(real - qonnx).max() > limit, "logits of hardware graph and QONNX, without a tie"),
            (not export_ties and np.abs(torch_logits - qonnx).max() > limit, "logits of PyTorch and QONNX, without a tie"),
        )
        if bad
    ]
    return {
        "outcome": f"{DISAGREE}: {'; '.join(wrong)}" if wrong else AGREE, "codes": lowering.codes, "ties": lowering.ties,
        "streams": verify.traced_streams, "rtl_mismatches": verify.rtl_mismatches,
    }  # fmt: skip
