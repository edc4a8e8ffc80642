"""timm's vision transformers through the recogniser.

Every model gets random weights and is exported; ``check`` is asked about the file, and where a network is
recognised, the imported float network is compared with onnxruntime.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import timm
import torch
import typer
from torch import nn

from builds.experiments.study import Only, Output, Study, start
from finn_vitprune.graph.node import first_line
from finn_vitprune.importing.float_model import compare, float_network
from finn_vitprune.importing.workflow import import_model
from finn_vitprune.ingest.check.check_float import check_float
from finn_vitprune.ingest.onnx_file.model_file import load
from finn_vitprune.ingest.recognise.read import understand
from finn_vitprune.options.importing import TOLERANCE, ImportOptions
from finn_vitprune.pruning.choices import Score
from finn_vitprune.report.tables import TextTable

LISTED = (
    "deit_tiny_patch16_224", "deit_small_patch16_224", "deit_base_patch16_224",
    "deit_tiny_distilled_patch16_224", "deit_small_distilled_patch16_224", "deit_base_distilled_patch16_224",
    "vit_tiny_patch16_224", "vit_small_patch8_224", "vit_small_patch16_224", "vit_small_patch32_224",
    "vit_base_patch8_224", "vit_base_patch16_224", "vit_base_patch32_224",
    "deit3_small_patch16_224", "vit_base_patch16_gap_224",
)  # fmt: skip
"""Plain and distilled models, one with LayerScale, one with global average pooling: by every exporter."""
WHOLE = ("torchscript", 17)
"""The export at full depth; the others have SHALLOW encoders."""
EXPORTS = (WHOLE, ("torchscript", 14), ("torchscript", 20), ("dynamo", 17), ("dynamo", 20))
"""The dynamo exporter writes no opset below 17."""
SHALLOW = 2
IMAGES = 2
KEY_HEADS = 8
"""For models with another number of key heads in every encoder, which cannot be made shallow otherwise."""
MAX_PARAMETERS = 400_000_000
CLASSES = 1000
"""Several of timm's models have no classifier of their own."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Case:
    """One export of one model; ``depth`` and ``image_size`` None: those of the model."""

    model: str
    exporter: str
    opset: int
    depth: int | None
    image_size: int | None


@dataclass(frozen=True)
class ZooResult:
    """What came of a case.

    depth: of the exported model; opset: of the file. relative: largest difference from onnxruntime in units
    of the largest output, None where nothing was recognised. refusal: why not, empty where it imports. error:
    why there is no file, or no answer.
    """

    model: str
    exporter: str
    asked_opset: int
    opset: int | None = None
    depth: int | None = None
    image_size: int | None = None
    nodes: int | None = None
    mapped: int | None = None
    relative: float | None = None
    refusal: str = ""
    notes: tuple[str, ...] = ()
    error: str = ""
    seconds: float = 0.0


def cases() -> dict[str, Case]:
    """The listed models by every exporter, every other ``vit_*`` of timm once, by name."""
    listed = [Case(m, *e, None if e == WHOLE else SHALLOW, None) for m in LISTED for e in EXPORTS]
    others = sorted(m for m in timm.list_models("vit_*") if m not in LISTED)
    once = [Case(m, *WHOLE, SHALLOW, 128 if "patch32" in m else 112) for m in others]
    return {f"{c.model}, {c.exporter}, {c.opset}": c for c in (*listed, *once)}


# --- one case --------------------------------------------------------------------------------------


def make(case: Case) -> tuple[nn.Module, tuple[int, int, int]]:
    """The model with random weights, and the shape of its images (C, H, W).

    Depth and image size are changed where the model lets them be.
    """
    options = options_of(case)
    model = timm.create_model(case.model, **options)
    channels, height, width = model.pretrained_cfg["input_size"]
    embed = getattr(model, "patch_embed", None)
    height, width = getattr(embed, "img_size", None) or (height, width)
    return randomise(model).eval(), (channels, height, width)


