"""What a user writes to say how much is pruned and by what. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from fractions import Fraction

from finn_vitprune.errors import UserError


class Score(str, Enum):
    """What decides which blocks and neurons stay."""

    MAGNITUDE = "magnitude"
    FIRST_ORDER = "first-order"
    SECOND_ORDER = "second-order"


class Rounding(str, Enum):
    """How weights become codes: each to the nearest, or so that a layer's later weights make good what earlier ones lost."""

    NEAREST = "nearest"
    CORRECTED = "corrected"


class Share(str):
    """A kept share, more than 0 and at most 1: the exact decimal that was written.

    Raises:
        ValueError: the text is not such a number.
    """

    def __new__(cls, text: str | float) -> Share:
        try:
            good = 0 < Fraction(str(text)) <= 1
        except (ValueError, ZeroDivisionError):
            good = False
        if not good:
            raise ValueError(f"{text} is not a share: use more than 0 and at most 1, for example 0.5")
        return super().__new__(cls, text)


def check_drops(token_keep: str | None, drop_at: Sequence[int]) -> None:
    """Check the encoders that drop tokens; None: the share is a default.

    Raises:
        UserError: an encoder is there twice, or nothing is dropped there.
    """
    said = f"--drop-at {','.join(map(str, drop_at))}"
    if twice := [encoder for encoder in drop_at if drop_at.count(encoder) > 1]:
        raise UserError(f"{said}: encoder {twice[0]} is there twice, name it once")
    if drop_at and min(drop_at) < 1:
        raise UserError(f"{said}: encoders count from 1")
    if drop_at and token_keep is not None and Fraction(token_keep) == 1:
        raise UserError(f"{said} drops nothing at --token-keep 1: give a smaller share, for example --token-keep 0.5, or leave it out")


def check_shares(**values: str | None) -> None:
    """Check every share that was given.

    Raises:
        UserError: naming the one that is not a share.
    """
    for name, value in values.items():
        try:
            value is None or Share(value)
        except ValueError as error:
            raise UserError(f"{name} {error}") from None
