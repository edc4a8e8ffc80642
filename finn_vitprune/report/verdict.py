"""The verdict: what a command found, on one screen, with the bad news first."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

LINES, COLUMNS = 12, 100
"""At most, of a verdict as text."""
NAME_WIDTH, VALUE_WIDTH = 12, 26
"""Columns of names, and at most of values that stand in one column."""
MORE = " ..."


@dataclass(frozen=True)
class VerdictLine:
    """One figure: its ``name``, its ``value``, how it was ``found`` (a mark, see :data:`.MARKS`, or words), and a ``note``."""

    name: str
    value: str
    found: str = ""
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """What was made, what is wrong with it, its figures, and what comes next.

    Attributes:
        title: what was made. place: the folder or file of it.
        warnings: sentences on what was missed, does not fit, differs or is only an estimate; the worst first.
        lines: figures, the most important first: the last ones give way if there are many warnings.
        page: the file of the page, empty without one. next: a command, or words for it.
    """

    title: str
    place: str = ""
    warnings: tuple[str, ...] = ()
    lines: tuple[VerdictLine, ...] = ()
    page: str = ""
    next: str = ""

    def __str__(self) -> str:
        """At most :data:`LINES` lines of :data:`COLUMNS` columns."""
        head, end = [self._head()], list(self._end())
        warnings = [line for text in self.warnings for line in _wrapped(text)]
        room = LINES - len(head) - len(end)
        kept = self.lines[: max(room - len(warnings), min(3, len(self.lines)))]
        if len(warnings) > room - len(kept):
            warnings = [*warnings[: room - len(kept) - 1], "  ... --full has the rest"]
        return "\n".join([*head, *warnings, *_columns(kept), *end])

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)

    def _head(self) -> str:
        title = _short(self.title, COLUMNS)
        free = COLUMNS - len(title) - len(self.place)
        return title + " " * free + self.place if self.place and free >= 3 else title

    def _end(self) -> Iterator[str]:
        """Page and next step, in one line if they fit."""
        found = [f"{name}: {text}" for name, text in (("page", self.page), ("next", self.next)) if text]
        if len(together := "    ".join(found)) <= COLUMNS:
            yield from filter(None, [together])
        else:
            yield from (_short(text, COLUMNS) for text in found)


def model_title(card: Mapping[str, object], part: str | None) -> str:
    """What a network is, and its part, in at most :data:`COLUMNS` columns: what does not fit is left out, the least first.

    Args:
        card: the fields of a :class:`.ModelCard`.
    """
    weights, activations = card.get("weight_bits"), card.get("activation_bits")
    bits = (
        ""
        if weights is None
        else f"{weights} bits"
        if weights == activations
        else f"weights of {weights} bits, activations of {activations}"
    )
    kept, size, drops = card.get("block_keep"), card.get("block_size"), card.get("token_keep") or {}
    blocks = "" if kept is None else "no block pruned" if kept == 1 else f"{_share(kept)} of the {size} x {size} blocks"
    rates = sorted({_share(rate) for rate in drops.values()})
    tokens = f"{' or '.join(rates)} of the tokens {len(drops)} time{'s' * (len(drops) != 1)}" if drops else ""
    where = f"on {part}" if part else ""
    for pieces in ((bits, blocks, tokens), (bits, blocks), (bits,), ()):
        text = ", ".join(filter(None, (str(card["name"]), *pieces, where)))
        if len(text) <= COLUMNS:
            break
    return text


def _share(share: float) -> str:
    return "half" if share == 0.5 else f"{100 * share:.4g} %"


def _wrapped(text: str) -> list[str]:
    """A warning in at most three lines."""
    return textwrap.wrap(text, COLUMNS, initial_indent="! ", subsequent_indent="  ", max_lines=3, placeholder=MORE, break_on_hyphens=False)


def _columns(lines: Sequence[VerdictLine]) -> list[str]:
    """Name, value, how it was found and note below each other; a wide value moves only what is right of it."""
    value = max((len(line.value) for line in lines if len(line.value) <= VALUE_WIDTH), default=0)
    found = max((len(line.found) for line in lines if len(line.value) <= VALUE_WIDTH), default=0)
    rows = (f"  {line.name:<{NAME_WIDTH}}{line.value:<{value}}  {line.found:<{found}}  {line.note}" for line in lines)
    return [_short(row.rstrip(), COLUMNS) for row in rows]


def _short(text: str, width: int) -> str:
    """The text, cut at a word if it is longer."""
    if len(text) <= width:
        return text
    cut = text[: width - len(MORE) + 1].rpartition(" ")[0] or text[: width - len(MORE)]
    return cut.rstrip(" ,;:") + MORE
