"""Finds the places of a function where a typical slip can be made, and makes each by editing one line."""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_COMPARISONS = {
    "<": ("<=", ">"),
    "<=": ("<", ">="),
    ">": (">=", "<"),
    ">=": (">", "<="),
    "==": ("!=",),
    "!=": ("==",),
    "in": ("not in",),
    "not in": ("in",),
    "is": ("is not",),
    "is not": ("is",),
}
_ARITHMETIC = {"+": "-", "-": "+", "*": "+", "/": "*", "//": "%", "%": "//", "**": "*"}
_TWINS = [
    ("min", "max"),
    ("any", "all"),
    ("lstrip", "rstrip"),
    ("startswith", "endswith"),
    ("find", "rfind"),
    ("partition", "rpartition"),
    ("lower", "upper"),
    ("isalnum", "isalpha"),
    ("isdigit", "isalpha"),
]
_SWAPPABLE = (ast.Sub, ast.FloorDiv, ast.Mod, ast.Div)


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """One slip: `before` stands in the clean source from line `line` on, `after` in its place in the mutated one."""

    function: str
    operator: str
    line: int
    """Counted from 1."""
    before: str
    """One line without its line feed; empty when the slip inserts a line."""
    after: str
    """One line without its line feed; empty when the slip drops a line."""

    def apply(self, source: str) -> str:
        """The mutated source. Raises ValueError when `before` does not stand where it should."""
        return _replace(source, self.line, self.before, self.after)


def _replace(source: str, line: int, before: str, after: str) -> str:
    rows = source.split("\n")
    old = [before] if before else []
    if rows[line - 1 : line - 1 + len(old)] != old:
        raise ValueError(f"line {line} is not '{before}'")
    rows[line - 1 : line - 1 + len(old)] = [after] if after else []
    return "\n".join(rows)


def mutations(source: str) -> list[Mutation]:
    """Every slip that can be made in the functions of an ASCII source, each once, in the order of the lines."""
    if not source.isascii():
        raise ValueError("positions are counted in bytes; the source must be ASCII")
    found: dict[tuple[int, str, str], Mutation] = {}
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef):
            for mutation in _of_function(source.split("\n"), function):
                if _compiles(mutation.apply(source)):
                    found.setdefault((mutation.line, mutation.before, mutation.after), mutation)
    return sorted(found.values(), key=lambda m: (m.line, m.operator, m.after))


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutated", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class _Edit:
    """A replacement of `row[start:end]` on one line."""

    operator: str
    line: int
    start: int
    end: int
    text: str


def _of_function(rows: list[str], function: ast.FunctionDef) -> Iterator[Mutation]:
    for edit in [*_expression_edits(rows, function), *_operator_edits(rows, function)]:
        row = rows[edit.line - 1]
        after = row[: edit.start] + edit.text + row[edit.end :]
        if after != row:
            yield Mutation(function=function.name, operator=edit.operator, line=edit.line, before=row, after=after)
    yield from _dropped_statements(rows, function)
    yield from _early_returns(rows, function)


def _operator_edits(rows: list[str], function: ast.FunctionDef) -> Iterator[_Edit]:
    """Slips in what stands between expressions: found in the text between two nodes of a line."""
    for node in ast.walk(function):
        if isinstance(node, ast.Compare):
            for left, right in zip([node.left, *node.comparators], node.comparators, strict=False):
                yield from _between(rows, left, right, "comparison", _COMPARISONS)
        elif isinstance(node, ast.BoolOp):
            for left, right in zip(node.values, node.values[1:], strict=False):
                yield from _between(rows, left, right, "boolean", {"and": ("or",), "or": ("and",)})
        elif isinstance(node, ast.BinOp):
            yield from _between(rows, node.left, node.right, "arithmetic", {k: (v,) for k, v in _ARITHMETIC.items()})
            if isinstance(node.op, _SWAPPABLE):
                yield from _swap(rows, node.left, node.right, "swapped operands")
        elif isinstance(node, ast.AugAssign):
            table = {"+=": ("-=", "="), "-=": ("+=", "="), "//=": ("%=", "-=")}
            yield from _between(rows, node.target, node.value, "assignment", table)


def _expression_edits(rows: list[str], function: ast.FunctionDef) -> Iterator[_Edit]:
    """Slips in a single expression."""
    defaults = {id(node) for node in function.args.defaults}
    indices = {
        id(inner) for node in ast.walk(function) if isinstance(node, ast.Subscript) for inner in ast.walk(node.slice)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.Constant):
            kind = "default" if id(node) in defaults else "index" if id(node) in indices else "constant"
            yield from _constants(rows, node, kind)
        elif isinstance(node, ast.Call):
            if len(node.args) >= 2:
                yield from _swap(rows, node.args[0], node.args[1], "swapped arguments")
            yield from _twins(node.func)
        elif isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.ctx, ast.Load):
            yield from _swap(rows, node.elts[0], node.elts[1], "swapped items")
        elif isinstance(node, ast.Slice):
            yield from _turned_slice(rows, node)
        elif isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(node.test, ast.BoolOp | ast.Compare):
            yield from _negated(node.test)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield _edit("negation", node, node.col_offset, node.operand.col_offset, "")
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            yield _edit("sign", node, node.col_offset, node.operand.col_offset, "")
        elif isinstance(node, ast.Break):
            yield _edit("flow", node, node.col_offset, node.col_offset + len("break"), "continue")


