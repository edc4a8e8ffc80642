"""The ``finn-vitprune`` program: one module a command."""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence

EXIT_DONE, EXIT_NO, EXIT_USER, EXIT_BUG, EXIT_INTERRUPTED = 0, 1, 2, 3, 130
DEBUG, COMPLETING = "FINN_VITPRUNE_DEBUG", "_FINN_VITPRUNE_COMPLETE"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit: 0 done, 1 the answer is no, 2 the user's input or set-up is wrong.

    An error is one line on standard error. 130 after an interrupt (Ctrl-C or SIGTERM), 3 after a defect of the program itself
    (its traceback goes to a file). ``FINN_VITPRUNE_DEBUG=1`` shows tracebacks.

    Args:
        arguments: the command line without the program's name; by default ``sys.argv[1:]``.
    """
    from finn_vitprune import progress

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, progress.stop)
    try:
        code = run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        code = _fail("interrupted", EXIT_INTERRUPTED)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    import typer

    from finn_vitprune.cli.app import program
    from finn_vitprune.errors import UserError
    from finn_vitprune.jobs import collect_rarely, quieten

    quieten()  # what a user must know is said otherwise
    collect_rarely()
    if (wrong := next((word for word in arguments if _not_utf8(word)), None)) is not None:
        return _fail(f"{os.fsencode(wrong)!r} is not UTF-8: give files and folders names that are", EXIT_USER)
    wanted = None if COMPLETING in os.environ else next((word for word in arguments if not word.startswith("-")), "")
    command = typer.main.get_command(program(wanted))
    try:
        code = command.main(list(arguments) or ["--help"], prog_name="finn-vitprune", standalone_mode=False)
        code = code if isinstance(code, int) else EXIT_DONE
    except typer.Exit as e:
        code = e.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", EXIT_INTERRUPTED)
    except UserError as e:
        return _fail(str(e), e.exit_code)
    except Exception as e:
        message = _user_message(e)
        if message is not None:
            return _fail(message, EXIT_USER)
        if os.environ.get(DEBUG):
            raise
        return _fail(f"defect in finn-vitprune: {type(e).__name__}: {e} (details: {_crash_log()})", EXIT_BUG)
    return _fail("interrupted", code) if code == EXIT_INTERRUPTED else code  # typer's own interrupt handling


def _not_utf8(word: str) -> bool:
    """Whether a word of the command line holds bytes that are no text."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return True
    return False


def _fail(message: str, code: int) -> int:
    if os.environ.get(DEBUG) and code == EXIT_USER:
        traceback.print_exc()
    print("finn-vitprune: " + " ".join(message.split()), file=sys.stderr)
    return code


def _user_message(e: Exception) -> str | None:
    """The text for an exception that the user's input or set-up caused; ``None`` for any other."""
    from finn_vitprune.errors import refused

    names = {cls.__name__ for cls in type(e).__mro__}
    if "ClickException" in names or "UsageError" in names:  # typer carries its own copy of click
        return _plainly(e.format_message())
    return str(e) if "FINNUserError" in names else refused(e)


INVALID = re.compile(r"Invalid value for '(?:.* / )?([^']*)': (?:Value error, )?(.*)", re.DOTALL)
"""How typer says that a value is wrong."""
PLAINLY = (
    (r"Input should be greater than or equal to (\S+)", r"use \1 or more"),
    (r"Input should be a valid integer.*", "use a whole number"),
)


def _plainly(message: str) -> str:
    """What typer says, in the form of what models of options say."""
    if (found := INVALID.match(message)) is None:
        return message
    name, why = found.groups()
    for pattern, words in PLAINLY:
        why = re.sub(pattern, words, why)
    return f"{name}{':' if why.startswith('use ') else ''} {why}"


def _crash_log() -> str:
    from finn_vitprune import cache
    from finn_vitprune.errors import UserError

    try:
        path = cache.cache_dir() / "crash.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc())
    except (OSError, UserError):
        return f"set {DEBUG}=1"
    return str(path)
