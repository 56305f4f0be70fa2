"""Slips that a programmer might make, found in a module by its syntax tree: each replaces one piece of its text.

A mutator is a method that looks at one kind of node and offers other texts for it. Nothing is drawn by chance here:
the same source gives the same slips in the same order.
"""

import bisect
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper

OPERATORS: dict[type[cst.BaseBinaryOp], type[cst.BaseBinaryOp]] = {
    cst.Add: cst.Subtract,
    cst.Subtract: cst.Add,
    cst.Multiply: cst.FloorDivide,
    cst.FloorDivide: cst.Multiply,
    cst.Divide: cst.FloorDivide,
    cst.Modulo: cst.FloorDivide,
    cst.Power: cst.Multiply,
    cst.BitAnd: cst.BitOr,
    cst.BitOr: cst.BitAnd,
    cst.LeftShift: cst.RightShift,
    cst.RightShift: cst.LeftShift,
}
AUGMENTED: dict[type[cst.BaseAugOp], type[cst.BaseAugOp]] = {
    cst.AddAssign: cst.SubtractAssign,
    cst.SubtractAssign: cst.AddAssign,
    cst.MultiplyAssign: cst.AddAssign,
    cst.BitOrAssign: cst.BitAndAssign,
    cst.BitAndAssign: cst.BitOrAssign,
}
BOUNDARIES: dict[type[cst.BaseCompOp], type[cst.BaseCompOp]] = {
    cst.LessThan: cst.LessThanEqual,
    cst.LessThanEqual: cst.LessThan,
    cst.GreaterThan: cst.GreaterThanEqual,
    cst.GreaterThanEqual: cst.GreaterThan,
}
CONDITIONS: dict[type[cst.BaseCompOp], type[cst.BaseCompOp]] = {
    cst.LessThan: cst.GreaterThan,
    cst.GreaterThan: cst.LessThan,
    cst.LessThanEqual: cst.GreaterThanEqual,
    cst.GreaterThanEqual: cst.LessThanEqual,
    cst.Equal: cst.NotEqual,
    cst.NotEqual: cst.Equal,
    cst.Is: cst.IsNot,
    cst.IsNot: cst.Is,
    cst.In: cst.NotIn,
    cst.NotIn: cst.In,
}
_LEAVES = (cst.Return, cst.Raise, cst.Continue, cst.Break)


