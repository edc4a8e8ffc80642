"""Pruned DeiT networks with random weights: masks by magnitude, scales calibrated on noise, QONNX and hardware graph.

Random weights say nothing about accuracy. Shapes, kept blocks, tokens and bits are those of a trained network, so its
plan, cycles and resources are too, but for which heads die.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import timm
import torch
from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
from pydantic import TypeAdapter
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.general import GiveUniqueNodeNames

from finn_vitprune.errors import UserError
from finn_vitprune.export.export import describe, to_qonnx
from finn_vitprune.files import whole_file, write_json
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.models.freeze import freeze
from finn_vitprune.models.timm_weights import config_of_timm, load_timm
from finn_vitprune.models.vit import EncoderMask, PrunedViT
from finn_vitprune.pruning.config import PruneConfig
from finn_vitprune.pruning.cut import cut
from finn_vitprune.pruning.scores import PruneScores
from finn_vitprune.transforms.lowering.lower import lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from finn_vitprune.transforms.streams.hardware_only import HardwareOnly

TINY, SMALL = "deit_tiny_patch16_224", "deit_small_patch16_224"
DISTILLED = "deit_small_distilled_patch16_224"
"""198 tokens: the distillation token is an ordinary token."""
DROP_AT = (3, 7, 10)
"""Encoders that drop tokens, counted from 1."""
IMAGES = 2
"""Images of noise that scales are calibrated on."""
BIASES = 0.02
"""Standard deviation of the biases, as timm draws its weights. timm's own biases are 0, and zeros need less memory than trained biases."""
NORMALISED = (0.5, 0.5, 0.5)
"""Mean and standard deviation of pixels, which DeiT's weights are trained with nearly."""
PART = "xcu250-figd2104-2L-e"
"""FINN wants a part when it specialises; every UltraScale+ part gives the same graph."""


@dataclass(frozen=True, order=True)
class DeitNetwork:
    """A network of timm and how it is pruned: bits of weights and activations, block size b, keep rates r_b and r_t.

    ``changed`` are arguments of timm's model, by name, beside its usual ones; ``called`` is then what it is called. A ``token_keep`` of "1" is a network without token drop; "1" for both keep rates is the dense network.
    """

    model: str
    bits: int
    block: int
    block_keep: str
    token_keep: str
    called: str = ""
    changed: tuple[tuple[str, int | str], ...] = ()

    @property
    def name(self) -> str:
        """The name of its files."""
        model = self.called or self.model.removesuffix("_patch16_224")
        return f"{model}_w{self.bits}a{self.bits}_b{self.block}_rb{self.block_keep}_rt{self.token_keep}"

    @property
    def title(self) -> str:
        """What tables call its model."""
        return next(f"DeiT-{size.capitalize()}" for size in ("tiny", "small", "base") if size in self.model)

    @property
    def setting(self) -> str:
        """Its bits, blocks and keep rates, in tables."""
        rates = "dense" if self.block_keep == self.token_keep == "1" else f"r_b {self.block_keep}, r_t {self.token_keep}"
        return f"{self.bits}/{self.bits}, b {self.block}, {rates}"

    @property
    def rates(self) -> str:
        """Its blocks and keep rates, as the reference lists them."""
        return f"{self.block}, {self.block_keep}, {self.token_keep}"


HALVES = (DeitNetwork(SMALL, 8, 16, "0.5", "0.5"), DeitNetwork(SMALL, 4, 16, "0.5", "0.5"))
TINIES = (DeitNetwork(TINY, 8, 16, "0.5", "0.5"), DeitNetwork(TINY, 4, 16, "0.5", "0.5"))
DENSE = DeitNetwork(SMALL, 8, 16, "1", "1")
LARGEST = DeitNetwork("deit_base_patch16_224", 4, 16, "0.5", "0.5")
FAST = (*HALVES, DENSE)
"""DeiT-Small pruned at 8 and at 4 bits, and dense."""
RATES = (("1", "1"), *((block, token) for block in ("0.7", "0.5") for token in ("0.9", "0.7", "0.5")))
REFERENCE = tuple(DeitNetwork(DISTILLED, 8, block, *rates) for block in (16, 32) for rates in RATES)
"""The settings of the reference, in the order of its table."""
EVERYWHERE = tuple(DeitNetwork(model, bits, 16, keep, keep) for model in (TINY, SMALL) for bits in (8, 4) for keep in ("0.5", "0.7"))
"""What is planned for every part."""
FINN_VIT = DeitNetwork(
    "vit_tiny_patch16_224", 4, 16, "1", "1", "vit_cifar",
    (("img_size", 32), ("patch_size", 4), ("depth", 2), ("num_classes", 10), ("global_pool", "avg"), ("fc_norm", False)),
)  # fmt: skip
"""A network of the work of FINN+'s ViT for CIFAR-10, 61.3 million products an image: 65 tokens of 192 channels, two encoders."""
LOADED = tuple(DeitNetwork(SMALL, 8, 16, *rates) for rates in (("0.5", "0.5"), ("0.7", "0.7"), ("0.7", "0.9"), ("1", "1")))
"""What one design is loaded with."""
NETWORKS = tuple(dict.fromkeys((*FAST, *REFERENCE, *EVERYWHERE, *TINIES, *LOADED, LARGEST, FINN_VIT)))


