"""The page of an evaluation."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

import numpy as np
from markupsafe import Markup
from PIL import Image

from finn_vitprune.report.accuracy import Evaluation
from finn_vitprune.report.html import PageSection, ReportPage, Tile
from finn_vitprune.report.quantities import accuracy_text
from finn_vitprune.report.scores import WorstImage
from finn_vitprune.report.tables import COUNTED, TextTable

THUMBNAIL = 112
"""Pixels of the longer side of a picture on the page."""
FIGURE = Markup(
    '<figure style="display:inline-block;margin:.3rem .6rem .3rem 0"><img alt="{}" src="data:image/png;base64,{}"><figcaption>{}</figcaption></figure>'
)


def accuracy_page(found: Evaluation, pictures: Mapping[str, np.ndarray]) -> str:
    """One self-contained page. ``pictures``: pixels uint8 ``[H, W, C]`` of the worst images by name."""
    known = {
        "accuracy": found.accuracy, "accuracy in float": found.accuracy_float, "top 5": found.accuracy_top5, "same class as float": found.agreement,
    }  # fmt: skip
    tiles = [Tile(name, accuracy_text(value), COUNTED) for name, value in known.items() if value is not None]
    tables = {table.title: table for table in found.tables}
    shown = tuple(_picture(pictures[w.image], w) for w in found.worst if w.image in pictures)
    facts = TextTable("What was evaluated", ("", ""), tuple(dict([*found.model.rows, *found.rows]).items()))
    sections = [PageSection("What was evaluated", tables=(facts,), open=True)] + [
        PageSection(title, pictures=shown if title == "Worst images" else (), tables=(tables[title],), open=True)
        for title in ("Worst images", "Classes") if title in tables
    ]  # fmt: skip
    return ReportPage(f"Accuracy of {found.model.name} in integers", tiles=tiles, sections=sections).html()


def _picture(pixels: np.ndarray, w: WorstImage) -> Markup:
    """An image with its answer below it; of other than one or three channels the first alone."""
    image = Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0])
    scale = THUMBNAIL / max(image.size)
    image = image.resize(
        [max(1, round(side * scale)) for side in image.size], Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BICUBIC
    )
    file = io.BytesIO()
    image.save(file, "PNG")
    text = f"answer {w.answer}" + ("" if w.label is None else f", label {w.label}")
    return FIGURE.format(w.image, base64.b64encode(file.getvalue()).decode(), text)
