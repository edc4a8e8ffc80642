"""From a file to its normal form: the table of all rules, and the pass with it."""

from __future__ import annotations

from finn_vitprune.graph import layout
from finn_vitprune.graph.node import Rejection
from finn_vitprune.graph.rules import Rules
from finn_vitprune.graph.walk import CollectAll
from finn_vitprune.ingest.normal_form import (
    rules_attention,
    rules_elementwise,
    rules_linear,
    rules_norm,
    rules_quant,
    rules_rotary,
    rules_tokens,
)
from finn_vitprune.ingest.normal_form.normaliser import Normaliser
from finn_vitprune.ingest.onnx_file.model_file import ModelFile

RULES = Rules(
    layout.RULES,
    rules_tokens.RULES,
    rules_elementwise.RULES,
    rules_linear.RULES,
    rules_norm.RULES,
    rules_attention.RULES,
    rules_quant.RULES,
    rules_rotary.RULES,
)


def normaliser(source: ModelFile, image: tuple[int, ...] | Rejection, policy: CollectAll | None = None) -> Normaliser:
    """A pass over ``source`` that is still to run; ``image`` as in :class:`Normaliser`."""
    return Normaliser(source, image, RULES, policy)
