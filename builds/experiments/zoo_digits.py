"""What layers of model zoos lose at 8 bits: networks trained here on the digits in float, then imported."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from timm.layers import RmsNorm, SwiGLU
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from builds.experiments.study import Only, Output, Study, start
from builds.experiments.zoo import WHOLE, Case, sound_export
from finn_vitprune.importing.workflow import import_model
from finn_vitprune.options.importing import ImportOptions
from finn_vitprune.report.tables import TextTable
from finn_vitprune.training.data import digits

SEEDS, EPOCHS, BATCH, RATE = (0, 1, 2), 40, 64, 4e-3
MEAN, STD = (0.5,), (0.25,)
SHAPE: Mapping[str, int] = {"img_size": 8, "patch_size": 2, "in_chans": 1, "num_classes": 10, "embed_dim": 48, "depth": 2, "num_heads": 4}
"""17 tokens of 48 channels, 2 encoders."""
LOSS = 0.003
"""Of the accuracy, at most."""


@dataclass(frozen=True)
class Layers:
    """A class of timm, and what differs from a plain network."""

    make: Callable[..., nn.Module] = VisionTransformer
    options: Mapping[str, Any] = field(default_factory=dict)


KINDS = {
    "plain": Layers(),
    "rotary positions": Layers(
        Eva, {"use_rot_pos_emb": True, "use_abs_pos_emb": False, "global_pool": "token", "norm_layer": partial(nn.LayerNorm, eps=1e-6)}
    ),
    "SwiGLU": Layers(options={"mlp_layer": SwiGLU}),
    "RMSNorm": Layers(options={"norm_layer": RmsNorm}),
    "QK-norm": Layers(options={"qk_norm": True}),
    "4 registers": Layers(options={"reg_tokens": 4}),
    "LayerNorm before the encoders, none after": Layers(options={"pre_norm": True, "final_norm": False}),
    "attention pooling": Layers(options={"global_pool": "map", "class_token": False}),
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """A network with layers of a kind, trained from a seed."""

    kind: str
    seed: int


@dataclass(frozen=True)
class Row:
    """What an import without pruning leaves of a trained network, on the 360 held-out digits.

    real, integers: accuracy in float and in integers. cosine, worst: of the integers' logits with those in float, mean and worst of an image.
    agreement: share of images with the same class. relative: largest difference of the recognised network from onnxruntime.
    """

    kind: str
    seed: int
    real: float
    integers: float
    cosine: float
    worst: float
    agreement: float
    relative: float


def trained(setting: Setting) -> nn.Module:
    """The network in float, after :data:`EPOCHS` over the 1,437 training images."""
    torch.manual_seed(setting.seed)
    layers, data = KINDS[setting.kind], digits()
    model = layers.make(**SHAPE, **layers.options)
    images = (torch.from_numpy(data.train_images).float().permute(0, 3, 1, 2) / 255 - MEAN[0]) / STD[0]
    labels = torch.from_numpy(np.asarray(data.train_labels)).long()
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, EPOCHS * (len(images) // BATCH))
    for batch in (batch for _ in range(EPOCHS) for batch in torch.randperm(len(images)).split(BATCH) if len(batch) == BATCH):
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch], label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return model.eval()


def run(setting: Setting) -> Row:
    """Train, export, import at 8/8 without pruning."""
    model = trained(setting)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.onnx"
        sound_export(model, (SHAPE["in_chans"], SHAPE["img_size"], SHAPE["img_size"]), path, Case(setting.kind, *WHOLE, None, None))
        found = import_model(ImportOptions(model=path, data="digits", output=Path(folder) / "integers.onnx", mean=MEAN, std=STD))
    first, last = found.stages[0], found.stages[-1]
    assert first.accuracy is not None and last.accuracy is not None  # digits have labels
    return Row(
        setting.kind, setting.seed, first.accuracy, last.accuracy, last.cosine, last.worst, last.agreement, found.comparison.relative
    )


# --- the table -------------------------------------------------------------------------------------

TITLE = "Layers of model zoos at 8 bits, on the digits"
TEXT = f"""Networks of timm with {SHAPE["depth"]} encoders of {SHAPE["embed_dim"]} channels, {SHAPE["num_heads"]} heads and patches of 2 x 2 pixels, each trained here in
float for {EPOCHS} epochs on scikit-learn's 1,437 training digits (seeds {", ".join(map(str, SEEDS))}), then imported at 8/8 without pruning and without fine-tuning.
All figures are of the integers that the hardware computes, on the 360 held-out digits: one image is .28 points of a seed.

```
python -m builds.experiments.zoo_digits -o builds/results/zoo_digits
```"""
COLUMNS = ("layers", "float", "integers", "lost, points", "most of a seed", "cosine, mean", "worst image", "same class")


def tables(rows: Mapping[str, Row]) -> list[TextTable]:
    """A row a kind, over its seeds."""
    kinds = {kind: found for kind in KINDS if (found := [row for row in rows.values() if row.kind == kind])}
    note = f"At most {100 * LOSS:g} points may be lost. The largest difference of a recognised network from onnxruntime is "
    note += f"{max(row.relative for row in rows.values()):.1e}." if rows else "not known."
    return [TextTable("Mean of the seeds, worst image of all", COLUMNS, tuple(cells(kind, found) for kind, found in kinds.items()), note)]


def cells(kind: str, rows: list[Row]) -> tuple[str, ...]:
    """The row of a kind."""
    real, integers, cosine, same = (
        float(np.mean([getattr(row, name) for row in rows])) for name in ("real", "integers", "cosine", "agreement")
    )
    lost, worst = max(row.real - row.integers for row in rows), min(row.worst for row in rows)
    points = (f"{100 * share:.2f}" for share in (real - integers, lost))
    return kind, f"{real:.4f}", f"{integers:.4f}", *points, f"{cosine:.5f}", f"{worst:.4f}", f"{same:.4f}"


def said(row: Row) -> str:
    """A row in a line."""
    return f"float {row.real:.4f}, integers {row.integers:.4f}, cosine {row.cosine:.5f}, worst {row.worst:.4f}"


def study() -> Study[Setting, Row]:
    """Every kind from every seed."""
    return Study({f"{kind}, seed {seed}": Setting(kind, seed) for kind in KINDS for seed in SEEDS}, Row, run, tables, TITLE, TEXT, said)


def main(output: Output, only: Only = None) -> None:
    """Train and import what is missing, and write the results after every network."""
    warnings.simplefilter("ignore")
    study().go(output, only)


if __name__ == "__main__":
    start(lambda: typer.run(main))
