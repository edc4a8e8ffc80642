"""Progress goes where its block says, and nowhere else afterwards."""

import logging
import time

import pytest

from finn_vitprune import progress
from finn_vitprune.cli import terminal
from finn_vitprune.cli.terminal import progress_lines
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


def test_a_pipe_that_heard_nothing_for_long_gets_the_status(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "SILENCE_S", 0.2)
    with progress_lines():
        for i in range(1, 4):
            time.sleep(0.15)
            progress.status(f"simulating: {i} of 9")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and lines[0].endswith(" s] simulating: 2 of 9")


def test_lines_reach_the_console_while_standard_output_is_replaced(capsys, monkeypatch):
    import io
    import sys

    with progress_lines():
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.StringIO())
            progress.line("still here")
    assert "still here" in capsys.readouterr().out
