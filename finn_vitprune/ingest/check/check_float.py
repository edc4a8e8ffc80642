"""The check of a float or QDQ file: rows from the recogniser."""

from __future__ import annotations

from dataclasses import replace
from math import gcd
from pathlib import Path

from finn_vitprune.block_mask import BlockMask, attention_masks
from finn_vitprune.complexity import formulas as complexity
from finn_vitprune.complexity.formulas import Complexity
from finn_vitprune.graph.node import Rejection
from finn_vitprune.ingest.check import hardware
from finn_vitprune.ingest.check.answers import Answer, Behind, CheckRow, Constant, Mapped, Rejected, Structure
from finn_vitprune.ingest.check.checked import Checked
from finn_vitprune.ingest.check.file_run import probe
from finn_vitprune.ingest.check.roles import UNITS, Role, matrix, roles_of
from finn_vitprune.ingest.normal_form.normalise import RULES
from finn_vitprune.ingest.normal_form.normaliser import NodeOutcome, NodeStatus
from finn_vitprune.ingest.normal_form.terms import Activation, Linear, Opaque, Term
from finn_vitprune.ingest.onnx_file.model_file import ModelFile
from finn_vitprune.ingest.onnx_file.unsupported import REASONS, why_not
from finn_vitprune.ingest.recognise.network import ACTIVATION_HELP, ACTIVATIONS, FoundNetwork, RecognisedViT
from finn_vitprune.ingest.recognise.read import understand
from finn_vitprune.ingest.recognise.recognise import Recognition
from finn_vitprune.ingest.recognise.survey import WITH_CONSTANT, Surveyed, SurveyedNode
from finn_vitprune.synth.parts import Part

FOLDED = Constant("constants, folded")
SIZED = Constant("a constant of the size of the input")
LAYOUT = Mapped("no hardware", "only the order of data")
SELECT, SELECT_PATCHES = (Mapped("VitSelectToken", what) for what in ("the class token", "the patches"))
SCALE = Mapped("scale or bias of the node before")
UNUSED = Mapped("nothing (no output depends on it)")


def check_float(model: ModelFile, path: Path, part: Part | None = None) -> Checked:
    """Rows, structure and size of a file that ``import`` would take."""
    found, rejections = judged(model, path)
    structure = size = None
    lines: list[str] = []
    if found.vit is not None:
        lines = hardware.notes(found.vit, part)
        structure, size = structure_of(found.vit), size_of(found.vit)
    if found.surveyed is not None and found.surveyed.assumed:
        shapes = ", ".join(f"{name} {list(shape)}" for name, shape in found.surveyed.assumed.items())
        lines.append(f"sizes that the file leaves open were assumed: {shapes}")
    rows = _rows(found, rejections)
    return Checked(path.name, model.kind, model.opset, rows, tuple(rejections), structure, size, tuple(lines))


def judged(model: ModelFile, path: Path) -> tuple[Recognition, list[Rejection]]:
    """What is recognised in a file, and every reason why ``import`` cannot take it, the deciding one first."""
    found = understand(model)
    rejections = list(found.rejections)
    if found.network is not None and found.vit is not None:
        rejections += hardware.gaps(found.network, found.vit)
        rejections += [] if rejections else filter(None, [probe(path, model.kind, found.vit)])
    return found, rejections


def structure_of(vit: RecognisedViT) -> Structure:
    """The shapes of a recognised network."""
    return Structure(vit.config, (vit.config.tokens,) * len(vit.config.encoders))


def size_of(vit: RecognisedViT) -> Complexity:
    """Operations and parameters: dense, and with its zero blocks left out, the last encoder for one token."""
    config = vit.config
    fit = gcd(config.dim, config.head_dim)
    block = next(b for b in (8, 4, 2, 1) if fit % b == 0)
    masks: dict[str, BlockMask] = {}
    for i in range(len(vit.config.encoders)):
        qkv, proj = (vit.weights[f"blocks.{i}.attn.{name}.weight"] for name in ("qkv", "proj"))
        masks |= attention_masks(i, qkv, proj, block)
    return complexity.counted(config, config, masks)


# --- rows ----------------------------------------------------------------------------------------