@dataclass(frozen=True, kw_only=True, order=True)
class Edit:
    """One replaced piece of a module's text."""

    start: int
    """Offset in the source's UTF-8 bytes, as is `end`."""
    end: int
    after: str
    operator: str
    """The kind of slip."""
    before: str
    line: int


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function of a module, or a method, with all that is nested in it."""

    name: str
    """Its qualified name."""
    first: int
    """Its lines, decorators included."""
    last: int
    edits: tuple[Edit, ...]


def functions(source: str) -> list[Function]:
    """The functions of a module in order, with every slip that the mutators know. Raises ValueError on bad syntax."""
    try:
        # a tree that was just parsed has no node twice, which is all that the copy is for
        wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    except (cst.ParserSyntaxError, RecursionError) as error:
        raise ValueError(str(error).split("\n")[0]) from None
    visitor = _Visitor(source.encode(), wrapper.module)
    wrapper.visit(visitor)
    return visitor.functions


def apply(source: str, edits: Iterable[Edit]) -> str:
    """The source with edits that do not overlap."""
    data = source.encode()
    for edit in sorted(edits, reverse=True):
        data = data[: edit.start] + edit.after.encode() + data[edit.end :]
    return data.decode()


def overlap(edits: Sequence[Edit]) -> bool:
    """Do two of the edits touch the same text?"""
    ordered = sorted(edits)
    return any(one.end > other.start for one, other in itertools.pairwise(ordered))


class _Visitor(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (ByteSpanPositionProvider,)

    def __init__(self, data: bytes, module: cst.Module) -> None:
        super().__init__()
        self.functions: list[Function] = []
        self._data = data
        self._ends = [place for place, byte in enumerate(data) if byte == ord("\n")]
        """Offsets of the ends of lines."""
        self._module = module
        self._scope: list[str] = []
        self._depth = 0
        """How many functions we are in."""
        self._edits: list[Edit] = []

    # --- where we are ---

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self._scope.append(node.name.value)

    def leave_ClassDef(self, original_node: cst.ClassDef) -> None:
        self._scope.pop()

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self._scope.append(node.name.value)
        self._depth += 1

    def leave_FunctionDef(self, original_node: cst.FunctionDef) -> None:
        self._depth -= 1
        if self._depth == 0:
            spans = [self.get_metadata(ByteSpanPositionProvider, n) for n in (original_node, *original_node.decorators)]
            self.functions.append(
                Function(
                    name=".".join(self._scope),
                    first=self._line(min(span.start for span in spans)),
                    last=self._line(spans[0].start + spans[0].length),
                    edits=tuple(sorted(set(self._edits))),
                )
            )
            self._edits = []
        self._scope.pop()

    def visit_Decorator(self, node: cst.Decorator) -> bool:
        return False

    def visit_Annotation(self, node: cst.Annotation) -> bool:
        return False

    def visit_Assert(self, node: cst.Assert) -> bool:
        return False

    def visit_Raise(self, node: cst.Raise) -> bool:
        return False

    # --- operators and conditions ---

    def visit_BinaryOperation(self, node: cst.BinaryOperation) -> None:
        other = OPERATORS.get(type(node.operator))
        text = isinstance(node.left, cst.BaseString) or isinstance(node.right, cst.BaseString)
        if other and not text:
            self._replace(node, "operator", node.with_changes(operator=other()))
        if isinstance(node.operator, cst.Add | cst.Subtract) and _is_number(node.right, "1"):
            self._replace(node, "off by one", node.left)

    def visit_AugAssign(self, node: cst.AugAssign) -> None:
        other = AUGMENTED.get(type(node.operator))
        if other and not isinstance(node.value, cst.BaseString):
            self._replace(node, "operator", node.with_changes(operator=other()))
        self._text(node, "removed statement", "pass")

    def visit_Comparison(self, node: cst.Comparison) -> None:
        for operator, table in (("off by one", BOUNDARIES), ("condition", CONDITIONS)):
            for index, target in enumerate(node.comparisons):
                other = table.get(type(target.operator))
                if other:
                    changed = [*node.comparisons]
                    changed[index] = target.with_changes(operator=other())
                    self._replace(node, operator, node.with_changes(comparisons=changed))

    def visit_BooleanOperation(self, node: cst.BooleanOperation) -> None:
        other = cst.Or if isinstance(node.operator, cst.And) else cst.And
        self._replace(node, "condition", node.with_changes(operator=other()))
        self._replace(node, "missing condition", node.left)
        self._replace(node, "missing condition", node.right)

    def visit_UnaryOperation(self, node: cst.UnaryOperation) -> None:
        if isinstance(node.operator, cst.Not | cst.Minus):
            self._replace(node, "operator", node.expression)

    # --- branches and guards ---

    def visit_If(self, node: cst.If) -> None:
        if isinstance(node.orelse, cst.Else):
            self._text(node.test, "swapped branches", f"not ({self._code(node.test)})")
        elif node.orelse is None and _leaves(node.body):
            self._text(node, "removed guard", "pass")

    def visit_While(self, node: cst.While) -> None:
        self._text(node.test, "condition", f"not ({self._code(node.test)})")

    def visit_IfExp(self, node: cst.IfExp) -> None:
        self._replace(node, "swapped branches", node.with_changes(body=node.orelse, orelse=node.body))

    def visit_Break(self, node: cst.Break) -> None:
        self._text(node, "wrong jump", "continue")

    def visit_Continue(self, node: cst.Continue) -> None:
        self._text(node, "wrong jump", "break")

    # --- values ---

    def visit_Integer(self, node: cst.Integer) -> None:
        if node.value.isdecimal():
            self._text(node, "constant", str(int(node.value) + 1))
            if int(node.value) > 1:
                self._text(node, "constant", str(int(node.value) - 1))

    def visit_Name(self, node: cst.Name) -> None:
        other = {"True": "False", "False": "True"}.get(node.value)
        if other and self.get_metadata(ByteSpanPositionProvider, node, None) is not None:
            self._text(node, "constant", other)

    def visit_Param(self, node: cst.Param) -> None:
        default = node.default
        if isinstance(default, cst.Integer) and default.value.isdecimal():
            self._text(default, "wrong default", str(int(default.value) + 2))
        elif isinstance(default, cst.Name) and default.value in ("True", "False", "None"):
            self._text(default, "wrong default", {"True": "None", "False": "None", "None": "False"}[default.value])

    # --- calls ---

    def visit_Expr(self, node: cst.Expr) -> None:
        if isinstance(node.value, cst.Call):
            self._text(node, "removed call", "pass")

    def visit_Call(self, node: cst.Call) -> None:
        plain = [argument for argument in node.args if argument.keyword is None and not argument.star]
        if len(node.args) == len(plain) == 1:
            self._replace(node, "removed call", plain[0].value)
        if not node.args and isinstance(node.func, cst.Attribute):
            self._replace(node, "removed call", node.func.value)
        if len(plain) >= 2 and plain == list(node.args[: len(plain)]):
            first, second, *rest = node.args
            swapped = [first.with_changes(value=second.value), second.with_changes(value=first.value), *rest]
            self._replace(node, "swapped arguments", node.with_changes(args=swapped))
        if isinstance(node.func, cst.Name) and node.func.value in ("len", "range") and plain:
            self._off_by_one(node, plain[-1])

    def _off_by_one(self, node: cst.Call, last: cst.Arg) -> None:
        if isinstance(node.func, cst.Name) and node.func.value == "len":
            self._text(node, "off by one", f"({self._code(node)} - 1)")
        else:
            self._text(last.value, "off by one", f"{self._code(last.value)} - 1")

    # --- assignments ---

    def visit_Assign(self, node: cst.Assign) -> None:
        target = node.targets[0].target
        if isinstance(target, cst.Attribute | cst.Subscript):
            self._text(node, "removed statement", "pass")

    # --- what is offered ---

    def _code(self, node: cst.CSTNode) -> str:
        return self._module.code_for_node(node)

    def _replace(self, node: cst.BaseExpression | cst.AugAssign, operator: str, other: cst.CSTNode) -> None:
        text = self._code(other)
        if isinstance(node, cst.BaseExpression) and not (text.startswith("(") and text.endswith(")")):
            text = f"({text})" if _is_compound(other) and not _is_compound(node) else text
            if node.lpar and not getattr(other, "lpar", ()):
                text = f"({text})"
        self._text(node, operator, text)

    def _text(self, node: cst.CSTNode, operator: str, after: str) -> None:
        if self._depth == 0:
            return
        span = self.get_metadata(ByteSpanPositionProvider, node)
        start, end = span.start, span.start + span.length
        before = self._data[start:end].decode()
        if before != after:
            edit = Edit(start=start, end=end, after=after, operator=operator, before=before, line=self._line(start))
            self._edits.append(edit)

    def _line(self, offset: int) -> int:
        return bisect.bisect_left(self._ends, offset) + 1


def _is_number(node: cst.BaseExpression, value: str) -> bool:
    return isinstance(node, cst.Integer) and node.value == value


def _is_compound(node: cst.CSTNode) -> bool:
    kinds = (cst.BinaryOperation, cst.BooleanOperation, cst.Comparison, cst.IfExp, cst.Lambda, cst.UnaryOperation)
    return isinstance(node, (*kinds, cst.GeneratorExp, cst.Yield, cst.Await, cst.NamedExpr))


def _leaves(body: cst.BaseSuite) -> bool:
    last = body.body[-1] if body.body else None
    return isinstance(last, cst.SimpleStatementLine) and isinstance(last.body[-1], _LEAVES)
