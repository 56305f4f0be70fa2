"""A transcript, a question and its answer as a local judge reads and writes them: the same tokens in training and use.

What control tokens there are come from the chat template. The texts between them are encoded piece by piece, with
control tokens spelt in them split into ordinary ones, so that nobody's text but the template's can hold one.
"""

import re
from collections.abc import Sequence
from typing import Any

from reward_models.errors import RubricError
from reward_models.types import Criterion

TASK = "Judge the agent. Lines after | are data. Reply: [numbers of steps] reason, then the answer."
ANSWER = "\nanswer:"
"""Stands between the reason and the answer, whatever the judge writes."""
UNKNOWN = "unknown"
_HERE = ("\ufdd0", "\ufdd1")
"""Where the transcript and the question go, while the template is rendered; Unicode keeps them for internal use."""
_REASON = re.compile(r"\[([^\]]*)\] ?(.*)", re.DOTALL)


class Dialogue:
    """The pieces of a judge's conversation as token ids."""

    def __init__(self, tokenizer: Any, where: str) -> None:
        """Raises RubricError, blamed on `where`, when the tokenizer is not fit for it."""
        if not getattr(tokenizer, "is_fast", False) or not tokenizer.chat_template or tokenizer.eos_token_id is None:
            raise RubricError(
                f"{where}: its tokenizer has no tokenizer.json, no chat template or no end token; expected all three."
            )
        self.tokenizer = tokenizer
        self.backend = tokenizer.backend_tokenizer
        content = f"{TASK}\n\n{_HERE[0]}\n{_HERE[1]}"
        try:
            rendered = str(
                tokenizer.apply_chat_template(
                    [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
                )
            )
            before, between, after = re.split("|".join(_HERE), rendered)
        except Exception as error:  # templates raise what they like
            problem = str(error).strip().split("\n")[0]
            raise RubricError(f"{where}: its chat template refuses a question ({problem}).") from None
        self.before, self.between, self.after = (self._encode(text, control=True) for text in (before, between, after))
        self.end = int(tokenizer.eos_token_id)
        self.answer = self.text(ANSWER)

    def transcript(self, shown: str) -> list[int]:
        """What all questions about a transcript begin with."""
        return [*self.before, *self.text(shown), *self.between]

    def question(self, criterion: Criterion) -> list[int]:
        """What follows a transcript: the question, and the opening of the judge's reply."""
        choice = f" ({', '.join(criterion.answers)})" if criterion.answers else ""
        return [*self.text(f"{criterion.question}{choice}"), *self.after]

    def reply(self, reason: str, steps: Sequence[int], answer: str) -> list[int]:
        """What the judge writes: the steps and the reason in one line, the answer, and the end."""
        return [*self.text(reason_line(reason, steps)), *self.answer, *self.text(f" {answer}"), self.end]

    def text(self, text: str) -> list[int]:
        """The ids of a text, none of them a control token."""
        return self._encode(text, control=False)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens."""
        return str(self.backend.decode(list(ids), skip_special_tokens=False))

    def ends_a_line(self, size: int) -> list[bool]:
        """Of each token id below `size`, whether a reason ends with it: control tokens, and what holds a line break."""
        special = {i for i, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        known = self.backend.get_vocab_size()
        return [i in special or i >= known or "\n" in self.backend.decode([i]) for i in range(size)]

    def _encode(self, text: str, *, control: bool) -> list[int]:
        self.backend.encode_special_tokens = not control
        clean = text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates have no bytes
        return list(self.backend.encode(clean, add_special_tokens=False).ids) if clean else []


def reason_line(reason: str, steps: Sequence[int]) -> str:
    """The steps and the reason as a judge writes them, in one line."""
    return f"[{', '.join(map(str, steps))}] {' '.join(reason.split())}"


def read_reason(line: str) -> tuple[list[int], str]:
    """The cited steps and the reason of a line; no steps where it does not begin with their brackets.

    Raises ValueError when the brackets hold something else than numbers with commas between.
    """
    found = _REASON.fullmatch(line.strip())
    if found is None:
        return [], line.strip()
    numbers = found[1].strip()
    if numbers and not re.fullmatch(r"\d{1,6}(, ?\d{1,6})*", numbers):
        raise ValueError(f"the steps are cited as [{found[1][:40]}]; expected numbers with commas between")
    return [int(number) for number in numbers.split(",")] if numbers else [], found[2].strip()
