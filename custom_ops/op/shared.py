"""Units that several encoders of an engine share: one node that holds what each of them needs.

Such a node has the attributes of its largest use, and in ``encoders`` a JSON object for each encoder with the attributes that are
its own. Its inputs are the streams, the tags (``vp_engine_tags``), then the initialisers of the first encoder, of the second, ...
Its last output are the tags as they go on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar, Self

from onnx import NodeProto
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.custom_ops.op.finn_op import TAGS
from finn_vitprune.errors import UserError
from finn_vitprune.numerics import clog2
from finn_vitprune.sim.beats import Stream

MOST_ENCODERS = 256


class SharedOp(VitOp):
    """An op that can be a unit of several encoders: its wrapper has a queue of tags. A subclass puts
    :meth:`tags` behind its streams, and takes each encoder's sizes and contents from :meth:`by_encoder`.
    """

    ENCODER_ATTRIBUTES: ClassVar[tuple[str, ...]] = ()
    """Attributes that may differ between encoders."""

    ATTRIBUTES = {"encoders": ("strings", False, []), "frames": ("i", False, 4)}

    @property
    def encoders(self) -> int:
        """How many encoders the unit serves."""
        return max(1, len(self.get_nodeattr("encoders")))

    @property
    def shared(self) -> bool:
        return self.encoders > 1

    def tags(self) -> list[Stream]:
        return [TAGS] if self.shared else []

    def frame_luts(self, steps: Sequence[int], *constants: Sequence[int]) -> int:
        """LUTs of :func:`frame_luts` with these steps, and constants, by encoder; none of a unit that is not shared."""
        return frame_luts(self.get_nodeattr("frames"), steps, *constants) if self.shared else 0

    def by_encoder(self) -> tuple[Self, ...]:
        """The op as each encoder has it: its attributes, streams without tags, initialisers; the op itself where it is not shared.

        What is elaborated for all encoders (folding, maxima) is as the unit has it.
        """
        if not self.shared:
            return (self,)
        texts, node = self.get_nodeattr("encoders"), self.onnx_node
        streams = len(self.in_streams()) - 1
        constants = list(node.input[streams + 1 :])
        each = len(constants) // len(texts)
        found = []
        for i, text in enumerate(texts):
            own = NodeProto()
            own.CopyFrom(node)
            del own.input[:], own.attribute[:]
            own.input.extend([*node.input[:streams], *constants[i * each : (i + 1) * each]])
            own.attribute.extend(a for a in node.attribute if a.name not in ("encoders", "frames"))
            op = type(self)(own)
            for name, value in json.loads(text).items():
                set_attribute(op, name, value)
            if (outputs := len(op.out_streams())) < len(own.output):
                del own.output[outputs:]
            found.append(op)
        return tuple(found)

    @classmethod
    def largest(cls, attribute: str, values: Sequence) -> object:
        """What the unit has of an attribute of which its encoders have ``values``: the largest."""
        return max(values)

    @classmethod
    def share(cls, name: str, ops: Sequence[Self], inputs: Sequence[str], outputs: Sequence[str], frames: int = 4) -> NodeProto:
        """The node of a unit that works as each of ``ops``, nodes of one type and folding, one an encoder.

        Args:
            inputs: tensors of the streams, the tags last. outputs: likewise.
            frames: that are in the engine at most.
        Raises:
            UserError: the ops differ in what a unit has once.
        """
        if not 2 <= len(ops) <= MOST_ENCODERS:
            raise UserError(f"unit {name} of {len(ops)} encoders: use 2 to {MOST_ENCODERS}")
        node = NodeProto()
        node.CopyFrom(ops[0].onnx_node)
        node.name = name
        first = len(ops[0].in_streams())
        del node.input[:], node.output[:]
        node.input.extend([*inputs, *(tensor for op in ops for tensor in op.onnx_node.input[first:])])
        node.output.extend(outputs)
        unit = getCustomOp(node)
        own: list[dict[str, object]] = [{} for _ in ops]
        for attribute in cls.own_attributes():
            values = [op.get_nodeattr(attribute) for op in ops]
            if attribute not in cls.ENCODER_ATTRIBUTES:
                if any(value != values[0] for value in values):
                    raise UserError(f"unit {name}: its encoders need the same {attribute}, they have {', '.join(map(str, values))}")
                continue
            for of_encoder, value in zip(own, values):
                of_encoder[attribute] = value
            set_attribute(unit, attribute, cls.largest(attribute, values))
        unit.set_nodeattr("encoders", [json.dumps(of_encoder, default=int) for of_encoder in own])
        unit.set_nodeattr("frames", frames)
        return node


def frame_luts(frames: int, steps: Sequence[int], *constants: Sequence[int]) -> int:
    """LUTs of a ``vp_engine_frame`` for ``frames`` tags that wait, with these steps, and constants, by encoder.

    Tags 24, three a bit of their FIFO's pointers and two a bit of a tag; a table; the count and its comparison.
    """
    bits = clog2(len(steps))
    tags = 24 + 2 * bits + 3 * clog2(frames) if frames > 2 else 16 + 3 * bits
    before_last = [max(0, count - 2) for count in steps]
    return tags + table_luts(before_last, [count == 1 for count in steps], *constants) + 4 * clog2(max(steps)) // 3 + 4


def table_luts(*constants: Sequence[int]) -> int:
    """LUTs of a ``vp_engine_table`` of these constants by encoder: one a column of bits that is different from the others.

    A column of zeros, or of a bit of the encoder's number, takes none.
    """
    columns = {tuple(int(value) >> bit & 1 for value in values) for values in constants for bit in range(int(max(values)).bit_length())}
    encoders = len(constants[0])
    bits = {tuple(e >> bit & 1 for e in range(encoders)) for bit in range(clog2(encoders))}
    return sum(any(column) for column in columns - bits)


def set_attribute(op: VitOp, name: str, value: object) -> None:
    """Set an attribute. ONNX has no empty lists: the attribute is then left out."""
    if value == []:
        kept = [attribute for attribute in op.onnx_node.attribute if attribute.name != name]
        del op.onnx_node.attribute[:]
        op.onnx_node.attribute.extend(kept)
    else:
        op.set_nodeattr(name, value)


def vector(values: Sequence[int], bits: int = 32) -> int:
    """A value for each encoder as one parameter of a unit, the first encoder's lowest.

    Raises:
        ValueError: a value does not fit.
    """
    if any(not 0 <= value < 1 << bits for value in values):
        raise ValueError(f"{list(values)} do not fit {bits} bits each")
    return sum(value << i * bits for i, value in enumerate(values))
