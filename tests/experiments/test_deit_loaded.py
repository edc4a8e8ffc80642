"""The page of networks that one design is loaded with."""

import pytest

from builds.experiments import deit_loaded
from builds.experiments.deit_loaded import LoadedRow, study, tables
from builds.experiments.deit_models import LOADED, ModelFolder
from finn_vitprune.report.summary import Summary

ROW = LoadedRow("0x1", 10, 4, 0, 93_000, 78_000.0, 3.2)


@pytest.fixture
def summary(request) -> Summary:
    text = (request.config.rootpath / "builds/results/deit_engines/w8a8_engine1_latency_summary.json").read_bytes()
    return Summary.model_validate_json(text)


def test_the_page_has_a_row_for_each_network_that_was_simulated(summary):
    (table,) = tables({LOADED[0].name: ROW, LOADED[-1].name: ROW})
    page = table.markdown()
    assert "r_b 0.5, r_t 0.5" in page and "dense" in page and "r_b 0.7" not in page
    assert "93,000" in page and "0.310" in page and "3,846" in page and "0.868" in page, "cycles, ms, rate, the reference's ms"
    assert "% of URAM" in deit_loaded.text_of(summary)


def test_only_what_is_not_known_of_this_design_is_simulated(summary, tmp_path, monkeypatch):
    class Port:
        design = 1

    class Design:
        loads = (Port(),)

    asked = []
    monkeypatch.setattr(deit_loaded.StitchedDesign, "load", lambda file: Design())
    monkeypatch.setattr(deit_loaded.Summary, "load", lambda folder: summary)
    monkeypatch.setattr(deit_loaded, "loaded", lambda network, *rest: asked.append(network) or LoadedRow(rest[-1], 1, 4, 0, 9, 8.0, 1.0))
    go = lambda *only: study(ModelFolder(tmp_path), tmp_path).go(tmp_path / "o", only)  # noqa: E731
    go("rt0.7")
    go()
    assert sorted(n.name for n in asked) == sorted(n.name for n in LOADED), "each once"
    Port.design = 2
    rows = go("rt0.7")
    assert len(asked) == len(LOADED) + 1 and len(rows) == 1, "another design is simulated anew, and its page has no other rows"