def options_of(case: Case) -> dict[str, int]:
    """What timm makes the model with, tried without memory first.

    Raises:
        ValueError: timm rejects all of it, or the model is too large for one file.
    """
    wanted = {"depth": case.depth, "img_size": case.image_size}
    wanted = {k: v for k, v in wanted.items() if v is not None} | {"num_classes": CLASSES}
    whole = {k: v for k, v in wanted.items() if k != "img_size"}
    why = ""
    for options in (wanted, whole, wanted | {"num_kv_heads": KEY_HEADS}, {"num_classes": CLASSES}):
        try:
            with torch.device("meta"):
                model = timm.create_model(case.model, **options)
        except Exception as error:
            why = first_line(error)
            continue
        size = sum(p.numel() for p in model.parameters())
        if size <= MAX_PARAMETERS:
            return options
        why = f"{size:,} parameters are more than fit into one file"
    raise ValueError(why)


@torch.no_grad()
def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """All parameters random, none trivial: matrices keep the size of what passes, vectors move by 0.1."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim < 2:
            parameter.add_(0.1 * noise)
        elif parameter.shape[0] == 1:  # tokens and positions
            parameter.copy_(0.2 * noise)
        else:
            parameter.copy_(noise / parameter[0].numel() ** 0.5)
    return model


def export(model: nn.Module, shape: tuple[int, int, int], path: Path, case: Case) -> None:
    """Write the ONNX file; attention that the exporter cannot trace in its fused form is written out."""
    options = {"verbose": False} if case.exporter == "dynamo" else {}

    def write() -> None:
        torch.onnx.export(
            model, (torch.zeros(1, *shape),), str(path), opset_version=case.opset,
            dynamo=case.exporter == "dynamo", input_names=["x"], **options,
        )  # fmt: skip

    try:
        write()
    except TypeError:
        for module in model.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = False
        write()


def run(case: Case) -> ZooResult:
    """Export, check, compare."""
    return examined(case, lambda: make(case))


def examined(case: Case, made: Callable[[], tuple[nn.Module, tuple[int, int, int]]]) -> ZooResult:
    """Export, check and compare the model that ``made`` gives with the shape of its images (C, H, W)."""
    started = time.monotonic()
    try:
        model, shape = made()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            note = sound_export(model, shape, path, case)
            depth = len(model.blocks) if hasattr(model, "blocks") else None
            del model
            found = examine(path)
        found["notes"] += (note,) if note else ()
    except Exception as error:
        text = f"{type(error).__name__}: {first_line(error)}"[:300]
        return ZooResult(case.model, case.exporter, case.opset, error=text)
    found |= {"depth": depth, "image_size": shape[1], "seconds": round(time.monotonic() - started, 1)}
    return ZooResult(case.model, case.exporter, case.opset, **found)


def sound_export(model: nn.Module, shape: tuple[int, int, int], path: Path, case: Case) -> str:
    """:func:`export`, by the other exporter where the first fails or writes what onnxruntime cannot load.

    Returns:
        What the first exporter did wrong, or "".
    """
    try:
        export(model, shape, path, case)
        ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return ""
    except Exception as error:
        if case.exporter == "dynamo":
            raise
        export(model, shape, path, replace(case, exporter="dynamo", opset=max(o for _, o in EXPORTS)))
        return f"exported by dynamo, since TorchScript's file is none: {first_line(error)[:150]}"


def imported_by_noise(case: Case, folder: Path, images: int, **options: Any) -> tuple[Path, Path]:
    """Export a model with random weights into ``folder`` and import it by images of noise; files that are there are taken as they are.

    Args:
        options: of :class:`.ImportOptions`, beside those that noise decides.
    Returns:
        The float file, the imported file.
    """
    float_file, imported = folder / "float.onnx", folder / "imported.onnx"
    if imported.is_file():
        return float_file, imported
    model, (channels, height, width) = make(case)
    if not float_file.is_file():
        sound_export(model, (channels, height, width), float_file, case)
    del model
    noise = np.random.default_rng(0).integers(0, 256, (images, height, width, channels), dtype=np.uint8)
    np.savez(folder / "images.npz", images=noise)
    import_model(ImportOptions(
        model=float_file, data=f"npz:{folder / 'images.npz'}", output=imported, score=Score.MAGNITUDE, reconstruct=False,
        mean=(0.5,) * channels, std=(0.25,) * channels, **options,
    ))  # fmt: skip
    return float_file, imported


def examine(path: Path) -> dict:
    """What ``check`` says of a file, and the difference from onnxruntime."""
    file = load(path)
    checked = check_float(file, path)
    vit, relative = understand(file).vit, None
    if vit is not None:
        shape = (IMAGES, vit.config.image_size, vit.config.image_size, vit.config.channels)
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        mean, std = (MEAN, STD) if vit.config.channels == 3 else ((0.5,) * vit.config.channels, (0.25,) * vit.config.channels)
        network = float_network(vit, mean, std)
        relative = compare(path, file.kind, vit, network, images, mean, std).relative
    return {
        "opset": file.opset,
        "nodes": len(checked.rows),
        "mapped": checked.mapped,
        "relative": relative,
        "refusal": str(checked.rejections[0]) if checked.rejections else "",
        "notes": checked.notes,
    }


# --- the table -------------------------------------------------------------------------------------

TITLE = "timm's vision transformers through `check` and `import`"
TEXT = f"""Random weights, timm {timm.__version__}. "Difference": the imported float network against the file in onnxruntime,
largest difference of a logit in units of the largest logit, on {IMAGES} random images; a network that is
recognised but has no hardware (tokens too wide) is compared, too. "Mapped": nodes that `check` maps. The other
models: TorchScript, opset 17 (dynamo, opset 20, where that writes no sound file); {SHALLOW} encoders and small images
where the model lets them be.

