"""What every hardware op of this project is: an op of FINN with a schedule, a folding and resources."""

from __future__ import annotations

import functools
import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qonnx.core.datatype import BaseDataType, DataType

from finn_vitprune.custom_ops.op import ecp5
from finn_vitprune.custom_ops.op.finn_op import TAGS
from finn_vitprune.custom_ops.op.folding import Attributes, Folding, StreamFolding
from finn_vitprune.custom_ops.op.memory import Estimate, UnitMemory
from finn_vitprune.custom_ops.op.structure import UnitParts
from finn_vitprune.custom_ops.op.timed_op import TimedOp
from finn_vitprune.errors import UserError
from finn_vitprune.sim.beats import Stream
from finn_vitprune.synth.family import ULTRASCALE, PartFamily
from finn_vitprune.synth.parts import Part


@functools.cache
def divisors(n: int) -> tuple[int, ...]:
    """Divisors of ``n`` in ascending order."""
    return tuple(d for d in range(1, n + 1) if n % d == 0)


@dataclass(frozen=True)
class OneToken:
    """What an op needs to make one token of its only output in use.

    Attributes:
        inputs: the inputs of which that token alone is needed; of the others all tokens are.
        attributes: what the op then has; None where the token passes it unchanged, so that it is not needed.
    """

    inputs: tuple[int, ...]
    attributes: dict[str, int] | None = None


class VitOp(TimedOp):
    """Base of the integer hardware ops.

    A subclass states its streams and its golden model (:class:`.FinnOp`), its schedule where it makes no beat of every beat
    (:class:`.TimedOp`), and what it takes (:meth:`resources`), here or by its :meth:`folding`.

    Class attributes tell passes over the graph what kind of op it is: ``token_wise``, a token of the output needs
    the same token of each input alone; ``is_buffer``, a FIFO; ``is_converter``, the stream in beats of another width;
    ``is_crossing``, a register chain between two SLRs, or in one; ``scores_leave_early``, the second output leaves once the first token of the
    first one has passed.
    """

    token_wise = False
    is_buffer = False
    ram_holds = "the contents"
    """What is where ``ram_style`` says."""
    is_converter = False
    is_crossing = False
    scores_leave_early = False

    # --- work ---

    def macs(self) -> int:
        """Matrix products this node performs in one frame (zero for all but matrix units and attention)."""
        return 0

    def param_counts(self) -> dict[str, int]:
        """Stored weights and biases: ``{"weights": n, "biases": n, "index_bits": n}``, absent keys are 0."""
        return {}

    def get_op_and_param_counts(self) -> dict[str, int]:
        counts = {f"param_{k}": v for k, v in self.param_counts().items() if v}
        if self.macs():
            counts["op_mac"] = self.macs()
        return counts

    def one_token(self, index: int) -> OneToken | None:
        """What token ``index`` of the first output needs, where nothing else of the op's outputs is used.

        Returns:
            None where it needs all tokens of all inputs.
        """
        return OneToken(tuple(range(len(self.in_streams()))), {"tokens": 1}) if self.token_wise else None

    # --- folding and resources ---

    def folding(self) -> Folding:
        """The unit at its present fold, as frozen data."""
        choices = self.folds()
        names = [name for name, _ in choices[0]] if choices else []
        given = frozenset(a.SerializeToString() for a in self.onnx_node.attribute if a.name not in (*names, "slr"))
        return StreamFolding(type(self), given, choices, tuple((name, self.get_nodeattr(name)) for name in names))

    def folds(self) -> tuple[Attributes, ...]:
        """The folds to choose from, from the cheapest to the fastest one: values of the same attributes.

        The default is ``SIMD``, the elements a beat: the divisors of the channels of every stream. Ops without that
        attribute have nothing to choose.
        """
        return tuple((("SIMD", simd),) for simd in self.widths) if "SIMD" in self.get_nodeattr_types() else ()

    @property
    def widths(self) -> Sequence[int]:
        """Elements a beat that all streams can have."""
        streams = [stream for stream in self.in_streams() + self.out_streams() if stream is not TAGS]
        return divisors(math.gcd(*(stream.channels for stream in streams)))

    @abstractmethod
    def resources(self) -> Estimate:
        """What the op takes at its present fold."""

    def loading(self) -> Estimate:
        """What of :meth:`resources` is there because contents are loaded."""
        return Estimate()

    def memory_map(self) -> tuple[UnitMemory, ...]:
        """The op's memories at its present fold; :meth:`resources` counts them by these."""
        return ()

    def made_of(self) -> UnitParts:
        """What the op is made of at its present fold.

        By default ``logic``, the LUTs of :meth:`resources` beside the memories, ``bits`` of all of its streams, and the encoders that
        share it.
        """
        encoders = self.get_nodeattr("encoders") if "encoders" in self.get_nodeattr_types() else []
        memories, streams = self.memory_map(), [s for s in self.in_streams() + self.out_streams() if s is not TAGS]
        logic = self.resources().LUT - self.loading().LUT - sum(memory.resources.LUT for memory in memories)
        parts = {"one": 1, "logic": logic, "bits": sum(stream.width for stream in streams), "shared": len(encoders)}
        return UnitParts.of(self.kind, parts, memories=memories)

    def amounts(self, family: PartFamily) -> tuple[float, ...]:
        """What the op takes of a part of the family, in the order of its kinds."""
        return self.resources().amounts if family == ULTRASCALE else ecp5.estimate(self.made_of()).amounts

    @property
    def kind(self) -> str:
        """The row of the op in tables of costs."""
        return self.onnx_node.op_type.removesuffix("_rtl")

    # --- the part ---

    def check_part(self, part: Part) -> None:
        """Raise a UserError where the node needs what ``part`` has none of: its ``slr``, and :meth:`check_memories`."""
        slr, use = self.get_nodeattr("slr"), f"0 to {part.slrs - 1}" if part.slrs > 1 else "0"
        self.require(-1 <= slr < part.slrs, f"slr {slr} is not possible on {part.name}: use {use}, or -1 to leave it open")
        self.check_memories(part)

    def check_memories(self, part: Part) -> None:
        """Raise a UserError where the node wants UltraRAM (``ram_style``) and ``part`` has none."""
        wanted = self.get_nodeattr("ram_style") if "ram_style" in self.get_nodeattr_types() else "auto"
        if wanted == "ultra" and not part.URAM:
            raise UserError(
                f"part {part.name} has no UltraRAM for {self.ram_holds} of node {self.onnx_node.name} (ram_style ultra):"
                " use ram_style auto, block or distributed, or a part with UltraRAM, such as xczu7ev"
            )

    def lut_estimation(self, fpgapart: str) -> int:
        return self.resources().LUT

    def dsp_estimation(self, fpgapart: str) -> int:
        return self.resources().DSP

    def bram_estimation(self, fpgapart: str) -> int:
        return self.resources().BRAM_18K

    def uram_estimation(self, fpgapart: str) -> int:
        return self.resources().URAM


