"""What an evaluation found: scores, the network's card, and how both are shown."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

import numpy as np
from markupsafe import Markup
from PIL import Image

from finn_vitprune.report.html import KeyFigure, PageSection, ReportPage
from finn_vitprune.report.scores import AnswerScores, WorstImage
from finn_vitprune.report.summary import ModelCard
from finn_vitprune.report.tables import COUNTED, TextTable

THUMBNAIL = 112
"""Pixels of the longer side of a picture on the page."""
FIGURE = Markup(
    '<figure style="display:inline-block;margin:.3rem .6rem .3rem 0"><img alt="{}" src="data:image/png;base64,{}"><figcaption>{}</figcaption></figure>'
)


class Evaluation(AnswerScores):
    """:class:`.AnswerScores` of a network on a data set.

    data, note: what was read, and how its labels were found. chosen: which of its images. damaged: images left out, by name.
    images_per_second: through the integers, of one process, reading apart. digest: SHA-256 of the lowered graph that ran.
    """

    model: ModelCard
    data: str
    note: str
    chosen: str
    damaged: tuple[str, ...] = ()
    images_per_second: float
    digest: str = ""

    @property
    def rows(self) -> list[tuple[str, str]]:
        """What was found, by its name, in words; what does not apply is left out."""
        found = {
            "accuracy": _beside(self.accuracy, self.accuracy_float),
            "top 5": _beside(self.accuracy_top5, self.accuracy_float_top5),
            "same class": "" if self.agreement is None else f"{self.agreement:.2%} of the images, as the float network",
            "cosine": "" if self.cosine is None else f"{self.cosine:.4f} mean, {self.cosine_worst:.4f} worst, of the logits",
            "images": f"{self.chosen} of {self.data}",
            "labels": self.note,
            "left out": f"{len(self.damaged)} damaged images: {', '.join(self.damaged[:3])}" if self.damaged else "",
        }
        return [(name, text) for name, text in found.items() if text]

    @property
    def verdict(self) -> list[str]:
        """In at most 12 lines."""
        card = dict(self.model.rows)
        head = ", ".join([card.pop("network"), *(f"{name} {card[name]}" for name in ("bits", "kept", "tokens kept") if name in card)])
        rows = [*self.rows, ("speed", f"{self.images_per_second:,.1f} images/s in one process")]
        return [f"{head}; in the integers of the accelerator", *(f"  {name:<12}{text}" for name, text in rows)]

    @property
    def tables(self) -> list[TextTable]:
        """A row for each class, and for each of the worst images."""
        made = []
        if self.classes:
            rows = tuple((str(c.label), f"{c.images:,}", _share(c.accuracy), _share(c.accuracy_float)) for c in self.classes)
            made.append(TextTable("Classes", ("class", "images", "accuracy", "float"), rows, marks=("", *(COUNTED,) * 3)))
        if self.worst:
            rows = tuple((w.image, *_answers(w)) for w in self.worst)
            made.append(TextTable("Worst images", ("image", "answer", "label", "float", "cosine"), rows, marks=("", *(COUNTED,) * 4)))
        return made

    def page(self, pictures: Mapping[str, np.ndarray]) -> str:
        """One self-contained page. ``pictures``: pixels uint8 ``[H, W, C]`` of the worst images by name."""
        known = {
            "accuracy": self.accuracy, "accuracy in float": self.accuracy_float, "top 5": self.accuracy_top5, "same class as float": self.agreement,
        }  # fmt: skip
        figures = [KeyFigure(name, _share(value), COUNTED) for name, value in known.items() if value is not None]
        tables = {table.title: table for table in self.tables}
        shown = tuple(_picture(pictures[w.image], w) for w in self.worst if w.image in pictures)
        sections = [
            PageSection(title, pictures=shown if title == "Worst images" else (), tables=(tables[title],))
            for title in ("Worst images", "Classes") if title in tables
        ]  # fmt: skip
        return ReportPage(f"Accuracy of {self.model.name} in integers", dict([*self.model.rows, *self.rows]), figures, sections).html()


def card_table(card: ModelCard, found: Evaluation | None) -> TextTable:
    """What a network is, and how accurate it was found to be."""
    kept = {"accuracy": "accuracy in integers", "same class": "same class", "images": "images"}
    known = [(kept[name], text) for name, text in (found.rows if found else ()) if name in kept]
    return TextTable("Network", ("", ""), (*card.rows, *known), marks=("", COUNTED))


def _beside(integers: float | None, of_float: float | None) -> str:
    return "" if integers is None else f"{integers:.2%}" + ("" if of_float is None else f" (float {of_float:.2%})")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _answers(w: WorstImage) -> tuple[str, str, str, str]:
    numbers = ("-" if n is None else str(n) for n in (w.answer, w.label, w.answer_float))
    return *numbers, "-" if w.cosine is None else f"{w.cosine:.4f}"


def _picture(pixels: np.ndarray, w: WorstImage) -> Markup:
    """An image with its answer below it; of other than one or three channels the first alone."""
    image = Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
    scale = THUMBNAIL / max(image.size)
    image = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "PNG")
    text = f"answer {w.answer}" + ("" if w.label is None else f", label {w.label}")
    return FIGURE.format(w.image, base64.b64encode(file.getvalue()).decode(), text)
