"""The table of faults: what goes wrong, when, and the exit codes that are right then."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from finn_vitprune.cache import DIGESTS
from tests.faults.place import NotHeld, Place, Ran, after, children, mounted, printed, running, strike

Damage = Callable[[Path, random.Random], None]


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong: ``strike`` does it and returns how the commands ended that met it.

    ``codes`` are the exit codes that are right. ``built``: there is a finished build before; ``compiled``: its simulator is
    in the cache; ``synth``: with Yosys. ``whole``: files must be whole although the build failed.
    """

    name: str
    strike: Callable[[Place, random.Random], list[Ran]]
    codes: tuple[int, ...] = (2,)
    built: bool = False
    compiled: bool = True
    synth: bool = False
    whole: bool = True


# --- damages -------------------------------------------------------------------------------------


def flip(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, draw: random.Random) -> None:
    os.truncate(path, draw.randrange(1, path.stat().st_size))


def empty(path: Path, draw: random.Random) -> None:
    os.truncate(path, 0)


def as_folder(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.mkdir()


def delete(path: Path, draw: random.Random) -> None:
    path.unlink()


# --- strikes -------------------------------------------------------------------------------------


def stop(when: Callable, place: Place, draw: random.Random, early: bool = False) -> list[Ran]:
    """A signal at a point of the build; ``early``: perhaps before Python has started the program."""
    command = place.start()
    how = draw.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    ran = strike(command, when, lambda: command.process.send_signal(how))
    if ran.code not in ((-how,) if how == signal.SIGKILL else (130, -how) if early else (130,)):
        raise NotHeld(f"exit code {ran.code} after {how.name}: {ran.err[-300:]}")
    return [ran]


def stop_yosys(place: Place, draw: random.Random) -> list[Ran]:
    """A signal while Yosys synthesises a node that the cache lacks."""
    shutil.rmtree(draw.choice(sorted(place.cache.glob("yosys/*/"))))
    return stop(lambda _, main: any("libyosys" in " ".join(p.cmdline()) for p in children(main)), place, draw)


def kill_tool(name: str, place: Place, draw: random.Random) -> list[Ran]:
    """A program that the build started is killed, as for want of memory, whenever it runs."""
    command = place.start()
    while command.process.poll() is None:
        for child in children(psutil.Process(command.process.pid)):
            if child.name() == name:
                child.kill()
        time.sleep(0.005)
    return [command.end()]


def in_cache(pattern: str, damage: Damage, place: Place, draw: random.Random) -> list[Ran]:
    """A file of a cache entry is damaged; where it is the runtime's, the design must be compiled again."""
    path = draw.choice(sorted(place.cache.glob(pattern)))
    damage(path, draw)
    if "runtime" in pattern:
        shutil.rmtree(place.simulator())
    ran = place.run()
    if "is damaged and is made again" not in " ".join(ran.out.split()):
        raise NotHeld("the damage is not said")
    place.compare()
    return [ran]


def in_build(pattern: str, damage: Damage, place: Place, draw: random.Random) -> list[Ran]:
    """A file of the finished build is damaged, and `simulate` and `report` meet it: the right answer, or one line."""
    answers = place.root / "answers.npy"
    answers.unlink(missing_ok=True)
    right = np.load(place.build / "verification_output/rtl_logits.npy")
    np.save(place.root / "images.npy", np.load(place.images)["images"])
    damage(draw.choice(sorted(place.build.glob(pattern))), draw)
    simulated = place.run(command=["simulate", str(place.build), "--images", "images.npy", "-o", str(answers)])
    if (simulated.code == 0) != answers.exists() or (answers.exists() and not np.array_equal(np.load(answers), right)):
        raise NotHeld(f"simulate gives a wrong answer (exit code {simulated.code})")
    return [simulated, place.run(command=["report", str(place.build)])]


def resumed(pattern: str, damage: Damage, place: Place, draw: random.Random) -> list[Ran]:
    """A file of the finished build is damaged, and a build resumes from there."""
    damage(draw.choice(sorted(place.build.glob(pattern))), draw)
    ran = place.run("--start-step", "step_stitch")
    if ran.code == 0:
        place.compare()
    return [ran]


def in_input(name: str, damage: Damage, place: Place, draw: random.Random) -> list[Ran]:
    """The model file or the images beside it are damaged."""
    damage(place.root / name, draw)
    return [place.run()]


def wrong_labels(labels: np.ndarray, place: Place, draw: random.Random) -> list[Ran]:
    with np.load(place.images) as data:
        np.savez(place.images, images=data["images"], labels=labels)
    return [place.run()]


def folding_file(damage: Damage, place: Place, draw: random.Random) -> list[Ran]:
    path = place.root / "folding.json"
    shutil.copyfile(place.build / "auto_folding_config.json", path)
    damage(path, draw)
    return [place.run("--folding", str(path))]


def full_disk(where: str, size: str, place: Place, draw: random.Random) -> list[Ran]:
    """A disk of ``size`` below the build, the cache or the temporary files; after it, there is room and all is right."""
    folder = place.root / where
    place.environment = {"TMPDIR": str(folder)} if where == "tmp" else {}
    with mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        ran = place.run()
        if ran.code == 2:
            place.check_whole()
            subprocess.run(["mount", "-o", "remount,size=1g", str(folder)], check=True)
            place.rerun()
    return [ran]


def read_only(where: str, place: Place, draw: random.Random) -> list[Ran]:
    """The build or the cache is on a read-only file system."""
    folder = place.root / where
    folder.mkdir(exist_ok=True)
    with mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        return [place.run()]


def vanish(where: str, when: Callable, place: Place, draw: random.Random) -> list[Ran]:
    """A folder is deleted while the build runs."""
    return [strike(place.start(), when, lambda: shutil.rmtree(place.root / where, ignore_errors=True))]


def in_the_way(name: str, place: Place, draw: random.Random) -> list[Ran]:
    """A file lies where the build needs a folder."""
    path = place.build / name
    shutil.rmtree(path)
    path.write_text("in the way")
    ran = place.run()
    if path.is_file():
        path.unlink()
    return [ran]


def at_once(place: Place, draw: random.Random) -> list[Ran]:
    """Two builds at once in one folder: one is right, the other is, too, or gives way."""
    first, second = place.start(), place.start()
    found = [first.end(), second.end()]
    if all(ran.code for ran in found):
        raise NotHeld("neither build came to its end")
    place.compare()
    return found


def shared_cache(place: Place, draw: random.Random) -> list[Ran]:
    """Two builds at once, in two folders, that both need one simulator."""
    first = place.start()
    other = place.root / "other"
    second = place.start("-o", str(other))
    found = [first.end(), second.end()]
    place.compare()
    logits = "verification_output/rtl_logits.npy"
    if (place.build / logits).read_bytes() != (other / logits).read_bytes():
        raise NotHeld("the two builds differ")
    shutil.rmtree(other)
    return found


def surroundings(environment: dict[str, str | None], place: Place, draw: random.Random) -> list[Ran]:
    """Environment variables changed or (None) unset; ``{root}`` is the folder of the faults."""
    place.environment = {k: v and v.format(root=place.root, path=os.environ["PATH"]) for k, v in environment.items()}
    return [place.run()]


def without(programs: tuple[str, ...], place: Place, draw: random.Random) -> list[Ran]:
    """PATH has no more than links to everything but ``programs``."""
    folder = place.root / "bin"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for part in os.environ["PATH"].split(os.pathsep):
        for path in Path(part).glob("*"):
            if not any(path.name.startswith(p) or path.name.endswith("-" + p) for p in programs) and not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    place.environment = {"PATH": str(folder), "CXX": None}
    return [place.run()]


def future(place: Place, draw: random.Random) -> list[Ran]:
    """The clock was wrong: every file of cache and build is from 2040."""
    for path in [*place.cache.rglob("*"), *place.build.rglob("*"), place.model, place.images]:
        os.utime(path, (2_208_988_800,) * 2)
    ran = place.run()
    place.compare()
    return [ran]


def leftovers(place: Place, draw: random.Random) -> list[Ran]:
    """A killed build left its lock, a half-made entry and a half-written file."""
    entry = place.simulator()
    half = entry.parent / "building-1"
    shutil.copytree(entry, half)
    shutil.rmtree(entry)
    os.utime(half, (time.time() - 100_000,) * 2)
    (entry.parent / f"{entry.name}.lock").write_text("4711")
    ran = place.run()
    if half.exists():
        raise NotHeld("the half-made entry is still there")
    return [ran]


# --- the table -----------------------------------------------------------------------------------

KILLED = (-signal.SIGKILL, 130)
NO_TMP = {"TMPDIR": "{root}/gone"}
STEPS = (
    "tidy_up",
    "lower",
    "create_dataflow_partition",
    "specialize_layers",
    "fold",
    "insert_streams",
    "generate_estimate_reports",
    "hw_codegen",
    "stitch",
    "simulate",
    "summarise",
)

FAULTS = [
    # a signal, drawn from SIGKILL, SIGTERM and SIGINT, at 20 points of a build
    *(
        Fault(f"signal {s} s after the start", partial(stop, after(s), early=True), (*KILLED, -signal.SIGTERM, -signal.SIGINT))
        for s in (0.5, 1.5, 2.5, 3.5)
    ),
    *(Fault(f"signal in step_{s}", partial(stop, printed(f"step_{s} [")), KILLED) for s in STEPS),
    Fault("signal while Verilator runs", partial(stop, running("verilator_bin")), KILLED, compiled=False),
    Fault("signal while the compiler runs", partial(stop, running("cc1plus")), KILLED, compiled=False),
    Fault("signal while the linker runs", partial(stop, running("ld")), KILLED, compiled=False),
    Fault("signal while the simulation runs", partial(stop, running("sim")), KILLED),
    Fault("signal while Yosys runs", stop_yosys, KILLED, synth=True),
    # programs killed from outside
    Fault("the compiler is killed", partial(kill_tool, "cc1plus"), compiled=False),
    Fault("the simulation is killed", partial(kill_tool, "sim")),
    # the cache
    *(
        Fault(f"cache: the simulator is {what}", partial(in_cache, "verilator/finn_design_monitored-*/sim", damage), (0,))
        for what, damage in (
            ("truncated", truncate),
            ("flipped in one bit", flip),
            ("emptied", empty),
            ("a folder", as_folder),
            ("deleted", delete),
        )
    ),
    Fault("cache: the simulator's digests are emptied", partial(in_cache, f"verilator/finn_design_monitored-*/{DIGESTS}", empty), (0,)),
    Fault("cache: an object of the runtime is flipped in one bit", partial(in_cache, "verilator/runtime-*/*.o", flip), (0,)),
    Fault("cache: a compiled header is truncated", partial(in_cache, "verilator/runtime-*/*/*.gch", truncate), (0,)),
    *(
        Fault(f"cache: a netlist is {what}", partial(in_cache, "yosys/*/netlist.json", damage), (0,), synth=True)
        for what, damage in (("truncated", truncate), ("flipped in one bit", flip), ("a folder", as_folder))
    ),
    # files of a build, which later commands read
    *(
        Fault(f"build: {name} {what}", partial(in_build, pattern, damage), (0, 2), built=True, whole=False)
        for name, pattern in (
            ("design.json", "stitched_ip/design.json"),
            ("a ROM file", "stitched_ip/*.hex"),
            ("a source", "stitched_ip/*.sv"),
            ("the host graph", "stitched_ip/host.onnx"),
        )
        for what, damage in (("flipped in one bit", flip), ("truncated", truncate))
    ),
    *(
        Fault(f"build: the summary {what}", partial(in_build, "report/vitprune_summary.json", damage), (0, 2), built=True, whole=False)
        for what, damage in (("truncated", truncate), ("flipped in one bit", flip))
    ),
    Fault("build: the settings emptied", partial(in_build, "vitprune.json", empty), (0, 2), built=True, whole=False),
    Fault(
        "build: the model to resume from truncated",
        partial(resumed, "intermediate_models/step_hw_codegen.onnx", truncate),
        built=True,
        whole=False,
    ),
    Fault(
        "build: the lowering report to resume with truncated", partial(resumed, "report/lowering.json", truncate), built=True, whole=False
    ),
    # what the user gives
    Fault("the model file is truncated", partial(in_input, "model.onnx", truncate)),
    Fault("the model file is a folder", partial(in_input, "model.onnx", as_folder)),
    Fault("the images are truncated", partial(in_input, "model.npz", truncate)),
    Fault("labels of another length", partial(wrong_labels, np.arange(3))),
    Fault("labels that are no classes", partial(wrong_labels, np.arange(4) + 100)),
    Fault("the folding file is truncated", partial(folding_file, truncate), built=True),
    # disks and permissions
    *(Fault(f"a disk of {size} for the build", partial(full_disk, "build", size)) for size in ("16k", "300k", "1m")),
    Fault("a disk of 60m for the cache", partial(full_disk, "cache", "60m"), compiled=False),
    Fault("a disk of 64k for temporary files", partial(full_disk, "tmp", "64k"), compiled=False),
    Fault("the build folder is read-only", partial(read_only, "build"), built=True),
    Fault("the cache is read-only", partial(read_only, "cache"), compiled=False),
    Fault("the cache is read-only and has all", partial(read_only, "cache"), (0,)),
    Fault("the build folder vanishes", partial(vanish, "build", printed("step_simulate")), compiled=False),
    Fault("a file where the report folder should be", partial(in_the_way, "report"), (0, 2), built=True),
    # two at once, and the surroundings
    Fault("two builds at once in one folder", at_once, (0, 2)),
    Fault("two builds at once with one cold cache", shared_cache, (0,), compiled=False),
    Fault("TMPDIR does not exist", partial(surroundings, NO_TMP), (0,), compiled=False),
    Fault("HOME is a file", partial(surroundings, {"HOME": "{root}/model.onnx", "FINN_VITPRUNE_CACHE": None})),
    Fault("the cache is a file", partial(surroundings, {"FINN_VITPRUNE_CACHE": "{root}/model.onnx"}), compiled=False),
    Fault("no compiler on PATH", partial(without, ("g++", "clang", "c++")), compiled=False),
    Fault("no make and no perl on PATH", partial(without, ("make", "perl")), (0,), compiled=False),
    Fault("files from the future", future, (0,), built=True),
    Fault("leftovers of a killed build", leftovers, (0,)),
]

QUICK = [
    "signal while the compiler runs",
    "cache: the simulator is flipped in one bit",
    "build: a ROM file flipped in one bit",
    "the model file is truncated",
    "the cache is a file",
    "two builds at once in one folder",
]
"""The faults of the test suite."""


def check(fault: Fault, place: Place, seed: int) -> list[Ran]:
    """Let a fault happen, then build again.

    Raises:
        NotHeld: a wrong result, a traceback, a process left, a file half-written, or the second build is not right.
    """
    place.fresh(fault.built, fault.compiled)
    found = fault.strike(place, random.Random(f"{seed} {fault.name}"))
    place.check_alone()
    for ran in found:
        ran.check(fault.codes)
    if fault.whole:
        place.check_whole()
    place.rerun()
    place.check_alone()
    return found
