"""The explanation of a deadlock names the full FIFO and the two branches, on a hand-made graph."""

from qonnx.core.datatype import DataType

from finn_vitprune.builds.stitched.deadlock import explain
from finn_vitprune.builds.stitched.edges import InEngine, StitchedEdge
from finn_vitprune.custom_ops.op.finn_op import TAGS
from finn_vitprune.sim.beats import Stream

STREAM = Stream(4, 8, 2, DataType["INT16"])


def edge(producer, consumer, position=0, fifo="", depth=2, converted=False):
    name = f"{producer}{consumer}"
    return StitchedEdge(producer, consumer, position, name, name, STREAM, fifo, depth, converted)


EDGES = [edge("fork", "norm"), edge("norm", "matrix"), edge("matrix", "add", 1), edge("fork", "add", 0, "fifo3", 6)]


def test_full_fifo_of_a_join_is_named_with_both_branches():
    valid = [(True, True), (False, False), (False, False), (True, True)]
    ready = [(False, False), (True, True), (True, True), (False, False)]
    text = explain(EDGES, valid, ready)
    assert "FIFO fifo3 on fork -> add, depth 6 beats, is full" in text
    assert "fork -> add" in text and "fork -> norm -> matrix -> add" in text
    assert "deepen inFIFODepths[0] of add" in text


def test_standstill_without_a_starving_join_lists_what_is_blocked():
    valid = [(True, True), (True, True), (True, True), (True, True)]
    ready = [(False, False)] * 4
    assert "fork -> norm" in explain(EDGES, valid, ready)


def test_the_fifo_before_a_width_converter_is_named():
    edges = [*EDGES[:3], edge("fork", "width", fifo="fifo3", depth=6), edge("width", "add", converted=True)]
    valid = [(True, True), (False, False), (False, False), (True, True), (True, True)]
    ready = [(False, False), (True, True), (True, True), (False, False), (False, False)]
    assert "FIFO fifo3 on fork -> add, depth 6 beats, is full" in explain(edges, valid, ready)


def test_branches_in_an_engine_begin_inside_of_it():
    """Frames come back to its entry, and tags pass all units: neither is a branch."""

    def inside(producer, consumer, position=0, fifo="", stream=STREAM):
        tags = stream is TAGS
        place = InEngine("e", [1, 2], 1, [1, 1] if tags else [4, 4], [[], []] if tags else [["a"], ["b"]])
        name = f"{producer}{consumer}"
        return StitchedEdge(producer, consumer, position, name, name, stream, fifo, 6, False, place)

    edges = [
        inside("e_entry", "e_fork"), inside("e_entry", "e_norm", 1, stream=TAGS), inside("e_fork", "e_norm"),
        inside("e_fork", "e_add", 0, "e_VitFIFO_0"), inside("e_norm", "e_add", 1), inside("e_norm", "e_exit", 1, stream=TAGS),
        inside("e_add", "e_exit"), inside("e_exit", "e_entry", 1, "e_way_back"),
    ]  # fmt: skip
    full = [("e_entry", "e_fork"), ("e_fork", "e_add")]
    stands = [(True, True) if (e.producer, e.consumer) in full else (False, False) for e in edges]
    text = explain(edges, stands, [(not v, not w) for v, w in stands])
    assert text.startswith("deadlock: FIFO e_VitFIFO_0 on e_fork -> e_add, depth 6 beats, is full while e_add waits for e_norm")
    assert "e_fork -> e_add and e_fork -> e_norm -> e_add start at e_fork" in text
