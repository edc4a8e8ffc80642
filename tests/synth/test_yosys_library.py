"""Yosys with the library of :mod:`finn_vitprune.synth.library`: the netlists of its own library, in less time."""

import resource
from pathlib import Path

import pytest
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.steps import node_job
from finn_vitprune.custom_ops.engine.engine import flattened
from finn_vitprune.synth import library
from finn_vitprune.synth.yosys import NETLIST, WIRING, NodeJob, cache_key, map_node
from tests.sampling import sampled, spread

PART = "xcu250-figd2104-2L-e"

MODULE = """
module {name} (input logic clk, we, en, input logic [12:0] a, b, input logic [71:0] d, output logic [71:0] q);
{body}
endmodule
"""
MEMORY = """
    (* ram_style = "{style}" *) logic [{width}-1:0] mem [{depth}];
    always_ff @(posedge clk) begin
        if (we) mem[a] <= d;
        q <= mem[b];
    end
"""
ROM = """
    (* rom_style = "block" *) logic [{width}-1:0] mem [{depth}];
    initial for (int unsigned i = 0; i < {depth}; i++) mem[i] = i * 32'd2654435761;
    always_ff @(posedge clk) q <= mem[a];
"""
BODIES = {
    "RAMB36E2": ROM.format(width=36, depth=2048),
    "RAMB18E2": MEMORY.format(style="block", width=18, depth=1024),
    "URAM288": MEMORY.format(style="ultra", width=72, depth=8192),
    "RAM32M16": MEMORY.format(style="distributed", width=16, depth=32),
    "DSP48E2": "    always_ff @(posedge clk) q <= $signed(d[26:0]) * $signed(a) + $signed(q[47:0]);",
    "SRLC32E": "    logic [31:0] s; always_ff @(posedge clk) if (en) s <= {s[30:0], d[0]}; assign q = s[31];",
    "CARRY4": "    always_ff @(posedge clk) q <= en ? d + a : d - b;",
    "MUXF7": """
    localparam logic [127:0] TABLE = 128'h9e3779b97f4a7c15f39cc0605cedc834;
    always_ff @(posedge clk) q <= 72'(TABLE[a[6:0]]);
""",
}
"""Modules by a cell that each is mapped to."""


@pytest.fixture
def both(tmp_path, monkeypatch):
    """The netlist of a job with the library, and with Yosys' own: files of the cache."""

    def map_twice(job: NodeJob) -> list[tuple[bytes, bytes]]:
        monkeypatch.setenv("FINN_VITPRUNE_CACHE", str(tmp_path / "cache"))
        folders = [map_node(job).folder]
        with monkeypatch.context() as plain:
            plain.setenv("FINN_VITPRUNE_CACHE", str(tmp_path / "plain"))
            plain.setattr(library, "ultrascale_plus", lambda: library.OWN)
            folders.append(map_node(job).folder)
        return [tuple((folder / name).read_bytes() for name in (NETLIST, WIRING)) for folder in folders]

    return map_twice


def module(folder: Path, name: str, body: str) -> NodeJob:
    path = folder / f"{name}.sv"
    path.write_text(MODULE.format(name=name, body=body))
    return NodeJob(name, (path,))


@pytest.mark.parametrize("cell", spread(BODIES, step=12))
def test_netlists_are_those_of_yosys_own_library(tmp_path, both, cell):
    found, plain = both(module(tmp_path, "dut", BODIES[cell]))
    assert f'"{cell}"' in plain[0].decode()
    assert found == plain


def test_a_small_node_takes_less_than_half_the_processor_time(tmp_path, monkeypatch):
    def seconds(own: bool) -> float:
        monkeypatch.setenv("FINN_VITPRUNE_CACHE", str(tmp_path / f"cache {own}"))
        if own:
            monkeypatch.setattr(library, "ultrascale_plus", lambda: library.OWN)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        map_node(module(tmp_path, "adder", BODIES["CARRY4"]))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime

    assert seconds(own=False) < seconds(own=True) / 2


@pytest.fixture(scope="module")
def nodes(tmp_path_factory) -> list[NodeJob]:
    """The nodes of the bundled example as `make demo` builds it, the same ones once."""
    folder = tmp_path_factory.mktemp("example") / "build"
    build(BuildOptions(
        model=None, output_dir=folder, fpga_part=PART, stop_step="step_stitch", synth="none"
    ))  # fmt: skip
    model = flattened(ModelWrapper(str(folder / "intermediate_models" / "step_stitch.onnx")))
    jobs = [node_job(getCustomOp(node)) for node in model.graph.node]
    return list({cache_key(job): job for job in jobs}.values())


PARTS = 36


@pytest.mark.slow
@pytest.mark.parametrize("part", sampled(range(PARTS), 0))
def test_nodes_of_the_example_have_the_netlists_of_yosys_own_library(nodes, both, part):
    for job in nodes[part::PARTS]:
        found, plain = both(job)
        assert found == plain, job.top
