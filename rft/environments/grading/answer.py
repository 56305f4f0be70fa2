"""Which part of an answer is graded: its changes of source files. What belongs to the tests is left out, and named."""

import shlex
import sys
from dataclasses import dataclass

from rft.environments import patches
from rft.environments.grading.suite import Suite

_LEFTOVERS = ("__pycache__", "*.pyc", "*.pyo")
"""What Python itself leaves behind: not graded, and nobody's fault."""
_TOOLS = frozenset({"pytest", "_pytest", "py", "pluggy", "iniconfig", "nose", "xdist", "pytest_cov", "hypothesis"})
_ROOTS = ("", "src", "lib")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer's patch, parted."""

    patch: str
    """What is graded."""
    tampered: list[str]
    """Protected paths that the answer changed; these changes are left out."""
    files: int
    added: int
    removed: int


def part(patch: str, suite: Suite) -> Answer:
    """Part an answer's patch. Raises ValueError when it cannot be read as a patch."""
    files = [f for f in patches.read(patch) if not all(patches.matches(path, _LEFTOVERS) for path in f.paths)]
    own = {path for file in patches.read(suite.test_patch) for path in file.paths} | named_by(suite.command)
    tampered = sorted({path for file in files for path in file.paths if _is_protected(path, file, suite, own)})
    graded = [file for file in files if not set(file.paths) & set(tampered)]
    return Answer(
        patch="".join(file.text for file in graded),
        tampered=tampered,
        files=len(files),
        added=sum(file.added for file in files),
        removed=sum(file.removed for file in files),
    )


def _is_protected(path: str, file: patches.FilePatch, suite: Suite, own: set[str]) -> bool:
    return path in own or patches.matches(path, suite.protected) or (file.is_new and _takes_the_place_of_a_tool(path))


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
