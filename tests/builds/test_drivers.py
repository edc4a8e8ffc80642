"""No variable of a unit has a driver too many, whoever reads the RTL: Vivado's simulator and VCS refuse what has. Of designs
Verilator's warnings count, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.builds.stitched.stitch import MONITORED_TOP, TOP, StitchedDesign
from finn_vitprune.custom_ops.op.rtl_sources import RTL_DIR, rtl_sources
from tests.elaborated import READERS, declared, elaborate
from tests.mutation.units import UNITS
from tests.rtl_lint import PRIMITIVE, complaints
from tests.sampling import sampled
from tests.vit_models import random_vit

PART = "xcu250-figd2104-2L-e"
DESIGNS = {
    "pipeline, loadable": {"loadable": True},
    "engine, loadable": {"engines": 1, "frames_in_flight": 2, "loadable": True},
    "pipeline": {},
    "engine": {"engines": 1, "frames_in_flight": 2},
}
"""Settings of every kind of design."""


@pytest.mark.parametrize("reader", sampled(READERS, 1))
def test_no_unit_has_a_variable_with_two_drivers(reader):
    """All small ops and designs of all units, of which every module of ours is in one at least: a new module is looked at, too."""
    found: dict[str, set[str]] = {}
    seen: set[str] = set()
    for unit in UNITS.values():
        for check in unit.checks:
            elaborated = elaborate(Path(check.sources[-1]).stem, check.sources, READERS[reader])
            found[f"{unit.name}, {check.name}"] = {error.text for error in elaborated.errors if (error.code, error.args) != PRIMITIVE}
            seen |= elaborated.modules
    assert not {name: errors for name, errors in found.items() if errors}
    assert declared(sorted(RTL_DIR.rglob("*.sv")), READERS[reader]) <= seen


def test_the_model_of_the_macs_has_no_variable_with_two_drivers():
    """Simulations of whole designs have it in the place of every MAC."""
    found = elaborate("vp_mac", rtl_sources("vp_mac"), ("VERILATOR", "VP_MAC_MODEL"))
    assert not found.errors and "vp_mac_model" in found.modules


@pytest.mark.parametrize("kind", sampled(DESIGNS, 0))
def test_nobody_has_something_against_a_design(kind, tmp_path):
    model, _ = random_vit()
    model.save(str(tmp_path / "m.onnx"))
    done = build(
        BuildOptions(
            model=tmp_path / "m.onnx",
            output_dir=tmp_path / "b",
            fpga_part=PART,
            target_fps=50_000,
            stop_step="step_stitch",
            synth="none",
            **DESIGNS[kind],
        )
    )
    design = StitchedDesign.load(BuildFolder(done).stitched)
    for top in (TOP, MONITORED_TOP):
        assert not complaints(top, [design.folder / name for name in [*design.sources, f"{top}.v"]])


@pytest.mark.parametrize("second", [
    "initial q = 1'b0;", "initial $readmemb(\"f\", m);", "always_ff @(posedge clk) q <= b;", "assign q = b;", "below below ();",
    "initial below_i.n = 1'b0;",
])  # fmt: skip
def test_a_second_driver_is_found(second, tmp_path):
    """Of a variable of always_ff, in any process, and from another module."""
    (tmp_path / "m.sv").write_text(f"""
        module below; logic clk, n; always_ff @(posedge clk) n <= 1'b1; initial m.q = 1'b0; endmodule
        module other; logic clk, n; always_ff @(posedge clk) n <= 1'b1; endmodule
        module m (input logic clk, a, b, output logic q, r); logic m[2]; other below_i ();
        always_ff @(posedge clk) begin q <= a; m[0] <= a; end
        always @(posedge clk) r <= a; initial r = 1'b0; {second} endmodule""")
    (found,) = elaborate("m", [tmp_path / "m.sv"]).errors
    assert "always_ff" in found.text or "mix" in found.text