class FoldedOp(VitOp):
    """An op whose cycles, products and estimates are those of a :class:`Folding` of its own."""

    @abstractmethod
    def folding(self) -> Folding:
        """The unit at its present fold, as frozen data."""

    def get_exp_cycles(self) -> int:
        return self.folding().cycles

    def macs(self) -> int:
        return self.folding().macs

    def resources(self) -> Estimate:
        return self.folding().resources

    def memory_map(self) -> tuple[UnitMemory, ...]:
        return self.folding().memories

    def made_of(self) -> UnitParts:
        return self.folding().made_of


@functools.lru_cache
def _datatype(name: str) -> BaseDataType:
    """QONNX's type of a name, made once: plans ask for it millions of times."""
    return DataType[name]


class StreamOp(VitOp):
    """An op on tokens of ``channels`` elements, ``SIMD`` a beat; by default one stream in and the same one out."""

    ATTRIBUTES = {"tokens": ("i", True, 0), "channels": ("i", True, 0), "SIMD": ("i", False, 1), "inputDataType": ("s", True, "")}

    @property
    def source(self) -> Stream:
        """The stream that the attributes describe."""
        get = self.get_nodeattr
        return Stream(get("tokens"), get("channels"), get("SIMD"), _datatype(get("inputDataType")))

    def in_streams(self) -> list[Stream]:
        return [self.source]

    def out_streams(self) -> list[Stream]:
        return [self.source]


class UnaryStreamOp(StreamOp):
    """One stream in, one out, of the same shape, with codes of another type, ``outputDataType``."""

    ATTRIBUTES = {"outputDataType": ("s", True, "")}

    @property
    def target(self) -> Stream:
        """The stream that leaves."""
        return replace(self.source, dtype=DataType[self.get_nodeattr("outputDataType")])

    def out_streams(self) -> list[Stream]:
        return [self.target]
