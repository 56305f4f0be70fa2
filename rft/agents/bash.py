"""The agent `bash`: one shell tool, one command a turn, submission by an explicit command.

Reads its system prompt and the task's message from a template file with the blocks `system` and `task`.
"""

import re
import time
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
from jinja2.sandbox import SandboxedEnvironment
from msgspec.structs import replace

from rft.agents.attempt import Attempt
from rft.errors import ContextFull, InferenceError, RecipeError, SandboxError, did_you_mean
from rft.interfaces import Conversation, Sandbox
from rft.types import Completion, Execution, Failure, Message, Step, StopReason, Task, Tool

SUBMIT = "submit"
TOOLS = (
    Tool(
        name="bash",
        description="Run a command in a fresh bash in the repository; you are shown its exit code and its output.",
        parameters={"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
    ),
    Tool(name=SUBMIT, description="End your work.", parameters={"type": "object", "properties": {}}),
)
PROMPTS = Path(__file__).parent / "prompts"
_BLOCK = re.compile(r"```(?:bash|sh)[ \t]*\n(.*?)\n?```", re.DOTALL)


@dataclass(kw_only=True)
class Bash:
    """One shell tool. A reply holds exactly one ```bash block; the command `submit` alone ends the attempt.

    With `tools` a reply holds one call of `bash` or of `submit`.
    """

    max_steps: int = 30
    """The most turns."""
    max_tokens: int = 100_000
    """The most tokens that the model may produce over the whole attempt."""
    time_limit: float = 900.0
    """Seconds for the whole attempt, model and commands together."""
    command_timeout: float = 60.0
    """Seconds for one command."""
    observation_chars: int = 8_000
    """Longer output is cut in the middle."""
    format_errors: int = 3
    """Stop after so many replies in a row that hold no command that can be run."""
    prompt: str = "bash"
    """A shipped prompt's name (bash, bash_tools, terse), or a path to a template with blocks `system` and `task`."""
    tools: bool = False
    """Commands come as calls of a tool, not as blocks of text; the prompt bash_tools tells so."""
    _template: jinja2.Template = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._template = _load_template(self.prompt)

    def attempt(self, task: Task, sandbox: Sandbox, conversation: Conversation) -> Attempt:
        """Work on the task until a stop reason is met; failures of model and sandbox are recorded, not raised."""
        attempt = Attempt(prompt=self.first_messages(task), tools=list(TOOLS) if self.tools else [])
        deadline = time.monotonic() + self.time_limit
        try:
            stop = None
            while stop is None:
                stop = self._turn(attempt, sandbox, conversation, deadline)
            attempt.stop = stop
        except ContextFull:
            attempt.stop = StopReason.CONTEXT_FULL
        except InferenceError as error:
            self._broke(attempt, "inference", error, deadline)
        except SandboxError as error:
            self._broke(attempt, "sandbox", error, deadline)
        return attempt

    def first_messages(self, task: Task) -> list[Message]:
        """What the model is shown before its first turn; an empty system block gives no system message."""
        context = self._template.new_context(
            {"statement": task.statement, "max_steps": self.max_steps, "submit": SUBMIT}
        )
        messages = []
        for role, block in (("system", "system"), ("user", "task")):
            text = "".join(self._template.blocks[block](context)).strip()
            if text:
                messages.append(Message(role=role, content=text))
        return messages

    def _turn(
        self, attempt: Attempt, sandbox: Sandbox, conversation: Conversation, deadline: float
    ) -> StopReason | None:
        began = time.monotonic()
        completion = conversation.reply(attempt.messages(), deadline=deadline, tools=attempt.tools)
        attempt.model_seconds += time.monotonic() - began
        index = len(attempt.steps) + 1
        attempt.add_tokens(completion, index)
        command, problem = read_call(completion) if self.tools else read_command(completion)
        step = Step(
            index=index,
            reply=completion.text,
            reasoning=completion.reasoning,
            command=command,
            observation="",
            problem=problem,
            tool_calls=completion.tool_calls,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
        )
        if command == SUBMIT:
            attempt.steps.append(step)
            return StopReason.SUBMITTED
        attempt.steps.append(self._run(step, sandbox, deadline))
        attempt.command_seconds += attempt.steps[-1].seconds
        return self._limit(attempt, deadline)

    def _run(self, step: Step, sandbox: Sandbox, deadline: float) -> Step:
        if step.command is None:
            return shown(step, f"[no command was run: {step.problem}]")
        left = max(0.1, deadline - time.monotonic())
        execution = sandbox.run(step.command, timeout=min(self.command_timeout, left))
        return replace(
            shown(step, self._observation(execution)),
            exit_code=execution.exit_code,
            timed_out=execution.timed_out,
            truncated_bytes=execution.truncated_bytes,
            killed=execution.killed,
            seconds=execution.seconds,
        )

    def _observation(self, execution: Execution) -> str:
        status = f"[exit {execution.exit_code}]" if execution.exit_code is not None else f"[killed: {execution.killed}]"
        output = cut_in_the_middle(execution.output.rstrip(), self.observation_chars, execution.truncated_bytes)
        return f"{status}\n{output}" if output else status

    def _limit(self, attempt: Attempt, deadline: float) -> StopReason | None:
        if time.monotonic() >= deadline:
            return StopReason.TIME_LIMIT
        if attempt.generated_tokens() >= self.max_tokens:
            return StopReason.TOKEN_LIMIT
        if len(attempt.steps) >= self.format_errors and all(s.problem for s in attempt.steps[-self.format_errors :]):
            return StopReason.FORMAT_LIMIT
        if len(attempt.steps) >= self.max_steps:
            return StopReason.STEP_LIMIT
        return None

    def _broke(self, attempt: Attempt, where: str, error: Exception, deadline: float) -> None:
        """A breakdown after the deadline is the deadline's doing, and no failure."""
        if where == "inference" and time.monotonic() >= deadline:
            attempt.stop = StopReason.TIME_LIMIT
        else:
            attempt.stop = StopReason.ERROR
            attempt.failure = Failure(where=where, message=str(error)[:2000])


def read_command(completion: Completion) -> tuple[str | None, str]:
    """The one command of a reply, or None and what is wrong with the reply."""
    blocks = _BLOCK.findall(completion.text)
    if len(blocks) == 1 and blocks[0].strip():
        return blocks[0].strip(), ""
    if completion.finish_reason == "length":
        return None, f"the reply was cut at {completion.completion_tokens} tokens"
    if not blocks:
        return None, "expected one ```bash block, found none"
    return None, "the ```bash block is empty" if len(
        blocks
    ) == 1 else f"expected one ```bash block, found {len(blocks)}"


def read_call(completion: Completion) -> tuple[str | None, str]:
    """The command of a reply's one call, or None and what is wrong with the reply."""
    calls = completion.tool_calls
    if len(calls) != 1:
        if not calls and completion.finish_reason == "length":
            return None, f"the reply was cut at {completion.completion_tokens} tokens"
        return None, f"expected one call of a tool, found {len(calls) or 'none'}"
    if calls[0].name == SUBMIT:
        return SUBMIT, ""
    given = calls[0].arguments
    command = given.get("command") if isinstance(given, dict) else None
    if calls[0].name != "bash" or not isinstance(command, str) or not command.strip():
        return None, f"expected a call of bash with a command, or of {SUBMIT}"
    return command.strip(), ""


def shown(step: Step, text: str) -> Step:
    """The step with what the model is told, as the result of each of its calls where it made some."""
    calls = [replace(call, result=(0, len(text))) for call in step.tool_calls]
    return replace(step, observation=text, tool_calls=calls)


def cut_in_the_middle(text: str, limit: int, lost_bytes: int = 0) -> str:
    """At most about `limit` characters: the first and last halves, with a line that says what is missing."""
    if len(text) > limit:
        half = max(1, limit // 2)
        text = f"{text[:half]}\n[... {len(text) - 2 * half} characters cut ...]\n{text[-half:]}"
    return f"{text}\n[{lost_bytes} further bytes were thrown away]" if lost_bytes else text


def _load_template(name: str) -> jinja2.Template:
    path = Path(name) if name.endswith(".jinja") else PROMPTS / f"{name}.jinja"
    known = sorted(p.stem for p in PROMPTS.glob("*.jinja"))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise RecipeError(
            f"agent.prompt: no prompt is called '{name}'; expected {', '.join(known)}, or a path that ends in .jinja."
            + did_you_mean(name, known)
        ) from None
    environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=False)
    try:
        template = environment.from_string(text)
    except jinja2.TemplateSyntaxError as error:
        raise RecipeError(f"{path}, line {error.lineno}: not a template ({error.message}). Mend it.") from None
    absent = {"system", "task"} - template.blocks.keys()
    if absent:
        raise RecipeError(f"{path}: the block '{min(absent)}' is missing; expected the blocks system and task.")
    return template
