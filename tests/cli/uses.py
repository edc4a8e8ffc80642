"""Uses of the program, right and wrong, and what it answers: one line of the table is one command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from PIL import Image

from tests.ingest_models import export, small_timm

SUMMARY = Path(__file__).parents[2] / "builds" / "results" / "deit" / "deit_small_w8a8_summary.json"


class When(Enum):
    """How far a command comes before it is refused: nothing heavy is imported yet, files are read, or a network is planned."""

    EARLY = "early"
    READ = "read"
    PLANNED = "planned"


@dataclass(frozen=True)
class Use:
    """A command line, what the line on standard error holds (nothing: it is accepted), the exit code, how far it comes."""

    line: str
    text: str = ""
    when: When = When.EARLY
    code: int = 2

    @property
    def accepted(self) -> bool:
        return not self.text


def read(line: str, text: str, code: int = 2) -> Use:
    """Refused after files or data were read."""
    return Use(line, text, When.READ, code)


def planned(line: str, text: str, code: int = 2) -> Use:
    """Refused after FINN was loaded, and a network lowered."""
    return Use(line, text, When.PLANNED, code)


def accepted(line: str) -> Use:
    """Done, exit code 0."""
    return Use(line, "", When.PLANNED, 0)


def make_files(folder: Path) -> None:
    """All files that the table names."""
    rng = np.random.default_rng(0)
    shutil.copy(files("finn_vitprune.builds") / "example" / "deit_digits.onnx", folder / "M.onnx")
    images, labels = rng.integers(0, 256, (20, 8, 8, 1), dtype=np.uint8), np.arange(20) % 10
    arrays = {
        "noise": {"images": images, "labels": labels}, "float": {"images": images / 255.0}, "wrongsize": {"images": np.zeros((20, 9, 9, 1), np.uint8)},
        "nchw": {"images": images.transpose(0, 3, 1, 2)}, "shortlabels": {"images": images, "labels": labels[:5]},
        "biglabels": {"images": images, "labels": labels + 90}, "neglabels": {"images": images, "labels": labels - 5},
        "empty": {"images": images[:0]}, "nokey": {"pictures": images}, "rgb": {"images": images.repeat(3, -1)},
        "zeros": {"images": np.zeros((40, 64, 64, 3), np.uint8), "labels": np.zeros(40, np.int64)},
    }  # fmt: skip
    for name, content in arrays.items():
        np.savez(folder / f"{name}.npz", **content)
    np.save(folder / "ok.npy", images)
    np.save(folder / "float.npy", images / 255.0)
    (folder / "text.onnx").write_text("not a model\n" * 20)
    (folder / "afile").touch()
    export(small_timm(), folder / "vit_tiny.onnx")
    _convolution(folder / "conv.onnx")
    for name in ("imgs", "imgs_bad", "imgs_mixed", "emptydir"):
        (folder / name).mkdir()
    for i in range(24):
        picture = Image.fromarray(rng.integers(0, 256, (70, 80, 3), dtype=np.uint8))
        picture.save(folder / "imgs" / f"{i}.jpg")
        picture.save(folder / "imgs_mixed" / f"{i}.jpg")
    shutil.copy(folder / "imgs" / "0.jpg", folder / "pic.jpg")
    for name in ("imgs_bad", "imgs_mixed"):
        (folder / name / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a photograph")
    (folder / "list.json").write_text("[1, 2]")
    (folder / "bad.json").write_text('{"BlockSparseMVAU_rtl_0": {"SIMD": 7, "PE": "x"}}')
    (folder / "parts.json").write_text(json.dumps({"xcbar": {"LUT": 1, "FF": 1, "DSP": 1, "BRAM36": 1, "URAM": 0}}))
    (folder / "bad.yaml").write_text("steps: [")
    (folder / "unk.yaml").write_text("steps: [step_nosuch]\nfpga_part: xcu250-figd2104-2L-e\n")
    (folder / "ro").symlink_to("/proc")


def _convolution(path: Path) -> None:
    """A convolutional network of one layer."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [4, 3, 3, 3], torch.zeros(108).tolist())
    infos = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 6, 6]),
    ]
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "g", infos[:1], infos[1:], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


def left(folder: Path) -> Iterator[str]:
    """What is in a folder, without locks."""
    yield from sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.name.startswith("."))
