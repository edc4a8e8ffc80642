"""What a build folder tells beside its summary, for the page of a report."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from finn_vitprune.builds.evaluate import evaluation_of
from finn_vitprune.builds.folder import BuildFolder
from finn_vitprune.builds.record import facts_of, record_of
from finn_vitprune.builds.tokens import TokenSample, sample_of_build
from finn_vitprune.report.page import BuildStory
from finn_vitprune.report.svg import inline_svg

IMAGES_SHOWN, PIXELS_SHOWN = 4, 112
"""Images on a page, and the most pixels of a side: larger ones are shown smaller."""
LOG_LINES = 8
GRAPHS = {"step_lower": "a node a layer", "step_summarise": "as built, with FIFOs and converters"}
"""Models to open, by step; of a build that stopped the last one that there is."""


def story_of(folder: Path) -> BuildStory:
    """What a folder tells; nothing of a file, or of a folder without a record.

    Raises:
        UserError: the record, or the file of the images, is damaged.
    """
    if (record := record_of(folder)) is None:
        return BuildStory(evaluation=evaluation_of(folder))
    tokens, text = _tokens(sample_of_build(folder))
    log = BuildFolder(folder).log
    end = "\n".join(log.read_text(errors="replace").strip().splitlines()[-LOG_LINES:]) if record.stopped and log.is_file() else ""
    return BuildStory(facts_of(folder), record.progress, end, _graphs(folder, list(record.progress)), tokens, text, evaluation_of(folder))


def _graphs(folder: Path, steps: list[str]) -> dict[str, str]:
    models = BuildFolder(folder).intermediate_models
    found = [step for step in steps if (models / f"{step}.onnx").is_file()]
    shown = {step: GRAPHS[step] for step in found if step in GRAPHS}
    if found and found[-1] not in shown:
        shown[found[-1]] = "the last step that wrote one"
    return {str(models / f"{step}.onnx"): what for step, what in shown.items()}


def _tokens(sample: TokenSample | None) -> tuple[Markup | None, str]:
    """The picture of the images that a build kept, and words for them."""
    if sample is None:
        return None, "This folder keeps no images: its build did not come to the lowered graph."
    shown = sample.some(IMAGES_SHOWN)
    words = "; ".join(shown.lines)
    if not len(sample.encoders):
        return None, f"The network drops no tokens. Of {sample.source}: {words}."
    text = (
        f"{len(shown.images)} of the images that the build kept ({sample.source}): what the hardware graph keeps and predicts. A simulation "
        "compares the RTL with it in every bit."
    )
    return inline_svg(shown.smaller(PIXELS_SHOWN).figure(), "tokens", f"{words}."), text
