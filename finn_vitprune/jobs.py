"""The one executor for independent jobs: a function of one argument, called for many jobs in worker processes.

Functions, jobs and results are plain data: they can be pickled, and the function belongs to a module that workers
can import. A job depends on its argument and on files alone, so the same function and jobs can also be handed to
workers on other machines.

A worker is a new interpreter that runs one job after another, in a process group of its own (:mod:`processes`): the
terminal's Ctrl-C does not reach it, and it ends together with the programs that its job started, at the latest with this
process, whatever ends that. Workers make their temporary files in a folder that is removed at the end. In a block of :func:`kept`
workers that are done wait for the jobs of the next call.

In a block of :func:`on_cluster` jobs go to the workers of a Dask cluster instead. These must see the same files under
the same names and have the same version of this package; docs/cluster.md says how to start them.
"""

from __future__ import annotations

import gc
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from finn_vitprune import progress
from finn_vitprune.errors import UserError, describe
from finn_vitprune.processes import ProcessGroup

if TYPE_CHECKING:
    from distributed import Client, Future

J = TypeVar("J")
R = TypeVar("R")

DEBUG = "FINN_VITPRUNE_DEBUG"
CONNECT_S = 10
"""Seconds in which a scheduler must answer."""
AHEAD = 2
"""Jobs of a cluster that are handed out for each of its threads, so that none waits for the next."""

ATTEMPTS = 2
"""A job fails when so many workers died on it."""

NAMED = 3
"""So many of the jobs that run are told by name."""
END_S = 5.0
"""Seconds that an idle worker may take to end."""


@dataclass(frozen=True)
class Done(Generic[J, R]):
    """A job and its result."""

    job: J
    result: R
    error: None = None


@dataclass(frozen=True)
class Failed(Generic[J]):
    """A job and the exception that it raised."""

    job: J
    error: Exception
    result: None = None


Finished = Done[J, R] | Failed[J]
"""What became of a job."""


@dataclass
class Told:
    """What the jobs do, and how many there are: progress then tells how many are done, which run, and how long the rest takes."""

    what: str
    total: int

    def __post_init__(self) -> None:
        self._pace, self._done = progress.Pace(self.total), 0

    def running(self, names: Sequence[str], finished: int = 0) -> None:
        """These jobs run now, and so many more are done."""
        self._done += finished
        if self._done == self.total:
            progress.status("")
            return
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        now = f" ({', '.join(names[:NAMED])}{more})" if names else ""
        progress.status(f"{self.what}: {self._pace.at(self._done)}{now}")


def run(
    function: Callable[[J], R], jobs: Iterable[J], workers: int, name: Callable[[J], str] = str, told: Told | None = None
) -> Iterator[tuple[J, R]]:
    """Call ``function`` for every job and yield each job with its result as soon as the result is there.

    Args:
        function: belongs to a module, or is such a function with bound arguments (functools).
        jobs: taken one by one, as workers become free.
        workers: processes at a time; 0 runs the jobs in this process.
        name: the name of a job, for messages.
        told: what progress says of the jobs; by default nothing.
    Raises:
        Exception: the first exception that a job raises. Its notes hold the job's name and the worker's traceback.
        UserError: the worker of a job died twice, for want of memory for example.

    However the iteration ends (an error, Ctrl-C, a caller that takes no more results), no worker is left.
    """
    with closing(outcomes(function, jobs, workers, name, told)) as found:
        for outcome in found:
            yield outcome.job, _result(outcome)


def outcomes(
    function: Callable[[J], R], jobs: Iterable[J], workers: int, name: Callable[[J], str] = str, told: Told | None = None
) -> Generator[Finished[J, R], None, None]:
    """As :func:`run`, but a job that fails does not end the others: its exception is part of its outcome."""
    todo = iter(jobs)
    if workers == 0:
        yield from _in_this_process(function, todo, name, told)
    elif (client := _cluster.get()) is not None:
        yield from _of_cluster(client, function, todo, name, told)
    else:
        yield from _of_workers(function, todo, workers, name, told)


def _in_this_process(
    function: Callable[[J], R], todo: Iterator[J], name: Callable[[J], str], told: Told | None
) -> Iterator[Finished[J, R]]:
    for job in todo:
        if told:
            told.running([name(job)])
        yield _called(function, job, name)
        if told:
            told.running([], 1)


