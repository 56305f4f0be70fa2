"""Programs that run tests, or run the program itself to see what it does."""

import posixpath
import re

from reward_models.commands.deed import ANY_FILE, Deed, first_path, operands
from reward_models.commands.network import install
from reward_models.shell import Simple


def own_program(program: str, arguments: tuple[str, ...]) -> list[Deed]:
    """`./reproduce.sh`, `node app.js`: a program of the working directory."""
    name = posixpath.basename(program)
    if name in ("node", "ruby", "perl", "php", "Rscript", "deno", "ts-node", "julia", "lua"):
        script = operands(arguments)[:1]
        return [Deed("check", script[0], check="script")] if script else [Deed("check", check="inline")]
    if program.startswith(("./", "../")) or program.endswith((".sh", ".py")):
        return [Deed("check", program, check="tests" if _names_tests(name) else "script")]
    return []


def _names_tests(name: str) -> bool:
    """Whether a script's name says that it runs tests: check.py, runtests.py, run_tests.sh, test.sh, test_x.py."""
    stem = name.rsplit(".", 1)[0].lower()
    return bool(
        re.fullmatch(r"(run[_-]?)?(all[_-]?)?(tests?|checks?|specs?)([_-].*)?|.*[_-]tests?|runtests?|verify", stem)
    )


_TEST_PROGRAMS = frozenset(
    [
        "pytest",
        "py.test",
        "tox",
        "nox",
        "nosetests",
        "nose2",
        "trial",
        "jest",
        "vitest",
        "mocha",
        "ava",
        "rspec",
        "phpunit",
        "ctest",
        "green",
        "ward",
        "stestr",
    ]
)
_TEST_TARGETS = {
    "make": ("test", "tests", "check"), "npm": ("test", "t"), "yarn": ("test",), "pnpm": ("test",), "bun": ("test",),
    "go": ("test",), "cargo": ("test", "nextest"), "mvn": ("test", "verify"), "gradle": ("test", "check"),
    "gradlew": ("test", "check"), "dotnet": ("test",), "bazel": ("test",), "rake": ("test", "spec"),
    "mix": ("test",), "sbt": ("test",), "deno": ("test",), "hatch": ("test",), "just": ("test",), "lein": ("test",),
    "swift": ("test",), "zig": ("test",), "composer": ("test",), "coverage": ("run",), "django-admin": ("test",),
}  # fmt: skip


def tests(name: str, arguments: tuple[str, ...]) -> list[Deed]:
    """Test runners, and builds with a target that tests."""
    named = operands(arguments, valued=("-C", "-f", "-p", "--manifest-path"))
    if name in _TEST_PROGRAMS:
        if any(flag in arguments for flag in ("--collect-only", "--co", "--version", "--help", "-h", "--fixtures")):
            return [Deed("other")]
        return [Deed("check", first_path(named), check="tests")]
    targets = _TEST_TARGETS.get(name, ())
    wanted = named[1:] if named[:1] == ["run"] and name != "coverage" else named
    if any(word in targets or word.startswith(("test:", "test-", "test_")) for word in wanted[:2]) and targets:
        return [Deed("check", check="tests")]
    if name in ("go", "cargo") and named[:1] == ["run"]:
        return [Deed("check", first_path(named[1:]), check="script")]
    return []


_TEST_MODULES = frozenset(["pytest", "unittest", "tox", "nox", "nose", "nose2", "doctest", "green", "twisted.trial"])
_IDLE_MODULES = frozenset(
    [
        "venv",
        "ensurepip",
        "http.server",
        "json.tool",
        "py_compile",
        "compileall",
        "black",
        "ruff",
        "flake8",
        "mypy",
        "isort",
        "pylint",
        "site",
        "sysconfig",
        "build",
        "setuptools",
        "virtualenv",
        "pdb",
        "cProfile",
        "timeit",
        "this",
        "tokenize",
        "ast",
        "dis",
        "zipfile",
        "tarfile",
    ]
)


def python(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`python [options] script | -m module | -c code | -`."""
    at = 0
    while at < len(arguments) and arguments[at].startswith("-") and arguments[at] != "-":
        option = arguments[at]
        if option == "-m":
            return _module(arguments[at + 1 :])
        if option == "-c":
            return _inline(" ".join(arguments[at + 1 : at + 2]))
        if option in ("--version", "-V", "-VV", "--help", "-h"):
            return [Deed("other")]
        at += 2 if option in ("-W", "-X") else 1
    script = arguments[at] if at < len(arguments) else "-"
    if script == "-":
        return _inline(simple.text)
    name = posixpath.basename(script)
    if name == "setup.py":
        return [Deed("check", check="tests")] if "test" in arguments[at + 1 :] else [Deed("other")]
    if name == "manage.py":
        return [Deed("check", check="tests")] if "test" in arguments[at + 1 :] else [Deed("other")]
    return [Deed("check", script, check="tests" if _names_tests(name) else "script")]


def _module(words: tuple[str, ...]) -> list[Deed]:
    name = words[0] if words else ""
    if name in _TEST_MODULES:
        return tests("pytest", words[1:])
    if name == "coverage":
        return _module(words[words.index("-m") + 1 :]) if "-m" in words[1:] else tests("coverage", words[1:])
    if name == "pip":
        return install(words[1:], Simple(words=words)) or [Deed("other")]
    if not name or name in _IDLE_MODULES:
        return [Deed("other")]
    return [Deed("check", check="script")]


_OPENED = re.compile(
    r"""open\(\s*(?:['"]([^'"\n]{1,300})['"]|(\w{1,60}))\s*,\s*(?:mode\s*=\s*)?['"]([rwax+bt]{1,4})['"]"""
)
_PATH_WRITTEN = re.compile(r"""(?:Path\(\s*['"]([^'"\n]{1,300})['"]\s*\)|\b(\w{1,60}))\.write_(?:text|bytes)\(""")
_NAMED = re.compile(r"""^[ \t]*(\w{1,60})[ \t]*=[ \t]*(?:[\w.]{1,40}\()?['"]([^'"\n]{1,300})['"]""", re.MULTILINE)
_SHOWS = re.compile(r"(?m)(^|;)\s*(import|from|assert)\s")


def _inline(code: str) -> list[Deed]:
    """A program in the command: a change of the files that it writes, a check when it uses some module."""
    names = {match[1]: match[2] for match in _NAMED.finditer(code)}
    changed: list[Deed] = []
    for match in _OPENED.finditer(code):
        if set(match[3]) & set("wax+"):
            path = match[1] or names.get(match[2], ANY_FILE)
            changed.append(Deed("edit" if ".read()" in code else "write", path))
    for match in _PATH_WRITTEN.finditer(code):
        path = match[1] or names.get(match[2], ANY_FILE)
        changed.append(Deed("edit" if "read_" in code else "write", path))
    if changed:
        return changed
    return [Deed("check", check="inline")] if _SHOWS.search(code) else [Deed("other")]
