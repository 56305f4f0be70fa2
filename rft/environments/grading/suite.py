"""What a task's tests are: how they are run, which must pass, and which files belong to them."""

from collections.abc import Sequence
from dataclasses import dataclass

from rft.environments.grading import parsers
from rft.errors import RecipeError, did_you_mean

TESTS = (
    "test_*",  # whatever its ending: a folder test_x/ or a library test_x.so would be imported before test_x.py
    "*_test.py",
    "*_tests.py",
    "tests.py",
    "test",
    "tests",
    "testing",
    "__tests__",
    "*.test.*",
    "*.spec.*",
    "*_test.go",
)
"""Path patterns of tests."""
PROTECTED = (
    *TESTS,
    "conftest.py",
    "pytest.ini",
    ".pytest.ini",
    "pytest.toml",
    ".pytest.toml",
    "tox.ini",
    "noxfile.py",
    "setup.cfg",
    "pyproject.toml",
    ".coveragerc",
    "jest.config.*",
    "vitest.config.*",
    ".mocharc*",
    "runtests*",
    "run_tests*",
    "sitecustomize.py",
    "usercustomize.py",
    "*.pth",
    "*.egg-info",  # entry points in the working directory would load plugins
    "*.dist-info",
    ".gitattributes",
)
"""Path patterns of tests, of their configuration, and of what an interpreter runs unasked."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A task's tests: the plan of one grading."""

    command: str
    """Run by bash in the working directory, such as `python -m pytest tests/test_x.py`. With the parser `pytest` it
    starts pytest once."""
    parser: str
    """How the results are read: `pytest`, from a plugin that reports apart from the output; `pytest_log`, `unittest`,
    `django`, `sympy`, `junit` or `tap`, from the output; `exit_code`, one test of that name."""
    fail_to_pass: Sequence[str]
    """Tests that fail at the start and must pass at the end; at least one."""
    pass_to_pass: Sequence[str]
    """Tests that pass at the start and must still pass at the end."""
    test_patch: str = ""
    """The tests that are hidden from the agent, a git diff against the start state. Its files, and those that
    `command` names, belong to the grader: what an answer did to them does not count."""
    protected: Sequence[str] = PROTECTED
    """Path patterns (fnmatch, against the path or any part of it) whose hunks are left out; reported are all but new
    tests."""
    source: Sequence[str] = ()
    """Paths that are source though they match TESTS, such as `django/test/client.py`: those that a fix changes."""
    timeout: float = 300.0
    """Seconds that one run of the tests may take."""

    def __post_init__(self) -> None:
        if self.parser not in parsers.NAMES:
            raise RecipeError(
                f"parser: is '{self.parser}'; expected {', '.join(parsers.NAMES)}."
                f"{did_you_mean(self.parser, parsers.NAMES)}"
            )

    @property
    def expected(self) -> list[str]:
        """Every test that has a say in the verdict."""
        return list(dict.fromkeys([*self.fail_to_pass, *self.pass_to_pass]))
