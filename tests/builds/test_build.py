"""The build as a whole, on a small random network: what it verifies, writes, resumes and rejects."""

import json
import time

import numpy as np
import pytest
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune import numerics
from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.images import to_patches
from finn_vitprune.builds.simulate import simulate, simulated_run
from finn_vitprune.builds.stitched.accelerator import RtlAccelerator
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.labels import draw
from finn_vitprune.options.build import BuildSettings
from finn_vitprune.report.summary import Summary
from finn_vitprune.sim import Stimulus
from finn_vitprune.sim.contents import Contents
from tests.conftest import PART
from tests.vit_models import random_vit

pytestmark = pytest.mark.xdist_group("small_build")


def model_of(built, step):
    return ModelWrapper(str(built.folder / "intermediate_models" / f"{step}.onnx"))


def accelerator_of(built):
    return model_of(built, "step_stitch"), RtlAccelerator(StitchedDesign.load(built.folder / "stitched_ip"))


def patches_of(built, pixels):
    return to_patches(model_of(built, "dataflow_parent"), pixels)


def test_rtl_equals_the_hardware_graph_on_all_images_and_streams(small_build):
    report = json.loads((small_build.folder / "report" / "rtl_verification.json").read_text())
    assert report["images"] == 64 and report["stalled_images"] == 72 and report["traced_images"] == 4
    assert report["traced_streams"] > 25
    assert report["rtl_mismatches"] == 0 and report["class_changes"] == 0 and report["saturations"] == 0


def test_slowest_node_predicts_the_measured_interval_within_two_percent(small_build):
    summary = Summary.load(small_build.folder)
    estimates = json.loads((small_build.folder / "report" / "estimate_layer_cycles.json").read_text())
    assert summary.rtlsim.frames >= 6
    assert summary.rtlsim.interval_cycles == pytest.approx(max(estimates.values()), rel=0.02)
    assert summary.rtlsim.fps == pytest.approx(1e9 / (summary.rtlsim.clk_ns * summary.rtlsim.interval_cycles))


def kept_sets(model, tensors):
    """NumPy's kept tokens, ``[F, N]``, from the golden scores at the token drop."""
    node = model.get_nodes_by_op_type("VitTokenDrop_rtl")[0]
    scores = tensors[node.input[1]][..., 0]
    return numerics.rank_tokens(scores, getCustomOp(node).get_nodeattr("k")), node


@pytest.mark.parametrize("simulation", [
    pytest.param("whole", id="in one piece"), pytest.param("units", marks=pytest.mark.whole, id="unit by unit"),
])  # fmt: skip
def test_a_frame_check_passes_right_images(small_build, tmp_path, simulation):
    """The same bits and interval behind it, one cycle later; in one piece TLAST comes with every image."""
    settings = BuildSettings(synth="none", max_images=4, frame_check="frame", simulation=simulation)
    folder = tmp_path / "b"
    build(BuildOptions(model=small_build.model, output_dir=folder, fpga_part=PART, target_fps=200_000, **dict(settings)))
    checked = Summary.load(folder)
    design = StitchedDesign.load(folder / "stitched_ip")
    assert design.frame_check and design.units[0].name == "VitFrameCheck_rtl_0"
    assert checked.verify.rtl_mismatches == 0 and checked.verify.images == 4
    with_check, plain = (simulated_run(place, small_build.images[:1], simulation=simulation) for place in (folder, small_build.folder))
    assert with_check.latency_cycles == plain.latency_cycles + 1


def test_token_drop_is_dynamic_and_the_rtl_keeps_what_numpy_keeps(small_build):
    model, accelerator = accelerator_of(small_build)
    patches = patches_of(small_build, small_build.images[:16])
    tensors = golden.run(model, {model.graph.input[0].name: patches})
    keep, node = kept_sets(model, tensors)
    assert len({k.tobytes() for k in keep}) > 4, "the images must differ in what they keep"
    run = accelerator.run(patches, traced=len(patches))
    rows_in = run.trace(node.input[0])
    after = next(e.tensor for e in accelerator.design.edges if e.producer == node.name)
    rows_out = run.trace(after)
    for frame in range(len(patches)):
        position, kept = 0, []
        for row in rows_out[frame][:-1]:
            position += int(np.argmax((rows_in[frame][position:] == row).all(axis=1)))
            kept.append(position)
            position += 1
        assert kept == np.flatnonzero(keep[frame]).tolist()


