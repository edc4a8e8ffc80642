"""The RTL half of an op: ROM contents, the Verilog wrapper with FINN's port names, simulation in FINN."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from finn.custom_op.fpgadataflow.rtlbackend import RTLBackend

from finn_vitprune.custom_ops.op import axilite
from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.custom_ops.op.rtl_sources import rtl_sources
from finn_vitprune.errors import UserError
from finn_vitprune.files import write_text
from finn_vitprune.numerics import clog2
from finn_vitprune.sim import beats
from finn_vitprune.sim.contents import Contents, Region
from finn_vitprune.synth.parts import known_part

SIGNALS = ("tdata", "tvalid", "tready")
UNIT = "inst"
"""What a wrapper calls the instance of the top."""
RESET = "vp_reset"
"""The module of the registers between a design's reset and a unit."""
TAGS = "vp_engine_tags"
"""The module of the queue between the tags of an engine and a unit."""
TAG_PINS = ("encoder", "encoder_valid", "encoder_ready")
"""The queue's end at the top: the encoder of the next frame."""
RESET_STAGES = 2
"""So many of them in a row: one where the reset is driven, one at the unit."""
STAGES_A_BORDER = 2
"""Hops for each border that a stream crosses: one on either side, so that no wire over the border has logic before it
and the first logic after it ends in a register."""


