"""How many registers the reset passes on its way to a unit."""

from __future__ import annotations

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.base import Transformation

from finn_vitprune.custom_ops.op.rtl_backend import RESET_STAGES, STAGES_A_BORDER
from finn_vitprune.errors import UserError
from finn_vitprune.sim.run import RESET_CYCLES
from finn_vitprune.transforms.streams.edges import slr_of


class SetResetStages(Transformation):
    """Give every node as many registers of its reset: those of any unit, and two for each border between the SLRs in use.

    So the way from any SLR to any other has registers enough, and all units leave a reset in the same cycle. Runs when all nodes
    are there; units of an engine have what the engine has.
    """

    def apply(self, model: ModelWrapper):
        slrs = [slr for node in model.graph.node if (slr := slr_of(node)) >= 0] or [0]
        stages = RESET_STAGES + STAGES_A_BORDER * (max(slrs) - min(slrs))
        if stages >= RESET_CYCLES:
            raise UserError(
                f"SLRs {min(slrs)} to {max(slrs)} need {stages} registers in front of every unit, and a reset of {RESET_CYCLES} cycles "
                f"passes {RESET_CYCLES - 1}: use SLRs that are at most {(RESET_CYCLES - 1 - RESET_STAGES) // STAGES_A_BORDER} apart"
            )
        for node in model.graph.node:
            getCustomOp(node).set_nodeattr("reset_stages", stages)
        return model, False