def test_interval_does_not_depend_on_which_tokens_are_kept(small_build):
    model, accelerator = accelerator_of(small_build)
    rng = np.random.default_rng(1)
    pool = rng.integers(0, 256, (600, 8, 8, 1), dtype=np.uint8)
    patches = patches_of(small_build, pool)
    keep, _ = kept_sets(model, golden.run(model, {model.graph.input[0].name: patches}))
    order = keep[:, 1:].astype(float)
    n = order.shape[1]
    alternating = np.abs(order[:, 1:] - order[:, :-1]).sum(-1)
    picks = {
        "first": int(np.argmin(order @ np.arange(n))),
        "last": int(np.argmax(order @ np.arange(n))),
        "alternating": int(np.argmax(alternating)),
    }
    intervals = {name: accelerator.run(np.repeat(patches[i : i + 1], 10, axis=0)).interval_cycles for name, i in picks.items()}
    intervals["random"] = accelerator.run(patches[:24]).interval_cycles
    assert max(intervals.values()) <= 1.01 * min(intervals.values()), intervals


@pytest.mark.parametrize("seed", [1, 2])
def test_pauses_stalls_and_reset_change_no_bit(small_build, seed):
    model, accelerator = accelerator_of(small_build)
    patches = patches_of(small_build, small_build.images[:6])
    want = golden.run(model, {model.graph.input[0].name: patches})[model.graph.output[0].name].reshape(6, -1)
    for stimulus in (
        Stimulus(seed, pause=0.6, stall=0.2),
        Stimulus(seed, pause=0.1, stall=0.7, burst=40),
        Stimulus(seed, pause=0.2, stall=0.2, reset_at=3000),
    ):
        assert np.array_equal(accelerator.run(patches, stimulus).logits, want)


def test_simulate_gives_the_same_logits_as_the_build(small_build):
    logits = simulate(small_build.folder, small_build.images[:5])
    assert np.array_equal(logits, np.load(small_build.folder / "verification_output" / "rtl_logits.npy")[:5])
    with pytest.raises(UserError, match="pixels are uint8"):
        simulate(small_build.folder, small_build.images[:2].astype(np.float32))
    with pytest.raises(UserError, match=r"takes \[frames, 8, 8, 1\]"):
        simulate(small_build.folder, np.zeros((2, 9, 9, 1), np.uint8))


def test_finn_executes_the_stitched_rtl_itself(small_build):
    from finn.core.onnx_exec import execute_onnx

    model = model_of(small_build, "step_stitch")
    model.set_metadata_prop("exec_mode", "rtlsim")
    patches = patches_of(small_build, small_build.images[:1]).astype(np.float32)
    out = execute_onnx(model, {model.graph.input[0].name: patches})[model.graph.output[0].name]
    want = np.load(small_build.folder / "verification_output" / "rtl_logits.npy")[0]
    assert np.array_equal(out.reshape(-1), want)


def test_build_leaves_what_finn_users_expect(small_build):
    folder = small_build.folder
    for name in (
        "auto_folding_config.json",
        "final_hw_config.json",
        "report/estimate_layer_resources.json",
        "report/op_and_param_counts.json",
        "report/rtlsim_performance.json",
        "report/time_per_step.json",
        "intermediate_models/step_lower.onnx",
        "build_dataflow.log",
        "stitched_ip/finn_design.v",
    ):
        assert (folder / name).is_file(), name
    assert "vivado" not in json.dumps(json.loads((folder / "report" / "rtlsim_performance.json").read_text())).lower()


def test_start_step_resumes_and_folding_file_is_taken(small_build, tmp_path):
    options = BuildOptions(
        model=small_build.model,
        output_dir=tmp_path / "b",
        fpga_part="xcu250-figd2104-2L-e",
        folding=small_build.folder / "auto_folding_config.json",
        stop_step="step_check_part",
        synth="none",
    )
    build(options)
    cycles = "report/estimate_layer_cycles.json"
    assert json.loads((tmp_path / "b" / cycles).read_text()) == json.loads((small_build.folder / cycles).read_text())
    build(options.changed(start_step="step_hw_codegen", stop_step="step_stitch"))
    assert (tmp_path / "b" / "stitched_ip" / "finn_design.v").is_file()
    with pytest.raises(UserError, match=r"--start-step step_x is unknown: did you mean step_fold\?"):
        build(options.changed(start_step="step_x"))


