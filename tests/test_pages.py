"""Pages of builds, finished, stopped and two at once, in a browser; what folders tell; pictures of builds and of models."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from qonnx.core.modelwrapper import ModelWrapper
from vit_models import random_vit

from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.record import command_of, facts_of, record_of
from finn_vitprune.builds.story import story_of
from finn_vitprune.builds.tokens import TokenSample, sample_of_build
from finn_vitprune.cli import run
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.report.page import BuildStory, build_page, pair_page
from finn_vitprune.report.summary import Summary
from tests.conftest import PART
from tests.summaries import summary

pytestmark = pytest.mark.xdist_group("small_build")

PARTS = [
    "Model", "Tokens", "Checks", "Speed", "Resources", "Cycles and lanes", "FIFOs", "Memories", "Node by node", "Time", "The graph",
]  # fmt: skip
PROBE = """<script>addEventListener("load", () => {
  const seen = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, all = what => [...page.querySelectorAll(what)], root = page.documentElement;
    const words = all("svg text, td, th, dd, dt, p, li, h1, h2, h3").filter(e => e.textContent.trim());
    return {
      wide: root.scrollWidth, window: frame.clientWidth, headings: all("h2").map(e => e.textContent),
      pictures: all("svg title").map(e => e.textContent), text: root.innerText,
      smallest: Math.min(...words.map(e => parseFloat(getComputedStyle(e).fontSize) * (e.getScreenCTM ? Math.hypot(e.getScreenCTM().a, e.getScreenCTM().b) : 1))),
      hidden: words.filter(e => !e.getClientRects().length).length,
      widest: Math.max(0, ...all("table, svg").map(e => e.getBoundingClientRect().right)),
      notScrolled: all("table, svg").filter(e => e.getBoundingClientRect().right > innerWidth && !e.closest(".wide")).length,
    };
  });
  document.body.replaceChildren(Object.assign(document.createElement("pre"), {textContent: JSON.stringify(seen)}));
});</script>"""


def in_browser(folder, width, pages):
    """What a browser of this width shows of each page."""
    frames = "".join(f'<iframe style="border: 0; width: {width}px; height: 900px" srcdoc="{html.escape(page)}"></iframe>' for page in pages)
    (folder / "probe.html").write_text(f'<!DOCTYPE html><meta charset="utf-8"><body style="margin: 0">{frames}{PROBE}')
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile", f"--window-size={width},900", "--dump-dom"]
    shown = subprocess.run([*command, f"file://{folder}/probe.html"], capture_output=True, text=True, timeout=300).stdout
    return json.loads(html.unescape(re.search(r"<pre>(.*)</pre>", shown, re.DOTALL)[1]))


@pytest.fixture(scope="module")
def stopped(small_build, tmp_path_factory):
    """A folder of estimates alone."""
    folder = tmp_path_factory.mktemp("stopped") / "estimates"
    build(BuildOptions(model=small_build.model, output_dir=folder, fpga_part="ZCU104", target_fps=100_000, estimate_only=True))
    return folder


@pytest.fixture(scope="module")
def failed(small_build, tmp_path_factory):
    """A folder of a build that stopped before its summary, with an error in its log."""
    folder = tmp_path_factory.mktemp("failed") / "build"
    build(BuildOptions(model=small_build.model, output_dir=folder, fpga_part="ZCU104", stop_step="step_lower"))
    with (folder / "build_dataflow.log").open("a") as log:
        log.write("ERROR:FINN ERROR: deadlock: FIFO <f> is full\n")
    return folder


@pytest.fixture(scope="module")
def pages(small_build, stopped, failed):
    """Of a finished build, of estimates, of a failed build, and of the first two side by side."""
    summaries, stories = (Summary.load(small_build.folder), Summary.load(stopped)), (story_of(small_build.folder), story_of(stopped))
    return [
        build_page("finished", summaries[0], stories[0]), build_page("estimates", summaries[1], stories[1]),
        build_page("failed", None, story_of(failed)), pair_page("two", ("a", "b"), summaries, stories),
    ]  # fmt: skip


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_in_a_browser(pages, tmp_path, width):
    """Nothing is wider than the window but what scrolls in its place, all of it is legible, and all of it is there."""
    whole, early, none, two = found = in_browser(tmp_path, width, pages)
    for page in found:
        assert page["wide"] <= page["window"] == width and not page["notScrolled"] and not page["hidden"]
        assert page["smallest"] >= 8.9
    assert whole["headings"] == ["At a glance", "What was built", "How figures were found", *PARTS]
    pictures = ["Patches left after each token drop", f"Resources against {PART} (estimated)", "Cycles of the units against the interval"]
    assert whole["pictures"] == [*pictures, "Deepest fill of the FIFOs", "What fills the memories (estimated)"]
    words = ["model.onnx (SHA-256", "finn-vitprune build model.onnx --fpga-part", "digest of the design", "finn-plus", "encoder 1, projection",
             "netron ", "64 images", "0.0", "beats that the FIFO held at most"]  # fmt: skip
    assert [w for w in words if w not in whole["text"]] == []
    assert early["headings"] == ["At a glance", "What was built", "How figures were found", "Where it stopped", *PARTS]
    assert "stopped after step_check_part" in early["text"] and "not measured" in early["text"] and "measured" not in early["pictures"]
    assert none["headings"] == ["What was built", "How figures were found", "Where it stopped", "Tokens", "The graph"]
    assert "FIFO <f> is full" in none["text"] and "did not run" in none["text"]
    assert {"Side by side", "What was built", "What differs", "Pictures of a", "Pictures of b"} <= set(two["headings"])
    assert two["text"].count("differs") > 10 and " → " in two["text"]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium")
def test_pages_on_paper(pages, tmp_path):
    """No table is cut off on A4 between margins of a centimetre (the rules for paper stand for all media here)."""
    large = build_page("large", Summary.load("builds/results/deit/deit_small_w8a8_summary.json"), BuildStory())
    for page in in_browser(tmp_path, 718, [page.replace("@media print", "@media all") for page in (*pages, large)]):
        assert page["wide"] <= page["window"] and page["widest"] <= 718


def test_the_page_is_written_by_the_command(small_build, stopped, failed, tmp_path, capsys):
    a, b, c = (tmp_path / name for name in ("a.html", "b.html", "c.html"))
    assert run(["report", str(small_build.folder), "--html", str(a)]) == 0
    assert run(["report", str(small_build.folder), str(stopped), "--nodes", "--html", str(b)]) == 0
    text = capsys.readouterr().out
    assert "Cycles by node: what differs" in text and "stopped after step_check_part" in text and "What was built" in text
    assert run(["report", str(failed), "--html", str(c)]) == 0
    assert "did not come to its summary" in capsys.readouterr().out
    assert a.read_text() == build_page(f"finn-vitprune: {small_build.folder}", Summary.load(small_build.folder), story_of(small_build.folder))
    assert a.stat().st_size < 300_000 and "Where it stopped" in c.read_text() and not list(tmp_path.glob(".partial*"))


# --- what a folder tells -------------------------------------------------------------------------


def test_the_command_of_a_record_asks_for_the_same_build(small_build):
    record = record_of(small_build.folder)
    assert command_of(record.options) == (
        f"finn-vitprune build model.onnx --fpga-part {PART} --clk-ns 4.0 --target-fps 200000 --images model.npz --synth none -o build"
    )
    given = {"model": "a b.onnx (SHA-256 0123)", "encoders_per_engine": [3, 4], "reserve": ["x.onnx (SHA-256 0f)", "y.onnx (SHA-256 0e)", "dense"],
             "loadable": True, "budget": "LUT=0.5,DSP=0.8,BRAM=0.8,URAM=0.8", "seed": 0, "output_dir": "/x/o"}  # fmt: skip
    assert command_of(given) == (
        "finn-vitprune build 'a b.onnx' --encoders-per-engine 3,4 --loadable --reserve x.onnx --reserve y.onnx --reserve dense "
        "--budget LUT=0.5,DSP=0.8,BRAM=0.8,URAM=0.8 -o o"
    )
    assert command_of({"model": "m.onnx", "steps": ["step_lower", "step_export_vivado"]}) == "finn-vitprune build m.onnx --export vivado -o FOLDER"


def test_facts_have_versions_and_the_digest_of_the_design(small_build):
    facts = facts_of(small_build.folder)
    design = json.loads((small_build.folder / "stitched_ip" / "design.json").read_text())
    assert facts["digest of the design"] == design["digest"] and "finn-plus" in facts["versions"] and "stopped" not in facts


@pytest.fixture
def copied(small_build, tmp_path):
    """A copy of a finished build, to damage."""
    return Path(shutil.copytree(small_build.folder, tmp_path / "build"))


def report_of(capsys, *words) -> str:
    """What ``report`` says of what it refuses, in a line."""
    assert run(["report", *map(str, words)]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and not said.out
    return said.err


def test_a_summary_that_was_edited_is_not_shown_as_true(copied, tmp_path, capsys):
    path = copied / "report" / "vitprune_summary.json"
    assert run(["report", str(copied)]) == 0
    capsys.readouterr()
    path.write_text(path.read_text().replace('"rtl_mismatches": 0', '"rtl_mismatches": 5'))
    refused = f"{path} is not as the build wrote it: build again"
    for source in (copied, path):
        assert refused in report_of(capsys, source)
    assert refused in report_of(capsys, copied, copied) and refused in report_of(capsys, copied, "--json")
    assert run(["picture", str(copied), "-o", str(tmp_path / "x.png"), "--what", "cycles"]) == 2
    with pytest.raises(UserError, match="is not as the build wrote it"):
        Summary.load(copied)
    shutil.copy(path, tmp_path / "kept.json")
    assert run(["report", str(tmp_path / "kept.json")]) == 0
    (copied / "build_record.json").unlink()
    assert run(["report", str(copied)]) == 0 and "5" in capsys.readouterr().out


@pytest.mark.parametrize("damage", [
    lambda data: b"", lambda data: data[:-100], lambda data: b"[1]", lambda data: b'"x"', lambda data: b"[" * 100_000, lambda data: b"\xff",
    lambda data: b"{}", lambda data: b'{"digest": 3}', lambda data: data.replace(b"silent_cycles", b"Silent_cycles"),
])  # fmt: skip
def test_a_damaged_design_is_one_line_of_report_as_of_simulate(copied, damage, capsys):
    path = copied / "stitched_ip" / "design.json"
    path.write_bytes(damage(path.read_bytes()))
    np.save(copied / "x.npy", np.zeros((1, 8, 8, 1), np.uint8))
    assert run(["simulate", str(copied), "--images", str(copied / "x.npy"), "-o", str(copied / "y.npy")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert f"{path} is not as the build wrote it: build again" in report_of(capsys, copied)
    record = json.loads((copied / "build_record.json").read_text())
    for step in record["steps"].values():
        step["files"].pop("stitched_ip/design.json", None)  # as after a build that was killed
    (copied / "build_record.json").write_text(json.dumps(record))
    if b"Silent" not in path.read_bytes():
        said = report_of(capsys, copied)
        assert "design.json is not as the build wrote it" in said or "design.json is not JSON" in said


def test_kept_images_that_changed_are_not_shown(copied, tmp_path, capsys):
    with (copied / "report" / "tokens.npz").open("ab") as file:
        file.write(b"more")
    assert run(["picture", str(copied), "-o", str(tmp_path / "x.png"), "--what", "tokens"]) == 2
    assert "tokens.npz is not as the build wrote it: build again" in capsys.readouterr().err


def test_a_summary_that_is_a_file_has_no_story():
    assert story_of(Path("builds/results/deit/deit_small_w8a8_summary.json")) == BuildStory()


# --- tokens --------------------------------------------------------------------------------------


def test_a_build_keeps_images_with_the_patches_that_its_scores_leave(small_build):
    """Against the graph of the build itself, ranked in plain Python: one drop, of 16 patches behind the class token."""
    sample = sample_of_build(small_build.folder)
    model = ModelWrapper(str(small_build.folder / "intermediate_models" / "step_lower.onnx"))
    tensors = golden.run(model, {model.graph.input[0].name: sample.images})
    (drop,) = model.get_nodes_by_op_type("VitTokenDrop")
    scores = tensors[drop.input[1]][..., 0]
    for f, row in enumerate(scores):
        best = sorted(range(1, 17), key=lambda i: (-row[i], i))[:8]
        assert np.flatnonzero(sample.left[0, f]).tolist() == sorted(i - 1 for i in best)
    places = [np.flatnonzero((small_build.images == image).all((1, 2, 3))) for image in sample.images]
    assert len(places) == 8 and all(len(p) == 1 for p in places)
    logits = np.load(small_build.folder / "verification_output" / "rtl_logits.npy").reshape(64, -1)
    assert sample.predicted.tolist() == [int(logits[p[0]].argmax()) for p in places], "the RTL predicts the same"
    assert sample.encoders.tolist() == [1] and sample.labels is None and "8 of 64 images" in sample.source


def test_large_images_are_shown_smaller():
    images = np.arange(2 * 32 * 32 * 3, dtype=np.uint8).reshape(2, 32, 32, 3)
    sample = TokenSample(images, np.zeros(2, int), np.array([0, 1]), np.array([1]), np.ones((1, 2, 16), bool), "")
    small = sample.smaller(16)
    assert small.images.shape == (2, 16, 16, 3) and small.images[0, 0, 0, 0] == int(images[0, :2, :2, 0].mean())
    assert sample.smaller(32).images is not None and (sample.smaller(32).images == images).all()
    assert sample.lines == ["image 1: class 0, predicted 0, encoder 1 leaves 16 of 16 patches",
                            "image 2: class 1, predicted 0: wrong, encoder 1 leaves 16 of 16 patches"]  # fmt: skip


def test_pictures_of_tokens_of_a_build_and_of_its_model(small_build, tmp_path):
    """All images of a build are among those of the model: the same picture."""
    a, b, c = (tmp_path / f"{name}.png" for name in "abc")
    assert run(["picture", str(small_build.folder), "--what", "tokens", "-o", str(a)]) == 0
    assert run(["picture", str(small_build.model), "--what", "tokens", "-o", str(b)]) == 0
    assert run(["picture", str(small_build.folder), "--what", "tokens", "--max-images", "3", "-o", str(c)]) == 0
    assert a.read_bytes() == b.read_bytes() != c.read_bytes()


def one_line(capsys, *arguments):
    assert run(["picture", *map(str, arguments)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def test_what_there_is_no_picture_of_is_one_line(small_build, stopped, tmp_path, capsys):
    out = ("-o", tmp_path / "new" / "a.png", "--what")
    assert "is a build: use tokens, cycles, resources, fifos, memory" in one_line(capsys, small_build.folder, *out, "masks")
    assert "is a model: use tokens" in one_line(capsys, small_build.model, *out, "memory")
    assert "has 8 images, use 1 to 8" in one_line(capsys, small_build.folder, *out, "tokens", "--max-images", "9")
    assert "model.npz has 64 images, use 1 to 64" in one_line(capsys, small_build.model, *out, "tokens", "--max-images", "65")
    assert "--what fifos: this build has none of it" in one_line(capsys, stopped, *out, "fifos")
    summary(pruned=True).save(tmp_path / "old")
    assert "keeps no images" in one_line(capsys, tmp_path / "old", *out, "tokens")
    lonely = tmp_path / "lonely.onnx"
    lonely.write_bytes(small_build.model.read_bytes())
    assert f"no images at {tmp_path}/lonely.npz" in one_line(capsys, lonely, *out, "tokens")
    model, _ = random_vit(image=8, depth=1)
    model.save(str(lonely))
    np.savez(tmp_path / "lonely.npz", images=np.zeros((2, 8, 8, 1), np.uint8))
    assert "lonely.onnx has no token drop" in one_line(capsys, lonely, *out, "tokens")
    damaged = tmp_path / "damaged"
    summary(pruned=True).save(damaged)
    (damaged / "report" / "tokens.npz").write_bytes(b"no zip")
    assert "tokens.npz is damaged" in one_line(capsys, damaged, *out, "tokens")
    assert not (tmp_path / "new").exists()
