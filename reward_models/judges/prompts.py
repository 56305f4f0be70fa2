"""What a judge is told: the shipped templates, into which data enters as values only."""

import functools
import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from reward_models.transcript import Rendered, neutral
from reward_models.types import Criterion, Rubric

PROMPTS = Path(__file__).parent.parent / "prompts"
QUOTED = 4_000
"""Characters of an unreadable reply that the judge is shown again."""

Messages = list[dict[str, str]]
_PLACE = secrets.token_hex(16)
"""Where the transcript goes; no rubric can hold it."""
_rendered: dict[str, tuple[str, str]] = {}


def first_messages(rubric: Rubric, questions: Sequence[Criterion], shown: Rendered) -> Messages:
    """The chat that asks: rules first, then the rubric, the transcript, and the questions last, so that servers can
    keep what comes before them."""
    before, after = _around(rubric, questions)
    system = _render("judge_system", fence=shown.fence)
    return [_message("system", system), _message("user", f"{before}{shown.text}{after}")]


def _around(rubric: Rubric, questions: Sequence[Criterion]) -> tuple[str, str]:
    """What stands before and after the transcript; the same for all transcripts, and so rendered once."""
    key = repr((rubric.name, rubric.description, questions))
    found = _rendered.get(key)
    if found is None:
        fields = {"name": rubric.name, "description": rubric.description, "questions": questions}
        before, _, after = _render("judge_user", transcript=_PLACE, **fields).partition(_PLACE)
        found = before, after
        if len(_rendered) >= 1_000:
            _rendered.clear()
        _rendered[key] = found
    return found


def messages_again(messages: Messages, reply: str, problem: str, questions: Sequence[Criterion]) -> Messages:
    """The chat that asks again after a reply that could not be read, with what was wrong with it."""
    again = _render("judge_again", problem=neutral(problem), ids=", ".join(question.id for question in questions))
    return [*messages[:2], _message("assistant", neutral(reply[:QUOTED])), _message("user", again)]


@functools.cache
def digest() -> str:
    """A content address of the templates."""
    state = hashlib.sha256()
    for path in sorted(PROMPTS.glob("judge_*.jinja")):
        state.update(path.read_bytes() + b"\0")
    return state.hexdigest()[:16]


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _render(template: str, **values: object) -> str:
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
