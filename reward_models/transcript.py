"""A transcript as a judge reads it: numbered steps, long outputs cut in the middle, nothing in it that steers.

What stands in a transcript was written by a model and by programs that it ran, so it is data: it is fenced by a mark
that follows from a hash of all of it, and so cannot be foreseen by any part of it, and the tokens by which chat
templates tell system, user and assistant apart are made harmless.
"""

import hashlib
import re
import unicodedata

import msgspec

from reward_models.types import Transcript, TranscriptStep, View

_CONTROL_TOKENS = re.compile(
    r"<(?=[|｜])|(?<=[|｜])>"  # <|im_start|>, <|eot_id|>, DeepSeek's full-width bars
    r"|<(?=/?(?:s|bos|eos|pad|unk|think|tool_calls?|tool_response|start_of_turn|end_of_turn|system|user|assistant)>)"
    r"|<<(?=/?SYS>>)|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])",
    re.IGNORECASE,
)
_HARMLESS = {"<": "‹", ">": "›", "<<": "‹‹", "[": "⟦"}
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge is shown."""

    text: str
    fence: str
    """The mark of the lines that enclose every piece of foreign text."""
    steps: list[int]
    """The steps that are shown, whole or cut."""
    cut: int = 0
    """Characters that were left out."""


def render(
    transcript: Transcript, *, view: View = "trajectory", step_chars: int = 4_000, chars: int = 120_000
) -> Rendered:
    """The text of a transcript in a view, of at most about `chars` characters, `step_chars` of each piece.

    Where that is too long, the pieces are cut shorter, down to 200 characters, and then steps in the middle are left
    out, the first and the last ones staying. Every cut is said in its place.
    """
    fence = _fence(transcript)
    steps = [] if view == "patch" else transcript.steps
    allowed = step_chars
    while True:
        head = _Piece(fence, allowed)
        head.add("task", transcript.statement)
        shown = [_step(fence, allowed, step) for step in steps]
        tail = _Piece(fence, max(allowed, min(step_chars, chars // 4)))
        tail.add("final change", transcript.patch or "(empty)")
        room = chars - len(head.text) - len(tail.text)
        if sum(len(piece.text) for piece in shown) <= room or allowed <= 200:
            break
        allowed = max(200, allowed // 2)
    kept, dropped = _middle_out([len(piece.text) for piece in shown], room)
    texts = [head.text]
    for number, piece in enumerate(shown):
        if number in kept:
            texts.append(piece.text)
        elif number - 1 in kept or number == 0:
            texts.append(f"[{dropped} steps are left out here]\n")
    ending = f"The attempt ended: {transcript.stop or 'not recorded'}.\n" if view != "patch" else ""
    return Rendered(
        text="\n".join([*texts, ending + tail.text]),
        fence=fence,
        steps=[steps[number].index for number in sorted(kept)],
        cut=head.cut + tail.cut + sum(piece.cut if n in kept else len(piece.text) for n, piece in enumerate(shown)),
    )


def neutral(text: str) -> str:
    """The text with control characters made visible and the tokens of chat templates made harmless."""
    text = "".join(_visible(c) if unicodedata.category(c) in _INVISIBLE else c for c in text.replace("\r\n", "\n"))
    return _CONTROL_TOKENS.sub(lambda match: _HARMLESS[match[0]], text)


def cut_middle(text: str, limit: int) -> tuple[str, int]:
    """The text with its middle replaced by a note when it is longer than `limit`; and how many characters went."""
    if len(text) <= limit:
        return text, 0
    half = limit // 2
    gone = len(text) - 2 * half
    return f"{text[:half]}\n[… {gone} characters are left out here …]\n{text[len(text) - half :]}", gone


class _Piece:
    """Text under construction, each foreign part of it fenced."""

    def __init__(self, fence: str, limit: int) -> None:
        self.fence = fence
        self.limit = limit
        self.text = ""
        self.cut = 0

    def add(self, title: str, foreign: str) -> None:
        """One foreign part under a title of ours."""
        text, gone = cut_middle(foreign, self.limit)
        self.cut += gone
        self.text += f"<<{self.fence} {title}\n{neutral(text)}\n{self.fence}>>\n"


def _step(fence: str, limit: int, step: TranscriptStep) -> _Piece:
    piece = _Piece(fence, limit)
    piece.text = f"STEP {step.index}\n"
    piece.add("agent", step.text)
    if step.command is not None and step.command not in step.text:
        piece.add("command", step.command)
    if step.problem:
        piece.add("not run", step.problem)
    elif step.command is not None:
        status = "timed out" if step.timed_out else f"exit code {step.exit_code}" if step.exit_code is not None else ""
        piece.add(f"output{f' ({status})' if status else ''}", step.output)
    return piece


def _middle_out(lengths: list[int], room: int) -> tuple[set[int], int]:
    """The pieces that fit, taken from both ends inwards; and how many do not."""
    kept: set[int] = set()
    used = 0
    ends = [n for pair in zip(range(len(lengths)), reversed(range(len(lengths))), strict=True) for n in pair]
    for number in dict.fromkeys(ends):
        if kept and used + lengths[number] > room:
            break
        kept.add(number)
        used += lengths[number]
    return kept, len(lengths) - len(kept)


def _fence(transcript: Transcript) -> str:
    return hashlib.sha256(msgspec.json.encode(_encodable(transcript))).hexdigest()[:20]


def _encodable(transcript: Transcript) -> list[str]:
    texts = [transcript.statement, transcript.patch]
    for step in transcript.steps:
        texts += [step.text, step.command or "", step.output, step.problem]
    return [text.encode("utf-8", "backslashreplace").decode() for text in texts]


def _visible(character: str) -> str:
    if character in "\n\t":
        return character
    return character.encode("unicode_escape").decode()
