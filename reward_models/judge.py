"""Judges: who answers a rubric's questions. Reads the shipped prompt templates; data enters them as values only."""

import functools
import hashlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Protocol

import jinja2
import msgspec
from jinja2.sandbox import ImmutableSandboxedEnvironment

from reward_models import verdicts
from reward_models.chat import Reply, Transport, chat_url
from reward_models.errors import JudgeDown, NoAnswer, RubricError
from reward_models.transcript import Rendered, neutral, render
from reward_models.types import Criterion, Rubric, Transcript, Verdict

PROMPTS = Path(__file__).parent / "prompts"
MAX_BYTES = 4 << 20
"""A longer answer of a server is refused."""


class Judgement(msgspec.Struct, kw_only=True):
    """A judge's verdicts on one transcript, and what they cost."""

    verdicts: list[Verdict]
    failure: str = ""
    """Why the judge could not be asked; its verdicts are then unknown."""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Judge(Protocol):
    """Answers questions about a transcript: a model, a classifier, or a replay of stored answers."""

    def digest(self) -> str:
        """A short content address of what its answers follow from."""

    def judge(self, transcript: Transcript, rubric: Rubric, questions: Sequence[Criterion], *, votes: int) -> Judgement:
        """One verdict for each question. Never raises for an outage: that is the judgement's `failure`."""


@dataclass(kw_only=True)
class Generative:
    """What the judges that write text have in common: the prompt, strict reading, asking again."""

    asks: int = 3
    """How often one answer is asked for until it can be read; the judge is told what was wrong."""
    step_chars: int = 4_000
    """Longer parts of a step are cut in the middle."""
    transcript_chars: int = 120_000
    """A longer transcript is cut shorter, then loses steps in its middle."""

    def __post_init__(self) -> None:
        if self.asks < 1:
            raise RubricError(f"asks is {self.asks}; expected at least 1")

    def ask(self, messages: list[dict[str, str]], *, vote: int) -> Reply:
        """One reply to a chat. Raises JudgeDown."""
        raise NotImplementedError

    def identity(self) -> list[str]:
        """What the answers follow from, besides the prompts."""
        raise NotImplementedError

    def digest(self) -> str:
        """A short content address of the judge: its model and sampling, its prompts, and how transcripts are cut."""
        prompts = [path.read_text(encoding="utf-8") for path in sorted(PROMPTS.glob("judge_*.jinja"))]
        parts = [type(self).__name__, *self.identity(), str(self.step_chars), str(self.transcript_chars), *prompts]
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]

    def judge(self, transcript: Transcript, rubric: Rubric, questions: Sequence[Criterion], *, votes: int) -> Judgement:
        """Ask all questions in one chat, `votes` times; the majority stands."""
        shown = render(transcript, view=rubric.view, step_chars=self.step_chars, chars=self.transcript_chars)
        judgement = Judgement(verdicts=[])
        ballots: list[list[Verdict]] = []
        for vote in range(votes):
            try:
                ballots.append(self._ballot(rubric, questions, shown, vote, judgement))
            except JudgeDown as error:
                judgement.failure = str(error)
                judgement.verdicts = verdicts.unknown(questions, f"the judge could not be asked: {error}")
                return judgement
        judgement.verdicts = verdicts.majority(ballots)
        return judgement

    def _ballot(
        self, rubric: Rubric, questions: Sequence[Criterion], shown: Rendered, vote: int, judgement: Judgement
    ) -> list[Verdict]:
        """One answer to all questions; unknown when none could be read."""
        messages = first_messages(rubric, questions, shown)
        problem = ""
        for _ in range(self.asks):
            reply = self.ask(messages, vote=vote)
            judgement.prompt_tokens += reply.prompt_tokens
            judgement.completion_tokens += reply.completion_tokens
            try:
                return verdicts.parse(reply.text, questions, steps=shown.steps)
            except verdicts.UnreadableReply as error:
                problem = str(error)
            again = _prompt("judge_again", problem=neutral(problem), ids=", ".join(q.id for q in questions))
            messages = [*messages[:2], _message("assistant", neutral(reply.text[:4000])), _message("user", again)]
        return verdicts.unknown(questions, f"the judge's reply could not be read: {problem}")


