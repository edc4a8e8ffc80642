"""Models of options. A field alone says name, type, bounds, help, default, flag and the step that reads it first.

An option needs no more than ``clk_ns: Annotated[float | None, Field(ge=0.1, description="..."), Option(first="step_fold")] = None``.
Parameters of the command line (``finn_vitprune.cli.parameters``), the printed command (:attr:`Options.command`), records and JSON
are made of it.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from finn_vitprune.errors import UserError
from finn_vitprune.files import need_file

PROGRAM = "finn-vitprune"


@dataclass(frozen=True)
class Option:
    """How a field appears outside of Python, where its name and type do not say it.

    Attributes:
        flag: on the command line, by default ``--name-of-the-field``. short: another one, as ``-o``.
        keyword: in Python, by default the words of the flag.
        place: whether it is written by its place, without a flag. typed: whether it is on the command line at all.
        metavar: what the help calls its value. parse: a class that makes the value of one word, and whose ValueError says what
        is wrong.
        text: whether the model itself takes the word. many: whether the flag may be repeated, a word each.
        file: whether it names a file, or several, that the command reads. folder: whether it may be a folder of files, too.
        first: the first build step that reads it; None: it may matter from the first step on.
        key: its name in FINN's build config, and so in records. matters: whether results depend on it.
    """

    flag: str | None = None
    short: str | None = None
    keyword: str | None = None
    place: bool = False
    typed: bool = True
    metavar: str | None = None
    parse: Callable[[str], Any] | None = None
    text: bool = False
    many: bool = False
    file: bool = False
    folder: bool = False
    first: str | None = None
    key: str | None = None
    matters: bool = True


@dataclass(frozen=True)
class Given:
    """A field of a model, with what is known of it. ``path``: its name, behind those of the sections that it is in."""

    path: tuple[str, ...]
    info: FieldInfo
    option: Option

    @property
    def name(self) -> str:
        """Of a parameter."""
        return "_".join(self.path)

    @property
    def key(self) -> str:
        """In records."""
        return self.option.key or self.path[-1]

    @property
    def flag(self) -> str:
        """On the command line."""
        return self.option.flag or f"--{self.path[-1].replace('_', '-')}"

    @property
    def keyword(self) -> str:
        """In Python, where options are keywords of a method."""
        return self.option.keyword or self.flag.removeprefix("--").replace("-", "_")

    @property
    def kind(self) -> Any:
        """Its type, without None."""
        return plain(self.info.annotation)

    def of_word(self, value: object) -> object:
        """A value of the command line; a word for one of several values is that value.

        Raises:
            UserError: the word cannot be read.
        """
        if self.option.parse is not None and isinstance(value, str):
            try:
                return self.option.parse(value)
            except ValueError as error:
                raise UserError(f"{self.flag} {error}") from None
        known = {str(member): member for member in get_args(self.kind)} if get_origin(self.kind) is Literal else {}
        return known.get(value, value) if isinstance(value, str) else value

    def words(self, value: object) -> list[str]:
        """What asks for ``value`` on the command line; nothing where it is the default."""
        texts = list(map(word_of, value)) if self.option.many and isinstance(value, list | tuple) else [word_of(value)]
        if (
            not self.option.typed
            or value in (None, ())
            or (not self.info.is_required() and word_of(value) == word_of(self.info.get_default()))
        ):
            return []
        if self.option.place:
            return texts
        if isinstance(value, bool):
            return [self.flag if value else f"--no-{self.flag.removeprefix('--')}"]
        return [word for text in texts for word in (self.option.short or self.flag, text)]


def plain(annotation: Any) -> Any:
    """A type without None, and without what it is annotated with."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    return plain(kinds[0]) if NoneType in get_args(annotation) and len(kinds) == 1 else annotation


def word_of(value: object) -> str:
    """A value as one word; those of a sequence have commas between them."""
    if isinstance(value, list | tuple):
        return ",".join(map(word_of, value))
    return str(value.value if isinstance(value, Enum) else value)