@dataclass(frozen=True)
class Memory:
    """Contents of one ROM: ``words`` (non-negative Python ints or object array), ``width`` bits each."""

    words: np.ndarray
    width: int

    @classmethod
    def packed(cls, elements: np.ndarray, bits: int) -> Memory:
        """``[words, n]`` integers of 1 to 64 bits (two's complement) a word, index 0 lowest."""
        return cls(pack_words(elements, bits), elements.shape[1] * bits)

    def joined(self, per: int) -> Memory:
        """``per`` words in a word, the first lowest, zeros behind the last."""
        words = np.pad(self.words, (0, -len(self.words) % per)).reshape(-1, per)
        return Memory(np.array([sum(int(w) << i * self.width for i, w in enumerate(row)) for row in words], object), per * self.width)

    def padded(self, words: int) -> Memory:
        """The same with zeros behind its words, up to so many."""
        return Memory(np.concatenate([self.words, np.zeros(words - len(self.words), object)]), self.width)

    def hex_text(self) -> str:
        """The text of a ``$readmemh`` file, one word a line."""
        digits = -(-self.width // 4)
        return "\n".join(f"{int(w):0{digits}x}" for w in self.words) + "\n"


def pack_words(elements: np.ndarray, bits: int) -> np.ndarray:
    """Pack ``[words, n]`` integers of 1 to 64 bits (two's complement) into object-array words, index 0 lowest."""
    return np.array(beats.to_words(beats.pack_elements(elements, bits)), dtype=object)


@dataclass(frozen=True)
class Pin:
    """A pin of a unit beside its streams, ``way`` "input" or "output", the same at its top and at its wrapper."""

    way: str
    name: str
    bits: int


@dataclass(frozen=True)
class Beside:
    """An instance of a module in a wrapper, between pins of the wrapper and of the top: its parameters, connections, and the wires that
    it drives, bits by name.
    """

    module: str
    name: str
    parameters: Mapping[str, int | str]
    pins: list[str]
    wires: dict[str, int]

    def text(self) -> str:
        """The wires and the instance."""
        wires = "".join(f"    wire [{bits - 1}:0] {name};\n" for name, bits in self.wires.items())
        parameters = ", ".join(f".{name}({_literal(value)})" for name, value in self.parameters.items())
        return f"{wires}    {self.module} #({parameters}) {self.name} (\n{_listed(8, self.pins)}\n    );\n"


class VitRTLBackend(RTLBackend):
    """RTL half of an op: parameters of its SystemVerilog top and contents of its ROMs.

    A ``*_rtl`` class derives from the op and from this, and states :attr:`RTL_TOP` and
    :meth:`rtl_parameters`. The top has ports ``clk, rst_n`` and per stream ``in<i>_tdata``,
    ``in<i>_tvalid``, ``in<i>_tready`` / ``out<i>_...``; the generated wrapper gives them FINN's names.
    The top may have more outputs than some node, :attr:`RTL_OUTPUTS` of them, and further pins (:meth:`side_pins`); what a node lacks is
    tied off. A unit that follows the tags of an engine has them in a queue in the wrapper (:meth:`tag_queue`); its top knows the encoder
    of the next frame (:data:`TAG_PINS`).

    ``reset_stages`` registers stand between FINN's ``ap_rst_n`` and the top's ``rst_n``, in all units of a design as many, so that
    all leave a reset in the same cycle. ``link_stages``: registers on the way of each output stream, by output, none where it has fewer
    entries; a unit of its own has them.
    """

    ATTRIBUTES: ClassVar[dict[str, tuple]] = {"reset_stages": ("i", False, RESET_STAGES), "link_stages": ("ints", False, [0])}
    RTL_TOP: str = ""
    RTL_OUTPUTS: int = 1
    PACKED: tuple[str, ...] = ()
    """Sides ("in", "out") of which the top has all streams, tags aside, in one port, the first lowest."""

    @abstractmethod
    def rtl_parameters(self) -> dict[str, int | str]:
        """Parameters of the top. A string is the bare name of a file from :meth:`memories`, or a style word."""

    def built_in(self) -> dict[str, int | str]:
        """All that units must have in common to be the same hardware, their streams and their contents aside."""
        return self.rtl_parameters()

    def memories(self, model) -> dict[str, Memory]:
        """ROM contents by file suffix; the file is called ``<node name>_<suffix>.hex``."""
        return {}

    def memory_file(self, suffix: str) -> str:
        """Bare file name of a ROM of this node."""
        return f"{self.onnx_node.name}_{suffix}.hex"

    def axilite_bits(self) -> int:
        """Address bits of the AXI4-Lite port ``s_axilite``; 0 for a unit without one."""
        return 0

    def loaded_regions(self) -> list[Region]:
        """The memories that are loaded at start-up, in the order of the load chain."""
        return []

    def loaded_banks(self, model) -> list[list[Memory]]:
        """What :meth:`loaded_regions` are loaded with: the banks of each."""
        return []

    def fixed_part(self, index: int, values: np.ndarray) -> np.ndarray:
        """What of initialiser ``values``, input ``index``, is built into the unit: all that is not loaded."""
        return values

    def contents(self, model) -> Contents | None:
        """What this unit is loaded with alone, as a design of number 0; None where nothing is loaded."""
        if not (regions := self.loaded_regions()):
            return None
        banks = self.loaded_banks(model)
        data = [region.packed([bank.words for bank in each]) for region, each in zip(regions, banks)]
        return Contents(0, tuple(regions), np.concatenate(data))

    def reset_bits(self) -> int:
        """Of the top's ``rst_n``: parts of the unit that stand far from each other have a bit each."""
        return 1

    def side_pins(self) -> list[Pin]:
        """Pins of top and wrapper beside clock, reset, streams and AXI4-Lite."""
        return []

    def tied_pins(self) -> list[str]:
        """Connections of those pins of the top that the wrapper has not."""
        return []

    def tag_queue(self) -> tuple[int, int] | None:
        """Encoders, and frames whose tags wait; with one encoder there is no queue, and None says that the top does not ask for encoders."""
        return None

    def beside(self) -> list[Beside]:
        """What stands in the wrapper beside the top and the registers of the reset."""
        queue = self.tag_queue()
        if queue is None or queue[0] == 1:
            return []
        encoders, frames = queue
        tags_in, tags_out = self.tag_ports()
        pins = [".clk(ap_clk)", ".rst_n(rst_n)"]
        for kind, count, streams in (("in", tags_in, self.in_streams()), ("out", tags_out, self.out_streams())):
            if count:
                pins += [f".tags_{kind}_{signal}({kind}{len(streams) - 1}_V_{signal})" for signal in SIGNALS]
        if not tags_out:
            pins += [f".tags_out_{pin}" for pin in ("tdata()", "tvalid()", "tready(1'b1)")]
        encoder, valid, ready = TAG_PINS
        pins += [f".encoder({encoder})", f".encoder_valid({valid})", f".next({ready})"]
        return [Beside(TAGS, "tags", {"ENCODERS": encoders, "FRAMES": frames}, pins, {encoder: clog2(encoders), valid: 1, ready: 1})]

    def get_verilog_top_module_intf_names(self) -> dict[str, list]:
        names = super().get_verilog_top_module_intf_names()
        return names | {"axilite": [axilite.AXILITE]} if self.axilite_bits() else names

    def generate_hdl(self, model, fpgapart: str, clk: float) -> None:
        """Write wrapper, SystemVerilog sources and ROM files into ``code_gen_dir_ipgen``.

        Raises:
            UserError: the part lacks a memory that the node wants.
        """
        if (part := known_part(fpgapart)) is not None:
            self.check_memories(part)
        folder = Path(self.get_nodeattr("code_gen_dir_ipgen"))
        for path in self._sources():
            write_text(folder / path.name, path.read_text())
        for suffix, memory in self.memories(model).items():
            write_text(folder / self.memory_file(suffix), memory.hex_text())
        if (contents := self.contents(model)) is not None:
            contents.save(folder)
        write_text(folder / f"{self.onnx_node.name}.v", self.wrapper_text())
        self.set_nodeattr("gen_top_module", self.onnx_node.name)
        self.set_nodeattr("ipgen_path", str(folder))
        self.set_nodeattr("ip_path", str(folder))

    def wrapper_text(self) -> str:
        """The Verilog wrapper with FINN's port names (a Vivado block design takes no SystemVerilog top)."""
        pins = [".clk(ap_clk)", ".rst_n(rst_n)"]
        pins += self.stream_pins()
        ports, buses = [], []
        for kind, streams, forth, back in (("in", self.in_streams(), "input ", "output"), ("out", self.out_streams(), "output", "input ")):
            for i, stream in enumerate(streams):
                name = f"{kind}{i}_V"
                buses.append(name)
                ports += [
                    f"{forth} wire [{stream.tdata_bits - 1}:0] {name}_tdata",
                    f"{forth} wire {name}_tvalid",
                    f"{back} wire {name}_tready",
                ]
        if bits := self.axilite_bits():
            buses.append(axilite.AXILITE)
            ports += axilite.ports(axilite.AXILITE, bits)
            pins += axilite.binds(axilite.AXILITE, axilite.AXILITE)
        for pin in self.side_pins():
            ports.append(f"{pin.way} wire [{pin.bits - 1}:0] {pin.name}")
            pins.append(f".{pin.name}({self.top_net(pin)})")
        pins += [*self.tag_pins(), *self.tied_pins()]
        clocks = (
            f'(* X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF {":".join(buses)}, ASSOCIATED_RESET ap_rst_n" *)\n'
            '    (* X_INTERFACE_INFO = "xilinx.com:signal:clock:1.0 ap_clk CLK" *)\n    input  wire ap_clk',
            '(* X_INTERFACE_PARAMETER = "POLARITY ACTIVE_LOW" *)\n    input  wire ap_rst_n',
        )
        bits = self.reset_bits()
        sizes = {"STAGES": self.get_nodeattr("reset_stages"), "WIDTH": bits}
        reset = Beside(RESET, "reset", sizes, [".clk(ap_clk)", ".in(ap_rst_n)", ".out(rst_n)"], {"rst_n": bits})
        parameters = [f".{name}({_literal(value)})" for name, value in self.rtl_parameters().items()]
        return (
            f"// {self.onnx_node.op_type} wrapper, generated by finn-vitprune\n"
            f"module {self.onnx_node.name} (\n{_listed(4, [*clocks, *ports])}\n);\n"
            f"{''.join(instance.text() for instance in (reset, *self.beside()))}"
            f"    {self.RTL_TOP} #(\n{_listed(8, parameters)}\n    ) {UNIT} (\n{_listed(8, pins)}\n    );\nendmodule\n"
        )

    def stream_pins(self) -> list[str]:
        """Connections of the top's streams: with the wrapper's, unless something beside the top stands between."""
        tags_in, tags_out = self.tag_ports()
        queue, pins = self.tag_queue(), []
        for i in range(len(self.out_streams()) - tags_out, 0 if "out" in self.PACKED else self.RTL_OUTPUTS):
            pins += [f".out{i}_{pin}" for pin in ("tdata()", "tvalid()", "tready(1'b1)")]
        for kind, streams, tags in (("in", self.in_streams(), tags_in), ("out", self.out_streams(), tags_out)):
            for i in range(len(streams)):
                top = f"{kind}{i}" if i < len(streams) - tags else f"tags_{kind}"
                if (i < len(streams) - tags and kind not in self.PACKED) or (i >= len(streams) - tags and queue is None):
                    pins += [f".{top}_{signal}({kind}{i}_V_{signal})" for signal in SIGNALS]
            if kind in self.PACKED:
                names = [f"{kind}{i}_V" for i in reversed(range(len(streams) - tags))]
                pins += [f".{kind}_{signal}({{{', '.join(f'{name}_{signal}' for name in names)}}})" for signal in SIGNALS]
        return pins

    def tag_pins(self) -> list[str]:
        """Connections of the top with the queue of tags, where it asks for encoders."""
        if (queue := self.tag_queue()) is None:
            return []
        nets = TAG_PINS if queue[0] > 1 else ("1'b0", "1'b1", "")
        return [f".{pin}({net})" for pin, net in zip(TAG_PINS, nets)]

    def top_net(self, pin: Pin) -> str:
        """What a pin of the top is at that has the name of a pin of the wrapper."""
        return pin.name

    def unit_cells(self) -> list[str]:
        """Cells of the wrapper's instance with all that is in it but the registers of the reset, which stand on the way to it."""
        return [UNIT, *(instance.name for instance in self.beside())]

    def get_rtl_file_list(self, abspath: bool = False) -> list[str]:
        """Sources in compile order: packages and leaves first, the wrapper last."""
        names = [*(path.name for path in self._sources()), f"{self.get_nodeattr('gen_top_module')}.v"]
        return [str(self.hdl_folder() / n) for n in names] if abspath else names

    def _sources(self) -> tuple[Path, ...]:
        """The SystemVerilog that the wrapper instantiates, in compile order."""
        modules = (RESET, *(instance.module for instance in self.beside()), self.RTL_TOP)
        return tuple(dict.fromkeys(path for module in modules for path in rtl_sources(module)))

    def hdl_folder(self) -> Path:
        """Where the node's HDL is.

        Raises:
            UserError: there is none yet.
        """
        if not (folder := self.get_nodeattr("code_gen_dir_ipgen")):
            raise UserError(f"{self.onnx_node.name} has no HDL yet: FINN's step_hw_codegen comes first")
        return Path(folder)

    def code_generation_ipi(self) -> list[str]:
        """Tcl that adds the node to FINN's stitched block design."""
        files = self.get_rtl_file_list(abspath=True) + [str(p) for p in sorted(self.hdl_folder().glob("*.hex"))]
        top = self.get_nodeattr("gen_top_module")
        return [f"add_files -norecurse {f}" for f in files] + [f"create_bd_cell -type module -reference {top} {self.onnx_node.name}"]

    def execute_node(self, context, graph) -> None:
        """Golden model, or the RTL through FINN's simulation when ``exec_mode`` is ``rtlsim``."""
        VitOp.execute_node(self, context, graph)

    def run(self, *inputs: np.ndarray) -> list[np.ndarray]:
        if self.get_nodeattr("exec_mode") != "rtlsim":
            return super().run(*inputs)
        streams = self.out_streams()
        outputs: dict[str, list[int]] = {f"out{i}": [] for i in range(len(streams))}
        io = {"inputs": {f"in{i}": beats.to_words(beats.pack(inputs[i], s)) for i, s in enumerate(self.in_streams())}, "outputs": outputs}
        sim = self.get_rtlsim()
        self.reset_rtlsim(sim)
        self.rtlsim_multi_io(sim, io)
        self.close_rtlsim(sim)
        return [beats.unpack(beats.from_words(w, beats.beat_bytes(s.width)), s) for w, s in zip(outputs.values(), streams)]


def _listed(indent: int, items: list[str]) -> str:
    """Items of a list in Verilog, one a line."""
    return ",\n".join(" " * indent + item for item in items)


MOST_DECIMAL = 1 << 13
"""Bits of a parameter that is written in decimal; Python writes no more than 4,300 digits so."""


def _literal(value: int | str) -> str:
    """A Verilog literal wide enough for any parameter of this project."""
    if isinstance(value, str):
        return f'"{value}"'
    if -(1 << 31) <= value < 1 << 31:
        return str(int(value))
    bits = max(64, int(value).bit_length())
    return f"{bits}'d{int(value)}" if bits <= MOST_DECIMAL else f"{bits}'h{int(value):x}"