def test_residual_fifo_too_small_is_a_named_deadlock(small_build, tmp_path):
    folding = json.loads((small_build.folder / "final_hw_config.json").read_text())
    keys = ("SIMD", "PE", "TOKENS", "LANES", "in_width", "out_width")
    hand = {n: {k: v for k, v in a.items() if k in keys} for n, a in folding.items() if not n.startswith(("VitFIFO", "VitWidthConverter"))}
    hand["VitAdd_rtl_0"]["inFIFODepths"] = [8, 8]
    (tmp_path / "folding.json").write_text(json.dumps(hand))
    options = BuildOptions(
        model=small_build.model,
        output_dir=tmp_path / "b",
        fpga_part="xcu250-figd2104-2L-e",
        folding=tmp_path / "folding.json",
        stop_step="step_stitch",
        synth="none",
    )
    build(options)
    accelerator = RtlAccelerator(StitchedDesign.load(tmp_path / "b" / "stitched_ip"))
    patches = patches_of(small_build, small_build.images[:4])
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        accelerator.run(patches)
    assert time.monotonic() - started < 10
    text = str(caught.value)
    assert "deadlock" in text and "VitAdd_rtl_0" in text and "VitFork_rtl_0" in text and "depth 8" in text
    assert "PrunedAttention_rtl_0" in text


def test_wrong_input_is_one_clear_line(tmp_path):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"this is not a model")
    options = BuildOptions(model=bad, output_dir=tmp_path / "b", fpga_part="xcu250-figd2104-2L-e")
    with pytest.raises(UserError, match="is not an ONNX file"):
        build(options)
    with pytest.raises(UserError, match="nothing.onnx: no such file"):
        build(options.changed(model=tmp_path / "nothing.onnx"))
    with pytest.raises(UserError, match="^--mac-style fpga is unknown: use portable, dsp48e2, lut$"):
        build(options.changed(model=None, mac_style="fpga"))
    with pytest.raises(UserError, match="^--shell shel is unknown: use none or xdma$"):
        build(options.changed(model=None, shell="shel"))
    assert not (tmp_path / "b").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="does not hold a build of this version"):
        build(options.changed(model=None, output_dir=tmp_path / "mine"))
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_unknown_op_is_refused_before_anything_is_written(small_build, tmp_path):
    model = ModelWrapper(str(small_build.model))
    node = next(n for n in model.graph.node if n.op_type == "Gelu")
    node.op_type, node.domain = "Swish", "some.where"
    model.save(str(tmp_path / "swish.onnx"))
    with pytest.raises(UserError, match=rf"node {node.name} \(Swish\) does not map to hardware: operator Swish of domain some.where"):
        build(BuildOptions(model=tmp_path / "swish.onnx", output_dir=tmp_path / "b", fpga_part="xcu250-figd2104-2L-e"))
    assert not (tmp_path / "b").exists()


def matrix_units(folder, step):
    model = ModelWrapper(str(folder / "intermediate_models" / f"{step}.onnx"))
    return [getCustomOp(node) for node in model.get_nodes_by_op_type("BlockSparseMVAU_rtl")]


@pytest.mark.whole
def test_four_bit_weights_and_activations_build_bit_exact(tmp_path):
    model, images = random_vit(image=4, depth=2, drop_at=(1,), bits=4)
    model.save(str(tmp_path / "four.onnx"))
    np.savez(tmp_path / "four.npz", images=images)
    folder = build(
        BuildOptions(
            model=tmp_path / "four.onnx", output_dir=tmp_path / "b", fpga_part="xcu250-figd2104-2L-e", target_fps=400_000, synth="none"
        )
    )
    summary = Summary.load(folder)
    assert summary.verify.images == 16 and summary.verify.rtl_mismatches == 0
    units = matrix_units(folder, "step_stitch")
    assert {u.get_nodeattr("weightDataType") for u in units} == {"INT4"}
    assert "INT4" in {u.get_nodeattr("inputDataType") for u in units}


