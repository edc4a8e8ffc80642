"""``finn-vitprune evaluate``: the accuracy of a network's integers, of a model file or of a build."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.folder import BuildFolder
from finn_vitprune.builds.images import input_shape
from finn_vitprune.builds.record import record_of
from finn_vitprune.errors import UserError
from finn_vitprune.evaluation.run import answers
from finn_vitprune.evaluation.scores import AnswerScores, score
from finn_vitprune.evaluation.sources import NetworkShape, read_source
from finn_vitprune.files import sha256
from finn_vitprune.graph.reading import read_model
from finn_vitprune.importing.float_model import FloatFile, recognised_file
from finn_vitprune.labels import draw, drawn_text
from finn_vitprune.transforms.lower import check_op_types, lower
from finn_vitprune.transforms.tidy_lowered import TidyLowered

LOWERED = "step_lower.onnx"


class ModelCard(BaseModel):
    """What a network is, from the metadata of its file; None where the file does not say.

    weight_bits, activation_bits; block_size, block_keep (share of kept blocks), token_keep (share by encoder, from 1).
    macs_dense, macs: products of an image, before pruning and as performed.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    image_shape: tuple[int, int, int]
    classes: int
    weight_bits: int | None = None
    activation_bits: int | None = None
    block_size: int | None = None
    block_keep: float | None = None
    token_keep: dict[str, float] = {}
    macs_dense: int | None = None
    macs: int | None = None

    @classmethod
    def of(cls, name: str, shape: NetworkShape, metadata: Mapping[str, str]) -> ModelCard:
        """The card of a file with these metadata properties."""

        def number(key: str, kind: type = int):
            return kind(metadata[key]) if key in metadata else None

        return cls(
            name=metadata.get("name", name), image_shape=(shape.height, shape.width, shape.channels), classes=shape.classes,
            weight_bits=number("weight_bits"), activation_bits=number("act_bits"), block_size=number("block_size"),
            block_keep=number("block_keep", float), token_keep=json.loads(metadata.get("token_keep", "{}")),
            macs_dense=number("macs_dense"), macs=number("macs"),
        )  # fmt: skip

    @property
    def text(self) -> str:
        """The card in one line."""
        bits = f"{self.weight_bits}-bit weights, {self.activation_bits}-bit activations" if self.weight_bits else ""
        blocks = f"{self.block_keep:.0%} of {self.block_size} x {self.block_size} blocks" if self.block_keep and self.block_keep < 1 else ""
        rates = sorted(set(self.token_keep.values()))
        tokens = f"{'/'.join(f'{rate:.0%}' for rate in rates)} of tokens at {len(self.token_keep)} drops" if rates and rates[0] < 1 else ""
        return ", ".join(filter(None, (self.name, bits, blocks, tokens)))


class Evaluation(AnswerScores):
    """:class:`.AnswerScores` of a network on a data set.

    data, note: what was read, and how its labels were found. chosen: which of its images. damaged: images left out, by name.
    images_per_second: through the integers, of one process, reading apart.
    """

    model: ModelCard
    data: str
    note: str
    chosen: str
    damaged: tuple[str, ...] = ()
    images_per_second: float


@dataclass(frozen=True)
class _Network:
    """A lowered network as a file, the scale of its logits (one, or one a class), and its metadata."""

    hardware: Path
    logit_scale: float | list[float]
    name: str
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class EvaluationOptions:
    """What to evaluate on, and with what beside it.

    target: a QONNX file or the folder of a build. data: as :func:`.read_source` takes it. reference: a float ONNX file, normalised with
    mean and std. classes: a file that maps names of classes. max_images: so many, drawn with seed. jobs: processes.
    """

    target: Path
    data: str
    reference: Path | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: Path | None = None
    max_images: int | None = None
    seed: int = 0
    skip_damaged: bool = False
    jobs: int = os.cpu_count() or 1


def evaluate(options: EvaluationOptions) -> Evaluation:
    """Run the network's integers over the data set and score them.

    Raises:
        UserError: the target is not a QONNX network or a build, data or reference do not fit it, or images are damaged.
    """
    with _network(options.target) as network:
        hardware = ModelWrapper(str(network.hardware))
        shape = NetworkShape(*input_shape(hardware)[1:], hardware.get_tensor_shape(hardware.graph.output[0].name)[-1])
        source = read_source(options.data, shape, options.classes)
        chosen = draw(len(source), options.max_images, options.seed, source.labels)
        said = drawn_text(len(chosen), len(source), options.seed, source.labels is not None)
        reference = None
        if options.reference is not None:
            reference = FloatFile.of(options.reference, (options.mean, options.std), source.normalisation)
            _check_reference(reference, shape)
        elif options.mean is not None or options.std is not None:
            raise UserError("--mean and --std are for the float network: give it with --float, or leave them out")
        found = answers(network.hardware, source, chosen, reference, options.jobs, options.skip_damaged)
    logits = found.logits * np.asarray(network.logit_scale)
    labels = None if source.labels is None else source.labels[found.index]
    scores = score(logits, labels, found.reference, [source.image_name(i) for i in found.index])
    card = ModelCard.of(network.name, shape, network.metadata)
    damaged = tuple(source.image_name(i) for i in found.damaged)
    speed = len(found.index) / max(found.seconds, 1e-9)
    return Evaluation(
        **dict(scores), model=card, data=source.name, note=source.note, chosen=said, damaged=damaged, images_per_second=speed
    )


def _check_reference(reference: FloatFile, shape: NetworkShape) -> None:
    """Raise a UserError where the float network takes other images or has other classes."""
    config = recognised_file(reference.model).config
    theirs, ours = (config.image_size, config.image_size, config.channels, config.classes), (shape.height, shape.width, shape.channels, shape.classes)
    if theirs != ours:
        text = "{} x {} x {} pixels and {} classes"
        raise UserError(f"{reference.model} takes {text.format(*theirs)}, the network {text.format(*ours)}: give the float network that it was made of")


@contextmanager
def _network(target: Path) -> Iterator[_Network]:
    """The lowered network of a build folder, or of a QONNX file, which is lowered in a temporary folder."""
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
        path = Path(folder) / LOWERED
        lowered.model.transform(TidyLowered()).save(str(path))
        yield _Network(path, lowered.logit_scale, target.stem, {p.key: p.value for p in model.graph.metadata_props})


def _of_build(path: Path) -> _Network:
    folder = BuildFolder(path)
    hardware, record = folder.intermediate_models / LOWERED, record_of(path)
    lowering = folder.lowering.load()
    if not hardware.is_file() or lowering is None:
        raise UserError(f"{path} holds no lowered network: give the folder of a build, or a QONNX file")
    name = str(hardware.relative_to(path))
    recorded = {file: digest for step in record.steps.values() for file, digest in step.files.items()} if record else {}
    if name in recorded and recorded[name] != sha256(hardware):
        raise UserError(f"{hardware} is not as the build wrote it: build again")
    return _Network(hardware, lowering.logit_scale, path.name, lowering.source)
