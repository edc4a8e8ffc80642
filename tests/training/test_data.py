"""Promises of the data sets: what they hold, fixed choices, reproducible epochs in parts, clear errors."""

import gzip
import re
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from finn_vitprune.errors import UserError
from finn_vitprune.evaluation.sources import NetworkShape, read_source
from finn_vitprune.training import data as data_sets
from finn_vitprune.training.data import DEBIAN_FOLDER, ArrayDataset, Augmentation, FolderDataset, augment, digits, load_dataset

torch.set_num_threads(1)
PLAIN = Augmentation()
HERE = ("train", "t10k")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def error_of(call, *arguments):
    """The one line of the UserError that ``call`` raises."""
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def small_set(count=30, height=4, width=6, channels=3, classes=3):
    """Images that are all different, labels in turn."""
    labels = np.arange(count) % classes
    train = drawn(count, height, width, channels), labels
    return ArrayDataset("small", train, (drawn(7, height, width, channels, seed=1), labels[:7]))


# --- digits ---


def test_digits_split_is_stratified_and_fixed():
    data = digits()
    assert data.train_images.shape == (1437, 8, 8, 1) and data.test_images.shape == (360, 8, 8, 1)
    assert data.train_images.dtype == np.uint8 and data.train_images.max() == 255
    assert data.image_size == (8, 8) and data.channels == 1 and data.classes == 10
    assert np.abs(np.bincount(data.test_labels) - 36).max() <= 1
    assert np.array_equal(data.test_labels, digits().test_labels)
    train = {i.tobytes() for i in data.train_images}
    assert sum(i.tobytes() in train for i in data.test_images) == 0


def test_digits_pixels_are_sixteenths_of_255():
    from sklearn.datasets import load_digits

    source = {tuple(np.rint(i.reshape(-1) * 255 / 16).astype(int)) for i in load_digits().images}
    assert tuple(digits().test_images[0].reshape(-1).astype(int)) in source


# --- augmentation and epochs of arrays ---


def test_augment_shifts_with_zeros_coming_in():
    images = torch.arange(1, 5).float().view(1, 2, 2, 1).expand(64, -1, -1, -1)
    shifted = augment(images, generator(), 1)
    kinds = {tuple(s.flatten().int().tolist()) for s in shifted}
    assert (1, 2, 3, 4) in kinds and (0, 0, 0, 1) in kinds and (4, 0, 0, 0) in kinds and len(kinds) == 9
    assert torch.equal(augment(images, generator(), 0), images)


def moved(image, down, right):
    """``image`` [H, W, C] shifted, pixel by pixel."""
    out = np.zeros_like(image)
    for y, x in np.ndindex(image.shape[:2]):
        if 0 <= y - down < image.shape[0] and 0 <= x - right < image.shape[1]:
            out[y, x] = image[y - down, x - right]
    return out


def test_augment_gives_all_shifts_and_mirror_images_and_nothing_else():
    image = drawn(3, 5, 2)
    shifts = [moved(image, d, r) for d in range(-2, 3) for r in range(-2, 3)]
    allowed = {s.tobytes() for s in shifts} | {s[:, ::-1].tobytes() for s in shifts}
    found = augment(torch.from_numpy(image).expand(2000, -1, -1, -1), generator(), 2, True).numpy()
    assert {f.tobytes() for f in found} == allowed and len(allowed) == 50


def test_half_of_the_images_are_mirrored():
    image = torch.from_numpy(drawn(2, 3, 1)).expand(4000, -1, -1, -1)
    mirrored = (augment(image, generator(3), 0, True) != image).flatten(1).any(1)
    assert abs(float(mirrored.float().mean()) - 0.5) < 0.04, "five standard deviations"


def test_an_epoch_without_augmentation_gives_the_images_of_its_batches():
    data, batches = small_set(), [torch.tensor([5, 2, 5]), torch.tensor([29])]
    before = generator().get_state()
    source = generator()
    for index, (images, labels) in zip(batches, data.epoch(batches, source, PLAIN), strict=True):
        assert images.dtype == torch.float32 and labels.dtype == torch.int64
        assert np.array_equal(images.numpy(), data.train_images[index.numpy()])
        assert np.array_equal(labels.numpy(), data.train_labels[index.numpy()])
    assert torch.equal(source.get_state(), before), "nothing is drawn"


def check_parts(data, batches, augmentation, world):
    """The parts of all processes together are the epoch of one, and all draw alike."""
    alone = generator(5)
    whole = list(data.epoch(batches, alone, augmentation))
    for rank in range(world):
        source = generator(5)
        part = list(data.epoch(batches, source, augmentation, (rank, world)))
        assert len(part) == len(whole)
        for (images, labels), (all_images, all_labels) in zip(part, whole):
            assert torch.equal(images, all_images[rank::world])
            assert torch.equal(labels, all_labels[rank::world])
        assert torch.equal(source.get_state(), alone.get_state())


@pytest.mark.parametrize("world", [2, 3, 5])
@pytest.mark.parametrize("augmentation", [Augmentation(2, True), Augmentation(1), Augmentation(0, True)])
def test_parts_of_an_epoch_are_the_epoch(world, augmentation):
    check_parts(small_set(), list(torch.randperm(30, generator=generator()).split(7)), augmentation, world)


