"""The check of a float or QDQ file: rows from the recogniser."""

from __future__ import annotations

from math import gcd
from pathlib import Path

from finn_vitprune.block_mask import attention_masks
from finn_vitprune.complexity import formulas as complexity
from finn_vitprune.complexity.formulas import Complexity
from finn_vitprune.ingest.check import hardware
from finn_vitprune.ingest.check.checked import Checked, Row, Structure
from finn_vitprune.ingest.check.file_run import probe
from finn_vitprune.graph.node import Node
from finn_vitprune.ingest.onnx_file.model_file import ModelFile
from finn_vitprune.ingest.normal_form.normalise import RULES, Fate, Outcome
from finn_vitprune.ingest.recognise.read import understand
from finn_vitprune.ingest.recognise.network import ACTIVATION_HELP, GELUS, Network
from finn_vitprune.ingest.recognise.recognise import Recognition
from finn_vitprune.ingest.recognise.recognised import RecognisedViT
from finn_vitprune.graph.reason import Refusal
from finn_vitprune.ingest.check.roles import FUNCTION, UNITS, Role, roles_of
from finn_vitprune.ingest.recognise.survey import WITH_CONSTANT, Found, Surveyed
from finn_vitprune.ingest.normal_form.terms import Linear, Opaque
from finn_vitprune.ingest.onnx_file.unsupported import REASONS, why_not
from finn_vitprune.synth.parts import Part

CONSTANT = "constants, folded"
LAYOUT = "no hardware, only the order of data"
SELECT = "VitSelectToken, the class token"
SCALE = "scale or bias of the node before"
UNUSED = "nothing (no output depends on it)"


def check_float(model: ModelFile, path: Path, part: Part | None = None) -> Checked:
    """Rows, structure and size of a file that ``import`` would take."""
    found = understand(model)
    refusals = list(found.refusals)
    structure = size = None
    lines: list[str] = []
    if found.vit is not None:
        refusals += hardware.gaps(found.network, found.vit)
        lines = hardware.notes(found.vit, part)
        structure, size = structure_of(found.vit), size_of(found.vit)
        refusals += [] if refusals else filter(None, [probe(path, model.kind, found.vit)])
    if found.surveyed is not None and found.surveyed.assumed:
        shapes = ", ".join(f"{name} {list(shape)}" for name, shape in found.surveyed.assumed.items())
        lines.append(f"sizes that the file leaves open were assumed: {shapes}")
    rows = _rows(found, refusals)
    return Checked(
        path.name, model.kind.value, model.opset, rows, tuple(refusals), structure, size, tuple(lines)
    )


def structure_of(vit: RecognisedViT) -> Structure:
    """The shapes of a recognised network."""
    return Structure(
        image=(vit.image_size, vit.image_size, vit.channels),
        patch_size=vit.patch_size,
        dim=vit.dim,
        head_dim=vit.head_dim,
        heads=vit.heads,
        mlp_widths=vit.mlp_widths,
        tokens=(vit.tokens,) * vit.depth,
        prefix=vit.prefix,
        pooling=vit.pooling,
        classes=vit.classes,
    )


def size_of(vit: RecognisedViT) -> Complexity:
    """Operations and parameters: dense, and with its zero blocks left out, the last encoder for one token."""
    config = vit.config()
    fit = gcd(config.dim, config.head_dim)
    block = next(b for b in (8, 4, 2, 1) if fit % b == 0)
    masks = {}
    for i in range(vit.depth):
        qkv, proj = (vit.weights[f"blocks.{i}.attn.{name}.weight"] for name in ("qkv", "proj"))
        masks |= attention_masks(i, qkv, proj, block)
    return complexity.counted(config, config, masks)


# --- rows ----------------------------------------------------------------------------------------


def _rows(found: Recognition, refusals: list[Refusal]) -> tuple[Row, ...]:
    roles = {} if found.network is None else roles_of(found.network)
    at = {r.node: r for r in reversed(refusals)}
    selected, outcomes = _selected(found.network), found.normalised.outcomes
    alone = (None,) * len(outcomes) if found.surveyed is None else found.surveyed.nodes
    rows = []
    for outcome, by_itself in zip(outcomes, alone, strict=True):
        if outcome.fate is Fate.WAITS and by_itself is not None:
            rows.append(_surveyed_row(by_itself, outcome.refusal, at, found.surveyed))
        else:
            rows.append(_row(outcome, roles, at, selected, found.network is not None))
    return tuple(rows)


