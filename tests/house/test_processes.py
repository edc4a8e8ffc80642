"""Programs end with the process that started them, whatever ends it, and their failures are told from those of the set-up."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from finn_vitprune.errors import UserError
from finn_vitprune.processes import ProcessGroup, fault
from finn_vitprune.sim import SimulationError, toolchain

TREE = ["/bin/sh", "-c", "sleep 600 & echo $! $$; wait"]
"""A program with a child; it prints both."""


def gone(pids, seconds=5.0):
    deadline = time.monotonic() + seconds
    while alive := [p for p in pids if psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE]:
        assert time.monotonic() < deadline, f"still there: {alive}"
        time.sleep(0.02)


def test_the_end_of_the_block_ends_a_program_and_its_children():
    before = psutil.Process().children()  # other tests' workers
    with ProcessGroup() as group:
        pids = [int(p) for p in group.start(TREE, stdout=subprocess.PIPE).stdout.readline().split()]
        assert all(map(psutil.pid_exists, pids))
    gone(pids)
    assert set(psutil.Process().children()) <= set(before)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_program_and_its_children_end_with_the_process_that_started_it(how):
    script = f"""
import subprocess
from finn_vitprune.processes import ProcessGroup
with ProcessGroup() as group:
    print(group.start({TREE!r}, stdout=subprocess.PIPE).stdout.readline().decode(), flush=True)
    group.start(["sleep", "600"]).wait()
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    pids = [int(p) for p in process.stdout.readline().split()]
    process.send_signal(how)
    process.wait(10)
    gone(pids)


def test_ctrl_c_ends_compilers_at_once(tmp_path, monkeypatch):
    """They do not run to their end before the program stops."""
    compiler = tmp_path / "c++"
    compiler.write_text(f"#!/bin/sh\necho $$ >> {tmp_path}/pids\nexec sleep 600\n")
    compiler.chmod(0o755)
    script = "from finn_vitprune.sim import toolchain; toolchain._run([[toolchain.compiler()]] * 4)"
    environment = os.environ | {"CXX": str(compiler), "FINN_VITPRUNE_JOBS": "2"}
    process = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.DEVNULL)
    pids = tmp_path / "pids"
    while not (pids.exists() and pids.read_text().count("\n") == 2):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.wait(5)
    gone(map(int, pids.read_text().split()))


@pytest.mark.parametrize("code, text, reason", [
    (-signal.SIGKILL, "", "killed by SIGKILL; if memory is short"),
    (-signal.SIGXFSZ, "", "killed by SIGXFSZ"),
    (1, "a.cpp: warning\na.cpp: fatal error: error writing to /tmp/a.s: No space left on device\n", "a.cpp: fatal error: error writing"),
    (1, "g++: fatal error: Killed signal terminated program cc1plus", "Killed signal terminated program cc1plus"),
    (1, "a.cpp:1: error: no such variable", None),
    (-signal.SIGSEGV, "", None),
    (0, "", None),
])  # fmt: skip
def test_faults_of_the_set_up_are_told_from_those_of_the_input(code, text, reason):
    found = fault(code, text)
    assert (found is None) == (reason is None) and (reason or "") in (found or "") and "\n" not in (found or "")


def test_a_tool_with_a_full_disk_is_one_line_and_other_failures_keep_their_messages():
    full = ["/bin/sh", "-c", "echo 1; echo 'cannot write: No space left on device' >&2; exit 1"]
    with pytest.raises(UserError, match="^sh: cannot write: No space left on device$"):
        toolchain._run([full])
    with pytest.raises(UserError, match="^sh: killed by SIGKILL"):
        toolchain._run([["/bin/sh", "-c", "kill -9 $$"]])
    with pytest.raises(SimulationError, match="sh failed:\nbad\nworse"):
        toolchain._run([["/bin/sh", "-c", "echo bad; echo worse >&2; exit 1"]])
    printed = toolchain._run([["/bin/sh", "-c", f"sleep 0.{3 - i}; echo {i}"] for i in range(3)])
    assert printed == ["0\n", "1\n", "2\n"]
