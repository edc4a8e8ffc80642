"""What a network that was pruned on some of ImageNet's classes still knows of all 1,000.

``python -m builds.experiments.thousand_classes RUN WEIGHTS -o thousand.json``: RUN is a finished run whose data bear names of ImageNet's
classes, WEIGHTS the state dict (timm's names, safetensors) that it started from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import safetensors.torch
import torch
import typer
from torch import Tensor, nn

from finn_vitprune.errors import UserError
from finn_vitprune.files import write_json
from finn_vitprune.training.checkpoint import FILE as CHECKPOINT
from finn_vitprune.training.student import EVAL_BATCH
from finn_vitprune.training.teacher import imagenet_rows, logits
from finn_vitprune.training.train import finished_run

app = typer.Typer(help=__doc__, add_completion=False)


def all_rows(own_weight: Tensor, own_bias: Tensor, weight: Tensor, bias: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The classifier of all classes ``[1000, D]``, in which a network's own rows replace those of the classes that it was trained on."""
    return weight.index_copy(0, rows, own_weight), bias.index_copy(0, rows, own_bias)


@app.command()
@torch.no_grad()
def main(
    run: Path, weights: Path, output: Annotated[Path, typer.Option("-o", "--output", help="The JSON file of both accuracies.")]
) -> None:
    """Accuracy of the pruned network and of the float network on the held-out images, among the run's classes and among all."""
    found = finished_run(run / CHECKPOINT)
    data, student = found.data, found.student.eval()
    rows = imagenet_rows(data.class_names)
    if rows is None:
        raise UserError(f"{data.name} has classes that are not ImageNet's")
    known = safetensors.torch.load_file(weights)
    weight, bias = known["head.weight"], known["head.bias"]
    folded = (weight * known["norm.weight"], bias + weight @ known["norm.bias"])  # as the student has its last LayerNorm
    student_head = all_rows(student.head.weight.reshape(-1, weight.shape[1]), student.head.bias, *folded, rows)
    float_head = all_rows(found.teacher.head.weight, found.teacher.head.bias, weight, bias, rows)
    labels = torch.from_numpy(data.test_labels).split(EVAL_BATCH)
    read: dict[str, Tensor] = {}
    for name, network in (("pruned", student), ("float", found.teacher.eval())):
        network.head.register_forward_pre_hook(lambda module, given, name=name: read.update({name: given[0].flatten(1)}))
    masks = found.scores.final_masks()
    right = dict.fromkeys(("pruned", "pruned_among_1000", "float", "float_among_1000"), 0)
    for images, wanted in zip(data.test_batches(EVAL_BATCH), labels, strict=True):
        answers = {"pruned": student(images, masks), "float": logits(found.teacher, images, data)}
        for name, (w, b) in (("pruned", student_head), ("float", float_head)):
            right[name] += int((answers[name].argmax(1) == wanted).sum())
            right[f"{name}_among_1000"] += int((nn.functional.linear(read[name], w, b).argmax(1) == rows[wanted]).sum())
    accuracy = {name: round(count / len(data.test_labels), 4) for name, count in right.items()}
    write_json(output, accuracy | {"images": len(data.test_labels), "classes": len(rows)})
    typer.echo(", ".join(f"{name} {value:.4f}" for name, value in accuracy.items()))


if __name__ == "__main__":
    app()
