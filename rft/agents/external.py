"""The agent `external`: any program, run inside the sandbox, that asks its model at the recorder's address.

The program is yours; nothing of rft runs beside it. It finds the recorder where programs look for a model: in
OPENAI_BASE_URL and OPENAI_API_KEY, in ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY. It works in the working directory and
ends with exit code 0 when it is done.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rft.agents.attempt import Attempt
from rft.agents.recorder import Line, Recorder
from rft.errors import RecipeError, SandboxError
from rft.interfaces import Conversation, Sandbox
from rft.types import Execution, Failure, Message, StopReason, Task

RECORDER = Recorder()
"""This process's; it starts with the first attempt."""
LONGEST_VARIABLE = 100_000
"""Bytes of a statement that fits into the environment; Linux takes 128 KiB for one variable."""
STATEMENT = "statement.md"
PROGRAMS = Path(__file__).parent / "programs"
UNFIT = (126, 127)
"""Exit codes of bash for a command that cannot be run."""


@dataclass(kw_only=True)
class External:
    """A program of any kind. The sandbox's limits of memory, CPU time and output hold for its whole run."""

    command: str
    """What bash runs in the working directory, such as `node "$RFT_FILES/agent.mjs"`. The statement is in the variable
    RFT_STATEMENT and in the file that RFT_STATEMENT_FILE names; it is never put into the command."""
    files: list[str] = field(default_factory=list)
    """Files that are put into the sandbox, into the folder that RFT_FILES names: paths here, or programs that ship
    (tools.mjs, plain.py). What is larger than a few files is shown to the sandbox by `sandbox.readable`."""
    variables: dict[str, str] = field(default_factory=dict)
    """More of its environment. Secrets do not belong here: the policy's commands see them."""
    max_steps: int = 100
    """The most calls to the policy; the next one is refused."""
    max_tokens: int = 100_000
    """The most tokens that the policy may produce over the whole attempt; after them calls are refused."""
    time_limit: float = 900.0
    """Seconds for the whole attempt; then the program is ended."""
    contents: dict[str, bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.command.strip():
            raise ValueError("command is empty; expected what bash is to run")
        names = [Path(file).name for file in self.files]
        if len(set(names)) < len(names) or STATEMENT in names:
            raise ValueError(f"files: {', '.join(sorted(names))}; expected names that differ, and none {STATEMENT}")
        self.contents = {Path(file).name: _content(file) for file in self.files}
        for name, value in self.variables.items():
            if not name.isidentifier() or "\0" in value:
                raise ValueError(f"variables: '{name}' is no name, or its value holds a null byte")

    def attempt(self, task: Task, sandbox: Sandbox, conversation: Conversation) -> Attempt:
        """Run the program to its end; failures of model, sandbox and program are recorded, not raised."""
        deadline = time.monotonic() + self.time_limit
        line = Line(conversation, deadline=deadline, max_steps=self.max_steps, max_tokens=self.max_tokens)
        execution: Execution | None = None
        failure: Failure | None = None
        try:
            folder = put(sandbox, self.contents | {STATEMENT: task.statement.encode("utf-8", "replace")})
            door = sandbox.door()
            port = door.getsockname()[1]
            with RECORDER.open(line, door) as key:
                variables = addresses(port, key) | files(task.statement, folder) | self.variables
                left = max(0.1, deadline - time.monotonic())
                execution = sandbox.run(self.command, timeout=left, variables=variables)
        except SandboxError as error:
            failure = Failure(where="sandbox", message=str(error)[:2000])
        attempt = line.close()
        attempt.prompt = attempt.prompt or [Message(role="user", content=task.statement)]
        if execution is None:
            attempt.failure = failure
            return attempt
        attempt.command_seconds = max(0.0, execution.seconds - attempt.model_seconds)
        attempt.extra = {
            "program": {"exit_code": execution.exit_code, "output": execution.output, "ignored": sorted(line.ignored)}
        }
        attempt.stop, attempt.failure = ending(line, execution)
        return attempt


def ending(line: Line, execution: Execution) -> tuple[StopReason, Failure | None]:
    """Why the attempt ended, and whether it broke down."""
    if execution.timed_out:
        return StopReason.TIME_LIMIT, None
    if line.limit is not None:
        return line.limit, None
    if line.failure is not None:
        return StopReason.ERROR, line.failure
    if execution.exit_code != 0:
        return StopReason.ERROR, Failure(where="agent", message=_what_happened(execution))
    if not line.attempt.steps:
        message = "the program ended without a call to the policy; expected it to ask at OPENAI_BASE_URL."
        return StopReason.ERROR, Failure(where="agent", message=f"{message} {_last_words(execution)}".strip())
    return StopReason.SUBMITTED, None


def put(sandbox: Sandbox, files: Mapping[str, bytes]) -> str:
    """Put files into a folder outside the working directory; its path in the sandbox. Raises SandboxError."""
    for name, content in files.items():
        sandbox.write(f".rft/{name}", content)
    moved = sandbox.run('mv -- .rft "$TMPDIR/rft" && printf %s "$TMPDIR/rft"')
    if moved.exit_code != 0:
        raise SandboxError(f"sandbox: the agent's files could not be put there ({moved.output.strip()[-200:]}).")
    return moved.output


def addresses(port: int, key: str) -> dict[str, str]:
    """Where programs look for a model."""
    base = f"http://127.0.0.1:{port}"
    return {
        "OPENAI_BASE_URL": f"{base}/v1",
        "OPENAI_API_BASE": f"{base}/v1",
        "OPENAI_API_KEY": key,
        "ANTHROPIC_BASE_URL": base,
        "ANTHROPIC_API_KEY": key,
        "NO_PROXY": "127.0.0.1",
    }


def files(statement: str, folder: str) -> dict[str, str]:
    """Where the files are, and the statement itself, unless it is too long for a program's environment."""
    text = statement.replace("\0", "").encode("utf-8", "replace")
    path = f"{folder}/{STATEMENT}"
    if len(text) > LONGEST_VARIABLE:
        text = f"The task is described in the file {path}. Read it first.".encode()
    return {"RFT_FILES": folder, "RFT_STATEMENT_FILE": path, "RFT_STATEMENT": text.decode()}


def _content(file: str) -> bytes:
    path = PROGRAMS / file if (PROGRAMS / file).is_file() else Path(file)
    try:
        return path.read_bytes()
    except OSError as error:
        known = ", ".join(sorted(program.name for program in PROGRAMS.iterdir()))
        raise RecipeError(
            f"agent.files: '{file}' cannot be read ({error.strerror}); expected a path, or one of {known}."
        ) from None


def _what_happened(execution: Execution) -> str:
    if execution.killed:
        why = f"the program was killed ({execution.killed}); raise the sandbox's limit, or the program is at fault."
    elif execution.exit_code in UNFIT:
        why = "the program cannot be run; a folder that it needs is shown by sandbox.readable."
    else:
        why = f"the program ended with exit code {execution.exit_code}; expected 0."
    return f"{why} {_last_words(execution)}".strip()[:2000]


def _last_words(execution: Execution) -> str:
    lines = execution.output.strip().splitlines()
    return f"Its last line: {lines[-1].strip()[:300]}" if lines else ""
