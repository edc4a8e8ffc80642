"""The page of an exploration: rate against latency and accuracy, every design with its figures and its commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from markupsafe import Markup

from finn_vitprune.exploration.ledger import Explored, ExploreRow, pareto
from finn_vitprune.exploration.plot import COLOURS, SYMBOLS, Axis, LogAxis, Mark, looks, plot, symbol
from finn_vitprune.report.html import Card, rendered
from finn_vitprune.report.quantities import accuracy_text, clock_text, ms_text, rate_text, share_text
from finn_vitprune.synth.budget import shares_for
from finn_vitprune.synth.parts import NO_SHELL, get_part

TEMPLATE = Path(__file__).with_name("explore.html.j2")
KINDS = ("LUT", "DSP", "BRAM", "URAM")
ALL = "all"


def to_page(found: Explored, command: str = "") -> str:
    """The page; ``command``: what the user typed."""
    clk_ns = found.settings.target.clk_ns
    rows = sorted((row for row in found.rows if row.found), key=lambda row: (not row.fits, row.found.interval_cycles))
    best = {row.name for row in pareto(rows)}
    numbers = {row.name: number for number, row in enumerate(rows, start=1)}
    imported = any(row.import_command for row in found.rows)
    return rendered(
        TEMPLATE,
        title=f"{len(found.rows)} design{'s' * (len(found.rows) != 1)} of {_words({row.source for row in found.rows})}",
        command=command,
        settings=found.settings,
        rows=rows,
        best=best,
        numbers=numbers,
        clock=clock_text(clk_ns),
        cards=_cards(rows, best, numbers, clk_ns),
        symbols=_key(rows),
        failed=[row for row in found.rows if row.reason],
        waiting=sum(not row.found and not row.reason for row in found.rows),
        data=_data(rows, best, numbers, clk_ns),
        cells=[_cells(row, clk_ns) for row in rows],
        heads=HEADS,
        imported=imported,
        filters=_filters(rows),
        rooms=_rooms(found),
    )


def _rooms(found: Explored) -> list[str]:
    """What a plan may use of each part."""
    target, said = found.settings.target, []
    for name in dict.fromkeys(row.part for row in found.rows):
        part = get_part(name).with_shell(target.shell)
        shares = ", ".join(f"{kind} {share_text(share)}" for kind, share in shares_for(part, target.budget).items())
        said.append(f"{name}{'' if part.shell == NO_SHELL else f', of what its shell {part.shell} leaves'}: {shares}")
    return said


def answers_text(row: ExploreRow) -> str:
    """Accuracy, or the cosine with the float network where that is not known."""
    q = row.quality
    return "" if q is None else f"cosine {q.cosine:.4f}" if q.accuracy is None else accuracy_text(q.accuracy)


HEADS = ("part", "engines", "images/s", "latency", *KINDS, "accuracy", "cycles by", "fits")
"""Of the table that needs no script."""


def _cells(row: ExploreRow, clk_ns: float) -> tuple[str, ...]:
    return (
        row.part,
        row.engines_text,
        rate_text(row.rate(clk_ns)),
        ms_text(row.milliseconds(clk_ns)),
        *(share_text(row.found.shares[kind]) for kind in KINDS),
        answers_text(row),
        _method(row),
        "yes" if row.fits else "no",
    )


def _method(row: ExploreRow) -> str:
    if not row.built:
        return row.method
    return f"{row.method}, {row.built.mismatches} wrong values; resources {'counted' if row.built.counted else 'estimated'}"


def _data(rows: Sequence[ExploreRow], best: set[str], numbers: dict[str, int], clk_ns: float) -> list[dict[str, object]]:
    """Designs for the script: texts, and the figures that it sorts by."""
    return [
        {
            "id": numbers[row.name],
            "design": row.network,
            "best": row.name in best,
            "part": row.part,
            "engines": row.engines_text,
            "kind": _kind(row.engines),
            "bits": row.bits,
            "blocks": row.block_keep,
            "tokens": row.token_keep,
            "rate": rate_text(row.rate(clk_ns)),
            "per_second": row.rate(clk_ns),
            "latency": ms_text(row.milliseconds(clk_ns)),
            "ms": row.milliseconds(clk_ns),
            "interval_cycles": row.found.interval_cycles,
            "latency_cycles": row.found.latency_cycles,
            **{kind: row.found.shares[kind] for kind in KINDS},
            "accuracy": answers_text(row),
            "quality": row.quality and row.quality.value,
            "by": _method(row),
            "fits": "yes" if row.fits else "no",
            "commands": "\n".join(filter(None, (row.import_command, row.build_command))),
        }
        for row in rows
    ]


def _filters(rows: Sequence[ExploreRow]) -> dict[str, tuple[str, list[str]]]:
    """By field of the data what can be chosen, where there is a choice."""
    fields = {
        "part": ("part", [row.part for row in rows]),
        "design": ("network", [row.network for row in rows]),
        "kind": ("engines", [_kind(row.engines) for row in rows]),
        "bits": ("bits", [row.bits for row in rows]),
        "fits": ("fits", ["yes" if row.fits else "no" for row in rows]),
    }
    chosen = {name: (head, list(dict.fromkeys(values))) for name, (head, values) in fields.items()}
    return {name: (head, values) for name, (head, values) in chosen.items() if len(values) > 1}


def _cards(rows: Sequence[ExploreRow], best: set[str], numbers: dict[str, int], clk_ns: float) -> list[Card]:
    """The pictures of the designs that fit; none without one."""
    fitting = [row for row in rows if row.fits]
    if not fitting:
        return []
    parts, networks = (
        looks([getattr(row, name) for row in rows], kinds) for name, kinds in (("part", range(COLOURS)), ("network", SYMBOLS))
    )
    names = _short_names(fitting)

    def marks(rows: Sequence[ExploreRow], x: str) -> list[Mark]:
        return [
            Mark(
                numbers[row.name],
                names[row.name],
                row.milliseconds(clk_ns) if x == "ms" else row.quality.value,
                row.rate(clk_ns),
                networks[row.network],
                parts[row.part],
                row.name in best,
                f"{row.network} on {row.part}, {row.engines_text}: {rate_text(row.rate(clk_ns))} images/s, {ms_text(row.milliseconds(clk_ns))}"
                + (f", {answers}" if (answers := answers_text(row)) else ""),
            )
            for row in rows
        ]

    title = "Rate against latency"
    cards = [
        Card(
            title,
            (
                (
                    "",
                    plot(
                        "latency",
                        title,
                        marks(fitting, "ms"),
                        ("latency of an image, ms", "images/s"),
                        (LogAxis, LogAxis),
                        lambda m: (m.x, -m.y),
                    ),
                ),
            ),
        )
    ]
    known = [row for row in fitting if row.quality is not None and row.quality.value is not None]
    if known:
        of = "accuracy" if all(row.quality.accuracy is not None for row in known) else "cosine with the float network"
        title = f"Rate against {of}"
        cards.append(
            Card(
                title, (("", plot("accuracy", title, marks(known, "quality"), (of, "images/s"), (Axis, LogAxis), lambda m: (-m.x, -m.y))),)
            )
        )
    return cards


def _key(rows: Sequence[ExploreRow]) -> list[tuple[Markup, str]]:
    """What symbols and colours mean."""
    shapes, colours = looks([row.network for row in rows], SYMBOLS), looks([row.part for row in rows], range(COLOURS))
    return [
        *((symbol(shape, None), name) for name, shape in shapes.items()),
        *((symbol("circle", colour), part) for part, colour in colours.items()),
    ]


def _short_names(rows: Sequence[ExploreRow]) -> dict[str, str]:
    """What tells designs apart, in few letters: of bits, shares, engines and part what is not the same for all."""
    pieces = {
        row.name: (
            row.bits,
            f"b{row.block_keep}" if row.block_keep else "",
            f"t{row.token_keep}" if row.token_keep else "",
            row.part,
            _kind(row.engines),
            "" if row.engines is None else f"{row.frames_in_flight} in flight",
            "" if row.engines is None else row.goal,
        )
        for row in rows
    }
    varies = [len(set(values)) > 1 for values in zip(*pieces.values())]
    return {
        name: " ".join(text for text, differs in zip(texts, varies) if differs and text) or rows[0].network
        for name, texts in pieces.items()
    }


def _words(names: Iterable[str]) -> str:
    names = sorted(names)
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else "nothing"


def _kind(engines: int | None) -> str:
    return "pipeline" if engines is None else f"{engines} engine{'s' * (engines > 1)}"
