"""Messages to token ids: the chat template's text, a conversation's exact tokens carried on, and control tokens kept
out of what people, tools and models wrote. The engine and the making of examples both read conversations here."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rft.errors import InferenceError, RecipeError
from rft.inference.tool_calls import chat_tool
from rft.plugins import first_line
from rft.types import Message, Tool

MARK = "\ufdd0"
"""Breaks a control token's text inside content while a template is rendered; Unicode keeps it for such internal use."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What the model read and produced in one turn."""

    rendered: str
    """The prompt's text, control tokens inside content broken by MARK."""
    messages: Sequence[Message]
    """The conversation that was rendered."""
    ids: list[int]
    """Prompt and answer."""
    text: str
    """The answer, without the token that ended it."""
    ended_by: str
    """The text of the token that ended the answer; empty when it was cut."""


class Chat:
    """A tokenizer and its chat template. Raises RecipeError, blamed on `where`, when it is not fit for either."""

    def __init__(self, tokenizer: Any, where: str) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise RecipeError(f"{where}: its tokenizer has no tokenizer.json; expected a fast tokenizer. Convert it.")
        if not tokenizer.chat_template:
            raise RecipeError(f"{where}: its tokenizer has no chat template; expected one. Add a chat_template.jinja.")
        self.tokenizer = tokenizer
        self.backend = tokenizer.backend_tokenizer
        self.control = {t.content: i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
        """Text of each control token to its id."""
        longest_first = sorted(self.control, key=len, reverse=True)
        self.takes_tools = "tools" in str(tokenizer.chat_template)
        """Its template shows tools, calls and results in a way of its own; elsewhere they are written out before."""
        self._any_control = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._control_start = re.compile(rf"(?=(?:{self._any_control.pattern}))(.)", re.DOTALL)

    def prompt(
        self, messages: Sequence[Message], last: Turn | None, tools: Sequence[Tool] = ()
    ) -> tuple[str, list[int]]:
        """The text and the ids to read for an answer, with `tools` where the template `takes_tools`.

        The ids extend those of the `last` turn when the template renders the new conversation as a continuation of it;
        else everything is tokenised anew. Raises InferenceError when the template refuses the conversation.
        """
        rendered = self.render(messages, tools)
        tail = None if last is None else self._continuation(rendered, messages, last)
        if last is None or tail is None:
            return rendered, self.encode(rendered)
        return rendered, last.ids + self.encode(tail)

    def _continuation(self, rendered: str, messages: Sequence[Message], last: Turn) -> str | None:
        """What follows the last answer in `rendered`; None when the conversation was changed or is shown otherwise."""
        known = len(last.messages)
        if len(messages) <= known or list(messages[:known]) != list(last.messages):
            return None
        if messages[known].content != last.text or not rendered.startswith(last.rendered):
            return None
        start = len(last.rendered)
        closing = self._any_control.search(rendered, start)
        # Templates trim answers; the tokens that were really produced stay as they are.
        if closing and unmark(rendered[start : closing.start()]).strip() == last.text.strip():
            return rendered[closing.end() if closing.group() == last.ended_by else closing.start() :]
        shown = last.rendered + self.mark(last.text)
        return rendered[len(shown) :] if rendered.startswith(shown) else None

    def render(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
        """The template's text for the whole conversation and the opening of an answer, MARKed."""
        marked = [self._marked(_template_message(message)) for message in messages]
        offered = [self._marked(chat_tool(tool)) for tool in tools] or None
        try:
            return str(
                self.tokenizer.apply_chat_template(marked, tools=offered, tokenize=False, add_generation_prompt=True)
            )
        except Exception as error:  # templates raise what they like
            raise InferenceError(f"chat template: refused the conversation ({first_line(error)}).") from None

    def mark(self, content: str) -> str:
        """`content` with every control token's text broken; `unmark` restores it."""
        return self._control_start.sub(rf"\1{MARK}", content.replace(MARK, MARK * 2))

    def _marked(self, value: Any) -> Any:
        """`value` with every text in it MARKed."""
        if isinstance(value, str):
            return self.mark(value)
        if isinstance(value, dict):
            return {self.mark(str(key)): self._marked(inner) for key, inner in value.items()}
        return [self._marked(inner) for inner in value] if isinstance(value, list) else value

    def encode(self, rendered: str) -> list[int]:
        """Token ids of MARKed text: what the template wrote as a control token is one, what content spelt is not."""
        ids: list[int] = []
        start = 0
        for match in self._any_control.finditer(rendered):
            ids += self._encode_text(rendered[start : match.start()])
            ids.append(self.control[match.group()])
            start = match.end()
        return ids + self._encode_text(rendered[start:])

    def _encode_text(self, marked: str) -> list[int]:
        if not self.backend.encode_special_tokens:  # any other use of the tokenizer sets it back
            self.backend.encode_special_tokens = True
        text = unmark(marked).encode("utf-8", "replace").decode("utf-8")  # lone surrogates have no bytes
        return list(self.backend.encode(text, add_special_tokens=False).ids) if text else []

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, control tokens included; bytes that are no UTF-8 become U+FFFD."""
        return str(self.backend.decode(list(ids), skip_special_tokens=False))


def _template_message(message: Message) -> dict[str, Any]:
    """A message as templates take it: arguments of calls are objects."""
    given: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        given["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        given["tool_call_id"] = message.tool_call_id
    return given


def unmark(text: str) -> str:
    """The text behind MARKs: a pair is one that was written, a single one is none."""
    return re.sub(f"{MARK}({MARK}?)", r"\1", text)
