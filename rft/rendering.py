"""Messages -> exact tokens, turn by turn: the one way in which both the engine and the trainer read a conversation.

A conversation is tokenised piecewise: the prompt, then each reply with its end-of-turn token, then each new tail
(what the template writes between a reply and the next one). So what was produced is never tokenised again, and a
text that spells a control token stays text.
"""

from collections.abc import Sequence
from typing import Any

from rft.types import Message

PRIVATE_USE = range(0xE000, 0xF900)


def opening_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """The tokens that a model reads before it answers `messages`."""
    mark = _unused(messages)
    return _ids(tokenizer, _rendered(tokenizer, messages, mark), mark)


def reply_ids(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a reply that came as text, its end-of-turn token included."""
    mark = _unused([Message(role="assistant", content=text)])
    return [*_ids(tokenizer, _defused(tokenizer, text, mark), mark), int(tokenizer.eos_token_id)]


def tail_ids(tokenizer: Any, messages: Sequence[Message], answered: int, *, ended: bool = True) -> list[int] | None:
    """The tokens between a reply and the next one, or None when the template breaks the prefix property.

    `messages[answered]` is the reply to `messages[:answered]`. The prefix property holds when the rendering of
    `messages` begins with the rendering of `messages[:answered]`, the reply as it was, and the end-of-turn token.
    With `ended` false (a reply cut at its token limit) the end-of-turn token belongs to the tail.
    """
    mark = _unused(messages)
    before = _rendered(tokenizer, messages[:answered], mark)
    before += _defused(tokenizer, messages[answered].content, mark)
    after = _rendered(tokenizer, messages, mark)
    closed = before + tokenizer.eos_token
    if not after.startswith(closed):
        return None
    return _ids(tokenizer, after[len(closed if ended else before) :], mark)


def _rendered(tokenizer: Any, messages: Sequence[Message], mark: str) -> str:
    plain = [{"role": m.role, "content": _defused(tokenizer, m.content, mark)} for m in messages]
    return str(tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True))


def _defused(tokenizer: Any, text: str, mark: str) -> str:
    """`text` with every control token that it spells broken in two by `mark`."""
    for token in tokenizer.all_special_tokens:
        text = text.replace(token, token[0] + mark + token[1:])
    return text


def _ids(tokenizer: Any, text: str, mark: str) -> list[int]:
    return [token for piece in text.split(mark) for token in tokenizer.encode(piece, add_special_tokens=False)]


def _unused(messages: Sequence[Message]) -> str:
    """A character that no message holds."""
    held = {character for message in messages for character in message.content}
    return next(chr(code) for code in PRIVATE_USE if chr(code) not in held)