def _edit(operator: str, node: ast.expr | ast.stmt, start: int, end: int, text: str) -> _Edit:
    return _Edit(operator=operator, line=node.lineno, start=start, end=end, text=text)


def _text(rows: list[str], node: ast.expr) -> str:
    return rows[node.lineno - 1][node.col_offset : node.end_col_offset]


def _between(
    rows: list[str], left: ast.expr, right: ast.expr, operator: str, table: Mapping[str, tuple[str, ...]]
) -> Iterator[_Edit]:
    if left.end_lineno != right.lineno or left.end_col_offset is None:
        return
    row, start = rows[right.lineno - 1], left.end_col_offset
    sign = re.sub(r"\s+", " ", row[start : right.col_offset].strip("() "))
    position = row.find(sign, start)
    for text in table.get(sign, ()):
        yield _edit(operator, right, position, position + len(sign), text)


def _swap(rows: list[str], first: ast.expr, second: ast.expr, operator: str) -> Iterator[_Edit]:
    simple = all(isinstance(node, ast.Name | ast.Constant | ast.Subscript | ast.Call) for node in (first, second))
    if not simple or first.lineno != second.end_lineno or first.end_col_offset is None or second.end_col_offset is None:
        return
    between = rows[first.lineno - 1][first.end_col_offset : second.col_offset]
    text = _text(rows, second) + between + _text(rows, first)
    yield _edit(operator, first, first.col_offset, second.end_col_offset, text)


def _constants(rows: list[str], node: ast.Constant, kind: str) -> Iterator[_Edit]:
    if node.end_col_offset is None or _text(rows, node) != repr(node.value):
        return  # part of an f-string: where it stands is not known
    values: list[object] = []
    if isinstance(node.value, bool):
        values = [not node.value]
    elif isinstance(node.value, int):
        values = [node.value + 1, node.value - 1] if node.value > 0 else [1]
    for value in values:
        yield _edit(kind, node, node.col_offset, node.end_col_offset, repr(value))


def _twins(function: ast.expr) -> Iterator[_Edit]:
    name = (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )
    if function.end_col_offset is None:
        return
    for one, other in [*_TWINS, *((b, a) for a, b in _TWINS)]:
        if name == one:
            yield _edit("wrong function", function, function.end_col_offset - len(name), function.end_col_offset, other)


def _turned_slice(rows: list[str], node: ast.Slice) -> Iterator[_Edit]:
    bounds = [bound for bound in (node.lower, node.upper) if bound is not None]
    if len(bounds) == 1 and node.step is None:
        text = _text(rows, bounds[0])
        turned = f":{text}" if node.lower is not None else f"{text}:"
        if node.end_col_offset is not None:
            yield _edit("slice", bounds[0], node.col_offset, node.end_col_offset, turned)


def _negated(test: ast.expr) -> Iterator[_Edit]:
    if not (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)):
        yield _edit("negation", test, test.col_offset, test.col_offset, "not ")


def _dropped_statements(rows: list[str], function: ast.FunctionDef) -> Iterator[Mutation]:
    """A whole simple statement of one line goes, where its block keeps another."""
    for node in ast.walk(function):
        for name in ("body", "orelse"):
            block = getattr(node, name, [])
            if not isinstance(block, list) or len(block) < 2:
                continue
            for statement in block:
                simple = isinstance(statement, ast.Expr | ast.AugAssign | ast.Assign)
                if simple and statement.lineno == statement.end_lineno:
                    row = rows[statement.lineno - 1]
                    yield Mutation(
                        function=function.name, operator="dropped line", line=statement.lineno, before=row, after=""
                    )


def _early_returns(rows: list[str], function: ast.FunctionDef) -> Iterator[Mutation]:
    """The function's last return stands once more, at the end of a loop's body."""
    last = function.body[-1]
    if not isinstance(last, ast.Return) or last.lineno != last.end_lineno:
        return
    for node in function.body:
        if isinstance(node, ast.For | ast.While) and node.end_lineno is not None:
            after = " " * node.body[0].col_offset + rows[last.lineno - 1].strip()
            yield Mutation(
                function=function.name, operator="early return", line=node.end_lineno + 1, before="", after=after
            )
