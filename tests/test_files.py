"""A file appears whole or not at all, and what prevents it is named by its final path."""

import errno
import io
import os
import random
import resource
import shutil

import numpy as np
import pytest

from finn_vitprune.errors import describe
from finn_vitprune.files import BROKEN_ARRAYS, is_partial, remove_partials, whole_file, whole_folder, write_text

UMASK = os.umask(0)
os.umask(UMASK)


@pytest.fixture
def small_files():
    """No file of this process grows beyond 1,000 bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_leaves_the_old_file_and_names_the_new_one(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(OSError) as caught:
        write_text(path, 5000 * "x")
    assert describe(caught.value) == f"{path}: File too large"
    with pytest.raises(OSError) as caught, whole_file(path) as partial, partial.open("wb") as file:
        np.save(file, np.zeros(1000))
    assert describe(caught.value).startswith(f"{path}: ")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_gone_is_named(tmp_path):
    path = tmp_path / "folder" / "result.json"
    with pytest.raises(OSError) as caught, whole_file(path) as partial:
        partial.write_text("new")
        shutil.rmtree(path.parent)
    assert describe(caught.value) == f"{path}: No such file or directory"
    path.parent.write_text("a file")
    with pytest.raises(OSError) as caught:
        write_text(path, "new")
    assert describe(caught.value) in (f"{path.parent}: File exists", f"{path}: Not a directory")


def test_another_file_that_fails_meanwhile_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, whole_file(tmp_path / "copy"):
        (tmp_path / "source").read_text()
    assert describe(caught.value) == f"{tmp_path / 'source'}: No such file or directory"
    assert caught.value.errno == errno.ENOENT and not list(tmp_path.iterdir())


def test_what_a_killed_process_was_writing_can_be_removed(tmp_path):
    write_text(tmp_path / "report/result.json", "{}")
    with whole_file(tmp_path / "report/next.json") as partial:
        shutil.copy(partial, partial.with_name(partial.name.replace("next", "killed")))
    assert [is_partial(p) for p in sorted((tmp_path / "report").iterdir())] == [True, False, False]
    remove_partials(tmp_path)
    assert sorted(p.name for p in (tmp_path / "report").iterdir()) == ["next.json", "result.json"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "made" / "folder"
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), whole_folder(path) as new:
            (new / "half").write_text("half")
            raise error
        assert not list(path.parent.iterdir())
    for text in ("first", "second"):
        with whole_folder(path) as new:
            write_text(new / text, text)
            assert path.exists() == (text == "second")
        assert [p.name for p in path.iterdir()] == [text] and list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o777 & ~UMASK
    with pytest.raises(ValueError), whole_folder(path) as new:
        raise ValueError
    assert (path / "second").read_text() == "second"


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path):
    path = tmp_path / "folder"
    with whole_folder(path) as new:
        write_text(new / "old", "old")
    with pytest.raises(OSError), whole_folder(path) as new:
        new.rmdir()
    assert [p.name for p in tmp_path.rglob("*")] == ["folder", "old"]


def test_a_folder_that_a_killed_process_was_writing_can_be_removed(tmp_path):
    with whole_folder(tmp_path / "next") as new:
        write_text(new / "text", "text")
        shutil.copytree(new.parent, new.parent.with_name(f"{new.parent.name}-killed"))
    remove_partials(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["next", "text"]


def test_every_damage_of_an_array_file_is_a_known_error():
    """Seeded: bits flipped, ends cut off."""
    files, draw = [], random.Random(1)
    for save in (np.savez, np.savez_compressed, lambda file, images: np.save(file, images)):
        file = io.BytesIO()
        save(file, images=np.arange(64).reshape(4, 16))
        files.append(file.getvalue())
    failed = 0
    for number in range(1500):
        data = bytearray(files[number % 3])
        for _ in range(draw.choice([1, 3])):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        if draw.random() < 0.2:
            del data[draw.randrange(len(data)):]
        try:
            found = np.load(io.BytesIO(data))
            if not isinstance(found, np.ndarray):
                dict(found)
        except BROKEN_ARRAYS:
            failed += 1
    assert failed > 500
