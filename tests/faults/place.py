"""Where faults strike: a tiny network, its undisturbed build, and a folder and a cache that may be damaged."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
import psutil

from finn_vitprune import cli
from finn_vitprune.cache import VARIABLE
from finn_vitprune.files import is_partial
from finn_vitprune.sim import toolchain

PART = "xcu250-figd2104-2L-e"
MARK = "VITPRUNE_FAULT"
"""Environment variable by which the processes of a run are found."""
UNEQUAL = {"build_dataflow.log", "build_record.json", "time_per_step.json", "report.html", ".lock"}
"""These tell times, or the digests of files that do: they are not compared."""


class NotHeld(Exception):
    """A promise that a fault broke."""


@dataclass(frozen=True)
class Ran:
    """How a command ended: exit code (negative for a signal) and what it printed."""

    code: int
    out: str
    err: str

    def check(self, codes: Sequence[int]) -> None:
        """One of ``codes``, one line where it failed, no traceback.

        Raises:
            NotHeld: otherwise.
        """
        said = self.err.strip()
        if self.code not in codes:
            raise NotHeld(f"exit code {self.code}: {said[-300:]}")
        if "Traceback" in self.out + said or "defect in" in said:
            raise NotHeld(f"a traceback: {said[-300:]}")
        if self.code in (2, 130) and (said.count("\n") or not said.startswith("finn-vitprune: ")):
            raise NotHeld(f"not one line: {said[-300:]}")


@dataclass(frozen=True)
class Running:
    """A command under way, and the files that take what it prints."""

    process: subprocess.Popen
    out: Path
    err: Path

    def end(self) -> Ran:
        """Wait for its end, ten minutes at most."""
        self.process.wait(600)
        return Ran(self.process.returncode, self.out.read_text(), self.err.read_text())


class Place:
    """``build`` and ``cache`` in ``root`` are what faults may damage; ``fresh`` makes them as good as new."""

    def __init__(self, root: Path, synth: bool) -> None:
        """Build once without any fault.

        Args:
            synth: with Yosys.
        """
        self.root, self.synth = root, "nodes" if synth else "none"
        self.model, self.images = root / "model.onnx", root / "model.npz"
        self.build, self.cache, self._kept = root / "build", root / "cache", root / "kept"
        self.environment: dict[str, str | None] = {}
        if not (self._kept / "contents.json").exists():
            self._prepare()
        self.expected = json.loads((self._kept / "contents.json").read_text())

    def _prepare(self) -> None:
        from tests.vit_models import random_vit

        shutil.rmtree(self.root, ignore_errors=True)
        self._kept.mkdir(parents=True)
        model, images = random_vit(depth=1, drop_at=(), dim=8, heads=1, block=4)
        model.save(str(self._kept / "model.onnx"))
        np.savez(self._kept / "model.npz", images=images[:4], labels=np.arange(4))
        self._restore("model.onnx", "model.npz")
        runtime = toolchain.runtime()
        shutil.copytree(runtime, self.cache / "verilator" / runtime.name)
        self.run().check([0])
        for name in ("build", "cache"):
            shutil.copytree(self.root / name, self._kept / name)
        (self._kept / "contents.json").write_text(json.dumps(contents(self.build)))

    def _restore(self, *names: str) -> None:
        for name in names:
            target = self.root / name
            if target.is_dir():
                shutil.rmtree(target)
            source = self._kept / name
            shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)

    def fresh(self, built: bool, compiled: bool) -> None:
        """Model, images and cache as at first; ``built``: the build, too; not ``compiled``: the simulator is not cached."""
        self.environment = {}
        self._restore("model.onnx", "model.npz", "cache", *(["build"] if built else []))
        if not built:
            shutil.rmtree(self.build, ignore_errors=True)
        if not compiled:
            shutil.rmtree(self.simulator())

    def simulator(self) -> Path:
        """The cache entry of the compiled design."""
        [entry] = (self.cache / "verilator").glob("finn_design_monitored-????????????????????????")
        return entry

    def start(self, *options: str, command: Sequence[str] = ()) -> Running:
        """Start a build with more options, or another command of finn-vitprune."""
        given = {VARIABLE: str(self.cache), MARK: str(self.root), **self.environment}
        out, err = (Path(tempfile.mkstemp(dir=self.root.parent, prefix=f"{name}-")[1]) for name in ("out", "err"))
        with out.open("w") as stdout, err.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "finn_vitprune", *(command or self._build(*options))],
                env={k: v for k, v in (os.environ | given).items() if v is not None},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=self.root,
                start_new_session=True,
                # a shell's background ignores SIGINT
                preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (there are no threads)
            )
        return Running(process, out, err)

    def _build(self, *options: str) -> list[str]:
        return [
            "build",
            str(self.model),
            "--fpga-part",
            PART,
            "--target-fps",
            "1000000",
            "--synth",
            self.synth,
            "-o",
            str(self.build),
            *options,
        ]

    def run(self, *options: str, command: Sequence[str] = ()) -> Ran:
        """Run a build with more options, or another command, to its end."""
        return self.start(*options, command=command).end()

    def rerun(self) -> None:
        """Build again without the fault.

        Raises:
            NotHeld: the build fails, or a file differs from the undisturbed build's.
        """
        self._restore("model.onnx", "model.npz")
        out, err = io.StringIO(), io.StringIO()
        with patch.dict(os.environ, {VARIABLE: str(self.cache)}), redirect_stdout(out), redirect_stderr(err):
            code = cli.run(self._build())  # in this process, which has all loaded
        Ran(code, out.getvalue(), err.getvalue()).check([0])
        self.compare()

    def compare(self) -> None:
        """Every file of the build is the undisturbed build's.

        Raises:
            NotHeld: one is not, or there are other files.
        """
        found = contents(self.build)
        if different := sorted(n for n in found.keys() | self.expected.keys() if found.get(n) != self.expected.get(n)):
            raise NotHeld(f"{len(different)} files differ from an undisturbed build: {different[:5]}")

    def check_whole(self) -> None:
        """No JSON file and no model in the build is half-written.

        Raises:
            NotHeld: one is.
        """
        for path in self.build.rglob("*"):
            if path.suffix in (".json", ".onnx") and path.is_file() and not is_partial(path):
                try:
                    json.loads(path.read_text()) if path.suffix == ".json" else onnx.load(path)
                except Exception as error:
                    raise NotHeld(f"{path.relative_to(self.build)} is half-written: {error}") from None

    def check_alone(self) -> None:
        """No process of a run is left after it.

        Raises:
            NotHeld: one is; it is killed.
        """
        deadline = time.monotonic() + 5
        while left := list(self._left()):
            if time.monotonic() > deadline:
                names = [p.name() for p in left]
                for process in left:
                    process.kill()
                raise NotHeld(f"processes are left: {names}")
            time.sleep(0.05)

    def _left(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.root) and process.status() != psutil.STATUS_ZOMBIE:
                    yield process
            except psutil.Error:
                continue


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file that two builds have in common, by its name; times are left out of the summary."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        top = path.relative_to(folder).parts[0]
        if path.is_file() and not top.startswith("previous-") and not UNEQUAL & {top, path.name}:
            data = path.read_bytes()
            if path.name == "vitprune_summary.json":
                data = json.dumps(json.loads(data) | {"time_s": {}}).encode()
            found[name] = hashlib.sha256(data).hexdigest()
    return found


def strike(command: Running, when: Callable[[str, psutil.Process], bool], action: Callable[[], object]) -> Ran:
    """Do ``action`` as soon as ``when`` (of what the command printed, and the command) holds; then wait for its end.

    Raises:
        NotHeld: the command ended before.
    """
    main = psutil.Process(command.process.pid)
    while command.process.poll() is None:
        if when(command.out.read_text(), main):
            action()
            return command.end()
        time.sleep(0.005)
    raise NotHeld(f"the command ended before the fault: {command.err.read_text()[-300:]}")


def printed(text: str) -> Callable[[str, psutil.Process], bool]:
    """The command printed ``text``."""
    return lambda out, _: text in out


def running(program: str) -> Callable[[str, psutil.Process], bool]:
    """A program of this name runs below the command."""

    def runs(_: str, process: psutil.Process) -> bool:
        with suppress(psutil.NoSuchProcess):
            return any(p.name() == program for p in children(process))
        return False

    return runs


def after(seconds: float) -> Callable[[str, psutil.Process], bool]:
    """So long after the start."""
    return lambda _, process: time.time() - process.create_time() > seconds


def children(process: psutil.Process) -> list[psutil.Process]:
    """Processes below ``process`` that are alive."""
    try:
        return [p for p in process.children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
    except psutil.Error:
        return []


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """``mount OPTIONS folder`` during the block (root only)."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *options, str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
