"""The float Fashion-MNIST model of the example as ONNX, and its accuracy beside that of what import makes of it.

``python -m finn_vitprune.builds.experiments.fmnist export float.onnx``, then ``... accuracy float.onnx pruned.onnx``
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
import typer
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.build import EXAMPLE
from finn_vitprune.execute.qonnx_runner import QonnxRunner
from finn_vitprune.training.config import load_config
from finn_vitprune.training.data import load_dataset
from finn_vitprune.training.teacher import load_weights, make_teacher

CONFIG = Path(__file__).parents[1] / "train" / "deit_fmnist_60k.yaml"


app = typer.Typer(help=__doc__, add_completion=False)


@app.command()
def export(path: str) -> None:
    """The trained float network, by the TorchScript exporter."""
    data = load_dataset("fashion-mnist")
    network = make_teacher(load_config(CONFIG), data)
    load_weights(network, EXAMPLE / "deit_fmnist_float.pt")
    image = torch.zeros(1, data.channels, *data.image_size)
    torch.onnx.export(network.eval(), (image,), path, opset_version=17, dynamo=False)


@app.command()
def accuracy(float_file: str, imported_file: str) -> None:
    """Prints the share of all test images that each of the two files gets right."""
    data = load_dataset("fashion-mnist")
    images, labels = data.test_sample(len(data.test_labels))
    pixels = (images / 255.0 - np.array(data.mean)) / np.array(data.std)
    session = ort.InferenceSession(float_file, providers=["CPUExecutionProvider"])
    inputs = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2).astype(np.float32))
    name = session.get_inputs()[0].name
    theirs = np.concatenate([session.run(None, {name: image[None]})[0] for image in inputs])
    runner = QonnxRunner(ModelWrapper(imported_file))
    ours = np.concatenate([runner.run(image[None])[runner.output].reshape(1, -1) for image in images])
    shares = {name: float((x.argmax(1) == labels).mean()) for name, x in (("float", theirs), ("imported", ours))}
    print(json.dumps({"images": len(images)} | shares))


if __name__ == "__main__":
    app()
