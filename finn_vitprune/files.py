"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from finn_vitprune.errors import UserError

LOCK = ".lock"
"""In a folder of which one process at a time has the use (:func:`alone_in`)."""
PARTIAL = ".partial-"
"""How the name of a file begins that is being written."""
BROKEN_ARRAYS = (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile, tokenize.TokenError)
"""What NumPy raises for a damaged ``.npy`` or ``.npz`` file."""


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path``, with its suffix, that replaces ``path`` when the block ends without an error.

    Folders on the way are made. After an error ``path`` is as it was and nothing else is left behind.

    Raises:
        OSError: the file cannot be written; the error names ``path``.
    """
    path = Path(path)
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{PARTIAL}{path.stem}-", suffix=path.suffix)
        os.close(descriptor)
        partial = Path(name)
        yield partial
        partial.chmod(0o666 & ~_umask())
        partial.replace(path)
    except OSError as error:
        if error.filename is None or is_partial(Path(error.filename)):
            error.filename = str(path)
        raise
    finally:
        if partial is not None:
            with suppress(OSError):  # the folder may be gone
                partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that replaces ``path``, folder or nothing, when the block ends without an error.

    After an error ``path`` is as it was and nothing else is left behind. All that ``path`` holds is deleted when it is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=path.parent, prefix=f"{PARTIAL}{path.name}-"))
    try:
        new = place / "new"
        new.mkdir()
        yield new
        if path.exists():
            path.rename(place / "old")
        try:
            new.rename(path)
        except OSError:
            with suppress(FileNotFoundError):  # there was nothing
                (place / "old").rename(path)
            raise
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


@contextmanager
def alone_in(folder: Path, work: str) -> Iterator[None]:
    """Have ``folder``, which is made if need be, to oneself for some ``work``, as long as the block lasts or the process lives.

    Raises:
        UserError: another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another {work} is running in {folder}: wait for it or give another folder") from None
        yield


def is_partial(path: Path) -> bool:
    """Whether a path is that of a file or folder that was being written when its process was killed, or is being written."""
    return path.name.startswith(PARTIAL)


def remove_partials(folder: Path) -> None:
    """Delete what killed processes were writing in ``folder`` and below, where nobody writes now."""
    for path in filter(is_partial, list(folder.rglob("*"))):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text)


def write_json(path: str | Path, data: object, indent: int | None = 2) -> None:
    """Write ``data`` as JSON, whole or not at all."""
    write_text(path, json.dumps(data, indent=indent) + "\n")


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's contents, in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