def first_messages(rubric: Rubric, questions: Sequence[Criterion], shown: Rendered) -> list[dict[str, str]]:
    """The chat that asks: rules first, then the rubric, the transcript, and the questions last, so that servers can
    keep what comes before them."""
    user = _prompt(
        "judge_user",
        name=rubric.name,
        description=rubric.description,
        transcript=shown.text,
        questions=questions,
    )
    return [_message("system", _prompt("judge_system", fence=shown.fence)), _message("user", user)]


@dataclass(kw_only=True)
class Scripted(Generative):
    """Replays replies in the order of asking, from the start again after the last. For tests, docs and dry runs."""

    replies: list[str]
    """What is answered, one text for each asking."""
    _asked: int = field(default=0, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.replies:
            raise RubricError("replies is empty; expected at least one text")

    def ask(self, messages: list[dict[str, str]], *, vote: int) -> Reply:
        """The next reply."""
        with self._lock:
            number = self._asked
            self._asked += 1
        return Reply(text=self.replies[number % len(self.replies)])

    def identity(self) -> list[str]:
        """The replies."""
        return self.replies

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__ |= {**state, "_lock": threading.Lock()}


@dataclass(kw_only=True)
class Endpoint(Generative):
    """A model behind an OpenAI-compatible server."""

    model: str
    """The name that the server knows the model by."""
    url: str
    """The server's base, up to and with `/v1`."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key, when the server wants one."""
    temperature: float = 0.0
    """With several votes it wants to be above 0."""
    max_tokens: int = 4096
    """The most tokens of one reply."""
    timeout: float = 300.0
    """Seconds for one reply, tries after errors included."""
    tries: int = 5
    """How often a request is sent while the server is busy or broken."""
    concurrent: int = 8
    """Transcripts judged at once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            chat_url(self.url)
        except ValueError as error:
            raise RubricError(str(error)) from None
        if self.tries < 1:
            raise RubricError(f"tries is {self.tries}; expected at least 1")

    def ask(self, messages: list[dict[str, str]], *, vote: int) -> Reply:
        """What the server answers. Raises JudgeDown when it does not, in the time and tries given."""
        body: dict[str, object] = {
            "model": self.model,
            "messages": messages,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            **({"seed": vote} if vote else {}),
        }
        key = os.environ.get(self.key_variable, "")
        transport = _transport(chat_url(self.url), key, self.timeout, self.tries, self.concurrent)
        try:
            answer = transport.post(body, _Answer, time.monotonic() + self.timeout)
        except NoAnswer as error:
            raise JudgeDown(str(error)) from None
        usage = answer.usage or _Usage()
        return Reply(
            text=answer.choices[0].message.content,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
        )

    def identity(self) -> list[str]:
        """Model and sampling; where it is served does not matter."""
        return [self.model, str(self.temperature), str(self.max_tokens)]


class _Message(msgspec.Struct):
    content: Annotated[str, msgspec.Meta(min_length=1)]


class _Choice(msgspec.Struct):
    message: _Message


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(msgspec.Struct):
    """The fields of a chat completion that are used; one without text has another shape, and is asked for again."""

    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: _Usage | None = None


@functools.cache
def _transport(url: str, key: str, timeout: float, tries: int, connections: int) -> Transport:
    """The process's connections to a server, shared by threads; judges that hold none can cross process borders."""
    return Transport(url, key=key, timeout=timeout, tries=tries, max_bytes=MAX_BYTES, connections=connections)


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _prompt(template: str, **values: object) -> str:
    return _templates().get_template(f"{template}.jinja").render(**values).strip()


@functools.cache
def _templates() -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(
        loader=jinja2.FileSystemLoader(PROMPTS),
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
