"""What FINN asks of an op, answered from its streams."""

from __future__ import annotations

import functools
import operator
from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, TypeVar

import numpy as np
from finn.custom_op.fpgadataflow.hwcustomop import HWCustomOp
from onnx import AttributeProto, NodeProto, helper
from qonnx.core.datatype import BaseDataType, DataType

from finn_vitprune.custom_ops.op.folding import FOLDINGS_KEPT
from finn_vitprune.errors import UserError
from finn_vitprune.numerics import MULT_BITS
from finn_vitprune.sim.beats import Stream

T = TypeVar("T", bound="FinnOp")
R = TypeVar("R")


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

_READ: dict[str, Callable[[AttributeProto], object]] = {
    "i": lambda attribute: attribute.i,
    "ints": lambda attribute: list(attribute.ints),
    "s": lambda attribute: attribute.s.decode(),
}
"""What an attribute of a type holds."""

TAGS = Stream(1, 1, 1, DataType["UINT8"])
"""The encoder of each frame, from 0, as a stream of one beat a frame through the units of an engine (``vp_engine_tags``)."""


class FinnOp(HWCustomOp):
    """An op of FINN that states its streams and its golden model; shapes, types and widths follow.

    Graph inputs beyond the streams are initialisers (weights, tables) and reach :meth:`compute` as arrays.
    """

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
        """As QONNX has it; a number, numbers or a text that is set and may be any is looked up without a list of all attributes."""
        known = _attribute_types.get(type(self), {}).get(name, ())
        if len(known) == 3 and (read := _READ.get(known[0])):
            for attribute in self.onnx_node.attribute:
                if attribute.name == name:
                    return read(attribute)
        return super().get_nodeattr(name)

    # --- what a subclass states ---

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

    # --- shapes, types and widths ---

    def _in(self, ind: int) -> Stream | None:
        streams = self.in_streams()
        return streams[ind] if ind < len(streams) else None

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

    # --- checks ---

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
