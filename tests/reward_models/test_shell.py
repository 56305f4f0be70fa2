"""The shell reader: what simple commands a line holds, and that no text breaks it or takes long."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_models.shell import split


def words(command: str) -> list[tuple[str, ...]]:
    return [simple.words for simple in split(command)]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("ls -la", [("ls", "-la")]),
        ("cd a && python b.py | tail -3 || true; echo 'x;y'", None),
        ('echo \'a  b\' "c \\" d" e\\ f', [("echo", "a  b", 'c " d', "e f")]),
        ("a\nb # no c\nd", [("a",), ("b",), ("d",)]),
        ("(cd x; ls)", [("cd", "x"), ("ls",)]),
        ("if grep -q x f; then rm f; fi", [("grep", "-q", "x", "f"), ("rm", "f")]),
        ("echo $(cat a | wc -l) b", [("echo", "$(cat a | wc -l)", "b")]),
        ("python -c 'import a; print(a)'", [("python", "-c", "import a; print(a)")]),
        ("a \\\n  b", [("a", "b")]),
        ("echo 'never closed", [("echo", "never closed")]),
    ],
)
def test_words(command: str, expected: list[tuple[str, ...]] | None) -> None:
    if expected is None:
        expected = [("cd", "a"), ("python", "b.py"), ("tail", "-3"), ("true",), ("echo", "x;y")]
    assert words(command) == expected


def test_operators_stand_on_both_sides() -> None:
    cd, run, tail = split("cd a && pytest 2>&1 | tail")
    assert (cd.before, cd.after, run.before, run.after, tail.before) == ("", "&&", "&&", "|", "|")


def test_redirections() -> None:
    (simple,) = split("sort < in.txt > out.txt 2> errors.txt >> more.txt 2>/dev/null")
    assert (simple.words, simple.takes, simple.writes, simple.appends) == (
        ("sort",), ("in.txt",), ("out.txt",), ("more.txt",),
    )  # fmt: skip


def test_here_documents_feed_their_command_and_are_no_commands() -> None:
    write, run = split("cat > a.py <<'EOF' && python a.py\nimport os\nrm -rf x\nEOF\n")
    assert write.text == "import os\nrm -rf x" and write.writes == ("a.py",)
    assert run.words == ("python", "a.py")
    python, after = split("python - <<EOF\nprint(1)\nEOF\nls")
    assert (python.text, after.words) == ("print(1)", ("ls",))
    first, second = split("cat <<A; cat <<B\n1\nA\n2\nB\n")
    assert (first.text, second.text) == ("1", "2")


SHELLISH = st.text(alphabet="ab'\"\\ \n\t<>|&;()$`#{}=-/.EOF\0é\ud800", max_size=200)


@given(SHELLISH | st.text(max_size=200))
@settings(max_examples=500, deadline=None)
def test_any_text_is_split(text: str) -> None:
    for simple in split(text):
        assert simple.words or simple.writes or simple.appends or simple.takes


@pytest.mark.parametrize(
    "piece", ["'", '"', "$(", "(", "<<a ", "<<a;\n", "\\", "a;", "<", "`", "{ ", "a<<x\n", "$(a", "\n", "a|"]
)
def test_time_is_bounded(piece: str) -> None:
    began = time.process_time()
    split(piece * 100_000)
    assert time.process_time() - began < 2.0
