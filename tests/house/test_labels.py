"""Labels are checked before any work, and some of many images are drawn, never the first of a sorted file."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.build import EXAMPLE, BuildOptions, build
from finn_vitprune.builds.images import BuildImages, input_shape, output_classes
from finn_vitprune.built.record import record_of
from finn_vitprune.errors import UserError
from finn_vitprune.evaluation.sources import NetworkShape, read_source
from finn_vitprune.labels import check_labels, draw
from finn_vitprune.report.summary import Summary
from finn_vitprune.training.array_data import ArrayDataset
from finn_vitprune.training.config import parse_config
from finn_vitprune.training.run import TrainingRun

MODEL = EXAMPLE / "deit_digits.onnx"
CLASSES = 10


def example() -> dict[str, np.ndarray]:
    """The bundled images, sorted by class as files often are."""
    with np.load(EXAMPLE / "images.npz") as data:
        order = np.argsort(data["labels"], kind="stable")
        return {name: data[name][order] for name in ("images", "labels", "logits")}


def labels_of(kind: str) -> np.ndarray:
    labels = example()["labels"].astype(np.int64)
    return {
        "one short": labels[:-1],
        "100 too high": labels + 100,
        "one negative": np.r_[-1, labels[1:]],
        "floats": labels.astype(float),
        "not numbers": np.where(labels == 0, np.nan, labels),
        "one-hot": np.eye(CLASSES, dtype=int)[labels],
        "rows": labels[None],
        "yes or no": labels > 4,
    }[kind]


REFUSALS = {
    "one short": r"labels have shape \[359\] but there are 360 images: use one label an image, shape \[360\]",
    "100 too high": r"labels hold 100 \(image 0\) and the classes are 0 to 9",
    "one negative": r"labels hold -1 \(image 0\) and the classes are 0 to 9",
    "floats": "labels are float64: use integers",
    "not numbers": "labels are float64: use integers",
    "one-hot": r"labels have shape \[360, 10\] but there are 360 images",
    "rows": r"labels have shape \[1, 360\] but there are 360 images",
    "yes or no": "labels are bool: use integers",
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_build_refuses_labels_before_any_step_runs(tmp_path, kind):
    np.savez(tmp_path / "x.npz", **(example() | {"labels": labels_of(kind)}))
    options = BuildOptions(model=MODEL, output_dir=tmp_path / "b", fpga_part="ZCU104", images=tmp_path / "x.npz")
    with pytest.raises(UserError, match=REFUSALS[kind]) as error:
        build(options)
    assert "\n" not in str(error.value) and str(tmp_path / "x.npz") in str(error.value)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda logits: logits[:-1], r"logits are float32 of shape \[359, 10\]: use floats .* of shape \[360, 10\]"),
        (lambda logits: logits.argmax(1), r"logits are int64 of shape \[360\]"),
        (lambda logits: logits * np.nan, r"logits are float32 .*no NaN"),
    ],
)
def test_a_build_refuses_logits_of_other_images(tmp_path, change, text):
    arrays = example()
    np.savez(tmp_path / "x.npz", **(arrays | {"logits": change(arrays["logits"])}))
    with pytest.raises(UserError, match=text):
        build(BuildOptions(model=MODEL, output_dir=tmp_path / "b", fpga_part="ZCU104", images=tmp_path / "x.npz"))


def loaded(path, **settings):
    model = ModelWrapper(str(MODEL))
    return BuildImages(path, **settings).load(input_shape(model), output_classes(model))


def folder_of_images(folder: Path, count: int = 5) -> Path:
    """Grey pictures of 8 x 8 pixels, some of them in a folder below."""
    (folder / "more").mkdir(parents=True)
    for i, pixels in enumerate(example()["images"][:count, ..., 0]):
        Image.fromarray(pixels).save(folder / ("more" if i % 2 else "") / f"{i}.png")
    return folder


def test_a_folder_of_image_files_is_read_as_evaluate_does(tmp_path):
    folder = folder_of_images(tmp_path / "pictures")
    found = loaded(folder)
    wanted, damaged = read_source(f"imagefolder:{folder / 'more'}", NetworkShape(8, 8, 1, CLASSES)).read(range(2))
    assert found.pixels.shape == (5, 8, 8, 1) and found.labels is None and not damaged
    assert {p.tobytes() for p in wanted} < {p.tobytes() for p in found.pixels} and found.text == "all 5 images, of pictures"
    some = loaded(folder, most=2, seed=3)
    assert some.text == "2 of 5 images, drawn with seed 3, of pictures" and np.array_equal(some.pixels, found.pixels[some.index])


def test_other_contents_or_names_of_a_folder_are_other_images(small_build, tmp_path):
    def recorded(folder: Path) -> str:
        options = BuildOptions(
            model=small_build.model, output_dir=tmp_path / "out", fpga_part="ZCU104", images=folder, stop_step="step_tidy_up"
        )
        return record_of(build(options)).options["images"]

    folder = folder_of_images(tmp_path / "a" / "pictures")
    digests = {recorded(folder), recorded(folder_of_images(tmp_path / "b" / "pictures"))}
    (folder / "notes.txt").write_text("no image")
    assert digests == {recorded(folder)} and not (tmp_path / "out" / "previous-1").exists()
    (folder / "0.png").rename(folder / "9.png")
    digests.add(recorded(folder))
    (folder / "9.png").write_bytes((folder / "2.png").read_bytes())
    assert len(digests | {recorded(folder)}) == 3


def test_linked_folders_are_read_and_an_output_among_the_images_is_refused(tmp_path):
    folder = folder_of_images(tmp_path / "pictures")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "to").symlink_to(folder)
    (tmp_path / "linked" / "folder.png").mkdir()
    assert np.array_equal(loaded(tmp_path / "linked").pixels, loaded(folder).pixels)
    with pytest.raises(UserError, match="the build would be among its images"):
        BuildOptions(model=MODEL, output_dir=folder / "b", fpga_part="ZCU104", images=folder)


def test_a_folder_without_images_or_with_a_damaged_one_is_refused_by_name(tmp_path):
    folder = folder_of_images(tmp_path / "pictures")
    (folder / "4.png").write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    for path, text in (
        (folder, "cannot read image .*4.png: .+: remove or replace it"),
        (tmp_path / "empty", "empty has no image files: use .jpg"),
    ):
        with pytest.raises(UserError, match=text):
            loaded(path)
        with pytest.raises(UserError, match=text):
            build(BuildOptions(model=MODEL, output_dir=tmp_path / "b", fpga_part="ZCU104", images=path))
        assert not (tmp_path / "b").exists()


def test_a_column_of_labels_is_read_as_medmnist_has_it(tmp_path):
    arrays = example()
    np.savez(tmp_path / "x.npz", **(arrays | {"labels": arrays["labels"][:, None].astype(np.uint8)}))
    labels = loaded(tmp_path / "x.npz").labels
    assert labels.dtype == np.int64 and np.array_equal(labels, arrays["labels"])


def test_some_of_a_sorted_file_have_the_accuracy_of_all(tmp_path):
    """A network that knows the first four of ten classes is right on 40 %, not on all of the first images."""
    labels = np.repeat(np.arange(CLASSES), 36)
    logits = np.eye(CLASSES, dtype=np.float32)[np.where(labels < 4, labels, 0)]
    np.savez(tmp_path / "x.npz", images=example()["images"], labels=labels, logits=logits)
    some = loaded(tmp_path / "x.npz", most=50, seed=7)
    assert np.mean(some.logits.argmax(1) == some.labels) == 0.4
    assert np.bincount(some.labels).tolist() == [5] * CLASSES
    assert some.text == "50 of 360 images, drawn with seed 7, each class in its share, of x.npz"
    assert np.array_equal(some.pixels, example()["images"][some.index]), "the index names them"
    again, other = loaded(tmp_path / "x.npz", most=50, seed=7), loaded(tmp_path / "x.npz", most=50)
    assert np.array_equal(again.index, some.index) and not np.array_equal(other.index, some.index)
    assert len(set(some.labels[some.some(8)])) >= 7, "the few of the node-by-node check are of many classes"
    everything = loaded(tmp_path / "x.npz", most=360)
    assert np.array_equal(everything.index, np.arange(360)) and everything.text == "all 360 images, of x.npz"


@pytest.mark.parametrize("labelled", [True, False])
def test_every_image_is_equally_likely(labelled):
    labels = np.repeat([0, 1, 2], [1, 7, 12]) if labelled else None
    hits = np.zeros(20)
    for seed in range(4000):
        chosen = draw(20, 6, seed, labels)
        assert len(set(chosen.tolist())) == 6 and np.array_equal(chosen, np.sort(chosen))
        hits[chosen] += 1
        if labelled:
            counts = np.bincount(labels[chosen], minlength=3)
            assert (np.abs(counts - 6 * np.array([1, 7, 12]) / 20) < 1).all()
    assert np.abs(hits / 4000 - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 4000), "five standard deviations"


def test_labels_of_unknown_classes_may_be_any():
    assert check_labels(np.array([7, 123], np.uint8), 2, "labels").tolist() == [7, 123]


@pytest.fixture(scope="module")
def sorted_run(tmp_path_factory):
    """A run on data whose held-out images are sorted by class, measured on 40 of 200 between epochs."""
    rng = np.random.default_rng(0)
    train = rng.integers(0, 256, (20, 4, 4, 1), dtype=np.uint8), np.arange(20) % 10
    test = rng.integers(0, 256, (200, 4, 4, 1), dtype=np.uint8), np.repeat(np.arange(10), 20)
    folder = tmp_path_factory.mktemp("sorted")
    names = ("train_images", "train_labels", "test_images", "test_labels")
    np.savez(folder / "x.npz", **dict(zip(names, (*train, *test))))
    model = {"patch_size": 2, "dim": 16, "depth": 1, "heads": 2}
    config = parse_config({"name": "x", "data": f"npz:{folder / 'x.npz'}", "eval_images": 40, "seed": 3, "model": model})
    return TrainingRun(config, folder)


def test_epochs_are_measured_on_images_of_every_class(sorted_run):
    """A network that answers 0 is right on a tenth of the images: of the first 40 it would be on half."""
    import torch

    def zero(images):
        return torch.nn.functional.one_hot(torch.zeros(len(images), dtype=torch.long), 10).float()

    assert sorted_run.accuracy_of(zero, 40) == pytest.approx(0.1)
    assert sorted_run.accuracy_of(zero) == pytest.approx(0.1)
    assert sorted_run.measured_on == "40 of 200 images, drawn with seed 3, each class in its share"


def test_a_sample_of_arrays_is_drawn_too(sorted_run):
    data = sorted_run.data
    assert isinstance(data, ArrayDataset)
    images, labels = data.test_sample(50, seed=1)
    assert np.bincount(labels).tolist() == [5] * 10
    assert np.array_equal(images, data.test_images[data.held_out(50, 1)])


def test_the_summary_says_which_images(small_build):
    verify = Summary.load(small_build.folder).verify
    assert (verify.images, verify.images_total, verify.image_seed) == (64, 64, 0)
    assert verify.image_choice == "all 64 images, of model.npz"
    index = np.load(small_build.folder / "verification_output" / "rtl_images.npy")
    assert np.array_equal(index, np.arange(64)), "the rows of the logits beside it"
    assert "image_choice" in json.loads((small_build.folder / "report" / "vitprune_summary.json").read_text())["verify"]
