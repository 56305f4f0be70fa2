"""One attempt's line to the policy: each call is answered, and kept as a step with its exact tokens.

An agent program sends its whole conversation with every call. Where that is the one of an earlier call carried on, only
what is new of it is kept: it is what came back to the earlier turn.
"""

import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from msgspec.structs import replace

from rft.agents.attempt import Attempt
from rft.agents.recorder.asked import Asked, Refused
from rft.errors import ContextFull, InferenceError
from rft.interfaces import Conversation
from rft.transcript import commands_of, turn
from rft.types import Completion, Failure, Message, Step, StopReason, Tool

_SHELL = re.compile(r"```(?:bash|sh|shell|mswea_bash_command)[ \t]*\n(.*?)\n?```", re.DOTALL)


@dataclass
class Thread:
    """One of an attempt's conversations: an agent that shortens its history, or has helpers, leads several."""

    messages: list[Message]
    """Up to and with the last reply."""
    tools: list[Tool]
    step: int
    """Where that reply stands in the attempt."""


class Line:
    """Answers one attempt's calls, one at a time, and knows what became of them. Calls may come from any thread."""

    def __init__(
        self,
        conversation: Conversation,
        *,
        deadline: float,
        max_steps: int = 1_000,
        max_tokens: int = 10_000_000,
    ) -> None:
        """`deadline` is a `time.monotonic()` value."""
        self.conversation = conversation
        self.deadline = deadline
        self.max_steps = max_steps
        self.max_tokens = max_tokens
        self.attempt = Attempt(prompt=[])
        self.threads: list[Thread] = []
        self.ignored: set[str] = set()
        """Parameters that the agent gave and the policy did not heed."""
        self.limit: StopReason | None = None
        """The limit that a call ran into."""
        self.failure: Failure | None = None
        """Why the last call was not answered, when the model could not be asked."""
        self._turns = ThreadPoolExecutor(max_workers=1, thread_name_prefix="line")
        self._closing = threading.Lock()
        self._is_closed = False

    def ask(self, asked: Asked) -> "Future[Completion]":
        """The answer to a call, once it is the call's turn. Its exceptions are Refused."""
        with self._closing:
            if self._is_closed:
                raise Refused(403, "attempt_over", "the attempt is over; expected no more calls.")
            return self._turns.submit(self._answer, asked)

    def close(self) -> Attempt:
        """Take no more calls, wait for the one under way, and give what was recorded."""
        with self._closing:
            self._is_closed = True
        self._turns.shutdown(wait=True, cancel_futures=True)
        return self.attempt

    def _answer(self, asked: Asked) -> Completion:
        self.ignored.update(asked.ignored)
        self._refuse_over_limit()
        thread, messages = self._continued(asked)
        began = time.monotonic()
        try:
            completion = self.conversation.reply(messages, deadline=self.deadline, tools=asked.tools)
        except ContextFull as error:
            self.limit, self.failure = StopReason.CONTEXT_FULL, None
            raise Refused(400, "context_length_exceeded", f"context_length_exceeded: {error}") from None
        except InferenceError as error:
            if time.monotonic() >= self.deadline:
                self.limit = StopReason.TIME_LIMIT
                raise Refused(403, "attempt_over", f"the attempt's time is up: {error}") from None
            self.failure = Failure(where="inference", message=str(error)[:2000])
            raise Refused(502, "no_answer", str(error)) from None
        except Exception as error:  # plug-ins may raise anything
            self.failure = Failure(where="inference", message=f"{type(error).__name__}: {error}"[:2000])
            raise Refused(500, "no_answer", self.failure.message) from None
        finally:
            self.attempt.model_seconds += time.monotonic() - began
        self.limit = self.failure = None  # an agent that shortens its history goes on
        self._record(asked, thread, messages, completion)
        return completion

    def _refuse_over_limit(self) -> None:
        if time.monotonic() >= self.deadline:
            self.limit = StopReason.TIME_LIMIT
        elif len(self.attempt.steps) >= self.max_steps:
            self.limit = StopReason.STEP_LIMIT
        elif self.attempt.generated_tokens() >= self.max_tokens:
            self.limit = StopReason.TOKEN_LIMIT
        else:
            return
        raise Refused(403, "attempt_over", f"{self.limit.value}: the attempt is over; expected no more calls.")

    def _continued(self, asked: Asked) -> tuple[Thread | None, list[Message]]:
        """The conversation that the call goes on from, if any, and all its messages in the words of the record.

        What the record holds is what the policy said; an agent may hand its words back trimmed, or its calls spaced
        otherwise.
        """
        given, best = list(asked.messages), None
        for thread in self.threads:
            if len(thread.messages) < len(given) and (best is None or len(thread.messages) > len(best.messages)):
                same = list(thread.tools) == list(asked.tools)
                if same and all(map(_alike, thread.messages, given)):
                    best = thread
        if best is None:
            return None, given
        return best, [*best.messages, *given[len(best.messages) :]]

    def _record(self, asked: Asked, thread: Thread | None, messages: list[Message], completion: Completion) -> None:
        steps = self.attempt.steps
        goes_on = thread is not None and thread.step == len(steps)
        if thread is not None:
            new = messages[len(thread.messages) :]
            steps[thread.step - 1] = came_back(steps[thread.step - 1], new)
        step = Step(
            index=len(steps) + 1,
            reply=completion.text,
            reasoning=completion.reasoning,
            command=command_in(completion),
            observation="",
            tool_calls=completion.tool_calls,
            shown=[] if goes_on or not steps else messages,
            tools=[] if goes_on or not steps else list(asked.tools),
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
        )
        if not steps:
            self.attempt.prompt, self.attempt.tools = messages, list(asked.tools)
        steps.append(step)
        self.attempt.add_tokens(completion, step.index)
        now = Thread(messages=[*messages, turn(step)[0]], tools=list(asked.tools), step=step.index)
        if thread is None:
            self.threads.append(now)
        else:
            self.threads[self.threads.index(thread)] = now


def came_back(step: Step, messages: Sequence[Message]) -> Step:
    """The step with what the agent was told after it: results of its calls, or of the command in its text."""
    texts: list[str] = []
    results: dict[str, tuple[int, int]] = {}
    after: list[Message] = []
    called = {call.id for call in step.tool_calls}
    at = 0
    for message in messages:
        is_result = message.role == "tool" and message.tool_call_id in called - results.keys()
        if not after and (is_result or (not step.tool_calls and message.role == "user" and not texts)):
            results[message.tool_call_id] = (at, at + len(message.content))
            texts.append(message.content)
            at += len(message.content) + 1
        else:
            after.append(message)
    calls = [replace(call, result=results.get(call.id)) for call in step.tool_calls]
    return replace(step, observation="\n".join(texts), tool_calls=calls, after=after)


def command_in(completion: Completion) -> str | None:
    """What the agent is about to run, as far as the answer tells: its calls, or the one block of shell in its text."""
    blocks = _SHELL.findall(completion.text)
    return commands_of(completion.tool_calls) or (blocks[0].strip() or None if len(blocks) == 1 else None)


def _alike(ours: Message, theirs: Message) -> bool:
    """Whether a message that came back is the one that is known; its ends may have been trimmed."""
    return ours == theirs or (
        ours.role == theirs.role
        and ours.content.strip() == theirs.content.strip()
        and ours.tool_call_id == theirs.tool_call_id
        and [(c.id, c.name, c.arguments) for c in ours.tool_calls]
        == [(c.id, c.name, c.arguments) for c in theirs.tool_calls]
    )
