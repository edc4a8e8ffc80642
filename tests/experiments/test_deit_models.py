"""The networks of the DeiT tables: settings, the reference's figures, files that are made once."""

import pytest
from onnx import load
from qonnx.custom_op.registry import getCustomOp

from builds.experiments import deit_models, deit_reference
from builds.experiments.deit_models import DISTILLED, DROP_AT, DeitNetwork, ModelFolder, make
from finn_vitprune.complexity.reference import distilled
from finn_vitprune.ingest.check.check import check
from finn_vitprune.models.timm_weights import config_of_name

NETWORK = DeitNetwork("deit_test_patch16_224", 8, 16, "0.5", "0.5")


def test_files_of_a_network_are_made_once_and_the_qonnx_file_builds(small_deit, tmp_path, monkeypatch):
    folder = ModelFolder(tmp_path)
    assert folder.made(NETWORK) is None
    made = make(NETWORK, folder)
    assert check(folder.qonnx(NETWORK)).passed
    assert made.tokens == (17, 10), "of 16 patches 8 stay, with the class token and the fused one"
    assert made.neurons == (64, 64) and made.heads_dense == 4
    nodes = load(folder.hardware(NETWORK)).graph.node
    attention = [getCustomOp(n) for n in nodes if n.op_type == "PrunedAttention_rtl"]
    assert made.heads == tuple(op.get_nodeattr("heads") for op in attention)
    assert made.nodes == len(nodes) and all(n.op_type.endswith("_rtl") and n.name for n in nodes)
    assert len({n.name for n in nodes}) == len(nodes)

    with monkeypatch.context() as patched:
        patched.setattr(deit_models, "_pruned", lambda network: pytest.fail("made again"))
        assert make(NETWORK, folder) == made
    folder.qonnx(NETWORK).write_bytes(b"half a file")
    folder.facts(NETWORK).unlink()
    assert make(NETWORK, folder) == made and len(load(folder.qonnx(NETWORK)).graph.node) > len(nodes)


def test_a_dense_network_drops_no_tokens(small_deit, tmp_path):
    made = make(DeitNetwork(NETWORK.model, 4, 16, "1", "1"), ModelFolder(tmp_path))
    assert made.tokens == (17, 17) and made.neurons == (128, 128)
    assert made.macs < made.macs_dense, "the last encoder works for the class token alone"


def test_settings_of_the_reference_have_its_token_counts():
    counts = {"0.5": (101, 52, 28), "0.7": (140, 100, 72), "0.9": (180, 164, 149)}
    for rate, after in counts.items():
        config = distilled(config_of_name(DISTILLED)).with_token_drop(rate, DROP_AT)
        assert config.tokens == 198
        assert tuple(config.token_counts()[encoder - 1][1] for encoder in DROP_AT) == after
    networks = [row.network for row in deit_reference.ROWS]
    assert len({n.name for n in networks}) == 14
    assert [(n.block, n.block_keep, n.token_keep) for n in networks[:3]] == [(16, "1", "1"), (16, "0.7", "0.9"), (16, "0.7", "0.7")]


def test_figures_of_the_reference_agree_with_each_other():
    """A slip in one of the columns would show: rate is one over time, and the ratios are those of its abstract."""
    for row in deit_reference.ROWS:
        assert row.images_per_second == pytest.approx(1000 / row.milliseconds, rel=1e-3), row
        assert row.gmac * 1e9 / (row.milliseconds * 1e-3 * 300e6) < 6144, row
    dense = deit_reference.ROWS[0]
    assert round(dense.gmac / min(r.gmac for r in deit_reference.ROWS), 1) == 3.4
    assert round(dense.mparams / min(r.mparams for r in deit_reference.ROWS), 1) == 1.6
    for slower, faster in ((0, 1), (1, 2), (2, 3), (4, 5), (5, 6)):  # fewer blocks or tokens, less time and accuracy
        for first in (0, 7):
            a, b = deit_reference.ROWS[first + slower], deit_reference.ROWS[first + faster]
            assert a.milliseconds > b.milliseconds and a.top1 > b.top1 and a.gmac > b.gmac
