"""``report/vitprune_summary.json``: what a build is, what was checked, how fast and how large it is.

Words and units are those of docs/numerics.md: shares 0 to 1, cycles of the accelerator's clock, one frame
is one image. A section is missing (``null``) when its step did not run; nothing is filled in for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field, model_validator

from finn_vitprune.errors import UserError
from finn_vitprune.files import write_text
from finn_vitprune.recorded import check_recorded
from finn_vitprune.report.quantities import images_per_second, milliseconds
from finn_vitprune.synth.lost import LostCycles
from finn_vitprune.synth.parts import KINDS, Shortfall, no_text
from finn_vitprune.synth.placed import PlacedDesign
from finn_vitprune.synth.planned import Planned
from finn_vitprune.synth.resources import ESTIMATE, NOT_ESTIMATED
from finn_vitprune.synth.timed import DesignTiming

FILE = Path("report") / "vitprune_summary.json"
"""Where a build folder holds it."""

SIMULATED, PLANNED = "simulated", "planned"
"""Methods of figures."""

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class _SummarySection(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class TokenCounts(_SummarySection):
    """Tokens of one encoder: at its input, and in its MLP (after a token drop)."""

    in_: Count = Field(alias="in")
    mlp: Count


class ModelCard(_SummarySection):
    """What a network is; None where its file does not say.

    image_shape: H, W, C. weight_bits, activation_bits. block_keep, neuron_keep: shares that are kept, of blocks of block_size a side.
    token_keep: the rate of each encoder that drops tokens, from 1. macs_dense, macs: products of an image, unpruned and as performed.
    """

    name: str
    image_shape: tuple[int, int, int] | None = None
    classes: Count | None = None
    weight_bits: Count | None = None
    activation_bits: Count | None = None
    block_size: Count | None = None
    block_keep: Share | None = None
    neuron_keep: Share | None = None
    token_keep: dict[int, Share] = {}
    macs_dense: Count | None = None
    macs: Count | None = None

    @classmethod
    def of(cls, name: str, metadata: Mapping[str, str]) -> Self:
        """The card of a model file with these metadata; ``name`` where they have none.

        Raises:
            UserError: a property that the card shows is not as an export writes it.
        """
        keys = {field: field for field in ModelCard.model_fields if field != "name"} | {"activation_bits": "act_bits"}
        try:
            return cls(
                name=metadata.get("name", name), **{field: json.loads(metadata[key]) for field, key in keys.items() if key in metadata}
            )
        except ValueError as error:
            raise UserError(f"the metadata of model {name} are not as an export writes them: {str(error).splitlines()[0]}") from None

    @property
    def rows(self) -> list[tuple[str, str]]:
        """What the file says, by its name, in words."""
        bits = f"{self.weight_bits} of weights, {self.activation_bits} of activations" if self.weight_bits else ""
        neurons = "" if self.neuron_keep is None else f", {self.neuron_keep:.0%} of neurons"
        kept = "" if self.block_keep is None else f"{self.block_keep:.0%} of {self.block_size} x {self.block_size} blocks{neurons}"
        drops = ", ".join(f"{rate:.0%} in encoder {i}" for i, rate in sorted(self.token_keep.items()))
        macs = "" if not self.macs else f"{self.macs:,} products an image, of {self.macs_dense:,} unpruned"
        found = {"network": self.name, "bits": bits, "kept": kept, "tokens kept": drops, "operations": macs if self.macs_dense else ""}
        return [(name, text) for name, text in found.items() if text]


class ModelSummary(ModelCard):
    """The network. ``macs`` and ``params`` are what the hardware performs and stores, ``*_dense`` the unpruned.

    ``macs_pruned`` are the products after pruning with every token in the last encoder, which the hardware runs for the
    class token alone where only that is read; None in older files. ``logit_scale`` turns the integer logits into real ones.
    """

    macs_dense: Count
    macs_pruned: Count | None = None
    macs: Count
    params_dense: Count
    params: Count
    index_bits: Count
    tokens: list[TokenCounts]
    heads: list[Count]
    block_size: Count
    block_keep: Share
    logit_scale: float | list[float] | None = None


class UnitsSummary(_SummarySection):
    """A simulation unit by unit (docs/simulation.md).

    ``nodes`` ran alone, with the MAC implementation of the plan, each with its own contents on ``frames`` frames without and
    with pauses and stalls, and ``beats`` of their outputs were compared; ``structures`` are distinct and compiled once each. ``seconds`` says where the time
    went: ``compile`` and ``nodes`` are sums over structures, several of which ran at once, ``units`` what these took
    together, ``accelerator`` the runs of the whole accelerator, which had the model ``vp_mac_model`` of the MACs.
    """

    nodes: Count
    structures: Count
    frames: Count
    beats: Count
    seconds: dict[str, float] = {}


class VerifySummary(_SummarySection):
    """Agreement of the stages on real images.

    ``rtl_mismatches`` counts logits (and codes of traced internal streams) in which the RTL differs from the
    hardware graph, in all runs; ``class_changes`` images whose class differs between these two.
    ``lowering_ties`` counts codes of the hardware graph that differ from QONNX's by one beside a tie of rounding,
    ``lowering_faults`` all others (docs/numerics.md, "Comparing"); both are ``None`` in summaries of older builds.
    ``stalled_images`` went through the RTL again with random pauses and stalls. ``images`` of the ``images_total``
    images of ``image_source`` were used, drawn with ``image_seed`` where that is not all of them (``image_choice`` says
    it in words). Accuracies are ``None`` where there are no labels (``image_source`` "random"). ``traced_streams`` were compared
    beat by beat on ``traced_images``, ``left_out_streams`` were not. ``units`` is ``None`` where the design was simulated in one piece.
    """

    images: Count
    rtl_mismatches: Count
    class_changes: Count = 0
    stalled_images: Count = 0
    traced_streams: Count = 0
    left_out_streams: Count = 0
    traced_images: Count = 0
    units: UnitsSummary | None = None
    image_source: str = ""
    images_total: Count | None = None
    image_seed: int | None = None
    image_choice: str = ""
    top1_agree_qonnx: Share
    max_code_diff_vs_qonnx: Count
    lowering_ties: Count | None = None
    lowering_faults: Count | None = None
    saturations: Count
    accuracy: Share | None = None
    accuracy_pytorch: Share | None = None


class RtlsimSummary(_SummarySection):
    """Measured in simulation (Verilator) of the whole accelerator; ``interval_cycles`` is the mean of overlapping frames."""

    frames: Count
    latency_cycles: Count
    interval_cycles: Annotated[float, Field(ge=0)]
    interval_cycles_max: Count
    clk_ns: Annotated[float, Field(gt=0)]
    latency_ms: Annotated[float, Field(ge=0)]
    fps: Annotated[float, Field(ge=0)]

    @classmethod
    def measured(cls, frames: int, latency_cycles: int, interval_cycles: float, interval_cycles_max: int, clk_ns: float) -> RtlsimSummary:
        """Derive milliseconds and images per second from cycles and the clock period."""
        return cls(
            frames=frames,
            latency_cycles=latency_cycles,
            interval_cycles=interval_cycles,
            interval_cycles_max=interval_cycles_max,
            clk_ns=clk_ns,
            latency_ms=milliseconds(latency_cycles, clk_ns),
            fps=images_per_second(interval_cycles, clk_ns),
        )


class FormulaSummary(_SummarySection):
    """Cycles by the formulas of the ops: between images that follow one another, and from the first pixel of a lone one to its logits."""

    interval_cycles: Count
    latency_cycles: Count


class BalanceRow(_SummarySection):
    """Load of one node with matrix products: ``utilisation`` = ``ideal_cycles`` / ``cycles``, the op's own estimate.

    ``macs`` are the useful products of a frame, of kept blocks with live rows (of attention: queries, keys and channels of
    live heads); ``macs_per_cycle`` those that the multipliers can make. ``lost`` says why ``cycles`` are more than
    ``ideal_cycles``. In older files these are 0. ``weight_bits`` are the bits of weights and indices that the node stores.
    ``kept_blocks`` is ``None`` for attention, which has no stored blocks.
    """

    node: str
    kept_blocks: Count | None
    lanes: Count
    ideal_cycles: Annotated[float, Field(ge=0)]
    cycles: Count
    utilisation: Share
    op_type: str = ""
    weight_bits: Count = 0
    macs: Count = 0
    macs_per_cycle: Count = 0
    lost: LostCycles = LostCycles()


class MemoryRow(_SummarySection):
    """``count`` equal memories of a node, by its estimate.

    ``holds`` is the kind of contents and ``name`` what they are; ``kind`` is LUTRAM, "LUT ROM" (a table in logic), BRAM or
    URAM. ``bits`` are contents, ``capacity`` the bits of the RAMs that are taken: ``LUT`` LUTs (with the multiplexer of a deep
    memory), ``BRAM18`` block RAMs of 18 Kbit and ``URAM`` UltraRAMs. It is None for a table in logic.
    """

    holds: str
    name: str
    kind: str
    words: Count
    width: Count
    count: Count
    bits: Count
    capacity: Count | None
    LUT: Count = 0
    BRAM18: Count = 0
    URAM: Count = 0


OUTSIDE = "outside encoders"
BETWEEN = ("FIFO", "width converter", "SLR crossing", "registers", "token selection", "fork")
"""Roles of nodes that stand between units; their names end so, perhaps with a number."""


class FifoRow(_SummarySection):
    """A FIFO that holds ``depth`` beats of ``width`` bits; ``fill``: beats that it held at most in simulation, None if none ran."""

    depth: Annotated[int, Field(ge=1)]
    width: Count
    fill: Count | None = None

    @model_validator(mode="after")
    def _whole_parts(self) -> Self:
        """Older files give the depth that was asked for; a FIFO in several parts holds the next multiple of their number."""
        self.depth = max(self.depth, self.fill or 0)
        return self


class NodeRow(_SummarySection):
    """One node of the accelerator, in graph order.

    ``layer`` is its name by encoder and layer, ``encoder`` its encoder from 1 (None: outside). ``slrs``: the SLR that it stands
    in, or that of each hop of a crossing; empty where that is open. ``between``: it only passes a stream on (FIFO, converter,
    crossing). ``cycles`` of a frame, by estimate; ``cycles_alone``: between overlapping frames in a simulation of the node
    alone, None where there was none. ``fifo``: None of other nodes, and in older files.
    """

    node: str
    op_type: str
    layer: str
    encoder: int | None
    slrs: list[Count] = []
    between: bool = False
    cycles: Count
    cycles_alone: Annotated[float, Field(ge=0)] | None = None
    memories: list[MemoryRow] = []
    fifo: FifoRow | None = None

    @property
    def role(self) -> str:
        """What it is in its encoder, or outside: QKV, attention, LayerNorm 1; of nodes between units their kind alone."""
        layer = self.layer.partition(", ")[2] or self.layer
        return next((kind for kind in BETWEEN if f" {kind} " in f" {layer} "), layer)

    @property
    def place(self) -> str:
        """Words for where it is: its encoder, its engine (of which ``layer`` begins with the words), or outside."""
        place, comma, _ = self.layer.partition(", ")
        return place if comma else OUTSIDE


class Amounts(_SummarySection):
    """Resources; None is what nobody counted (estimates have no flip-flops, but those of an ECP5)."""

    LUT: Count
    FF: Count | None
    DSP: Count
    BRAM36: Annotated[float, Field(ge=0)]
    URAM: Count


class NodeResources(Amounts):
    """Resources of one node; estimates do not tell LUTs apart."""

    node: str
    op_type: str = ""
    LUTRAM: Count | None = 0
    SRL: Count | None = 0


class ResourceSummary(Amounts):
    """Resources of the accelerator and by node; ``tool`` says what counted them (a tool that ran, or "estimate")."""

    tool: str
    per_node: list[NodeResources] = []

    @model_validator(mode="after")
    def _not_estimated(self) -> Self:
        """Older files say 0 of what estimates do not have."""
        if self.tool == ESTIMATE:
            counted = bool(self.FF)
            self.FF = self.FF if counted else None
            for node in self.per_node:
                node.FF, node.LUTRAM, node.SRL = node.FF if counted else None, None, None
        return self


class PartSummary(Amounts):
    """The part and what it has; ``fits`` is ``None`` when no resources were counted.

    ``dies``: what each SLR has of that, from SLR0 on; empty where that is not known. Where it does not fit, ``short`` has what
    is too little, by the resources of this summary, and ``help`` what would help.
    """

    name: str
    fits: bool | None
    slrs: Count = 1
    dies: list[Amounts] = []
    note: str = ""
    short: list[Shortfall] = []
    help: list[str] = []


class Summary(_SummarySection):
    """The whole file. ``target_fps``: images/s that the build was asked for, None where it fills the part. ``clk_ns``: the chosen period.

    ``formula``: of the graph as it is built, planned or from a folding file; None in older files.
    """

    model: ModelSummary
    verify: VerifySummary | None = None
    rtlsim: RtlsimSummary | None = None
    balance: list[BalanceRow] = []
    nodes: list[NodeRow] = []
    resources: ResourceSummary | None = None
    part: PartSummary | None = None
    plan: Planned | None = None
    formula: FormulaSummary | None = None
    timing: DesignTiming | None = None
    places: PlacedDesign | None = None
    time_s: dict[str, float] = {}
    target_fps: Annotated[float, Field(gt=0)] | None = None
    clk_ns: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _clock(self) -> Self:
        """Older files give the period only where something was timed."""
        if self.clk_ns is None:
            places = (self.rtlsim, self.timing, self.plan and self.plan.target)
            self.clk_ns = next((place.clk_ns for place in places if place is not None), None)
        return self

    @model_validator(mode="before")
    @classmethod
    def _without_methods(cls, data: Any) -> Any:
        """The methods follow from the rest."""
        return {k: v for k, v in data.items() if k != "methods"} if isinstance(data, dict) else data

    @property
    def interval(self) -> tuple[float, str] | None:
        """Cycles between images, and the method: the first that is known of simulation, plan, formula and slowest node."""
        if self.rtlsim is not None:
            return self.rtlsim.interval_cycles, SIMULATED
        if self.plan is not None:
            return float(self.plan.interval_cycles), PLANNED
        if self.formula is not None:
            return float(self.formula.interval_cycles), ESTIMATE
        cycles = [row.cycles for row in (*self.nodes, *self.balance)]
        return (float(max(cycles)), ESTIMATE) if cycles else None

    @property
    def latency(self) -> tuple[int, str] | None:
        """Cycles from the first pixel of a lone image to its logits, and the method: the first that is known of simulation, plan and formula."""
        if self.rtlsim is not None:
            return self.rtlsim.latency_cycles, SIMULATED
        if self.plan is not None and self.plan.latency_cycles:
            return self.plan.latency_cycles, PLANNED
        return None if self.formula is None else (self.formula.latency_cycles, ESTIMATE)

    @property
    def estimated_interval(self) -> tuple[float, str] | None:
        """Cycles of a frame that estimated cycles of nodes are shares of, and the method: the plan's, else as :attr:`interval`.

        It is at least the cycles of the slowest node, so that no share is above 1.
        """
        if self.interval is None:
            return None
        cycles, method = (float(self.plan.interval_cycles), PLANNED) if self.plan is not None else self.interval
        slowest = max((float(row.cycles) for row in (*self.nodes, *self.balance)), default=0.0)
        return (slowest, ESTIMATE) if slowest > cycles else (cycles, method)

    @property
    def used_by_die(self) -> list[dict[str, float]]:
        """Resources by SLR, from SLR0 on, of nodes that are in one; of a crossing every hop counts an equal share. Empty if none is."""
        places = {node.node: node.slrs for node in self.nodes}
        rows = self.resources.per_node if self.resources else []
        if not any(places.values()):
            return []
        count = max(len(self.part.dies) if self.part else 0, 1 + max(max(slrs) for slrs in places.values() if slrs))
        used = [dict.fromkeys(KINDS, 0.0) for _ in range(count)]
        for row in rows:
            for slr in places[row.node]:
                for kind in KINDS:
                    used[slr][kind] += (getattr(row, kind) or 0) / len(places[row.node])
        return used

    @property
    def no_text(self) -> str:
        """That the design does not fit the part, why, and what would help; empty where it fits."""
        if self.part is None or self.part.fits is not False:
            return ""
        method = "" if self.resources is None else self.resources.tool
        return no_text(self.part.name, self.part.short, method, self.part.help)

    @computed_field
    @property
    def methods(self) -> dict[str, str]:
        """How each figure was found, by its place in the file: counted, an estimate, simulated, or by the tool that ran."""
        found = {"model": "counted", "balance.ideal_cycles": "counted", "balance.cycles": ESTIMATE, "balance.utilisation": ESTIMATE}
        found |= {name: SIMULATED for name in ("verify", "rtlsim") if getattr(self, name) is not None}
        if self.nodes:
            found["nodes"] = ESTIMATE
        if self.plan is not None:
            found["plan"] = ESTIMATE
        if self.formula is not None:
            found["formula"] = ESTIMATE
        if self.timing is not None:
            found["timing"] = ESTIMATE
        if self.places is not None:
            found["places"] = ESTIMATE
        if self.resources is not None:
            missing = {k: NOT_ESTIMATED for k in KINDS if getattr(self.resources, k) is None}
            found |= {f"resources.{k}": missing.get(k, self.resources.tool) for k in KINDS}
        return found

    def save(self, build_dir: str | Path) -> Path:
        """Write ``build_dir/report/vitprune_summary.json``; the file appears whole or not at all."""
        path = Path(build_dir) / FILE
        write_text(path, self.model_dump_json(by_alias=True, indent=1) + "\n")
        return path

    @classmethod
    def load(cls, build_dir: str | Path) -> Summary:
        """Read the summary of a build folder, or one that was kept as a file.

        Raises:
            UserError: no such folder, no summary in it, a file that is not such a summary, or one that is not as the build of its folder
                wrote it.
        """
        folder = Path(build_dir)
        if not folder.exists():
            raise UserError(f"no folder {folder}: give the output folder of `finn-vitprune build`")
        path = folder if folder.is_file() else folder / FILE
        if not path.exists():
            raise UserError(f"{folder} holds no {FILE}: the build did not finish, run `finn-vitprune build -o {folder}`")
        if (full := path.absolute()).parts[-len(FILE.parts) :] == FILE.parts:
            check_recorded(full.parents[len(FILE.parts) - 1], FILE)
        return cls.read(path)

    @classmethod
    def read(cls, path: Path) -> Summary:
        """Read a summary from a file, whatever a record says of it.

        Raises:
            UserError: it cannot be read, or is not such a summary.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as e:
            raise UserError(f"cannot read {path}: {e.strerror}") from e
        except ValidationError as e:
            first = e.errors()[0]
            where = ".".join(str(p) for p in first["loc"]) or "file"
            raise UserError(f"{path} is not a summary of this version: {where}: {first['msg']}") from e
