"""Plans of the networks, one answer a network and part, kept in a ledger: what is answered is not planned again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.experiments.deit_models import DeitNetwork, MadeNetwork, ModelFolder
from finn_vitprune.builds.experiments.deit_reference import CpuTiming
from finn_vitprune.errors import UserError
from finn_vitprune.files import write_json
from finn_vitprune.synth.budget import Budget
from finn_vitprune.synth.parts import NO_SHELL, Part, get_part
from finn_vitprune.transforms.insert_streams import InsertStreams
from finn_vitprune.transforms.latency import latency_cycles
from finn_vitprune.transforms.plan import plan
from finn_vitprune.transforms.plan_options import KINDS, PlanOptions, offers_of

MHZ = 300
BUDGET = (("LUT", 0.7), ("DSP", 0.85), ("BRAM", 0.8), ("URAM", 0.85))
"""Shares of the part, and of each SLR, that a plan may use."""

Shares = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Question:
    """A network on a part (its name or its board's), of which a shell takes something and a plan may use a budget."""

    network: DeitNetwork
    part: str
    shell: str = NO_SHELL
    budget: Shares = BUDGET

    @property
    def key(self) -> str:
        """What the ledger knows it by."""
        return ", ".join((self.network.name, self.part, f"shell {self.shell}", budget_text(self.budget)))


def budget_text(budget: Shares) -> str:
    """The shares as ``--budget`` takes them."""
    return ",".join(f"{kind}={share:g}" for kind, share in budget)


@dataclass(frozen=True)
class Found:
    """The fold that a search found: ``[slrs, kinds]`` what it takes and may take, one row where SLRs are not told apart."""

    interval: int
    used: np.ndarray
    room: np.ndarray
    gap: float

    @property
    def fits(self) -> bool:
        """Whether everything is within the budget."""
        return bool(np.all(self.used <= self.room))


@dataclass(frozen=True)
class Answer:
    """What the plan of a :class:`Question` says.

    Attributes:
        key: of the question. part: full name. note: what a reader must know of the part.
        heads, heads_dense: live heads of the network, and of the dense one.
        fits: whether there is a plan within the budget; the rest describes the least overfull one where not.
        interval, latency: cycles; latency by formula, of one image in an empty pipeline.
        used: by resource, BRAM in blocks of 18 Kbit. shares: of the whole part. slrs: of each SLR that is planned for.
        binding: the resource of which the largest share of its budget is used, and where.
        gap: share by which a shorter interval is not ruled out. seconds: processor time of the plan.
    """

    key: str
    network: str
    part: str
    note: str
    heads: int
    heads_dense: int
    fits: bool
    interval: int
    latency: int
    used: dict[str, float]
    shares: dict[str, float]
    slrs: list[dict[str, float]]
    binding: str
    gap: float
    seconds: float

    @property
    def rate(self) -> float:
        """Images a second at :data:`MHZ`."""
        return MHZ * 1e6 / self.interval

    @property
    def milliseconds(self) -> float:
        """Latency of one image at :data:`MHZ`."""
        return self.latency / (MHZ * 1e3)


@dataclass
class Ledger:
    """Answers by key, and the processor's time; every change is written."""

    path: Path
    answers: dict[str, Answer]
    cpu: CpuTiming | None = None

    @classmethod
    def load(cls, path: Path) -> Ledger:
        """The ledger of a file, an empty one where there is none."""
        if not path.is_file():
            return cls(path, {})
        content = json.loads(path.read_text())
        answers = [Answer(**row) for row in content["plans"]]
        return cls(path, {a.key: a for a in answers}, CpuTiming(**content["cpu"]) if content["cpu"] else None)

    def add(self, answer: Answer) -> None:
        """Keep an answer."""
        self.answers[answer.key] = answer
        self._save()

    def time_of_cpu(self, cpu: CpuTiming) -> None:
        """Keep the processor's time."""
        self.cpu = cpu
        self._save()

    def missing(self, questions: Iterable[Question]) -> Iterator[Question]:
        """The questions without an answer, each once, in their order."""
        return (q for key, q in {q.key: q for q in questions}.items() if key not in self.answers)

    def _save(self) -> None:
        plans = [asdict(answer) for _, answer in sorted(self.answers.items())]
        write_json(self.path, {"plans": plans, "cpu": self.cpu and asdict(self.cpu)})


def ask(question: Question, folder: ModelFolder) -> Answer:
    """Plan a network that is made.

    Raises:
        UserError: the network is not made yet, or the part or its shell is unknown.
    """
    made = folder.made(question.network)
    if made is None:
        raise UserError(f"the network {question.network.name} is not in {folder.path}: make it with the command models first")
    part = get_part(question.part).with_shell(question.shell)
    model = ModelWrapper(str(folder.hardware(question.network)))
    started = time.process_time()
    model, found = search(model, part, question.budget)
    seconds = time.process_time() - started
    return answer_of(question, made, part, found, latency_cycles(model), seconds)


def search(model: ModelWrapper, part: Part, shares: Shares) -> tuple[ModelWrapper, Found]:
    """Plan a hardware graph for a part; returns it with FIFOs, width converters and crossings, and what it takes."""
    found, _ = plan(model, part, PlanOptions(budget=Budget(**dict(shares)), explain=False))
    found.write(model)
    return model.transform(InsertStreams(), make_deepcopy=False), Found(found.interval, found.used, found.room, found.gap)


def answer_of(
    question: Question, made: MadeNetwork, part: Part, found: Found, latency: int, seconds: float
) -> Answer:
    """The answer that a plan gives."""
    offers = offers_of(part)
    whole = found.used.sum(0)
    regions = found.used / np.maximum(offers if len(found.used) == len(offers) else offers.sum(0, keepdims=True), 1)
    return Answer(
        key=question.key, network=question.network.name, part=part.name, note=part.note,
        heads=sum(made.heads), heads_dense=made.heads_dense, fits=found.fits, interval=found.interval, latency=latency,
        used=_by_kind(whole), shares=_by_kind(whole / np.maximum(offers.sum(0), 1)), slrs=[_by_kind(row) for row in regions],
        binding=binding(found), gap=round(float(found.gap), 4), seconds=round(seconds, 1),
    )


def binding(found: Found) -> str:
    """The resource of which most of the budget is used, in which SLR, and the share."""
    shares = found.used / np.maximum(found.room, 1e-9)
    slr, kind = np.unravel_index(int(np.argmax(shares)), shares.shape)
    place = f" of SLR{slr}" if len(shares) > 1 else ""
    if not found.room[slr, kind]:
        return f"{KINDS[kind]}{place}: {found.used[slr, kind]:,.0f} needed, none there"
    return f"{KINDS[kind]}{place} ({shares[slr, kind]:.0%} of its budget)"


def _by_kind(amounts: np.ndarray) -> dict[str, float]:
    return {kind: round(float(amount), 4) for kind, amount in zip(KINDS, amounts)}
