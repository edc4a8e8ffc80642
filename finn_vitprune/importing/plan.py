"""What is checked before an import works: file, options and data fit together."""

from __future__ import annotations

from dataclasses import dataclass

from finn_vitprune import progress
from finn_vitprune.importing.data import ImportData, load_data
from finn_vitprune.importing.float_model import recognised
from finn_vitprune.importing.options import ImportOptions
from finn_vitprune.ingest.check import hardware
from finn_vitprune.ingest.check.check_float import structure_of
from finn_vitprune.ingest.check.texts import structure_text
from finn_vitprune.ingest.onnx_file.model_file import ModelFile
from finn_vitprune.ingest.recognise.network import RecognisedViT
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.pruning.config import PruneConfig


@dataclass(frozen=True)
class ImportPlan:
    """Everything that is checked before the work starts."""

    file: ModelFile
    vit: RecognisedViT
    config: ViTConfig
    prune: PruneConfig
    data: ImportData
    mean: tuple[float, ...]
    std: tuple[float, ...]
    normalisation: str
    notes: tuple[str, ...]


def make_plan(options: ImportOptions) -> ImportPlan:
    """Read file and data, and check that everything fits together.

    Raises:
        UserError: see :func:`import_model`.
    """
    options.check_output()
    file, vit = recognised(options.model)
    progress.line(f"found: {structure_text(structure_of(vit))}")
    config = options.config_of(vit)
    prune = options.prune_of(config)
    progress.status(f"reading {options.data}")
    data = load_data(options.data, vit, options.fine_tune.train_images)
    mean, std, source = options.normalisation(vit, tuple(data.data.mean), tuple(data.data.std))
    numbers = ", ".join(f"{m:.4g} / {s:.4g}" for m, s in zip(mean, std))
    notes = (*hardware.notes(vit), *([data.note] if data.note else []))
    for note in notes:
        progress.line(f"note: {note}")
    return ImportPlan(file, vit, config, prune, data, mean, std, f"{numbers} (mean / std, {source})", notes)
