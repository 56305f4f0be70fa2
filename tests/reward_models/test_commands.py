"""What commands do, read from their text: files looked at and changed, checks run."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_models.commands import ANY_FILE, OPEN_FILE, deeds, same_file


def told(command: str) -> list[tuple[str, str]]:
    return [(deed.kind, deed.path) for deed in deeds(command) if deed.kind != "other"]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("cat a.py", [("read", "a.py")]),
        ("cd src && head -n 20 a.py ../b.py", [("read", "src/a.py"), ("read", "b.py")]),
        ("cat -n a.py | sed -n '1,20p'", [("read", "a.py")]),
        ("sed -n '1,20p' ./src/a.py", [("read", "src/a.py")]),
        ("grep -n -A8 'def f' a.py", [("read", "a.py")]),
        ("grep -rn foo src", [("search", "src")]),
        ("rg foo", [("search", ".")]),
        ("ls | grep py", []),
        ("grep -q foo a.py", []),
        ("find . -name '*.py' | xargs grep -l foo", [("search", ".")]),
        ("find . -name '*.py' -exec sed -i s/a/b/ {} \\;", [("edit", ANY_FILE)]),
        ("awk 'NR<9' a.py", [("read", "a.py")]),
        ("git diff", [("search", ".")]),
        ("git log -p -3", [("history", "")]),
        ("git show HEAD~1:src/a.py", [("history", "src/a.py")]),
        ("open a.py 20", [("read", "a.py")]),
        ("str_replace_editor view /r/a.py --view_range 1 9", [("read", "/r/a.py")]),
    ],
)
def test_looking(command: str, expected: list[tuple[str, str]]) -> None:
    assert told(command) == expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("sed -i '15s/<=/</' a.py", [("edit", "a.py")]),
        ("sed -i.bak -e 's/a/b/' -e 's/c/d/' a.py b.py", [("edit", "a.py"), ("edit", "b.py")]),
        ("sed -n -i 5p a.py", [("edit", "a.py")]),
        ("perl -pi -e 's/a/b/' a.py", [("edit", "a.py")]),
        ("cat > a.py <<'EOF'\nimport b\nEOF", [("write", "a.py")]),
        ("echo x >> a.py", [("edit", "a.py")]),
        ("echo x > /dev/null 2>&1", []),
        ("echo x | tee a.py", [("write", "a.py")]),
        ("cp a.py b.py", [("write", "b.py")]),
        ("mv a.py b.py", [("remove", "a.py"), ("write", "b.py")]),
        ("rm -f a.py", [("remove", "a.py")]),
        ("git checkout -- a.py", [("revert", "a.py")]),
        ("git checkout .", [("revert", ".")]),
        ("git restore a.py", [("revert", "a.py")]),
        ("git checkout -b fix", []),
        ("git checkout main", []),
        ("git stash", [("revert", ".")]),
        ("git apply <<'EOF'\n--- a/a.py\n+++ b/a.py\n@@\nEOF", [("edit", "a.py")]),
        ("python - <<EOF\np = 'a.py'\ns = open(p).read()\nopen(p, 'w').write(s)\nEOF", [("edit", "a.py")]),
        ("python -c \"open('b.py', 'w').write('x')\"", [("write", "b.py")]),
        ("python -c \"from pathlib import Path; Path('b.py').write_text('x')\"", [("write", "b.py")]),
        ("bash -c 'cd x && sed -i s/a/b/ a.py'", [("edit", "x/a.py")]),
        ("edit 3:4\nimport os; rm -rf /\nend_of_edit", [("edit", OPEN_FILE)]),
        ("str_replace_editor str_replace /r/a.py --old_str 'a' --new_str 'b'", [("edit", "/r/a.py")]),
        ("str_replace_editor create /r/a.py --file_text 'rm -rf /'", [("write", "/r/a.py")]),
        ("rm -rf /", [("risk", "/"), ("remove", "/")]),
        ("git reset --hard", [("revert", "."), ("risk", "")]),
    ],
)
def test_changing(command: str, expected: list[tuple[str, str]]) -> None:
    assert told(command) == expected


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("python check.py f", "tests"), ("pytest -x tests/test_a.py::test_b", "tests"), ("python3 -m pytest", "tests"),
        ("python -m unittest discover", "tests"), ("tox -e py311", "tests"), ("make test", "tests"),
        ("make -C sub check", "tests"), ("npm test", "tests"), ("npm run test:unit", "tests"),
        ("go test ./...", "tests"),
        ("cargo test --all", "tests"), ("nosetests", "tests"), ("./run_tests.sh", "tests"), ("bash test.sh", "tests"),
        ("python manage.py test", "tests"), ("cd a && PYTHONPATH=. timeout 60 python -m pytest -q", "tests"),
        ("poetry run pytest", "tests"), ("uv run --with x pytest", "tests"), ("npx jest", "tests"),
        ("coverage run -m pytest", "tests"), ("./gradlew test", "tests"), ("python tests/test_a.py", "tests"),
        ("python reproduce.py", "script"), ("node app.js", "script"), ("./a.out.sh", "script"),
        ("python -m mypackage --help", "script"), ("go run main.go", "script"),
        ("python -c 'import a; print(a.f(1))'", "inline"),
        ("python <<'EOF'\nfrom a import f\nprint(f(1))\nEOF", "inline"),
    ],
)  # fmt: skip
def test_checks(command: str, kind: str) -> None:
    assert [deed.check for deed in deeds(command) if deed.kind == "check"] == [kind]


@pytest.mark.parametrize(
    "command",
    [
        "pip install pytest", "python -m pip install tox", "python setup.py install", "python --version",
        "pytest --collect-only", "echo pytest", "grep pytest a.cfg", "which pytest", "cat test_a.py", "make",
        "npm install", "python -c 'print(1)'", "python -c pass", "go build", "echo python check.py f", "# pytest",
        "python -m py_compile a.py", "ls tests",
    ],
)  # fmt: skip
def test_no_checks(command: str) -> None:
    assert not [deed for deed in deeds(command) if deed.kind == "check"]


def test_who_owns_the_exit_code() -> None:
    def own(command: str) -> bool:
        (check,) = [deed for deed in deeds(command) if deed.kind == "check"]
        return check.last and not check.masked

    assert own("cd a && pytest")
    assert own("pytest && echo done")
    assert not own("pytest | tail -3")
    assert not own("pytest; echo done")
    assert not own("pytest || true")
    assert not own("pytest && git diff")


def test_replaced_texts_are_kept() -> None:
    assert deeds("sed -i '15s/<=/</' a.py")[0].change == ("<=", "<")
    assert deeds("sed -i '15s|a|b|g' a.py")[0].change == ("a", "b")
    assert deeds("str_replace_editor str_replace a.py --old_str 'x y' --new_str z")[0].change == ("x y", "z")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a.py", "a.py", True), ("/r/src/a.py", "src/a.py", True), ("./a.py", "a.py", True),
        ("src/a.py", "lib/a.py", False), ("ba.py", "a.py", False), ("", "a.py", False),
    ],
)  # fmt: skip
def test_same_file(one: str, other: str, same: bool) -> None:
    assert same_file(one, other) is same and same_file(other, one) is same


PROGRAMS = "python sed git rm cat grep find xargs bash cd cp mv tee perl awk edit pytest make env timeout".split()  # noqa: SIM905
COMMANDS = st.lists(
    st.sampled_from([*PROGRAMS, "-i", "-c", "-m", "-e", "--", "-", "s/a/b/", "a.py", "&&", "|", ">", "<<E"])
    | st.sampled_from(["'", '"', "\n"])
    | st.text(max_size=8),
    max_size=15,
).map(" ".join)  # fmt: skip


@given(COMMANDS | st.text(max_size=300))
@settings(max_examples=800, deadline=None)
def test_any_command_is_read(command: str) -> None:
    for deed in deeds(command):
        assert isinstance(deed.path, str) and deed.kind


@pytest.mark.parametrize(
    "command",
    [
        "bash -c '" * 2000, "sed -i 's" + "a" * 60_000, "sed -i '" + "s" * 60_000 + "/' f", "rm -" + "r" * 60_000 + "!",
        "python -c '" + "open(" * 12_000, "python -c '" + "a = \"" * 10_000, "cat " + "a " * 32_000,
        "env " * 16_000 + "ls", "find " * 13_000, "xargs " * 10_000, "perl -p" + "i" * 60_000 + "!", "A=1 " * 16_000,
        "python " + "../" * 20_000, "./" + "test_" * 13_000, "grep -" + "r" * 60_000,
        "cd a;" * 13_000, "edit " + "'" * 60_000,
    ],
    ids=lambda command: command[:12],
)  # fmt: skip
def test_hostile_commands_take_little_time(command: str) -> None:
    began = time.process_time()
    deeds(command)
    assert time.process_time() - began < 2.0
