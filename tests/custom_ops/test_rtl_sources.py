"""Which files an RTL module is made of."""

import re

import pytest

from finn_vitprune.custom_ops.op import rtl_sources as module
from finn_vitprune.custom_ops.op.rtl_backend import VitRTLBackend
from finn_vitprune.custom_ops.op.rtl_backend import _literal as literal
from finn_vitprune.custom_ops.op.rtl_sources import rtl_source, rtl_sources


def ops(base: type) -> set[type]:
    """Ops below ``base``; a class without a top is none."""
    return {op for below in base.__subclasses__() for op in ({below} if below.RTL_TOP else set()) | ops(below)}


OPS = sorted(ops(VitRTLBackend), key=lambda op: op.__name__)


def names(top: str) -> list[str]:
    return [path.stem for path in rtl_sources(top)]


@pytest.mark.parametrize("bits", [31, 32, 64, 8_192, 8_193, 40_000])
def test_a_parameter_of_any_width_is_a_literal_of_that_value(bits):
    """Python writes no number of more than 4,300 digits, as the tables of a large array have them."""
    value = (1 << bits - 1) + 5
    width, base, digits = re.fullmatch(r"(?:(\d+)'([dh]))?([0-9a-f]+)", literal(value)).groups()
    assert int(digits, 16 if base == "h" else 10) == value and (width is None or int(width) >= bits)


def test_leaves_come_first_and_the_top_last():
    assert names("vp_stream_fork") == ["vp_skid", "vp_fork", "vp_stage", "vp_stream_fork"]
    assert names("vp_stream_fifo") == ["vp_skid", "vp_pkg", "vp_ram", "vp_fifo", "vp_stream_fifo"]


def test_all_branches_of_a_generate_and_a_file_of_another_name_are_taken_in():
    files = names("vp_mac")
    assert {"vp_mac_portable", "vp_mac_dsp48e2", "vp_mac_lut", "vp_dsp48e2_model"} < set(files)
    assert files.index("vp_dsp48e2_model") < files.index("vp_mac_chain") < files.index("vp_mac_dsp48e2")


@pytest.mark.parametrize("op", OPS, ids=[op.__name__ for op in OPS])
def test_every_instance_of_an_op_has_its_module_before_it(op):
    """By the way an instance is written here: a module name at the start of a line, then # or a name and (."""
    seen = set()
    for path in rtl_sources(op.RTL_TOP):
        text = path.read_text()
        assert set(re.findall(r"^ *(vp_\w+|DSP48E2) (?:#\(|\w+ \()", text, re.M)) <= seen, path
        seen |= set(re.findall(r"^module (\w+)", text, re.M))
    assert op.RTL_TOP in seen


def test_comments_and_texts_name_nothing_and_packages_count(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.sv").write_text('// b\n/* b\nb */ module a; initial $error("b: %s", c_pkg::N); endmodule\n')
    (tmp_path / "b.sv").write_text("module b; endmodule\n")
    (tmp_path / "sub" / "c.sv").write_text("package c_pkg; localparam N = 1; endpackage\n")
    monkeypatch.setattr(module, "RTL_DIR", tmp_path)
    assert names("a") == ["c", "a"]
    assert rtl_source("c.sv") == tmp_path / "sub" / "c.sv"
    with pytest.raises(KeyError):
        rtl_sources("d")
