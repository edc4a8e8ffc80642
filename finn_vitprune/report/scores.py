"""What the answers of a network are worth: accuracy, agreement with the float network, classes, worst images."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

TOP = 5
WORST = 10
"""Images that are named, the least right first."""

Share = Annotated[float, Field(ge=0, le=1)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassRow(_Row):
    """Images of one class, and the shares of them that integers and float network answer right."""

    label: int
    images: int
    accuracy: Share
    accuracy_float: Share | None = None


class WorstImage(_Row):
    """An image, the class that the integers answer, its label where it has one, and what the float network makes of it."""

    image: str
    answer: int
    label: int | None = None
    answer_float: int | None = None
    cosine: float | None = None


class AnswerScores(_Row):
    """Shares from 0 to 1; None where there are no labels, or no float network, or too few classes for a top 5.

    cosine, cosine_worst: of an image's logits in integers and in float, the mean and the least.
    """

    images: int
    accuracy: Share | None = None
    accuracy_top5: Share | None = None
    accuracy_float: Share | None = None
    accuracy_float_top5: Share | None = None
    agreement: Share | None = None
    cosine: float | None = None
    cosine_worst: float | None = None
    classes: tuple[ClassRow, ...] = ()
    worst: tuple[WorstImage, ...] = ()


def score(logits: np.ndarray, labels: np.ndarray | None, reference: np.ndarray | None, names: list[str]) -> AnswerScores:
    """Score ``logits`` ``[F, classes]``.

    Args:
        labels: ``[F]``. reference: logits of the float network ``[F, classes]``. names: of the images.
    """
    answers = logits.argmax(1)
    found: dict[str, object] = {"images": len(logits)}
    similar = None
    if reference is not None:
        similar = cosines(logits, reference)
        agree = answers == reference.argmax(1)
        found |= {"agreement": float(agree.mean()), "cosine": float(similar.mean()), "cosine_worst": float(similar.min())}
    if labels is not None:
        found |= _accuracies(logits, labels, "accuracy", "accuracy_top5")
        if reference is not None:
            found |= _accuracies(reference, labels, "accuracy_float", "accuracy_float_top5")
        found["classes"] = _classes(answers, labels, reference)
    found["worst"] = _worst(logits, labels, reference, similar, names)
    return AnswerScores.model_validate(found)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cosine of each row of two arrays ``[F, classes]``; rows of zeros count as 0."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(1) / np.where(norms > 0, norms, 1.0)


def ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The place of each label among the answers, 0 for the best; of equal logits the lower class comes first, as argmax has it."""
    own = np.take_along_axis(logits, labels[:, None], 1)
    before = np.arange(logits.shape[1]) < labels[:, None]
    return ((logits > own) | ((logits == own) & before)).sum(1)


def _accuracies(logits: np.ndarray, labels: np.ndarray, first: str, among: str) -> dict[str, float]:
    places = ranks(logits, labels)
    return {first: float((places == 0).mean())} | ({among: float((places < TOP).mean())} if logits.shape[1] > TOP else {})


def _classes(answers: np.ndarray, labels: np.ndarray, reference: np.ndarray | None) -> tuple[ClassRow, ...]:
    of_float = None if reference is None else reference.argmax(1)
    rows = []
    for label in np.unique(labels):
        own = labels == label
        given = {} if of_float is None else {"accuracy_float": float((of_float[own] == label).mean())}
        rows.append(ClassRow(label=int(label), images=int(own.sum()), accuracy=float((answers[own] == label).mean()), **given))
    return tuple(rows)


def _worst(
    logits: np.ndarray, labels: np.ndarray | None, reference: np.ndarray | None, similar: np.ndarray | None, names: list[str]
) -> tuple[WorstImage, ...]:
    """Images whose logits are least like the float network's; without one, those whose label is furthest behind the answer."""
    if similar is not None:
        order = np.argsort(similar, kind="stable")
    elif labels is not None:
        order = np.argsort(-ranks(logits, labels), kind="stable")
        order = order[ranks(logits, labels)[order] > 0]
    else:
        return ()
    rows = []
    for i in order[:WORST]:
        row = {"image": names[i], "answer": int(logits[i].argmax())}
        row |= {} if labels is None else {"label": int(labels[i])}
        row |= {} if similar is None else {"answer_float": int(reference[i].argmax()), "cosine": float(similar[i])}
        rows.append(WorstImage(**row))
    return tuple(rows)
