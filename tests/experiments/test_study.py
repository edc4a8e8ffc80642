"""A study: rows are kept, made again when they no longer hold, and shown in the order of the settings."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import timm
from matplotlib.figure import Figure
from typer.testing import CliRunner

from builds.experiments import (
    board_designs,
    deit_loaded,
    deit_pages,
    engines,
    libraries,
    room,
    timing,
    zoo,
    zoo_builds,
    zoo_digits,
    zoo_plans,
)
from builds.experiments.deit import app
from builds.experiments.deit_models import ModelFolder
from builds.experiments.study import Study, start
from finn_vitprune.errors import UserError
from finn_vitprune.report.summary import Summary
from finn_vitprune.report.tables import TextTable

RESULTS = Path(__file__).parents[2] / "builds" / "results"


@dataclass(frozen=True)
class Square:
    """A number's square, and by which rule it was made."""

    square: int
    rule: str = "now"


class TooLargeError(Exception):
    """A setting that has no row."""


def square(number: int) -> Square:
    if number > 9:
        raise TooLargeError(f"{number} is too large")
    return Square(number**2)


def table(rows):
    return [
        TextTable("Squares", ("number", "square"), tuple((name, str(row.square)) for name, row in rows.items())),
        TextTable("None", (), ()),
    ]


def study(numbers=(3, 1, 2), run=square, **more):
    settings = {f"number {n}": n for n in numbers}
    return Study(settings, Square, run, table, "Numbers", "{known} of {settings}.", lambda row: f"{row.square}", **more)


def test_rows_and_page_are_in_the_order_of_the_settings(tmp_path, capsys):
    rows = study().go(tmp_path, ["2"])
    assert rows == {"number 2": Square(4)} and "[1 of 1] number 2: 4" in capsys.readouterr().out
    assert "1 of 3." in (tmp_path / "RESULTS.md").read_text()
    assert list(study().go(tmp_path)) == ["number 3", "number 1", "number 2"] == list(json.loads((tmp_path / "results.json").read_text()))
    page = (tmp_path / "RESULTS.md").read_text()
    assert page.startswith("# Numbers\n\n3 of 3.\n") and "## None" not in page
    assert page.index("| number 3 | 9 |") < page.index("| number 1 | 1 |") < page.index("| number 2 | 4 |")


def test_it_goes_on_where_it_stopped(tmp_path):
    asked = []

    def stopping(number):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(number)
        return square(number)

    with pytest.raises(KeyboardInterrupt):
        study(run=stopping).go(tmp_path)
    assert list(study().known(tmp_path)) == ["number 3", "number 1"], "what was made is kept"
    study(run=lambda number: asked.append(number) or square(number)).go(tmp_path)
    assert asked == [3, 1, 2], "each once"


def test_rows_that_no_longer_hold_are_made_again_and_not_shown(tmp_path):
    study(run=lambda number: Square(number**2, "then")).go(tmp_path)
    today = study(holds=lambda number, row: row.rule == "now" or number == 1)
    assert list(today.known(tmp_path)) == ["number 1"]
    today.go(tmp_path, ["number 2"])
    assert json.loads((tmp_path / "results.json").read_text()) == {
        "number 1": {"square": 1, "rule": "then"}, "number 2": {"square": 4, "rule": "now"}
    }  # fmt: skip
    study(numbers=(2, 5)).go(tmp_path, ["2"])
    assert list(json.loads((tmp_path / "results.json").read_text())) == ["number 2"], "a row without a setting goes"


def test_a_failure_of_the_kind_that_is_expected_leaves_the_others(tmp_path, capsys):
    with pytest.raises(TooLargeError, match="10 is too large"):
        study(numbers=(10, 1)).go(tmp_path)
    assert list(study(numbers=(10, 1), failures=(TooLargeError,)).go(tmp_path)) == ["number 1"]
    assert "[1 of 2] number 10: 10 is too large" in capsys.readouterr().out


@pytest.mark.whole
def test_settings_in_processes(tmp_path):
    whole = Study({"a": 1.0, "b": 2.5}, bool, float.is_integer, lambda rows: [], "", "", str)
    assert whole.go(tmp_path, workers=1) == {"a": True, "b": False}


def test_plots_are_written_beside_the_page(tmp_path):
    def draw(rows):
        figure = Figure()
        figure.subplots().plot([row.square for row in rows.values()])
        return figure

    study(plots={"squares.png": draw}).go(tmp_path)
    assert (tmp_path / "squares.png").read_bytes().startswith(b"\x89PNG")


def test_a_name_that_fits_no_setting_is_refused(tmp_path):
    with pytest.raises(UserError, match="no setting has seven or eight in its name: there are number 3; number 1; number 2"):
        study().go(tmp_path, ["seven", "eight"])
    assert not list(tmp_path.iterdir())


def test_wrong_input_is_one_line(capsys):
    with pytest.raises(SystemExit) as left:
        start(lambda: study().go(Path("nowhere"), ["seven"]))
    assert left.value.code == 2 and capsys.readouterr().err.count("\n") == 1


# --- the committed results -----------------------------------------------------------------------


def committed():
    """Every study of which the page depends on its rows and on this checkout alone."""
    nowhere = Path("nowhere")
    networks = {network.name: network for network in deit_loaded.LOADED}
    design = Summary.load(RESULTS / "deit_loaded" / "design_summary.json")
    return {
        "board/designs": board_designs.study(board_designs.DESIGNS),
        "deit": deit_pages.pipelines(ModelFolder(nowhere)), "deit_engines": deit_pages.engines(ModelFolder(nowhere)),
        "deit_loaded": Study(networks, deit_loaded.LoadedRow, None, deit_loaded.tables, deit_loaded.TITLE, deit_loaded.text_of(design), str),
        "engines": engines.study(nowhere, None), "room": room.study(nowhere), "timing": timing.study(), "import": zoo.study(), "import_libraries": libraries.study(),
        "zoo_builds": zoo_builds.study(), "zoo_digits": zoo_digits.study(), "zoo_plans": zoo_plans.study(nowhere),
    }  # fmt: skip


@pytest.mark.parametrize("name", committed())
def test_a_committed_page_is_that_of_its_rows(name, tmp_path):
    of = committed()[name]
    if name in ("import", "zoo_builds") and f"timm {timm.__version__}." not in (RESULTS / "import" / "RESULTS.md").read_text():
        pytest.skip("the page is of another version of timm, which has other models")
    rows = Study(of.settings, of.row, of.run, of.table, of.title, of.text, of.said).known(RESULTS / name)
    assert rows.keys() == of.settings.keys()
    assert (RESULTS / name / "RESULTS.md").read_text() == of.page(rows)


def test_the_program_names_its_commands():
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0 and all(name in result.output for name in ("models", "pipelines", "engines", "loaded"))
