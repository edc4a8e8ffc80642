"""Values that are written as one word on a command line. A ValueError says what is wrong with the word."""

from __future__ import annotations

import math
from typing import Self

from finn_vitprune.errors import UserError


class Positive(float):
    """A finite number above 0."""

    def __new__(cls, text: str) -> Self:
        try:
            if 0 < (value := float(text)) < math.inf:
                return super().__new__(cls, value)
        except ValueError:
            pass
        raise ValueError(f"{text}: use a number above 0")


def pair_of_bits(text: str) -> tuple[int, int]:
    """Bits of weights and of activations: ``4/8``, or ``8`` for both.

    Raises:
        UserError: it is something else.
    """
    weights, slash, activations = text.strip().partition("/")
    try:
        found = int(weights), int(activations if slash else weights)
    except ValueError:
        found = 0, 0
    if min(found) < 1:
        raise UserError(f"--bits {text}: use numbers of bits, or weights/activations, as 4/8")
    return found


class Ints(tuple[int, ...]):
    """Whole numbers with commas between them; empty text gives none."""

    item: type = int
    example = "3,7,10"

    def __new__(cls, text: str) -> Self:
        try:
            return super().__new__(cls, map(cls.item, text.split(",")) if text.strip() else ())
        except ValueError:
            raise ValueError(f"{text}: expected numbers with commas, for example {cls.example}") from None


class Floats(Ints):
    """Numbers with commas between them."""

    item = float
    example = "0.485,0.456,0.406"
