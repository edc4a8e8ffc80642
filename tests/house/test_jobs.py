"""The executor: results as they come, failures by name, a killed worker replaced once, no process left behind."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from finn_vitprune import jobs, progress
from finn_vitprune.errors import UserError
from tests.in_order import run_in_order
from tests.said import Said

HERE = Path(__file__).parents[2]
VARIABLE = "FINN_VITPRUNE_TEST"


# --- jobs, which workers import from here --------------------------------------------------------


def square(x):
    return x * x


def sleep(seconds):
    time.sleep(seconds)
    return os.getpid()


def big(megabytes):
    return random.Random(megabytes).randbytes(megabytes << 20)


def length(data):
    return len(data)


def fail_at(wrong, x):
    if x == wrong:
        raise UserError(f"{x} is wrong")
    return x


class Awkward(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def awkward(_):
    raise Awkward(1, 2)


def leave(code):
    sys.exit(code)


def unpicklable(_):
    return lambda: None


def die_up_to(count, folder, x):
    """Kill the worker the first ``count`` times that job 3 runs."""
    if x == 3:
        marks = len(list(Path(folder).iterdir()))
        if marks < count:
            (Path(folder) / str(marks)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return x


def exit_at_once(_):
    os._exit(7)


def die_with_a_child(folder, _):
    """A child is alive when its worker is killed."""
    child = subprocess.Popen(["sleep", "600"])
    (Path(folder) / str(child.pid)).touch()
    os.kill(os.getpid(), signal.SIGKILL)


def temporary_folder(_):
    import tempfile

    return tempfile.mkdtemp()


def place_and_process(_):
    """The folder and a variable of a job, and the process that it runs in."""
    return os.getcwd(), os.environ.get(VARIABLE), os.getpid()


def outer(n):
    """Jobs of a job."""
    return sorted(result for _, result in jobs.run(square, range(n), 2))


def busy(folder, _):
    """Note this process and a child of it, then work without end, and without ever letting another thread run."""
    child = subprocess.Popen(["sleep", "600"])
    (Path(folder) / f"{os.getpid()}-{child.pid}").touch()
    re.match("(a+)+$", 60 * "a" + "b")


# --- results -------------------------------------------------------------------------------------


def test_every_job_comes_back_with_its_result():
    found = dict(jobs.run(square, range(20), 2))
    assert found == {x: x * x for x in range(20)}


def test_many_tiny_jobs_use_few_processes():
    found = list(jobs.run(square, range(5000), 2))
    assert len(found) == 5000 and all(y == x * x for x, y in found)
    assert len({pid for _, pid in jobs.run(sleep, [0] * 50, 2)}) <= 2


def test_results_come_in_order_of_completion():
    seconds = [4.0, 0.0, 0.1]
    assert [job for job, _ in jobs.run(sleep, seconds, 2)] == [0.0, 0.1, 4.0]


def test_results_come_in_order_of_the_jobs_where_asked():
    seconds = [1.5, 0.0, 0.1, 0.0]
    assert [job for job, _ in run_in_order(sleep, seconds, 2)] == seconds


def test_progress_tells_how_many_are_done_which_run_and_the_rest():
    said = Said()
    with progress.shown_by(said):
        list(jobs.run(sleep, [0.6, 0.1, 0.2], 2, lambda s: f"sleep of {s}", jobs.Told("rest", 3)))
    first, second, third, end = said
    assert first == "rest: 0 of 3 (sleep of 0.6, sleep of 0.1)"
    assert re.fullmatch(r"rest: 1 of 3, about \d+ s left \(sleep of 0.6, sleep of 0.2\)", second)
    assert re.fullmatch(r"rest: 2 of 3, about \d+ s left \(sleep of 0.6\)", third) and end == ""


def test_progress_names_a_few_of_many_jobs_that_run(monkeypatch):
    said = Said()
    with progress.shown_by(said):
        jobs.Told("rest", 9).running(list("abcde"), 2)
        list(jobs.run(square, [1, 2], 0, str, jobs.Told("here", 2)))
    assert said[0].endswith(" (a, b, c and 2 more)") and said[1] == "here: 0 of 2 (1)" and said[-1] == ""


def test_no_jobs_start_no_process(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    assert list(jobs.run(square, [], 4)) == []
    assert list(jobs.run(square, [2, 3], 0)) == [(2, 4), (3, 9)]


def test_no_more_processes_than_jobs_are_started(monkeypatch):
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **k: started.append(command[0]) or popen(command, **k))
    assert sorted(jobs.run(square, [2, 3], 8)) == [(2, 4), (3, 9)]
    assert started.count(sys.executable) == 2


def test_jobs_are_taken_as_workers_become_free():
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield taken[-1]

    found = jobs.run(square, endless(), 2)
    assert len({next(found) for _ in range(10)}) == 10
    found.close()
    assert len(taken) <= 13


def test_data_larger_than_a_pipe_holds_arrives_whole():
    found = dict(jobs.run(big, [1, 8, 3], 2))
    assert {n: len(data) >> 20 for n, data in found.items()} == {1: 1, 8: 8, 3: 3}
    assert found[8] == big(8)
    assert [n for _, n in jobs.run(length, [bytes(5_000_000), bytes(7_000_000)], 1)] == [5_000_000, 7_000_000]


def test_a_job_can_run_jobs():
    assert dict(jobs.run(outer, [3, 5], 2)) == {3: [0, 1, 4], 5: [0, 1, 4, 9, 16]}


def test_kept_workers_serve_later_calls_where_their_callers_are(tmp_path, monkeypatch):
    """The second call starts no process, and finds the folder and the environment of its caller; the block leaves none behind."""
    found = []
    with jobs.kept():
        for n, (value, workers) in enumerate([("first", 1), ("second", 1), ("third", 2)]):
            (folder := tmp_path / str(n)).mkdir()
            monkeypatch.chdir(folder)
            monkeypatch.setenv(VARIABLE, value)
            found.append([(*result, str(folder), value) for _, result in jobs.run(place_and_process, range(2), workers)])
        children = psutil.Process().children(recursive=True)
    for where, said, _, folder, value in [result for results in found for result in results]:
        assert (where, said) == (folder, value)
    pids = [{pid for _, _, pid, *_ in results} for results in found]
    assert pids[0] == pids[1] and len(pids[0]) == 1 and {child.pid for child in children} >= pids[0]
    _gone(children)


def test_a_kept_worker_that_died_is_replaced(tmp_path):
    with jobs.kept():
        [(_, (_, _, pid))] = jobs.run(place_and_process, [0], 1)
        os.kill(pid, signal.SIGKILL)
        _gone([pid])
        assert dict(jobs.run(square, [3], 1)) == {3: 9}


def test_temporary_folders_of_workers_are_removed():
    [(_, folder)] = jobs.run(temporary_folder, [0], 1)
    assert folder and not Path(folder).exists()


# --- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_the_first_failure_is_raised_with_the_name_of_its_job(workers):
    with pytest.raises(UserError) as caught:
        list(jobs.run(partial(fail_at, 2), range(50), workers, name=lambda x: f"number {x}"))
    assert str(caught.value) == "2 is wrong" and "in job number 2" in caught.value.__notes__


def test_the_traceback_of_the_worker_is_kept():
    with pytest.raises(UserError) as caught:
        list(jobs.run(partial(fail_at, 0), [0], 1))
    assert "in fail_at" in "\n".join(caught.value.__notes__)


def test_a_failure_ends_the_others():
    started = time.monotonic()
    with pytest.raises(TypeError):
        list(jobs.run(sleep, [300, "none"], 2))
    assert time.monotonic() - started < 60
    _gone(psutil.Process().children(recursive=True))


def test_failures_are_collected_where_asked():
    found = {o.job: o for o in jobs.outcomes(partial(fail_at, 2), range(5), 2)}
    assert {job: o.result for job, o in found.items()} == {0: 0, 1: 1, 2: None, 3: 3, 4: 4}
    assert [job for job, o in found.items() if o.error is not None] == [2]
    assert isinstance(found[2].error, UserError)


@pytest.mark.parametrize("function, kind, text", [
    (awkward, RuntimeError, "Awkward: 1 and 2"),
    (leave, RuntimeError, "SystemExit: 5"),
    (unpicklable, Exception, "pickle"),
])  # fmt: skip
def test_what_cannot_be_sent_is_a_failure_of_the_job(function, kind, text):
    with pytest.raises(kind, match=text):
        list(jobs.run(function, [5], 1))


# --- dead workers --------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced_and_its_job_runs_again(tmp_path):
    found = sorted(jobs.run(partial(die_up_to, 1, tmp_path), range(8), 2))
    assert found == [(x, x) for x in range(8)] and len(list(tmp_path.iterdir())) == 1


def test_a_job_that_kills_two_workers_is_named(tmp_path):
    with pytest.raises(UserError, match=r"^number 3: the process died 2 times \(killed by SIGKILL\)") as caught:
        list(jobs.run(partial(die_up_to, 9, tmp_path), range(8), 2, name=lambda x: f"number {x}"))
    assert "\n" not in str(caught.value) and len(list(tmp_path.iterdir())) == 2


def test_other_jobs_go_on_beside_one_that_kills_its_workers(tmp_path):
    found = {o.job: o for o in jobs.outcomes(partial(die_up_to, 9, tmp_path), range(8), 2)}
    assert [found[x].result for x in range(8)] == [0, 1, 2, None, 4, 5, 6, 7]
    assert isinstance(found[3].error, UserError)


def test_a_worker_that_leaves_without_an_answer_is_dead():
    with pytest.raises(UserError, match=r"0: the process died 2 times \(exit code 7\)"):
        list(jobs.run(exit_at_once, [0], 1))


def test_what_a_dead_worker_had_started_ends_too(tmp_path):
    with pytest.raises(UserError, match="killed by SIGKILL"):
        list(jobs.run(partial(die_with_a_child, tmp_path), [0], 1))
    assert len(_noted(tmp_path)) == 2
    _gone(_noted(tmp_path))


# --- the end -------------------------------------------------------------------------------------


def _noted(folder):
    """Processes that jobs noted and that are alive."""
    return [int(pid) for path in folder.iterdir() for pid in path.name.split("-")]


def _gone(processes, seconds=5.0):
    """All processes end in time; zombies have ended."""
    pids = [p if isinstance(p, int) else p.pid for p in processes]
    deadline = time.monotonic() + seconds
    while alive := [pid for pid in pids if psutil.pid_exists(pid) and _runs(pid)]:
        assert time.monotonic() < deadline, f"still there: {alive}"
        time.sleep(0.05)


def _runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _started(tmp_path, then=""):
    """A program with two busy workers, once both have a child."""
    script = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it for programs in the background
sys.path.insert(0, {str(HERE)!r})
from functools import partial
from tests.house import test_jobs
from finn_vitprune import jobs, progress
try:
    list(jobs.run(partial(test_jobs.busy, {str(tmp_path)!r}), [0, 1, 2], 2))
except KeyboardInterrupt:
    print("interrupted", flush=True)
    {then or "raise"}
"""
    program = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(_noted(tmp_path)) < 4:
        assert time.monotonic() < deadline and program.poll() is None, program.communicate()
        time.sleep(0.1)
    return program, _noted(tmp_path)


