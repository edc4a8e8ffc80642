"""Vision transformers of Hugging Face and torchvision through the recogniser, from their configurations with random weights.

This project does not depend on the package ``transformers``: install the version of :data:`VERSIONS` first.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import typer
from torch import Tensor, nn

from builds.experiments.study import Only, Output, Study, start
from builds.experiments.zoo import CLASSES, COLUMNS, SHALLOW, Case, ZooResult, cells, examined, randomise, said, summary
from finn_vitprune.errors import UserError
from finn_vitprune.report.tables import TextTable

IMAGE = 224
VERSIONS = {"transformers": "5.24.0", "torchvision": "0.27.1"}
"""Of the libraries: others have other models and configurations."""
EXPORTS = (("torchscript", 17), ("dynamo", 20))
ANSWERS = ("logits", "image_embeds", "pooler_output")
"""What a model of Hugging Face gives, the first of these that it has."""


@dataclass(frozen=True)
class Tower:
    """A model of a library: its class, its configuration's class, and what differs from that one's values."""

    library: str
    model: str
    config: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    classifier: bool = False
    """Whether it gets a linear classifier of its pooled token: the library has none for it."""


def _face(model: str, config: str, classifier: bool = False, **options: Any) -> Tower:
    return Tower("transformers", model, config, options, classifier)


TOWERS = {
    "ViT": _face("ViTForImageClassification", "ViTConfig"),
    "ViT-MSN": _face("ViTMSNForImageClassification", "ViTMSNConfig"),
    "DeiT": _face("DeiTForImageClassification", "DeiTConfig"),
    "DeiT, distilled": _face("DeiTForImageClassificationWithTeacher", "DeiTConfig"),
    "DINOv2": _face("Dinov2Model", "Dinov2Config", True, patch_size=14),
    "DINOv2, SwiGLU": _face("Dinov2Model", "Dinov2Config", True, patch_size=14, use_swiglu_ffn=True),
    "DINOv2, its classifier": _face("Dinov2ForImageClassification", "Dinov2Config", patch_size=14),
    "DINOv2 with registers": _face("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", True, patch_size=14),
    "DINOv3": _face("DINOv3ViTModel", "DINOv3ViTConfig", True, num_register_tokens=4),
    "DINOv3, gated": _face("DINOv3ViTModel", "DINOv3ViTConfig", True, num_register_tokens=4, use_gated_mlp=True, hidden_act="silu"),
    "CLIP, image embedding": _face("CLIPVisionModelWithProjection", "CLIPVisionConfig"),
    "CLIP": _face("CLIPVisionModel", "CLIPVisionConfig", True),
    "SigLIP": _face("SiglipVisionModel", "SiglipVisionConfig", True),
    "BEiT": _face("BeitForImageClassification", "BeitConfig", use_relative_position_bias=True),
    "BEiT, absolute positions": _face("BeitForImageClassification", "BeitConfig", use_absolute_position_embeddings=True),
    "Data2Vec": _face("Data2VecVisionForImageClassification", "Data2VecVisionConfig", use_relative_position_bias=True),
    "ViT-B/16": Tower("torchvision", "VisionTransformer", "", {"patch_size": 16, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072}),
    "ViT-L/32": Tower("torchvision", "VisionTransformer", "", {"patch_size": 32, "num_heads": 16, "hidden_dim": 1024, "mlp_dim": 4096}),
    "ViT-H/14": Tower("torchvision", "VisionTransformer", "", {"patch_size": 14, "num_heads": 16, "hidden_dim": 1280, "mlp_dim": 5120}),
}  # fmt: skip
"""Their configurations as the libraries have them, at :data:`SHALLOW` encoders and images of :data:`IMAGE` pixels."""


class _Answer(nn.Module):
    """A model of Hugging Face with an image in and one tensor out."""

    def __init__(self, model: nn.Module, classifier: bool) -> None:
        super().__init__()
        self.model = model
        self.classifier = nn.Linear(model.config.hidden_size, CLASSES) if classifier else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        found = self.model(pixel_values=x)
        return self.classifier(next(value for name in ANSWERS if (value := getattr(found, name, None)) is not None))


def make(name: str) -> nn.Module:
    """A model with random weights.

    Raises:
        UserError: its library is not installed, or in another version.
    """
    tower = TOWERS[name]
    wanted = f"{tower.library}=={VERSIONS[tower.library]}"
    try:
        library = importlib.import_module(tower.library)
    except ImportError as error:
        raise UserError(f"{name} needs {tower.library}: pip install {wanted}") from error
    if (found := library.__version__.partition("+")[0]) != VERSIONS[tower.library]:
        raise UserError(f"{name}: {tower.library} {found} is installed, the page is of another version: pip install {wanted}")
    if tower.library == "torchvision":
        options = {"image_size": IMAGE, "num_layers": SHALLOW, "num_classes": CLASSES, **tower.options}
        return randomise(library.models.vision_transformer.VisionTransformer(**options)).eval()
    config = getattr(library, tower.config)(image_size=IMAGE, num_hidden_layers=SHALLOW, num_labels=CLASSES, **tower.options)
    config._attn_implementation = "eager"
    return randomise(_Answer(getattr(library, tower.model)(config), tower.classifier)).eval()


def cases() -> dict[str, Case]:
    """Every model by every exporter, by name."""
    return {f"{TOWERS[name].library}: {name}, {e}": Case(name, e, opset, SHALLOW, IMAGE) for name in TOWERS for e, opset in EXPORTS}


def run(case: Case) -> ZooResult:
    """Export, check, compare.

    Raises:
        UserError: as :func:`make`.
    """
    model = make(case.model)
    return replace(examined(case, lambda: (model, (3, IMAGE, IMAGE))), depth=SHALLOW)


TITLE = "Vision transformers of Hugging Face and torchvision through `check` and `import`"
TEXT = f"""Random weights, the configurations of transformers {VERSIONS["transformers"]} and torchvision {VERSIONS["torchvision"]} as they are but {SHALLOW} encoders and images of {IMAGE}
pixels. Columns: as for [timm's](../import/RESULTS.md). Models without a classifier in their library get a linear one of their pooled token.

```
pip install transformers=={VERSIONS["transformers"]}
python -m builds.experiments.libraries -o builds/results/import_libraries
```"""


def tables(results: Mapping[str, ZooResult]) -> list[TextTable]:
    """A table a library."""
    found = []
    for library, title in (("transformers", "Hugging Face"), ("torchvision", "torchvision")):
        rows = [row for row in results.values() if TOWERS[row.model].library == library]
        found.append(TextTable(title, COLUMNS, tuple(map(cells, rows)), summary(rows)))
    return found


def study() -> Study[Case, ZooResult]:
    """All models of the list."""
    return Study(cases(), ZooResult, run, tables, TITLE, TEXT, said)


def main(output: Output, only: Only = None) -> None:
    """Run what is missing, and write the results after every model."""
    warnings.simplefilter("ignore")
    study().go(output, only)


if __name__ == "__main__":
    start(lambda: typer.run(main))
