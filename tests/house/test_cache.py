"""A cache entry is used only as it was made: every damage is seen, said once and mended by making the entry again."""

import errno
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from finn_vitprune import cache, progress
from finn_vitprune.errors import UserError
from finn_vitprune.sim import Port, compile_top, toolchain
from tests.said import Said

NAME = "kind/entry"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An entry of two files, one in a folder."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return cache.entry(NAME, make)


def make(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "binary").write_bytes(bytes(range(256)) * 50)
    (folder / "text").write_text("words")


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def as_folder(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.mkdir()


def as_file(path):
    shutil.rmtree(path)
    path.write_text("not a folder")


DAMAGES = {
    "bit flipped": lambda f: flip(f / "sub/binary"),
    "truncated": lambda f: os.truncate(f / "sub/binary", 100),
    "emptied": lambda f: os.truncate(f / "text", 0),
    "deleted": lambda f: (f / "text").unlink(),
    "file replaced by a folder": lambda f: as_folder(f / "text"),
    "folder emptied": as_folder,
    "folder replaced by a file": as_file,
    "digests flipped": lambda f: flip(f / cache.DIGESTS),
    "digests emptied": lambda f: os.truncate(f / cache.DIGESTS, 0),
    "digests deleted": lambda f: (f / cache.DIGESTS).unlink(),
    "digests no text": lambda f: (f / cache.DIGESTS).write_bytes(b"\xff\xfe"),
    "a file too many": lambda f: (f / "more").write_text(""),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_every_damage_is_mended_once_and_said(folder, damage):
    damage(folder)
    said, made = Said(), []

    def again(work):
        made.append(work)
        make(work)

    with progress.shown_by(said):
        assert cache.entry(NAME, again) == cache.entry(NAME, again) == folder
    assert len(made) == 1 and said == [f"the cache entry {folder} is damaged and is made again"]
    assert (folder / "text").read_text() == "words" and (folder / "sub/binary").stat().st_size == 12_800


def test_an_entry_that_fails_leaves_nothing_and_damage_is_found_without_a_maker(folder):
    flip(folder / "text")
    assert cache.find(NAME) is None

    def broken(work):
        make(work)
        raise UserError("no compiler")

    for name in (NAME, "kind/other"):
        with pytest.raises(UserError, match="^no compiler$"):
            cache.entry(name, broken)
        assert cache.find(name) is None
    assert not list(folder.parent.glob("building-*")) and not (folder.parent / "other").exists()
    assert cache.find("kind/none") is None


def test_leftovers_of_a_killed_build_go_after_a_day(folder):
    old, young = (folder.parent / f"building-{i}" for i in ("old", "young"))
    for path in (old, young):
        path.mkdir()
        make(path)
    os.utime(old, (time.time() - cache.LEFTOVER_S - 60,) * 2)
    cache.entry("kind/other", make)
    assert young.exists() and not old.exists()


def test_entries_are_made_side_by_side(folder):
    """One that another process completes while this one looks for leftovers is no error."""

    def entries(who):
        return [cache.entry(f"kind/{who}_{i}", make) for i in range(60)]

    with ThreadPoolExecutor(4) as pool:
        made = [entry for group in pool.map(entries, range(4)) for entry in group]
    assert len(set(made)) == 240 and all(map(cache.intact, made))


def test_a_cache_that_cannot_be_written_is_one_line_that_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "file"))
    with pytest.raises(UserError, match=rf"cannot write to the cache .*file: .*Not a directory; make room there, or set {cache.VARIABLE}"):
        cache.entry(NAME, make)


def test_what_stops_the_making_of_an_entry_does_not_name_a_folder_that_is_gone(folder):
    def broken(work):
        raise OSError(errno.ENOSPC, "No space left on device", str(work / "text"))

    with pytest.raises(UserError, match=f"{folder.parent}/other: No space left on device; make room there") as error:
        cache.entry("kind/other", broken)
    assert "building" not in str(error.value)


def test_without_a_home_folder_the_variable_is_asked_for(monkeypatch):
    monkeypatch.delenv(cache.VARIABLE, raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    with pytest.raises(UserError, match=f"no home folder.*{cache.VARIABLE}"):
        cache.cache_dir()


def test_a_damaged_simulator_is_compiled_again(tmp_path, monkeypatch):
    """It runs as before; sources and what was made of them are not kept."""
    source = tmp_path / "inverter.sv"
    source.write_text(
        "module inverter(input wire ap_clk, input wire ap_rst_n, input wire [7:0] a_tdata, input wire a_tvalid, output wire"
        " a_tready, output wire [7:0] b_tdata, output wire b_tvalid, input wire b_tready);"
        " assign b_tdata = ~a_tdata; assign b_tvalid = a_tvalid; assign a_tready = b_tready; endmodule"
    )
    runtime, place = toolchain.runtime(), tmp_path / "cache"
    shutil.copytree(runtime, place / "verilator" / runtime.name)
    monkeypatch.setenv(cache.VARIABLE, str(place))
    data, said = np.arange(200, dtype=np.uint8).reshape(-1, 1), Said()

    def compiled():
        return compile_top("inverter", [source], [Port("a", 8)], [Port("b", 8)])

    entry = compiled().executable.parent
    assert sorted(p.name for p in entry.iterdir()) == [cache.DIGESTS, "sim"]
    flip(entry / "sim")
    with progress.shown_by(said):
        assert compiled().run({"a": data}, {"b": ~data}).ok
    assert said[0] == f"the cache entry {entry} is damaged and is made again" and "damaged" not in " ".join(said[1:])


def test_a_damaged_runtime_is_compiled_again(tmp_path, monkeypatch):
    def compiler(commands, folder=None, at_once=None, what=""):
        for command in commands:
            Path(command[command.index("-o") + 1]).write_text(" ".join(command[:-1]))

    toolchain.versions()
    monkeypatch.setattr(toolchain, "_run", compiler)
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    folder, said = toolchain.runtime(), Said()
    before = {path: path.read_bytes() for path in folder.rglob("*.o")}
    assert len(before) == 3
    flip(folder / "driver.o")
    with progress.shown_by(said):
        assert toolchain.runtime() == folder
    assert said[0] == f"the cache entry {folder} is damaged and is made again" and "damaged" not in " ".join(said[1:])
    assert {path: path.read_bytes() for path in before} == before


def test_a_process_reads_an_entry_again_only_where_a_file_has_changed(folder, monkeypatch):
    read = []
    digest = cache.sha256
    monkeypatch.setattr(cache, "sha256", lambda path: read.append(path.name) or digest(path))
    monkeypatch.setattr(cache, "SETTLED_NS", 10**15)
    assert cache.find(NAME) == folder and cache.find(NAME) == folder
    assert read == ["binary", "text"] * 2, "files of a moment ago may change without another time"
    monkeypatch.setattr(cache, "SETTLED_NS", 0)
    read.clear()
    assert cache.find(NAME) == cache.find(NAME) == folder and read == ["binary", "text"]
    stat = (folder / "text").stat()
    flip(folder / "text")
    os.utime(folder / "text", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert cache.find(NAME) is None and read == ["binary", "text"] * 2
    assert cache.entry(NAME, make) == cache.find(NAME) == folder
