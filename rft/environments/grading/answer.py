"""Which part of an answer is graded: its changes of source files. What belongs to the tests is left out, and named."""

import posixpath
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rft.environments import patches
from rft.environments.grading.suite import TESTS, Suite

_LEFTOVERS = ("__pycache__", "*.pyc", "*.pyo")
"""What Python itself leaves behind: not graded, and nobody's fault."""
_TOOLS = frozenset({"pytest", "_pytest", "py", "pluggy", "iniconfig", "nose", "xdist", "pytest_cov", "hypothesis"})
_ROOTS = ("", "src", "lib")
_COMPILED = (".so", ".pyd", ".dll")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer's patch, parted."""

    patch: str
    """What is graded."""
    tampered: list[str]
    """Protected paths that the answer changed; these changes are left out."""
    new_tests: list[str]
    """Tests that the answer adds to those that were there; they are left out too, and are no tampering."""
    files: int
    added: int
    removed: int


def part(patch: str, suite: Suite) -> Answer:
    """Part an answer's patch. Raises ValueError when it cannot be read as a patch."""
    files = [f for f in patches.read(patch) if not all(patches.matches(path, _LEFTOVERS) for path in f.paths)]
    own = {path for file in patches.read(suite.test_patch) for path in file.paths} | named_by(suite.command)
    protected = {path for file in files for path in file.paths if _is_protected(path, file, suite, own)}
    tampered = {path for file in files if not is_new_test(file, suite.protected) for path in file.paths} & protected
    graded = [file for file in files if not set(file.paths) & protected]
    return Answer(
        patch="".join(file.text for file in graded),
        tampered=sorted(tampered),
        new_tests=sorted(protected - tampered),
        files=len(files),
        added=sum(file.added for file in files),
        removed=sum(file.removed for file in files),
    )


def is_new_test(file: patches.FilePatch, protected: Sequence[str]) -> bool:
    """Is it a test, or a test's helper or data, that was not there before, and that nothing runs unasked?

    People add such files with their work. A package's `__init__.py` is one only while it is empty.
    """
    path, name = file.paths[0], posixpath.basename(file.paths[0])
    more_than_tests = [pattern for pattern in protected if pattern not in TESTS]
    return (
        file.is_new
        and len(file.paths) == 1
        and patches.matches(path, TESTS)
        and not patches.matches(path, more_than_tests)
        and not (name == "__init__.py" and file.added)
        and not name.endswith(_COMPILED)
        and name.partition(".")[0] not in sys.stdlib_module_names | _TOOLS
    )


def _is_protected(path: str, file: patches.FilePatch, suite: Suite, own: set[str]) -> bool:
    if path in own or (file.is_new and _takes_the_place_of_a_tool(path)):
        return True
    patterns = [pattern for pattern in suite.protected if path not in suite.source or pattern not in TESTS]
    return patches.matches(path, patterns)


def _takes_the_place_of_a_tool(path: str) -> bool:
    """A module that would be imported instead of the standard library's or the test program's."""
    folder, _, rest = path.partition("/") if path.startswith(("src/", "lib/")) else ("", "", path)
    name = rest.partition("/")[0].partition(".")[0]
    return folder in _ROOTS and name in sys.stdlib_module_names | _TOOLS and path.endswith((".py", ".so"))


def named_by(command: str) -> set[str]:
    """The files that a command names, such as the script that runs the tests."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    return {word.partition("::")[0].removeprefix("./") for word in words}
