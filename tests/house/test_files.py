"""A file appears whole or not at all, and what prevents it is named by its final path."""

import errno
import io
import os
import random
import resource
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from finn_vitprune.arrays import read_array, read_arrays
from finn_vitprune.errors import UserError, describe
from finn_vitprune.files import (
    BROKEN_ARRAYS,
    alone_in,
    alone_with,
    is_partial,
    output_path,
    read_json,
    read_yaml,
    remove_partials,
    whole_file,
    whole_folder,
    write_text,
)  # fmt: skip

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


def test_every_damage_of_an_array_file_is_a_known_error(tmp_path):
    """Seeded: bits flipped, ends cut off."""
    files, draw = [], random.Random(1)
    for save in (np.savez, np.savez_compressed, lambda file, images: np.save(file, images)):  # noqa: PLW0108
        file = io.BytesIO()
        save(file, images=np.arange(64).reshape(4, 16))
        files.append(file.getvalue())
    failed = 0
    for number in range(1500):
        data = bytearray(files[number % 3])
        for _ in range(draw.choice([1, 3])):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        if draw.random() < 0.2:
            del data[draw.randrange(len(data)) :]
        path = tmp_path / "damaged"
        path.write_bytes(data)
        try:
            (read_array if number % 3 == 2 else read_arrays)(path)
        except (*BROKEN_ARRAYS, UserError):
            failed += 1
    assert failed > 500


@pytest.mark.parametrize("name", ["huge.npy", "huge.npz"])
def test_a_header_that_promises_more_than_there_is_is_named_with_its_file(name, tmp_path):
    """10^12 images of 8 x 8 pixels, and ten bytes."""
    path, header = tmp_path / name, io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 8, 8, 1)})
    data = header.getvalue() + bytes(10)
    if name.endswith("npy"):
        path.write_bytes(data)
    else:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("images.npy", data)
    with pytest.raises(
        UserError, match=rf"{name} is damaged: it should have shape \[1000000000000, 8, 8, 1\], 64,000,000,000,000 bytes, .* holds 10"
    ):
        (read_array if name.endswith("npy") else read_arrays)(path)


def test_an_array_that_is_larger_than_the_memory_is_named(tmp_path, monkeypatch):
    np.savez(tmp_path / "x.npz", images=np.zeros(1000, np.uint8))

    def refused(*args, **options):
        raise MemoryError

    monkeypatch.setattr("finn_vitprune.arrays.npy.read_array", refused)
    with pytest.raises(UserError, match="array images of .*x.npz takes 0.0 GiB, more memory than there is"):
        read_arrays(tmp_path / "x.npz")


def test_a_large_array_is_said_to_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr("finn_vitprune.arrays.LARGE", 1000)
    np.savez(tmp_path / "x.npz", images=np.zeros((10, 100), np.uint8), labels=np.zeros(10, np.uint8))
    lines = []
    monkeypatch.setattr("finn_vitprune.progress.line", lines.append)
    assert read_arrays(tmp_path / "x.npz", ["images", "labels"])["images"].shape == (10, 100)
    assert lines == [f"reading array images of {tmp_path / 'x.npz'}: shape [10, 100], 1.0 GiB"]


DEEP = "[" * 100_000


@pytest.mark.parametrize("read, text, message", [
    (read_json, DEEP, "thing .*x is not JSON: it is nested too deeply"),
    (read_yaml, DEEP, "thing .*x is not YAML: it is nested too deeply"),
    (read_yaml, "".join(" " * i + "a:\n" for i in range(2000)), "thing .*x is not YAML: it is nested too deeply"),
    (read_json, "{", "thing .*x is not JSON: .*line 1 column 2"),
    (read_yaml, "a: [1,\nb", r"thing .*x is not YAML: .*\(line 2\)"),
    (read_yaml, "a: 2020-13-45", "thing .*x is not YAML: month must be in 1..12"),
    (read_json, b"\xff", "thing .*x is not JSON: it is not UTF-8"),
    (read_yaml, b"\xff", "thing .*x is not YAML: it is not UTF-8"),
    (read_json, None, "cannot read thing .*x: No such file"),
], ids=["deep JSON", "deep YAML", "deep blocks", "JSON", "YAML", "date", "bytes for JSON", "bytes for YAML", "none"])  # fmt: skip
def test_what_is_no_json_or_yaml_is_one_line_with_its_file(read, text, message, tmp_path):
    path = tmp_path / "x"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message) as caught:
        read(path, "thing")
    assert "\n" not in str(caught.value)


def test_a_file_is_written_by_one_process_at_a_time_and_no_lock_is_left(tmp_path):
    """Of many that want it at once, each either has it alone or is told that another has."""
    path = tmp_path / "new" / "model.onnx"
    with alone_with(path, "import"):
        with (
            pytest.raises(UserError, match=f"another import is writing {path}: wait for it or give another name"),
            alone_with(path, "import"),
        ):
            pass
        with alone_with(path.with_name("other.onnx"), "import"):
            pass
    assert not list(path.parent.iterdir())
    script = f"""
import random, sys, time
from pathlib import Path
from finn_vitprune.errors import UserError
from finn_vitprune.files import alone_with
held = Path({str(tmp_path)!r}) / "held"
for _ in range(200):
    try:
        with alone_with(Path({str(path)!r}), "test"):
            held.open("x").close()
            time.sleep(random.random() / 5000)
            held.unlink()
    except UserError:
        pass
"""
    running = [subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[1] for process in running] == [""] * 3
    assert not list(path.parent.iterdir())


def test_a_killed_process_holds_no_lock(tmp_path):
    path = tmp_path / "model.onnx"
    script = f"from pathlib import Path\nfrom finn_vitprune.files import alone_with\nwith alone_with(Path({str(path)!r}), 'x'):\n    import os; os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script])
    with alone_with(path, "import"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("use", [output_path, lambda path: write_text(path, "x"), lambda path: alone_in(path, "build").__enter__()])
def test_an_output_path_that_cannot_be_is_named(use, tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UserError, match="a: its links lead in a circle: give another name"):
        use(tmp_path / "a")
    with pytest.raises(UserError, match=r"\\xff' is not UTF-8: give a name that is"):
        use(tmp_path / "\udcff")
    with pytest.raises(UserError, match="null byte"):
        use(tmp_path / "a\0b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]
