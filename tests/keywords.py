"""Options as keywords with types: ``python -m tests.keywords --write`` makes ``finn_vitprune/options/keywords.py`` of the models of options.

A method of :class:`finn_vitprune.Network` takes these, so that type checkers and editors know names, types and help. The models
themselves are stricter: a file is a Path there, a share its exact decimal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from finn_vitprune.options.base import Given, Options, plain
from finn_vitprune.options.build import BuildOptions
from finn_vitprune.options.check import CheckOptions
from finn_vitprune.options.evaluate import EvaluateOptions
from finn_vitprune.options.explore import ExploreOptions
from finn_vitprune.options.importing import ImportOptions

FILE = Path(__file__).parents[1] / "finn_vitprune" / "options" / "keywords.py"
MADE = {
    "BuildKeywords": (BuildOptions, {"model", "part", "to", "estimate_only", "start_step", "stop_step"}),
    "CheckKeywords": (CheckOptions, {"model", "part", "nodes"}),
    "CompressKeywords": (ImportOptions, {"model", "data", "to"}),
    "EvaluateKeywords": (EvaluateOptions, {"target", "data"}),
    "ExploreKeywords": (ExploreOptions, {"models", "parts", "to"}),
}
"""The model of each, and its options that methods have as parameters of their own, or not at all."""
HEAD = '''"""Options as keywords of the methods of ``Network`` and ``Design``. Made of the models of options by ``python -m tests.keywords --write``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict
'''


def text() -> str:
    """The whole file."""
    return HEAD + "".join(f"\n\n{_class(name, *given)}" for name, given in MADE.items())


def _class(name: str, options: type[Options], left_out: set[str]) -> str:
    lines = [f"class {name}(TypedDict, total=False):", f'    """Options of ``finn-vitprune {options.COMMAND}``."""', ""]
    for field in options.fields():
        if field.keyword not in left_out:
            lines += [f"    {field.keyword}: {_type_of(field)}", f'    """{field.info.description}"""']
    return "\n".join(lines) + "\n"


def _type_of(field: Given) -> str:
    kinds = list(dict.fromkeys(_kinds(field.info.annotation, _written(field.info.metadata))))
    if field.option.text and (item := next((kind for kind in kinds if kind.startswith("Sequence[")), None)):
        kinds = [*item.removeprefix("Sequence[").removesuffix("]").split(" | "), *kinds]
    return " | ".join([kind for kind in kinds if kind != "None"] + ["None"] * ("None" in kinds))


def _written(metadata: Iterable[object]) -> bool:
    """Whether a number is taken for a text, as it is written."""
    return any(getattr(m, "coerce_numbers_to_str", None) or _written(getattr(m, "metadata", ())) for m in metadata)


def _kinds(kind: Any, written: bool = False) -> Iterator[str]:
    """What a keyword of this type may be, as texts."""
    arguments = get_args(kind)
    if kind is type(None) or kind is None:
        yield "None"
    elif get_origin(kind) is Literal:
        yield f"Literal[{', '.join(map(_quoted, arguments))}]"
    elif get_origin(kind) is tuple:
        yield f"Sequence[{' | '.join(dict.fromkeys(_kinds(arguments[0], written)))}]"
    elif hasattr(kind, "__metadata__"):
        yield from _kinds(plain(kind), written or _written(kind.__metadata__))
    elif arguments:
        for argument in arguments:
            yield from _kinds(argument, written)
    elif isinstance(kind, type) and issubclass(kind, Enum):
        yield f"Literal[{', '.join(_quoted(member.value) for member in kind)}]"
    elif kind is Path:
        yield from ("str", "Path")
    elif kind is str and written:
        yield from ("float", "str")
    else:
        yield kind.__name__ if kind in (bool, int, float, str) else "str"  # what is read of a word


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(text())
    else:
        print(text(), end="")
