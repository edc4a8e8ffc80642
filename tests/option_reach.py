"""Counts the functions that options reach: ``python -m tests.option_reach [REPOSITORY]`` prints them.

An analysis of the source alone. From the function that takes the options it follows every call that it can resolve. A function
counts where a parameter of it may hold the options, a copy of them, a section of them or one of their fields, or where it reads an
attribute of an object that holds the options or a section. What is computed from a field (a joined path, a text, what a file holds)
is no field any more, and neither is a field that became an attribute of an object of another kind.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("finn_vitprune", "builds", "transforms", "custom_ops")
COPIES = {"model_copy", "model_dump", "changed", "copy", "items", "values", "get"}
"""Methods whose result is what they are called on, or a field of it."""
SAME = {"getattr", "dict", "tuple", "list", "set", "sorted", "vars", "asdict", "deepcopy", "cast", "enumerate", "reversed", "zip", "filter"}
"""Functions of others whose result holds what they are given."""


@dataclass(frozen=True)
class Trip:
    """Where options start, and the calls that are not followed: there others have them."""

    function: str
    parameter: str
    until: frozenset[str] = frozenset()


TRIPS = {
    "build": Trip("finn_vitprune.builds.build.build", "options", frozenset({"run_builder"})),
    "import": Trip("finn_vitprune.importing.workflow.import_model", "options"),
    "train": Trip("finn_vitprune.training.train.train", "config"),
}


@dataclass
class Function:
    """A function of the code, and what is known of it: which parameters hold options, whether its result does."""

    name: str
    node: ast.FunctionDef
    module: Module
    owner: str | None
    held: set[str] = field(default_factory=set)
    reads: bool = False
    gives: bool = False

    @cached_property
    def parameters(self) -> list[str]:
        a = self.node.args
        return [p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg)))]

    @cached_property
    def decorators(self) -> set[str]:
        return {ast.unparse(d).split(".")[-1].split("(")[0] for d in self.node.decorator_list}

    @property
    def of_class(self) -> bool:
        return bool(self.decorators & {"classmethod", "staticmethod"})

    @property
    def is_property(self) -> bool:
        return bool(self.decorators & {"property", "cached_property"})

    @property
    def reached(self) -> bool:
        return self.reads or bool(self.held)


@dataclass
class Module:
    """A module: what its names stand for."""

    name: str
    names: dict[str, str] = field(default_factory=dict)


@cache
def _trees(root: Path) -> dict[str, ast.Module]:
    """The modules of a repository by dotted name; links to folders are not followed."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts if folder == "finn_vitprune" else ("finn_vitprune", *parts)).removesuffix(".__init__")
            found[name] = ast.parse(path.read_text())
    return found


