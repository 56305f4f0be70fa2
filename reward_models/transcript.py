"""A transcript as a judge reads it: numbered steps, long texts cut in the middle, nothing in it that steers.

What stands in a transcript was written by a model and by programs that it ran, so it is data. The tokens by which chat
templates tell system, user and assistant apart are made harmless in it, and so is whatever cannot be seen; then each
piece is set off in one of two ways. `mark` fences it by a mark that follows from a hash of all of it, and so cannot be
foreseen by any part of it. `quote` begins each of its lines with `| `, which nothing in it can take away: it is
shorter, for small models.
"""

import functools
import hashlib
import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from reward_models.types import Transcript, TranscriptStep, View

Style = Literal["mark", "quote"]

LEAST = 200
"""A part of a step is cut no shorter than this before whole steps are left out."""

_TAG = re.compile(
    "/?(?:s|bos|eos|pad|unk|mask|cls|sep|sop|eop|eot|eoh|eoa|eom"
    r"|(?:bos|eos|eop|pad|unk|cls|mask)_token|(?:extra_id|reserved|unused|special)_?\d+|tokens_unused_\d+"
    "|think|thinking|thought|tools?|tool_(?:calls?|response|result|sep|declare)s?|function|function_calls?"
    "|available_tools|(?:start|end)_of_(?:turn|image|text|role)|image|audio|video|im_(?:start|end)"
    "|fim_(?:prefix|middle|suffix|pad)|file_sep|repo_name|system|user|assistant|developer|human|bot"
    r"|(?:seed|minimax)(?::\w{1,20})+)",
    re.IGNORECASE,
)
"""Names between angle brackets that chat templates give a meaning to."""
_BRACKETED = (
    r"INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|ARGS|CALL_ID|THINK|PREFIX|MIDDLE|SUFFIX"
    r"|IMG|IMG_BREAK|IMG_END|CONTROL_\d+|UNUSED_TOKEN_\d+|s?gMASK|CLS|SEP|MASK|PAD|UNK|BOS|EOS"
)
_PERHAPS_CONTROL = re.compile(
    r"<(?=[|｜]|\w{1,40}[|｜]>|(/?\w[\w:]{0,60})>)"  # <|im_start|>, <turn|>, DeepSeek's full-width bars; <s>, <div>
    r"|<<(?=(?i:/?SYS)>>)"
    rf"|\[(?=/?(?:{_BRACKETED}|(?i:INST))\]|\|\w{{1,20}}\||e~\[)"  # [INST], EXAONE's [|user|], MiniMax's [e~[
    r"|\](?=~!?b[\[\]])"  # MiniMax's ]~b]
)
_HARMLESS = {"<": "‹", "<<": "‹‹", "[": "⟦", "]": "⟧"}
# some tokenizers take a full-width bracket for the plain one
_WIDE = str.maketrans("＜﹤＞﹥［］", "‹‹››⟦⟧")
_PERHAPS_INVISIBLE = re.compile(r"[^\n\t\x20-\x7e]+")
_INVISIBLE = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"))


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge is shown."""

    text: str
    fence: str = ""
    """The mark of the lines that enclose every piece of foreign text; empty where `| ` begins each of its lines."""
    shown: dict[int, str] = {}
    """Step to its text as the judge saw it: harmless and cut, without fence or `| `."""
    rest: str = ""
    """The same of what belongs to no step: the task, the ending, the final change, the follow-up."""
    cut: int = 0
    """Characters that were left out."""

    @property
    def steps(self) -> list[int]:
        """The steps that are shown, whole or cut."""
        return list(self.shown)


def render(
    transcript: Transcript,
    *,
    view: View = "trajectory",
    step_chars: int = 4_000,
    chars: int = 120_000,
    style: Style = "mark",
) -> Rendered:
    """The text of a transcript in a view, of at most `chars` characters (of 1,000 and more), `step_chars` of each part.

    Views: `patch` shows the task and the final change; `trajectory` the steps and the ending as well; `segment` also
    what the user wrote then; `prefix` the task and the steps only.

    Where that is too long, the parts of steps are cut shorter, down to LEAST characters, and then steps in the middle
    are left out, the first and the last ones staying; the task and what follows the steps may fill a quarter each.
    Every cut is counted, and said in its place.
    """
    head, steps, tail = _blocks(transcript, view)
    write = _writer(transcript, style)
    top = write.fitted(head, step_chars, chars // 4)
    end = [write.fitted(block, step_chars, chars // 4) for block in tail]
    room = chars - sum(len(piece.text) for piece in (top, *end)) - 80
    allowed = step_chars
    shown = [write(step, allowed) for step in steps]
    while sum(len(step.text) + 1 for step in shown) > room and allowed > LEAST:
        allowed = max(LEAST, allowed // 2)
        shown = [write(step, allowed) for step in steps]
    kept = _middle_out([len(step.text) + 1 for step in shown], room)
    return _assembled(write.fence, [top, *_with_gap(shown, kept), *end])


def windows(
    transcript: Transcript,
    *,
    view: View = "trajectory",
    step_chars: int = 4_000,
    chars: int = 120_000,
    style: Style = "mark",
) -> list[Rendered]:
    """The text of a transcript in parts of at most `chars` characters (of 1,000 and more); one where it all fits.

    Each part opens with the task, holds the next steps, and says which steps come before and after; the last one ends
    with what follows the steps. A part of a step is cut at `step_chars`, and further only where it alone would not
    fit. The parts' cuts add up to what no part shows.
    """
    head, steps, tail = _blocks(transcript, view)
    write = _writer(transcript, style)
    top = write.fitted(head, step_chars, chars // 4)
    room = chars - len(top.text) - 120
    parts: list[list[_Written]] = [[]]
    for block in (*steps, *tail):
        written = write.fitted(block, step_chars, room)
        if parts[-1] and sum(len(piece.text) + 1 for piece in [*parts[-1], written]) > room:
            parts.append([])
        parts[-1].append(written)
    indices = [step.step for step in steps]
    rendered = []
    for number, part in enumerate(parts):
        opening = top if number == 0 else top._replace(cut=0)
        shown = [piece.step for piece in part if piece.step is not None]
        before, after = _around(indices, shown, last=number == len(parts) - 1)
        rendered.append(_assembled(write.fence, [opening, *before, *part[: len(shown)], *after, *part[len(shown) :]]))
    return rendered


def prefix(transcript: Transcript, steps: int) -> Transcript:
    """The transcript as it was after its first `steps` steps: no final change, ending, outcome or follow-up.

    Raises ValueError for a negative number.
    """
    if steps < 0:
        raise ValueError(f"{steps} steps; expected 0 or more")
    return msgspec.structs.replace(
        transcript,
        steps=transcript.steps[:steps],
        patch="",
        stop="",
        resolved=None,
        tampered=[],
        forged=[],
        followup="",
    )


def neutral(text: str) -> str:
    """The text with control characters made visible and the tokens of chat templates made harmless.

    `\\n` is the only line break that is left. What is neutral stays as it is.
    """
    text = _PERHAPS_INVISIBLE.sub(lambda match: _visible(match[0]), text.replace("\r\n", "\n"))
    if not text.isascii():
        text = text.translate(_WIDE)
    return _PERHAPS_CONTROL.sub(_harmless, text)


def cut_middle(text: str, limit: int) -> tuple[str, int]:
    """The text with its middle replaced by a note when it is longer than `limit`; and how many characters went."""
    if len(text) <= limit:
        return text, 0
    half = limit // 2
    gone = len(text) - 2 * half
    return f"{text[:half]}\n[… {gone} characters are left out here …]\n{text[len(text) - half :]}", gone


class _Part(NamedTuple):
    """A piece of foreign text under a title of ours."""

    title: str
    text: str


class _Block(NamedTuple):
    """What is shown or left out together: a step, or what comes before or after the steps."""

    parts: list[_Part]
    step: int | None = None


class _Written(NamedTuple):
    """A block as it is shown."""

    text: str
    seen: str = ""
    """Its contents without what sets them off."""
    cut: int = 0
    size: int = 0
    """Characters of its contents before anything was cut."""
    step: int | None = None


def _blocks(transcript: Transcript, view: View) -> tuple[_Block, list[_Block], list[_Block]]:
    """What comes before the steps, the steps, and what comes after them, if anything."""
    head = _Block([_part("task", transcript.statement)])
    steps = [] if view == "patch" else [_step(step) for step in transcript.steps]
    tail = []
    if view in ("trajectory", "segment"):
        tail.append(_part("how it ended", transcript.stop or "(not recorded)"))
    if view != "prefix":
        tail.append(_part("final change", transcript.patch or "(empty)"))
    if view == "segment" and transcript.followup:
        tail.append(_part("what the user wrote then", transcript.followup))
    return head, steps, [_Block(tail)] if tail else []


def _part(title: str, text: str) -> _Part:
    return _Part(title, neutral(text))


def _step(step: TranscriptStep) -> _Block:
    parts = [_part("agent", step.text)]
    if step.command is not None and step.command not in step.text:
        parts.append(_part("command", step.command))
    if step.problem:
        parts.append(_part("not run", step.problem))
    elif step.command is not None:
        status = "timed out" if step.timed_out else f"exit code {step.exit_code}" if step.exit_code is not None else ""
        parts.append(_part(f"output{f' ({status})' if status else ''}", step.output))
    return _Block(parts, step.index)


class _Mark:
    """Fences each part between two lines that hold the mark."""

    def __init__(self, fence: str) -> None:
        self.fence = fence

    def __call__(self, block: _Block, limit: int) -> _Written:
        """The block with each part cut to `limit` characters."""
        text = seen = "" if block.step is None else f"STEP {block.step}\n"
        cut = 0
        for part in block.parts:
            shown, gone = cut_middle(part.text, limit)
            cut += gone
            text += self.set_off(part.title, shown)
            seen += f"{part.title}\n{shown}\n"
        return _Written(text, seen, cut, sum(len(part.text) for part in block.parts), block.step)

    def set_off(self, title: str, text: str) -> str:
        """One foreign part, told apart from what is ours."""
        return f"<<{self.fence} {title}\n{text}\n{self.fence}>>\n"

    def fitted(self, block: _Block, limit: int, room: int) -> _Written:
        """The block cut as little below `limit` as it must be to fit `room` characters."""
        written = self(block, limit)
        while len(written.text) > room and limit > 8:
            limit = limit * 3 // 4
            written = self(block, limit)
        return written


class _Quote(_Mark):
    """Begins each line of a part with `| `."""

    def set_off(self, title: str, text: str) -> str:
        """The part's lines quoted; a step's own heading stands for the title of what the agent wrote in it."""
        heading = "" if title == "agent" else f"{title}\n"
        return heading + "".join(f"| {line}\n" for line in text.split("\n") if text)


def _writer(transcript: Transcript, style: Style) -> _Mark:
    return _Quote("") if style == "quote" else _Mark(_fence(transcript))


def _assembled(fence: str, pieces: Sequence[_Written]) -> Rendered:
    return Rendered(
        text="\n".join(piece.text for piece in pieces),
        fence=fence,
        shown={piece.step: piece.seen for piece in pieces if piece.step is not None},
        rest="\n".join(piece.seen for piece in pieces if piece.step is None),
        cut=sum(piece.cut for piece in pieces),
    )


def _middle_out(lengths: list[int], room: int) -> set[int]:
    """The pieces that fit, taken from both ends inwards."""
    kept: set[int] = set()
    used = 0
    ends = [n for pair in zip(range(len(lengths)), reversed(range(len(lengths))), strict=True) for n in pair]
    for number in dict.fromkeys(ends):
        if used + lengths[number] > room:
            break
        kept.add(number)
        used += lengths[number]
    return kept


def _with_gap(pieces: Sequence[_Written], kept: set[int]) -> Iterator[_Written]:
    """The kept pieces, and in place of the others one note that counts them."""
    for stays, group in itertools.groupby(enumerate(pieces), key=lambda item: item[0] in kept):
        found = [piece for _, piece in group]
        if stays:
            yield from found
        else:
            yield _Written(f"[{len(found)} steps are left out here]\n", cut=sum(piece.size for piece in found))


def _around(indices: list[int | None], shown: list[int], *, last: bool) -> tuple[list[_Written], list[_Written]]:
    """Notes on the steps that other windows show, before and after those of this one."""
    if not indices or (len(shown) == len(indices)):
        return [], []
    first = indices.index(shown[0]) if shown else len(indices)
    end = first + len(shown)
    before = [_Written(f"[{first} steps come before this part]\n")] if first else []
    after = [] if last and end == len(indices) else [_Written(f"[{len(indices) - end} steps come after this part]\n")]
    return before, after


def _fence(transcript: Transcript) -> str:
    return hashlib.sha256(msgspec.json.encode(_encodable(transcript))).hexdigest()[:20]


def _encodable(transcript: Transcript) -> list[str]:
    texts = [transcript.statement, transcript.patch, transcript.stop, transcript.followup]
    for step in transcript.steps:
        texts += [step.text, step.command or "", step.output, step.problem]
    return [text.encode("utf-8", "backslashreplace").decode() for text in texts]


def _harmless(match: re.Match[str]) -> str:
    return _HARMLESS[match[0]] if match[1] is None or _has_meaning(match[1]) else match[0]


@functools.lru_cache(4096)
def _has_meaning(tag: str) -> bool:
    return _TAG.fullmatch(tag) is not None


def _visible(run: str) -> str:
    """Characters, with those that cannot be seen written as Python would."""
    if run.isprintable():
        return run
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in _INVISIBLE else c for c in run)
