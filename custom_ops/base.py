"""What every hardware op of this project shares: token streams, golden execution, HDL generation."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from finn.custom_op.fpgadataflow.hwcustomop import HWCustomOp
from finn.custom_op.fpgadataflow.rtlbackend import RTLBackend
from onnx import AttributeProto, helper
from qonnx.core.datatype import BaseDataType, DataType

from finn_vitprune.custom_ops import axilite
from finn_vitprune.custom_ops.rtl_sources import rtl_sources
from finn_vitprune.sim import loads
from finn_vitprune.synth.parts import Part


@dataclass(frozen=True)
class Stream:
    """A token-serial AXI4-Stream: ``tokens`` rows of ``channels`` elements, ``simd`` elements a beat.

    Element 0 of a beat sits in the least significant bits (FINN's packing); tdata is padded to bytes.
    """

    tokens: int
    channels: int
    simd: int
    dtype: BaseDataType

    def __post_init__(self) -> None:
        if self.simd < 1 or self.channels % self.simd:
            raise ValueError(f"{self.simd} elements a beat do not divide {self.channels} channels")

    @property
    def width(self) -> int:
        """Payload bits of a beat."""
        return self.simd * self.dtype.bitwidth()

    @property
    def beats(self) -> int:
        """Beats of one frame."""
        return self.tokens * self.channels // self.simd


@dataclass(frozen=True)
class Memory:
    """Contents of one ROM: ``words`` (non-negative Python ints or object array), ``width`` bits each."""

    words: np.ndarray
    width: int

    def hex_text(self) -> str:
        """The text of a ``$readmemh`` file, one word a line."""
        digits = -(-self.width // 4)
        return "\n".join(f"{int(w):0{digits}x}" for w in self.words) + "\n"


def divisors(n: int) -> list[int]:
    """Divisors of ``n`` in ascending order."""
    return [d for d in range(1, n + 1) if n % d == 0]


def pack_words(elements: np.ndarray, bits: int) -> np.ndarray:
    """Pack ``[words, n]`` integers of 1 to 64 bits (two's complement) into object-array words, index 0 lowest."""
    elements = np.asarray(elements, dtype=np.int64)
    single = (elements[..., None] >> np.arange(bits) & 1).astype(np.uint8)
    rows = np.packbits(single.reshape(len(elements), -1), axis=1, bitorder="little")
    words = np.empty(len(elements), dtype=object)
    words[:] = [int.from_bytes(row.tobytes(), "little") for row in rows]
    return words


@cache
def _whole_numbers(op: type[HWCustomOp]) -> frozenset[str]:
    """Attributes of an op that are whole numbers without a set of allowed values."""
    types = op(helper.make_node(op.__name__, [], [])).get_nodeattr_types()
    return frozenset(name for name, given in types.items() if given[0] == "i" and len(given) == 3)


class VitOp(HWCustomOp):
    """Base of the integer hardware ops.

    A subclass states its streams (:meth:`in_streams`, :meth:`out_streams`) and its golden model
    (:meth:`compute`); shapes, widths and FINN's queries follow from these. Graph inputs beyond the
    streams are initialisers (weights, tables) and reach :meth:`compute` as arrays.
    """

    def get_nodeattr(self, name: str):
        """As qonnx has it; whole numbers by a look-up of their own, since folding asks for some 100,000 of them."""
        for attribute in self.onnx_node.attribute:
            if attribute.name == name and attribute.type == AttributeProto.INT:
                if name in _whole_numbers(type(self)):
                    return attribute.i
                break
        return super().get_nodeattr(name)

    @abstractmethod
    def in_streams(self) -> list[Stream]:
        """The input streams, in the order of the node's inputs."""

    @abstractmethod
    def out_streams(self) -> list[Stream]:
        """The output streams, in the order of the node's outputs."""

    @abstractmethod
    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """The specification: int64 arrays in, int64 arrays out.

        Stream tensors are ``[..., tokens, channels]`` with any leading batch axes; initialisers follow
        in the node's input order with the shapes they have in the graph.
        """

    def macs(self) -> int:
        """Matrix products this node performs in one frame (zero for all but matrix units and attention)."""
        return 0

    def held_tokens(self) -> int:
        """Upper bound of the tokens that are inside the op when its first output token leaves.

        FIFO depths of reconverging branches come from this (docs/architecture.md, "FIFO depths").
        """
        return 1

    def burst_tokens(self) -> int:
        """Tokens to buffer behind each output, where the op sends them in bursts that others wait for."""
        return 0

    def pause_beats(self) -> int:
        """Beats to buffer before the first input, which come while the op takes none."""
        return 0

    def input_times(self, arrivals: list[float]) -> list[float]:
        """When (in frames) the op needs each input, given when each arrives: as a rule, when all are there."""
        return [max(arrivals)] * len(arrivals)

    def output_fifo_tokens(self) -> int:
        """Tokens that the FIFO behind the op must hold whatever path it is on; 0 leaves its depth to the paths."""
        return 0

    def check_part(self, part: Part) -> None:
        """Raise a UserError where the node needs what ``part`` has none of."""

    def fold_for(self, interval: int) -> dict[str, int]:
        """Cheapest folding attributes with ``get_exp_cycles() <= interval``, else the fastest ones.

        The default tries ``SIMD``, the elements a beat, over the divisors common to all streams.
        """
        channels = [s.channels for s in self.in_streams() + self.out_streams() if s.channels > 1]
        before = self.get_nodeattr("SIMD")
        choice = 1
        for choice in divisors(math.gcd(*channels)):
            self.set_nodeattr("SIMD", choice)
            if self.get_exp_cycles() <= interval:
                break
        self.set_nodeattr("SIMD", before)
        return {"SIMD": choice}

    def param_counts(self) -> dict[str, int]:
        """Stored weights and biases: ``{"weights": n, "biases": n, "index_bits": n}``, absent keys are 0."""
        return {}

    # --- execution ---

    def execute_node(self, context, graph) -> None:
        """Run :meth:`compute` on the tensors of ``context`` (FINN calls this)."""
        inputs = [np.asarray(np.rint(context[name]), dtype=np.int64) for name in self.onnx_node.input]
        for name, stream, value in zip(self.onnx_node.output, self.out_streams(), self.compute(*inputs)):
            wide = stream.dtype.bitwidth() > 24
            context[name] = value.astype(np.float64 if wide else np.float32)

    # --- what FINN asks, derived from the streams ---

    def _in(self, ind: int) -> Stream | None:
        streams = self.in_streams()
        return streams[ind] if ind < len(streams) else None

    def get_normal_input_shape(self, ind: int = 0):
        s = self._in(ind)
        return None if s is None else (1, s.tokens, s.channels)

    def get_normal_output_shape(self, ind: int = 0):
        s = self.out_streams()[ind]
        return (1, s.tokens, s.channels)

    def get_folded_input_shape(self, ind: int = 0):
        s = self._in(ind)
        return None if s is None else (1, s.tokens, s.channels // s.simd, s.simd)

    def get_folded_output_shape(self, ind: int = 0):
        s = self.out_streams()[ind]
        return (1, s.tokens, s.channels // s.simd, s.simd)

    def get_instream_width(self, ind: int = 0) -> int:
        s = self._in(ind)
        return 0 if s is None else s.width

    def get_outstream_width(self, ind: int = 0) -> int:
        return self.out_streams()[ind].width

    def get_input_datatype(self, ind: int = 0) -> BaseDataType:
        s = self._in(ind)
        return DataType["INT32"] if s is None else s.dtype

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
        shapes = [self.get_normal_output_shape(i) for i in range(len(outputs))]
        for name, shape in zip(outputs, shapes):
            model.set_tensor_shape(name, shape)
        return helper.make_node("Identity", [self.onnx_node.input[0]], [outputs[0]])

    def infer_node_datatype(self, model) -> None:
        for i, name in enumerate(self.onnx_node.output):
            model.set_tensor_datatype(name, self.get_output_datatype(i))

    def verify_node(self):
        return []

    def get_op_and_param_counts(self) -> dict[str, int]:
        counts = {f"param_{k}": v for k, v in self.param_counts().items() if v}
        if self.macs():
            counts["op_mac"] = self.macs()
        return counts



class VitRTLBackend(RTLBackend):
    """RTL half of an op: parameters of its SystemVerilog top and contents of its ROMs.

    A ``*_rtl`` class derives from the op and from this, and states :attr:`RTL_TOP` and
    :meth:`rtl_parameters`. The top has ports ``clk, rst_n`` and per stream ``in<i>_tdata``,
    ``in<i>_tvalid``, ``in<i>_tready`` / ``out<i>_...``; the generated wrapper gives them FINN's names.
    The top may have more outputs than some node, :attr:`RTL_OUTPUTS` of them, and with :attr:`RTL_AXILITE` an
    AXI4-Lite port, which only units with a load image show; what a node lacks is tied off.
    """

    RTL_TOP: str = ""
    RTL_OUTPUTS: int = 1
    RTL_AXILITE: bool = False

    @abstractmethod
    def rtl_parameters(self) -> dict[str, int | str]:
        """Parameters of the top. A string is the bare name of a file from :meth:`memories`, or a style word."""

    def memories(self, model) -> dict[str, Memory]:
        """ROM contents by file suffix; the file is called ``<node name>_<suffix>.hex``."""
        return {}

    def memory_file(self, suffix: str) -> str:
        """Bare file name of a ROM of this node."""
        return f"{self.onnx_node.name}_{suffix}.hex"

    def axilite_bits(self) -> int:
        """Address bits of the AXI4-Lite port ``s_axilite``; 0 for a unit without one."""
        return 0

    def load_image(self, model) -> np.ndarray | None:
        """Words (uint32) to write through ``s_axilite`` from address 0 on before the first frame."""
        return None

    def load_file(self) -> str:
        """Bare file name of the load image, one 32-bit hexadecimal word a line (FINN's format)."""
        return f"{self.onnx_node.name}_weights.dat"

    def get_verilog_top_module_intf_names(self) -> dict[str, list]:
        names = super().get_verilog_top_module_intf_names()
        return names | {"axilite": [axilite.AXILITE]} if self.axilite_bits() else names

    def generate_hdl(self, model, fpgapart: str, clk: float) -> None:
        """Write wrapper, SystemVerilog sources and ROM files into ``code_gen_dir_ipgen``."""
        folder = Path(self.get_nodeattr("code_gen_dir_ipgen"))
        folder.mkdir(parents=True, exist_ok=True)
        for path in rtl_sources(self.RTL_TOP):
            (folder / path.name).write_text(path.read_text())
        for suffix, memory in self.memories(model).items():
            (folder / self.memory_file(suffix)).write_text(memory.hex_text())
        image = self.load_image(model)
        if image is not None:
            loads.write_image(folder / self.load_file(), image)
            loads.write_index(folder, {axilite.AXILITE: self.load_file()})
        (folder / f"{self.onnx_node.name}.v").write_text(self.wrapper_text())
        self.set_nodeattr("gen_top_module", self.onnx_node.name)
        self.set_nodeattr("ipgen_path", str(folder))
        self.set_nodeattr("ip_path", str(folder))

    def wrapper_text(self) -> str:
        """The Verilog wrapper with FINN's port names (a Vivado block design takes no SystemVerilog top)."""
        ports = ["    input  wire ap_clk", "    input  wire ap_rst_n"]
        binds = ["        .clk(ap_clk)", "        .rst_n(ap_rst_n)"]
        for i in range(len(self.out_streams()), self.RTL_OUTPUTS):
            binds += [f"        .out{i}_{pin}" for pin in ("tdata()", "tvalid()", "tready(1'b1)")]
        buses = []
        for kind, streams, towards in (("in", self.in_streams(), "input "), ("out", self.out_streams(), "output")):
            away = "output" if towards == "input " else "input "
            for i, s in enumerate(streams):
                padded = -(-s.width // 8) * 8
                port = f"{kind}{i}_V"
                buses.append(port)
                ports.append(f"    {towards} wire [{padded - 1}:0] {port}_tdata")
                ports.append(f"    {towards} wire {port}_tvalid")
                ports.append(f"    {away} wire {port}_tready")
                binds += [f"        .{kind}{i}_{sig}({port}_{sig})" for sig in ("tdata", "tvalid", "tready")]
        if bits := self.axilite_bits():
            buses.append(axilite.AXILITE)
            ports += [f"    {text}" for text in axilite.ports(axilite.AXILITE, bits)]
            binds += [f"        {text}" for text in axilite.binds(axilite.AXILITE, axilite.AXILITE)]
        elif self.RTL_AXILITE:
            binds += [f"        {text}" for text in axilite.tied(axilite.AXILITE)]
        associated = ":".join(buses)
        ports[0] = (
            f'    (* X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF {associated}, ASSOCIATED_RESET ap_rst_n" *)\n'
            '    (* X_INTERFACE_INFO = "xilinx.com:signal:clock:1.0 ap_clk CLK" *)\n' + ports[0]
        )
        ports[1] = '    (* X_INTERFACE_PARAMETER = "POLARITY ACTIVE_LOW" *)\n' + ports[1]
        parameters = ",\n".join(
            f'        .{k}("{v}")' if isinstance(v, str) else f"        .{k}({_literal(v)})"
            for k, v in self.rtl_parameters().items()
        )
        return (
            f"// {self.onnx_node.op_type} wrapper, generated by finn-vitprune\n"
            f"module {self.onnx_node.name} (\n" + ",\n".join(ports) + "\n);\n"
            f"    {self.RTL_TOP} #(\n{parameters}\n    ) inst (\n" + ",\n".join(binds) + "\n    );\nendmodule\n"
        )

    def get_rtl_file_list(self, abspath: bool = False) -> list[str]:
        """Sources in compile order: packages and leaves first, the wrapper last."""
        folder = Path(self.get_nodeattr("code_gen_dir_ipgen"))
        names = [*(path.name for path in rtl_sources(self.RTL_TOP)), f"{self.get_nodeattr('gen_top_module')}.v"]
        return [str(folder / n) for n in names] if abspath else names

    def code_generation_ipi(self) -> list[str]:
        """Tcl that adds the node to FINN's stitched block design."""
        folder = Path(self.get_nodeattr("code_gen_dir_ipgen"))
        files = self.get_rtl_file_list(abspath=True) + [str(p) for p in sorted(folder.glob("*.hex"))]
        top = self.get_nodeattr("gen_top_module")
        return [f"add_files -norecurse {f}" for f in files] + [
            f"create_bd_cell -type module -reference {top} {self.onnx_node.name}"
        ]

    def execute_node(self, context, graph) -> None:
        """Golden model, or the RTL through FINN's simulation when ``exec_mode`` is ``rtlsim``."""
        if self.get_nodeattr("exec_mode") != "rtlsim":
            VitOp.execute_node(self, context, graph)
            return
        node = self.onnx_node
        inputs = {
            f"in{i}": [int(b) for b in to_beats(np.rint(context[name]).astype(np.int64), s)]
            for i, (name, s) in enumerate(zip(node.input, self.in_streams()))
        }
        io = {"inputs": inputs, "outputs": {f"out{i}": [] for i in range(len(node.output))}}
        sim = self.get_rtlsim()
        self.reset_rtlsim(sim)
        self.rtlsim_multi_io(sim, io)
        self.close_rtlsim(sim)
        for i, (name, s) in enumerate(zip(node.output, self.out_streams())):
            context[name] = from_beats(np.array(io["outputs"][f"out{i}"], dtype=object), s).astype(np.float32)


def to_beats(values: np.ndarray, stream: Stream) -> np.ndarray:
    """Pack ``[..., tokens, channels]`` integers into beats (object array of Python ints)."""
    return pack_words(np.asarray(values).reshape(-1, stream.simd), stream.dtype.bitwidth())


def from_beats(beats: np.ndarray, stream: Stream) -> np.ndarray:
    """Unpack beats into int64 ``[frames, tokens, channels]``, sign-extended where the type is signed."""
    bits = stream.dtype.bitwidth()
    mask = (1 << bits) - 1
    elements = np.stack([[(int(b) >> (bits * i)) & mask for b in beats] for i in range(stream.simd)], axis=-1)
    elements = elements.astype(np.int64)
    if stream.dtype.signed():
        elements = np.where(elements >> (bits - 1), elements - (1 << bits), elements)
    return elements.reshape(-1, stream.tokens, stream.channels)


def _literal(value: int) -> str:
    """A Verilog literal wide enough for any parameter of this project."""
    value = int(value)
    if -(1 << 31) <= value < 1 << 31:
        return str(value)
    return f"64'd{value}"
