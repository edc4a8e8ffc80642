"""FINN plugin: streaming FPGA accelerators of block-pruned, token-dropping vision transformers.

What scripts and notebooks use stands in ``__all__`` (docs/api.md); it is imported when it is first asked for, so that the import of the
package itself takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finn_vitprune.api.accelerator import Accelerator, AcceleratorStatus
    from finn_vitprune.api.design import Design
    from finn_vitprune.api.explore import explore
    from finn_vitprune.api.network import Network, load
    from finn_vitprune.errors import UserError
    from finn_vitprune.exploration.ledger import Explored
    from finn_vitprune.export.metadata import ModelMetadata
    from finn_vitprune.importing.workflow import Imported
    from finn_vitprune.ingest.check.checked import Checked
    from finn_vitprune.link.data_mover import BlockDesign
    from finn_vitprune.options.keywords import BuildKeywords, CheckKeywords, CompressKeywords, EvaluateKeywords, ExploreKeywords
    from finn_vitprune.report.accuracy import Evaluation
    from finn_vitprune.report.build_pictures import build_picture
    from finn_vitprune.report.builds import build_tables
    from finn_vitprune.report.summary import Summary
    from finn_vitprune.report.tables import TextTable
    from finn_vitprune.report.verdict import Verdict
    from finn_vitprune.training.config import TrainConfig, load_config
    from finn_vitprune.training.pictures import kept_patches, picture
    from finn_vitprune.training.train import train
    from finn_vitprune.transforms.lowering.lower import lower
    from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
    from finn_vitprune.transforms.streams.insert_streams import InsertStreams

__version__ = "0.3.0"

_PLACES = {
    "api.accelerator": ("Accelerator", "AcceleratorStatus"),
    "api.design": ("Design",),
    "api.explore": ("explore",),
    "api.network": ("Network", "load"),
    "errors": ("UserError",),
    "exploration.ledger": ("Explored",),
    "export.metadata": ("ModelMetadata",),
    "importing.workflow": ("Imported",),
    "ingest.check.checked": ("Checked",),
    "link.data_mover": ("BlockDesign",),
    "options.keywords": ("BuildKeywords", "CheckKeywords", "CompressKeywords", "EvaluateKeywords", "ExploreKeywords"),
    "report.accuracy": ("Evaluation",),
    "report.build_pictures": ("build_picture",),
    "report.builds": ("build_tables",),
    "report.summary": ("Summary",),
    "report.tables": ("TextTable",),
    "report.verdict": ("Verdict",),
    "training.config": ("TrainConfig", "load_config"),
    "training.pictures": ("kept_patches", "picture"),
    "training.train": ("train",),
    "transforms.lowering.lower": ("lower",),
    "transforms.lowering.tidy_lowered": ("TidyLowered",),
    "transforms.streams.insert_streams": ("InsertStreams",),
}
_HOMES = {name: module for module, names in _PLACES.items() for name in names}
__all__ = [
    "Accelerator", "AcceleratorStatus", "BlockDesign", "BuildKeywords", "CheckKeywords", "Checked", "CompressKeywords", "Design",
    "EvaluateKeywords", "Evaluation", "ExploreKeywords", "Explored", "Imported", "InsertStreams", "ModelMetadata", "Network", "Summary",
    "TextTable", "TidyLowered", "TrainConfig", "UserError", "Verdict", "build_picture", "build_tables", "explore", "kept_patches",
    "load", "load_config", "lower", "picture", "train",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
