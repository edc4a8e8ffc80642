"""Pages of builds, finished, stopped and two at once, and of explorations, in a browser; what folders tell; pictures of builds and of models."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.records.story import page_of, story_of
from finn_vitprune.builds.records.tokens import TokenSample, sample_of_build
from finn_vitprune.built.record import command_of, facts_of, record_of
from finn_vitprune.cli import run
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.report.builds import grouped_tables
from finn_vitprune.report.drawing import WIDTH
from finn_vitprune.report.page import BuildStory
from finn_vitprune.report.part_picture import IN_ARRAY, LOOKS, group_of, looks_of
from finn_vitprune.report.summary import Summary
from finn_vitprune.report.token_picture import token_picture
from tests.browser import chromium, measured, needs_chromium, open_all, opened
from tests.conftest import PART
from tests.explored import explored_page
from tests.sampling import sampled
from tests.summaries import summary
from tests.vit_models import random_vit

pytestmark = pytest.mark.xdist_group("small_build")


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


LARGE, ENGINE = (
    Path("builds/results") / name for name in ("deit/deit_small_w8a8_summary.json", "deit_engines/w8a8_engine1_latency_summary.json")
)
PARTS = ["Network", "Checks", "Speed", "Resources", "Energy", "Cycles and lanes", "FIFOs", "Memories", "Node by node", "Time"]
END = ["What was built", "The graph", "How figures were found"]
PAGES = ["finished", "estimates", "failed", "two", "large", "engine", "explored", "explored without accuracy"]
WINDOWS = sorted(product(PAGES, (1280, 390)), key=lambda page: page not in (("large", 1280), ("finished", 390)))
"""Pages and widths, in pixels; those first that are opened always."""


class Pages(dict[str, Path]):
    """Files of pages by name, each written to ``folder`` when it is first asked for."""

    def __init__(self, folder: Path, written: Mapping[str, Callable[[], str]]):
        self.folder, self.written = folder, written

    def __missing__(self, name: str) -> Path:
        self[name] = self.folder / f"{name}.html"
        self[name].write_text(self.written[name]())
        return self[name]


@pytest.fixture(scope="module")
def pages(small_build, stopped, failed, tmp_path_factory) -> Pages:
    """The pages of :data:`PAGES`."""
    built = small_build.folder
    written = {
        "finished": partial(page_of, built), "estimates": partial(page_of, stopped), "failed": partial(page_of, failed),
        "two": partial(page_of, built, stopped), "large": partial(page_of, LARGE), "engine": partial(page_of, ENGINE),
        "explored": partial(explored_page, True), "explored without accuracy": partial(explored_page, False),
    }  # fmt: skip
    return Pages(tmp_path_factory.mktemp("pages"), written)


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@needs_chromium
@pytest.mark.parametrize("name, width", sampled(WINDOWS, 2, several=True))
def test_no_text_covers_another_and_no_line_strikes_a_label(pages, browser, name, width):
    """Folded and with every part open, in light and in dark; all is in the window, large enough and of enough contrast; four screens folded."""
    with opened(browser, pages[name], width) as page:
        folded = measured(page)
        assert width < 1280 or folded["height"] <= 4 * 900
        open_all(page)
        whole = measured(page)
        page.emulate_media(color_scheme="dark")
        for found in (folded, whole, measured(page)):
            wrong = {what: found[what] for what in ("overlaps", "covered", "struck", "small", "outside", "faint") if found[what]}
            assert not wrong and found["wide"] == width and found["texts"] > 20
    assert pages[name].stat().st_size < 5_000_000


@needs_chromium
def test_what_is_wrong_with_boxes_is_found(pages, browser, tmp_path):
    """Each measure finds a fault that is put in."""
    faults = {
        "overlaps": ("</main>", '<p style="position: absolute; top: 0; left: 9px">covers</p></main>'),
        "covered": ("</main>", '<div style="position: absolute; inset: 0; background: red"></div></main>'),
        "struck": ('role="img"', 'role="img" style="overflow: visible"><path d="M0 8H400" class="line"/><g '),
        "small": ("</main>", '<p style="font-size: 8px">small</p></main>'),
        "outside": ("</main>", '<p style="white-space: nowrap; width: 0">a word %s</p></main>' % ("and more " * 99)),
        "faint": ("</main>", '<p style="color: #ddd">faint</p></main>'),
    }  # fmt: skip
    for what, (place, fault) in faults.items():
        (tmp_path / "page.html").write_text(pages["large"].read_text().replace(place, fault, 1))
        with opened(browser, tmp_path / "page.html") as page:
            assert measured(page)[what], what


def texts_of(page, selector):
    return [" ".join(text.split()) for text in page.locator(selector).all_inner_texts()]


@needs_chromium
def test_what_a_page_says(pages, browser, small_build):
    with opened(browser, pages["finished"]) as page:
        assert texts_of(page, "details.part > summary") == [*PARTS, *END]
        assert texts_of(page, ".card h2") == ["Tokens that stay counted", "Where the time goes estimated", "Where the part goes estimated"]
        assert texts_of(page, ".tile dt")[:4] == ["fits estimated", "rate measured", "latency measured", "bits measured"]
        open_all(page)
        shown = " ".join(page.inner_text("body").split())
        assert "its RTL equals the integer network in every bit on 64 images" in shown and "Resources are only an estimate" in shown
        for word in (
            "model.onnx (SHA-256",
            "finn-vitprune build model.onnx --fpga-part",
            "digest of the design",
            "finn-plus",
            "netron build/",
            "encoder 1",
        ):
            assert word in shown, word
        for table in grouped_tables(Summary.load(small_build.folder))["Checks"]:
            assert not [cell for row in table.rows for cell in row if " ".join(cell.split()) not in shown]
    with opened(browser, pages["estimates"]) as page:
        assert texts_of(page, "details.part > summary")[:2] == ["Where it stopped", "Network"]
        assert texts_of(page, ".notice") == ["Only estimates: nothing was simulated or synthesised."]
        assert "measured" not in texts_of(page, ".tile .mark")
    with opened(browser, pages["failed"]) as page:
        assert texts_of(page, "details.part > summary") == ["Where it stopped", *END]
        assert "FIFO <f> is full" in page.inner_text("#where-it-stopped") and "did not run" in page.inner_text("#where-it-stopped")
    with opened(browser, pages["two"]) as page:
        assert texts_of(page, ".card h3") == ["build", "estimates"] * 3
        assert "→" in page.inner_text(".tiles") and texts_of(page, "details.part > summary")[:3] == [
            "Side by side",
            "What was built",
            "What differs",
        ]
        open_all(page)
        assert page.inner_text("#side-by-side").count("differs") >= 5


@needs_chromium
def test_the_tree_opens_sorts_and_filters(pages, browser):
    with opened(browser, pages["large"]) as page:
        names = lambda: texts_of(page, "#tree .tabulator-row .tabulator-cell[tabulator-field=name]")  # noqa: E731
        assert names() == [*(f"encoder {i}" for i in range(1, 13)), "outside encoders"]
        page.click('#tree .tabulator-col-title:has-text("LUT")')
        assert names()[:2] == ["encoder 1", "encoder 3"], "the largest first"
        page.click('svg [data-find="encoder 3 QKV"]')
        assert page.input_value("#tree-filter") == "encoder 3 QKV" and names() == ["encoder 3", "QKV"]
        page.fill("#tree-filter", "encoder 12")
        assert names()[0] == "encoder 12" and len(names()) > 20
        page.fill("#tree-filter", "nothing of the kind")
        assert names() == []
        page.click("#tree-close")
        assert len(names()) == 13
        page.hover('svg [data-find="encoder 3 QKV"]')
        assert "encoder 3, QKV: busy in 37,923 of 38,425 cycles an image" in page.inner_text("#tip")


@needs_chromium
def test_long_tables_are_there_when_their_part_is_opened(pages, browser):
    with opened(browser, pages["large"]) as page:
        page.click("#fifos > summary")
        rows = page.locator("#fifos .tabulator-row")
        rows.first.wait_for()
        assert "token embedding input FIFO" in rows.first.inner_text()
        page.click('#fifos .tabulator-col-title:has-text("deepest fill")')
        fills = [int(text.replace(",", "")) for text in texts_of(page, '#fifos .tabulator-row .tabulator-cell[tabulator-field="c4"]')[:5]]
        assert fills == sorted(fills, reverse=True) and fills[0] == max(n.fifo.fill for n in Summary.load(LARGE).nodes if n.fifo)


@needs_chromium
def test_designs_are_filtered_in_table_and_pictures_and_a_click_copies_the_commands(pages, browser):
    with opened(browser, pages["explored"], permissions=["clipboard-read", "clipboard-write"]) as page:
        points = page.locator(".point[data-design]:visible")
        assert points.count() == 2 * 48 and page.locator("#designs .tabulator-row").count() >= 18
        page.select_option("[data-field=part]", "ZCU104")
        assert points.count() == 2 * 12 and set(texts_of(page, "#designs .tabulator-row .tabulator-cell[tabulator-field=part]")) == {
            "ZCU104"
        }
        page.check("#only-best")
        assert 0 < points.count() < 24 and all(
            "★" in name for name in texts_of(page, "#designs .tabulator-row .tabulator-cell[tabulator-field=design]")
        )
        page.uncheck("#only-best")
        page.select_option("[data-field=part]", "")
        page.locator('.point[data-design="3"]').first.click()
        commands = page.inner_text("#commands")
        assert commands.count("\n") == 1 and "finn-vitprune import" in commands and "finn-vitprune build" in commands
        assert page.evaluate("navigator.clipboard.readText()") == commands and page.inner_text("#copied") == "The commands of 3 are copied."
        page.locator('.point[data-design="3"]').first.hover()
        assert "images/s" in page.inner_text("#tip") and "pipeline" in page.inner_text("#tip")
        page.locator("#designs .tabulator-row").nth(1).click()
        assert page.inner_text("#copied") == "The commands of 2 are copied."


@needs_chromium
def test_pages_without_scripts_have_their_pictures_and_figures(pages, browser):
    for name, words in (("large", ["7,847 images/s", "encoder 12", "SLR3"]), ("explored", ["images/s", "ZCU104", "finn-vitprune build"])):
        with opened(browser, pages[name], java_script_enabled=False) as page:
            assert page.locator("svg.drawing").count() >= 2 and page.locator("main table:visible").count() >= 1
            shown = page.content()
            assert not [word for word in words if word not in shown]


@needs_chromium
def test_pages_on_paper(pages, browser):
    """No table is cut off on A4 between margins of a centimetre."""
    for name in ("finished", "large", "explored"):
        with opened(browser, pages[name], 718) as page:
            page.emulate_media(media="print")
            page.evaluate("dispatchEvent(new Event('beforeprint'))")
            assert (
                page.evaluate(
                    "Math.max(...[...document.querySelectorAll('table, svg')].filter(e => e.checkVisibility()).map(e => e.getBoundingClientRect().right))"
                )
                <= 718
            ), name


def test_the_page_is_written_by_the_command(small_build, stopped, failed, tmp_path, capsys):
    a, b, c = (tmp_path / name for name in ("a.html", "b.html", "c.html"))
    assert run(["report", str(small_build.folder), "--html", str(a)]) == 0
    assert capsys.readouterr().out.splitlines()[-2].startswith(f"page: {a}")
    assert run(["report", str(small_build.folder), str(stopped), "--nodes", "--html", str(b)]) == 0
    text = capsys.readouterr().out
    assert "Cycles by node: what differs" in text and "What was built" in text
    assert run(["report", str(failed), "--full", "--html", str(c)]) == 0
    assert (
        "did not come to its summary" in (text := capsys.readouterr().out)
        and "! Stopped before the summary, after step_lower: nothing later is known." in text
    )
    assert a.read_text() == page_of(small_build.folder)
    assert "Where it stopped" in c.read_text() and not list(tmp_path.glob(".partial*"))


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
    assert (
        command_of({"model": "m.onnx", "steps": ["step_lower", "step_export_vivado"]})
        == "finn-vitprune build m.onnx --export vivado -o FOLDER"
    )


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


def test_words_for_what_is_on_a_picture():
    images = np.arange(2 * 32 * 32 * 3, dtype=np.uint8).reshape(2, 32, 32, 3)
    sample = TokenSample(images, np.zeros(2, int), np.array([0, 1]), np.array([1]), np.ones((1, 2, 16), bool), "")
    assert sample.lines == ["image 1: class 0, predicted 0, encoder 1 leaves 16 of 16 patches",
                            "image 2: class 1, predicted 0: wrong, encoder 1 leaves 16 of 16 patches"]  # fmt: skip


def test_a_picture_veils_the_dropped_patches_alone():
    mask = np.ones(16, bool)
    mask[[0, 5]] = False
    picture = token_picture("tokens-0", np.zeros((64, 64, 3), np.uint8), [(2, mask)], "words")
    (veil,) = re.findall(r'<path d="([^"]*)" class="veil"', picture)
    side = (WIDTH - 12) / 2
    corners = [tuple(map(float, corner.split())) for corner in re.findall(r"M([\d. ]+)h", veil)]
    assert corners == [(side + 12, 18), (round(side + 12 + side / 4, 1), round(18 + side / 4, 1))]
    assert "after encoder 2: 14 of 16" in picture and picture.count("data:image/jpeg;base64") == 1, "the photograph is there once"


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


def test_the_array_of_an_engine_has_a_place_in_the_key():
    """In that of the matrices that run on it."""
    s = Summary.load(Path("builds/results/deit_engines/w8a8_engine1_latency_summary.json"))
    node = next(node for node in s.nodes if node.role == "QKV")
    array = s.model_copy(update={"nodes": [node.model_copy(update={"layer": f"{node.place}, array and patch embedding"})]})
    assert group_of(node) == "QKV" and group_of(array.nodes[0]) == "array" and looks_of(array)["array"] == LOOKS["QKV"]
    assert looks_of(array).keys().isdisjoint(IN_ARRAY) and looks_of(s).keys() == LOOKS.keys() - {"array"}
