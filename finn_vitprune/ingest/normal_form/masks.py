"""Constants added to attention scores: masks and position biases, told apart by their values."""

from __future__ import annotations

import numpy as np

from finn_vitprune.ingest.normal_form.normaliser import Normaliser
from finn_vitprune.ingest.normal_form.terms import View

HIDDEN = -1e4
"""Scores with so much added are hidden; learned biases are far smaller."""
HELP = "the hardware attends from every token to every other: export a plain ViT or DeiT without it"


def mask_scores(state: Normaliser, view: View, added: np.ndarray) -> View:
    """Scores with a constant added: nothing where softmax does not see it, else a rejection by its name."""
    full = np.broadcast_to(added, view.shape)
    if np.all(full == full[..., :1]):  # the same for all keys of a query
        return view
    hidden = full < HIDDEN
    if hidden.any():
        state.reject(_mask_name(hidden), HELP)
    else:
        state.reject(
            f"relative position bias: a table of {full.shape[-1]} keys, values {full.min():.3g} to "
            f"{full.max():.3g}, "
            "is added to the attention scores",
            "the hardware adds learned positions once, before the first encoder: use a plain ViT or DeiT",
        )
    return view


def hide_scores(state: Normaliser, view: View, shown: np.ndarray) -> View:
    """Scores of which only those where ``shown`` count."""
    hidden = np.broadcast_to(np.logical_not(shown), view.shape)
    if hidden.any():
        state.reject(_mask_name(hidden), HELP)
    return view


def _mask_name(hidden: np.ndarray) -> str:
    queries, keys = hidden.shape[-2:]
    future = np.triu(np.ones((queries, keys), bool), 1)
    if np.array_equal(hidden, np.broadcast_to(future, hidden.shape)):
        return f"causal mask: no token of {queries} sees a later one"
    share = hidden.mean()
    return f"attention mask: {share:.0%} of the pairs of {queries} queries and {keys} keys are hidden"
