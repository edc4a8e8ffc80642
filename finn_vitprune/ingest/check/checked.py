"""The result of a check, and its words: the only place that writes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from typing import TYPE_CHECKING

from finn_vitprune.complexity.formulas import Complexity, operations_text
from finn_vitprune.graph.node import Rejection
from finn_vitprune.ingest.check.answers import Answer, Behind, CheckRow, Constant, Mapped, Rejected, Structure
from finn_vitprune.ingest.onnx_file.model_file import Kind
from finn_vitprune.ingest.recognise.features import FEATURES, features, importance
from finn_vitprune.models.config import NormKind, Pooling, ViTConfig
from finn_vitprune.synth.parts import KINDS, PartFit
from finn_vitprune.synth.planned import Planned

if TYPE_CHECKING:
    from rich.console import Console

SHOWN, COLUMNS = 20, 120
"""Rejected nodes that are listed one by one in a table by parts, and columns of the text of a check."""


@dataclass(frozen=True)
class Checked:
    """What ``check`` found in a file.

    rejections: every reason, the deciding one first. notes: what changes on the way, though it maps. fit: of a QONNX
    file that builds, how it fits the part that was asked about, as ``plan`` has it.
    """

    model: str
    kind: Kind
    opset: int
    rows: tuple[CheckRow, ...]
    rejections: tuple[Rejection, ...]
    structure: Structure | None
    complexity: Complexity | None
    notes: tuple[str, ...] = ()
    fit: PartFit | None = None
    plan: Planned | None = None

    @property
    def passed(self) -> bool:
        """Whether the file can be built (QONNX; for the part, if one was named), or imported and then built (float, QDQ)."""
        return not self.rejections and not (self.fit and self.fit.short)

    @property
    def mapped(self) -> int:
        """Number of nodes that map."""
        return sum(row.maps for row in self.rows)

    def count(self, answer: type[Answer]) -> int:
        """Number of nodes with an answer of this kind."""
        return sum(isinstance(row.answer, answer) for row in self.rows)

    def __str__(self) -> str:
        """A table of what the parts of the network become, then what there is to say besides, the verdict last."""
        from rich.console import Console

        text = StringIO()
        self.show(Console(file=text, width=COLUMNS))
        return text.getvalue().rstrip("\n")

    def show(self, console: Console, every_node: bool = False) -> None:
        """Print the same on a console, with a row a part of the network, or a row a node."""
        from rich.markup import escape
        from rich.table import Table

        title = f"{self.model} ({self.kind.value}, opset {self.opset})"
        table = Table(title=escape(title), title_justify="left", title_style="bold", header_style="bold")
        table.add_column("where", no_wrap=True)
        table.add_column("node", overflow="fold")
        table.add_column("becomes, or why not", overflow="fold")
        for row in node_rows(self) if every_node else part_rows(self):
            table.add_row(*(escape(cell) for cell in row))
        console.print(table, highlight=False)
        for line in summary(self):
            console.print(line, markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class RowText:
    """A row in words; ``becomes``, or ``reason``, ``help`` and ``alone``, are empty where they do not apply."""

    node: str
    op_type: str
    place: str
    becomes: str = ""
    reason: str = ""
    help: str = ""
    alone: str = ""

    def sentence(self) -> str:
        """What the node becomes, or why it does not map and what would help."""
        alone = f"by itself: {self.alone}" if self.alone else ""
        return self.becomes or "NO: " + "; ".join(filter(None, (self.reason, alone, self.help)))


def row_texts(checked: Checked) -> list[RowText]:
    """Every row of a check in words."""
    return [_row_text(row, checked.kind) for row in checked.rows]


def _row_text(row: CheckRow, kind: Kind) -> RowText:
    where = row.node, row.op_type, place_text(row.place)
    match row.answer:
        case Rejected(rejection):
            inside = "" if rejection.op_type == row.op_type else f"node {rejection.node} ({rejection.op_type}): "
            return RowText(*where, reason=inside + rejection.reason, help=rejection.help)
        case Behind(cause, alone):
            name = "the input" if cause.op_type == "input" else "node"
            op = "" if cause.op_type == "input" else f" ({cause.op_type})"
            fault = "does not map" if kind is Kind.QONNX else "is not supported"
            reason = f"depends on {name} {cause.node}{op}, which {fault}"
            return RowText(*where, reason=reason, alone="" if alone is None else unit_text(alone))
        case unit:
            return RowText(*where, becomes=unit_text(unit))


def place_text(place: str | int | None) -> str:
    """The part of the network that a node belongs to."""
    return f"encoder {place}" if isinstance(place, int) else place or ""


def unit_text(unit: Mapped | Constant, size: bool = True) -> str:
    """What a node becomes; without the size of a matrix where ``size`` is False."""
    if isinstance(unit, Constant):
        return unit.use
    text = ", ".join(filter(None, (unit.unit, unit.purpose)))
    return f"{text} ({unit.size})" if unit.size and size else text


def structure_text(found: Structure) -> str:
    """The vision transformer that was found."""
    c = found.config
    heads, widths = _range([e.heads for e in c.encoders]), _range([e.neurons for e in c.encoders])
    return (
        f"images {c.image_size} x {c.image_size} x {c.channels}, patch size {c.patch_size}, width {c.dim}, "
        f"depth {len(c.encoders)}, heads {heads} of {c.head_dim}, "
        f"{'gated MLPs of width' if c.gated else 'MLP width'} {widths}, "
        f"tokens {_range(found.tokens)} ({prefix_text(c)}), {'' if c.norm is NormKind.LAYER else c.norm.text + ', '}"
        f"{'' if c.qk_norm is None else c.qk_norm.text + ' of queries and keys, '}"
        f"{(c.norm.text + ' before the encoders, ') * c.norm_pre}"
        f"{'' if c.rotary is None else 'rotary positions, '}"
        f"{'relative position bias, ' if c.position_bias else ''}"
        f"{'' if c.final_norm else 'no ' + c.norm.text + ' after them, '}"
        f"pooling {pooling_text(c)}, {c.classes} classes"
    )


def pooling_text(config: ViTConfig) -> str:
    """How the tokens are pooled, with the heads, their width and the MLP width of attention pooling."""
    pooler = config.pooler
    return config.pooling.value + ("" if pooler is None else f" (heads {pooler.heads} of {pooler.head_dim}, MLP width {pooler.neurons})")


def prefix_text(config: ViTConfig) -> str:
    """The tokens beside the patches."""
    of_class = config.pooling is Pooling.CLASS
    if config.prefix < (3 if of_class else 2):
        return ("no class token", "class token", "class and distillation token")[config.prefix]
    return f"class token and {config.prefix - 1} registers" if of_class else f"{config.prefix} prefix tokens"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def refusal(rejections: Sequence[Rejection]) -> str:
    """Every part that is not supported by its name, then the first reason with its node."""
    parts = features(rejections)
    if len(parts) < 2 or importance(rejections[0]) == len(FEATURES):
        return str(rejections[0])
    return f"{', '.join(parts[:-1])} and {parts[-1]} are not supported. First: {rejections[0]}"


def verdict(checked: Checked) -> str:
    """The answer in a sentence, with the command that comes next."""
    kind, qonnx = checked.kind.value, checked.kind is Kind.QONNX
    if checked.fit is not None and checked.fit.short:
        return f"no: `build` takes this file, but it {checked.fit.text}"
    if not checked.passed:
        command = "build" if qonnx else "import"
        return f"no: `{command}` does not take this {kind} file: {refusal(checked.rejections)}"
    if qonnx:
        return f"yes: `finn-vitprune build {checked.model}` takes this file to HDL"
    return f"yes: `finn-vitprune import {checked.model}` takes this {kind} file in, `build` its result"


def summary(checked: Checked) -> list[str]:
    """What there is to say besides the rows, the verdict last."""
    lines = [_counts(checked)]
    if checked.structure is not None:
        lines.append(f"Found: {structure_text(checked.structure)}.")
    if checked.complexity is not None:
        c = checked.complexity
        lines.append(f"One image: {operations_text(c.macs_dense, c.macs_pruned, c.macs)}.")
        lines.append(f"Parameters: {c.params_dense:,} dense, {c.params:,} now.")
    lines += [f"Note: {note}." for note in checked.notes]
    if checked.fit is not None:
        lines.append(fit_text(checked.fit))
    if checked.plan is not None:
        lines += checked.plan.lines
    return [*lines, verdict(checked)]


def fit_text(fit: PartFit) -> str:
    """What a build takes of a part."""
    shares = ", ".join(f"{getattr(fit.used, k):,g} of {getattr(fit.part, k):,} {k}" for k in KINDS if k != "FF")
    return f"A plan that fills {fit.part.name} takes {shares} ({fit.method}; FF are not estimated)."


def _counts(checked: Checked) -> str:
    """How many nodes map; where not all do, how many of these are constants, and why the others do not."""
    text = f"{checked.mapped} of {len(checked.rows)} nodes map"
    if checked.mapped == len(checked.rows):
        return f"{text} by themselves, but not together." if checked.rejections else f"{text}."
    own = Counter(r.op_type for r in checked.rows if isinstance(r.answer, Rejected))
    constants, behind = checked.count(Constant), checked.count(Behind)
    parts = [
        text,
        f"{constants} of them are constants" if constants else "",
        "Rejected for what they are: " + ", ".join(f"{n} {op}" for op, n in own.most_common()) if own else "",
        f"Rejected for what they depend on: {behind}" if behind else "",
    ]
    return " ".join(f"{part}." for part in parts if part)


def fit_dict(fit: PartFit) -> dict[str, object]:
    """The JSON form of what a build takes of a part."""
    used = {kind: getattr(fit.used, kind) for kind in KINDS} | {"FF": None}
    return {
        "part": fit.part.name,
        "method": fit.method,
        "used": used,
        "fits": not fit.short,
        "short": [asdict(s) for s in fit.short],
        "help": list(fit.help),
    }


def as_dict(checked: Checked) -> dict[str, object]:
    """The JSON form."""
    return {
        "model": checked.model,
        "kind": checked.kind.value,
        "opset": checked.opset,
        "passed": checked.passed,
        "verdict": verdict(checked),
        "nodes": len(checked.rows),
        "mapped": checked.mapped,
        "constants": checked.count(Constant),
        "structure": None if checked.structure is None else checked.structure.as_dict(),
        "complexity": None if checked.complexity is None else asdict(checked.complexity),
        "notes": list(checked.notes),
        "fit": None if checked.fit is None else fit_dict(checked.fit),
        "plan": None if checked.plan is None else checked.plan.model_dump(),
        "refusals": [asdict(r) for r in checked.rejections],
        "rows": [asdict(t) | {"maps": r.maps} for r, t in zip(checked.rows, row_texts(checked), strict=True)],
    }


# --- rows of a table -----------------------------------------------------------------------------


def node_rows(checked: Checked) -> list[tuple[str, str, str]]:
    """Place, name and answer of every node."""
    return [_node_row(text) for text in row_texts(checked)]


def _node_row(text: RowText, more: int = 0) -> tuple[str, str, str]:
    """A node, and how many more are like it."""
    alike = f" and {more} more" if more else ""
    return text.place, f"{text.node} ({text.op_type}){alike}", text.sentence()


def part_rows(checked: Checked) -> list[tuple[str, str, str]]:
    """Rejected nodes first, then parts of the network; encoders that are alike share their rows."""
    rejected: dict[str, list[RowText]] = {}
    waiting: Counter[str] = Counter()
    places: dict[str | int | None, Counter[str]] = {}
    for row, text in zip(checked.rows, row_texts(checked), strict=True):
        match row.answer:
            case Rejected():
                rejected.setdefault(text.reason, []).append(text)
            case Behind(alone=Mapped() | Constant() as alone):
                unit = unit_text(alone, size=False)
                waiting[f"by themselves they would be {unit}, but they depend on what is not supported"] += 1
            case Behind():
                waiting[text.reason] += 1
            case _:
                places.setdefault(row.place, Counter())[text.becomes] += 1
    alike = list(rejected.values())
    shown = [_node_row(texts[0], len(texts) - 1) for texts in alike[:SHOWN]]
    left = sum(len(texts) for texts in alike[SHOWN:])
    if left:
        shown.append(("", f"{left} more {'node' if left == 1 else 'nodes'}", "NO: --nodes lists them"))
    shown += [("", _count(n), f"NO: {text}") for text, n in waiting.items()]
    for first, last, part in _merged(places):
        where = place_text(first) if first == last else f"{place_text(first)} to {last}"
        shown += [(where, _count(n), becomes) for becomes, n in part.items()]
    return shown


def _count(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"{nodes} nodes"


def _merged(places: dict[str | int | None, Counter[str]]) -> list[tuple[str | int | None, str | int | None, Counter[str]]]:
    """First and last place of equal parts: neighbouring encoders are one; nodes of no place come last."""
    merged: list[tuple[str | int | None, str | int | None, Counter[str]]] = []
    for place, part in places.items():
        first, last, before = merged[-1] if merged else (None, None, None)
        if isinstance(place, int) and isinstance(last, int) and before == part:
            merged[-1] = (first, place, part)
        else:
            merged.append((place, place, part))
    return sorted(merged, key=lambda run: run[0] is None)
