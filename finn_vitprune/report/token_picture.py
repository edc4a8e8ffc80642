"""A photograph with the patches that stay after each token drop."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from PIL import Image

from finn_vitprune.report.drawing import WIDTH, Drawing, number

SHOWN_DROPS = 3
"""Token drops on a picture at most; of more, the first ones give way to the last."""
GAP, HEAD = 12, 18
PIXELS = 224
"""The most pixels of a side; larger images are shown smaller."""


def token_picture(name: str, image: np.ndarray, kept: Sequence[tuple[int, np.ndarray]], description: str) -> Markup:
    """An image, and the image again after each drop, with the dropped patches veiled.

    Args:
        name: unique on the page. image: uint8 ``[H, W, C]``. kept: by encoder which patches are left, ``[patches]``.
    """
    drops = list(kept) if len(kept) <= SHOWN_DROPS else [kept[i] for i in np.linspace(0, len(kept) - 1, SHOWN_DROPS).round().astype(int)]
    side = (WIDTH - GAP) / 2
    drawing = Drawing(name, "Patches that stay after each token drop", description)
    drawing.raw(
        f'<defs><image id="{name}-photo" width="{number(side)}" height="{number(side)}" {_look(image)} href="{_data(image)}"/></defs>'
    )
    panels = [("image", None), *((f"after encoder {encoder}: {mask.sum()} of {mask.size}", mask) for encoder, mask in drops)]
    for i, (title, mask) in enumerate(panels):
        x, y = (side + GAP) * (i % 2), (side + HEAD + 10) * (i // 2)
        drawing.text(x, y + 13, title, "quiet")
        drawing.raw(f'<use href="#{name}-photo" x="{number(x)}" y="{number(y + HEAD)}"/>', y + HEAD + side)
        if mask is not None and not mask.all():
            drawing.path(
                _squares(mask, x, y + HEAD, side), "veil", f"{(~mask).sum()} patches were dropped by encoder {drops[i - 1][0]} or before"
            )
    return drawing.markup()


def _squares(mask: np.ndarray, x: float, y: float, side: float) -> str:
    """The outlines of the dropped patches."""
    count = round(mask.size**0.5)
    step = side / count
    return "".join(
        f"M{number(x + step * (i % count))} {number(y + step * (i // count))}h{step:.2f}v{step:.2f}h-{step:.2f}z"
        for i in np.flatnonzero(~mask)
    )


def _look(image: np.ndarray) -> str:
    return 'style="image-rendering: pixelated"' if max(image.shape[:2]) < 64 else ""


def _data(image: np.ndarray) -> str:
    """The image as an address that holds it; other than three channels are shown as their mean."""
    pixels = image if image.shape[2] == 3 else np.repeat(image.mean(2, keepdims=True).astype(np.uint8), 3, axis=2)
    picture = Image.fromarray(pixels)
    small = max(picture.size) < 64
    picture.thumbnail((PIXELS, PIXELS))
    file = io.BytesIO()
    if small:
        picture.save(file, "PNG")
    else:
        picture.save(file, "JPEG", quality=85)
    return f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(file.getvalue()).decode()}"
