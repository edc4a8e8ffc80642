"""``finn-vitprune check``: a row a node, the structure, and an exit code that is a promise."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx import helper, numpy_helper
from torch import nn

from finn_vitprune.cli import run
from finn_vitprune.errors import UserError
from finn_vitprune.ingest.check import hardware
from finn_vitprune.ingest.check.check import check
from finn_vitprune.ingest.check.check_float import size_of
from finn_vitprune.ingest.check.checked import row_texts, summary, verdict
from finn_vitprune.ingest.onnx_file.model_file import Kind
from finn_vitprune.ingest.recognise.read import read
from finn_vitprune.synth import parts
from finn_vitprune.synth.budget import Budget
from tests.ingest_models import export, small_distilled, small_timm
from tests.sampling import sampled, spread
from tests.vit_models import random_vit

PART = "xcu250-figd2104-2L-e"


@pytest.fixture(scope="module")
def float_file(tmp_path_factory):
    return export(small_timm(), tmp_path_factory.mktemp("float") / "model.onnx")


@pytest.fixture(scope="module")
def qonnx_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("qonnx") / "model.onnx"
    random_vit()[0].save(str(path))
    return path


def edited(path, target, edit):
    model = onnx.load(str(path))
    edit(model.graph)
    onnx.save(model, str(target))
    return target


def test_a_float_vit_maps_whole_with_place_and_unit_of_every_node(float_file):
    checked = check(float_file)
    assert checked.passed
    assert checked.kind is Kind.FLOAT
    assert checked.mapped == len(checked.rows) == len(onnx.load(str(float_file)).graph.node)
    assert "import" in verdict(checked)
    rows = row_texts(checked)
    units = {(r.place, r.becomes.split(",")[0].split(" (")[0]) for r in rows}
    for encoder in ("encoder 1", "encoder 2"):
        for unit in ("VitLayerNorm", "BlockSparseMVAU", "PrunedAttention", "VitAdd", "VitLookup"):
            assert (encoder, unit) in units
    assert ("classifier", "VitSelectToken") in units
    assert ("embedding", "VitTokenEmbed") in units
    softmax = [r for r in rows if r.op_type == "Softmax"]
    assert [r.place for r in softmax] == ["encoder 1", "encoder 2"]
    assert all(r.becomes.startswith("PrunedAttention") for r in softmax)


def test_structure_and_size_are_those_of_the_model(float_file):
    checked = check(float_file)
    s = checked.structure
    assert s.as_dict() == {
        "image": (64, 64, 3), "patch_size": 16, "dim": 24, "head_dim": 8, "heads": (3, 3), "mlp_widths": (96, 96),
        "tokens": (17, 17), "prefix": 1, "pooling": "class", "classes": 5,
    }  # fmt: skip
    matrices = 768 * 24 + 24 + 24 * 5 + 5 + 2 * (24 * 72 + 72 + 24 * 24 + 24 + 24 * 96 + 96 + 96 * 24 + 24)
    assert checked.complexity.params_dense == checked.complexity.params == matrices
    per_encoder = 17 * (24 * 72 + 24 * 24 + 2 * 24 * 96) + 2 * 17 * 17 * 24
    assert checked.complexity.macs_dense == 16 * 768 * 24 + 24 * 5 + 2 * per_encoder


def test_zero_blocks_of_a_float_file_are_not_counted_now(tmp_path):
    model = small_timm()
    model.blocks[0].attn.qkv.weight.data[:8, :8] = 0
    model.blocks[1].attn.proj.weight.data[8:16, :16] = 0
    vit = read(export(model, tmp_path / "model.onnx")).vit
    size = size_of(vit)
    assert size.params_dense - size.params == 3 * 64


def test_text_output_groups_equal_encoders_and_ends_with_the_verdict(float_file, capsys):
    assert run(["check", str(float_file)]) == 0
    out = capsys.readouterr().out
    assert "encoder 1 to 2" in out
    assert "nodes map." in out
    assert "patch size 16" in out
    assert out.strip().splitlines()[-1].startswith("yes: `finn-vitprune import")


def test_all_lists_every_node(float_file, capsys):
    assert run(["check", str(float_file), "--nodes", "--json"]) == 0
    names = [r["node"] for r in json.loads(capsys.readouterr().out)["rows"]]
    assert names == [n.name for n in onnx.load(str(float_file)).graph.node]
    assert run(["check", str(float_file), "--nodes"]) == 0
    assert capsys.readouterr().out.count("Softmax") >= 2


def test_a_refused_node_is_named_with_reason_and_help_and_exit_code_1(tmp_path, capsys):
    path = export(small_timm(act_layer=nn.ELU), tmp_path / "model.onnx")
    assert run(["check", str(path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["passed"]
    row = next(r for r in found["rows"] if not r["maps"])
    assert row["op_type"] == "Elu"
    assert "ELU" in row["reason"]
    assert "GELU" in row["help"]
    assert run(["check", str(path)]) == 1
    assert "no: `import` does not take this float file" in capsys.readouterr().out


@pytest.mark.parametrize("options", [{}, {"fc_norm": False}, {"class_token": False}], ids=str)
def test_mean_pooling_maps_whole_with_the_last_encoder_for_all_tokens(tmp_path, options):
    checked = check(export(small_timm(global_pool="avg", **options), tmp_path / "model.onnx"))
    assert checked.passed and checked.mapped == len(checked.rows)
    assert checked.structure.config.pooling == "mean"
    rows = row_texts(checked)
    assert [r.becomes for r in rows if r.op_type == "ReduceMean"] == ["VitTokenMean"]
    assert not any("VitSelectToken" in r.becomes for r in rows)
    assert checked.complexity.macs == checked.complexity.macs_dense


def test_a_norm_before_the_encoders_maps_with_its_place(tmp_path, capsys):
    path = export(small_timm(pre_norm=True), tmp_path / "model.onnx")
    checked = check(path)
    assert checked.passed and checked.mapped == len(checked.rows) and checked.structure.config.norm_pre
    row = next(r for r in row_texts(checked) if r.op_type == "LayerNormalization")
    assert (row.place, row.becomes) == ("embedding", "VitLayerNorm and BlockSparseMVAU, its gamma and beta")
    assert run(["check", str(path)]) == 0
    assert "LayerNorm before the encoders" in capsys.readouterr().out


def test_a_qonnx_file_with_a_norm_before_the_encoders_maps_whole(tmp_path):
    path = tmp_path / "model.onnx"
    random_vit(pre_norm=True)[0].save(str(path))
    checked = check(path)
    assert checked.passed and checked.mapped == len(checked.rows) and checked.structure.config.norm_pre
    norms = [r.place for r in row_texts(checked) if r.op_type == "LayerNormalization"]
    assert norms == ["embedding", *["encoder 1"] * 2, *["encoder 2"] * 2, "classifier"]


@pytest.mark.parametrize("options", [{}, {"global_pool": "avg"}], ids=str)
def test_a_classifier_that_reads_the_residual_stream_maps_with_its_place(tmp_path, options):
    checked = check(export(small_timm(final_norm=False, **options), tmp_path / "model.onnx"))
    assert checked.passed and checked.mapped == len(checked.rows) and not checked.structure.config.final_norm
    unit = "VitTokenMean" if options else "VitSelectToken, the class token"
    assert unit in {r.becomes for r in row_texts(checked)}
    path = tmp_path / "quantised.onnx"
    random_vit(final_norm=False, **options, **({"drop_at": (), "token_keep": "1"} if options else {}))[0].save(str(path))
    checked = check(path)
    assert checked.passed and checked.mapped == len(checked.rows) and not checked.structure.config.final_norm
    rows = [(r.place, r.becomes) for r in row_texts(checked)]
    assert ("classifier", "VitTokenMean" if options else "VitSelectToken, VitRequant") in rows
    assert [place for place, becomes in rows if "VitAdd" in becomes] == ["encoder 1"] * 2 + ["encoder 2"] * 2


def test_what_changes_on_the_way_is_noted(tmp_path):
    checked = check(export(small_distilled(), tmp_path / "model.onnx"))
    assert checked.passed
    assert "distillation classifier" in checked.notes[0]
    checked = check(export(small_timm(init_values=0.1), tmp_path / "scaled.onnx"))
    assert "LayerScale" in checked.notes[0]


def test_the_width_limit_is_that_of_the_layernorm_unit():
    from finn_vitprune.custom_ops.layernorm.layernorm import MAX_CHANNELS

    assert hardware.MAX_DIM == MAX_CHANNELS


def test_custom_operators_are_refused_by_their_domain(float_file, tmp_path):
    def edit(graph):
        node = next(n for n in graph.node if n.op_type == "Erf")
        node.op_type, node.domain = "FancyErf", "com.acme"

    checked = check(edited(float_file, tmp_path / "custom.onnx", edit))
    assert "operator FancyErf of domain com.acme" in checked.rejections[0].reason
    assert 0 < checked.mapped < len(checked.rows)
    assert any(r.reason.startswith("depends on node") for r in row_texts(checked))


# --- QONNX ---------------------------------------------------------------------------------------


def test_a_qonnx_file_of_this_project_maps_whole(qonnx_file, capsys):
    assert run(["check", str(qonnx_file), "--fpga-part", PART, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "QONNX"
    assert found["mapped"] == found["nodes"]
    assert "build" in found["verdict"]
    assert found["structure"]["tokens"] == [5, 4]
    places = {r["place"] for r in found["rows"]}
    assert {"embedding", "encoder 1", "encoder 2", "classifier"} <= places
    becomes = " ".join(r["becomes"] for r in found["rows"])
    names = ("BlockSparseMVAU", "PrunedAttention", "VitTokenDrop", "VitLookup", "VitLayerNorm")
    for unit in (*names, "VitSelectToken"):
        assert unit in becomes


@pytest.mark.parametrize("options", sampled([{}, {"class_token": False, "fc_norm": False}], 1), ids=str)
def test_a_qonnx_file_that_pools_by_mean_maps_whole(tmp_path, options):
    path = tmp_path / "model.onnx"
    random_vit(drop_at=(), token_keep="1", global_pool="avg", **options)[0].save(str(path))
    checked = check(path)
    assert checked.passed and checked.mapped == len(checked.rows)
    prefix = int(options.get("class_token", True))
    assert (checked.structure.config.pooling, checked.structure.config.prefix) == ("mean", prefix)
    assert checked.structure.tokens == (4 + prefix,) * 2
    rows = [(r.place, r.becomes) for r in row_texts(checked) if r.op_type == "ReduceMean"]
    assert rows == [("classifier", "VitTokenMean")]


def test_the_bundled_example_is_checked_with_its_size(capsys):
    from qonnx.core.modelwrapper import ModelWrapper

    from finn_vitprune.builds.build import EXAMPLE
    from finn_vitprune.export.metadata import ModelMetadata

    path = EXAMPLE / "deit_digits.onnx"
    m = ModelMetadata.read(ModelWrapper(str(path)))
    checked = check(path)
    assert checked.passed
    assert (checked.complexity.macs, checked.complexity.params) == (m.macs, m.params)
    assert len(checked.structure.config.encoders) == len(m.heads)


def test_a_qonnx_node_that_does_not_map_is_named_and_the_rows_go_on(qonnx_file, tmp_path):
    def edit(graph):
        node = next(n for n in graph.node if n.op_type == "Gelu")
        name = node.input[0]
        graph.initializer.append(numpy_helper.from_array(np.float32([1, 2] * 16), "vector"))
        at = list(graph.node).index(node)
        graph.node.insert(at, helper.make_node("Mul", [name, "vector"], ["scaled"], name="bad"))
        node.input[0] = "scaled"

    checked = check(edited(qonnx_file, tmp_path / "model.onnx", edit))
    assert not checked.passed
    first = checked.rejections[0]
    assert (first.node, first.op_type) == ("bad", "Mul")
    assert "scalar" in first.reason
    later = row_texts(checked)[-1]
    assert later.reason.startswith("depends on node bad")
    assert sum(r.maps for r in checked.rows) > len(checked.rows) // 2


def test_a_foreign_qonnx_file_says_that_import_could_take_it(float_file, tmp_path):
    def edit(graph):
        node = next(n for n in graph.node if n.op_type == "MatMul")
        for name, value in (("one", 1e-3), ("zero", 0.0), ("bits", 8.0)):
            graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
        quant = helper.make_node(
            "Quant", [node.input[0], "one", "zero", "bits"], ["quantised"], name="quant",
            domain="qonnx.custom_op.general", signed=1, narrow=0, rounding_mode="ROUND",
        )  # fmt: skip
        at = list(graph.node).index(node)
        node.input[0] = "quantised"
        graph.node.insert(at, quant)

    checked = check(edited(float_file, tmp_path / "model.onnx", edit))
    assert checked.kind is Kind.QONNX
    assert not checked.passed
    assert any("import" in n for n in checked.notes)


def test_a_part_that_is_too_small_is_a_no_and_a_large_one_a_yes(qonnx_file, monkeypatch):
    checked = check(qonnx_file, PART)
    assert checked.passed and f"of {parts.get_part(PART).LUT:,} LUT" in "".join(summary(checked))
    tiny = parts.Part("xcsmall", "xcsmall", "UltraScale+", LUT=100, FF=200, DSP=1, BRAM36=1, URAM=0)
    monkeypatch.setattr(parts, "get_part", lambda name, own: tiny)
    checked = check(qonnx_file, "xcsmall")
    assert not checked.passed and not checked.rejections and "not together" not in summary(checked)[0]
    assert "but it does not fit xcsmall: needs" in summary(checked)[-1] and "of 100 LUT" in summary(checked)[-1]


def test_the_weights_of_a_float_file_are_compared_with_a_part(float_file):
    note = check(float_file, PART).notes[0]
    assert "weights of 8 bits take 0.3 Mb" in note
    assert "prune" not in note
    tiny = parts.Part("xcsmall", "xcsmall", "UltraScale+", LUT=100, FF=200, DSP=1, BRAM36=1, URAM=0)
    assert "prune" in hardware.notes(read(float_file).vit, tiny)[0]


def test_an_unknown_part_is_an_error_of_the_user(qonnx_file):
    with pytest.raises(UserError, match="unknown part"):
        check(qonnx_file, "xcnothing")


def test_what_check_promises_for_qonnx_build_keeps(small_build):
    assert check(small_build.model, PART).passed
    assert (small_build.folder / "stitched_ip").is_dir()


# --- exit code 0 is a promise ------------------------------------------------------------------------

ODD = {
    "5 blocks of 4 channels": dict(dim=20, heads=1, block=5),
    "2 heads of 11": dict(dim=22, heads=2, block=11),
    "heads of 1, single weights": dict(dim=8, heads=8, block=1),
    "49 tokens, mean": dict(image=14, drop_at=(), class_token=False, global_pool="avg"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", spread(ODD, 6))
@pytest.mark.parametrize("fps", sampled(["400000", "2000"], 1))
def test_a_file_of_odd_sizes_that_passes_is_built_to_hdl(tmp_path, case, fps):
    path = tmp_path / "model.onnx"
    random_vit(**ODD[case])[0].save(str(path))
    assert run(["check", str(path)]) == 0
    target = ["-o", str(tmp_path / "build"), "--fpga-part", PART, "--target-fps", fps, "--synth", "none"]
    assert run(["build", str(path), *target, "--stop-step", "step_hw_codegen"]) == 0
    tops = {p.stem.split("_rtl")[0] for p in (tmp_path / "build" / "hdl").rglob("*_rtl_*.v")}
    assert {"BlockSparseMVAU", "PrunedAttention", "VitLayerNorm", "VitLookup", "VitAdd"} <= tops


def test_what_maps_node_by_node_and_not_together_says_so(tmp_path, capsys):
    path = tmp_path / "model.onnx"
    random_vit(bits=3)[0].save(str(path))
    assert run(["check", str(path)]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "nodes map by themselves, but not together." in out
    assert "output codes are INT3, use INT4 or INT8" in out


def test_a_qonnx_file_that_does_not_run_does_not_pass(qonnx_file, tmp_path):
    def whole_numbers(graph):
        weight = next(t for t in graph.initializer if len(t.dims) == 2)
        array = np.rint(numpy_helper.to_array(weight)).astype(np.int64)
        weight.CopyFrom(numpy_helper.from_array(array, weight.name))

    checked = check(edited(qonnx_file, tmp_path / "model.onnx", whole_numbers))
    assert not checked.passed
    assert checked.rejections[0].reason.startswith("it does not run: ")


def test_nodes_of_one_name_are_no_fault_of_a_qonnx_file(qonnx_file, tmp_path):
    def one_name(graph):
        for node in graph.node:
            node.name = "same"

    assert check(edited(qonnx_file, tmp_path / "model.onnx", one_name)).passed


def test_a_float_file_whose_answer_is_always_the_same_does_not_pass(float_file, tmp_path):
    def empty(graph):
        for tensor in graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                zeros = np.zeros(list(tensor.dims), np.float32)
                tensor.CopyFrom(numpy_helper.from_array(zeros, tensor.name))

    checked = check(edited(float_file, tmp_path / "model.onnx", empty))
    assert "the same for two images" in checked.rejections[0].reason


def test_a_head_of_zeros_is_untrained_not_damaged(tmp_path):
    model = torchvision.models.VisionTransformer(64, 16, 2, 3, 24, 96, num_classes=5).eval()
    assert not model.heads.head.weight.any()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        path = export(model, tmp_path / "created.onnx")
        torch.nn.init.zeros_(model.conv_proj.weight)
        empty = export(model, tmp_path / "empty.onnx")
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    checked = check(path)
    assert checked.passed and checked.mapped == len(checked.rows)
    assert "the head is untrained" in checked.notes[0]
    assert "the weights are empty" in check(empty).rejections[0].reason


def test_a_part_of_a_file_is_taken_as_the_advice_says(qonnx_file, tmp_path, capsys):
    """`check` lacked the option that it told of."""
    assert run(["check", str(qonnx_file), "--fpga-part", "xcmine"]) == 2
    assert "check take others with --part-resources FILE" in capsys.readouterr().err
    parts = tmp_path / "parts.json"
    parts.write_text(json.dumps({"xcmine": {"LUT": 10**6, "FF": 2 * 10**6, "DSP": 9000, "BRAM36": 2000, "URAM": 900}}))
    assert run(["check", str(qonnx_file), "--fpga-part", "xcmine", "--part-resources", str(parts), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fit"]["part"] == "xcmine"


@pytest.mark.parametrize("options", [{"budget": Budget(LUT=0.5)}, {"shell": "xdma"}, {"part_resources": Path("parts.json")}])
def test_shares_of_no_part_are_refused(tmp_path, options):
    with pytest.raises(UserError, match="give --fpga-part too"):
        check(tmp_path / "model.onnx", **options)
