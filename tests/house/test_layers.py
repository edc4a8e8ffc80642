"""The import graph: no circles, none hidden in functions, and layers that point one way (docs/architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {"finn_vitprune": "finn_vitprune", **{f: f"finn_vitprune.{f}" for f in ("custom_ops", "transforms", "builds")}}
EXPERIMENTS = ROOT / "builds" / "experiments"
"""Scripts beside the package, which is installed without them."""

LAYERS = (
    {"errors"},
    {"numerics", "files", "block_mask", "progress", "processes", "load_port", "link"},
    {"arrays", "recorded"},
    {"jobs", "graph", "cache", "labels"},
    {"models", "calibration", "pruning", "sim", "synth"},
    {"options"},
    {"finn_setup", "custom_ops", "plugin"},
    {"transforms", "execute", "complexity", "report", "boards"},
    {"export", "built"},
    {"ingest", "training"},
    {"evaluation"},
    {"importing", "bench", "builds"},
    {"exploration"},
    {"api"},
    {"cli"},
    {"__main__"},
)
"""Rooms from the bottom up. A room may import those below it, and what :data:`BESIDE` allows in its own layer."""

BESIDE = {
    ("custom_ops", "finn_setup"), ("plugin", "custom_ops"), ("pruning", "models"), ("builds", "importing"),
    ("calibration", "models"), ("pruning", "calibration"), ("link", "load_port"),
}  # fmt: skip

HEAVY = (
    "torch",
    "finn",
    "qonnx",
    "brevitas",
    "timm",
    "onnx",
    "onnxruntime",
    "matplotlib",
    "sklearn",
    "numpy",
    "rich",
    "accelerate",
    "pynq",
    "pyosys",
    "pyxrt",
    "serial",
    "distributed",
    "yaml",
)
"""What a function may import, so that ``finn-vitprune --help`` stays fast."""


@dataclass(frozen=True)
class Import:
    """``module`` imports ``target`` at ``line``, perhaps inside a function."""

    module: str
    target: str
    line: int
    hidden: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def _modules() -> dict[str, Path]:
    found = {}
    for folder, package in SOURCES.items():
        for path in (ROOT / folder).rglob("*.py"):
            name = ".".join([package, *path.relative_to(ROOT / folder).with_suffix("").parts])
            if EXPERIMENTS not in path.parents:
                found[name.removesuffix(".__init__")] = path
    return found


MODULES = _modules()


def _imports(module: str, tree: ast.Module) -> Iterator[Import]:
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}:{node.lineno}: write the import in full"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            targets = [name if name in MODULES else node.module for name in inner]
        else:
            continue
        for target in dict.fromkeys(targets):
            yield Import(module, target, node.lineno, id(node) in inside)


@cache
def imports() -> list[Import]:
    """Of all modules."""
    return [i for name, path in MODULES.items() for i in _imports(name, ast.parse(path.read_text()))]


def own() -> list[Import]:
    """Of the package's own modules."""
    return [i for i in imports() if i.target.split(".")[0] == "finn_vitprune"]


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def _circle(edges: dict[str, set[str]]) -> list[str]:
    """Modules of one circle, in order, or an empty list."""
    state: dict[str, int] = {}

    def visit(name: str, path: list[str]) -> list[str]:
        state[name] = 1
        for target in sorted(edges.get(name, ())):
            if state.get(target) == 1:
                return [*path[path.index(target) :], target]
            if target not in state and (found := visit(target, [*path, target])):
                return found
        state[name] = 2
        return []

    return next((found for name in sorted(edges) if name not in state and (found := visit(name, [name]))), [])


def test_no_circles():
    edges: dict[str, set[str]] = {}
    for i in own():
        if i.module != "finn_vitprune":  # which imports on demand, and for type checkers alone
            edges.setdefault(i.module, set()).add(i.target)
    assert not (circle := _circle(edges)), " -> ".join(circle)


def test_a_circle_would_be_found():
    assert _circle({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}) == ["b", "d", "b"]
    assert _circle({"a": {"b", "c"}, "b": {"c"}}) == []


SLOW = {
    ("finn_vitprune.ingest.check.check", "finn_vitprune.ingest.check.check_qonnx"),
    ("finn_vitprune.options.importing", "finn_vitprune.pruning.layers"),
}
"""Modules of ours that load FINN or numpy and that a function imports: ``check`` of a float file needs no FINN, help no numpy."""


def test_no_import_hides_in_a_function():
    """The commands import what they run when they run it; elsewhere only heavy packages may wait."""
    hidden = [
        i
        for i in imports()
        if i.hidden and _room(i.module) != "cli" and i.target.split(".")[0] not in HEAVY and (i.module, i.target) not in SLOW
    ]
    assert not hidden, "\n".join(map(str, hidden))


def test_layers_point_down():
    rank = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
    unknown = {_room(m) for m in MODULES} - set(rank) - {""}
    assert not unknown, f"rooms without a layer: {unknown}"
    wrong = [
        i for i in own() if (a := _room(i.module)) != (b := _room(i.target)) and a and b and rank[a] <= rank[b] and (a, b) not in BESIDE
    ]
    assert not wrong, "\n".join(map(str, wrong))


def test_no_exception_to_the_layers_is_left_over():
    assert not BESIDE - {(_room(i.module), _room(i.target)) for i in own()}


def test_the_package_does_without_the_experiments():
    """They import the package and each other, by the name that ``python -m`` gives them; nothing of the package imports them."""
    with pytest.raises(ImportError, match="is no part of the package"):
        import_module("finn_vitprune.builds.experiments")
    assert not [str(i) for i in imports() if "experiments" in i.target.split(".")]
    names = {f"builds.experiments.{path.stem}" for path in EXPERIMENTS.glob("*.py")}
    own = [i for path in EXPERIMENTS.glob("*.py") for i in _imports(path.stem, ast.parse(path.read_text())) if "experiments" in i.target]
    assert own and {".".join(i.target.split(".")[:3]) for i in own} <= {*names, "builds.experiments"}


def test_class_names_are_unique():
    places: dict[str, list[str]] = {}
    for name, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name)
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert not twice, "\n".join(f"{name}: {', '.join(where)}" for name, where in twice.items())


def test_names_of_test_modules_are_unique():
    """pytest imports test modules by their file names, and stops at the second of one name."""
    places: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        places.setdefault(path.name, []).append(str(path.relative_to(ROOT)))
    twice = [" and ".join(paths) for paths in places.values() if len(paths) > 1]
    assert not twice, "\n".join(twice)


@pytest.mark.parametrize("writer", ["os.replace", "mkstemp", "NamedTemporaryFile", ".partial"])
def test_one_writer_of_whole_files(writer):
    users = [name for name, path in MODULES.items() if writer in path.read_text()]
    assert set(users) <= {"finn_vitprune.files"}, users
