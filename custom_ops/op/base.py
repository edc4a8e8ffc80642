"""What every hardware op of this project shares: what FINN asks of an op, answered from its streams."""

from __future__ import annotations

import functools
import math
import operator
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import numpy as np
from finn.custom_op.fpgadataflow.hwcustomop import HWCustomOp
from onnx import NodeProto, helper
from qonnx.core.datatype import BaseDataType, DataType

from finn_vitprune.custom_ops.op.folding import FOLDINGS_KEPT, Attributes, Folding, StreamFolding
from finn_vitprune.custom_ops.op.memory import Estimate, UnitMemory
from finn_vitprune.custom_ops.op.token_times import TokenTimes
from finn_vitprune.errors import UserError
from finn_vitprune.numerics import MULT_BITS
from finn_vitprune.sim.beats import Stream
from finn_vitprune.synth.parts import Part

T = TypeVar("T", bound="VitOp")
R = TypeVar("R")


@functools.cache
def divisors(n: int) -> tuple[int, ...]:
    """Divisors of ``n`` in ascending order."""
    return tuple(d for d in range(1, n + 1) if n % d == 0)


def by_node(method: Callable[[T], R]) -> Callable[[T], R]:
    """Remember what a method of an op makes of its node, by class and contents of the node: plans ask for it over and over.

    For methods without arguments that read the node alone, and whose answer nobody changes.
    """

    @functools.lru_cache(maxsize=FOLDINGS_KEPT)
    def known(cls: Callable[[NodeProto], T], text: bytes) -> R:
        return method(cls(NodeProto.FromString(text)))

    @functools.wraps(method)
    def asked(op: T) -> R:
        cls: Callable[[NodeProto], T] = type(op)
        return known(cls, op.onnx_node.SerializeToString())

    return asked


_attribute_types: dict[type, dict[str, tuple]] = {}
"""By class: plans ask for attributes millions of times."""

TAGS = Stream(1, 1, 1, DataType["UINT8"])
"""The encoder of each frame, from 0, as a stream of one beat a frame through the units of an engine (``vp_engine_tags``)."""


@dataclass(frozen=True)
class OneToken:
    """What an op needs to make one token of its only output in use.

    Attributes:
        inputs: the inputs of which that token alone is needed; of the others all tokens are.
        attributes: what the op then has; None where the token passes it unchanged, so that it is not needed.
    """

    inputs: tuple[int, ...]
    attributes: dict[str, int] | None = None


