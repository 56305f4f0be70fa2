"""Which slips are found in a function, and how each changes its line."""

import pytest

from rft.environments.kata import repository
from rft.environments.kata.mutate import Mutation, mutations


def slips(body: str, head: str = "def f(a, b):") -> dict[str, set[str]]:
    """Kind of slip to the lines it makes of a function's body."""
    found: dict[str, set[str]] = {}
    for mutation in mutations("\n".join([head, *(f"    {row}" for row in body.split("\n"))]) + "\n"):
        found.setdefault(mutation.operator, set()).add(mutation.after.strip())
    return found


@pytest.mark.parametrize(
    ("line", "operator", "results"),
    [
        ("return a <= b", "comparison", {"return a < b", "return a >= b"}),
        ("return a not in b", "comparison", {"return a in b"}),
        ("0 <= a < b", "comparison", {"0 < a < b", "0 >= a < b", "0 <= a <= b", "0 <= a > b"}),
        ("return a < (b + a)", "comparison", {"return a <= (b + a)", "return a > (b + a)"}),
        ("return a // b", "arithmetic", {"return a % b"}),
        ("return a // b", "swapped operands", {"return b // a"}),
        ("return a + b", "arithmetic", {"return a - b"}),
        ("return max(a, b)", "wrong function", {"return min(a, b)"}),
        ("return f(a[0], b)", "swapped arguments", {"return f(b, a[0])"}),
        ("return (a, b)", "swapped items", {"return (b, a)"}),
        ("return a and b and f", "boolean", {"return a or b and f", "return a and b or f"}),
        ("1 if a else 5", "constant", {"2 if a else 5", "0 if a else 5", "1 if a else 6", "1 if a else 4"}),
        ("return 1 if a else 5", "negation", {"return 1 if not a else 5"}),
        ("return True", "constant", {"return False"}),
        ("return a[2]", "index", {"return a[1]", "return a[3]"}),
        ("return a[-1]", "sign", {"return a[1]"}),
        ("return a[:b]", "slice", {"return a[b:]"}),
        ("return not a", "negation", {"return a"}),
        ("a += b\nreturn a", "assignment", {"a -= b", "a = b"}),
        ("a += b\nreturn a", "dropped line", {""}),
        ("for c in b:\n    a += c\nreturn a", "early return", {"return a"}),
    ],
)  # fmt: skip
def test_each_kind_of_slip(line: str, operator: str, results: set[str]) -> None:
    assert slips(line)[operator] == results


def test_a_default_is_changed_in_the_head() -> None:
    assert slips("return a", "def f(a, b=2):")["default"] == {"def f(a, b=3):", "def f(a, b=1):"}


@pytest.mark.parametrize("module", repository.modules())
def test_a_slip_changes_its_own_line_and_nothing_else(module: str) -> None:
    source = repository.clean_source(module)
    for mutation in mutations(source):
        clean, broken = source.split("\n"), mutation.apply(source).split("\n")
        index = mutation.line - 1
        assert clean[:index] == broken[:index]
        assert clean[index + bool(mutation.before) :] == broken[index + bool(mutation.after) :]
        compile("\n".join(broken), "broken", "exec")


def test_a_slip_of_another_source_is_refused() -> None:
    mutation = Mutation(function="f", operator="constant", line=2, before="    return 1", after="    return 2")
    with pytest.raises(ValueError, match="line 2 is not"):
        mutation.apply("def f():\n    return 3\n")


def test_a_source_beyond_ascii_is_refused() -> None:
    with pytest.raises(ValueError, match="ASCII"):
        mutations("def f():\n    return 'é'\n")