def test_ctrl_c_ends_the_workers_and_what_they_started(tmp_path):
    program, noted = _started(tmp_path)
    program.send_signal(signal.SIGINT)
    started = time.monotonic()
    out, err = program.communicate(timeout=30)
    assert time.monotonic() - started < 5
    assert out == "interrupted\n" and program.returncode == -signal.SIGINT and "KeyboardInterrupt" in err
    _gone(noted)


def test_no_worker_outlives_the_iteration_that_ctrl_c_left(tmp_path):
    """The program continues; its workers do not."""
    program, noted = _started(tmp_path, then="import time; time.sleep(600)")
    program.send_signal(signal.SIGINT)
    try:
        assert program.stdout.readline() == "interrupted\n"
        _gone(noted)
        assert program.poll() is None
    finally:
        program.kill()
        program.communicate()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(tmp_path, how):
    program, noted = _started(tmp_path)
    program.send_signal(how)
    program.communicate(timeout=30)
    _gone(noted)


def test_a_caller_that_takes_no_more_leaves_no_worker():
    for job, _ in jobs.run(sleep, [0.0, 300, 300], 2):
        assert job == 0.0
        children = psutil.Process().children(recursive=True)
        break
    assert children
    _gone(children)


# --- beside --------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_runs_beside_the_caller(workers):
    with jobs.beside(sleep, 0.0, workers) as other:
        process = other()
    assert (process == os.getpid()) == (workers == 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_beside_the_caller_is_raised_when_it_asks(workers):
    with jobs.beside(partial(fail_at, 2), 2, workers, name=lambda x: f"number {x}") as other, pytest.raises(UserError) as caught:
        other()
    assert str(caught.value) == "2 is wrong" and "in job number 2" in caught.value.__notes__


def test_a_caller_that_fails_leaves_no_job_beside_it():
    started = time.monotonic()
    with pytest.raises(ZeroDivisionError), jobs.beside(sleep, 300, 2):
        children = psutil.Process().children(recursive=True)
        raise ZeroDivisionError
    assert children and time.monotonic() - started < 60
    _gone(children)


def test_a_killed_worker_beside_the_caller_is_replaced_once(tmp_path):
    with jobs.beside(partial(die_up_to, 1, tmp_path), 3, 2) as other:
        assert other() == 3
    with pytest.raises(UserError, match="the process died 2 times"), jobs.beside(exit_at_once, 3, 2) as other:
        other()


# --- a cluster ------------------------------------------------------------------------------------


def slow_square(seconds, x):
    time.sleep(seconds)
    return x * x


def die_once(folder, x):
    """The first worker that gets job 3 is killed in the middle of it."""
    mark = Path(folder) / "died"
    if x == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return slow_square(0.05, x)


CLUSTER = """
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        input()
"""


@pytest.fixture(scope="module")
def cluster():
    """The address of a scheduler with two workers, each a process; all of them children of a program of their own."""
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, **options
    ) as program:
        yield program.stdout.readline().strip()
        program.communicate("\n", timeout=60)


