"""A load over the bus brings every memory what the back door does; a hop of the wrong shape shows."""

import shutil

import numpy as np
import pytest

from finn_vitprune.bench.full_load import compare
from finn_vitprune.custom_ops import rtl_sources
from finn_vitprune.errors import UserError
from finn_vitprune.sim import Stimulus
from finn_vitprune.sim.contents import Contents, Region

REGIONS = (
    Region("A", "weights", words=5, width=72, banks=2), Region("B", "weights", words=1, width=8, banks=1),
    Region("C", "table", words=9, width=33, banks=1), Region("D", "weights", words=4, width=160, banks=3),
)  # fmt: skip


def contents(seed: int = 1) -> Contents:
    rng = np.random.default_rng(seed)
    data = [
        region.packed([[int.from_bytes(rng.bytes(20), "little") >> (160 - region.width) for _ in range(region.words)]
                       for _ in range(region.banks)])
        for region in REGIONS
    ]
    return Contents(0x1234, REGIONS, np.concatenate(data), "s_axilite_0")


@pytest.mark.parametrize("stimulus", [Stimulus(), Stimulus(seed=3, pause=0.4)])
def test_every_memory_word_is_that_of_the_back_door(stimulus):
    found = compare(contents(), stimulus)
    assert found.differing == 0 and found.memory_words == 10 + 1 + 9 + 12 and found.bits == 720 + 8 + 297 + 1920
    assert found.data_words == 30 + 1 + 18 + 60 and found.cycles > 2 * found.data_words


@pytest.mark.parametrize("good, bad", [("waddr_q <= addr_q;", "waddr_q <= addr_q ^ 1'b1;"), ("part_q << 1", "part_q << 2")])
def test_a_broken_hop_shows(good, bad, tmp_path, monkeypatch):
    for source in rtl_sources.RTL_DIR.rglob("*.sv"):
        shutil.copy(source, tmp_path)
    path = tmp_path / "vp_load_hop.sv"
    assert path.read_text().count(good) == 1
    path.write_text(path.read_text().replace(good, bad))
    monkeypatch.setattr(rtl_sources, "RTL_DIR", tmp_path)
    try:
        assert compare(contents()).differing
    except UserError as error:
        assert "does not end" in str(error)
