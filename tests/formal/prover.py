"""Proves the assertions of a harness around RTL, or finds a trace that breaks one.

Yosys (pyosys, slang front end) turns harness and RTL into an AIGER circuit, ABC (same package) decides:
property-directed reachability for all time, or bounded model checking. A counterexample of ABC is replayed by
Yosys' simulator, which names the assertion and writes a waveform. Cover points become assertions that
must fail.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyosys

from finn_vitprune.custom_ops.op.rtl_sources import rtl_source

HARNESS_DIR = Path(__file__).parent / "harness"
ABC = Path(pyosys.__file__).parent / "yosys-abc"
COMMON = ("checks.sv", "frames.sv")
PACKAGE = "vp_pkg"
"""All RTL may use it."""
COVER_MAP = Path(__file__).parent / "cover.v"

FIRST_CYCLES = 10
"""A bounded search comes before every other: it finds what is broken soonest."""

TO_LOWER = ("async2sync", "chformal -lower")

TO_CIRCUIT = (
    "memory_map",
    "opt -full -nodffe -nosdff",
    "opt_clean -purge",
    "formalff -setundef -ff2anyinit",
    "dffunmap",
    "setundef -anyseq",
    "write_rtlil design.il",
)
"""Registers without a reset start anywhere, undefined bits are anything."""

TO_AIGER = (
    "techmap",
    "opt -nodffe -nosdff",
    "dffunmap",
    "setundef -anyseq",
    "aigmap",
    "opt_clean",
    "write_rtlil mapped.il",
    "write_aiger -B -zinit -I -map design.aim design.aig",
)


class ProverError(RuntimeError):
    """A tool failed, or gave up: neither a proof nor a trace."""


@dataclass(frozen=True)
class Fault:
    """A deliberate break of one RTL file: ``good`` occurs once in it and becomes ``bad``."""

    file: str
    good: str
    bad: str
    breaks: str
    """End of the name of the assertion that must fail, however the others fare."""


@dataclass(frozen=True)
class Proof:
    """What to prove of which harness.

    Attributes:
        name: of the proof, for reports.
        harness: module and file (``harness/<name>.sv``).
        sources: RTL files, leaves first, without suffix.
        parameters: of the harness.
        models: files beside the harness, whose modules stand in the place of RTL.
        cycles: None for a proof for all time, else the cycles from reset that are covered.
        only: pattern of the names of the assertions that are proved.
        without: pattern of those among them that are left to another proof.
        free: wires that may carry anything.
        seconds: that the search may take.
        reach: cycles within which every cover point is reached.
        never: cover points that the parameters rule out.
        faults: each must be refuted.
    """

    name: str
    harness: str
    sources: tuple[str, ...]
    parameters: dict[str, int | str] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    cycles: int | None = None
    only: str = "*"
    without: str = ""
    free: tuple[str, ...] = ()
    seconds: int = 600
    reach: int = 20
    never: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """``violated`` is None, or the assertion that fails, in ``cycle``, as the waveform ``trace`` shows."""

    violated: str | None
    cycle: int
    seconds: float
    trace: Path | None = None


def check(proof: Proof, folder: Path, fault: Fault | None = None) -> Outcome:
    """Decide ``proof``, of RTL with ``fault`` if one is given, with ``folder`` for files.

    Raises:
        ProverError: the sources do not elaborate, or ``proof.seconds`` were not enough.
    """
    started = time.monotonic()
    chosen = [f"delete t:$assert c:*{fault.breaks if fault else proof.only} %d"]
    if proof.without and not fault:
        chosen.append(f"delete t:$assert c:*{proof.without} %i")
    _elaborate(proof, folder, fault, [*chosen, "delete t:$cover"])
    cycles = proof.cycles or FIRST_CYCLES
    text = _abc(f"bmc3 -F {cycles} -T {proof.seconds}", folder, proof.seconds)
    done = f"No output asserted in {cycles} frames" in text and "timeout" not in text
    if done and proof.cycles is None:
        text = _abc(f"pdr -T {proof.seconds}", folder, proof.seconds)
        done = "Property proved." in text
    failed = re.search(r"was asserted in frame (\d+)", text)
    if failed:
        cycle = int(failed[1])
        return Outcome(_replay(folder), cycle, time.monotonic() - started, folder / "trace.vcd")
    if not done:
        raise ProverError(f"{proof.name}: no decision within {proof.seconds} s:\n{text[-500:]}")
    return Outcome(None, 0, time.monotonic() - started)


def covers(proof: Proof, folder: Path) -> dict[str, int | None]:
    """For every cover point of the harness its first cycle, None if ``proof.reach`` cycles are too few.

    Raises:
        ProverError: the sources do not elaborate, or ``proof.seconds`` were not enough.
    """
    lowered = ["delete t:$assert", f"techmap -map {COVER_MAP}"]
    _elaborate(proof, folder, None, lowered)
    found = re.findall(r"^ *cell \$assert \\\\?(\S+)", (folder / "mapped.il").read_text(), re.MULTILINE)
    names = [name for name in found if name not in proof.never]
    _yosys(["read_rtlil mapped.il", *(c for name in names for c in _alone(name))], folder)
    search = f"fold; strash; bmc3 -F {proof.reach} -T {proof.seconds}"
    searches = "; ".join(f"read_aiger {name}.aig; {search}" for name in names)
    text = _run([str(ABC), "-c", searches], folder, len(names) * proof.seconds)
    results = re.findall(r"was asserted in frame +(\d+)|No output asserted in (\d+) frames", text)
    if len(results) != len(names) or "timeout" in text:
        raise ProverError(f"{proof.name}: no decision about {len(names)} cover points:\n{text[-500:]}")
    return {name: int(reached) if reached else None for name, (reached, _) in zip(names, results)}


def _alone(name: str) -> list[str]:
    """Yosys commands that write the circuit of one assertion to ``<name>.aig``, design unchanged."""
    pattern = re.sub(r"[^\w.]", "?", name)
    return [
        "design -push-copy",
        f"delete t:$assert c:{pattern} %d",
        "opt_clean -purge",
        f"write_aiger -B -zinit -I {name}.aig",
        "design -pop",
    ]


def broken(text: str, fault: Fault) -> str:
    """RTL ``text`` with the fault in it."""
    if text.count(fault.good) != 1:
        raise ProverError(f"{fault.file}: {fault.good!r} appears {text.count(fault.good)} times, not once")
    return text.replace(fault.good, fault.bad)


def _elaborate(proof: Proof, folder: Path, fault: Fault | None, properties: Sequence[str]) -> None:
    """Write ``design.il``, ``design.aig`` and ``design.aim``; ``properties`` choose what to decide."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{name}.sv" for name in (PACKAGE, *proof.sources)]
    if fault and fault.file not in proof.sources:
        raise ProverError(f"{proof.name} has no {fault.file}")
    for name in names:
        text = rtl_source(name).read_text()
        (folder / name).write_text(broken(text, fault) if fault and name == f"{fault.file}.sv" else text)
    beside = [*COMMON, *(f"{name}.sv" for name in (*proof.models, proof.harness))]
    for name in beside:
        (folder / name).write_text((HARNESS_DIR / name).read_text())
    values = " ".join(f"-G {k}={v}" for k, v in proof.parameters.items())
    files = " ".join([*names, *beside])
    read = f"read_slang -D VP_YOSYS {values} --top {proof.harness} {files}"
    free = [f"cutpoint w:{wire}" for wire in proof.free]
    lowered = [read, f"prep -top {proof.harness}", *TO_LOWER, *free, *properties]
    _yosys([*lowered, *TO_CIRCUIT, *TO_AIGER], folder)


