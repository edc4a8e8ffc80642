"""Labels of images: what is accepted as labels, and how some of many images are drawn."""

from __future__ import annotations

import numpy as np

from finn_vitprune.errors import UserError


def check_labels(labels: np.ndarray, images: int, name: str, classes: int | None = None) -> np.ndarray:
    """One label for each of ``images`` images.

    Args:
        labels: integers ``[F]``, or ``[F, 1]`` as files of MedMNIST have them.
        name: what errors call them.
        classes: labels lie in 0 to ``classes`` - 1; None: this is not asked.
    Returns:
        int64 ``[F]``.
    Raises:
        UserError: another shape, type or number, or a label out of range.
    """
    if labels.dtype.kind not in "iu":
        raise UserError(f"{name} are {labels.dtype}: use integers, for example labels.astype(numpy.int64)")
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.shape != (images,):
        raise UserError(f"{name} have shape {list(labels.shape)} but there are {images} images: use one label an image, shape [{images}]")
    if classes is not None and len(outside := np.flatnonzero((flat < 0) | (flat >= classes))):
        raise UserError(
            f"{name} hold {flat[outside[0]]} (image {outside[0]}) and the classes are 0 to {classes - 1}: "
            "use the numbers of the classes that the model answers with"
        )
    return flat.astype(np.int64)


def draw(total: int, count: int | None, seed: int, labels: np.ndarray | None = None) -> np.ndarray:
    """Ascending indices of ``count`` of ``total`` images, each as likely as any other; all where ``count`` is None.

    With ``labels`` ``[total]`` each class is there in its share, up to one image. The same arguments give the
    same choice.
    """
    if count is None or count >= total:
        return np.arange(total)
    rng = np.random.default_rng(seed)
    order = rng.permutation(total)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    steps = (np.arange(count) * total + rng.integers(total)) // count  # equal distances, at random from the first
    return np.sort(order[steps])


def drawn_text(count: int, total: int, seed: int, labelled: bool) -> str:
    """What :func:`draw` chose, in words."""
    if count >= total:
        return f"all {total:,} images"
    share = ", each class in its share" if labelled else ""
    return f"{count:,} of {total:,} images, drawn with seed {seed}{share}"