class Code:
    """Functions and classes of a repository by dotted name."""

    def __init__(self, root: Path) -> None:
        self.functions: dict[str, Function] = {}
        self.classes: dict[str, tuple[ast.ClassDef, Module]] = {}
        for name, tree in _trees(root).items():
            self._read(Module(name), tree)

    def _read(self, module: Module, tree: ast.Module) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                module.names |= {(a.asname or a.name): f"{node.module}.{a.name}" for a in node.names}
            elif isinstance(node, ast.Import):
                module.names |= {a.asname: a.name for a in node.names if a.asname}
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                module.names[node.name] = f"{module.name}.{node.name}"
            if isinstance(node, ast.FunctionDef):
                self._add(node, module, None)
            elif isinstance(node, ast.ClassDef):
                name = f"{module.name}.{node.name}"
                self.classes[name] = node, module
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef):
                        self._add(inner, module, name)

    def _add(self, node: ast.FunctionDef, module: Module, owner: str | None) -> None:
        name = f"{owner or module.name}.{node.name}"
        self.functions[name] = Function(name, node, module, owner)

    def bases(self, name: str) -> Iterator[str]:
        """The class and those it is made of."""
        yield name
        node, module = self.classes[name]
        for base in node.bases:
            text = base.value if isinstance(base, ast.Subscript) else base
            found = module.names.get(text.id) if isinstance(text, ast.Name) else None
            if found in self.classes:
                yield from self.bases(found)

    def method(self, owner: str, name: str) -> Function | None:
        """A method of a class or of its bases."""
        return next((f for base in self.bases(owner) if (f := self.functions.get(f"{base}.{name}"))), None)

    def fields(self, owner: str) -> dict[str, ast.expr]:
        """Annotated names of a class and of its bases, in order: what its constructor takes where it has none of its own."""
        found: dict[str, ast.expr] = {}
        for base in reversed(list(self.bases(owner))):
            node, _ = self.classes[base]
            found |= {n.target.id: n.annotation for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
        return found

    def sections(self, options: str) -> Iterator[str]:
        """The class of options, those that it is made of, and those of its fields that have fields themselves."""
        for base in self.bases(options):
            yield base
            for annotation in self.fields(base).values():
                found = self.class_of(annotation, self.classes[base][1])
                if found is not None and self.fields(found) and not found.startswith("finn_vitprune.synth"):
                    yield from self.sections(found)

    def class_of(self, annotation: ast.expr | None, module: Module, owner: str | None = None) -> str | None:
        """The class of the code that an annotation names, as ``X``, ``"X"``, ``X | None`` or ``Annotated[X, ...]``."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval").body
        if isinstance(annotation, ast.BinOp):
            return self.class_of(annotation.left, module, owner) or self.class_of(annotation.right, module, owner)
        if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) in ("Annotated", "Optional", "Iterator"):
            inner = annotation.slice
            return self.class_of(inner.elts[0] if isinstance(inner, ast.Tuple) else inner, module, owner)
        if isinstance(annotation, ast.Name):
            found = owner if annotation.id == "Self" else module.names.get(annotation.id)
            return found if found in self.classes else None
        return None


class Reach:
    """Which functions the options of a trip reach."""

    def __init__(self, code: Code, trip: Trip) -> None:
        self.code, self.trip = code, trip
        self.attributes: set[tuple[str, str]] = set()
        self.types: dict[tuple[str, str], str] = {}
        self.visited: dict[str, Function] = {}
        start = code.functions[trip.function]
        start.held.add(trip.parameter)
        annotation = next(a.annotation for a in start.node.args.args if a.arg == trip.parameter)
        self.sections = set(code.sections(code.class_of(annotation, start.module)))
        self.changed = True
        while self.changed:
            self.changed = False
            self.visited = {}
            todo = [start]
            while todo:
                function = todo.pop()
                if function.name not in self.visited:
                    self.visited[function.name] = function
                    todo += _Body(self, function).called

    @property
    def functions(self) -> list[str]:
        """Their names, sorted."""
        return sorted(name for name, function in self.visited.items() if function.reached)

    @property
    def modules(self) -> list[str]:
        """The modules that they are in, sorted."""
        return sorted({self.visited[name].module.name for name in self.functions})

    def hold(self, function: Function, parameter: str) -> None:
        """Note that a parameter may hold options."""
        if parameter not in function.held:
            function.held.add(parameter)
            self.changed = True

    def hold_attribute(self, owner: str, name: str) -> None:
        """Note that an attribute may."""
        if (owner, name) not in self.attributes:
            self.attributes.add((owner, name))
            self.changed = True

    def held_attribute(self, owner: str, name: str) -> bool:
        """Whether an attribute may."""
        return any((base, name) in self.attributes for base in self.code.bases(owner))


class _Body:
    """One look at a function: what it calls, and with what."""

    def __init__(self, reach: Reach, function: Function) -> None:
        self.reach, self.code, self.function, self.module = reach, reach.code, function, function.module
        self.called: list[Function] = []
        self.held: set[str] = set(function.held)
        self.types: dict[str, str] = {}
        a = function.node.args
        for parameter in (*a.posonlyargs, *a.args, *a.kwonlyargs):
            if (found := self.code.class_of(parameter.annotation, self.module, function.owner)) is not None:
                self.types[parameter.arg] = found
        if function.owner and function.parameters and "staticmethod" not in function.decorators:
            self.types[function.parameters[0]] = function.owner
        known: object = None
        while (now := (set(self.held), set(self.types), self.function.gives)) != known:  # names are bound in any order
            known, self.called = now, []
            for statement in ast.walk(function.node):
                self._statement(statement)

    def _statement(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._bind(target, node.value)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            self._bind(node.target, node.value)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and self.holds(node.value):
            self.held.add(node.target.id)
        elif isinstance(node, ast.For | ast.comprehension):
            self._bind(node.target, node.iter)
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            self._bind(node.optional_vars, node.context_expr)
        elif isinstance(node, ast.Return) and node.value is not None:
            if self.holds(node.value) and not self.function.gives:
                self.function.gives = self.reach.changed = True
        elif isinstance(node, ast.Call):
            self._call(node)
        elif isinstance(node, ast.Attribute):
            self._read(node)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            values = (
                value.elts
                if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts)
                else [value] * len(target.elts)
            )
            for one, its in zip(target.elts, values):
                self._bind(one.value if isinstance(one, ast.Starred) else one, its)
            return
        held, found = self.holds(value), self.type_of(value)
        if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name) and held:
            self.held.add(target.value.id)
        if isinstance(target, ast.Name):
            if held:
                self.held.add(target.id)
            if found:
                self.types.setdefault(target.id, found)
        elif isinstance(target, ast.Attribute) and (owner := self.type_of(target.value)):
            if held and self._whole(value):
                self.reach.hold_attribute(owner, target.attr)
            if found and (owner, target.attr) not in self.reach.types:
                self.reach.types[owner, target.attr] = found
                self.reach.changed = True

    def _read(self, node: ast.Attribute) -> None:
        owner = self.type_of(node.value)
        if owner is None:
            return
        if self.reach.held_attribute(owner, node.attr) and not self.function.reads:
            self.function.reads = self.reach.changed = True
        if (found := self.code.method(owner, node.attr)) is not None and found.is_property:
            self.called.append(found)
            if self.holds(node.value):
                self.reach.hold(found, found.parameters[0])

    def _call(self, node: ast.Call) -> None:
        values = [*((None, value) for value in node.args), *((k.arg, k.value) for k in node.keywords)]
        updated = isinstance(node.func, ast.Attribute) and node.func.attr == "update" and isinstance(node.func.value, ast.Name)
        if updated and any(self.holds(value) for _, value in values):
            self.held.add(node.func.value.id)
        for _, value in values:  # functions that are handed on are called somewhere
            inner = value.value if isinstance(value, ast.Starred) else value
            if isinstance(inner, ast.Name | ast.Attribute) and (handed := self._function(inner)) is not None:
                self._enter(handed, [(None, other) for _, other in values if other is not value], any_place=True)
        for one in (node.func.body, node.func.orelse) if isinstance(node.func, ast.IfExp) else ():
            if (target := self._function(one)) is not None:
                self._enter(target, values)
        if (target := self._function(node.func)) is not None:
            self._enter(target, values)
            if isinstance(node.func, ast.Attribute) and self.holds(node.func.value) and target.parameters and not target.of_class:
                self.reach.hold(target, target.parameters[0])
        elif (owner := self._class(node.func)) is not None:
            self._construct(owner, values)

    def _construct(self, owner: str, values: list[tuple[str | None, ast.expr]]) -> None:
        if (made := self.code.method(owner, "__init__")) is not None:
            self._enter(made, values)
        else:
            names = list(self.code.fields(owner))
            for place, (name, value) in enumerate(values):
                if self.holds(value) and self._whole(value):
                    for one in [name or names[place]] if name or (place < len(names) and not isinstance(value, ast.Starred)) else names:
                        self.reach.hold_attribute(owner, one)
        for name in ("__post_init__", "__enter__"):
            if (more := self.code.method(owner, name)) is not None:
                self._enter(more, [])

    def _enter(self, target: Function, values: list[tuple[str | None, ast.expr]], any_place: bool = False) -> None:
        if target.node.name in self.reach.trip.until:
            return
        self.called.append(target)
        names = target.parameters[1:] if target.owner and "staticmethod" not in target.decorators else target.parameters
        for place, (name, value) in enumerate(values):
            if not self.holds(value):
                continue
            if name is not None:
                self.reach.hold(target, name if name in names else names[-1])
            elif names:
                self.reach.hold(target, names[0 if any_place else min(place, len(names) - 1)])

    def _whole(self, node: ast.expr) -> bool:
        """Whether an expression is the options or a section, and no plain field."""
        return self.type_of(node) in self.reach.sections

    def _function(self, node: ast.expr) -> Function | None:
        if isinstance(node, ast.Name):
            return self.code.functions.get(self.module.names.get(node.id, ""))
        if isinstance(node, ast.Attribute):
            if ast.unparse(node.value) == "super()" and self.function.owner:
                above = list(self.code.bases(self.function.owner))[1:]
                return next((f for base in above if (f := self.code.functions.get(f"{base}.{node.attr}"))), None)
            if (owner := self.type_of(node.value) or self._class(node.value)) is not None:
                found = self.code.method(owner, node.attr)
                return None if found is None or found.is_property else found
            if isinstance(node.value, ast.Name):
                return self.code.functions.get(f"{self.module.names.get(node.value.id)}.{node.attr}")
        return None

    def _class(self, node: ast.expr) -> str | None:
        found = self.module.names.get(node.id) if isinstance(node, ast.Name) else None
        if isinstance(node, ast.Name) and node.id == "cls":
            found = self.function.owner
        return found if found in self.code.classes else None

    def type_of(self, node: ast.expr) -> str | None:
        """The class of the code that an expression is of, as far as annotations and constructors tell."""
        if isinstance(node, ast.Name):
            return self.types.get(node.id)
        if isinstance(node, ast.Call):
            return self._type_of_call(node)
        if isinstance(node, ast.Attribute):
            return self._type_of_attribute(node)
        if isinstance(node, ast.BoolOp):
            return next(filter(None, map(self.type_of, node.values)), None)
        if isinstance(node, ast.IfExp):
            return self.type_of(node.body) or self.type_of(node.orelse)
        return None

    def _type_of_call(self, node: ast.Call) -> str | None:
        if (owner := self._class(node.func)) is not None:
            return owner
        if (target := self._function(node.func)) is not None:
            own = self.type_of(node.func.value) if isinstance(node.func, ast.Attribute) else None
            return self.code.class_of(target.node.returns, target.module, own or target.owner)
        if isinstance(node.func, ast.Attribute) and node.func.attr in COPIES:
            return self.type_of(node.func.value)
        if isinstance(node.func, ast.Name) and node.func.id in ("replace", "deepcopy", "copy") and node.args:
            return self.type_of(node.args[0])
        return None

    def _type_of_attribute(self, node: ast.Attribute) -> str | None:
        if (owner := self.type_of(node.value)) is None:
            return None
        if (found := self.reach.types.get((owner, node.attr))) is not None:
            return found
        if (method := self.code.method(owner, node.attr)) is not None and method.is_property:
            return self.code.class_of(method.node.returns, method.module, method.owner)
        for base in self.code.bases(owner):
            if (annotation := self.code.fields(base).get(node.attr)) is not None:
                return self.code.class_of(annotation, self.code.classes[base][1])
        return None

    def holds(self, node: ast.expr | None) -> bool:
        """Whether an expression may be the options, a copy of them, one of their fields, or some of these together."""
        if isinstance(node, ast.Name):
            return node.id in self.held
        if isinstance(node, ast.Attribute):
            return self._attribute_holds(node)
        if isinstance(node, ast.Subscript | ast.Starred | ast.NamedExpr | ast.Await):
            return self.holds(node.value)
        if isinstance(node, ast.BoolOp):
            return any(map(self.holds, node.values))
        if isinstance(node, ast.BinOp):
            return isinstance(node.op, ast.BitOr) and (self.holds(node.left) or self.holds(node.right))
        if isinstance(node, ast.IfExp):
            return self.holds(node.body) or self.holds(node.orelse)
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            return any(map(self.holds, node.elts))
        if isinstance(node, ast.Dict):
            return any(map(self.holds, node.values))
        if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp):
            return self.holds(node.elt)
        if isinstance(node, ast.DictComp):
            return self.holds(node.value)
        return isinstance(node, ast.Call) and self._result_holds(node)

    def _attribute_holds(self, node: ast.Attribute) -> bool:
        owner = self.type_of(node.value)
        if owner is not None:
            if self.reach.held_attribute(owner, node.attr):
                return True
            if (method := self.code.method(owner, node.attr)) is not None:
                return method.is_property and method.gives
            return self.holds(node.value) and node.attr in self.code.fields(owner)
        return False  # an attribute of a plain value, as a path's parent

    def _result_holds(self, node: ast.Call) -> bool:
        if (target := self._function(node.func)) is not None:
            return target.gives or (target.node.name in COPIES and isinstance(node.func, ast.Attribute) and self.holds(node.func.value))
        arguments = [*node.args, *(k.value for k in node.keywords)]
        if self._class(node.func) in self.reach.sections:
            return any(map(self.holds, arguments))
        if isinstance(node.func, ast.Attribute):
            return node.func.attr in COPIES and self.holds(node.func.value)
        return isinstance(node.func, ast.Name) and node.func.id in SAME and any(map(self.holds, arguments))


def reach_of(name: str, root: Path = ROOT) -> Reach:
    """Of ``build``, ``import`` or ``train``."""
    return Reach(Code(root), TRIPS[name])


if __name__ == "__main__":
    place = Path(sys.argv[1]) if sys.argv[1:] else ROOT
    for trip in TRIPS:
        found = reach_of(trip, place)
        print(f"{trip}: {len(found.functions)} functions in {len(found.modules)} modules")
        for function in found.functions:
            print(f"  {function.removeprefix('finn_vitprune.')}: {', '.join(sorted(found.visited[function].held)) or 'an attribute'}")
