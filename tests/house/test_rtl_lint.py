"""Every module elaborates with its own parameters, and what is wrong with a module is found."""

import pytest

from tests.rtl_lint import complaints, complaints_of, modules

GOOD = """
module m #(int unsigned N = 5) (input logic clk, a, input logic [3:0] b, output logic q, output logic [3:0] c);
    always_ff @(posedge clk) q <= a;
    always_comb begin
        c = b;
        if (a) c = 4'(N);
    end
endmodule
"""
FAULTS = {
    "a latch": ("        c = b;\n", "", "LATCH"),
    "a second driver": ("endmodule", "    initial q = 1'b0;\nendmodule", "always_ff"),
    "a width": ("c = b", "c = 8'(b)", "WIDTHTRUNC"),
    "a parameter that does not fit": ("    always_comb", '    if (N > 4) $error("N %0d", N);\n    always_comb', "N 5"),
    "a module that is missing": ("endmodule", "    gone gone_i ();\nendmodule", "gone"),
    "a name that nothing declares": ("q <= a;", "q <= x;", "'x'"),
}  # fmt: skip
"""Each is made in the good module, and named by this word."""


@pytest.mark.parametrize("module", modules())
def test_a_module_elaborates_with_its_own_parameters(module):
    assert not complaints_of(module)


def test_a_good_module_has_no_complaints(tmp_path):
    (tmp_path / "m.sv").write_text(GOOD)
    assert not complaints("m", [tmp_path / "m.sv"])


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name, tmp_path):
    good, bad, word = FAULTS[name]
    assert GOOD.count(good) == 1
    (tmp_path / "m.sv").write_text(GOOD.replace(good, bad))
    assert any(word in complaint for complaint in complaints("m", [tmp_path / "m.sv"]))
