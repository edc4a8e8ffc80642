"""The README: short, and every figure of its tables is that of a kept result."""

import json
import re
from pathlib import Path

import pytest

from finn_vitprune.report.quantities import ms_text, rate_text
from finn_vitprune.report.summary import Summary

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "builds" / "results"
MOST_WORDS = 1200
BUILT = {
    ("DeiT-Tiny, trained here, pipeline, card", "8"): "train/deit_tiny/u250_summary.json",
    ("DeiT-Tiny, trained here, one engine", "8"): "train/deit_tiny/zcu104_summary.json",
    ("Fashion-MNIST ViT, trained here", "8"): "train/deit_fmnist_summary.json",
    ("DeiT-Small, random weights, pipeline, card", "8"): "deit/deit_small_w8a8_card_summary.json",
    ("DeiT-Small, random weights, pipeline", "8"): "deit/deit_small_w8a8_summary.json",
    ("DeiT-Small, random weights, pipeline, card", "4"): "deit/deit_small_w4a4_card_summary.json",
    ("DeiT-Small, random weights, one engine", "8"): "deit_engines/w8a8_engine1_array_summary.json",
}


def rows(section: str, text: str = README) -> list[list[str]]:
    """Cells of the table below a heading, without its head."""
    part = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("| ")][1:]


def test_it_is_short():
    assert len(README.split()) <= MOST_WORDS


def test_every_row_is_that_of_its_build():
    found = {}
    for network, part, _, bits, _, rate, ms, used in rows("Results"):
        if rate:
            where = part.partition(", ")[2]
            where += ", card" * ("with its shell" in part)
            found[f"{network}, {where}" if where else network, bits] = (rate, ms, used)
    assert set(found) == set(BUILT)
    for key, (rate, ms, used) in found.items():
        s = Summary.load(RESULTS / BUILT[key])
        assert s.verify.rtl_mismatches == 0 and s.verify.images >= 12
        assert (rate, ms) == (rate_text(s.rtlsim.fps), ms_text(s.rtlsim.latency_ms)), key
        shares = (100 * getattr(s.resources, kind) / getattr(s.part, kind) for kind in ("LUT", "DSP", "BRAM36", "URAM"))
        assert used == ", ".join(f"{share:.1f}" for share in shares) + " %", key


def test_accuracies_are_those_of_the_kept_results():
    said = {row[0]: row[4] for row in rows("Results")}
    tiny = json.loads((RESULTS / "train" / "deit_tiny" / "evaluate.json").read_text())
    runs = json.loads((RESULTS / "train" / "deit_tiny" / "results.json").read_text())["deit_tiny_tiny_imagenet"]["runs"]
    (run,) = (run for run in runs if run["row"] == "r0.5_0.5")
    assert said["DeiT-Tiny, trained here"] == f"{tiny['accuracy']:.2%} ({run['accuracy_teacher']:.2%})".replace("%", " %")
    assert f"on {tiny['images']:,} held-out images" in README and f"trained on {run['train_images']:,} photographs" in README
    page = (RESULTS / "train" / "RESULTS.md").read_text().partition("## Fashion-MNIST, all training images")[2]
    floats, pruned = (re.search(rf"^\| {name} \| 0, 1, 2 \| (0\.\d+) .*$", page, re.MULTILINE)[0] for name in ("float", "r0.5_0.5"))
    exported = float(pruned.split("|")[4])
    assert said["Fashion-MNIST ViT, trained here"] == f"{100 * exported:.2f} % ({100 * float(floats.split('|')[3].split()[0]):.2f} %)"


def test_the_peers_are_those_of_the_comparison():
    listed = rows("Rates and latencies", (ROOT / "docs" / "comparison.md").read_text())
    for work, network, bits, rate, ms, kind in rows("Others"):
        name, (network, part) = work.partition(" (")[0], network.split(", ")
        said = [
            (row[3], row[5], f"{row[6]} ms", row[9]) for row in listed if row[0].startswith(name) and network in row[1] and part == row[2]
        ]
        assert (bits, rate, ms, kind) in said, work


@pytest.mark.parametrize(("mhz", "name"), [(100, "here, at its clock"), (300, "here")])
def test_the_shape_of_finn_s_transformer_has_the_figures_of_its_build(mhz, name):
    (row,) = [
        row for row in rows("The work of FINN+'s vision transformer", (ROOT / "docs" / "comparison.md").read_text()) if row[0] == name
    ]
    summary = Summary.read(ROOT / "builds" / "results" / "finn_vit" / f"zu28dr_{mhz}mhz_summary.json")
    used, measured = summary.resources, summary.rtlsim
    assert summary.verify.rtl_mismatches == 0 and summary.verify.images == 12 and used.tool.startswith("Yosys")
    said = (
        str(mhz),
        rate_text(measured.fps),
        ms_text(measured.latency_ms).removesuffix(" ms"),
        f"{used.LUT:,}",
        f"{used.DSP:,}",
        f"{used.BRAM36:g}",
    )
    assert tuple(row[1:7]) == said
    assert measured.fps >= 10 * 1017 and measured.latency_ms < 2.89 / 3 and used.LUT <= 0.6 * 151_028