def test_an_epoch_depends_on_the_state_of_its_generator_alone():
    data, source = small_set(), generator(1)
    batches = list(torch.arange(30).split(8))

    def images():
        return torch.cat([i for i, _ in data.epoch(batches, source, Augmentation(2, True))])

    state = source.get_state()
    first, second = images(), images()
    assert not torch.equal(first, second)
    source.set_state(state)
    torch.manual_seed(123)
    assert torch.equal(images(), first)


def test_arrays_have_no_random_crop():
    call = small_set().epoch([torch.arange(3)], generator(), Augmentation(crop=True))
    assert error_of(next, call) == "crop is for image folders, not small: use shift and flip"


# --- calibration, held-out images, statistics, subsets ---


def test_calibration_is_spread_over_the_classes():
    data = digits()
    images = data.calibration(25).numpy()
    assert images.shape == (25, 8, 8, 1) and images.dtype == np.float32
    assert np.array_equal(images, data.calibration(25).numpy())
    label_of = {i.tobytes(): k for i, k in zip(data.train_images, data.train_labels)}
    counts = np.bincount([label_of[i.astype(np.uint8).tobytes()] for i in images], minlength=10)
    assert sorted(counts) == [2] * 5 + [3] * 5
    assert len(data.calibration(10_000)) == 1437


def test_held_out_images_come_in_the_order_of_their_labels():
    data = small_set()
    parts = list(data.test_batches(3))
    assert [len(p) for p in parts] == [3, 3, 1] and parts[0].dtype == torch.float32
    assert np.array_equal(torch.cat(parts).numpy(), data.test_images)
    chosen = np.array([0, 2, 3, 6])
    assert np.array_equal(torch.cat(list(data.test_batches(3, chosen))).numpy(), data.test_images[chosen])
    images, labels = data.test_sample(5, seed=3)
    chosen = data.held_out(5, 3)
    assert images.dtype == np.uint8 and np.array_equal(images, data.test_images[chosen])
    assert np.array_equal(labels, data.test_labels[chosen]) and len(data.test_sample()[0]) == 7


def test_mean_and_deviation_are_those_of_all_training_pixels():
    data = small_set(count=50, height=9, width=11)
    pixels = data.train_images.astype(np.float64) / 255
    assert data.mean == pytest.approx(pixels.mean((0, 1, 2)), abs=1e-4)
    assert data.std == pytest.approx(pixels.std((0, 1, 2)), abs=1e-4)
    limited = small_set(count=50, height=9, width=11)
    limited.narrow(6)
    assert (limited.mean, limited.std) == (data.mean, data.std)


@pytest.mark.parametrize("limit, counts", [(3, [1, 1, 1]), (8, [2, 3, 3]), (13, [2, 6, 5]), (22, [2, 10, 10])])
def test_a_subset_is_as_balanced_as_the_classes_allow(limit, counts):
    labels = np.repeat([1, 0, 2], [10, 2, 10])
    images = np.arange(22, dtype=np.uint8).reshape(22, 1, 1, 1)
    data, again = (ArrayDataset("set", (images, labels), (images, labels)) for _ in range(2))
    data.narrow(limit)
    assert np.array_equal(np.bincount(data.train_labels), counts)
    chosen = data.train_images.ravel()
    assert len(set(chosen)) == limit and np.array_equal(labels[chosen], data.train_labels)
    again.narrow(limit)
    assert np.array_equal(again.train_images, data.train_images)


def test_limited_digits():
    whole = digits()
    for limit in (10, 99, 1004):
        data = load_dataset("digits", limit)
        assert np.ptp(np.bincount(data.train_labels)) == (limit % 10 > 0)
        assert len(data.train_images) == len(data.train_labels) == limit
        assert np.array_equal(data.test_images, whole.test_images)
    assert np.array_equal(load_dataset("digits", 1437).train_images, whole.train_images)


@pytest.mark.parametrize("limit", [0, 9, 1438])
def test_a_subset_that_does_not_fit(limit):
    assert error_of(load_dataset, "digits", limit) == (
        f"train_images = {limit} does not fit digits (1437 training images of 10 classes): use 10 to 1437"
    )


# --- names ---


@pytest.mark.parametrize("spec", ["imagenet", "digits:x", "npz", "imagefolder:", "fashion-mnist:", ""])
def test_unknown_data_sets(spec):
    assert error_of(load_dataset, spec) == (
        f"unknown data set {spec!r}: use digits, fashion-mnist, fashion-mnist:FOLDER, npz:FILE or imagefolder:PATH"
    )


def test_image_size_of_a_set_that_has_its_own():
    assert load_dataset("digits", image_size=8).image_size == (8, 8)
    assert error_of(load_dataset, "digits", None, 32) == ("model.image_size 32 x 32 is not that of digits (8 x 8): leave it out")


# --- Fashion-MNIST ---


def write_idx(path, array, zipped=False, magic=None, sizes=None, tail=b""):
    """An idx file by hand."""
    sizes = array.shape if sizes is None else sizes
    content = struct.pack(">I", 0x800 + array.ndim if magic is None else magic)
    content += b"".join(struct.pack(">I", s) for s in sizes) + array.tobytes() + tail
    path = path.with_name(path.name + ".gz") if zipped else path
    path.write_bytes(gzip.compress(content) if zipped else content)


