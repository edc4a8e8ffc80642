"""``evaluate``: the accuracy of the accelerator's integers, on data as people have it, resumable, and refused where it does not fit."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files

import numpy as np
import onnx
import pytest
from PIL import Image
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.evaluate import evaluate
from finn_vitprune.builds.networks import contents_of, network_file
from finn_vitprune.built.evaluation import evaluation_of
from finn_vitprune.cli import run as cli
from finn_vitprune.errors import UserError
from finn_vitprune.evaluation import run
from finn_vitprune.evaluation.sources import NetworkShape, read_source
from finn_vitprune.execute import golden
from finn_vitprune.options.build import BuildSettings
from finn_vitprune.options.evaluate import EvaluateOptions
from finn_vitprune.report.accuracy import card_table
from finn_vitprune.report.scores import ranks, score
from finn_vitprune.report.summary import Summary
from finn_vitprune.training.data import load_dataset
from finn_vitprune.transforms.lowering.lower import lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from tests.vit_models import random_vit

EXAMPLE = files("finn_vitprune.builds") / "example"
DIGITS = EXAMPLE / "deit_digits.onnx"
GREY = NetworkShape(8, 8, 1, 10)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FINN_VITPRUNE_CACHE", str(tmp_path / "cache"))


def of_digits(**options):
    return evaluate(EvaluateOptions(target=DIGITS, **{"data": "digits", "jobs": 1, **options}))


def write_folder(root, classes=10, each=2, names=None):
    """Grey images, a folder for each class."""
    rng = np.random.default_rng(0)
    for c in range(classes):
        folder = root / (names[c] if names else f"c{c}")
        folder.mkdir(parents=True)
        for i in range(each):
            Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{i}.png")
    return root


def test_the_accuracy_is_that_of_the_golden_models():
    found, data = of_digits(), load_dataset("digits")
    model = lower(ModelWrapper(str(DIGITS))).model.transform(TidyLowered())
    logits = golden.run(model, {model.graph.input[0].name: data.test_images})[model.graph.output[0].name].reshape(len(data.test_images), -1)
    right = logits.argmax(1) == data.test_labels
    assert found.accuracy == right.mean() and found.images == 360 and found.agreement is None
    order = np.argsort(-logits, axis=1, kind="stable")
    assert found.accuracy_top5 == np.mean([label in top for label, top in zip(data.test_labels, order[:, :5])])
    assert {row.label: row.accuracy for row in found.classes} == {c: right[data.test_labels == c].mean() for c in range(10)}
    assert found.model.weight_bits == 8 and found.model.block_keep == 0.5


def test_a_top_5_counts_equal_logits_as_argmax_does():
    logits = np.array([[3, 3, 1, 0], [0, 5, 5, 5]])
    assert ranks(logits, np.array([1, 3])).tolist() == [1, 2]


def test_scores_beside_a_reference():
    logits, reference = np.array([[1.0, 0, 0], [0, 1, 0]]), np.array([[2.0, 0, 0], [0, 0, 1]])
    found = score(logits, np.array([0, 1]), reference, ["a", "b"])
    assert (found.agreement, found.accuracy, found.accuracy_float, found.cosine, found.cosine_worst) == (0.5, 1.0, 0.5, 0.5, 0.0)
    assert found.worst[0].image == "b" and found.accuracy_top5 is None


def test_two_processes_give_what_one_gives(monkeypatch):
    one = of_digits()
    two = of_digits(jobs=2)
    assert one.model_copy(update={"images_per_second": 0}) == two.model_copy(update={"images_per_second": 0})


def test_a_run_that_was_killed_goes_on_where_it_was(monkeypatch):
    monkeypatch.setattr(run, "CHUNK", 100)
    whole, kept, calls = of_digits(), run._Chunks.save, []

    def killed(self, number, found):
        kept(self, number, found)
        if number == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(run._Chunks, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        of_digits()
    monkeypatch.setattr(run._Chunks, "save", lambda self, number, found: (calls.append(number), kept(self, number, found)))
    again = of_digits()
    assert calls == [2, 3], "the first two chunks were kept"
    assert again.model_copy(update={"images_per_second": 0}) == whole.model_copy(update={"images_per_second": 0})


def test_a_damaged_chunk_is_made_again(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "CHUNK", 200)
    monkeypatch.setattr(run._Chunks, "remove", lambda self: None)
    whole = of_digits()
    [folder] = (tmp_path / "cache" / "evaluations").iterdir()
    (folder / "000001.npz").write_bytes(b"PK damaged")
    assert of_digits().accuracy == whole.accuracy


def test_folders_of_classes_with_and_without_val(tmp_path):
    plain = write_folder(tmp_path / "plain")
    split = tmp_path / "split"
    write_folder(split / "val")
    write_folder(split / "train", each=5)
    for path in (plain, split):
        source = read_source(f"imagefolder:{path}", GREY)
        assert len(source) == 20 and source.labels.tolist() == [c for c in range(10) for _ in range(2)]
    pixels, damaged = source.read([0, 3])
    assert pixels.shape == (2, 8, 8, 1) and damaged == []


def test_fewer_classes_than_the_network(tmp_path):
    folder = write_folder(tmp_path / "some", classes=3)
    with pytest.raises(UserError, match="3 classes, the network 10: say which is which with --classes"):
        read_source(f"imagefolder:{folder}", GREY)
    given = tmp_path / "classes.json"
    given.write_text(json.dumps({"c0": 7, "c1": 1, "c2": 9}))
    assert set(read_source(f"imagefolder:{folder}", GREY, given).labels.tolist()) == {7, 1, 9}
    given.write_text(json.dumps({"c0": 7, "c1": 1}))
    with pytest.raises(UserError, match="class c2 is not in the file of --classes"):
        read_source(f"imagefolder:{folder}", GREY, given)
    given.write_text(json.dumps({"c0": 10}))
    with pytest.raises(UserError, match="c0 is 10, the network's classes are 0 to 9"):
        read_source(f"imagefolder:{folder}", GREY, given)


def test_imagenets_names_are_known(tmp_path):
    folder = write_folder(tmp_path / "nette", classes=2, names=["n01440764", "n03888257"])
    source = read_source(f"imagefolder:{folder}", NetworkShape(8, 8, 1, 1000))
    assert set(source.labels.tolist()) == {0, 701} and "2 classes of 1,000" in source.note


def test_csv(tmp_path):
    write_folder(tmp_path / "f", classes=2, each=1)
    table = tmp_path / "list.csv"
    table.write_text("file,label\nf/c0/0.png,4\nf/c1/0.png,9\n")
    assert read_source(f"csv:{table}", GREY).labels.tolist() == [4, 9]
    table.write_text("f/c0/0.png\n")
    assert read_source(f"csv:{table}", GREY).labels is None
    table.write_text("f/c0/0.png,ten\n")
    with pytest.raises(UserError, match="line 1: label ten: use a number from 0 to 9"):
        read_source(f"csv:{table}", GREY)
    table.write_text("f/c0/1.png,1\n")
    with pytest.raises(UserError, match="line 1: no such file"):
        read_source(f"csv:{table}", GREY)


def test_damaged_images_are_named_and_left_out_on_demand(tmp_path):
    folder = write_folder(tmp_path / "f")
    (folder / "c3" / "0.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"cannot read .*c3/0.png: repair or remove them, or use --skip-damaged"):
        of_digits(data=f"imagefolder:{folder}")
    found = of_digits(data=f"imagefolder:{folder}", skip_damaged=True)
    assert found.images == 19 and [name.endswith("c3/0.png") for name in found.damaged] == [True]
    for file in folder.rglob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(UserError, match="none of the 20 images can be read"):
        of_digits(data=f"imagefolder:{folder}", skip_damaged=True)


def test_some_images_are_drawn_by_seed():
    assert of_digits(max_images=50).images == 50
    assert of_digits(max_images=50).worst == of_digits(max_images=50).worst


@pytest.mark.parametrize(("arrays", "text"), [
    ({"images": np.zeros((3, 9, 9, 1), np.uint8)}, r"shape \[3, 9, 9, 1\], the network takes \[F, 8, 8, 1\]"),
    ({"images": np.zeros((3, 8, 8, 1), np.float32)}, "images are float32: use uint8"),
    ({"images": np.zeros((0, 8, 8, 1), np.uint8)}, "holds no images"),
    ({"images": np.zeros((3, 8, 8), np.uint8), "labels": np.array([0, 10, 1])}, "hold 10 .image 1. and the classes are 0 to 9"),
    ({"images": np.zeros((3, 8, 8), np.uint8), "labels": np.array([0, 1])}, "labels have shape"),
    ({"pixels": np.zeros((3, 8, 8), np.uint8)}, "has no array `images`, it has pixels"),
])  # fmt: skip
def test_arrays_that_do_not_fit(tmp_path, arrays, text):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=text):
        of_digits(data=f"npz:{tmp_path / 'a.npz'}")


@pytest.mark.parametrize(("options", "text"), [
    ({"data": "imagefolder:/nope"}, "there is no such folder"),
    ({"data": "cifar"}, "unknown data set, use imagefolder:PATH"),
    ({"mean": (0.5,)}, "--mean and --std are for the float network"),
    ({"data": "digits", "classes": EXAMPLE / "metrics.json"}, "--classes"),
    ({"reference": DIGITS}, "is QONNX"),
])  # fmt: skip
def test_options_that_do_not_fit(options, text):
    with pytest.raises(UserError, match=text):
        of_digits(**options)


def test_a_folder_without_a_build(tmp_path):
    with pytest.raises(UserError, match="is not a build folder with intermediate_models/step_lower.onnx"):
        evaluate(EvaluateOptions(target=tmp_path, data="digits"))


def test_a_page_shows_the_worst_images(tmp_path, capfd):
    page = tmp_path / "page.html"
    assert cli(["evaluate", str(DIGITS), "--data", "digits", "--html", str(page), "--jobs", "1"]) == 0
    out, found = capfd.readouterr().out, of_digits()
    assert len(out.splitlines()) <= 12 and f"{100 * found.accuracy:.1f} %" in out
    text = page.read_text()
    assert f"{100 * found.accuracy:.1f} %" in text and text.count("data:image/png;base64,") == len(found.worst) > 0
    assert all(f"answer {w.answer}, label {w.label}" in text for w in found.worst)


def test_a_page_of_unlabelled_images_has_none_that_are_worst(tmp_path):
    np.savez(tmp_path / "x.npz", images=load_dataset("digits").test_images[:3])
    found = of_digits(data=f"npz:{tmp_path / 'x.npz'}", html=tmp_path / "page.html")
    assert found.worst == () and "image/png" not in (tmp_path / "page.html").read_text()
    with pytest.raises(UserError, match="is a folder: give a file for the page"):
        of_digits(html=tmp_path)


@pytest.fixture(scope="module")
def loadable(tmp_path_factory):
    """A small design that can be loaded, the two networks that it is made for, and the contents of the second one."""
    folder = tmp_path_factory.mktemp("loadable")
    models = []
    for seed in (1, 2):
        model, images = random_vit(dim=16, heads=2, depth=1, seed=seed, keep="0.5")
        models.append(folder / f"net{seed}.onnx")
        model.save(str(models[-1]))
        np.savez(models[-1].with_suffix(".npz"), images=images)
    settings = BuildSettings(reserve=(models[1],), synth="none", lowering_images=1)
    out = build(BuildOptions(
        model=models[0], output_dir=folder / "b", fpga_part="xczu7ev-ffvc1156-2-e", target_fps=20_000, **dict(settings), stop_step="step_stitch"
    ))  # fmt: skip
    contents_of(models[1], out).write(folder / "second.bin")
    return out, models, folder / "second.bin"


@pytest.mark.slow
def test_a_build_is_evaluated_as_what_it_is_loaded_with(loadable):
    out, models, contents = loadable
    data = f"npz:{models[1].with_suffix('.npz')}"
    of_files = [evaluate(EvaluateOptions(target=model, data=data, jobs=1)) for model in models]
    own, loaded = (evaluate(EvaluateOptions(target=out, data=data, contents=given, jobs=1)) for given in (None, contents))
    with np.load(models[1].with_suffix(".npz")) as file:
        images = file["images"]
    for found, of_file, _model in zip((own, loaded), of_files, models):
        same = {"images_per_second": 0, "digest": "", "model": None}
        assert found.model_copy(update=same) == of_file.model_copy(update=same)
    assert loaded.digest != own.digest and loaded.images == len(images) and loaded.model.weight_bits == of_files[1].model.weight_bits
    kept = evaluation_of(out)
    assert kept == own


@pytest.mark.slow
def test_contents_that_are_not_of_the_build_or_without_their_network_are_refused(loadable, tmp_path):
    out, models, contents = loadable
    data = f"npz:{models[1].with_suffix('.npz')}"
    with pytest.raises(UserError, match="--contents is for a build"):
        evaluate(EvaluateOptions(target=models[0], data=data, contents=contents))
    alone = tmp_path / "alone.bin"
    shutil.copy(contents, alone)
    with pytest.raises(
        UserError, match="alone.bin.onnx is missing, which `contents` writes beside alone.bin: write both again with finn-vitprune contents"
    ):
        evaluate(EvaluateOptions(target=out, data=data, contents=alone))
    contents_of(models[0], out).write(tmp_path / "first.bin")
    shutil.copy(network_file(tmp_path / "first.bin"), network_file(alone))
    with pytest.raises(UserError, match="is the network of other contents than alone.bin has"):
        evaluate(EvaluateOptions(target=out, data=data, contents=alone))
    edited = onnx.load(path := network_file(tmp_path / "first.bin"))
    edited.graph.initializer[0].raw_data = bytes(len(edited.graph.initializer[0].raw_data))
    onnx.save(edited, path)
    with pytest.raises(UserError, match="first.bin.onnx is not as `contents` wrote it: write both again"):
        evaluate(EvaluateOptions(target=out, data=data, contents=tmp_path / "first.bin"))
    (tmp_path / "text.bin").write_text("no contents at all, only words of text")
    with pytest.raises(UserError, match="text.bin"):
        evaluate(EvaluateOptions(target=out, data=data, contents=tmp_path / "text.bin"))


@pytest.mark.slow
def test_a_report_shows_what_was_found(loadable, tmp_path, capfd):
    out, models, _ = loadable
    folder = tmp_path / "b"
    shutil.copytree(out, folder)
    summary = Summary(model={"name": "net", "macs_dense": 2, "macs": 1, "params_dense": 2, "params": 1, "index_bits": 0, "tokens": [], "heads": [],
                             "block_size": 8, "block_keep": 0.5, "weight_bits": 8, "activation_bits": 4})  # fmt: skip
    kept = tmp_path / "summary.json"
    kept.write_text(summary.model_dump_json(by_alias=True))
    assert cli(["report", str(kept), "--full"]) == 0
    assert "8 of weights, 4 of activations" in (text := capfd.readouterr().out) and "accuracy in integers" not in text
    np.savez(tmp_path / "labelled.npz", images=np.zeros((2, *of_shape(models[0])), np.uint8), labels=[0, 1])
    evaluate(EvaluateOptions(target=folder, data=f"npz:{tmp_path / 'labelled.npz'}", jobs=1))
    found = evaluation_of(folder)
    table = card_table(summary.model, found)
    assert ("accuracy in integers", f"{100 * found.accuracy:.1f} %") in table.rows and (
        "bits",
        "8 of weights, 4 of activations",
    ) in table.rows
    (folder / "intermediate_models" / "step_lower.onnx").write_bytes(b"another")
    assert evaluation_of(folder) is None


def of_shape(model):
    """H, W, C of the images that a QONNX model takes."""
    lowered = lower(ModelWrapper(str(model))).model
    return lowered.get_tensor_shape(lowered.graph.input[0].name)[1:]


def test_a_folder_with_training_images_alone_is_refused(tmp_path):
    write_folder(tmp_path / "set" / "train")
    with pytest.raises(UserError, match="has train but no val, validation or test: give the folder whose images are to be answered"):
        read_source(f"imagefolder:{tmp_path / 'set'}", GREY)
