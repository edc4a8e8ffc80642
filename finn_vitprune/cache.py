"""The cache of what is expensive to make: compiled simulators, synthesised nodes.

An entry is a folder. It holds the SHA-256 digests of its files, and every use checks them: an entry that a crash, a full
disk or a hand has damaged is made again. A process reads the files of an entry once, and again when one of them has
changed. An entry appears by rename when it is complete, so that nothing half-made ever has its name, and a lock keeps
two processes from making one entry at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from finn_vitprune import progress
from finn_vitprune.errors import UserError, describe
from finn_vitprune.files import sha256

Files = tuple[tuple[str, int, int, int], ...]
"""Of an entry: each file with its inode, its size, and the nanosecond of its last change."""
VARIABLE = "FINN_VITPRUNE_CACHE"
DIGESTS = "SHA256SUMS"
"""The file of digests in an entry, in the format of the program ``sha256sum``."""
LEFTOVER_S = 86_400
"""Seconds after which the folder of an entry that was never completed is removed."""
SETTLED_NS = 2_000_000_000
"""Age of a file in nanoseconds from which its time of change tells of every later write, however coarse the clock is."""
_found_whole: dict[Path, Files] = {}
"""Entries whose digests this process has checked, with their files as they were then."""


BUILDING = "building-"
"""How the name of a folder begins that is being filled."""


def cache_dir() -> Path:
    """``$FINN_VITPRUNE_CACHE`` or ``~/.cache/finn-vitprune``.

    Raises:
        UserError: there is no home folder.
    """
    if given := os.environ.get(VARIABLE):
        return Path(given)
    try:
        return Path.home() / ".cache" / "finn-vitprune"
    except RuntimeError:
        raise UserError(f"there is no home folder for the cache: set {VARIABLE} to a folder") from None


def intact(folder: Path) -> bool:
    """Whether an entry holds the files that its digests name, and no others."""
    try:
        files = _files(folder)
        if _found_whole.get(folder) == files:
            return True
        if (folder / DIGESTS).read_text() != _digests(folder):
            return False
    except (OSError, UnicodeDecodeError):
        return False
    if time.time_ns() - max(changed for _, _, _, changed in files) > SETTLED_NS:
        _found_whole[folder] = files
    return True


def find(name: str) -> Path | None:
    """The folder of the entry ``name`` (a relative path); None where there is none, or a damaged one, which it says."""
    folder = cache_dir() / name
    if intact(folder):
        return folder
    if folder.exists():
        progress.line(f"the cache entry {folder} is damaged and is made again")
    return None


def entry(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of the entry ``name``; where there is none, or it is damaged, ``make`` fills a new one.

    Raises:
        UserError: the cache cannot be written.
    """
    if (found := find(name)) is not None:
        return found
    final = cache_dir() / name
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with (final.parent / f"{final.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not intact(final):
                _make(final, make)
    except OSError as error:
        if error.filename is not None and BUILDING in str(error.filename):
            error.filename = str(final)  # what users know, in place of a folder that is gone
        reason = f"cannot write to the cache {cache_dir()}: {describe(error)}"
        raise UserError(f"{reason}; make room there, or set {VARIABLE} to another folder") from error
    return final


def _make(final: Path, make: Callable[[Path], None]) -> None:
    for left in final.parent.glob(f"{BUILDING}*"):
        with contextlib.suppress(FileNotFoundError):  # another process has just completed it
            if left.stat().st_mtime < time.time() - LEFTOVER_S:
                shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=BUILDING, dir=final.parent))
    try:
        make(work)
        (work / DIGESTS).write_text(_digests(work))
        if final.is_dir():
            shutil.rmtree(final)
        else:
            final.unlink(missing_ok=True)
        work.rename(final)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _files(folder: Path) -> Files:
    """Of each file and folder in an entry: what changes with every write."""
    found = [(path, path.stat()) for path in sorted(folder.rglob("*"))]
    return tuple((str(path), stat.st_ino, stat.st_size, stat.st_ctime_ns) for path, stat in found)


def _digests(folder: Path) -> str:
    lines = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != DIGESTS:
            lines.append(f"{sha256(path)}  {path.relative_to(folder)}\n")
    return "".join(lines)