class Options(BaseModel):
    """Options of a command, checked where they are made: on the command line and in Python with the same words.

    Raises:
        UserError: an option is unknown, missing or not possible; the text names it, the value and what would work.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)  # help needs no validators

    COMMAND: ClassVar[str] = ""
    """The command that takes these options."""
    GROUPS: ClassVar[Mapping[str, str]] = {}
    """What its help shows, in order of use: keywords of options under each heading."""

    if not TYPE_CHECKING:  # type checkers see the fields as keywords

        def __init__(self, /, **given: object) -> None:
            try:
                super().__init__(**given)
            except ValidationError as error:
                raise UserError(_problem(type(self), error)) from None

    @classmethod
    def fields(cls) -> Iterator[Given]:
        """All options, those of sections in their place."""
        for name, info in cls.model_fields.items():
            section = info.annotation
            if isinstance(section, type) and issubclass(section, Options):
                for inner in section.fields():
                    yield Given((name, *inner.path), inner.info, inner.option)
            else:
                yield Given((name,), info, next((m for m in info.metadata if isinstance(m, Option)), Option()))

    @classmethod
    def of_parameters(cls, given: Mapping[str, object]) -> Self:
        """Of parameters by their names (:attr:`Given.name`); those that are None keep their default."""
        named = {field.name: field for field in cls.fields()}
        return cls(**_in_sections({named[name]: value for name, value in given.items() if value is not None and name in named}))

    @classmethod
    def of_keywords(cls, given: Mapping[str, object]) -> Self:
        """Of keywords (:attr:`Given.keyword`); those that are None keep their default."""
        named = {field.keyword: field for field in cls.fields()}
        for name in given:
            if name not in named:
                raise UserError(_unknown(name, [field.keyword for field in cls.fields()]))
        return cls(**_in_sections({named[name]: value for name, value in given.items() if value is not None}))

    def changed(self, **changes: object) -> Self:
        """The same options but for some, checked anew."""
        return type(self)(**{name: getattr(self, name) for name in self.model_fields_set} | changes)

    @property
    def values(self) -> dict[str, Any]:
        """All values by the names of their parameters."""
        return {field.name: reduce(getattr, field.path, self) for field in self.fields()}

    def files(self) -> list[Path]:
        """The files that are to be read.

        Raises:
            UserError: one is not there, or is a folder where none may be.
        """
        given = [(reduce(getattr, field.path, self), field.option) for field in self.fields() if field.option.file]
        found = [(one, o) for value, o in given for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, Path)]
        for path, option in found:
            if not (option.folder and path.is_dir()):
                need_file(path)
        return [path for path, _ in found]

    @property
    def command(self) -> str:
        """The command line whose results are the same; what has its default, or does not matter for results, is left out."""
        return command_line(type(self), self.values)


def command_line(options: type[Options], values: Mapping[str, object]) -> str:
    """The command line whose results are those of ``values``, options by the names of their parameters; they need not be
    possible here.
    """
    fields = sorted(
        (field for field in options.fields() if field.option.matters),
        key=lambda field: (not field.option.place, field.option.short is not None),
    )
    words = [word for field in fields for word in field.words(values.get(field.name))]
    return shlex.join([PROGRAM, options.COMMAND, *words])


def _in_sections(given: Mapping[Given, object]) -> dict[str, Any]:
    """Values by the names of a model's fields, those of a section in a dictionary of their own."""
    values: dict[str, Any] = {}
    for field, value in given.items():
        place = values
        for section in field.path[:-1]:
            place = place.setdefault(section, {})
        place[field.path[-1]] = field.of_word(value)
    return values


LIMITS = {
    "greater_than_equal": "use {ge:g} or more", "greater_than": "use more than {gt:g}",
    "less_than_equal": "use {le:g} or less", "less_than": "use less than {lt:g}",
}  # fmt: skip
"""Texts for pydantic's kinds of errors, with its context."""
KINDS = {"int": "use a whole number", "float": "use a number", "bool": "use true or false", "finite": "use a finite number",
         "string": "use a text", "path": "use a file or folder", "tuple": "use a list"}  # fmt: skip
"""Texts by how the kind of an error begins."""


def said(error: ValidationError) -> str:
    """The first problem in words."""
    first = error.errors()[0]
    kind, context = first["type"], first.get("ctx", {})
    if cause := context.get("error"):
        return str(cause)
    if kind in ("literal_error", "enum"):
        return "use " + str(context["expected"]).replace("'", "")
    if kind in LIMITS:
        return LIMITS[kind].format(**context)
    return KINDS.get(kind.partition("_")[0], first["msg"])


def _problem(options: type[Options], error: ValidationError) -> str:
    """The first problem, with the option as the command line has it, and its value."""
    first = error.errors()[0]
    where = first["loc"]
    if not where:
        return said(error)
    if first["type"] == "extra_forbidden":
        return _unknown(str(where[-1]), list(options.model_fields))
    field = next((field for field in options.fields() if field.path == where[: len(field.path)]), None)
    name = str(where[0]) if field is None else (field.option.metavar or field.name) if field.option.place else field.flag
    if first["type"] == "missing":
        return f"{name} is missing: {field.info.description if field else ''}"
    value = first["input"]
    return f"{name} {value if isinstance(value, str | Path | int | float) else repr(value)}: {said(error)}"


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"unknown option {name}: " + (f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}")
