"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from finn_vitprune.errors import UserError

LOCK = ".lock"
"""In a folder of which one process at a time has the use (:func:`alone_in`)."""
PARTIAL = ".partial-"
"""How the name of a file begins that is being written."""
BROKEN_ARRAYS = (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile, tokenize.TokenError)
"""What NumPy raises for a damaged ``.npy`` or ``.npz`` file."""


def output_path(path: str | Path) -> Path:
    """A path for results, in full.

    Raises:
        UserError: nothing can be written there, whatever the folder: the name is not UTF-8, or links lead in a circle.
    """
    try:
        full = Path(path).resolve()
        circle = _leads_in_a_circle(full)
    except RuntimeError:  # before Python 3.13
        circle = True
    except ValueError:
        raise UserError(f"output {str(path)!r} has a null byte: give another name") from None
    if circle:
        raise UserError(f"output {path}: its links lead in a circle: give another name")
    try:
        str(full).encode()
    except UnicodeEncodeError:
        raise UserError(f"output {os.fsencode(full)!r} is not UTF-8: give a name that is, in a folder whose name is") from None
    return full


def _leads_in_a_circle(path: Path) -> bool:
    try:
        os.stat(path)
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def need_file(path: Path | None) -> None:
    """Check that a file that was given exists.

    Raises:
        UserError: it does not, or is a folder.
    """
    if path is not None and not path.is_file():
        raise UserError(f"{path}: {'is a folder, a file is needed' if path.is_dir() else 'no such file'}")


def is_checkpoint(path: Path) -> bool:
    """Whether a file is one of PyTorch, by what it holds or is called."""
    return path.suffix in (".pt", ".pth") or zipfile.is_zipfile(path)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path``, with its suffix, that replaces ``path`` when the block ends without an error.

    Folders on the way are made. After an error ``path`` is as it was and nothing else is left behind.

    Raises:
        OSError: the file cannot be written; the error names ``path``.
    """
    path = Path(path)
    output_path(path)
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
    output_path(path)
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
    try:
        output_path(folder).mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise UserError(f"nothing can be written to {folder} ({error.strerror}): give another folder") from error
    with lock:
        if not _locked(lock):
            raise UserError(f"another {work} is running in {folder}: wait for it or give another folder")
        yield


@contextmanager
def alone_with(path: Path, work: str) -> Iterator[None]:
    """Have the file ``path``, and what goes beside it, to oneself for some ``work``, as :func:`alone_in` a folder.

    The lock is a hidden file beside it, which is deleted at the end. The folder of ``path`` is made if need be.

    Raises:
        UserError: another process has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.with_name(f".{path.name}{LOCK}")
    while True:
        with place.open("w") as lock:
            if not _locked(lock):
                raise UserError(f"another {work} is writing {path}: wait for it or give another name")
            if not _is_at(lock, place):  # the other process deleted the file between our opening and our locking it
                continue
            try:
                yield
            finally:
                place.unlink(missing_ok=True)
            return


def _locked(lock: IO[str]) -> bool:
    """Lock an open file, if no other process has."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is the one that ``path`` names."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


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


def read_json(path: str | Path, what: str) -> Any:
    """The contents of a JSON file.

    Args:
        what: the file should be; begins the error.
    Raises:
        UserError: there is no such file, or it is not JSON; the text names it, the cause and where it is.
    """
    return _read(path, what, "JSON", json.loads)


def read_yaml(path: str | Path, what: str) -> Any:
    """The contents of a YAML file, as :func:`read_json`."""
    from yaml import safe_load

    return _read(path, what, "YAML", safe_load)


def parse_json(text: str, what: str) -> Any:
    """``text`` as JSON; ``what`` it is, and begins the error."""
    return _parsed(text, what, "JSON", json.loads)


def parse_yaml(text: str, what: str) -> Any:
    """``text`` as YAML; ``what`` it is, and begins the error."""
    from yaml import safe_load

    return _parsed(text, what, "YAML", safe_load)


def _read(path: str | Path, what: str, kind: str, parse: Callable[[str], Any]) -> Any:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {what} {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{what} {path} is not {kind}: it is not UTF-8 ({error.reason} at byte {error.start})") from error
    return _parsed(text, f"{what} {path}", kind, parse)


def _parsed(text: str, what: str, kind: str, parse: Callable[[str], Any]) -> Any:
    from yaml import MarkedYAMLError, YAMLError

    try:
        return parse(text)
    except RecursionError:
        why = "it is nested too deeply"
    except (ValueError, YAMLError) as error:  # YAML: dates and numbers that are none are ValueErrors
        if isinstance(error, MarkedYAMLError) and error.problem_mark:
            why = f"{error.problem or error.context} (line {error.problem_mark.line + 1})"
        else:
            why = " ".join(str(error).split())
    raise UserError(f"{what} is not {kind}: {why}")


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
