"""The summary file: the schema of the design, round trip, atomic writing, clear errors."""

import json

import pytest
from pydantic import ValidationError

from finn_vitprune.errors import UserError
from finn_vitprune.report.summary import FILE, RtlsimSummary, Summary
from tests.summaries import summary


def test_written_file_has_the_sections_and_names_of_the_design(tmp_path):
    content = json.loads(summary(pruned=True).save(tmp_path).read_text())
    names = {k: set(content[k]) for k in ("model", "verify", "rtlsim", "resources", "part")}
    assert names["model"] >= {"name", "macs_dense", "macs", "params_dense", "params", "index_bits", "tokens"}
    assert names["model"] >= {"heads", "block_size", "block_keep", "token_keep"}
    assert content["model"]["tokens"][1] == {"in": 17, "mlp": 14}
    assert names["verify"] >= {"images", "rtl_mismatches", "top1_agree_qonnx", "max_code_diff_vs_qonnx"}
    assert names["verify"] >= {"saturations", "accuracy", "accuracy_pytorch"}
    assert names["rtlsim"] >= {"frames", "latency_cycles", "interval_cycles", "interval_cycles_max"}
    assert names["rtlsim"] >= {"clk_ns", "latency_ms", "fps"}
    row = {"node", "kept_blocks", "lanes", "ideal_cycles", "cycles", "utilisation"}
    assert all(set(r) >= row for r in content["balance"])
    assert names["resources"] >= {"tool", "LUT", "FF", "DSP", "BRAM36", "URAM", "per_node"}
    assert names["part"] >= {"name", "LUT", "FF", "DSP", "BRAM36", "URAM", "fits"}
    assert content["time_s"] == {"step_lower": 1.5, "step_hdl": 2.5}


def test_round_trip(tmp_path):
    s = summary(pruned=False)
    s.save(tmp_path)
    assert Summary.load(tmp_path) == s


def test_a_section_that_did_not_run_is_null(tmp_path):
    s = summary(pruned=True).model_copy(update={"rtlsim": None, "verify": None, "resources": None})
    content = json.loads(s.save(tmp_path).read_text())
    assert content["rtlsim"] is None and content["verify"] is None and content["resources"] is None
    assert Summary.load(tmp_path) == s


def test_milliseconds_and_rate_follow_from_cycles_and_clock():
    r = RtlsimSummary.measured(6, latency_cycles=20_000, interval_cycles=4_000, interval_cycles_max=4_001, clk_ns=5)
    assert r.latency_ms == pytest.approx(0.1) and r.fps == pytest.approx(50_000)


@pytest.mark.parametrize("section,key,value", [("verify", "accuracy", 96.25), ("verify", "images", -1), ("model", "macs", None)])
def test_values_out_of_their_units_are_refused(section, key, value):
    content = json.loads(summary(pruned=True).model_dump_json(by_alias=True))
    content[section][key] = value
    with pytest.raises(ValidationError, match=key):
        Summary.model_validate(content)


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = summary(pruned=True).save(tmp_path)
    before = path.read_text()

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        summary(pruned=False).save(tmp_path)
    assert path.read_text() == before
    assert [p.name for p in path.parent.iterdir()] == [FILE.name]


def test_load_errors_are_one_line_that_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="no folder .*nowhere"):
        Summary.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="did not finish"):
        Summary.load(tmp_path)
    path = summary(pruned=True).save(tmp_path)
    path.write_text("{ not json")
    with pytest.raises(UserError, match="not a summary of this version") as e:
        Summary.load(tmp_path)
    assert "\n" not in str(e.value)
    path.write_text('{"model": {}}')
    with pytest.raises(UserError, match=r"model\.name"):
        Summary.load(tmp_path)