@dataclass(frozen=True)
class MadeNetwork:
    """What is known of a network whose files are there: live heads, tokens into attention, MAC.

    ``heads``, ``neurons`` and ``tokens`` are per encoder; ``macs`` and ``macs_dense`` per image.
    """

    name: str
    heads: tuple[int, ...]
    heads_dense: int
    neurons: tuple[int, ...]
    tokens: tuple[int, ...]
    macs: int
    macs_dense: int
    nodes: int


_MADE = TypeAdapter(MadeNetwork)


@dataclass(frozen=True)
class ModelFolder:
    """Where networks are: ``NAME.onnx`` (QONNX), ``NAME_hw.onnx`` (hardware graph, unfolded), ``NAME.json``."""

    path: Path

    def qonnx(self, network: DeitNetwork) -> Path:
        """The QONNX file, which ``check`` and ``build`` take."""
        return self.path / f"{network.name}.onnx"

    def hardware(self, network: DeitNetwork) -> Path:
        """The hardware graph as it is before folding: nodes specialised and named, without the host's part."""
        return self.path / f"{network.name}_hw.onnx"

    def facts(self, network: DeitNetwork) -> Path:
        """JSON of a :class:`MadeNetwork`; written last, so that its presence says that all files are there."""
        return self.path / f"{network.name}.json"

    def made(self, network: DeitNetwork) -> MadeNetwork | None:
        """What is known of a network, None where it is not made yet."""
        path = self.facts(network)
        return _MADE.validate_json(path.read_bytes()) if path.is_file() else None

    def known(self, network: DeitNetwork) -> MadeNetwork:
        """What is known of a network.

        Raises:
            UserError: it is not made yet.
        """
        if (made := self.made(network)) is None:
            raise UserError(f"the network {network.name} is not in {self.path}: make it with the command models first")
        return made


def make(network: DeitNetwork, folder: ModelFolder) -> MadeNetwork:
    """Make the files of a network, unless they are there.

    The export gate is left out, half of the time: a build holds what it lowers against the QONNX file, and a plan looks at
    no weight.
    """
    if (made := folder.made(network)) is not None:
        return made
    warnings.simplefilter("ignore")  # of torch's exporter, a page for each network
    dense, vit, masks = _pruned(network)
    size = dense.image_size
    vit.calibrate(torch.randint(0, 256, (IMAGES, size, size, dense.channels)).float(), masks)
    frozen = freeze(cut(vit.eval(), masks))
    keep = float(network.block_keep)
    metadata = describe(network.name, dense, frozen, network.block, keep, keep, float(network.token_keep))
    model = to_qonnx(frozen)
    metadata.write(model)
    _save(model, folder.qonnx(network))
    graph = hardware_graph(model)
    _save(graph, folder.hardware(network))
    result = MadeNetwork(
        name=network.name, heads=tuple(metadata.heads), heads_dense=sum(e.heads for e in dense.encoders),
        neurons=tuple(metadata.neurons), tokens=tuple(t["in"] for t in metadata.tokens), macs=metadata.macs,
        macs_dense=metadata.macs_dense, nodes=len(graph.graph.node),
    )  # fmt: skip
    write_json(folder.facts(network), asdict(result))
    return result


def _pruned(network: DeitNetwork) -> tuple[ViTConfig, PrunedViT, list[EncoderMask]]:
    """Shapes of the dense network without token drop, the network in float, masks by magnitude."""
    torch.manual_seed(0)
    source = timm.create_model(network.model, pretrained=False, **dict(network.changed)).eval()
    for name, parameter in source.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=BIASES)
    found = config_of_timm(source)
    dense = replace(found, weight_bits=network.bits, act_bits=network.bits, ranked_prefix=found.prefix - 1)  # as the reference
    drop_at = tuple(encoder for encoder in DROP_AT if encoder <= dense.last_drop)
    if float(network.token_keep) < 1 and not drop_at:
        raise UserError(f"{network.name}: none of the encoders {DROP_AT} of {len(dense.encoders)} can drop tokens: use token_keep 1")
    config = dense.with_token_drop(network.token_keep, drop_at) if float(network.token_keep) < 1 else dense
    model = PrunedViT(config)
    pixels = NORMALISED[: dense.channels]
    load_timm(model, source.state_dict(), pixels, pixels)
    keep = network.block_keep
    scores = PruneScores(config, PruneConfig(block_size=network.block, block_keep=keep, neuron_keep=keep))
    scores.set_to_magnitude(model)
    return dense, model, scores.final_masks()


def _save(model: ModelWrapper, path: Path) -> None:
    with whole_file(path) as partial:
        model.save(str(partial))


def hardware_graph(source: ModelWrapper) -> ModelWrapper:
    """The hardware graph of a QONNX model before folding: nodes specialised and named, the host's part removed."""
    model = lower(source).model.transform(TidyLowered()).transform(SpecializeLayers(PART)).transform(HardwareOnly())
    return model.transform(GiveUniqueNodeNames())