class VitOp(HWCustomOp):
    """Base of the integer hardware ops.

    A subclass states its streams (:meth:`in_streams`, :meth:`out_streams`) and its golden model
    (:meth:`compute`); shapes, widths and FINN's queries follow from these. Graph inputs beyond the
    streams are initialisers (weights, tables) and reach :meth:`compute` as arrays.

    Class attributes tell passes over the graph what kind of op it is: ``token_wise``, a token of the output needs
    the same token of each input alone; ``is_buffer``, a FIFO; ``is_converter``, the stream in beats of another width;
    ``is_crossing``, a register chain between two SLRs; ``scores_leave_early``, the second output leaves once the first token of the
    first one has passed.
    """

    token_wise = False
    is_buffer = False
    ram_holds = "the contents"
    """What is where ``ram_style`` says."""
    is_converter = False
    is_crossing = False
    scores_leave_early = False
    ATTRIBUTES: ClassVar[dict[str, tuple]] = {}
    """Node attributes of this class beside those of its bases, FINN's way: type, whether required, default, allowed values."""

    @classmethod
    def own_attributes(cls) -> dict[str, tuple]:
        """:attr:`ATTRIBUTES` of the class and of its bases: what this project states, not FINN."""
        return functools.reduce(operator.or_, (vars(base).get("ATTRIBUTES", {}) for base in reversed(cls.__mro__)))

    def get_nodeattr_types(self) -> dict:
        return super().get_nodeattr_types() | self.own_attributes()

    def get_nodeattr_def(self, name: str) -> tuple:
        """Type, whether required, default and allowed values of an attribute; those of a class are put together once."""
        if (known := _attribute_types.get(type(self))) is None:
            known = _attribute_types[type(self)] = self.get_nodeattr_types()
        return (*known[name], None)[:4]

    def get_nodeattr(self, name: str):
        """As QONNX has it; a number that is set and may be any is looked up without a list of all attributes."""
        known = _attribute_types.get(type(self), {}).get(name, ())
        if known[:1] == ("i",) and len(known) == 3:
            for attribute in self.onnx_node.attribute:
                if attribute.name == name:
                    return attribute.i
        return super().get_nodeattr(name)

    @abstractmethod
    def in_streams(self) -> list[Stream]:
        """The input streams, in the order of the node's inputs."""

    @abstractmethod
    def out_streams(self) -> list[Stream]:
        """The output streams, in the order of the node's outputs."""

    def tags(self) -> list[Stream]:
        """The last input and output stream of a unit that several encoders share (:mod:`.shared`); none of other ops."""
        return []

    def tag_ports(self) -> tuple[int, int]:
        """How many of the last input and of the last output streams are tags."""
        return len(self.tags()), len(self.tags())

    @abstractmethod
    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """The specification: int64 arrays in, int64 arrays out.

        Stream tensors are ``[..., tokens, channels]`` with any leading batch axes; initialisers follow
        in the node's input order with the shapes they have in the graph.
        """

    def get_exp_cycles(self) -> int:
        """A beat a cycle: the beats of the longest stream."""
        return max(stream.beats for stream in self.in_streams() + self.out_streams())

    def silent_cycles(self) -> int:
        """The longest that its streams may stand still while it works."""
        return self.get_exp_cycles()

    def macs(self) -> int:
        """Matrix products this node performs in one frame (zero for all but matrix units and attention)."""
        return 0

    def held_tokens(self) -> int:
        """Upper bound of the tokens that are inside the op when its first output token leaves.

        FIFO depths of reconverging branches come from this (docs/architecture.md, "FIFO depths").
        """
        return 1

    def burst_tokens(self) -> int:
        """Tokens to buffer after each output, where the op sends them in bursts that others wait for."""
        return 0

    def pause_beats(self, inputs: list[TokenTimes]) -> int:
        """Beats to buffer before the first input, which come while the op takes none.

        Args:
            inputs: when the tokens of a frame come, as :meth:`pass_times` has it.
        """
        return 0

    def input_times(self, arrivals: list[float]) -> list[float]:
        """When (in frames) the op needs each input, given when each arrives: as a rule, when all are there."""
        return [max(arrivals)] * len(arrivals)

    def pass_times(self, inputs: list[TokenTimes]) -> list[TokenTimes]:
        """When the tokens of a frame leave, given when they arrive, in a graph that holds no other frame.

        By default every beat leaves :meth:`beat_cycles` after it came, on all outputs. Latency by formula comes from this
        (docs/architecture.md, "Latency").
        """
        beats = max(stream.token_beats for stream in self.in_streams() + self.out_streams())
        return [TokenTimes.joined(inputs).served(beats, self.beat_cycles())] * len(self.out_streams())

    def beat_cycles(self) -> int:
        """Cycles from a beat that arrives to the one that it makes, where each makes one: input and output register."""
        return 2

    def output_fifo_tokens(self) -> int:
        """Tokens that the FIFO after the op must hold whatever path it is on; 0 leaves its depth to the paths."""
        return 0

    def one_token(self, index: int) -> OneToken | None:
        """What token ``index`` of the first output needs, where nothing else of the op's outputs is used.

        Returns:
            None where it needs all tokens of all inputs.
        """
        return OneToken(tuple(range(len(self.in_streams()))), {"tokens": 1}) if self.token_wise else None

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

    def memory_map(self) -> tuple[UnitMemory, ...]:
        """The op's memories at its present fold; :meth:`resources` counts them by these."""
        return ()

    def param_counts(self) -> dict[str, int]:
        """Stored weights and biases: ``{"weights": n, "biases": n, "index_bits": n}``, absent keys are 0."""
        return {}

    # --- execution ---

    def execute_node(self, context, graph) -> None:
        """Run the op on the tensors of ``context`` (FINN calls this).

        Raises:
            UserError: a code is outside of the type of its stream.
        """
        streams = self.in_streams()[: -self.tag_ports()[0] or None]
        for name, stream in zip(self.onnx_node.input, streams):
            self._check_codes(name, context[name], stream.dtype)
        inputs = [np.asarray(np.rint(context[name]), dtype=np.int64) for name in self.onnx_node.input]
        for name, stream, value in zip(self.onnx_node.output, self.out_streams(), self.run(*inputs)):
            wide = stream.dtype.bitwidth() > 24
            context[name] = value.astype(np.float64 if wide else np.float32)

    def _check_codes(self, name: str, codes: np.ndarray, dtype: BaseDataType) -> None:
        """Raise a UserError where a tensor holds what a stream of ``dtype`` cannot."""
        outside = ~((codes >= dtype.min()) & (codes <= dtype.max()))  # NaN is outside, too
        if np.any(outside):
            found = f"input {name} holds {np.asarray(codes)[outside].flat[0]:g}"
            raise UserError(f"{self.label}: {found}, {dtype.name} goes from {dtype.min():g} to {dtype.max():g}: give codes of its range")

    def run(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """What :meth:`execute_node` runs: the golden model, where a subclass has nothing else."""
        return self.compute(*inputs)

    # --- what FINN asks, derived from the streams ---

    def _in(self, ind: int) -> Stream | None:
        streams = self.in_streams()
        return streams[ind] if ind < len(streams) else None

    def lut_estimation(self, fpgapart: str) -> int:
        return self.resources().LUT

    def dsp_estimation(self, fpgapart: str) -> int:
        return self.resources().DSP

    def bram_estimation(self, fpgapart: str) -> int:
        return self.resources().BRAM_18K

    def uram_estimation(self, fpgapart: str) -> int:
        return self.resources().URAM

    def get_normal_input_shape(self, ind: int = 0):
        return getattr(self._in(ind), "shape", None)

    def get_normal_output_shape(self, ind: int = 0):
        return self.out_streams()[ind].shape

    def get_folded_input_shape(self, ind: int = 0):
        return getattr(self._in(ind), "folded_shape", None)

    def get_folded_output_shape(self, ind: int = 0):
        return self.out_streams()[ind].folded_shape

    def get_instream_width(self, ind: int = 0) -> int:
        return getattr(self._in(ind), "width", 0)

    def get_outstream_width(self, ind: int = 0) -> int:
        return self.out_streams()[ind].width

    def get_input_datatype(self, ind: int = 0) -> BaseDataType:
        return getattr(self._in(ind), "dtype", DataType["INT32"])

    def get_output_datatype(self, ind: int = 0) -> BaseDataType:
        return self.out_streams()[ind].dtype

    def get_number_output_values(self):
        streams = self.out_streams()
        if len(streams) == 1:
            return streams[0].beats
        return {f"out{i}": s.beats for i, s in enumerate(streams)}

    def make_shape_compatible_op(self, model):
        outputs = list(self.onnx_node.output)
        if len(outputs) == 1:
            return super().make_const_shape_op(self.get_normal_output_shape())
        for name, stream in zip(outputs, self.out_streams()):
            model.set_tensor_shape(name, stream.shape)
        return helper.make_node("Identity", [self.onnx_node.input[0]], [outputs[0]])

    def infer_node_datatype(self, model) -> None:
        for i, name in enumerate(self.onnx_node.output):
            model.set_tensor_datatype(name, self.get_output_datatype(i))

    def verify_node(self) -> list[str]:
        """Raise a UserError for attributes that the unit does not hold; an empty list when all is well."""
        return []

    def require(self, held: bool, text: str) -> None:
        """Raise a UserError of the node's name and ``text`` unless ``held``."""
        if not held:
            raise UserError(f"{self.label}: {text}")

    def check_multiplier(self, max_shift: int) -> None:
        """Raise a UserError unless the attributes ``mult`` and ``shift`` are within what the units hold."""
        mult, shift = self.get_nodeattr("mult"), self.get_nodeattr("shift")
        held = 0 < mult < 1 << MULT_BITS and 0 <= shift <= max_shift
        self.require(held, f"mult {mult} must be 1 to 2**{MULT_BITS} - 1 and shift {shift} 0 to {max_shift}")

    @property
    def label(self) -> str:
        """What messages call the node."""
        return self.onnx_node.name or self.onnx_node.op_type.removesuffix("_rtl")

    def get_op_and_param_counts(self) -> dict[str, int]:
        counts = {f"param_{k}": v for k, v in self.param_counts().items() if v}
        if self.macs():
            counts["op_mac"] = self.macs()
        return counts


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


class StreamOp(VitOp):
    """An op on tokens of ``channels`` elements, ``SIMD`` a beat; by default one stream in and the same one out."""

    ATTRIBUTES = {"tokens": ("i", True, 0), "channels": ("i", True, 0), "SIMD": ("i", False, 1), "inputDataType": ("s", True, "")}

    @property
    def source(self) -> Stream:
        """The stream that the attributes describe."""
        get = self.get_nodeattr
        return Stream(get("tokens"), get("channels"), get("SIMD"), DataType[get("inputDataType")])

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
