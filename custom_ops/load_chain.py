"""What units have in common that stand on the load chain, through which memories are loaded (docs/loading.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finn_vitprune.custom_ops.crossing import STAGES_A_BORDER
from finn_vitprune.custom_ops.memory import Estimate
from finn_vitprune.custom_ops.netlist import StitchedPin
from finn_vitprune.custom_ops.rtl_backend import Pin, VitRTLBackend
from finn_vitprune.numerics import clog2
from finn_vitprune.sim.contents import WORD_BITS

CHAIN_BITS = WORD_BITS + 2
"""A word, valid, start."""
LOAD_IN, LOAD_OUT = "load_in", "load_out"


class LoadChainBackend(VitRTLBackend):
    """RTL half of a unit whose top has the pins ``load_in`` and ``load_out``.

    ``load_from`` is the node before on the chain, "" for none. ``load_stages`` registers stand before the unit: two keep
    the units on both sides of a border between two SLRs apart.
    """

    ATTRIBUTES = {"load_from": ("s", False, ""), "load_stages": ("i", False, STAGES_A_BORDER)}

    @property
    def on_load_chain(self) -> bool:
        """Whether this node has the pins that its top has."""
        return True

    def side_pins(self) -> list[Pin]:
        if not self.on_load_chain:
            return []
        return [Pin("input", LOAD_IN, CHAIN_BITS), Pin("output", LOAD_OUT, CHAIN_BITS)]

    def tied_pins(self) -> list[str]:
        return [] if self.on_load_chain else [f".{LOAD_IN}({CHAIN_BITS}'d0)", f".{LOAD_OUT}()"]

    def code_generation_ipi(self) -> list[str]:
        before, here = self.get_nodeattr("load_from"), self.onnx_node.name
        if not (self.on_load_chain and before):
            return super().code_generation_ipi()
        return super().code_generation_ipi() + [
            f"connect_bd_net [get_bd_pins {before}/{LOAD_OUT}] [get_bd_pins {here}/{LOAD_IN}]"
        ]


def chain_pins(pins: Mapping[str, Sequence[Pin]], ring: bool) -> dict[str, list[StitchedPin]]:
    """What the pins of units are at, in the order of the chain: net ``load_0`` comes to the first, ``load_<n>`` from the n-th; in a
    ring what leaves the last comes back to the first. A pin that is not of the chain is at a net of its own name.

    Args:
        pins: of each unit, by its name; units without any are not on the chain.
    """
    chain = [name for name, of_unit in pins.items() if of_unit]
    nets = {
        name: {LOAD_IN: f"load_{i}", LOAD_OUT: f"load_{(i + 1) % len(chain) if ring else i + 1}"} for i, name in enumerate(chain)
    }
    return {
        name: [StitchedPin(pin.name, nets[name].get(pin.name, pin.name), pin.bits) for pin in of_unit]
        for name, of_unit in pins.items()
    }


def hop_estimate(words: int, width: int) -> Estimate:
    """``vp_load_hop``: what is kept and forwarded, the place of the next word, an enable for each part of a memory word.

    Banks cost registers alone.
    """
    return Estimate(LUT=5 + clog2(words) // 2 + -(-width // WORD_BITS))
