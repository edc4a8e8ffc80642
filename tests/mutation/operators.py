"""Faults of SystemVerilog text: every site where one of six operators applies, from slang's syntax tree, and faults by hand.

Sites are in what runs: assignments, procedural statements and connections of instances. What only shapes
the elaborated design (parameters, ports, declared ranges, conditions and loops of generate blocks, headers of
loops, functions of integers, checks, initial blocks) is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pyslang.syntax import SyntaxNode, SyntaxTree

WRITTEN = "written"
OPERATORS = {
    "compare": "a comparison is off by one",
    "handshake": "a handshake or control signal is negated",
    "reset": "a register is not reset, or an instance never",
    "sign": "a sum becomes a difference or the reverse, or a number loses its sign",
    "index": "an index is off by one",
    "stuck": "a select or condition is stuck at 0 or 1",
    WRITTEN: "a change that is written by hand",
}

HANDSHAKE = frozenset(
    "advance ask available busy claim decide decision done drop emit en fetch free fresh full hand hold idle"
    " keep known leave move open push re read ready release search step sweep take valid wait we"
    " write".split()
)
"""A signal with one of these words in its name (between underscores) steers a handshake."""

COMPARES = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
SKIPPED = frozenset(
    "AnsiPortList ParameterPortList ParameterDeclarationStatement ParameterValueAssignment VariableDimension"
    " ElabSystemTask InitialBlock TypedefDeclaration NamedBlockClause AttributeInstance".split()
)
BINARY = {
    "EqualityExpression",
    "InequalityExpression",
    "LessThanExpression",
    "LessThanEqualExpression",
    "GreaterThanExpression",
    "GreaterThanEqualExpression",
}
ASSIGNMENTS = {"AssignmentExpression", "NonblockingAssignmentExpression"}


@dataclass(frozen=True)
class Fault:
    """``text[start:end]`` becomes ``after``; ``line`` and ``column`` from 1."""

    operator: str
    start: int
    end: int
    line: int
    column: int
    before: str
    after: str

    def apply(self, text: str) -> str:
        """The faulty text."""
        if text[self.start : self.end] != self.before:
            raise ValueError(f"line {self.line} does not read {self.before!r} any more")
        return text[: self.start] + self.after + text[self.end :]


def faults(text: str) -> list[Fault]:
    """All faults of a source text, in order of place.

    Raises:
        ValueError: the text is not plain ASCII or does not parse.
    """
    if not text.isascii():
        raise ValueError("offsets need plain ASCII")
    tree = SyntaxTree.fromText(text)
    if len(tree.diagnostics):
        raise ValueError(f"{len(tree.diagnostics)} syntax errors")
    found = []
    for operator, start, end, after in _Walk(tree.root).edits():
        line = text.count("\n", 0, start) + 1
        column = start - (text.rfind("\n", 0, start) + 1) + 1
        found.append(Fault(operator, start, end, line, column, text[start:end], after))
    return sorted(found, key=lambda f: (f.start, f.end, f.operator, f.after))


def written(text: str, before: str, after: str) -> Fault:
    """A fault by hand, at the one place of ``text`` that reads ``before``.

    Raises:
        ValueError: there is no such place, or several.
    """
    if text.count(before) != 1:
        raise ValueError(f"{before!r} appears {text.count(before)} times")
    start = text.index(before)
    line, column = text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
    return Fault(WRITTEN, start, start + len(before), line, column, before, after)


def tokens(text: str) -> list[str]:
    """The words and signs of a source text, without comments and what the preprocessor leaves out."""
    return list(_leaves(SyntaxTree.fromText(text).root))


def _leaves(node: SyntaxNode) -> Iterator[str]:
    for child in node:
        if isinstance(child, SyntaxNode):
            yield from _leaves(child)
        elif child is not None:
            yield child.rawText


Edit = tuple[str, int, int, str]


class _Walk:
    """Edits below a node. ``_fixed`` holds lower-case names that are constant: loop variables, functions."""

    def __init__(self, root: SyntaxNode) -> None:
        self._root = root
        self._fixed = _fixed_names(root)

    def edits(self) -> Iterator[Edit]:
        yield from self._visit(self._root, value=True)

    def _visit(self, node: SyntaxNode, value: bool) -> Iterator[Edit]:
        """``value``: identifiers here are read, not written."""
        kind = node.kind.name
        if kind in SKIPPED or (kind == "FunctionDeclaration" and not _returns_logic(node)):
            return
        yield from self._here(node, kind, value)
        for child in self._children(node, kind):
            yield from self._visit(child, value and not (kind in ASSIGNMENTS and child is node[0]))

    def _children(self, node: SyntaxNode, kind: str) -> Iterator[SyntaxNode]:
        """Nodes below that run: without headers of loops, generate conditions, names of scopes, resets."""
        for i, child in enumerate(node):
            if not isinstance(child, SyntaxNode):
                continue
            if kind in ("IfGenerate", "LoopGenerate", "ForLoopStatement", "CaseGenerate"):
                runs = child.kind.name.endswith(("Block", "Clause", "Statement", "Construct", "Generate"))
                if not runs and not child.kind.name.endswith(("Instantiation", "Assign")):
                    continue
            if kind == "ScopedName" and i == 0:
                continue
            if kind == "ConditionalStatement" and _is_reset(node) and child.kind.name != "ElseClause":
                continue
            if kind == "CastExpression" and i == 0:
                continue
            yield child

    def _here(self, node: SyntaxNode, kind: str, value: bool) -> Iterator[Edit]:  # noqa: C901 (a case a kind)
        if kind in BINARY and not self._constant(node):
            yield from self._compare(node)
        elif kind in ("IdentifierName", "IdentifierSelectName") and value:
            yield from self._signal(node)
        elif kind in ("AddExpression", "SubtractExpression", "ArithmeticShiftRightExpression"):
            if not self._constant(node):
                token = node[1]
                start = token.range.start.offset
                other = {"+": "-", "-": "+", ">>>": ">>"}[token.rawText]
                yield "sign", start, token.range.end.offset, other
        elif kind == "InvocationExpression" and str(node[0]).strip() == "$signed":
            yield "sign", *_span(node[0]), "$unsigned"
        elif kind in ("LogicType", "ImplicitType"):
            for token in node:
                if not isinstance(token, SyntaxNode) and token is not None and token.rawText == "signed":
                    yield "sign", token.range.start.offset, token.range.end.offset, ""
        elif kind == "ElementSelect":
            yield from self._index(node)
        elif kind == "ConditionalExpression" and not self._constant(node[0]):
            yield from self._stuck(node[0])
        elif kind == "ConditionalStatement":
            if _is_reset(node):
                yield from self._reset(node)
            elif not self._constant(node.predicate):
                yield from self._stuck(node.predicate)
        elif kind == "NamedPortConnection" and _tokens(node) == [".", "rst_n"]:
            start, end = _span(node)
            yield "reset", start, end, ".rst_n(1'b1)"

    def _compare(self, node: SyntaxNode) -> Iterator[Edit]:
        token = node[1]
        if token.rawText in COMPARES:
            yield "compare", token.range.start.offset, token.range.end.offset, COMPARES[token.rawText]
            return
        start, end = _span(node[2])
        for sign in "+-":
            yield "compare", start, end, f"(({_text(node[2])}) {sign} 1'b1)"

    def _signal(self, node: SyntaxNode) -> Iterator[Edit]:
        name = node[0].valueText
        start, end = _span(node)
        if name == "rst_n":
            yield "reset", start, end, "1'b1"
        elif name == name.lower() and HANDSHAKE & set(re.sub(r"\d", "", name).split("_")):
            yield "handshake", start, end, f"(~{_text(node)})"

    def _index(self, node: SyntaxNode) -> Iterator[Edit]:
        for select in node:
            if not isinstance(select, SyntaxNode):
                continue
            parts = [p for p in select if isinstance(p, SyntaxNode)]
            if select.kind.name in ("AscendingRangeSelect", "DescendingRangeSelect", "BitSelect"):
                parts = parts[:1]
            start, end = _span(select)
            text = _text(select)
            for part in reversed(parts):
                a, b = (offset - start for offset in _span(part))
                text = f"{text[:a]}({text[a:b]}) + 1{text[b:]}"
            yield "index", start, end, text

    def _stuck(self, predicate: SyntaxNode) -> Iterator[Edit]:
        for level in ("1'b0", "1'b1"):
            yield "stuck", *_span(predicate), level

    def _reset(self, node: SyntaxNode) -> Iterator[Edit]:
        branch = node.statement
        statements = [branch]
        if branch.kind.name == "SequentialBlockStatement":
            statements = [s for s in branch.items if isinstance(s, SyntaxNode)]
        for statement in statements:
            yield "reset", *_span(statement), ";"

    def _constant(self, node: SyntaxNode) -> bool:
        """Whether all names below are parameters (upper case), loop variables or integer functions."""
        names = re.findall(r"(?<![\w'$])[A-Za-z_]\w*", _text(node))
        return all(n == n.upper() or n in self._fixed for n in names)


def _fixed_names(root: SyntaxNode) -> set[str]:
    names: set[str] = set()

    def visit(node):
        if not isinstance(node, SyntaxNode):
            return
        kind = node.kind.name
        if kind == "LoopGenerate":
            names.add(node.identifier.valueText)
        elif kind == "ForVariableDeclaration":
            names.add(node.declarator.name.valueText)
        elif kind == "FunctionDeclaration" and not _returns_logic(node):
            names.add(_text(node.prototype.name))
        for child in node:
            visit(child)

    visit(root)
    return names


def _returns_logic(function: SyntaxNode) -> bool:
    return function.prototype.returnType.kind.name == "LogicType"


def _is_reset(node: SyntaxNode) -> bool:
    return _text(node.predicate) == "!rst_n"


def _span(node: SyntaxNode) -> tuple[int, int]:
    return node.sourceRange.start.offset, node.sourceRange.end.offset


def _text(node: SyntaxNode) -> str:
    """Text of ``node`` without the white space and comments before it."""
    start, end = _span(node)
    return str(node)[-(end - start) :] if end > start else ""


def _tokens(node: SyntaxNode) -> list[str]:
    return [t.rawText for t in node if not isinstance(t, SyntaxNode) and t is not None and t.rawText]
