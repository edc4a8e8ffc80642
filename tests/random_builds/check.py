"""One random network through the whole flow, its four forms against each other by the rules of docs/numerics.md."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.networks import contents_of
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.builds.simulate import simulate
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.execute.qonnx_runner import QonnxRunner
from finn_vitprune.export.export import describe, to_qonnx
from finn_vitprune.export.gate import check_export
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.options.build import BuildSettings
from finn_vitprune.report.summary import Summary
from finn_vitprune.transforms.lowering.lower import lower
from finn_vitprune.transforms.planning import partition
from finn_vitprune.transforms.planning.fold import slowest_cycles
from finn_vitprune.transforms.streams.latency import latency_cycles
from tests.random_builds.draw import Drawn, DrawnDesign, Kind, network, structured_images

PART = "xcu250-figd2104-2L-e"
AGREE, REFUSED, DISAGREE = "agree", "refused", "disagree"
LOGIT_ERROR = 1e-6
"""Share of the largest logit by which PyTorch, QONNX and hardware may differ where no code differs: scales are float32."""


@dataclass(frozen=True)
class Outcome:
    """What became of a seed. ``agree``, ``refused: <by what and why>``, or ``disagree: <what>``, which is a fault.

    export_ties: codes of QONNX that differ from PyTorch's beside a tie; ties: codes of the hardware graph that differ
    from QONNX's so; codes: compared between these two; rtl_mismatches: values of the RTL that differ from the graph's. loads: networks
    that the design was loaded with, one after another. latency and interval: cycles in simulation, and by formula.
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
    loads: int = 0
    latency: int = 0
    latency_planned: int = 0
    interval: float = 0.0
    interval_planned: int = 0

    @property
    def fault(self) -> bool:
        """Whether something differs and nobody said so."""
        return not self.outcome.startswith((AGREE, REFUSED))

    @property
    def latency_error(self) -> float:
        """By which share the simulated latency is longer than the planned one; 0 where nothing was simulated."""
        return self.latency / self.latency_planned - 1 if self.latency_planned else 0.0

    @property
    def interval_error(self) -> float:
        """Likewise of the interval."""
        return self.interval / self.interval_planned - 1 if self.interval_planned else 0.0


@dataclass(frozen=True)
class _Exported:
    """A network as PyTorch has it, its images, and what the gate of the export counted."""

    path: Path
    frozen: PrunedViT
    images: np.ndarray
    ties: int


class _Refused(Exception):
    """What the project refuses, and why; ``found`` until then."""

    def __init__(self, text: str, **found: object) -> None:
        super().__init__(text)
        self.found = found


