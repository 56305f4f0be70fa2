"""One run of a suite in a fresh sandbox: the tests are laid out, the answer is applied, the command is run."""

import contextlib

from rft.environments import patches
from rft.environments.grading import canary, channel, parsers
from rft.environments.grading.results import KEPT, Results
from rft.environments.grading.suite import Suite
from rft.errors import EnvironmentFault, SandboxError
from rft.interfaces import Sandbox, SandboxProvider, StartState

_PATCH = ".rft.patch"
_STRICT = f"git -c safe.directory=* apply --whitespace=nowarn {_PATCH}"
_FUZZY = (
    f"patch --batch --fuzz=5 -p1 --dry-run -i {_PATCH}"
    f" && patch --batch --fuzz=5 -p1 --no-backup-if-mismatch --reject-file=- -i {_PATCH}"
)


class NotApplied(Exception):
    """The answer's patch does not fit the start state."""


class Bench:
    """Opens fresh sandboxes on a start state and runs a suite there, with an answer or without."""

    def __init__(self, where: str, start: StartState, suite: Suite, sandboxes: SandboxProvider) -> None:
        self.where = where
        self.start = start
        self.suite = suite
        self.sandboxes = sandboxes

    def run(self, answer: str) -> Results:
        """The results with this patch on top of the tests. Raises NotApplied, EnvironmentFault and SandboxError."""
        with contextlib.closing(self.sandboxes.open(self.start)) as sandbox:
            self._prepare(sandbox, answer)
            return self._results(sandbox)

    def forgery(self, answer: str) -> list[str]:
        """What shows that an answer's results are forged: canaries that passed under it. Raises as `run` does."""
        paths = canary.files(self.suite)
        if not paths or self.suite.parser == parsers.EXIT_CODE:
            return []
        with contextlib.closing(self.sandboxes.open(self.start)) as sandbox:
            self._prepare(sandbox, answer)
            made = {}
            for path in paths:
                with contextlib.suppress(FileNotFoundError):
                    made[path] = canary.make(sandbox.read(path))
            canaries = {path: one for path, one in made.items() if one is not None}
            if not canaries:
                return []
            for path, one in canaries.items():
                sandbox.write(path, one.source)
            results = self._results(sandbox)
        return [
            *results.forged,
            *(f"{name} passed though it was made to fail" for name in canary.passed(canaries, results)),
        ]

    def _prepare(self, sandbox: Sandbox, answer: str) -> None:
        """Lay out the tests, then apply the answer, which changes none of their files."""
        if self.suite.test_patch and not _applied(sandbox, self.suite.test_patch, _STRICT):
            raise EnvironmentFault(f"{self.where}: its test patch does not apply to its start state. Make it again.")
        if answer and not self._applied(sandbox, answer):
            raise NotApplied

    def _applied(self, sandbox: Sandbox, answer: str) -> bool:
        """Apply an answer's patch as SWE-bench does: by git, else with fuzz; as it is, else without carriage returns.

        With fuzz it is seen to that nothing but the patch's own files was changed.
        """
        texts = list(dict.fromkeys([answer, answer.replace("\r\n", "\n")]))
        if any(_applied(sandbox, text, _STRICT) for text in texts):
            return True
        if not any(_applied(sandbox, text, _FUZZY) for text in texts):
            return False
        named = {path for text in (answer, self.suite.test_patch) for file in patches.read(text) for path in file.paths}
        return {path for file in patches.split(sandbox.diff()) for path in file.paths} <= named

    def _results(self, sandbox: Sandbox) -> Results:
        command, timeout = self.suite.command, self.suite.timeout
        if self.suite.parser == "pytest":
            word = channel.new_word()
            sandbox.write(channel.WORD_FILE, f"{word}\n".encode())
            execution = sandbox.run(channel.reported(command), timeout=timeout, output=KEPT)
            return channel.read(execution, word)
        execution = sandbox.run(channel.printed(command), timeout=timeout, output=KEPT)
        return parsers.read(self.suite.parser, execution)


def _applied(sandbox: Sandbox, patch: str, way: str) -> bool:
    sandbox.write(_PATCH, patch.encode("utf-8", "surrogateescape"))
    done = sandbox.run(f"{way}; code=$?; rm -f {_PATCH}; exit $code")
    if done.exit_code is None or (way == _STRICT and done.exit_code in (126, 127)):
        raise SandboxError(f"a patch cannot be applied: {done.killed or done.output.strip()[-200:]}. Is git there?")
    return done.exit_code == 0
