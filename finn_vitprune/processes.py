"""Programs that end with this process, whatever ends it, and what in the set-up made a program fail."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress

_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGBUS, signal.SIGXCPU, signal.SIGXFSZ}
_FAULTS = [os.strerror(e) for e in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.EACCES, errno.ENOMEM)]
_FAULT = re.compile("|".join([*map(re.escape, _FAULTS), "[Oo]ut of memory", "bad_alloc", "signal terminated program"]))


class ProcessGroup:
    """Programs that end together: at the end of a ``with`` block, or with this process, whatever ends it.

    The first of the group is a shell that waits at a pipe, whose other end only this process holds. When that end closes,
    the shell kills the group: the programs and all that they started. Signals of the terminal, such as Ctrl-C's, do not
    reach the group.
    """

    def __init__(self) -> None:
        self._programs: list[subprocess.Popen] = []
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", "read _; kill -KILL 0"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )

    def start(self, command: Sequence[str], **options) -> subprocess.Popen:
        """Start a program of the group; ``options`` as for :class:`subprocess.Popen`."""
        options = {"stdin": subprocess.DEVNULL} | options
        self._programs.append(subprocess.Popen(command, process_group=self._guard.pid, **options))
        return self._programs[-1]

    def kill(self) -> None:
        """End all programs of the group and what they started."""
        with suppress(ProcessLookupError):
            os.killpg(self._guard.pid, signal.SIGKILL)
        assert self._guard.stdin is not None  # a pipe
        self._guard.stdin.close()
        for process in (*self._programs, self._guard):
            process.wait()

    def __enter__(self) -> ProcessGroup:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def fault(code: int, text: str) -> str | None:
    """Why the set-up, and not its input, made a program fail: it was killed, the disk is full, rights are missing.

    Args:
        code: its exit code, negative for a signal.
        text: what it printed.
    Returns:
        None where nothing says so.
    """
    if -code in _FROM_OUTSIDE:
        return f"killed by {signal.Signals(-code).name}; if memory is short, run fewer jobs at a time"
    return next((line.strip() for line in text.splitlines() if _FAULT.search(line)), None)
