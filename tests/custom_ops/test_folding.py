"""Folding on frozen data: a search leaves the graph alone, looks at equal units once, and says what the nodes say."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames

from finn_vitprune.custom_ops.op.folding import Folding
from finn_vitprune.custom_ops.op.memory import Estimate
from finn_vitprune.custom_ops.op.structure import UnitParts
from finn_vitprune.synth.parts import get_part
from finn_vitprune.transforms.planning.fold import FoldForInterval, GraphFolding, slowest_cycles
from finn_vitprune.transforms.planning.plan import plan
from finn_vitprune.transforms.planning.plan_options import PlanOptions
from tests.rtl.benches.helper import build_node

EXAMPLE = Path(__file__).parents[2] / "builds" / "example" / "deit_digits.onnx"
PART = "xczu7ev-ffvc1156-2-e"
INTERVALS = (1, 3_000, 100_000)


@pytest.mark.whole
def test_a_search_changes_no_attribute(example):
    before = example.model.SerializeToString()
    folding = GraphFolding.of(example)
    for interval in INTERVALS:
        assert folding.for_interval(interval).cycles and folding.for_interval(interval).resources.LUT
    assert example.model.SerializeToString() == before
    specialised = example.transform(SpecializeLayers(PART)).transform(GiveUniqueNodeNames())
    before = specialised.model.SerializeToString()
    plan(specialised, get_part(PART), PlanOptions(interval=INTERVALS[1]))
    assert specialised.model.SerializeToString() == before


def test_what_is_remembered_of_a_node_follows_its_attributes(example):
    model = ModelWrapper(example.model, make_deepcopy=True)
    for kind in ("BlockSparseMVAU", "PrunedAttention"):
        first, second, *_ = map(getCustomOp, model.get_nodes_by_op_type(kind))
        before, other = first.folding(), second.folding()
        first.set_nodeattr("SIMD", first.get_nodeattr("SIMD") * 2)
        assert first.folding().attributes()["SIMD"] == 2 * before.attributes()["SIMD"]
        assert second.folding() == other and second.folding() is second.folding()


@pytest.mark.parametrize("interval", INTERVALS)
def test_a_folding_says_what_its_node_says_once_it_is_written(example, interval):
    folding = GraphFolding.of(example).for_interval(interval)
    model = example.transform(FoldForInterval(interval))
    for node, chosen in zip(model.graph.node, folding.nodes, strict=True):
        op, estimate = getCustomOp(node), asdict(chosen.resources)
        assert all(op.get_nodeattr(name) == value for name, value in chosen.attributes().items()), node.name
        assert (op.get_exp_cycles(), op.macs()) == (chosen.cycles, chosen.macs), node.name
        assert {k: op.node_res_estimation(PART)[k] for k in estimate} == estimate, node.name
        assert op.folding() == chosen, f"{node.name}: the folding read back is another"
    assert slowest_cycles(model) == folding.cycles


def test_the_interval_does_not_depend_on_the_fold_that_a_node_has(example):
    folding = GraphFolding.of(example)
    for interval in INTERVALS:
        again = folding.for_interval(777).for_interval(interval)
        assert [n.attributes() for n in again.nodes] == [n.attributes() for n in folding.for_interval(interval).nodes]


@pytest.mark.parametrize("changes", [{}, {"inputDataType": "INT8"}])
def test_nodes_of_equal_shape_have_equal_foldings_whatever_their_names(changes):
    first = {"tokens": 5, "channels": 24, "SIMD": 2, "inputDataType": "INT4"}
    one, other = (build_node("VitFork", a, [], name)[0] for a, name in ((first, "one"), (first | changes, "other")))
    assert (one.folding() == other.folding()) is not bool(changes)


@dataclass(frozen=True)
class Counted(Folding):
    """A unit of ``work`` products that one product a cycle more makes faster; it notes what it is asked."""

    work: int
    asked: list = None
    pace: int = 1

    def __hash__(self):
        return hash((self.work, self.pace))

    def __eq__(self, other):
        return (self.work, self.pace) == (other.work, other.pace)

    @property
    def cycles(self):
        self.asked.append((self.work, self.pace))
        return self.work // self.pace

    made_of = UnitParts("counted")

    @property
    def resources(self):
        return Estimate(LUT=100 * self.pace)

    @property
    def macs(self):
        return self.work

    def attributes(self):
        return {"PE": self.pace}

    def for_interval(self, interval):
        self.asked.append(("interval", interval))
        return Counted(self.work, self.asked, -(-self.work // interval))


def test_equal_units_are_evaluated_once():
    asked = []
    chosen = GraphFolding(tuple(Counted(work, asked) for work in (4096, 4096, 64, 4096))).for_interval(512)
    assert chosen.cycles == 512 and chosen.resources == Estimate(LUT=100 * (3 * 8 + 1))
    assert sorted(asked, key=str) == sorted([("interval", 512)] * 2 + [(4096, 8), (64, 1)], key=str)
