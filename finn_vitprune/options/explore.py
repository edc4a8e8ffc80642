"""The options of ``explore``: what ``build`` and ``import`` take, and often several values of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from finn_vitprune.errors import UserError
from finn_vitprune.files import output_path
from finn_vitprune.options.base import Option, Options
from finn_vitprune.options.build import Goal, Synth
from finn_vitprune.options.importing import ShareText
from finn_vitprune.options.shared import BudgetOption, Jobs, ShellOption
from finn_vitprune.options.texts import Ints, pair_of_bits
from finn_vitprune.pruning.choices import Share, check_drops
from finn_vitprune.synth.budget import Budget

PIPELINE: Final = "pipeline"
"""Hardware for every encoder, in place of a number of engines."""


def _texts(value: Any, flag: str) -> tuple[Any, ...]:
    """What stands between commas, each once, or the values that are given."""
    given = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else (value,)
    found = tuple(dict.fromkeys(one for part in given if (one := part.strip() if isinstance(part, str) else part) != ""))
    if not found:
        raise UserError(f"{flag} {value!r}: give one at least")
    return found


def _parts(value: Any) -> tuple[Any, ...]:
    return _texts(value, "--fpga-part")


def _engines(value: Any) -> tuple[Any, ...]:
    found = []
    for part in _texts(value, "--engines"):
        if part != PIPELINE and not (str(part).isdecimal() and int(part) >= 1):
            raise UserError(f"--engines {part}: use numbers of 1 or more, or {PIPELINE}, with commas between them")
        found.append(part if part == PIPELINE else int(part))
    return tuple(found)


def _counts(value: Any) -> Any:
    value = (value,) if isinstance(value, int) else value
    if not isinstance(value, list | tuple):
        return value
    if not value or min(value) < 1:
        raise UserError(f"--frames-in-flight {','.join(map(str, value))}: use numbers of 1 or more, as 1,2")
    return tuple(dict.fromkeys(value))


def _goals(value: Any) -> tuple[Any, ...]:
    found = _texts(value, "--goal")
    for goal in found:
        if goal not in get_args(Goal):
            raise UserError(f"--goal {goal}: use throughput or latency, or both with a comma")
    return found


def _bits(value: Any) -> tuple[str, ...]:
    """``8,4/8``: 8/8 and 4/8."""
    found = []
    for part in _texts(value, "--bits") if value else ():
        weights, activations = pair_of_bits(str(part))
        if not {weights, activations} <= {4, 8}:
            raise UserError(f"--bits {part}: use 8 or 4, or weights/activations, as 4/8")
        found.append(f"{weights}/{activations}")
    return tuple(dict.fromkeys(found))


def _shares(flag: str) -> BeforeValidator:
    def shares(value: Any) -> tuple[str, ...]:
        try:
            return tuple(str(Share(part)) for part in _texts(value, flag))
        except ValueError as error:
            raise UserError(f"{flag} {error}") from None

    return BeforeValidator(shares)


def _built(value: Any) -> Any:
    """``best:N`` or ``pareto``; a number is so many of the best."""
    text = f"best:{value}" if isinstance(value, int) else str(value)
    kind, _, number = text.partition(":")
    if text != "pareto" and (kind != "best" or not number.isdecimal()):
        raise UserError(f"--build {text}: use best:N, as best:3, or pareto")
    return text


class ExploreOptions(Options):
    """Many designs side by side. Where several values are taken, all combinations are planned; texts have commas between them."""

    COMMAND: ClassVar[str] = "explore"
    GROUPS: ClassVar[Mapping[str, str]] = {
        "Networks, parts, folder": "models parts to",
        "Networks that are imported": "bits block_keep token_keep pair drop_at block_size data seed",
        "Plans": "engines frames_in_flight goal clk_ns budget shell",
        "Builds": "build synth",
        "Output and jobs": "retry jobs",
    }

    models: Annotated[
        tuple[Path, ...], Option(place=True, many=True, metavar="MODEL.onnx...", file=True),
        Field(description="The networks: QONNX models as they are, or float ones that are imported."),
    ]  # fmt: skip
    fpga_part: Annotated[
        tuple[str, ...], BeforeValidator(_parts), Option(text=True, keyword="parts", metavar="PARTS"),
        Field(description="The parts or boards, with commas between them."),
    ]  # fmt: skip
    output: Annotated[
        Path,
        Option(short="-o", keyword="to"),
        Field(
            description="The folder of networks, builds and explore.csv, .json and .html; a second run goes on where the first one stopped."
        ),
    ]
    engines: Annotated[
        tuple[Annotated[int, Field(ge=1)] | Literal["pipeline"], ...], BeforeValidator(_engines), Option(text=True),
        Field(description="Plans have these numbers of engines, as 1,2; pipeline is hardware for every encoder."),
    ] = (PIPELINE,)  # fmt: skip
    frames_in_flight: Annotated[
        tuple[int, ...], BeforeValidator(_counts), Option(parse=Ints, metavar="NUMBERS"),
        Field(description="An engine works on this many images at once, as 1,2."),
    ] = (1,)  # fmt: skip
    goal: Annotated[
        tuple[Goal, ...], BeforeValidator(_goals), Option(text=True),
        Field(description="Plans on engines look for throughput, latency, or both with a comma."),
    ] = ("throughput",)  # fmt: skip
    bits: Annotated[
        tuple[ShareText, ...], BeforeValidator(_bits), Option(text=True),
        Field(description="Imported networks have these bits of weights and activations, as 8,4/8: both 8; weights 4, activations 8."),
    ] = ()  # fmt: skip
    block_keep: Annotated[
        tuple[ShareText, ...], _shares("--block-keep"), Option(text=True),
        Field(description="Imported networks keep these shares of blocks and neurons, as 0.5,0.7."),
    ] = ("1",)  # fmt: skip
    token_keep: Annotated[
        tuple[ShareText, ...],
        _shares("--token-keep"),
        Option(text=True),
        Field(description="Imported networks keep these shares of tokens at each drop, as 0.5,0.7."),
    ] = ("1",)
    pair: Annotated[bool, Field(description="Takes the n-th --block-keep with the n-th --token-keep, in place of all pairs.")] = False
    drop_at: Annotated[
        tuple[int, ...],
        Option(parse=Ints, metavar="NUMBERS"),
        Field(description="These encoders drop tokens, as 3,7,10; without it three, evenly."),
    ] = ()
    block_size: Annotated[
        int | None,
        Field(ge=2, description="Blocks of imported networks have this many rows and columns; without it the largest that fits."),
    ] = None
    data: Annotated[
        str | None,
        Field(
            description="The data to import with, as of `import`. Without it networks are made with noise: enough for plans, accuracy is not known."
        ),
    ] = None
    clk_ns: Annotated[float, Field(ge=0.1, allow_inf_nan=False, description="The clock period in ns.")] = 3.333
    budget: BudgetOption = Budget()
    shell: ShellOption = None
    build: Annotated[
        str, BeforeValidator(_built), Option(text=True, metavar="best:N|pareto"),
        Field(description="Builds and simulates the N best designs, or all that no other beats."),
    ] = "best:0"  # fmt: skip
    synth: Annotated[Synth, Field(description="Yosys synthesises every node of what is built, or nothing.")] = "none"
    jobs: Jobs = 2
    seed: Annotated[int, Field(ge=0, description="The seed of drawn images.")] = 0
    retry: Annotated[bool, Option(matters=False), Field(description="Tries designs again that failed.")] = False

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        output_path(self.output)
        given = {"--data": self.data, "--block-size": self.block_size, "--drop-at": ",".join(map(str, self.drop_at)) or None}
        if not self.bits and (self.block_keep, self.token_keep) != (("1",), ("1",)):
            raise UserError("--block-keep and --token-keep are for imported networks: say how many bits, too, as --bits 8")
        if not self.bits and (option := next((option for option, value in given.items() if value is not None), None)):
            raise UserError(f"{option} {given[option]} is for imported networks: say how many bits, too, as --bits 8")
        if self.pair and len(self.block_keep) != len(self.token_keep):
            raise UserError(f"--pair: {len(self.block_keep)} shares of blocks and {len(self.token_keep)} of tokens; give as many of both")
        check_drops(min(self.token_keep, key=float) if self.bits else None, self.drop_at)
        if set(self.engines) == {PIPELINE}:
            if self.frames_in_flight != (1,):
                said = ",".join(map(str, self.frames_in_flight))
                raise UserError(f"--frames-in-flight {said}: images in flight are those of engines, add --engines 1, or leave it out")
            if self.goal != ("throughput",):
                raise UserError(f"--goal {','.join(self.goal)}: goals are those of engines, add --engines 1, or leave it out")
        return self

    @property
    def builds(self) -> int | None:
        """How many of the best designs are built; None for all that no other beats."""
        return None if self.build == "pareto" else int(self.build.partition(":")[2])