def _abc(search: str, folder: Path, seconds: int) -> str:
    """What ABC prints. ``scorr`` merges equal registers; where none is left, ``search`` goes without it."""
    for merge in ("scorr; ", ""):
        command = f"read_aiger design.aig; fold; strash; {merge}{search}; write_cex -a cex"
        text = _run([str(ABC), "-c", command], folder, seconds + 120)
        if "Does not work for combinational networks" not in text:
            break
    return text


def _replay(folder: Path) -> str:
    """Name of the assertion that ABC's counterexample violates; writes ``trace.vcd``."""
    latches = int((folder / "design.aig").read_bytes().split(b"\n", 1)[0].split()[3])
    frames = [line for line in (folder / "cex").read_text().split("\n") if re.fullmatch("[01]+", line)][1:]
    (folder / "cex.aiw").write_text("\n".join(["1", "b0", "0" * latches, *frames, ".", ""]))
    replay = "sim -r cex.aiw -map design.aim -clock clk -vcd trace.vcd"
    text = _yosys(["read_rtlil design.il", replay], folder)
    names = re.findall(r"^Failed assertion (\S+)", text, re.MULTILINE)
    if not names:
        raise ProverError(f"the counterexample in {folder} breaks no assertion when it is replayed")
    return names[-1]


def _yosys(commands: Sequence[str], folder: Path) -> str:
    passes = f"for c in {list(commands)!r}: ys.run_pass(c, d)"
    script = f"from pyosys import libyosys as ys\nd = ys.Design()\n{passes}"
    return _run([sys.executable, "-c", script], folder, 600)


def _run(command: Sequence[str], folder: Path, seconds: float) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as e:
        raise ProverError(f"{Path(command[0]).name} took more than {seconds:.0f} s in {folder}") from e
    text = done.stdout + done.stderr
    if done.returncode:
        lines = [line for line in text.splitlines() if "ERROR" in line] or text.splitlines()[-10:]
        raise ProverError(f"{Path(command[0]).name} failed in {folder}:\n" + "\n".join(lines[:10]))
    return text
