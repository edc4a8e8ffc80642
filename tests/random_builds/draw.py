"""A network from a seed, and how it is built: shapes, widths and pruning at random, random weights, calibrated on noise; and images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor, nn

from finn_vitprune.models.config import MlpActivation, NormKind, PoolerShape, Pooling, Rotary, ViTConfig
from finn_vitprune.models.freeze import freeze
from finn_vitprune.models.layers import DiagonalLinear
from finn_vitprune.models.vit import EncoderMask, PrunedViT
from finn_vitprune.pruning.config import PruneConfig
from finn_vitprune.pruning.cut import cut
from finn_vitprune.pruning.scores import PruneScores, head_liveness
from finn_vitprune.transforms.engines.bind import ARRAY, EMBEDS

CALIBRATION_IMAGES = 48
IMAGES = 10


@dataclass(frozen=True)
class Drawn:
    """What is drawn for a seed; rates are decimals as written.

    heads_gone: by encoder, heads that are removed whole. empty: share of the rows (output channels) of every linear layer
    that have no weights but keep their biases. spread: standard deviation of the logarithm of a row's weights. pool_heads: heads of
    attention pooling and their width. one_table: all encoders turn queries and keys by the same angles.
    """

    seed: int
    image_size: int
    patch_size: int
    channels: int
    block: int
    head_dim: int
    heads: int
    dim: int
    neurons: int
    depth: int
    classes: int
    prefix: int
    pooling: str
    norm_after_pooling: bool
    weight_bits: int
    act_bits: int
    block_keep: str
    neuron_keep: str
    token_keep: str
    drop_at: tuple[int, ...]
    heads_gone: tuple[tuple[int, ...], ...]
    empty: float
    spread: float
    bias: float
    target_fps: int | None
    activation: str = "gelu"
    norm_pre: bool = False
    final_norm: bool = True
    pool_heads: tuple[int, int] | None = None
    gated: bool = False
    norm: str = NormKind.LAYER.value
    qk_norm: str | None = None
    rotary: str | None = None
    one_table: bool = False
    position_bias: bool = False

    @property
    def config(self) -> ViTConfig:
        """The network before pruning; attention pooling has the neurons of an encoder, and its heads where none of its own are drawn."""
        heads = self.pool_heads or (self.heads, self.head_dim)
        config = ViTConfig.dense(
            self.image_size, self.channels, self.patch_size, self.heads * self.head_dim, self.heads, self.depth,
            self.classes, prefix=self.prefix, weight_bits=self.weight_bits, act_bits=self.act_bits,
            pooling=Pooling(self.pooling), norm_after_pooling=self.norm_after_pooling,
            activation=MlpActivation(self.activation), norm_pre=self.norm_pre, final_norm=self.final_norm,
            pooler=PoolerShape(*heads, self.neurons) if Pooling(self.pooling).attends else None,
            gated=self.gated, norm=NormKind(self.norm),
            qk_norm=None if self.qk_norm is None else NormKind(self.qk_norm),
            rotary=None if self.rotary is None else Rotary(self.rotary), position_bias=self.position_bias,
        )  # fmt: skip
        shape = replace(config.encoders[0], neurons=self.neurons)
        return replace(config, dim=self.dim, encoders=(shape,) * self.depth).with_token_drop(self.token_keep, self.drop_at)


@dataclass(frozen=True)
class DrawnDesign:
    """A network and how it is built; what is not drawn is as it is by default.

    Attributes:
        encoders_per_engine: none is hardware for every encoder.
        ultra: of the matrix units, the first share of which has its weights in UltraRAM, which is loaded.
        slrs: SLRs that the nodes are dealt to, in graph order.
        loads: "" for contents that are built in as far as they can be, "own" for a design that is loaded with its own network,
            "another" for one that is loaded with it, with another network, and with the first one again.
        shares: layers that share a unit, as `bind` of transforms/engines/bind.py has it.
        most_lanes: the largest number of lanes that is drawn for a matrix unit; 0 keeps the lanes of the plan.
        structured: images of stripes, checks, gradients and one pixel are among the others.
        images: of noise.
    """

    network: Drawn
    encoders_per_engine: tuple[int, ...] = ()
    frames_in_flight: int | None = None
    ultra: float = 0.0
    slrs: int = 1
    loads: str = ""
    shares: str = ""
    most_lanes: int = 0
    structured: bool = False
    images: int = IMAGES

    @property
    def other(self) -> Drawn:
        """The other network that it is loaded with: other weights, masks and heads, and other shares of them."""
        own, rng = self.network, np.random.default_rng((self.network.seed, 3))
        return replace(
            own, seed=own.seed + OTHER_SEED, block_keep=str(rng.choice(BLOCK_KEEPS)), neuron_keep=str(rng.choice(NEURON_KEEPS)),
            token_keep=str(rng.choice(TOKEN_KEEPS)) if own.rotary is None and not own.position_bias else "1",
            heads_gone=_heads_gone(rng, own.heads, own.depth),
        )  # fmt: skip


OTHERS = (MlpActivation.GELU_TANH, MlpActivation.QUICK_GELU, MlpActivation.SILU, MlpActivation.RELU)
"""Activations of networks beside GELU; sigmoid is one of gates."""
DEPTHS, ENGINE_DEPTHS = (1, 1, 1, 2), (2, 2, 3, 4)
"""Encoders of a network, and of one whose encoders share engines."""
BLOCK_KEEPS, NEURON_KEEPS, TOKEN_KEEPS = (
    ("0.2", "0.4", "0.5", "0.75", "1"),
    ("0.3", "0.5", "0.8", "1"),
    ("0.3", "0.5", "0.55", "0.8", "0.95"),
)
OTHER_SEED = 1_000_000
"""Between the seed of a network and that of the other one that its design is loaded with."""


@dataclass(frozen=True)
class Kind:
    """A kind of builds: what is drawn for a seed."""

    name: str
    design: Callable[[int], DrawnDesign]

    def recorded(self, seed: int) -> dict[str, object]:
        """What was drawn, for the ledger: of the design what differs from the defaults, the network alone where that is all."""
        drawn = self.design(seed)
        own = {f.name: value for f in fields(drawn) if (value := getattr(drawn, f.name)) != f.default}
        defaults = {f.name: f.default for f in fields(drawn.network)}
        network = {name: value for name, value in asdict(drawn.network).items() if value != defaults[name]}
        return network if own.keys() == {"network"} else own | {"network": network}


def draw_network(seed: int) -> DrawnDesign:
    """A network, hardware for every encoder."""
    return DrawnDesign(draw(seed))


def draw_engines(seed: int) -> DrawnDesign:
    """A network of several encoders, one engine at least has more than one of them."""
    drawn, rng = draw(seed, ENGINE_DEPTHS), np.random.default_rng((seed, 1))
    first = int(rng.integers(2, drawn.depth + 1))
    sizes = [first, *[1] * (drawn.depth - first)]
    return DrawnDesign(drawn, tuple(int(n) for n in rng.permutation(sizes)), int(rng.integers(1, 4)))


def draw_activation(seed: int) -> DrawnDesign:
    """As :func:`draw_engines`, with another activation than GELU, each of them at every fourth seed."""
    return replace(design := draw_engines(seed), network=replace(design.network, activation=OTHERS[seed % len(OTHERS)].value))


def draw_gates(seed: int) -> DrawnDesign:
    """Gated MLPs, with each of the activations at every sixth seed; the encoders are on engines at even seeds and have hardware each at odd ones.

    A design of every fourth seed is loaded with another network, where it reads the class token.
    """
    design, activations = draw_network(seed) if seed % 2 else draw_engines(seed), tuple(MlpActivation)
    network = replace(design.network, gated=True, activation=activations[seed % len(activations)].value)
    return replace(design, network=network, loads="another" if seed % 4 == 2 and network.pooling == Pooling.CLASS else "")


def draw_norm(seed: int) -> DrawnDesign:
    """A LayerNorm before the encoders, none after them, or both; the encoders are on engines at even seeds and have hardware each at odd ones.

    A design of every sixth seed, with both LayerNorms, is loaded with another network.
    """
    design = draw_network(seed) if seed % 2 else draw_engines(seed)
    final = seed % 3 == 0
    after = design.network.norm_after_pooling and final
    network = replace(design.network, norm_pre=seed % 3 != 1, final_norm=final, norm_after_pooling=after)
    return replace(design, network=network, loads="" if seed % 6 else "another")


def draw_rms_norm(seed: int) -> DrawnDesign:
    """As :func:`draw_norm`, but RMSNorms, of which one or both beside the encoders may be left out."""
    design, rng = draw_norm(seed), np.random.default_rng((seed, 6))
    final = bool(rng.integers(4))
    after = draw(seed, DEPTHS if seed % 2 else ENGINE_DEPTHS).norm_after_pooling and final
    network = replace(design.network, norm=NormKind.RMS.value, norm_pre=bool(rng.integers(2)), final_norm=final, norm_after_pooling=after)
    return replace(design, network=network, loads="another" if seed % 4 == 2 else "")


def draw_qk_norm(seed: int) -> DrawnDesign:
    """Norms of queries and keys, RMSNorm at even seeds; other norms are of the same kind but at every third one. The encoders are on
    engines at every second odd and even seed and have hardware each at others; a design of every sixth is loaded with another network.
    """
    design, kinds = draw_network(seed) if seed % 4 < 2 else draw_engines(seed), (NormKind.RMS.value, NormKind.LAYER.value)
    network = replace(design.network, qk_norm=kinds[seed % 2], norm=kinds[(seed + (seed % 3 == 0)) % 2])
    return replace(design, network=network, loads="" if seed % 6 else "another")


def draw_rotary(seed: int) -> DrawnDesign:
    """Rotary position embedding, a table for all heads or one a head, with the same angles in all encoders at every third seed; the
    encoders are on engines at even seeds and have hardware each at odd ones. A design of every sixth seed is loaded with another network.
    """
    design = draw_network(seed) if seed % 2 else draw_engines(seed)
    kinds = tuple(Rotary)
    network = replace(design.network, rotary=kinds[seed // 2 % len(kinds)].value, one_table=seed % 3 == 0, token_keep="1", drop_at=())
    return replace(design, network=network, loads="" if seed % 6 else "another")


def draw_bias(seed: int) -> DrawnDesign:
    """Relative position bias, at every third seed with rotary position embedding, at every fifth with QK-norm; the encoders are on engines at
    even seeds and have hardware each at odd ones. A design of every fourth seed is loaded with another network.
    """
    design = draw_network(seed) if seed % 2 else draw_engines(seed)
    rotary = Rotary.SHARED.value if seed % 3 == 0 else None
    network = replace(
        design.network, position_bias=True, token_keep="1", drop_at=(), rotary=rotary,
        qk_norm=NormKind.LAYER.value if seed % 5 == 0 and rotary is None else None,
    )  # fmt: skip
    return replace(design, network=network, loads="" if seed % 4 else "another")


NO_DROP: Mapping[str, object] = {"token_keep": "1", "drop_at": ()}
LAYERS: Mapping[str, Mapping[str, object]] = {
    "plain": {},
    "tanh-GELU": {"activation": MlpActivation.GELU_TANH.value},
    "QuickGELU": {"activation": MlpActivation.QUICK_GELU.value},
    "SiLU": {"activation": MlpActivation.SILU.value},
    "ReLU": {"activation": MlpActivation.RELU.value},
    "4 registers": {"prefix": 5},
    "mean of the patches behind a register": {"pooling": Pooling.PATCHES.value},
    "LayerNorm before the encoders": {"norm_pre": True},
    "no LayerNorm after them": {"final_norm": False},
    "RMSNorm": {"norm": NormKind.RMS.value},
    "QK-norm": {"qk_norm": NormKind.LAYER.value},
    "rotary positions": {"rotary": Rotary.SHARED.value, **NO_DROP},
    "rotary positions by head": {"rotary": Rotary.HEADS.value, **NO_DROP},
    "relative position bias": {"position_bias": True, **NO_DROP},
    "SwiGLU": {"gated": True, "activation": MlpActivation.SILU.value},
    "GEGLU": {"gated": True},
    "attention pooling": {"pooling": Pooling.ATTENTION.value, "pool_heads": (2, 4), "prefix": 0, **NO_DROP},
}
"""What differs from a network with a class token and GELU that drops tokens, by the name of the layer."""
LAYER_IMAGES = 50
SHARES = ("", f"MLP 2{EMBEDS}", ARRAY, ARRAY, f"{ARRAY}{EMBEDS}")
"""What layers of an engine share a unit; arrays more often."""


def draw_partition(seed: int) -> DrawnDesign:
    """One engine of all encoders, 1 to 4 images in flight, whose layers share units in any way.

    Lanes of matrix units are drawn, unless another network is loaded, which might not have room for them. If the patch embedding shares a unit, codes
    have 8 bits, as pixels do, and the design is not loaded. All encoders keep all heads: an array needs every matrix in every encoder.
    """
    drawn, rng = draw(seed, ENGINE_DEPTHS), np.random.default_rng((seed, 9))
    shares, loads = str(rng.choice(SHARES)), str(rng.choice(["", "", "own", "another"]))
    embeds = shares.endswith(EMBEDS)
    network = replace(drawn, heads_gone=((),) * drawn.depth, act_bits=8 if embeds else drawn.act_bits)
    loads = "" if embeds else _possible_loads(loads, network)
    return DrawnDesign(
        network, (drawn.depth,), int(rng.integers(1, 5)), ultra=float(rng.choice([0.0, 0.0, 0.5])), shares=shares,
        most_lanes=0 if loads == "another" else 4, loads=loads, structured=True,
    )  # fmt: skip


def draw_layer(seed: int) -> DrawnDesign:
    """Two encoders with one of :data:`LAYERS` in turn, four seeds each: hardware for every encoder, then one engine, weights of 8 bits, then of 4."""
    place, way = divmod(seed - 1, 4)
    drawn = draw(place % len(LAYERS), (2,))
    network = replace(
        drawn, image_size=4 * drawn.patch_size, pooling=Pooling.CLASS.value, norm_after_pooling=False, prefix=1, token_keep="0.5", drop_at=(1,),
        weight_bits=8 - way // 2 * 4, act_bits=8,
    )  # fmt: skip
    network = replace(network, **[*LAYERS.values()][place % len(LAYERS)])
    return DrawnDesign(network, (2,) if way % 2 else (), 1 if way % 2 else None, images=LAYER_IMAGES)


def draw_mixed(seed: int) -> DrawnDesign:
    """As :func:`draw_design`, with every layer of :data:`LAYERS` drawn beside the others, as far as a network can have them together. A design that
    averages tokens is loaded with its own network alone.

    Tokens are dropped where neither rotary position embedding nor a position bias stands in the way; attention pooling and a mean may have them
    dropped behind a prefix.
    """
    design, rng = draw_design(seed), np.random.default_rng((seed, 7))
    own, norms = design.network, tuple(kind.value for kind in NormKind)

    def one(*choices):
        return choices[rng.integers(len(choices))]

    position = one(*("none",) * 5, Rotary.SHARED.value, Rotary.HEADS.value, "bias", "bias")
    if position in set(Rotary) and own.head_dim % 2:
        position = "bias"
    qk_norm = one(None, None, *norms) if position not in set(Rotary) and own.head_dim > 1 else None
    prefix, attends = int(one(0, 1, 1, 2, 5)), not rng.integers(4)
    means = (Pooling.CLASS, Pooling.CLASS, Pooling.PATCHES, Pooling.ALL) if prefix else (Pooling.PATCHES,)
    pooling = Pooling.ATTENTION if attends else one(*means)
    final_norm = attends or bool(rng.integers(4))
    last = own.depth - (pooling is Pooling.CLASS)
    drops = tuple(i for i in range(1, last + 1) if rng.random() < 0.5) if prefix and position == "none" else ()
    network = replace(
        own, activation=one(*(activation.value for activation in MlpActivation)), gated=not attends and not rng.integers(3), norm=one(*norms),
        norm_pre=bool(rng.integers(2)), final_norm=final_norm, norm_after_pooling=final_norm and pooling in (Pooling.PATCHES, Pooling.ALL) and bool(rng.integers(2)),
        qk_norm=qk_norm, rotary=position if position in set(Rotary) else None, one_table=bool(rng.integers(2)), position_bias=position == "bias",
        prefix=prefix, pooling=pooling.value, pool_heads=(int(rng.integers(1, 4)), int(one(1, 2, 3, 6))) if attends else None,
        drop_at=drops, token_keep=own.token_keep if drops else "1",
    )  # fmt: skip
    return replace(design, network=network, loads=_possible_loads(design.loads, network))


def _possible_loads(loads: str, network: Drawn) -> str:
    """What a design with this network can be loaded with: the constants of a mean are built in, so with no other network."""
    averages = Pooling(network.pooling) in (Pooling.PATCHES, Pooling.ALL)
    return "own" if averages and loads else loads


def draw_prefix(seed: int) -> DrawnDesign:
    """As :func:`draw_engines`, with several tokens beside the patches and, whatever is pooled, with token drops."""
    design, rng = draw_engines(seed), np.random.default_rng((seed, 4))
    drops = tuple(int(i) for i in np.flatnonzero(rng.random(design.network.depth) < 0.7) + 1)
    prefix = int(rng.choice([1, 2, 3, 5, 8, 16])) if design.network.pooling != Pooling.CLASS else int(rng.choice([2, 3, 5, 8, 16]))
    return replace(design, network=replace(design.network, prefix=prefix, drop_at=drops))


def draw_pooling(seed: int) -> DrawnDesign:
    """Attention pooling by heads of its own; the encoders are on engines at even seeds and have hardware each at odd ones, which drop tokens
    behind a prefix. It reads all tokens, or at every fourth seed and where there are several prefix tokens the patches alone.

    A design of every sixth seed is loaded with another network.
    """
    design, rng = draw_network(seed) if seed % 2 else draw_engines(seed), np.random.default_rng((seed, 5))
    prefix, own = int(rng.choice([0, 0, 1, 2])), design.network
    pooling = Pooling.ATTENTION_PATCHES if prefix and (seed % 4 == 0 or prefix > 1) else Pooling.ATTENTION
    network = replace(
        own, pooling=pooling.value, norm_after_pooling=False, prefix=prefix,
        pool_heads=(int(rng.integers(1, 4)), int(rng.choice([1, 2, 3, 6, 12]))),
        drop_at=tuple(int(i) for i in np.flatnonzero(rng.random(own.depth) < 0.5) + 1) if prefix else (),
    )  # fmt: skip
    return replace(design, network=network, loads="" if seed % 6 else "another")


def draw_design(seed: int) -> DrawnDesign:
    """A network and everything else: encoders dealt in any way, 1 to 4 images in flight, UltraRAM, SLRs, loads, structured images."""
    drawn, rng = draw(seed, ENGINE_DEPTHS), np.random.default_rng((seed, 2))
    borders = np.flatnonzero(rng.random(drawn.depth - 1) < 0.5) + 1  # any composition of the depth
    dealt = np.diff([0, *borders, drawn.depth])
    return DrawnDesign(
        drawn, tuple(int(n) for n in dealt) if rng.random() < 0.8 else (), int(rng.integers(1, 5)),
        ultra=float(rng.choice([0.0, 0.5, 1.0])), slrs=int(rng.choice([1, 2, 4])), loads=str(rng.choice(["", "own", "another", "another"])),
        structured=True,
    )  # fmt: skip


NETWORKS, ENGINES, DESIGNS = Kind("networks", draw_network), Kind("engines", draw_engines), Kind("designs", draw_design)
ACTIVATIONS, NORMS, PREFIXES = Kind("activations", draw_activation), Kind("norms", draw_norm), Kind("prefixes", draw_prefix)
POOLINGS, GATES, RMS_NORMS = Kind("poolings", draw_pooling), Kind("gates", draw_gates), Kind("rms-norms", draw_rms_norm)
QK_NORMS, ROTARY, BIASES = Kind("qk-norms", draw_qk_norm), Kind("rotary", draw_rotary), Kind("biases", draw_bias)
LAYER_BUILDS, MIXED, PARTITIONS = Kind("layers", draw_layer), Kind("mixed", draw_mixed), Kind("partitions", draw_partition)


def draw(seed: int, depths: tuple[int, ...] = DEPTHS) -> Drawn:
    """The parameters of ``seed``; small, so that a build takes seconds."""
    rng = np.random.default_rng(seed)

    def one(*choices):
        return choices[rng.integers(len(choices))]

    block, heads, depth = one(2, 4, 4, 8), int(rng.integers(1, 4)), one(*depths)
    head_dim = block * one(1, 1, 2) if heads < 3 else block
    patch, side = one(1, 2, 2, 3, 4, 5), int(rng.integers(1, 5))
    pooling = one(*(Pooling.CLASS,) * 2 * depth, Pooling.PATCHES, Pooling.ALL)
    of_class = pooling is Pooling.CLASS
    prefix = one(1, 1, 2) if of_class else one(0, 1)
    tokens = side * side + prefix
    drops = tuple(i for i in range(1, depth + 1) if of_class and tokens > 3 and rng.random() < 0.8)
    gone = _heads_gone(rng, heads, depth)
    return Drawn(
        seed=seed, image_size=patch * side, patch_size=patch, channels=one(1, 1, 3, 4), block=block, head_dim=head_dim,
        heads=heads, dim=block * int(rng.integers(1, 17 // block + 1)), neurons=block * int(rng.integers(1, 17 // block + 1)),
        depth=depth, classes=int(rng.integers(2, 13)), prefix=prefix, pooling=pooling.value,
        norm_after_pooling=bool(not of_class and rng.integers(2)), weight_bits=one(4, 8), act_bits=one(4, 8),
        block_keep=one(*BLOCK_KEEPS), neuron_keep=one(*NEURON_KEEPS), token_keep=one(*TOKEN_KEEPS),
        drop_at=drops, heads_gone=gone, empty=one(0.0, 0.1, 0.4), spread=one(0.0, 0.5, 1.5), bias=one(0.0, 0.1, 1.0), target_fps=one(20_000, 50_000, 200_000),
    )  # fmt: skip


def _heads_gone(rng: np.random.Generator, heads: int, depth: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(h) for h in np.flatnonzero(rng.random(heads) < 0.3)[: heads - 1]) for _ in range(depth))


@torch.no_grad()
def network(drawn: Drawn, count: int = IMAGES) -> tuple[PrunedViT, np.ndarray]:
    """The pruned, calibrated, frozen network, and ``count`` uint8 images ``[F, H, W, C]``: noise of full range, and extremes."""
    torch.manual_seed(drawn.seed)
    torch.set_num_threads(1)
    config = drawn.config
    model = PrunedViT(config)
    _fill(model, drawn)
    scores = PruneScores(config, PruneConfig(drawn.block, drawn.block_keep, drawn.neuron_keep))
    scores.set_to_magnitude(model)
    masks = [_without(m, gone, drawn) for m, gone in zip(scores.masks(), drawn.heads_gone)]
    shape = (config.image_size, config.image_size, config.channels)
    model.calibrate(torch.randint(0, 256, (CALIBRATION_IMAGES, *shape)).float(), masks)
    rng = np.random.default_rng(drawn.seed)
    images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    images[-4:-2] = images[-4:-2] // 128 * 255
    images[-2], images[-1] = 0, 255
    return freeze(cut(model.eval(), masks)), images


def structured_images(size: int, channels: int) -> np.ndarray:
    """uint8 ``[F, H, W, C]``: stripes, checks, gradients, and one pixel that is unlike all others."""
    down, right = np.mgrid[:size, :size]
    single = (down == size // 2) & (right == size // 3)
    grey = [
        down % 2 * 255,
        right % 2 * 255,
        (down + right) % 2 * 255,
        down * 255 // size,
        right * 255 // size,
        single * 255,
        255 - single * 255,
    ]
    return np.repeat(np.array(grey, np.uint8)[..., None], channels, -1)


def _fill(model: PrunedViT, drawn: Drawn) -> None:
    for name, layer in model.linears().items():
        fan_in = layer.weight.shape[1] * (150.0**2 if name == "patch_embed" else 1.0)
        diagonal = layer.diagonal * fan_in**0.5 if isinstance(layer, DiagonalLinear) else 1.0
        rows = torch.exp(drawn.spread * torch.randn(len(layer.weight), 1))
        layer.weight.copy_(torch.randn_like(layer.weight) * rows / fan_in**0.5 * diagonal)
        layer.weight[torch.rand(len(layer.weight)) < drawn.empty] = 0.0
        layer.bias.copy_(drawn.bias * torch.randn_like(layer.bias))
    for parameter in (model.prefix_tokens, model.pos_embed):
        nn.init.normal_(parameter, std=0.5)
    for table in [block.attn.angles for block in model.blocks] if drawn.rotary else ():
        if not drawn.one_table or table is model.blocks[0].attn.angles:
            angles = torch.rand(table.shape) * 6 - 3
            angles[:, : drawn.prefix] = 0
        table.set(angles.cos(), angles.sin())
    for bias in [block.attn.bias for block in model.blocks] if drawn.position_bias else ():
        nn.init.normal_(bias.table, std=float(torch.exp(drawn.spread * torch.randn(()))))
    if Pooling(drawn.pooling).attends:
        nn.init.normal_(model.attn_pool.query, std=1.0)


def _without(mask: EncoderMask, gone: tuple[int, ...], drawn: Drawn) -> EncoderMask:
    """``mask`` with all queries of some heads pruned."""
    rows = torch.ones(3, drawn.heads, drawn.head_dim)
    rows[0, list(gone)] = 0.0
    qkv = mask.qkv * rows.reshape(-1, 1)
    kept: Tensor = (qkv > 0).any(1).to(qkv.dtype)
    return replace(mask, qkv=qkv, qkv_bias=kept, heads=head_liveness(qkv, mask.proj, drawn.heads))
