"""``finn-vitprune evaluate``: the accuracy of a network's integers, of a model file or of a build."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.images import input_shape
from finn_vitprune.builds.networks import loaded_network
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.built.evaluation import LOWERED
from finn_vitprune.built.record import record_of
from finn_vitprune.errors import UserError
from finn_vitprune.evaluation.run import answers
from finn_vitprune.evaluation.sources import NetworkShape, read_source
from finn_vitprune.files import sha256, write_text
from finn_vitprune.graph.reading import read_model
from finn_vitprune.importing.float_model import FloatFile, recognised_file
from finn_vitprune.labels import draw, drawn_text
from finn_vitprune.options.evaluate import EvaluateOptions
from finn_vitprune.report.accuracy import Evaluation
from finn_vitprune.report.accuracy_page import accuracy_page
from finn_vitprune.report.scores import score
from finn_vitprune.report.summary import ModelCard
from finn_vitprune.transforms.lowering.lower import check_op_types, lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered


@dataclass(frozen=True)
class IntegerNetwork:
    """A lowered network as a file, the scale of its logits (one, or one a class), and its metadata."""

    hardware: Path
    logit_scale: float | list[float]
    name: str
    metadata: Mapping[str, str]


def evaluate(options: EvaluateOptions) -> Evaluation:
    """Run the network's integers over the data set and score them. A build's own network has its scores in the folder then, for `report`.

    Raises:
        UserError: the target is not a QONNX network or a build, data or reference do not fit it, or images are damaged.
    """
    options.files()
    with integer_network(options.target, options.contents) as network:
        hardware = ModelWrapper(str(network.hardware))
        height, width, channels = input_shape(hardware)[1:]
        shape = NetworkShape(height, width, channels, hardware.get_tensor_shape(hardware.graph.output[0].name)[-1])
        source = read_source(options.data, shape, options.classes)
        chosen = draw(len(source), options.max_images, options.seed, source.labels)
        said = drawn_text(len(chosen), len(source), options.seed, source.labels is not None)
        reference = None
        if options.reference is not None:
            reference = FloatFile.of(options.reference, (options.mean, options.std), source.normalisation)
            _check_reference(reference, shape)
        answered = answers(network.hardware, source, chosen, reference, options.jobs, options.skip_damaged)
        digest = sha256(network.hardware)
    names = [source.image_name(i) for i in answered.index]
    labels = None if source.labels is None else source.labels[answered.index]
    found = Evaluation(
        **dict(score(answered.logits * np.asarray(network.logit_scale), labels, answered.reference, names)),
        model=ModelCard.of(network.name, network.metadata).model_copy(update={
            "image_shape": (shape.height, shape.width, shape.channels), "classes": shape.classes,
        }),
        data=source.name, note=source.note, chosen=said, damaged=tuple(source.image_name(i) for i in answered.damaged),
        images_per_second=len(answered.index) / max(answered.seconds, 1e-9), digest=digest,
    )  # fmt: skip
    if options.html is not None:
        worst = {w.image: answered.index[names.index(w.image)] for w in found.worst}
        write_text(options.html, accuracy_page(found, dict(zip(worst, source.read(list(worst.values()))[0])) if worst else {}))
    if options.target.is_dir() and options.contents is None:
        with suppress(OSError):  # a folder that cannot be written to
            BuildFolder(options.target).evaluation.save(found)
    return found


def _check_reference(reference: FloatFile, shape: NetworkShape) -> None:
    """Raise a UserError where the float network takes other images or has other classes."""
    config = recognised_file(reference.model).config
    theirs, ours = (
        (config.image_size, config.image_size, config.channels, config.classes),
        (shape.height, shape.width, shape.channels, shape.classes),
    )
    if theirs != ours:
        text = "{} x {} x {} pixels and {} classes"
        raise UserError(
            f"{reference.model} takes {text.format(*theirs)}, the network {text.format(*ours)}: give the float network that it was made of"
        )


@contextmanager
def integer_network(target: Path, contents: Path | None = None) -> Iterator[IntegerNetwork]:
    """The lowered network of a build folder, or what it is loaded with, or that of a QONNX file, which is lowered in a temporary folder.

    Raises:
        UserError: the target is not a QONNX network or a build.
    """
    if contents is not None:
        hardware, scale, metadata = loaded_network(contents, target)
        yield IntegerNetwork(hardware, scale, contents.stem, metadata)
        return
    if target.is_dir():
        yield _of_build(target)
        return
    model = ModelWrapper(read_model(target))
    try:
        check_op_types(model)
        lowered = lower(model)
    except UserError as error:
        raise UserError(f"{target}: {error}") from None
    with tempfile.TemporaryDirectory(prefix="evaluate_") as folder:
        path = Path(folder) / LOWERED.name
        lowered.model.transform(TidyLowered()).save(str(path))
        yield IntegerNetwork(path, lowered.logit_scale, target.stem, {p.key: p.value for p in model.graph.metadata_props})


def _of_build(path: Path) -> IntegerNetwork:
    hardware, record = path / LOWERED, record_of(path)
    lowering = BuildFolder(path).lowering.load()
    if not hardware.is_file() or lowering is None:
        raise UserError(f"{path} is not a build folder with {hardware.relative_to(path)}: give the folder of a build, or a QONNX file")
    name = str(hardware.relative_to(path))
    recorded = {file: digest for step in record.steps.values() for file, digest in step.files.items()} if record else {}
    if name in recorded and recorded[name] != sha256(hardware):
        raise UserError(f"{hardware} is not as the build wrote it: build again")
    return IntegerNetwork(hardware, lowering.logit_scale, path.name, lowering.source)
