"""What stands between the units of a folded graph: crossings between SLRs, FIFOs and width converters."""

from __future__ import annotations

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.base import Transformation
from qonnx.transformation.general import GiveUniqueNodeNames, SortGraph

from finn_vitprune.transforms.streams.insert_crossings import InsertCrossings
from finn_vitprune.transforms.streams.insert_fifos import InsertFifos, SetFifoDepths
from finn_vitprune.transforms.streams.insert_width_converters import InsertWidthConverters


class InsertStreams(Transformation):
    """Crossings, FIFO depths by formula (those set in a folding file stay), FIFOs, width converters, names in order."""

    def apply(self, model: ModelWrapper):
        for transformation in (
            InsertCrossings(),
            SetFifoDepths(),
            InsertFifos(),
            InsertWidthConverters(),
            SortGraph(),
            GiveUniqueNodeNames(),
        ):
            model = model.transform(transformation, make_deepcopy=False)
        return model, False
