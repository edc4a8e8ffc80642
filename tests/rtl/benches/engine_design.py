"""A small engine: entry, a token selection and a table that its encoders share, exit and the way back; its ends alone, too."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from onnx import NodeProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.engine.times import engine_cycles
from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.custom_ops.op.finn_op import TAGS
from finn_vitprune.custom_ops.op.netlist import UnitNetlist, unit_of
from finn_vitprune.custom_ops.registry import make_node
from finn_vitprune.custom_ops.tokens.select_token import REST
from finn_vitprune.sim import Port, SimResult, Simulator, Stimulus, beats, compile_top
from finn_vitprune.sim.loads import read_loads
from tests.rtl.benches.helper import PART, PATTERNS, SHORT_RESET, build_node, random_stream

ALL = -1
"""In the place of a token that is selected: none is dropped."""
IMAGES = 7
TO_RETURN = 8
"""Cycles of a tag through the fork of the tags and the queue of the way back, for which patches wait that nothing works on."""
SOURCE, SINK = "in0_V", "out0_V"
TAG_COPY = "out1_V"
"""The tags as the exit has them."""


@dataclass(frozen=True)
class Shape:
    """Of an engine: for each encoder the token that it selects (``ALL``: none is dropped), rows, and images of a batch.

    ``embeds``: images have a pass before the encoders, which makes signed codes of theirs and nothing else.
    """

    tokens: int
    selected: tuple[int, ...]
    channels: int
    simd: int
    batch: int
    embeds: bool = False

    @property
    def entering(self) -> tuple[int, ...]:
        """Tokens of a frame that enters each encoder."""
        found = [self.tokens]
        for index in self.selected[:-1]:
            found.append(found[-1] if index == ALL else 1)
        return tuple(found)

    @property
    def leaving(self) -> tuple[int, ...]:
        """Tokens of a frame that leaves each encoder."""
        return (*self.entering[1:], self.entering[-1] if self.selected[-1] == ALL else 1)


SHAPES = {
    "a batch of two, three encoders": Shape(3, (ALL, 1, ALL), 4, 2, 2),
    "one image, three encoders, one beat at the end": Shape(3, (ALL, 2, ALL), 2, 2, 1),
    "a batch of three, two encoders": Shape(2, (1, ALL), 4, 1, 3),
    "a batch of two, five encoders, one beat a frame": Shape(1, (ALL,) * 5, 3, 3, 2),
    "a batch of two, a pass before two encoders": Shape(3, (1, ALL), 4, 2, 2, embeds=True),
    "one image, a pass before three encoders": Shape(2, (ALL, 1, ALL), 2, 2, 1, embeds=True),
    "a batch of two, a pass before two encoders, one beat a frame": Shape(1, (ALL, ALL), 3, 3, 2, embeds=True),
}


@dataclass(frozen=True)
class Engine:
    """An engine with HDL in ``folder``; ``simulator`` is None as long as it is not compiled."""

    shape: Shape
    model: ModelWrapper
    tables: tuple[np.ndarray, ...]
    folder: Path
    sources: tuple[str, ...]
    simulator: Simulator | None
    _keep: tempfile.TemporaryDirectory

    @cached_property
    def ops(self) -> dict[str, object]:
        """The units by name."""
        return {node.name: getCustomOp(node) for node in self.model.graph.node}

    @property
    def ports(self) -> tuple[list[Port], list[Port], tuple]:
        """Images in; images and tags out."""
        bits = self.ops["entry"].stream.tdata_bits
        return [Port(SOURCE, self.ops["entry"].outside.tdata_bits)], [Port(SINK, bits), Port(TAG_COPY, TAGS.tdata_bits)], ()

    def expected(self, images: np.ndarray) -> np.ndarray:
        """What leaves, by the golden models of the units."""
        if self.shape.embeds:
            images = images - 8  # codes of 4 bits
        selects, lookups = (self.ops[name].by_encoder() for name in ("select", "lookup"))
        for select, lookup, table in zip(selects, lookups, self.tables, strict=True):
            (images,) = select.compute(images)
            (images,) = lookup.compute(images, table)
        return images

    def run(self, images: int, stimulus: Stimulus = Stimulus()) -> tuple[SimResult, list[int]]:
        """Feed some images; the result, every beat compared, and the images of each batch as the tags tell them."""
        stream = self.ops["entry"].outside
        given = random_stream(stream, images, 5)
        expected = self.expected(given)
        out = replace(self.ops["entry"].stream, tokens=expected.shape[1])
        tags = images * len(self.tables)
        result = self.simulator.run(
            {SOURCE: beats.pack(given, stream)}, {SINK: beats.pack(expected, out), TAG_COPY: tags}, data_dir=self.folder,
            stimulus=stimulus, idle_limit=2000,
        )  # fmt: skip
        assert result.ok, f"{stimulus}: {result.deadlock}, {result.mismatches}, {result.extra_beats}, {result.violations}"
        return result, batches(result.outputs[TAG_COPY][:, 0], len(self.tables), self.shape.batch)

    def run_cut(self, images: int, beats_more: int, stimulus: Stimulus) -> None:
        """Feed some images and the first beats of a further one, which never ends.

        Raises:
            AssertionError: an image of which all beats came does not leave.
        """
        stream = self.ops["entry"].outside
        given = random_stream(stream, images + 1, 6)
        expected = self.expected(given[:images])
        result = self.simulator.run(
            {SOURCE: beats.pack(given, stream)[: images * stream.beats + beats_more]},
            {SINK: beats.pack(expected, replace(self.ops["entry"].stream, tokens=expected.shape[1])), TAG_COPY: images * len(self.tables)},
            data_dir=self.folder, stimulus=stimulus, idle_limit=2000,
        )  # fmt: skip
        case = f"{images} images and {beats_more} beats, {stimulus}"
        assert result.deadlock is None and not len(result.mismatches[SINK]), f"{case}: {result.deadlock}"
        assert not result.extra_beats[SINK] and not result.violations, f"{case}: {result.extra_beats}, {result.violations}"


def batches(tags: Sequence[int], encoders: int, most: int) -> list[int]:
    """Images of each batch: a batch is 1 to ``most`` images in encoder 0, as many in encoder 1, and so on.

    Raises:
        AssertionError: the tags are in another order.
    """
    tags, sizes = [*map(int, tags)], []
    while tags:
        size = next((i for i, tag in enumerate(tags) if tag), len(tags))
        assert 1 <= size <= most, f"a batch of {size} images"
        batch, tags = tags[: size * encoders], tags[size * encoders :]
        assert batch == [e for e in range(encoders) for _ in range(size)], f"{batch} is not a batch"
        sizes.append(size)
    return sizes


def generate(shape: Shape) -> Engine:
    """The HDL of an engine."""
    encoders = len(shape.selected)
    rng = np.random.default_rng(3)
    tables = [rng.permutation(np.arange(-8, 8)) for _ in range(encoders)]
    codes = {"channels": shape.channels, "SIMD": shape.simd, "inputDataType": "INT4"}

    def shared(name: str, op_type: str, uses: list[tuple[dict, list]], source: str, tags: str) -> NodeProto:
        ops = [build_node(op_type, codes | attrs, constants)[0] for attrs, constants in uses]
        for e, op in enumerate(ops):
            for i in range(len(op.in_streams()), len(op.onnx_node.input)):
                op.onnx_node.input[i] = f"table{e}"
        return type(ops[0]).share(name, ops, [source, tags], [f"{name}_y", f"{name}_tags"], frames=2 * shape.batch)

    def port(end: str, tokens: Sequence[int], inputs: list[str], outputs: list[str], **more) -> NodeProto:
        return make_node(f"VitEngine{end}_rtl", inputs, outputs, name=end.lower(), tokens=list(tokens), batch=shape.batch, **codes, **more)

    beats_of = shape.batch * shape.channels // shape.simd
    tag = {"tokens": 1, "channels": 1, "SIMD": 1, "inputDataType": "UINT8"}
    outside, new, patches, passes = codes, [], {}, []
    if shape.embeds:
        outside, new = codes | {"inputDataType": "UINT4"}, ["patches", "all_tags"]
        patches = {
            "patches": shape.tokens, "patch_channels": shape.channels, "patch_SIMD": shape.simd, "patchDataType": "UINT4"
        }  # fmt: skip
        passes = [
            make_node("VitTagFork_rtl", ["all_tags"], ["return_tags", "entry_tags"], name="tag_fork", left_out=encoders),
            make_node(
                "VitMerge_rtl", ["turn", "patches", "return_tags"], ["return"], name="return_merge", ends_tags=1, frames=3 * shape.batch,
                tokens=[*shape.leaving[:-1], 0, shape.tokens], branches=[0] * encoders + [1], **codes,
            ),
        ]  # fmt: skip
    nodes = [
        port("Entry", shape.entering, ["images", "back", "waiting"], ["x", "outside", *(new or ["entry_tags"])], **patches),
        make_node("VitFIFO_rtl", ["outside"], ["waiting"], name="batch", tokens=shape.tokens, depth=beats_of * shape.tokens, **outside),
        *passes[:1],
        shared("select", "VitSelectToken", [
            ({"tokens": tokens, **({"index": 0, "count": REST} if index == ALL else {"index": index})}, []) for tokens, index in zip(shape.entering, shape.selected)
        ], "x", "entry_tags"),
        shared("lookup", "VitLookup", [
            ({"tokens": tokens, "outputDataType": "INT4"}, [table]) for tokens, table in zip(shape.leaving, tables)
        ], "select_y", "select_tags"),
        make_node("VitFork_rtl", ["lookup_tags"], ["exit_tags", "tag_copy"], name="watch", **tag),
        port("Exit", shape.leaving, ["lookup_y", "exit_tags"], ["done", "turn"]),
        *passes[1:],
        make_node("VitFIFO_rtl", ["return" if passes else "turn"], ["back"], name="way_back", tokens=max(shape.entering), depth=beats_of * max(shape.entering), **codes),
    ]  # fmt: skip
    model = ModelWrapper(helper.make_model(helper.make_graph(nodes, "engine", [], [])))
    for e, table in enumerate(tables):
        model.set_initializer(f"table{e}", table.astype(np.float32))
    keep = tempfile.TemporaryDirectory(prefix="vitprune-engine-")
    return Engine(shape, model, tuple(tables), Path(keep.name), tuple(_hdl(model, Path(keep.name))), None, keep)


def build(shape: Shape, change: Callable[[ModelWrapper], ModelWrapper] | None = None) -> Engine:
    """An engine with its simulator; ``change`` is made to its units first."""
    engine = generate(shape)
    if change:
        _hdl(change(engine.model), engine.folder)
    inputs, outputs, _ = engine.ports
    return replace(engine, simulator=compile_top("engine", engine.sources, inputs, outputs))


def _hdl(model: ModelWrapper, folder: Path) -> list[str]:
    """Write the units and the module that connects them; all sources, the top last."""
    ops = [getCustomOp(node) for node in model.graph.node]
    for op in ops:
        op.set_nodeattr("code_gen_dir_ipgen", str(folder))
        op.generate_hdl(model, PART, 5.0)
    netlist = UnitNetlist([unit_of(node, []) for node in model.graph.node])
    ends = (("images", SOURCE, "input ", "output"), ("done", SINK, "output", "input "), ("tag_copy", TAG_COPY, "output", "input "))
    ports = ["input wire ap_clk", "input wire ap_rst_n"]
    for tensor, name, forth, back in ends:
        bits = netlist.nets[tensor][1]
        ports += [f"{forth} wire [{bits - 1}:0] {name}_tdata", f"{forth} wire {name}_tvalid", f"{back} wire {name}_tready"]
    body = [
        *netlist.declarations(),
        *netlist.joined_in("images", SOURCE),
        *netlist.joined_out("done", SINK),
        *netlist.joined_out("tag_copy", TAG_COPY),
        *netlist.instances(),
    ]
    (folder / "engine.v").write_text("module engine (\n    " + ",\n    ".join(ports) + "\n);\n" + "\n".join(body) + "\nendmodule\n")
    units = (op.get_rtl_file_list(abspath=True) for op in ops)
    return [*dict.fromkeys(path for unit in units for path in unit), str(folder / "engine.v")]


LONELY = tuple(Stimulus(seed=seed, pause={SOURCE: 0.3}, burst=60) for seed in range(4))
"""Images come one by one, in the middle of others' batches."""
BUSY = (
    *(Stimulus(seed=seed, pause={SOURCE: 0.1}, stall={SINK: 0.4}, burst=20) for seed in range(3)),
    Stimulus(seed=4, stall={SINK: 0.02}, burst=400),
    Stimulus(seed=5, stall={SINK: 0.5, TAG_COPY: 0.5}, burst=5),
    Stimulus(seed=6, stall={TAG_COPY: 0.3}, burst=80),
)
"""Images leave slowly, or tags do."""


