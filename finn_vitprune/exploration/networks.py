"""The networks of an exploration: imported where they are not there yet, and lowered once for all their plans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from finn.builder.build_dataflow_config import DataflowBuildConfig
from pydantic import BaseModel, ConfigDict
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.arrays import read_arrays
from finn_vitprune.builds.networks import read_network
from finn_vitprune.errors import UserError
from finn_vitprune.execute.program import IntegerProgram
from finn_vitprune.exploration.space import Variant
from finn_vitprune.files import BROKEN_ARRAYS, sha256, whole_file, write_json
from finn_vitprune.importing.workflow import import_model
from finn_vitprune.ingest.onnx_file.model_file import Kind, load
from finn_vitprune.ingest.recognise.network import RecognisedViT
from finn_vitprune.options.importing import ImportOptions
from finn_vitprune.pruning.choices import Rounding, Score

ANY_PART = "xcu250-figd2104-2L-e"
"""FINN wants a part when it specialises ops; every UltraScale+ part gives the same graph."""
NOISE_IMAGES, NOISE_HELD = 20, 4
"""Images of noise that a network is calibrated with where no data is given, and those of them that it is measured on."""


class Quality(BaseModel):
    """What is known of a network's answers: on ``images``, the share of right classes, and the mean cosine with the float network's
    logits; None where that is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int
    accuracy: float | None = None
    cosine: float | None = None

    @property
    def value(self) -> float | None:
        """Accuracy, or the cosine where that is not known."""
        return self.cosine if self.accuracy is None else self.accuracy


class MadeVariant(BaseModel):
    """A network that is made and lowered: the digest of the file that it is from, and with what it was imported."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str
    imported_with: str
    quality: Quality | None


@dataclass(frozen=True)
class NetworkJob:
    """What a worker needs to make a network.

    data: as import takes it; None: noise, with which scores are magnitudes and answers mean nothing. drop_at: encoders that drop
    tokens, counted from 1; empty: three, evenly. seed: of drawn images.
    """

    variant: Variant
    folder: Path
    data: str | None
    drop_at: tuple[int, ...] = ()
    block_size: int | None = None
    seed: int = 0

    @property
    def qonnx(self) -> Path:
        """The file that is planned and built."""
        return self.folder / f"{self.variant.name}.onnx" if self.variant.imported else self.variant.source

    @property
    def hardware(self) -> Path:
        """Its hardware ops before folding."""
        return self.folder / f"{self.variant.name}_hw.onnx"

    @property
    def facts(self) -> Path:
        """A :class:`MadeVariant`; written last."""
        return self.folder / f"{self.variant.name}.json"

    @property
    def noise(self) -> Path:
        """Images where no data is given."""
        return self.folder / f"{self.variant.source.stem}_noise.npz"

    @property
    def options(self) -> ImportOptions:
        """Of the import."""
        v = self.variant
        weights, activations = map(int, v.bits.split("/"))
        given = {"model": v.source, "output": self.qonnx, "force": True, "block_size": self.block_size, "seed": self.seed}
        given |= {"weight_bits": weights, "act_bits": activations, "block_keep": v.block_keep, "token_keep": v.token_keep}
        if float(v.token_keep) < 1:
            given["drop_at"] = self.drop_at
        if self.data is not None:
            return ImportOptions(data=self.data, **given)
        of_noise = {"score": Score.MAGNITUDE, "reconstruct": False, "rounding": Rounding.NEAREST, "eval_images": NOISE_HELD}
        return ImportOptions(data=f"npz:{self.noise}", **of_noise, **given)

    def made(self) -> MadeVariant | None:
        """What is known of the network, None where it is not made yet, or of another file or data."""
        if not all(path.is_file() for path in (self.facts, self.qonnx, self.hardware)):
            return None
        made = MadeVariant.model_validate_json(self.facts.read_bytes())
        return made if (made.digest, made.imported_with) == (sha256(self.variant.source), self.imported_with) else None

    @property
    def imported_with(self) -> str:
        """What the import depends on besides the file and the name."""
        return f"data {self.data}, drops at {self.drop_at}, blocks of {self.block_size}, seed {self.seed}" if self.variant.imported else ""


def make_network(job: NetworkJob) -> MadeVariant:
    """Import the network where it is not QONNX, lower it, write both and what is known of it.

    Raises:
        UserError: it cannot be imported or lowered.
    """
    quality = _imported(job) if job.variant.imported else None
    cfg = DataflowBuildConfig(output_dir=str(job.folder), synth_clk_period_ns=5.0, generate_outputs=[], fpga_part=ANY_PART)
    network = read_network(job.qonnx, cfg)
    if not job.variant.imported:
        quality = _sampled(network.lowered, job.qonnx)
    with whole_file(job.hardware) as partial:
        network.hardware.save(str(partial))
    made = MadeVariant(digest=sha256(job.variant.source), imported_with=job.imported_with, quality=quality)
    write_json(job.facts, made.model_dump())
    return made


def _imported(job: NetworkJob) -> Quality | None:
    if job.data is not None:
        found = import_model(job.options)
        last = found.stages[-1]
        return Quality(images=found.eval_images, accuracy=last.accuracy, cosine=last.cosine)
    import_model(job.options)
    return None


def _sampled(lowered: ModelWrapper, path: Path) -> Quality | None:
    """Of the labelled images that a trained model has beside it, in its integers."""
    try:
        sample = read_arrays(path.with_suffix(".npz"), ("images", "labels"))
        images, labels = sample["images"], sample["labels"].ravel()
    except (*BROKEN_ARRAYS, KeyError, UserError):
        return None
    shape = tuple(lowered.get_tensor_shape(lowered.graph.input[0].name)[1:])
    images = images[..., None] if images.ndim == 3 else images
    if images.shape != (len(labels), *shape) or images.dtype != np.uint8:
        return None
    return Quality(images=len(images), accuracy=float((IntegerProgram(lowered).logits(images).argmax(1) == labels).mean()))


def check_sources(sources: tuple[Path, ...], quantised: bool) -> None:
    """Check that every file is of one kind: QONNX where bits and shares are not chosen, float or QDQ where they are.

    Args:
        quantised: whether bits and kept shares are given.
    Raises:
        UserError: naming the file and what would work.
    """
    stems = [source.stem for source in sources]
    for source in sources:
        if stems.count(source.stem) > 1:
            raise UserError(f"{source}: another file is called {source.stem}, too: give the files different names")
        qonnx = load(source).kind is Kind.QONNX
        if qonnx and quantised:
            raise UserError(
                f"{source} is QONNX, pruned and quantised already: leave out --bits, --block-keep and --token-keep, or give the float model"
            )
        if not qonnx and not quantised:
            raise UserError(f"{source} is not QONNX: say how many bits, as --bits 8,4, so that it is imported")


def write_noise(job: NetworkJob, vit: RecognisedViT) -> None:
    """Images for a network whose data is not given."""
    size, channels = vit.config.image_size, vit.config.channels
    images = np.random.default_rng(job.seed).integers(0, 256, (NOISE_IMAGES, size, size, channels), dtype=np.uint8)
    with whole_file(job.noise) as partial, partial.open("wb") as file:
        np.savez_compressed(file, images=images)