def _of_workers(
    function: Callable[[J], R], todo: Iterator[J], workers: int, name: Callable[[J], str], told: Told | None
) -> Iterator[Finished[J, R]]:
    with _workplace() as place:
        crew: list[_Worker[J, R]] = []
        try:
            first = list(islice(todo, workers))
            for _ in first:  # all start before the first waits for its job
                crew.append(place.worker(function, name))
            for worker, job in zip(list(crew), first):
                worker.give(job)
            if told and first:
                told.running([name(job) for job in first])
            while crew:
                ready = wait([worker.connection for worker in crew])
                for worker in [worker for worker in crew if worker.connection in ready]:
                    if (outcome := worker.outcome()) is None:
                        continue
                    if following := list(islice(todo, 1)):
                        worker.give(following[0])
                    else:
                        crew.remove(worker)
                        place.leave(worker)
                    yield outcome
                    if told:
                        told.running([name(worker.job) for worker in crew], 1)
        finally:
            for worker in crew:
                worker.kill()


@contextmanager
def kept() -> Iterator[None]:
    """Workers that are done wait for the jobs of later calls in this block, which then need not import anything again."""
    with _new_workplace(keeps=True) as place:
        token = _kept.set(place)
        try:
            yield
        finally:
            _kept.reset(token)


@contextmanager
def _workplace() -> Iterator[_Workplace]:
    """The one of the block of :func:`kept`, else a new one."""
    if (place := _kept.get()) is not None:
        yield place
        return
    with _new_workplace(keeps=False) as place:
        yield place


@contextmanager
def _new_workplace(keeps: bool) -> Iterator[_Workplace]:
    with tempfile.TemporaryDirectory(prefix="vitprune-jobs-", ignore_cleanup_errors=True) as folder:
        place = _Workplace(folder, keeps)
        try:
            yield place
        finally:
            for worker in place.idle:
                worker.end()


_cluster: ContextVar[Client | None] = ContextVar("cluster", default=None)


@contextmanager
def on_cluster(address: str | None) -> Iterator[None]:
    """Give the jobs of this block to the cluster whose scheduler has this address; None leaves them on this machine.

    Raises:
        UserError: dask.distributed is not installed, or no scheduler with workers answers there.
    """
    if address is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError:
        raise UserError("--scheduler needs dask.distributed: pip install 'finn-vitprune[cluster]'") from None
    try:
        place = urlsplit(address)
        socket.create_connection((place.hostname or "", place.port or 0), CONNECT_S).close()  # a client that fails leaves threads behind
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        why = describe(error) if isinstance(error, OSError) else str(error)
        raise UserError(f"--scheduler {address}: no Dask scheduler answers there ({why}); its address is like tcp://head:8786") from None
    token = _cluster.set(client)
    try:
        if not client.nthreads():
            raise UserError(f"--scheduler {address}: it has no workers; start some with `dask worker {address} --nthreads 1`")
        yield
    finally:
        _cluster.reset(token)
        client.close()


def _of_cluster(
    client: Client, function: Callable[[J], R], todo: Iterator[J], name: Callable[[J], str], told: Told | None
) -> Iterator[Finished[J, R]]:
    """As :func:`outcomes`, on a cluster. How many workers may die on a job is the scheduler's to say; it gives the job to another one."""
    from distributed import KilledWorker, as_completed

    futures: dict[Future, J] = {}
    running = as_completed(loop=client.loop)

    def submit() -> None:
        """As many as the cluster has room for now: workers come and go."""
        room = AHEAD * sum(client.nthreads().values()) - running.count()
        for job in islice(todo, max(room, 1 - running.count(), 0)):
            key = f"{name(job)}-{uuid4().hex}"  # a key that another program has at this scheduler would give its result
            future = client.submit(function, job, pure=False, key=key)
            futures[future] = job
            running.add(future)

    try:
        submit()
        for future in running:
            job, error = futures.pop(future), future.exception()
            if isinstance(error, KilledWorker):
                error = UserError(f"{name(job)}: its workers died; if memory is short, run fewer threads a worker")
            elif isinstance(error, Exception):
                error.add_note(f"in job {name(job)}")
            elif error is not None:
                error = RuntimeError("".join(traceback.format_exception_only(error)).strip())
            yield Failed(job, error) if error else Done(job, future.result())
            if told:
                told.running([], 1)
            submit()
    finally:
        client.cancel(list(futures), force=True)


@contextmanager
def beside(function: Callable[[J], R], job: J, workers: int, name: Callable[[J], str] = str) -> Iterator[Callable[[], R]]:
    """Start one job beside what this process does in the block; what the block gets waits for the result.

    Args:
        workers: processes that may be busy, this one included: with 1 the job runs here, when its result is asked for.
    Raises:
        Exception: that of the job, when its result is asked for.
    """
    if workers == 1:
        yield lambda: _result(_called(function, job, name))
        return
    with _workplace() as place:
        worker: _Worker[J, R] = place.worker(function, name)
        try:
            worker.give(job)
            yield lambda: _result(worker.last_outcome())
        finally:
            worker.kill()


def _result(outcome: Finished[J, R]) -> R:
    """The result of a job, or its exception."""
    if isinstance(outcome, Failed):
        raise outcome.error
    return outcome.result


