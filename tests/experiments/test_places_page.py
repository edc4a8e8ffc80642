"""The page of places has the figures of the builds, and their floor plans."""

import json

import pytest

from builds.experiments.places import main
from finn_vitprune.builds.records.places import design_places
from finn_vitprune.errors import UserError
from finn_vitprune.synth.parts import get_part
from finn_vitprune.synth.resources import ESTIMATE
from finn_vitprune.transforms.planning.part_fit import estimated
from tests.summaries import summary
from tests.transforms.test_crossings import cut_at, placed


def test_the_page_has_the_figures_of_a_build(tmp_path):
    model = placed(cut_at(4))
    places = design_places(model, get_part("U50").with_shell("xdma"), estimated(model), ESTIMATE, 3.0, {})
    summary(pruned=True).model_copy(update={"places": places}).save(tmp_path / "b")
    main([f"one={tmp_path / 'b'}"], tmp_path / "page")
    page = (tmp_path / "page" / "RESULTS.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith("| one |"))
    over = len([link for link in places.links if link.ns.taken > 3.0 - 0.15])
    assert f"| {over} of {len(places.links)} | " in row and "not mapped" in row and "| xdma |" in row
    taken = sum(a.sites for node in places.nodes if node.slr == 1 for a in node.sites if a.kind == 0)
    assert f"| SLR1 | {taken:,} of 45,625 |" in page and "![Floor plan of one](one.png)" in page
    assert (tmp_path / "page" / "one.png").read_bytes().startswith(b"\x89PNG")
    kept = json.loads((tmp_path / "page" / "results.json").read_text())["one"]
    assert [link["ns"]["taken"] for link in kept["links"]] == [link.ns.taken for link in places.links] and "areas" not in kept["nodes"][0]


def test_a_build_without_places_is_named(tmp_path):
    summary(pruned=True).save(tmp_path / "b")
    with pytest.raises(UserError, match="one was built without places: build it with --places"):
        main([f"one={tmp_path / 'b'}"], tmp_path / "page")