def check_seed(kind: Kind, seed: int) -> Outcome:
    """Draw, export, build, simulate and compare; what the project refuses is an outcome, all else an error."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="random_build_") as folder:
        try:
            found = _check(kind.design(seed), Path(folder))
        except _Refused as refused:
            found = refused.found | {"outcome": str(refused).replace(folder, "FOLDER")}
    return Outcome(seed, drawn=kind.recorded(seed), seconds=round(time.monotonic() - started, 1), **found)


def _check(design: DrawnDesign, folder: Path) -> dict[str, object]:
    own = _exported(design.network, design, folder / "model.onnx")
    other = _exported(design.other, design, folder / "other.onnx") if design.loads == "another" else None
    settings = BuildSettings(
        synth="none", lowering_images=len(own.images), traced_images=2, stalled_images=4, loadable=bool(design.loads),
        encoders_per_engine=design.encoders_per_engine or None, frames_in_flight=design.frames_in_flight if design.encoders_per_engine else None,
        reserve=() if other is None else (other.path,),
    )  # fmt: skip
    options = BuildOptions(
        model=own.path, output_dir=folder / "build", fpga_part=PART, target_fps=design.network.target_fps, **dict(settings)
    )
    found = {"images": len(own.images), "export_ties": own.ties}
    try:
        if design.ultra or design.slrs > 1 or design.shares or design.most_lanes:
            options = options.changed(folding=_placed(design, options, folder))
        built = _built(options)
        found |= _compare(own, built)
        if other is not None:
            found |= _loaded_in_turn(built, [own, other, own])
    except UserError as error:
        kind = DISAGREE if str(error).startswith("FINN's builder stopped") else REFUSED  # the first is a defect in words
        raise _Refused(f"{kind}: build: {error}", **found) from error
    return found


def exported(drawn: Drawn, frozen: PrunedViT) -> ModelWrapper:
    """The QONNX model of a network, with its description."""
    model = to_qonnx(frozen)
    rates = (float(r) for r in (drawn.block_keep, drawn.neuron_keep, drawn.token_keep))
    describe(f"random_{drawn.seed}", drawn.config, frozen, drawn.block, *rates).write(model)
    return model


def _exported(drawn: Drawn, design: DrawnDesign, path: Path) -> _Exported:
    try:
        frozen, images = network(drawn, design.images)
    except UserError as error:
        raise _Refused(f"{REFUSED}: export: {error}") from error
    if design.structured:
        images = np.concatenate([images, structured_images(drawn.image_size, drawn.channels)])
    model = exported(drawn, frozen)
    gate = check_export(frozen, model, images)
    if not gate.passed:
        raise _Refused(f"{REFUSED}: export gate: {gate.reason}", images=len(images), export_ties=gate.near_ties)
    model.save(str(path))
    np.savez(path.with_suffix(".npz"), images=images)
    return _Exported(path, frozen, images, gate.near_ties)


def _built(options: BuildOptions) -> BuildFolder:
    """The build; where its target is out of reach, for what can be reached."""
    build(options)
    if (plan := Summary.load(options.output_dir).plan) is not None and plan.missed:
        build(options.changed(target_fps=plan.reached_fps))
    return BuildFolder(options.output_dir)


def _placed(design: DrawnDesign, options: BuildOptions, folder: Path) -> Path:
    """A folding file: the folds of a plan of the partition, weights of some matrix units in UltraRAM, other lanes, the nodes in SLRs."""
    with mock.patch.object(partition, "partitions", lambda *_: [design.shares]):
        planned = BuildFolder(build(options.changed(output_dir=folder / "plan", estimate_only=True)))
    folds = json.loads(planned.auto_folding.read_text())
    matrices = [name for name, fold in folds.items() if "LANES" in fold]
    for name in matrices[: round(design.ultra * len(matrices))]:
        folds[name]["ram_style"] = "ultra"
    rng = np.random.default_rng((design.network.seed, 10))
    for name in matrices if design.most_lanes else ():
        folds[name] |= {"LANES": int(rng.integers(1, design.most_lanes + 1)), "lut_lanes": 0}
    if design.slrs > 1:
        nodes = [node.name for node in ModelWrapper(str(planned.intermediate_models / "step_fold.onnx")).graph.node]
        for place, name in enumerate(nodes):
            folds.setdefault(name, {})["slr"] = place * design.slrs // len(nodes)
    path = folder / "folding.json"
    path.write_text(json.dumps(folds))
    return path


def _compare(own: _Exported, folder: BuildFolder) -> dict[str, object]:
    """The logits of all four forms, beside what the build says of itself."""
    verify, measured = Summary.load(folder.path).verify, folder.verification.load()
    lowering, model = folder.lowering.load(), ModelWrapper(str(own.path))
    rtl, graph = np.load(folder.rtl_logits), _logits(ModelWrapper(str(folder.intermediate_models / "step_lower.onnx")), own.images)
    qonnx = QonnxRunner(model).run(own.images)[model.graph.output[0].name].reshape(len(own.images), -1)
    with torch.no_grad():
        torch_logits = own.frozen.double()(torch.from_numpy(own.images.astype(np.float64))).numpy()
    real, limit = graph * lowering.logit_scale, LOGIT_ERROR * max(np.abs(qonnx).max(), 1e-9)
    wrong = [
        text
        for bad, text in (
            (not np.array_equal(rtl, graph), "logits of RTL and hardware graph"),
            (verify.rtl_mismatches or verify.class_changes, f"the build counts {verify.rtl_mismatches} RTL mismatches"),
            (lowering.faults, f"the build counts {lowering.faults} faults of lowering and goes on"),
            (not lowering.ties and np.abs(real - qonnx).max() > limit, "logits of hardware graph and QONNX, without a tie"),
            (not own.ties and np.abs(torch_logits - qonnx).max() > limit, "logits of PyTorch and QONNX, without a tie"),
        )
        if bad
    ]
    hardware = ModelWrapper(str(folder.intermediate_models / "step_insert_streams.onnx"))
    return {
        "outcome": f"{DISAGREE}: {'; '.join(wrong)}" if wrong else AGREE, "codes": lowering.codes, "ties": lowering.ties,
        "streams": verify.traced_streams, "rtl_mismatches": verify.rtl_mismatches,
        "latency": measured.latency_cycles, "latency_planned": latency_cycles(hardware),
        "interval": measured.interval_cycles, "interval_planned": slowest_cycles(hardware),
    }  # fmt: skip


def _logits(hardware: ModelWrapper, images: np.ndarray) -> np.ndarray:
    """Of a hardware graph, ``[F, classes]``."""
    return golden.run(hardware, {hardware.graph.input[0].name: images})[hardware.graph.output[0].name].reshape(len(images), -1)


def _loaded_in_turn(folder: BuildFolder, networks: list[_Exported]) -> dict[str, object]:
    """The design loaded with each of ``networks``: what differs in their logits."""
    wrong = 0
    for place, loaded in enumerate(networks):
        contents = folder.path / f"load{place}.bin"
        contents_of(loaded.path, folder.path).contents.write(contents)
        expected = _logits(lower(ModelWrapper(str(loaded.path))).model, loaded.images)
        wrong += int(np.count_nonzero(simulate(folder.path, loaded.images, contents) != expected))
    return {"loads": len(networks)} | (
        {"outcome": f"{DISAGREE}: {wrong} logits of loaded networks", "rtl_mismatches": wrong} if wrong else {}
    )