def check_engine(engine: Engine) -> None:
    """Assert that images pass all encoders and leave in order, in batches of 1 to F, with pauses, stalls and resets at any time,
    that images that wait make full batches, that a lone one waits for none, that images leave behind which another one is cut off, and that
    they take the planned cycles.
    """
    most, beats_in = engine.shape.batch, engine.ops["entry"].outside.beats
    result, sizes = engine.run(IMAGES)
    first = 1 if beats_in > 1 else most  # the next image is not whole when the first one has entered; of a beat each they are
    if engine.shape.embeds:  # it waits for its tag, and the next one may be whole until then
        first = sizes[0]
    rest = IMAGES - first
    assert sizes == [first] + [most] * (rest // most) + [rest % most] * (rest % most > 0)
    seen = set()
    for stimulus in (*LONELY, *BUSY, *PATTERNS):
        seen |= set(engine.run(IMAGES, stimulus)[1])
    assert seen == set(range(1, most + 1)), f"batches of {seen} images"
    for i, part in enumerate((0.2, 0.4, 0.55, 0.7, 0.9)):
        middle = int(part * result.cycles)
        engine.run(IMAGES, Stimulus(seed=30 + i, reset_at=middle, reset_cycles=SHORT_RESET))
        busy = Stimulus(seed=40 + i, pause={SOURCE: 0.2}, stall={SINK: 0.3}, burst=9, reset_at=middle, reset_cycles=SHORT_RESET)
        engine.run(IMAGES, busy)
    for images in range(1, 2 * most + 2):
        for beats_more in range(1, beats_in):
            for stimulus in (Stimulus(), Stimulus(seed=images, pause=0.3, stall=0.3), Stimulus(seed=images, pause={SOURCE: 0.1}, burst=60)):
                engine.run_cut(images, beats_more, stimulus)
    planned = engine_cycles(engine.model)
    ends = result.out_cycles[SINK].reshape(IMAGES, -1)[:, -1]
    measured = (ends[first - 1 + 2 * most] - ends[first - 1]) / (2 * most)
    slack = (
        len(engine.shape.selected) + 1
    )  # with units of a cycle each a frame waits for its tag, about a cycle an encoder; the model has no tags
    if engine.shape.embeds:
        slack += TO_RETURN
    assert 0 <= measured - planned.interval <= slack, f"an image every {measured} cycles, planned are {planned.interval}"
    alone = engine.run(1)[0].latency()
    assert 0 <= alone - planned.latency <= slack, f"a lone image takes {alone} cycles, planned are {planned.latency}"


# --- the ends alone ---


@dataclass(frozen=True)
class End:
    """Entry or exit alone: tokens of a frame of each encoder, channels, elements a beat, images of a batch; ``patches``: rows, channels
    and elements a beat of an image, where it has a pass before the encoders."""

    kind: str
    tokens: tuple[int, ...]
    channels: int
    simd: int
    batch: int
    loaded: int = 0
    patches: tuple[int, int, int] = (0, 0, 1)

    @property
    def node(self) -> NodeProto:
        """A node of it alone."""
        attrs = {
            "tokens": list(self.tokens), "channels": self.channels, "SIMD": self.simd, "inputDataType": "INT16",
            "batch": self.batch, "loaded": self.loaded,
        }  # fmt: skip
        if self.patches[0]:
            attrs |= dict(zip(("patches", "patch_channels", "patch_SIMD"), self.patches))
        return make_node(f"VitEngine{self.kind}_rtl", ["a", "b"], ["c", "d"], name="dut", **attrs)

    @cached_property
    def _generated(self) -> tuple[VitOp, tempfile.TemporaryDirectory]:
        model = ModelWrapper(helper.make_model(helper.make_graph([self.node], "end", [], [])))
        op = getCustomOp(model.graph.node[0])
        keep = tempfile.TemporaryDirectory(prefix="vitprune-end-")
        op.set_nodeattr("code_gen_dir_ipgen", keep.name)
        op.generate_hdl(model, PART, 5.0)
        return op, keep

    @property
    def op(self) -> VitOp:
        """The op with its HDL."""
        return self._generated[0]

    def frames(self, encoders: Sequence[int]) -> list[np.ndarray]:
        """Packed random frames."""
        return [beats.pack(random_stream(self.op.of_encoder(e), 1, i), self.op.of_encoder(e)) for i, e in enumerate(encoders)]


@dataclass(frozen=True)
class TagFork(End):
    """The fork of tags alone: its second output leaves the last tag out."""

    @property
    def node(self) -> NodeProto:
        return make_node("VitTagFork_rtl", ["a"], ["b", "c"], name="dut", left_out=len(self.tokens) - 1)


ENDS = {
    "entry, one image": End("Entry", (2, 3, 1), 4, 2, 1),
    "entry, two images": End("Entry", (3, 1, 1), 2, 2, 2),
    "entry, three images of a beat": End("Entry", (1, 1), 1, 1, 3),
    "entry, two images, loaded": End("Entry", (3, 1, 1), 2, 2, 2, loaded=1),
    "entry, one image, patches": End("Entry", (2, 3, 1), 4, 2, 1, patches=(5, 6, 3)),
    "entry, two images, patches": End("Entry", (3, 1), 2, 2, 2, patches=(2, 4, 2)),
    "entry, two images, patches of a beat, loaded": End("Entry", (1, 1, 1), 2, 2, 2, loaded=1, patches=(1, 1, 1)),
    "exit, one image, loaded": End("Exit", (1, 2, 2), 4, 2, 1, loaded=1),
    "exit, one image": End("Exit", (1, 2, 2), 4, 2, 1),
    "exit, two images, four encoders": End("Exit", (3, 1, 2, 1), 2, 2, 2),
    "fork of tags": TagFork("TagFork", (1, 1, 1), 1, 1, 1),
}


def one_by_one(ports: Sequence[str]) -> Iterator[Stimulus]:
    """Each stream alone pauses or stalls for long, then all of them, and resets in between."""
    for i, name in enumerate(ports):
        yield Stimulus(seed=50 + i, pause={name: 0.2}, stall={name: 0.2}, burst=40)
        yield Stimulus(seed=60 + i, pause={name: 0.7}, stall={name: 0.7})
    yield from PATTERNS
    for i in range(4):
        yield Stimulus(seed=70 + i, reset_at=11 + 7 * i, reset_cycles=SHORT_RESET)
        yield Stimulus(seed=80 + i, pause=0.3, stall=0.3, burst=4, reset_at=20 + 9 * i, reset_cycles=SHORT_RESET)


ENTRY_PORTS = ("in0_V", "in1_V", "in2_V", "out0_V", "out1_V", "out2_V")
PATCH_PORTS = (*ENTRY_PORTS, "out3_V")
EXIT_PORTS = ("in0_V", "in1_V", "out0_V", "out1_V")
FORK_PORTS = ("in0_V", "out0_V", "out1_V")


def check_entry(end: End, simulator: Simulator) -> None:
    """Assert that an entry gives a tag and then its frame: of encoder 0 those from outside, of others those from the exit, each in
    their order, whatever pauses and stalls; and that it begins a further frame of a batch only when all beats of that came.
    """
    encoders, images, loads = len(end.tokens), 6, read_loads(end.op.hdl_folder())
    outside = end.frames([0] * images)
    # With frames of one size behind encoder 0, and with batches of one image, the order of batches is not that of sizes.
    back = end.frames([e for _ in range(images) for e in range(1, encoders)])
    # What goes into the FIFO need not be what comes out of it, in which it is alone here.
    feed = {"in0_V": np.concatenate(outside), "in1_V": np.concatenate(back), "in2_V": np.concatenate(outside)}
    want = {"out0_V": len(feed["in1_V"]) + len(feed["in2_V"]), "out1_V": feed["in0_V"], "out2_V": images * encoders}
    for stimulus in (Stimulus(), *one_by_one(ENTRY_PORTS)):
        result = simulator.run(feed, want, stimulus=stimulus, idle_limit=600, loads=loads)
        assert result.ok, f"{stimulus}: {result.deadlock}, {result.mismatches}, {result.extra_beats}, {result.violations}"
        tags = result.outputs["out2_V"][:, 0]
        sizes = batches(tags, encoders, end.batch)
        assert stimulus != Stimulus() or set(sizes[1:-1]) <= {end.batch}, f"{sizes}: images wait, and batches are not full"
        fresh, old = iter(outside), iter(back)
        frames = [next(old if tag else fresh) for tag in tags]
        same = np.array_equal(result.outputs["out0_V"], np.concatenate(frames))
        assert same, f"{stimulus}: beats of other frames than the tags say"
        starts = np.cumsum([0, *map(len, frames)])[:-1]
        late = result.out_cycles["out2_V"] > result.out_cycles["out0_V"][starts]
        assert stimulus.stall or not late.any(), f"{stimulus}: a frame before its tag"
        came = result.in_cycles["in0_V"].reshape(images, -1)[:, -1]
        begun = result.out_cycles["out2_V"][tags == 0]
        further = [image for image, place in enumerate(place for size in sizes for place in range(size)) if place]
        assert (begun[further] > came[further]).all(), f"{stimulus}: a further frame began before all of its beats came"


def check_patches(end: End, simulator: Simulator) -> None:
    """Assert of an entry with a pass before the encoders that patches leave signed on a way of their own, frames of encoders on the
    other, and tags in the order of batches, each before its frame, whatever pauses and stalls; and that a further image begins only when
    all of it came.
    """
    op, encoders, images, loads = end.op, len(end.tokens), 6, read_loads(end.op.hdl_folder())
    outside = [random_stream(op.outside, 1, i) for i in range(images)]
    came, signed = ([beats.pack(f - half, stream) for f in outside] for half, stream in ((0, op.outside), (128, op.embedded)))
    back = end.frames([e for _ in range(images) for e in range(encoders)])
    feed = {"in0_V": np.concatenate(came), "in1_V": np.concatenate(back), "in2_V": np.concatenate(came)}
    passes = encoders + 1
    want = {"out0_V": feed["in1_V"].size // feed["in1_V"].shape[1], "out1_V": feed["in0_V"], "out2_V": np.concatenate(signed)}
    for stimulus in (Stimulus(), *one_by_one(PATCH_PORTS)):
        result = simulator.run(feed, want | {"out3_V": images * passes}, stimulus=stimulus, idle_limit=600, loads=loads)
        assert result.ok, f"{stimulus}: {result.deadlock}, {result.mismatches}, {result.extra_beats}, {result.violations}"
        assert np.array_equal(result.outputs["out0_V"], feed["in1_V"]), f"{stimulus}: frames on their way are changed"
        tags = (result.outputs["out3_V"][:, 0].astype(int) + 1) % passes  # that pass has the last tag
        sizes = batches(tags, passes, end.batch)
        assert stimulus != Stimulus() or set(sizes[1:-1]) <= {end.batch}, f"{sizes}: images wait, and batches are not full"
        sent = result.out_cycles["out3_V"]
        for ours, port in ((tags == 0, "out2_V"), (tags > 0, "out0_V")):
            starts = np.cumsum([0, *(op.frame_beats[tag - 1] for tag in tags[ours])])[:-1]
            assert stimulus.stall or (sent[ours] <= result.out_cycles[port][starts]).all(), f"{stimulus}: a frame before its tag"
        whole = result.in_cycles["in0_V"].reshape(images, -1)[:, -1]
        further = [image for image, place in enumerate(place for size in sizes for place in range(size)) if place]
        assert (sent[tags == 0][further] > whole[further]).all(), f"{stimulus}: a further image began before all of its beats came"


def check_exit(end: End, simulator: Simulator) -> None:
    """Assert that frames of the last encoder leave an exit, all others go back, whatever pauses and stalls."""
    order = [int(e) for e in np.random.default_rng(4).integers(0, len(end.tokens), 24)]
    frames = end.frames(order)
    tags = beats.pack(np.array(order)[:, None, None], TAGS)
    last, loads = len(end.tokens) - 1, read_loads(end.op.hdl_folder())
    want = {
        "out0_V": np.concatenate([f for f, e in zip(frames, order) if e == last]),
        "out1_V": np.concatenate([f for f, e in zip(frames, order) if e != last]),
    }
    feed = {"in0_V": np.concatenate(frames), "in1_V": tags}
    for stimulus in (Stimulus(), *one_by_one(EXIT_PORTS)):
        result = simulator.run(feed, want, stimulus=stimulus, idle_limit=600, loads=loads)
        assert result.ok, f"{stimulus}: {result.deadlock}, {result.mismatches}, {result.extra_beats}, {result.violations}"
        if stimulus == Stimulus():
            cycles = result.latency()
    assert cycles <= len(feed["in0_V"]) + len(order) + 8, f"{cycles} cycles: a frame takes more than a cycle beside its beats"


def check_tag_fork(end: End, simulator: Simulator) -> None:
    """Assert that all tags leave at the first output and all but the last one at the second, whatever pauses and stalls."""
    order = np.random.default_rng(5).integers(0, len(end.tokens), 200)
    tags, kept = (beats.pack(found[:, None, None], TAGS) for found in (order, order[order != len(end.tokens) - 1]))
    for stimulus in (Stimulus(), *one_by_one(FORK_PORTS)):
        result = simulator.run({"in0_V": tags}, {"out0_V": tags, "out1_V": kept}, stimulus=stimulus, idle_limit=600)
        assert result.ok, f"{stimulus}: {result.deadlock}, {result.mismatches}, {result.extra_beats}, {result.violations}"


def check_end(end: End, simulator: Simulator) -> None:
    """:func:`check_entry`, :func:`check_patches`, :func:`check_exit` or :func:`check_tag_fork`."""
    checks = {"Exit": check_exit, "TagFork": check_tag_fork, "Entry": check_patches if end.patches[0] else check_entry}
    checks[end.kind](end, simulator)