def write_fashion(folder, zipped=False):
    """20 training and 10 held-out images; the arrays by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for seed, (part, count) in enumerate(zip(HERE, (20, 10))):
        arrays[f"{part}-images-idx3-ubyte"] = drawn(count, 28, 28, seed=seed)
        arrays[f"{part}-labels-idx1-ubyte"] = (np.arange(count) % 10).astype(np.uint8)
    for name, array in arrays.items():
        write_idx(folder / name, array, zipped)
    return arrays


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("inside", ["", "FashionMNIST/raw"])
def test_idx_files_of_a_folder_or_of_torchvision(tmp_path, zipped, inside):
    arrays = write_fashion(tmp_path / inside, zipped)
    data = load_dataset(f"fashion-mnist:{tmp_path}")
    assert np.array_equal(data.train_images[..., 0], arrays["train-images-idx3-ubyte"])
    assert np.array_equal(data.train_labels, arrays["train-labels-idx1-ubyte"])
    assert np.array_equal(data.test_images[..., 0], arrays["t10k-images-idx3-ubyte"])
    assert np.array_equal(data.test_labels, arrays["t10k-labels-idx1-ubyte"])
    assert (data.name, data.image_size, data.channels, data.classes) == ("fashion-mnist", (28, 28), 1, 10)


def test_fashion_mnist_is_found_where_debian_or_torchvision_put_it(tmp_path, monkeypatch):
    monkeypatch.setattr(data_sets, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setenv("HOME", str(tmp_path))
    cache = tmp_path / ".cache/finn_vitprune/FashionMNIST/raw"
    assert error_of(load_dataset, "fashion-mnist") == (
        f"fashion-mnist: no train-images-idx3-ubyte[.gz] in {tmp_path / 'debian'} or {cache}: apt install "
        'dataset-fashion-mnist, or give fashion-mnist:FOLDER, or download it with python -c "from '
        "torchvision.datasets import FashionMNIST as F; F('~/.cache/finn_vitprune', download=True)\""
    )
    write_fashion(cache)
    assert len(load_dataset("fashion-mnist").train_labels) == 20
    arrays = write_fashion(tmp_path / "debian", zipped=True)
    write_idx(tmp_path / "debian/train-labels-idx1-ubyte", arrays["train-labels-idx1-ubyte"][::-1], True)
    assert load_dataset("fashion-mnist").train_labels[0] == 9, "Debian's first"


def test_the_suggested_download_lands_where_it_is_looked_for():
    from torchvision.datasets import FashionMNIST

    undownloaded = FashionMNIST.__new__(FashionMNIST)
    undownloaded.root = "root"
    assert undownloaded.raw_folder == f"root/{data_sets.RAW}"
    names = {name.removesuffix(".gz") for name, _ in FashionMNIST.resources}
    assert names == {*data_sets.IDX_FILES["train"], *data_sets.IDX_FILES["test"]}


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
BAD_IDX = [
    (IMAGES, {"magic": 0x801}, "is not an idx file of bytes in 3 dimension(s): it starts with 00000801"),
    (IMAGES, {"magic": 0xD03}, "starts with 00000d03 and has 15696 bytes, expected 00000803 and at least 16"),
    (LABELS, {"magic": 0x803}, "is not an idx file of bytes in 1 dimension(s): it starts with 00000803"),
    (IMAGES, {"sizes": (21, 28, 28)}, "announces 21 x 28 x 28 bytes, the file has 15680: get it again"),
    (IMAGES, {"sizes": (2**32 - 1,) * 3}, "announces 4294967295 x 4294967295 x 4294967295 bytes"),
    (IMAGES, {"tail": b"x"}, "announces 20 x 28 x 28 bytes, the file has 15681"),
    (LABELS, {"sizes": (19,)}, "announces 19 bytes, the file has 20"),
    (IMAGES, {"sizes": (10, 56, 28)}, "images of 56 x 28, those of Fashion-MNIST are 28 x 28: use npz:FILE"),
    (LABELS, {"array": np.arange(10, dtype=np.uint8)}, "have shape [10] but there are 20 images"),
    (LABELS, {"array": np.arange(20, dtype=np.uint8) % 9}, "test_labels hold 9 but train_labels only 0 to 8"),
    (IMAGES, {"array": np.zeros((0, 28, 28), np.uint8)}, "train_images are empty (shape (0, 28, 28, 1))"),
]


@pytest.mark.parametrize("name, change, message", BAD_IDX)
@pytest.mark.parametrize("zipped", [False, True])
def test_broken_idx_files(tmp_path, name, change, message, zipped):
    arrays = write_fashion(tmp_path, zipped)
    write_idx(tmp_path / name, **({"array": arrays[name], "zipped": zipped} | change))
    error = error_of(load_dataset, f"fashion-mnist:{tmp_path}")
    assert message in error and (str(tmp_path / name) in error or error.startswith("fashion-mnist: "))


def test_missing_short_and_damaged_idx_files(tmp_path):
    write_fashion(tmp_path, zipped=True)
    labels = tmp_path / "t10k-labels-idx1-ubyte.gz"
    whole = labels.read_bytes()
    for content, reason in (
        (whole[:-9], "Compressed file ended before the end-of-stream marker was reached"),
        (b"no gzip at all", "Not a gzipped file"),
        (whole[:12] + bytes([whole[12] ^ 255]) + whole[13:], "cannot read"),
    ):
        labels.write_bytes(content)
        error = error_of(load_dataset, f"fashion-mnist:{tmp_path}")
        assert error.startswith(f"cannot read {labels}: ") and reason in error
    labels.write_bytes(gzip.compress(b""))
    assert "it starts with nothing and has 0 bytes" in error_of(load_dataset, f"fashion-mnist:{tmp_path}")
    labels.unlink()
    assert error_of(load_dataset, f"fashion-mnist:{tmp_path}") == (
        f"missing {tmp_path}/t10k-labels-idx1-ubyte (or t10k-labels-idx1-ubyte.gz): use the four files of Fashion-MNIST"
    )
    absent = tmp_path / "absent"
    message = f"fashion-mnist: no {IMAGES}[.gz] in {absent} or {absent}/FashionMNIST/raw: apt install"
    assert error_of(load_dataset, f"fashion-mnist:{absent}").startswith(message)


if DEBIAN_FOLDER.is_dir():

    def test_the_real_fashion_mnist():
        """Sizes, balance and statistics as its authors publish them."""
        data = load_dataset("fashion-mnist", 1000)
        assert np.array_equal(np.bincount(data.train_labels), [100] * 10)
        assert data.test_images.shape == (10_000, 28, 28, 1)
        assert np.array_equal(np.bincount(data.test_labels), [1000] * 10)
        assert data.mean == (0.286,) and data.std == (0.353,)


# --- npz files ---


def arrays_of(shape=(5, 6, 3), labels=(0, 1, 2, 0, 1, 2)):
    return {
        "train_images": drawn(6, *shape),
        "train_labels": np.array(labels),
        "test_images": drawn(2, *shape, seed=1),
        "test_labels": np.array([2, 0]),
    }


@pytest.mark.parametrize("shape", [(5, 6, 3), (5, 6, 1), (5, 6), (6, 7, 5)])
@pytest.mark.parametrize("column", [False, True])
def test_npz_files(tmp_path, shape, column):
    arrays = arrays_of(shape)
    for part in ("train", "test"):
        labels = arrays[f"{part}_labels"].astype(np.uint8)
        arrays[f"{part}_labels"] = labels[:, None] if column else labels
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    data = load_dataset(f"npz:{tmp_path / 'a.npz'}")
    full = shape if len(shape) == 3 else (*shape, 1)
    assert np.array_equal(data.train_images, arrays["train_images"].reshape(6, *full))
    assert data.train_labels.tolist() == [0, 1, 2, 0, 1, 2] and data.test_labels.tolist() == [2, 0]
    assert data.train_labels.dtype == data.test_labels.dtype == np.int64
    assert (data.image_size, data.channels, data.classes) == (full[:2], full[2], 3)
    assert len(data.mean) == len(data.std) == full[2]


BAD_NPZ = [
    ({"train_images": drawn(6, 5, 6, 3).astype(np.float32)}, "train_images are float32: use uint8 (0 to"),
    ({"test_images": drawn(2, 5, 6, 3).astype(np.int8)}, "test_images are int8: use uint8"),
    ({"train_images": drawn(6, 30)}, "train_images have shape (6, 30): use [F, H, W] or [F, H, W, C]"),
    ({"train_images": drawn(6, 3, 8, 8)}, "shape (6, 3, 8, 8) have their channels first: use [F, H, W, C]"),
    ({"test_images": drawn(2, 5, 7, 3)}, "train_images are 5 x 6 x 3 but test_images 5 x 7 x 3: use one"),
    ({"test_images": drawn(2, 5, 6)}, "train_images are 5 x 6 x 3 but test_images 5 x 6 x 1"),
    ({"test_images": drawn(0, 5, 6, 3)}, "test_images are empty (shape (0, 5, 6, 3))"),
    ({"train_images": np.full((6, 5, 6, 3), 9, np.uint8)}, "all pixels of channel 0 of train_images are"),
    ({"train_labels": np.arange(6.0)}, "train_labels are float64: use integers"),
    ({"train_labels": np.ones(6, bool)}, "train_labels are bool: use integers"),
    ({"train_labels": np.arange(5)}, "train_labels have shape [5] but there are 6 images: use one"),
    ({"train_labels": np.eye(6, dtype=int)}, "train_labels have shape [6, 6] but there are 6 images"),
    ({"train_labels": np.array(3)}, "train_labels have shape [] but there are 6 images"),
    ({"train_labels": np.array([0, 1, 3, 0, 1, 3])}, "train_labels go from 0 to 3 and lack 2: use all of"),
    ({"train_labels": np.array([1, 2, 3, 1, 2, 3])}, "train_labels go from 1 to 3 and lack 0: use all of"),
    ({"train_labels": np.array([-1, 0, 1, 2, 0, 1])}, "train_labels go from -1 to 2 and lack 0"),
    ({"train_labels": np.zeros(6, int)}, "all train_labels are 0: use 2 classes or more"),
    ({"test_labels": np.array([0, 3])}, "test_labels hold 3 but train_labels only 0 to 2: use the same"),
    ({"test_labels": np.array([0, -1])}, "test_labels hold -1 but train_labels only 0 to 2"),
]


@pytest.mark.parametrize("change, message", BAD_NPZ)
def test_npz_arrays_that_do_not_fit(tmp_path, change, message):
    np.savez(tmp_path / "a.npz", **(arrays_of() | change))
    error = error_of(load_dataset, f"npz:{tmp_path / 'a.npz'}")
    assert error.startswith(f"npz:{tmp_path}/a.npz: ") and message in error


def test_npz_files_that_are_none(tmp_path):
    path = tmp_path / "a.npz"
    assert error_of(load_dataset, f"npz:{path}") == (f"cannot read npz:{path}: No such file or directory: use np.savez and plain arrays")
    assert "Is a directory" in error_of(load_dataset, f"npz:{tmp_path}")
    arrays = arrays_of()
    with path.open("wb") as file:
        np.save(file, arrays["train_images"])
    assert "it is one npy array" in error_of(load_dataset, f"npz:{path}")
    np.savez(path, **arrays)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2], whole.replace(b"NUMPY", b"NUMPX")):
        path.write_bytes(content)
        assert error_of(load_dataset, f"npz:{path}").startswith(f"cannot read npz:{path}: ")
    np.savez(path, train_images=arrays["train_images"], test_labels=arrays["test_labels"])
    assert f"npz:{path} has no train_labels, test_images: use" in error_of(load_dataset, f"npz:{path}")


@pytest.mark.parametrize("name", ["train_images", "test_labels"])
def test_pickled_arrays_are_refused(tmp_path, name):
    np.savez(tmp_path / "a.npz", **(arrays_of() | {name: np.array([print, {}], object)}))
    assert "Object arrays cannot be loaded" in error_of(load_dataset, f"npz:{tmp_path / 'a.npz'}")


# --- image folders ---


def write_folder(root, mode="RGB", suffix="png", test="val", size=(24, 40), counts=(4, 3, 5)):
    """Classes b, a, C with some training images and two held-out images each (``size``: height, width)."""
    for label, (name, count) in enumerate(zip("Cab", counts)):
        for seed, (part, number) in enumerate((("train", count), (test, 2))):
            (root / part / name).mkdir(parents=True, exist_ok=True)
            for k in range(number):
                pixels = drawn(*size, 3, seed=[label, seed, k])
                Image.fromarray(pixels).convert(mode).save(root / part / name / f"i{k}.{suffix}")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def images(folder):
    return load_dataset(f"imagefolder:{folder}", image_size=16)


def centre(path, mode="RGB"):
    """A 24 x 40 image as timm evaluates at 16: shorter side to 16 / 0.875, then the centre."""
    small = Image.open(path).convert(mode).resize((30, 18), Image.BICUBIC).crop((7, 1, 23, 17))
    return np.asarray(small).reshape(16, 16, -1)


def test_an_image_folder(folder, images):
    assert isinstance(images, FolderDataset)
    assert (images.classes, images.channels, images.image_size) == (3, 3, (16, 16))
    assert images.train_labels.tolist() == [0] * 4 + [1] * 3 + [2] * 5, "classes in the order of their names"
    assert images.test_labels.tolist() == [0, 0, 1, 1, 2, 2] and images.test_labels.dtype == np.int64
    assert images.mean == (0.485, 0.456, 0.406) and images.std == (0.229, 0.224, 0.225)
    expected = np.stack([centre(folder / "val" / c / f"i{k}.png") for c in "Cab" for k in (0, 1)])
    parts = list(images.test_batches(4))
    assert [len(p) for p in parts] == [4, 2] and parts[0].dtype == torch.float32
    assert np.array_equal(torch.cat(parts).numpy(), expected)
    chosen = np.array([1, 2, 5])
    assert np.array_equal(torch.cat(list(images.test_batches(2, chosen))).numpy(), expected[chosen])
    sample, labels = images.test_sample()
    assert sample.dtype == np.uint8 and np.array_equal(sample, expected)
    assert np.array_equal(labels, images.test_labels)


def test_a_sample_of_a_folder_is_spread_over_its_classes(folder, images):
    sample, labels = images.test_sample(3)
    assert labels.tolist() == [0, 1, 2]
    chosen = images.held_out(3, 0)
    files = [folder / "val" / c / f"i{k}.png" for c in "Cab" for k in (0, 1)]
    assert np.array_equal(sample, [centre(files[i]) for i in chosen])
    assert np.bincount(images.test_sample(4)[1]).min() == 1 and len(images.test_sample(99)[0]) == 6


def test_calibration_and_plain_epochs_of_a_folder_see_the_centre(folder, images):
    train = np.stack([centre(p) for c in "Cab" for p in sorted((folder / "train" / c).iterdir())])
    found = images.calibration(3)
    assert found.dtype == torch.float32 and np.array_equal(found.numpy(), train[[0, 4, 7]])
    batches = [torch.tensor([11, 0, 5]), torch.tensor([4])]
    for index, (pixels, labels) in zip(batches, images.epoch(batches, generator(), PLAIN), strict=True):
        assert pixels.dtype == torch.float32 and np.array_equal(pixels, train[index.numpy()])
        assert np.array_equal(labels, images.train_labels[index.numpy()])


@pytest.mark.parametrize("mode, suffix", [("L", "png"), ("L", "jpg"), ("1", "png"), ("LA", "png")])
def test_grey_folders_have_one_channel(tmp_path, mode, suffix):
    write_folder(tmp_path, mode, suffix)
    data = load_dataset(f"imagefolder:{tmp_path}", image_size=16)
    assert data.channels == 1 and data.mean == (0.449,) and data.std == (0.226,)
    sample, _ = data.test_sample()
    assert sample.shape == (6, 16, 16, 1)
    assert np.array_equal(sample[0], centre(tmp_path / "val/C" / f"i0.{suffix}", "L"))
    for pixels, _ in data.epoch([torch.arange(12)], generator(), Augmentation(1, True, True)):
        assert pixels.shape == (12, 16, 16, 1) and len(pixels.unique()) > 2


@pytest.mark.parametrize("mode, suffix", [("RGB", "JPEG"), ("RGBA", "png"), ("P", "png"), ("CMYK", "tif")])
def test_colour_folders_have_three_channels(tmp_path, mode, suffix):
    write_folder(tmp_path, mode, suffix, test="validation")
    Image.new("L", (9, 9), 200).save(tmp_path / "train/C/z.png")
    data = load_dataset(f"imagefolder:{tmp_path}", image_size=16)
    assert data.channels == 3
    assert np.array_equal(data.test_sample()[0][0], centre(tmp_path / "validation/C" / f"i0.{suffix}"))
    pixels, _ = next(data.epoch([torch.arange(len(data.train_files))], generator(), PLAIN))
    assert any(torch.equal(p, torch.full((16, 16, 3), 200.0)) for p in pixels), "the grey image among them"


@pytest.mark.parametrize("size", [(9, 60), (60, 9), (16, 16), (3, 5)])
def test_images_of_any_shape_give_the_asked_size(tmp_path, size):
    write_folder(tmp_path, size=size, test="test")
    data = load_dataset(f"imagefolder:{tmp_path}", image_size=(12, 20))
    assert data.image_size == (12, 20) and data.calibration(4).shape == (4, 12, 20, 3)
    for crop in (False, True):
        pixels, _ = next(data.epoch([torch.arange(6)], generator(), Augmentation(2, True, crop)))
        assert pixels.shape == (6, 12, 20, 3)


def test_shift_and_flip_of_a_folder_move_the_centre(folder, images):
    image = centre(folder / "train/C/i0.png")
    shifts = [moved(image, d, r) for d in (-1, 0, 1) for r in (-1, 0, 1)]
    allowed = {s.tobytes() for s in shifts} | {s[:, ::-1].tobytes() for s in shifts}
    batch = [torch.zeros(300, dtype=torch.int64)]
    pixels, _ = next(images.epoch(batch, generator(), Augmentation(1, True)))
    assert {p.tobytes() for p in pixels.numpy().astype(np.uint8)} == allowed


@pytest.mark.parametrize("world", [2, 3])
def test_parts_of_an_epoch_of_a_folder_are_the_epoch(images, world):
    batches = [torch.tensor([0, 3, 3, 7, 1]), torch.tensor([11, 2])]
    check_parts(images, batches, Augmentation(1, True, True), world)


def test_crops_differ_by_image_and_epoch_and_follow_the_generator(images):
    source, batches = generator(2), [torch.tensor([4, 4, 4]), torch.tensor([4])]
    state, global_state = source.get_state(), torch.get_rng_state()

    def crops():
        return torch.cat([i for i, _ in images.epoch(batches, source, Augmentation(crop=True))])

    first, second = crops(), crops()
    assert len({c.numpy().tobytes() for c in torch.cat([first, second])}) == 8
    source.set_state(state)
    assert torch.equal(crops(), first)
    assert torch.equal(torch.get_rng_state(), global_state), "only the given generator is drawn from"


def test_a_crop_keeps_left_and_right_unless_flip_is_asked_for(tmp_path):
    """Images that brighten from left to right still do after any crop."""
    ramp = np.repeat(np.linspace(0, 255, 40, dtype=np.uint8)[None, :, None], 24, 0).repeat(3, 2)
    for part, name in np.ndindex(2, 2):
        (tmp_path / ("train", "val")[part] / "ab"[name]).mkdir(parents=True)
        Image.fromarray(ramp).save(tmp_path / ("train", "val")[part] / "ab"[name] / "i.png")
    data = load_dataset(f"imagefolder:{tmp_path}", image_size=16)

    def rising(flip):
        batch = [torch.zeros(60, dtype=torch.int64)]
        pixels, _ = next(data.epoch(batch, generator(), Augmentation(flip=flip, crop=True)))
        return (pixels[:, :, -1] > pixels[:, :, 0]).flatten(1).all(1)

    assert rising(False).all() and 10 < rising(True).sum() < 50


def test_limited_folders(folder):
    data = load_dataset(f"imagefolder:{folder}", 7, 16)
    assert np.bincount(data.train_labels).tolist() == [3, 2, 2] and len(data.train_files) == 7
    assert all(f"/train/{'Cab'[k]}/".encode() in f for f, k in zip(data.train_files, data.train_labels))
    assert len(data.test_labels) == 6
    assert error_of(load_dataset, f"imagefolder:{folder}", 13, 16) == (
        f"train_images = 13 does not fit imagefolder:{folder} (12 training images of 3 classes): use 3 to 12"
    )


def test_only_image_files_count_at_any_depth(tmp_path):
    write_folder(tmp_path)
    inside = tmp_path / "train/a/deeper"
    inside.mkdir()
    (tmp_path / "train/a/i0.png").rename(inside / "z.PNG")
    (tmp_path / "train/a/._i1.png").write_bytes(b"")
    (tmp_path / "train/a/Thumbs.db").write_bytes(b"")
    (tmp_path / "train/.cache").mkdir()
    (tmp_path / "train/list.txt").write_text("")
    data = load_dataset(f"imagefolder:{tmp_path}", image_size=16)
    assert data.classes == 3 and np.bincount(data.train_labels).tolist() == [4, 3, 5]


def test_folders_that_are_no_image_set(tmp_path):
    def error():
        return error_of(load_dataset, f"imagefolder:{tmp_path}", None, 16)

    assert error_of(load_dataset, f"imagefolder:{tmp_path}") == (
        f"imagefolder:{tmp_path} needs the size of its images: set model.image_size, for instance 224"
    )
    assert error_of(load_dataset, f"imagefolder:{tmp_path}/no", None, 16) == (f"imagefolder:{tmp_path}/no: there is no such folder")
    assert f"imagefolder:{tmp_path} has no folder val, validation or test: use PATH/train/" in error()
    (tmp_path / "val").mkdir()
    assert f"imagefolder:{tmp_path} has no folder train: use PATH/train/<class>/*.jpg and" in error()
    (tmp_path / "train").mkdir()
    assert error() == f"{tmp_path}/train has 0 class folder(s): use 2 or more"
    for name in "abcde":
        (tmp_path / "train" / name).mkdir()
    assert error() == (f"{tmp_path}/val lacks the class folder(s) a, b, c and 2 more: use the same classes in train and val")
    for name in "abcdef":
        (tmp_path / "val" / name).mkdir()
    assert error() == f"{tmp_path}/train lacks the class folder(s) f: use the same classes in train and val"
    (tmp_path / "train/f").mkdir()
    assert error().startswith(f"no image files in {tmp_path}/train/a: use .jpg, .jpeg, .png")


def test_an_unreadable_image_is_named(tmp_path):
    write_folder(tmp_path, suffix="jpg", size=(64, 64))
    broken = tmp_path / "train/a/i1.jpg"
    whole = broken.read_bytes()
    data = load_dataset(f"imagefolder:{tmp_path}", image_size=16)
    batches = list(torch.arange(12).split(4))
    for content, reason in ((b"text", "cannot identify image file"), (whole[: len(whole) // 2], "truncated")):
        broken.write_bytes(content)
        error = error_of(list, data.epoch(batches, generator(), Augmentation(1, True, True)))
        assert re.fullmatch(rf"cannot read image {broken}: .*{reason}.*: remove or replace it", error)
    broken.unlink()
    assert error_of(list, data.epoch(batches, generator(), PLAIN)) == (
        f"cannot read image {broken}: No such file or directory: remove or replace it"
    )
    (tmp_path / "val/b/i0.jpg").write_bytes(b"")
    assert f"cannot read image {tmp_path}/val/b/i0.jpg: " in error_of(data.test_sample)
    (tmp_path / "train/C/i0.jpg").write_bytes(b"")
    assert "train/C/i0.jpg: " in error_of(load_dataset, f"imagefolder:{tmp_path}", None, 16)


def test_images_of_16_bits_are_refused_not_clipped(tmp_path):
    write_folder(tmp_path)
    Image.fromarray(np.full((20, 20), 40_000, np.uint16)).save(tmp_path / "val/a/i0.png")
    data = load_dataset(f"imagefolder:{tmp_path}", image_size=16)
    assert error_of(data.test_sample) == (f"image {tmp_path}/val/a/i0.png has more than 8 bits a channel (mode I;16): convert it to 8")


def test_a_folder_of_classes_alone_is_split_by_seed(tmp_path):
    for c, count in enumerate((10, 4, 1)):
        folder = tmp_path / "set" / f"c{c}"
        folder.mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full((6, 6), 10 * c + i, np.uint8)).save(folder / f"{i}.png")
    data = FolderDataset(tmp_path / "set", (6, 6))
    assert "one image of 5 of every class is held out, drawn with seed 0" in data.name
    assert np.bincount(data.test_labels, minlength=3).tolist() == [2, 1, 0] and np.bincount(data.train_labels).tolist() == [8, 3, 1]
    assert len({*data.train_files.tolist(), *data.test_files.tolist()}) == 15
    again = FolderDataset(tmp_path / "set", (6, 6))
    assert again.test_files.tolist() == data.test_files.tolist()


# --- the rest of an epoch, training images that are held out, Tiny-ImageNet's layout ---


@pytest.mark.parametrize("augmentation", [PLAIN, Augmentation(1, True)])
def test_the_rest_of_an_epoch_is_what_the_whole_one_has(images, augmentation):
    for data in (small_set(), images):
        batches = list(torch.randperm(12, generator=generator()).split(5))
        one, other = generator(4), generator(4)
        whole, rest = list(data.epoch(batches, one, augmentation)), list(data.epoch(batches, other, augmentation, start=2))
        assert len(whole) == 3 and len(rest) == 1
        assert torch.equal(rest[0][0], whole[2][0]) and torch.equal(rest[0][1], whole[2][1])
        assert list(data.epoch(batches, generator(4), augmentation, start=3)) == []
        assert torch.equal(one.get_state(), other.get_state())


def test_training_images_are_held_out_in_place_of_the_others(folder, images):
    whole, data = digits(), load_dataset("digits", 100, holdout=200)
    shown = {i.tobytes() for i in data.train_images}
    held = {i.tobytes() for i in data.test_images}
    known = {i.tobytes() for i in whole.train_images}
    assert len(data.train_labels) == 100 and len(data.test_labels) == 200
    assert shown <= known and held <= known and not shown & held, "none of the set's own held-out images"
    assert np.bincount(data.test_labels).tolist() == [20] * 10 and np.bincount(data.train_labels).tolist() == [10] * 10
    files = load_dataset(f"imagefolder:{folder}", None, 16, holdout=3)
    assert sorted([*files.train_files, *files.test_files]) == sorted(images.train_files)
    assert np.bincount(files.test_labels).tolist() == [1, 1, 1]
    sample, _ = files.test_sample()
    assert np.array_equal(sample, [centre(f.decode()) for f in files.test_files])


@pytest.mark.parametrize("count", [2, 10])
def test_a_holdout_that_does_not_fit(folder, count):
    assert error_of(load_dataset, f"imagefolder:{folder}", None, 16, count) == (
        f"holdout = {count} does not fit imagefolder:{folder} (12 training images of 3 classes): use 3 to 9"
    )


def write_tiny_imagenet(root):
    """``train/<wnid>/images/*.JPEG``, ``val/images/*.JPEG`` and their classes in a text, in another order than the files'."""
    classes = ("n01443537", "n01629819")
    for label, name in enumerate(classes):
        (root / "train" / name / "images").mkdir(parents=True)
        (root / "train" / name / f"{name}_boxes.txt").write_text("")
        for k in range(3):
            Image.fromarray(drawn(20, 20, 3, seed=[label, k])).save(root / "train" / name / "images" / f"{name}_{k}.JPEG")
    (root / "val/images").mkdir(parents=True)
    for k in range(4):
        Image.fromarray(drawn(20, 20, 3, seed=[2, k])).save(root / "val/images" / f"val_{k}.JPEG")
    lines = [f"val_{k}.JPEG\t{classes[k % 2]}\t0\t0\t9\t9" for k in (3, 0, 2, 1)]
    (root / "val/val_annotations.txt").write_text("\n".join(lines) + "\n")
    (root / "wnids.txt").write_text("\n".join(classes))
    return root


def test_tiny_imagenet_as_it_is_unpacked(tmp_path):
    data = load_dataset(f"imagefolder:{write_tiny_imagenet(tmp_path)}", image_size=16)
    assert data.class_names == ("n01443537", "n01629819") and data.classes == 2
    assert data.train_labels.tolist() == [0, 0, 0, 1, 1, 1] and data.test_labels.tolist() == [1, 0, 0, 1]
    assert [f.decode().rpartition("/")[2] for f in data.test_files] == ["val_3.JPEG", "val_0.JPEG", "val_2.JPEG", "val_1.JPEG"]
    assert data.test_sample()[0].shape == (4, 16, 16, 3)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "val_annotations.txt: line 1 is not FILE CLASS: use a line for each image below"),
        ("val_0.JPEG\n", "val_annotations.txt: line 1 is not FILE CLASS"),
        ("val_0.JPEG n01443537\nval_9.JPEG n01443537", r"val_annotations.txt names val_9.JPEG, which is not in .*images \(1 are missing\)"),
        ("val_0.JPEG n02", r"val_annotations.txt: there is no training folder of class n02 \(1 are missing\)"),
    ],
)
def test_annotations_that_do_not_fit(tmp_path, text, message):
    (write_tiny_imagenet(tmp_path) / "val/val_annotations.txt").write_text(text)
    assert re.search(message, error_of(load_dataset, f"imagefolder:{tmp_path}", None, 16))


def test_evaluation_reads_tiny_imagenet_as_training_does(tmp_path):
    data = load_dataset(f"imagefolder:{write_tiny_imagenet(tmp_path)}", image_size=16)
    source = read_source(f"imagefolder:{tmp_path}", NetworkShape(16, 16, 3, 2))
    assert np.array_equal(source.labels, data.test_labels) and source.note == "labels by the order of the folders' names"
    assert np.array_equal(source.read([0, 1, 2, 3])[0], data.test_sample()[0])
    assert read_source(f"imagefolder:{tmp_path}", NetworkShape(16, 16, 3, 1000)).labels.tolist() == [25, 1, 1, 25], "ImageNet's numbers"