def test_jobs_of_a_cluster_come_back_as_data_and_failures_by_name(cluster):
    with jobs.on_cluster(cluster):
        found = {f.job: f for f in jobs.outcomes(partial(fail_at, 2), range(20), 2, name=lambda x: f"number {x}")}
        assert sorted(found) == list(range(20))
        assert [f.result for j, f in sorted(found.items()) if j != 2] == [x for x in range(20) if x != 2]
        assert isinstance(found[2].error, UserError) and found[2].error.__notes__ == ["in job number 2"]
        assert dict(jobs.run(os.path.basename, ["/a/b", "/c"], 0)) == {"/a/b": "b", "/c": "c"}, "0 workers: in this process"
        pids = {r for _, r in jobs.run(sleep, [0.3] * 4, 2)}
    assert os.getpid() not in pids and len(pids) == 2
    assert dict(jobs.run(square, [5], 1)) == {5: 25}, "after the block on this machine again"


def test_two_programs_with_jobs_of_one_name_do_not_get_each_others_results(cluster):
    with jobs.on_cluster(cluster):
        first = jobs.outcomes(square, [3, 4, 5, 6, 7], 2, name=lambda x: "same")
        next(first)
        with jobs.on_cluster(cluster):
            assert dict(jobs.run(partial(fail_at, 0), [3, 4, 5], 2, name=lambda x: "same")) == {3: 3, 4: 4, 5: 5}
        first.close()


def test_a_worker_of_a_cluster_that_dies_in_a_job_loses_nothing(cluster, tmp_path):
    with jobs.on_cluster(cluster):
        assert dict(jobs.run(partial(die_once, str(tmp_path)), range(8), 2)) == {x: x * x for x in range(8)}
    assert (tmp_path / "died").exists()


def test_a_job_that_kills_every_worker_of_a_cluster_is_named(cluster):
    with jobs.on_cluster(cluster):
        (outcome,) = jobs.outcomes(kill_all, [1], 1, name=lambda x: f"number {x}")
        assert isinstance(outcome.error, UserError) and str(outcome.error).startswith("number 1: its workers died")
        assert dict(jobs.run(square, [3], 1)) == {3: 9}


def kill_all(_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_scheduler_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(jobs, "CONNECT_S", 0.5)
    for address in ("tcp://127.0.0.1:1", "nonsense"):
        with pytest.raises(UserError, match=f"--scheduler {address}: no Dask scheduler answers"), jobs.on_cluster(address):
            pass
