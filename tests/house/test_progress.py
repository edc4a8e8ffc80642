"""Progress goes where its block says, and nowhere else afterwards."""

import logging
import time

import pytest

from finn_vitprune import progress
from finn_vitprune.cli import terminal
from finn_vitprune.cli.terminal import progress_lines
from finn_vitprune.sim import toolchain
from tests.said import Said


def test_the_innermost_block_gets_it_and_gives_it_back():
    outer, inner = Said(), Said()
    with progress.shown_by(outer):
        progress.line("a")
        with pytest.raises(KeyError), progress.shown_by(inner):
            progress.status("b")
            raise KeyError
        progress.status("c")
    assert (outer, inner) == (["a", "c"], ["b"])


def test_lines_are_logged_and_statuses_are_not(caplog):
    with progress.shown_by(Said()), caplog.at_level(logging.INFO, "finn_vitprune"):
        progress.line("folded")
        progress.status("1 of 9")
    assert [r.getMessage() for r in caplog.records] == ["folded"]


def test_a_pipe_gets_lines_with_the_time_and_no_status(capsys):
    with progress_lines():
        progress.status("simulating: 1 of 9")
        progress.line("[bold] is not markup")
    text = capsys.readouterr().out
    assert text.endswith(" s] [bold] is not markup\n") and "simulating" not in text


def test_a_pipe_that_heard_nothing_for_long_gets_what_is_done_now(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "SILENCE_S", 0.3)
    with progress_lines():
        progress.begin("step_simulate [12/14]")
        progress.status("simulating: 1 of 9")
        time.sleep(0.45)
        progress.status("simulating: 2 of 9")
        time.sleep(0.3)
        progress.line("0 mismatches")
        time.sleep(0.45)
    said = [line.split(" s] ")[1] for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "step_simulate [12/14]",
        "still simulating: 1 of 9",
        "still simulating: 2 of 9",
        "0 mismatches",
        "still step_simulate [12/14]",
    ]


def test_work_that_says_nothing_is_still_told_of(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "SILENCE_S", 0.2)
    with progress_lines():
        time.sleep(0.3)
    time.sleep(0.3)
    assert [line.split(" s] ")[1] for line in capsys.readouterr().out.splitlines()] == ["still at work"]


def test_a_terminal_gets_a_status_that_moves_in_place_of_lines(monkeypatch):
    import io

    from rich.console import Console

    monkeypatch.setattr(terminal, "SILENCE_S", 0.1)
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "progress_console", lambda: Console(file=screen, force_terminal=True, width=80))
    with progress_lines():
        progress.begin("plans: [2] to make")
        time.sleep(0.3)
        progress.status("plans: [1] of 2 (a)")
        time.sleep(0.3)
    text = screen.getvalue()
    assert "still" not in text and "plans: [1] of 2 (a)" in text and text.count(" s] ") == 1


@pytest.mark.parametrize("seconds, text", [(3, "3 s"), (99, "99 s"), (100, "2 min"), (867, "14 min"), (5940, "99 min"), (12600, "3.5 h")])
def test_durations_have_one_unit(seconds, text):
    assert progress.duration(seconds) == text


def test_pace_tells_the_rest_from_what_is_done_here(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    pace = progress.Pace(total=13, done=2)
    now[0] = 130.0
    assert [pace.at(done) for done in (2, 3, 7, 13)] == ["2 of 13", "3 of 13, about 5 min left", "7 of 13, about 36 s left", "13 of 13"]


def test_compilers_tell_how_many_files_are_done():
    said = Said()
    with progress.shown_by(said):
        toolchain._run([["true"], ["true"]], at_once=1, what="compiling, file")
        toolchain._run([["true"]])
    first, second, end = said
    assert first == "compiling, file 0 of 2" and second.startswith("compiling, file 1 of 2, about ") and end == ""


def test_lines_reach_the_console_while_standard_output_is_replaced(capsys, monkeypatch):
    import io
    import sys

    with progress_lines(), monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.StringIO())
        progress.line("still here")
    assert "still here" in capsys.readouterr().out
