"""An option is one field: the command line, the printed command, records, files and Python follow from it, with the same words."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path
from typing import Annotated, Literal, get_args

import pytest
import typer
import yaml
from pydantic import Field

from finn_vitprune.built.record import STANDARD_STEPS, command_of, step_name
from finn_vitprune.cli import run
from finn_vitprune.cli.app import COMMANDS, program
from finn_vitprune.cli.parameters import with_options
from finn_vitprune.custom_ops.mvau.mac import MAC_STYLES
from finn_vitprune.errors import UserError
from finn_vitprune.options.base import Option, Options
from finn_vitprune.options.build import BuildOptions, BuildSettings, MacStyle
from finn_vitprune.options.check import CheckOptions
from finn_vitprune.options.evaluate import EvaluateOptions
from finn_vitprune.options.explore import ExploreOptions
from finn_vitprune.options.importing import FineTune, ImportOptions
from tests.option_reach import FOLDERS, ROOT, reach_of

BESIDE = {"scheduler", "json_output", "full"}
"""Parameters of commands that are no options of what they do."""
MOST = {"build": (25, 11), "import": (38, 14), "train": (42, 14)}
"""Functions and modules that options reach. A change may lower these numbers, not raise them."""
GIVEN = [
    BuildOptions(output_dir="out"),
    BuildOptions(
        model="a b.onnx", output_dir="out", fpga_part="ZCU104", config="dataflow", clk_ns=2.5, folding="f.json", estimate_only=True,
        start_step="step_fold", stop_step="step_stitch", export="vivado", mac_style="lut", engines="auto", frames_in_flight=2, goal="latency",
        loadable=True, reserve=("x.onnx", 0.2), frame_check="transfer", budget="LUT=0.5", shell="xdma", images="i.npz", max_images=7,
        simulation="units", synth="none", part_resources="p.json", seed=3,
    ),
    BuildOptions(output_dir="out", target_fps=300, encoders_per_engine=(2, 1), reserve=["dense"]),
    BuildOptions(output_dir="out", board="ulx3s-85f", budget="MULT18=0.9"),
    ImportOptions(model="m.onnx", data="digits", output="x.onnx"),
    ImportOptions(
        model="m.onnx", data="npz:a.npz", output="x.onnx", score="magnitude", reconstruct=False, block_size=8, block_keep="0.50", neuron_keep=0.7,
        token_keep="0.5", drop_at=(1, 2), weight_bits=4, act_bits=4, outer_bits=4, rounding="corrected", mean=(0.5,), std=(0.25, 0.5, 1.0),
        tolerance=1e-3, eval_images=9, seed=4,
        fine_tune=FineTune(epochs=2, learning_rate=1e-3, batch_size=16, train_images=20, shift=1, flip=True, features=0.0),
    ),
    ExploreOptions(models=["a.onnx"], fpga_part="U250", output="out"),
    ExploreOptions(
        models=["a.onnx", "b.onnx"], fpga_part=("U250", "ZCU104"), output="out", engines=("pipeline", 1, 2), frames_in_flight=(1, 2),
        goal=("throughput", "latency"), bits=("8", "4/8"), block_keep=("0.5", "1"), token_keep=("0.7", "0.5"), pair=True, drop_at=(1, 3),
        block_size=8, data="digits", clk_ns=4, budget="DSP=0.5", shell="xdma", build="pareto", synth="nodes", seed=2,
    ),
    EvaluateOptions(target="m.onnx", data="digits"),
    EvaluateOptions(target=".", data="npz:a.npz", reference="f.onnx", contents="c.bin", classes="c.json", max_images=5, seed=1, skip_damaged=True,
                    mean=(0.5,), std=(0.25,)),
    CheckOptions(model="m.onnx", fpga_part="U250", budget="LUT=0.6", shell="xdma", part_resources="p.json", nodes=True),
]  # fmt: skip


def parsed(options: type[Options], words: list[str]) -> Options:
    """What the command line makes of some words, without running the command."""
    command = typer.main.get_command(program(options.COMMAND)).commands[options.COMMAND]
    with command.make_context(options.COMMAND, words) as context:
        return options.of_parameters(context.params | dict.fromkeys(BESIDE))


@pytest.mark.parametrize("given", GIVEN, ids=lambda given: f"{given.COMMAND} {len(given.model_fields_set)}")
def test_the_printed_command_asks_for_the_same_options(given):
    name, command, *words = shlex.split(given.command)
    assert (name, command) == ("finn-vitprune", type(given).COMMAND)
    assert parsed(type(given), words) == given


@pytest.mark.parametrize("given", GIVEN, ids=lambda given: f"{given.COMMAND} {len(given.model_fields_set)}")
def test_options_come_back_from_json(given):
    again = type(given).model_validate_json(given.model_dump_json())
    assert again == given and type(given)(**given.model_dump(mode="json")) == given


@pytest.mark.parametrize("options", [BuildOptions, ImportOptions, ExploreOptions, CheckOptions, EvaluateOptions])
def test_every_option_has_its_help_and_limits_on_the_command_line(options, capsys):
    command = typer.main.get_command(program(options.COMMAND)).commands[options.COMMAND]
    parameters = {parameter.name: parameter for parameter in command.params}
    typed = [field for field in options.fields() if field.option.typed]
    assert {field.name for field in typed} == parameters.keys() - BESIDE
    for field in typed:
        parameter = parameters[field.name]
        assert parameter.help == field.info.description, field.name
        assert field.option.place or field.flag in parameter.opts, field.name


@pytest.mark.parametrize("options", [BuildOptions, ImportOptions, ExploreOptions, CheckOptions, EvaluateOptions])
def test_the_help_shows_every_option_under_a_heading_in_order(options, capsys):
    shown = " ".join(options.GROUPS.values()).split()
    assert sorted(shown) == sorted(field.keyword for field in options.fields() if field.option.typed)
    assert run([options.COMMAND, "--help"]) == 0
    text = capsys.readouterr().out
    places = [text.index(f"\n{heading}:\n") for heading in options.GROUPS]
    assert places == sorted(places)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_its_terminal(name, capsys, monkeypatch):
    for columns in (50, 80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert run([*filter(None, [name]), "--help"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert not [line for line in lines if len(line) > columns and " " in line.strip()]


def test_help_is_sentences():
    for name, command in typer.main.get_command(program()).commands.items():
        for parameter in command.params:
            assert re.match(r"[A-Z`].*\.$", parameter.help), (name, parameter.name, parameter.help)
            assert command.help.strip()


def test_the_help_of_stop_step_has_the_steps_in_order():
    help = BuildOptions.model_fields["stop_step"].description
    steps = yaml.safe_load((ROOT / "builds" / "dataflow.yaml").read_text())["steps"]
    assert re.findall(r"step_\w+", help) == list(map(step_name, steps))


def test_type_checkers_see_options_as_keywords():
    parameters = inspect.signature(BuildOptions).parameters
    assert parameters.keys() == BuildOptions.model_fields.keys() and all(p.kind is p.KEYWORD_ONLY for p in parameters.values())


@pytest.mark.parametrize("options, wrong, text", [
    (BuildOptions, {}, "--output is missing: The folder of the build."),
    (BuildOptions, {"output_dir": "o", "engine": 1}, "unknown option engine: did you mean engines?"),
    (BuildOptions, {"output_dir": "o", "clk_ns": 0}, "--clk-ns 0: use 0.1 or more"),
    (BuildOptions, {"output_dir": "o", "synth": "all"}, "--synth all: use nodes or none"),
    (BuildOptions, {"output_dir": "o", "engines": 0}, "--engines 0: "),
    (BuildOptions, {"output_dir": "o", "engines": "two"}, "--engines two: use a number of 1 or more, or auto"),
    (BuildOptions, {"output_dir": "o", "budget": "LUT=2"}, "budget LUT=2: use a share above 0 and up to 1"),
    (BuildOptions, {"output_dir": "o", "fpga_part": "xcu25"}, "unknown part xcu25: did you mean xcu250"),
    (BuildOptions, {"output_dir": "o", "config": "nothing"}, "build config nothing: no such file, and none of these names: dataflow, synthesis_only"),
    (ExploreOptions, {"models": ["a"], "fpga_part": "", "output": "o"}, "--fpga-part '': give one at least"),
    (ExploreOptions, {"models": ["a"], "fpga_part": "U250", "output": "o", "engines": (0,)}, "--engines 0: use numbers of 1 or more, or pipeline"),
])  # fmt: skip
def test_wrong_values_are_refused_where_options_are_made(options, wrong, text):
    with pytest.raises(UserError, match=re.escape(text)):
        options(**wrong)


def test_a_change_is_checked_and_the_rest_stays():
    options = GIVEN[1]
    assert options.changed(seed=5) == BuildOptions(**dict(options) | {"seed": 5}) and options.seed == 3
    with pytest.raises(UserError, match="--seed -1: use 0 or more"):
        options.changed(seed=-1)


def test_steps_and_mac_styles_are_those_that_exist():
    assert {field.option.first for field in BuildOptions.fields() if field.option.first} <= STANDARD_STEPS
    assert get_args(MacStyle) == tuple(MAC_STYLES)


# --- how far an option goes ----------------------------------------------------------------------


class WiderOptions(BuildOptions):
    """A new option of ``build``: this field, and the step that reads it."""

    rounds: Annotated[Literal[1, 2] | None, Option(first="step_simulate"), Field(description="Simulate so often.")] = None


def test_a_new_option_is_one_field(tmp_path):
    """With its field alone it is on the command line, in the printed command, in the record and in the file that steps read."""
    seen = []
    command = typer.main.get_command(_app(with_options(seen.append, WiderOptions)))
    command.main(["-o", str(tmp_path / "o"), "--rounds", "2"], standalone_mode=False)
    (options,) = seen
    assert options.rounds == 2 and options.command == f"finn-vitprune build --rounds 2 -o {tmp_path / 'o'}"
    assert WiderOptions(**options.model_dump(mode="json")) == options
    assert options.recorded["rounds"] == 2 and "rounds" not in WiderOptions(output_dir="o").recorded
    assert next(field.option.first for field in WiderOptions.fields() if field.name == "rounds") == "step_simulate"
    with pytest.raises(UserError, match="--rounds 3: use 1 or 2"):
        options.changed(rounds=3)


def _app(command) -> typer.Typer:
    app = typer.Typer()
    app.command()(command)
    return app


def test_a_record_and_its_options_print_one_command():
    options = BuildOptions(model="m.onnx", output_dir="out", clk_ns=4, engines=2, budget="LUT=0.5", export="vivado")
    record = (
        options.recorded
        | options.finn_config
        | {"model": "m.onnx (SHA-256 01)", "budget": str(options.budget), "steps": ["step_export_vivado"]}
    )
    assert command_of(record) == options.command


def test_few_files_know_how_many_images_are_in_flight():
    """Of the product; those that only pass it on do not name it."""
    paths = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if "experiments" not in path.parts)
    files = [path for path in paths if "frames_in_flight" in path.read_text()]
    assert len(files) <= 12, "\n".join(map(str, files))
    users = [path for path in files if "cli" in path.parts or path.name == "record.py"]
    assert not users


@pytest.mark.parametrize("trip", MOST)
def test_options_reach_no_more_functions(trip):
    reach = reach_of(trip)
    functions, modules = MOST[trip]
    assert (len(reach.functions), len(reach.modules)) <= (functions, modules), "\n".join(reach.functions)
    assert len(reach.modules) <= modules, "\n".join(reach.modules)


def test_the_count_follows_calls_attributes_and_results(tmp_path):
    """A small program of four functions that options reach, and three that they do not."""
    (tmp_path / "finn_vitprune").mkdir()
    (tmp_path / "finn_vitprune" / "a.py").write_text("""
from pydantic import BaseModel
class O(BaseModel):
    name: str
    @property
    def long(self) -> str:
        return self.name + "."
class Holder:
    def __init__(self, options: O) -> None:
        self.options = options
    def reads(self) -> int:
        return len(self.options.name)
    def other(self) -> int:
        return plain(len("x"))
def plain(size: int) -> int:
    return size
def named(text: str) -> int:
    return plain(len(text))
def build(options: O) -> int:
    holder = Holder(options)
    same = options.model_copy()
    return holder.reads() + holder.other() + named(same.name) + plain(len(options.long))
""")
    from tests.option_reach import Code, Reach, Trip

    reach = Reach(Code(tmp_path), Trip("finn_vitprune.a.build", "options"))
    assert reach.functions == [f"finn_vitprune.a.{name}" for name in ("Holder.__init__", "Holder.reads", "O.long", "build", "named")]
    assert not Path(tmp_path / "out").exists() and BuildSettings().recorded["seed"] == 0