def _called(function: Callable[[J], R], job: J, name: Callable[[J], str]) -> Finished[J, R]:
    """The outcome of a job in this process."""
    try:
        return Done(job, function(job))
    except Exception as error:
        error.add_note(f"in job {name(job)}")
        return Failed(job, error)


class _Worker(Generic[J, R]):
    """A worker process, replaced when it dies, and the job that it has. Its answer, or its death, comes at ``connection``."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._start()

    def take(self, function: Callable[[J], R], name: Callable[[J], str]) -> None:
        """What the next jobs are for."""
        self._function, self._name = function, name

    def _start(self) -> None:
        self.connection, theirs = Pipe()
        code = f"import sys; sys.path[:] = {sys.path!r}; from finn_vitprune.jobs import serve; serve({theirs.fileno()})"
        with theirs:
            self._group = ProcessGroup()
            self._process = self._group.start(
                [sys.executable, "-c", code], env=os.environ | {"TMPDIR": self._folder}, pass_fds=[theirs.fileno()]
            )

    def give(self, job: J, deaths: int = 0) -> None:
        """Hand the worker a job, on which ``deaths`` workers died before."""
        self.job, self._deaths = job, deaths
        with suppress(OSError):  # the worker died: outcome() sees to it
            surroundings = os.getcwd(), os.environ | {"TMPDIR": self._folder}
            self.connection.send_bytes(pickle.dumps((surroundings, pickle.dumps((self._function, job)))))

    def outcome(self) -> Finished[J, R] | None:
        """The outcome of the job; None where the worker died and a new one has the job."""
        job = self.job
        try:
            result, error = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            code = self.kill()
            self._start()
            if self._deaths + 1 < ATTEMPTS:
                self.give(job, self._deaths + 1)
                return None
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            text = f"{self._name(job)}: the process died {ATTEMPTS} times ({how})"
            return Failed(job, UserError(f"{text}; if memory is short, run fewer jobs at a time"))
        if error is None:
            return Done(job, result)
        error.add_note(f"in job {self._name(job)}")
        return Failed(job, error)

    def last_outcome(self) -> Finished[J, R]:
        """The outcome of the job, however many workers die on it."""
        while (outcome := self.outcome()) is None:
            pass
        return outcome

    def end(self) -> None:
        """Let the idle worker end in good order."""
        with suppress(OSError, subprocess.TimeoutExpired):
            self.connection.send_bytes(b"")
            self._process.wait(END_S)
        self.kill()

    def kill(self) -> int:
        """Kill the worker and all that it started; its exit code."""
        self._group.kill()
        self.connection.close()
        return self._process.returncode


@dataclass
class _Workplace:
    """The folder of workers' temporary files, and workers that wait, where it keeps them."""

    folder: str
    keeps: bool
    idle: list[_Worker] = field(default_factory=list)

    def worker(self, function: Callable[[J], R], name: Callable[[J], str]) -> _Worker[J, R]:
        """One that waits, or a new one."""
        worker: _Worker[J, R] = self.idle.pop() if self.idle else _Worker(self.folder)
        worker.take(function, name)
        return worker

    def leave(self, worker: _Worker) -> None:
        """A worker is done."""
        if self.keeps:
            self.idle.append(worker)
        else:
            worker.end()


_kept: ContextVar[_Workplace | None] = ContextVar("kept", default=None)


def quieten() -> None:
    """Keep what libraries warn of from the terminal, unless ``FINN_VITPRUNE_DEBUG`` is set."""
    if not os.environ.get(DEBUG):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no GPU; nothing here needs one


def collect_rarely() -> None:
    """Let Python look for cycles less often: graphs and modules are millions of objects that stay, and a search visits all of them."""
    gc.set_threshold(50_000, 20, 50)


# --- in the worker -------------------------------------------------------------------------------


def serve(descriptor: int) -> None:
    """Answer the jobs that arrive at an end of a pipe, up to an empty message."""
    os.set_inheritable(descriptor, False)  # the other end must see this process die, whatever it started
    quieten()
    collect_rarely()
    with suppress(EOFError, OSError), Connection(descriptor) as connection:
        while message := connection.recv_bytes():
            connection.send_bytes(_answer(message))


def _answer(message: bytes) -> bytes:
    """The result or the exception of a job, pickled. It finds the folder and the environment of the caller."""
    try:
        (folder, environment), called = pickle.loads(message)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        function, job = pickle.loads(called)
        return pickle.dumps((function(job), None))
    except (Exception, SystemExit) as error:
        error.add_note(traceback.format_exc())
        with suppress(Exception):  # of classes that cannot be pickled, or not made again
            answer = pickle.dumps((None, error))
            pickle.loads(answer)
            if isinstance(error, Exception):  # the others would end the program that they are raised in
                return answer
        return pickle.dumps((None, RuntimeError("".join(traceback.format_exception_only(error)))))
