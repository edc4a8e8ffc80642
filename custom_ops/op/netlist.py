"""Units connected by streams, as Verilog: each net joins the ports at which the same tensor stands."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from onnx import NodeProto
from qonnx.custom_op.registry import getCustomOp


@dataclass(frozen=True)
class StitchedNet:
    """What a stream port is at: the tensor that the net carries, and the bits of tdata."""

    tensor: str
    bits: int


@dataclass(frozen=True)
class StitchedPin:
    """What a pin beside the streams is at: its name, the net, and its bits."""

    pin: str
    net: str
    bits: int


@dataclass(frozen=True)
class StitchedUnit:
    """A node of the design: its RTL in compile order, the wrapper last, and the nets at its stream ports, in port order.

    ``pins`` are those of the load chain.
    """

    name: str
    sources: list[str]
    inputs: list[StitchedNet]
    outputs: list[StitchedNet]
    pins: list[StitchedPin]


def instance(node: str) -> str:
    """Name of the instance of a node."""
    return f"inst_{node}"


def unit_of(node: NodeProto, pins: list[StitchedPin]) -> StitchedUnit:
    """A node with generated HDL; ``pins``: what it has beside streams."""
    op = getCustomOp(node)
    inputs, outputs = (
        [StitchedNet(tensor, stream.tdata_bits) for tensor, stream in zip(tensors, streams)]
        for tensors, streams in ((node.input, op.in_streams()), (node.output, op.out_streams()))
    )
    return StitchedUnit(node.name, op.get_rtl_file_list(), inputs, outputs, pins)


class UnitNetlist:
    """The Verilog of connected units."""

    def __init__(self, units: Sequence[StitchedUnit]) -> None:
        self.units = units
        self.nets: dict[str, tuple[str, int]] = {}
        """Verilog name and bits of tdata of the net of each tensor."""
        for unit in units:
            for net in [*unit.inputs, *unit.outputs]:
                self.nets.setdefault(net.tensor, (f"net{len(self.nets)}", net.bits))

    @property
    def ends(self) -> tuple[list[str], list[str]]:
        """Tensors that no unit writes, and those that none reads."""
        written, read = ({n.tensor for u in self.units for n in getattr(u, side)} for side in ("outputs", "inputs"))
        return [t for t in self.nets if t not in written], [t for t in self.nets if t not in read]

    def declarations(self, ports: Collection[str] = ()) -> list[str]:
        """All nets, but those of pins that are ``ports`` of the module."""
        side = {pin.net: pin.bits for unit in self.units for pin in unit.pins if pin.net not in ports}
        return [
            *(f"    wire [{bits - 1}:0] {net}_tdata; wire {net}_tvalid, {net}_tready;" for net, bits in self.nets.values()),
            *(f"    wire [{bits - 1}:0] {net};" for net, bits in side.items()),
        ]

    def joined_in(self, tensor: str, port: str, data: str = "") -> list[str]:
        """An input port of the module feeds a net; ``data``: with this, in place of its tdata."""
        net, _ = self.nets[tensor]
        return [
            f"    assign {net}_tdata = {data or f'{port}_tdata'}; assign {net}_tvalid = {port}_tvalid;",
            f"    assign {port}_tready = {net}_tready;",
        ]

    def joined_out(self, tensor: str, port: str) -> list[str]:
        """A net feeds an output port of the module."""
        net, _ = self.nets[tensor]
        return [f"    assign {port}_tdata = {net}_tdata; assign {port}_tvalid = {net}_tvalid;", f"    assign {net}_tready = {port}_tready;"]

    def instances(self, more: Mapping[str, Sequence[str]] = MappingProxyType({})) -> list[str]:
        """All units; ``more``: further connections by unit."""
        found = []
        for unit in self.units:
            pins = [".ap_clk(ap_clk)", ".ap_rst_n(ap_rst_n)"]
            for kind, at in (("in", unit.inputs), ("out", unit.outputs)):
                for i, net in enumerate(at):
                    name, _ = self.nets[net.tensor]
                    pins += [f".{kind}{i}_V_{s}({name}_{s})" for s in ("tdata", "tvalid", "tready")]
            pins += more.get(unit.name, ())
            pins += [f".{pin.pin}({pin.net})" for pin in unit.pins]
            found.append(f"    {unit.name} {instance(unit.name)} (\n        " + ",\n        ".join(pins) + "\n    );")
        return found