def _rows(found: Recognition, rejections: list[Rejection]) -> tuple[CheckRow, ...]:
    roles = {} if found.network is None else roles_of(found.network)
    at = {r.node: r for r in reversed(rejections)}
    outcomes = found.normalised.outcomes
    alone = (None,) * len(outcomes) if found.surveyed is None else found.surveyed.nodes
    rows = []
    answer: Answer
    for outcome, by_itself in zip(outcomes, alone, strict=True):
        node, role = outcome.node, roles.get(id(outcome.term))
        if outcome.status is NodeStatus.BLOCKED and by_itself is not None and found.surveyed is not None:
            answer = _behind(by_itself, outcome.why, at, found.surveyed)
        else:
            answer = _rejected(outcome, None, at) or _becomes(outcome, role, found.network)
        rows.append(CheckRow(node.name, node.op_type, answer, None if role is None else role.place))
    return tuple(rows)


def _rejected(outcome: NodeOutcome, cause: Rejection | None, at: dict[str, Rejection]) -> Rejected | Behind | None:
    """Why a node does not map, or None: its own reason, or that of its op, or ``cause``, which it depends on (None: its own)."""
    node, own = outcome.node, at.get(outcome.node.name)
    if outcome.status is NodeStatus.REJECTED:
        return Rejected(outcome.why)
    if own is not None and own.op_type == node.op_type:
        return Rejected(own)
    if outcome.status is not NodeStatus.BLOCKED:
        return None
    foreign = node.domain not in ("", "ai.onnx", "ai.onnx.ml")
    if foreign or (node.op_type in REASONS and node.op_type not in RULES):
        return Rejected(Rejection.at(node, *why_not(node)))
    return Behind(cause or outcome.why)


def _behind(found: SurveyedNode, cause: Rejection, at: dict[str, Rejection], surveyed: Surveyed) -> Rejected | Behind:
    """A node after a rejected one: its own reason, or what it would be if what it depends on were supported."""
    outcome = found.outcome
    if (rejected := _rejected(outcome, cause, at)) is not None:
        return rejected
    term = outcome.term
    name = surveyed.functions.get(id(term), "") if outcome.status is NodeStatus.FUNCTION else ""
    if name and name not in ACTIVATIONS:
        return Rejected(Rejection.at(outcome.node, f"activation {name}", ACTIVATION_HELP))
    alone: Mapped | Constant
    if outcome.status is NodeStatus.CONSTANT:
        alone = SIZED if surveyed.assumed else FOLDED
    elif isinstance(term, Opaque) and outcome.node.op_type in WITH_CONSTANT:
        alone = SCALE
    elif outcome.status is NodeStatus.LAYOUT:
        alone = LAYOUT
    elif name:
        alone = replace(UNITS[Activation], purpose=name)
    elif isinstance(term, Opaque):
        alone = SCALE
    else:
        assert term is not None  # a constant alone has none
        alone = matrix(term) if isinstance(term, Linear) and outcome.status is NodeStatus.TERM else UNITS[type(term)]
    return Behind(found.cause or cause, alone)


def _becomes(outcome: NodeOutcome, role: Role | None, network: FoundNetwork | None) -> Mapped | Constant:
    if outcome.status is NodeStatus.CONSTANT:
        return FOLDED
    if network is not None and role is None:
        return UNUSED
    if outcome.status is NodeStatus.LAYOUT:
        picks = outcome.node.op_type in ("Gather", "Slice") and _is_selected(network, outcome.term)
        return LAYOUT if network is None or not picks else SELECT if network.classifier.pool is None else SELECT_PATCHES
    if outcome.status is NodeStatus.FUNCTION:
        return UNITS[Activation] if role is None else role.then or role.becomes
    if role is not None:
        return role.becomes
    assert outcome.term is not None  # a constant alone has none
    return UNITS[type(outcome.term)]


def _is_selected(network: FoundNetwork | None, term: Term | None) -> bool:
    """Whether the classifier reads the class token of this term alone, or attention pooling a part of its tokens."""
    if network is None or network.classifier.mean is not None:
        return False
    norm, pool = network.classifier.norm, network.classifier.pool
    if pool is not None and len(pool.rows) == network.embedding.embedded.rows:
        return False
    if norm is None:
        return term is network.classifier.heads[0].x.term
    return term is (norm.x.term if norm.x.rows is not None else norm)