```
python -m builds.experiments.zoo -o builds/results/import
```"""
COLUMNS = ("model", "exporter, opset", "encoders", "nodes mapped", "difference", "answer")


def tables(results: Mapping[str, ZooResult]) -> list[TextTable]:
    """The listed models by every exporter, and the others."""
    listed, others = ([r for r in results.values() if (r.model in LISTED) == first] for first in (True, False))
    return [
        TextTable("The listed models, by every exporter", COLUMNS, tuple(map(cells, listed)), summary(listed)),
        TextTable("Every other `vit_*` of timm", COLUMNS, tuple(map(cells, others)), summary(others)),
    ]


def summary(results: list[ZooResult]) -> str:
    """How many import, how many are rejected, and the largest difference."""
    rejected, failed = sum(bool(r.refusal) for r in results), sum(bool(r.error) for r in results)
    known = [r.relative for r in results if r.relative is not None]
    largest = f", largest difference {max(known):.1e} (limit {TOLERANCE:g})" if known else ""
    counts = f"{len(results) - rejected - failed} import, {rejected} are rejected, {failed} could not be made"
    return f"{len(results)} files: {counts}{largest}."


def cells(result: ZooResult) -> tuple[str, ...]:
    """The row of a result."""
    opset = result.asked_opset if result.opset is None else result.opset
    asked = "" if opset == result.asked_opset else f" (asked {result.asked_opset})"
    mapped = "" if result.nodes is None else f"{result.mapped} of {result.nodes}"
    relative = "" if result.relative is None else f"{result.relative:.1e}"
    answer = f"no file: {result.error}" if result.error else f"rejected: {result.refusal}" if result.refusal else "imports"
    return (result.model, f"{result.exporter}, {opset}{asked}", str(result.depth or ""), mapped, relative, answer)


def said(row: ZooResult) -> str:
    """A result in a line."""
    return f"{', '.join(cells(row)[2:])}, {row.seconds} s"


def study() -> Study[Case, ZooResult]:
    """All models of the list."""
    return Study(cases(), ZooResult, run, tables, TITLE, TEXT, said)


def main(output: Output, only: Only = None) -> None:
    """Run what is missing, and write the results after every model."""
    warnings.simplefilter("ignore")
    study().go(output, only)


if __name__ == "__main__":
    start(lambda: typer.run(main))