def _surveyed_row(found: Found, refusal: Refusal, at: dict[str, Refusal], surveyed: Surveyed) -> Row:
    """A node behind a refused one: its own reason, or what it would be by itself."""
    outcome, node = found.outcome, found.outcome.node
    own = outcome.refusal if outcome.fate is Fate.REFUSED else at.get(node.name)
    if own is not None and own.op_type == node.op_type:
        return Row(node.name, node.op_type, "", "", own.reason, own.help)
    if outcome.fate is Fate.WAITS:
        return Row(node.name, node.op_type, "", "", *_waiting(node, refusal))
    cause = found.cause or refusal
    if outcome.fate is Fate.FUNCTION:
        name = surveyed.functions.get(id(outcome.term), "")
        if name and name not in GELUS:
            return Row(node.name, node.op_type, "", "", f"activation {name}", ACTIVATION_HELP)
    return Row(node.name, node.op_type, "", "", _depends(cause), "", _alone(outcome, surveyed))


def _alone(outcome: Outcome, surveyed: Surveyed) -> str:
    """What a node would become if what it depends on were taken in."""
    term = outcome.term
    if outcome.fate is Fate.CONSTANT:
        return "a constant of the size of the input" if surveyed.assumed else CONSTANT
    if isinstance(term, Opaque) and outcome.node.op_type in WITH_CONSTANT:
        return SCALE
    if outcome.fate is Fate.LAYOUT:
        return LAYOUT
    if outcome.fate is Fate.FUNCTION:
        name = surveyed.functions.get(id(term), "")
        scale = SCALE if isinstance(term, Opaque) else UNITS[type(term)]
        return f"{FUNCTION}, {name}" if name else scale
    if isinstance(term, Linear):
        return f"BlockSparseMVAU ({term.weight.shape[0]} x {term.weight.shape[1]})"
    return UNITS[type(term)]


def _row(outcome: Outcome, roles: dict[int, Role], at: dict[str, Refusal], selected: int, known: bool) -> Row:
    node, term = outcome.node, outcome.term
    role = roles.get(id(term))
    place = role.place if role is not None else ""
    refusal = at.get(node.name)
    if outcome.fate is Fate.REFUSED:  # of a node inside of it, where it has branches
        cause = outcome.refusal
        inside = "" if cause.op_type == node.op_type else f"node {cause.node} ({cause.op_type}): "
        return Row(node.name, node.op_type, place, "", inside + cause.reason, cause.help)
    if refusal is not None and refusal.op_type == node.op_type:
        return Row(node.name, node.op_type, place, "", refusal.reason, refusal.help)
    if outcome.fate is Fate.WAITS:
        return Row(node.name, node.op_type, place, "", *_waiting(node, outcome.refusal))
    return Row(node.name, node.op_type, place, _becomes(outcome, role, selected, known))


def _becomes(outcome: Outcome, role: Role | None, selected: int, known: bool) -> str:
    if outcome.fate is Fate.CONSTANT:
        return CONSTANT
    if known and role is None:
        return UNUSED
    if outcome.fate is Fate.LAYOUT:
        picks = outcome.node.op_type in ("Gather", "Slice") and id(outcome.term) == selected
        return SELECT if picks else LAYOUT
    if outcome.fate is Fate.FUNCTION:
        return FUNCTION if role is None else role.then or role.becomes
    return UNITS[type(outcome.term)] if role is None else role.becomes


def _waiting(node: Node, cause: Refusal) -> tuple[str, str]:
    """Why a node that depends on a refused one does not map: its own reason where its op has one."""
    foreign = node.domain not in ("", "ai.onnx", "ai.onnx.ml")
    if foreign or node.op_type in REASONS and node.op_type not in RULES:
        return why_not(node)
    return _depends(cause), ""


def _depends(cause: Refusal) -> str:
    where = f"the input {cause.node}" if cause.op_type == "input" else f"node {cause.node} ({cause.op_type})"
    return f"depends on {where}, which is not taken in"


def _selected(network: Network | None) -> int:
    """The term that the class token is taken from, by ``id``; 0 for none."""
    if network is None or network.classifier.mean is not None:
        return 0
    c = network.classifier
    source = c.norm.x.term if c.norm.x.rows is not None else c.norm
    return id(source)