@pytest.mark.whole
def test_products_in_dsp48e2_cascades_build_bit_exact(small_build, tmp_path):
    options = BuildOptions(
        model=small_build.model,
        output_dir=tmp_path / "b",
        fpga_part="xcu250-figd2104-2L-e",
        target_fps=400_000,
        synth="none",
        mac_style="dsp48e2",
        max_images=12,
    )
    folder = build(options)
    summary = Summary.load(folder)
    assert summary.verify.images == 12 and summary.verify.rtl_mismatches == 0
    units = matrix_units(folder, "step_stitch")
    assert {u.get_nodeattr("mac_style") for u in units} == {"dsp48e2"}
    assert max(u.fold().mac.chain for u in units) > 1
    folding = json.loads((folder / "final_hw_config.json").read_text())
    assert folding[units[0].onnx_node.name]["mac_style"] == "dsp48e2"


def test_folding_file_overrides_the_body_of_the_products(small_build, tmp_path):
    file = tmp_path / "folding.json"
    config = json.loads((small_build.folder / "auto_folding_config.json").read_text())
    units = [name for name in config if name.startswith("BlockSparseMVAU")]
    for name in units:
        config[name]["mac_style"] = "lut" if name == units[0] else "portable"
    file.write_text(json.dumps(config))
    folder = build(
        BuildOptions(
            model=small_build.model,
            output_dir=tmp_path / "b",
            fpga_part="xcu250-figd2104-2L-e",
            folding=file,
            estimate_only=True,
            synth="none",
            mac_style="dsp48e2",
        )
    )
    styles = [u.get_nodeattr("mac_style") for u in matrix_units(folder, "step_apply_folding_config")]
    assert styles[0] == "lut" and set(styles[1:]) == {"portable"}


def with_ultraram(folding, path, count):
    """A copy of a folding file in which the first ``count`` matrix units have their weights in UltraRAM."""
    config = json.loads(folding.read_text())
    names = [name for name in config if name.startswith("BlockSparseMVAU")][:count]
    for name in names:
        config[name]["ram_style"] = "ultra"
    path.write_text(json.dumps(config))
    return names


@pytest.mark.whole
def test_weights_in_ultraram_build_bit_exact_and_leave_their_contents(small_build, tmp_path):
    names = with_ultraram(small_build.folder / "auto_folding_config.json", tmp_path / "folding.json", 2)
    folder = build(
        BuildOptions(
            model=small_build.model,
            output_dir=tmp_path / "b",
            fpga_part="xcu250-figd2104-2L-e",
            folding=tmp_path / "folding.json",
            synth="none",
            max_images=12,
        )
    )
    report = json.loads((folder / "report" / "rtl_verification.json").read_text())
    assert report["images"] == 12 and report["rtl_mismatches"] == 0
    plain = np.load(small_build.folder / "verification_output" / "rtl_logits.npy")
    assert np.array_equal(np.load(folder / "verification_output" / "rtl_logits.npy"), plain[draw(64, 12, seed=0)])
    summary, before = Summary.load(folder), Summary.load(small_build.folder)
    later = summary.rtlsim.latency_cycles - before.rtlsim.latency_cycles
    assert 2 <= later <= 2 + len(names), "load port and end; cycles count from the end of loading; a read of LUTRAM takes one less"
    assert sum(n.URAM for n in summary.resources.per_node) >= 2
    contents = Contents.load(folder / "runtime_weights")
    assert [region.unit for region in contents.regions] == names and contents.port == "s_axilite_0"
    assert np.array_equal(contents.words, Contents.load(folder / "stitched_ip").words)
    assert np.array_equal(simulate(folder, small_build.images[:2]), plain[:2])
    assert json.loads((folder / "final_hw_config.json").read_text())[names[0]]["ram_style"] == "ultra"


def test_ultraram_on_a_part_without_is_one_line(small_build, tmp_path):
    with_ultraram(small_build.folder / "auto_folding_config.json", tmp_path / "folding.json", 1)
    with pytest.raises(UserError, match="folding.json: part xczu3eg-sbva484-1-e has no UltraRAM for the weights of node BlockSpa"):
        build(
            BuildOptions(
                model=small_build.model,
                output_dir=tmp_path / "b",
                fpga_part="xczu3eg-sbva484-1-e",
                folding=tmp_path / "folding.json",
                synth="none",
                max_images=4,
            )
        )
