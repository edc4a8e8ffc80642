"""What an installation is: declared dependencies, extras, versions, and a wheel that works by itself."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import finn_vitprune
from finn_vitprune.cli import run
from finn_vitprune.errors import UserError
from finn_vitprune.training.parallel import LAUNCHED, Processes

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGE = ROOT / "finn_vitprune"
LINKS = sorted(path for path in PACKAGE.iterdir() if path.is_symlink())
FOLDERS = {"finn_vitprune": "finn_vitprune"} | {f"finn_vitprune.{link.name}": link.name for link in LINKS}
"""The folder of the checkout that a package with its packages is in."""
LEFT_OUT = {ROOT / "builds" / "results", ROOT / "builds" / "experiments"}
"""Folders of packages that an installation does without."""
TESTS = ROOT / "tests"
NOT_USED = {"click", "cmake", "onnxoptimizer", "pybind11", "termcolor"}
"""What finn-plus asks for and the small environment does without."""


def declared(*extras: str) -> set[str]:
    """The distributions that an installation with these extras asks for by name."""
    lines = [*PROJECT["project"]["dependencies"]]
    for extra in extras:
        lines += PROJECT["project"]["optional-dependencies"][extra]
    needed = [Requirement(line) for line in lines]
    own = {extra for r in needed if r.name == PROJECT["project"]["name"] for extra in r.extras} - set(extras)
    return declared(*extras, *own) if own else {canonicalize_name(r.name) for r in needed}


def imported(path: Path, whole: bool = True) -> set[str]:
    """The packages that a module imports, or, unless ``whole``, that it imports when it is imported."""
    tree = ast.parse(path.read_text())
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)}
    names = set()
    for node in ast.walk(tree):
        if whole or id(node) not in inside:
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"finn_vitprune"}


def undeclared(paths: list[Path], known: set[str], whole: bool) -> list[str]:
    """``module imports package`` for packages of distributions that are not among the known ones."""
    homes = packages_distributions()
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in sorted(imported(path, whole))
        if not known & {canonicalize_name(home) for home in homes.get(name, [name])}
    ]


def files(folder: str) -> list[Path]:
    """What a wheel has of a folder."""
    found = sorted(path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return [path for path in found if not LEFT_OUT & set(path.parents)]


def sources() -> list[Path]:
    return [path for folder in FOLDERS.values() for path in files(folder) if path.suffix == ".py"]


def test_every_import_is_a_declared_dependency():
    """Type checkers alone see what stands under TYPE_CHECKING; an import in a function may be of an extra."""
    extras = {"distributed"}  # for type checkers, in jobs.py
    machines = {"pynq", "pyxrt"}  # come with the image of a board, and with XRT
    assert not undeclared(sources(), declared() | extras, whole=False)
    assert not undeclared(sources(), declared("board", "cluster", "train") | machines, whole=True)


def test_every_import_of_the_tests_is_in_the_extra_dev():
    own = {canonicalize_name(path.stem) for path in TESTS.glob("*.py")} | {"tests", "builds"}
    experiments = [path for folder in LEFT_OUT for path in folder.rglob("*.py")]
    found = undeclared(sorted([*TESTS.rglob("*.py"), *experiments]), declared("dev") | own, whole=True)
    assert experiments and not found


def test_what_finn_pins_has_no_second_pin():
    """Another bound of ours would one day be at odds with FINN's."""
    pinned = {canonicalize_name(r.name) for r in map(Requirement, requires("finn-plus")) if "==" in str(r.specifier)}
    both = [line for line in PROJECT["project"]["dependencies"] if canonicalize_name(Requirement(line).name) in pinned]
    assert both and all(not Requirement(line).specifier for line in both)


