"""Builds that several tests look at, made once per test process."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from finn_vitprune.jobs import collect_rarely
from finn_vitprune.sim.compile import OPTIMISE

PART = "xcu250-figd2104-2L-e"
STARTED = pytest.StashKey[float]()
"""Of a test: the processor's seconds when it began."""
NETWORKS = "FINN_VITPRUNE_TEST_NETWORKS"
"""Names the folder in which the processes of a run share their random networks."""
os.environ[OPTIMISE] = "0"  # most simulators of the tests make a few short runs


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="Run the tests, too, of which others of the same kind run always.")


def pytest_configure(config: pytest.Config) -> None:
    """Give all processes of the run a folder of networks (tests/vit_models.py): the workers of xdist inherit the variable."""
    collect_rarely()
    if not hasattr(config, "workerinput"):
        folder = tempfile.TemporaryDirectory(prefix="networks_")
        config.add_cleanup(folder.cleanup)
        os.environ[NETWORKS] = folder.name


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked ``whole``, unless ``--whole`` asks for it. Long tests come first, so that workers end together.

    Tests of a module that share a fixture run in one process: it is made once.
    """
    if not config.getoption("--whole"):
        left = [item for item in items if "whole" in item.keywords]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if "whole" not in item.keywords]
    for item in items:
        if _shares_a_fixture(item) and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    items.sort(key=lambda item: "slow" not in item.keywords)


def pytest_collection_finish() -> None:
    """Let no search for cycles visit the modules of torch and FINN, which stay."""
    gc.collect()
    gc.freeze()


def _processor_s() -> float:
    """Seconds of processor of this process and of the ended ones that it started."""
    return sum(os.times()[:4])


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    item.stash[STARTED] = _processor_s()
    yield


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Leave the processor's seconds of a test, fixtures included, in the JUnit file (tests/minutes.py)."""
    yield
    item.user_properties.append(("processor_s", f"{_processor_s() - item.stash[STARTED]:.2f}"))


def _shares_a_fixture(item: pytest.Item) -> bool:
    """Whether a test uses a fixture that its module makes once."""
    module, definitions = item.nodeid.partition("::")[0], item._fixtureinfo.name2fixturedefs.values()
    return any(found[-1].scope == "module" and found[-1].baseid == module for found in definitions)


@dataclass(frozen=True)
class Built:
    """A finished build: its folder, the model file it came from, the uint8 images it was verified with."""

    folder: Path
    model: Path
    images: np.ndarray


@pytest.fixture(scope="session")
def small_build(tmp_path_factory) -> Built:
    """A random network of two encoders (17 tokens, one drop) through the whole flow, Yosys left out."""
    from finn_vitprune.builds.build import BuildOptions, build
    from tests.vit_models import random_vit

    folder = tmp_path_factory.mktemp("small")
    model, images = random_vit(image=8, depth=2, drop_at=(1,), token_keep="0.5")
    path = folder / "model.onnx"
    model.save(str(path))
    images = np.random.default_rng(5).integers(0, 256, (64, 8, 8, 1), dtype=np.uint8)
    np.savez(folder / "model.npz", images=images)
    build(BuildOptions(model=path, output_dir=folder / "build", fpga_part=PART, target_fps=200_000, synth="none"))
    return Built(folder / "build", path, images)


@pytest.fixture
def small_deit(monkeypatch):
    """timm's models are two encoders of 17 tokens and two heads of 16, of which the first one drops tokens."""
    from timm.models.vision_transformer import VisionTransformer

    from builds.experiments import deit_models

    def create(name, pretrained):
        return VisionTransformer(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=10)

    monkeypatch.setattr(deit_models.timm, "create_model", create)
    monkeypatch.setattr(deit_models, "DROP_AT", (1,))


@pytest.fixture(scope="module")
def example():
    """The hardware graph of the digits example, not folded: four encoders, drops in two, the last one for the class token alone."""
    from qonnx.core.modelwrapper import ModelWrapper

    from finn_vitprune.transforms.lowering.lower import lower
    from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
    from finn_vitprune.transforms.streams.hardware_only import HardwareOnly

    model = Path(__file__).parents[1] / "builds" / "example" / "deit_digits.onnx"
    return lower(ModelWrapper(str(model))).model.transform(TidyLowered()).transform(HardwareOnly())
