"""The page of verdicts is what the commands print."""

import re

import pytest

from tests.verdict_page import COMMANDS, PAGE, made, page, words

pytestmark = [pytest.mark.whole, pytest.mark.xdist_group("example")]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    return made(tmp_path_factory.mktemp("verdicts"))


def test_the_page_is_what_the_commands_print(verdicts):
    """The same words, and figures within 1 %: what PyTorch computes differs a little between processors."""
    (now, figures), (kept, recorded) = words(page(verdicts)), words(PAGE.read_text())
    assert now == kept, "python -m tests.verdict_page writes it anew"
    assert figures == pytest.approx(recorded, rel=0.01, abs=0.05)


@pytest.mark.parametrize("title", COMMANDS)
def test_each_is_on_one_screen(verdicts, title):
    lines = verdicts[title].splitlines()
    assert 3 <= len(lines) <= 12 and max(map(len, lines)) <= 100
    assert re.search("(page|next): ", lines[-1])


def test_what_is_wrong_or_an_estimate_comes_first(verdicts):
    assert verdicts["A build of estimates alone"].splitlines()[1] == "! Only estimates: nothing was simulated or synthesised."
    assert verdicts["A part that is too small"].splitlines()[1].startswith("! The design does not fit xcmine: needs")
    again, first = verdicts["The build again"].splitlines(), verdicts["A build"].splitlines()
    assert [line for line in again if line not in first and not line.startswith(("  accuracy", "page"))] == []