def test_the_small_environment_lacks_what_the_product_does_not_use_alone():
    small = {canonicalize_name(r.name): str(r.specifier) for r in map(Requirement, PROJECT["dependency-groups"]["small"])}
    finn = {canonicalize_name(r.name): str(r.specifier) for r in map(Requirement, requires("finn-plus")) if not r.marker}
    alone = {"finn-plus", "mip"}  # installed without their dependencies
    assert declared() | set(finn) | {"cffi"} == set(small) | alone | NOT_USED
    assert all(small[name] == pin for name, pin in finn.items() if "==" in pin and name in small)


def test_the_version_is_the_same_everywhere():
    version = PROJECT["project"]["version"]
    assert finn_vitprune.__version__ == version
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert re.search(rf"^## {re.escape(version)}$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_training_without_tensorboard_says_what_to_install_and_writes_nothing(tmp_path, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert run(["train", "--data", "digits", "-o", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "TensorBoard" in line and "pip install 'finn-vitprune[train]'" in line
    assert not (tmp_path / "run").exists()


def test_several_processes_without_accelerate_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert Processes().count == 1, "one process does without"
    monkeypatch.setenv(LAUNCHED, "0")
    with pytest.raises(UserError, match=r"accelerate: pip install 'finn-vitprune\[train\]'"):
        Processes()


def test_all_but_training_does_without_the_extras():
    code = (
        "import sys\nfor name in ('accelerate', 'tensorboard', 'distributed'): sys.modules[name] = None\n"
        "import finn_vitprune\nfor name in finn_vitprune.__all__: getattr(finn_vitprune, name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


# --- a wheel ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel of the sources, built outside of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    for source in FOLDERS.values():
        for path in (ROOT / source).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                place = folder / path.relative_to(ROOT)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(path.read_bytes())
    for link in LINKS:
        (folder / link.relative_to(ROOT)).symlink_to(link.readlink())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder / "made"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("pip gets no setuptools to build a wheel with")
    assert done.returncode == 0 and "arning" not in done.stderr, done.stderr[-2000:]
    (made,) = (folder / "made").glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder of programs of a fresh environment with the wheel in it; other packages are those of the tests' own environment."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (home,) = folder.glob("lib/python*/site-packages")
    (home / "shared.pth").write_text("".join(f"{path}\n" for path in sys.path if path.endswith("site-packages")))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    return folder / "bin"


def test_the_links_lead_to_the_folders_of_the_top_level():
    assert {link.name: str(link.readlink()) for link in LINKS} == {name: f"../{name}" for name in ("builds", "custom_ops", "transforms")}


def test_a_wheel_holds_every_file_of_its_packages_once_and_no_experiment(wheel):
    held = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    found = {
        f"{package.replace('.', '/')}/{path.relative_to(ROOT / folder)}" for package, folder in FOLDERS.items() for path in files(folder)
    }
    assert sorted(held) == sorted(found)
    assert not [name for name in held if "/experiments/" in name or "/results/" in name]


@pytest.mark.whole
@pytest.mark.slow
def test_a_wheel_estimates_explores_and_reports_outside_of_the_checkout(installed, tmp_path):
    own = {"PATH": f"{installed}:{os.environ['PATH']}", "FINN_VITPRUNE_CACHE": str(tmp_path / "cache")}
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | own

    def said(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    place = said("python", "-c", "import finn_vitprune.builds; print(finn_vitprune.builds.__path__[0])").strip()
    assert Path(place).is_relative_to(installed.parent), "the wheel's, not the checkout's"
    assert said("finn-vitprune", "--version").split()[-1] == finn_vitprune.__version__

    estimated = said("finn-vitprune", "build", "--estimate-only", "-o", "estimated")
    assert "2.31" in estimated, "pruning's share of the operations"
    model = str(Path(place) / "example" / "deit_digits.onnx")
    explored = said("finn-vitprune", "explore", model, "--fpga-part", "ZCU104", "--engines", "pipeline", "-o", "explored")
    assert "ZCU104" in explored and (tmp_path / "explored" / "explore.html").is_file()
    again = said("finn-vitprune", "report", "estimated", "--html", "page.html")
    assert "2.31" in again + (tmp_path / "page.html").read_text()
