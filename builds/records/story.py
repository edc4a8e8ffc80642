"""What a build folder tells beside its summary, and the page of one or two."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.builds.records.tokens import TokenSample, sample_of_build
from finn_vitprune.built.evaluation import evaluation_of
from finn_vitprune.built.record import facts_of, record_of
from finn_vitprune.report.compare import short_names
from finn_vitprune.report.page import BuildStory, build_page, pair_page
from finn_vitprune.report.summary import FILE, Summary
from finn_vitprune.report.token_picture import token_picture

IMAGES_SHOWN = 4
LOG_LINES = 8
GRAPHS = {"step_lower": "a node a layer", "step_summarise": "as built, with FIFOs and converters"}
"""Models to open, by step; of a build that stopped the last one that there is."""


def page_of(*folders: Path) -> str:
    """The page of a build, or of two: of folders, or of summaries that were kept as files.

    Raises:
        UserError: there is no build, or something in it is not as the build wrote it.
    """
    stories = [story_of(folder) for folder in folders]
    if len(folders) == 1:
        stopped = bool(stories[0].facts) and not (folders[0] / FILE).is_file()
        return build_page(folders[0].resolve().name, None if stopped else Summary.load(folders[0]), stories[0])
    first, second = folders
    names = short_names(first, second)
    return pair_page(f"{names[0]} and {names[1]}", names, (Summary.load(first), Summary.load(second)), (stories[0], stories[1]))


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
    return {f"{folder.resolve().name}/{models.name}/{step}.onnx": what for step, what in shown.items()}


def _tokens(sample: TokenSample | None) -> tuple[tuple[tuple[str, Markup], ...], str]:
    """A picture of each of the images that a build kept, rightly answered ones first, and words for them."""
    if sample is None:
        return (), "This folder keeps no images: its build did not come to the lowered graph."
    shown = sample.some(min(IMAGES_SHOWN, len(sample.images)))
    if not len(sample.encoders):
        return (), f"The network drops no tokens. Of {sample.source}: {'; '.join(shown.lines)}."
    pictures = []
    for i in sorted(range(len(shown.images)), key=lambda f: shown.labels is not None and shown.predicted[f] != shown.labels[f]):
        kept = [(int(encoder), mask[i]) for encoder, mask in zip(shown.encoders, shown.left)]
        words = shown.lines[i].partition(": ")[2].partition(", encoder")[0]
        pictures.append((words[0].upper() + words[1:], token_picture(f"tokens-{len(pictures)}", shown.images[i], kept, shown.lines[i])))
    return tuple(pictures), f"Images: {sample.source}."
