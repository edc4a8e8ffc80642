"""What an evaluation found: scores, the network's card, and both in words."""

from __future__ import annotations

from finn_vitprune.report.quantities import accuracy_text
from finn_vitprune.report.scores import AnswerScores, WorstImage
from finn_vitprune.report.summary import ModelCard
from finn_vitprune.report.tables import COUNTED, TextTable
from finn_vitprune.report.verdict import Verdict, VerdictLine, model_title


class Evaluation(AnswerScores):
    """How right the answers of a network are on a data set, besides what :class:`.AnswerScores` has.

    data, note: what was read, and how its labels were found. chosen: which of its images. damaged: images left out, by name.
    images_per_second: through the integers, of one process, reading apart. digest: SHA-256 of the lowered graph that ran.
    """

    model: ModelCard
    data: str
    note: str
    chosen: str
    damaged: tuple[str, ...] = ()
    images_per_second: float
    digest: str = ""

    @property
    def rows(self) -> list[tuple[str, str]]:
        """What was found, by its name, in words; what does not apply is left out."""
        found = {
            "accuracy": _beside(self.accuracy, self.accuracy_float),
            "top 5": _beside(self.accuracy_top5, self.accuracy_float_top5),
            "same class": "" if self.agreement is None else f"{accuracy_text(self.agreement)} of the images, as the float network",
            "cosine": "" if self.cosine is None else f"{self.cosine:.4f} mean, {self.cosine_worst:.4f} worst, of the logits",
            "images": f"{self.chosen} of {self.data}",
            "labels": self.note,
            "left out": f"{len(self.damaged)} damaged images: {', '.join(self.damaged[:3])}" if self.damaged else "",
        }
        return [(name, text) for name, text in found.items() if text]

    def __str__(self) -> str:
        """What was found, on one screen."""
        return str(self.verdict(""))

    def verdict(self, target: str, page: str = "", following: str = "") -> Verdict:
        """What was found, on one screen.

        Args:
            target: the file or folder that was evaluated. page: the file of a page. following: what comes next.
        """
        lines = [VerdictLine(name, text) for name, text in self.rows if name != "left out"]
        lines.append(VerdictLine("speed", f"{self.images_per_second:,.1f} images/s on this computer, in the integers of the accelerator"))
        warnings = [f"{len(self.damaged):,} damaged images were left out: {', '.join(self.damaged[:3])}."] if self.damaged else []
        if self.accuracy is None and self.agreement is None:
            warnings.append("No labels and no float network: nothing says how right the answers are.")
        return Verdict(model_title(self.model.model_dump(), None), target, tuple(warnings), tuple(lines), page, following)

    @property
    def tables(self) -> list[TextTable]:
        """A row for each class, and for each of the worst images."""
        made = []
        if self.classes:
            rows = tuple((str(c.label), f"{c.images:,}", _share(c.accuracy), _share(c.accuracy_float)) for c in self.classes)
            made.append(TextTable("Classes", ("class", "images", "accuracy", "float"), rows, marks=("", *(COUNTED,) * 3)))
        if self.worst:
            rows = tuple((w.image, *_answers(w)) for w in self.worst)
            made.append(TextTable("Worst images", ("image", "answer", "label", "float", "cosine"), rows, marks=("", *(COUNTED,) * 4)))
        return made


def card_table(card: ModelCard, found: Evaluation | None) -> TextTable:
    """What a network is, and how accurate it was found to be."""
    kept = {"accuracy": "accuracy in integers", "same class": "same class", "images": "images"}
    known = [(kept[name], text) for name, text in (found.rows if found else ()) if name in kept]
    return TextTable("Network", ("", ""), (*card.rows, *known), marks=("", COUNTED))


def _beside(integers: float | None, of_float: float | None) -> str:
    return "" if integers is None else accuracy_text(integers) + ("" if of_float is None else f" (float {accuracy_text(of_float)})")


def _share(value: float | None) -> str:
    return "-" if value is None else accuracy_text(value)


def _answers(w: WorstImage) -> tuple[str, str, str, str]:
    numbers = ("-" if n is None else str(n) for n in (w.answer, w.label, w.answer_float))
    return *numbers, "-" if w.cosine is None else f"{w.cosine:.4f}"
