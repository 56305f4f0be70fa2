"""A judge that is a transformers checkpoint in this process. Reads the checkpoint's directory.

torch is imported when the model is first asked.
"""

import contextlib
import functools
import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from reward_models.budget import Account
from reward_models.cache import Keys, Usage
from reward_models.errors import JudgeDown, RubricError
from reward_models.judges.base import Judgement
from reward_models.judges.batches import Asked, Reply, Together
from reward_models.judges.dialogue import UNKNOWN, Dialogue, read_reason
from reward_models.rubric import by_view
from reward_models.transcript import Rendered, render
from reward_models.types import Criterion, Rubric, Transcript, Verdict, View
from reward_models.verdicts import unknown

LEAST_CHARS = 1_000
"""A transcript that does not fit the model's context at this length cannot be judged by it."""
_HELD = ("account", "_lock", "_read", "_together")
"""What belongs to a process and does not leave it."""
FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")
SETTINGS = "judge.json"
"""In a checkpoint: how the judge was trained to read and to answer, as JSON of `Settings`."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a judge reads and answers."""

    reason_tokens: int = 64
    step_chars: int = 4_000


@dataclass(kw_only=True)
class Local:
    """Reads a transcript once and answers all questions about it side by side, each as if it were the only one.

    A short reason is written greedily; then the answer is chosen among those that are allowed, and its probability
    among them is the verdict's value: P(yes) / (P(yes) + P(no)), the expected rank of ordered answers, or whether
    the most probable class counts as met. Where *unknown* is the most probable answer the verdict is unknown.
    The answers follow from the model alone, so several votes are one.
    """

    model: str
    """A directory, or a hub name."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: as stored on a GPU, and float32, which every processor is fast at, elsewhere."""
    device: str = "auto"
    """`auto`: cuda where there is one, else cpu."""
    reason_tokens: int | None = None
    """The most tokens of a reason; as the judge was trained when left out, else 64."""
    step_chars: int | None = None
    """Longer parts of a step are cut in the middle; as the judge was trained when left out, else at 4,000."""
    transcript_chars: int = 120_000
    """A longer transcript is cut shorter, then loses steps in its middle; so is one that overflows the context."""
    max_context: int | None = None
    """Tokens of transcript, question and reply; the model's own limit when left out."""
    concurrent: int = 16
    """Transcripts judged at once, in one batch."""
    threads: int | None = None
    """torch's threads; torch decides when left out."""
    account: Account = field(default_factory=Account, init=False, repr=False, compare=False)
    """What is known from before, and where calls are written down."""
    _digest: str = field(init=False, default="", repr=False)
    _read: Any = field(init=False, default=None, repr=False)
    _together: Any = field(init=False, default=None, repr=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        for name in ("reason_tokens", "concurrent"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise RubricError(f"{name} is {value}; expected at least 1")

    @functools.cached_property
    def settings(self) -> Settings:
        """What the recipe says, over what stands in the checkpoint. Raises RubricError."""
        given = {"reason_tokens": self.reason_tokens, "step_chars": self.step_chars}
        given = {name: value for name, value in given.items() if value is not None}
        path = _folder(self.model) / SETTINGS if self.model and len(given) < 2 else None
        try:
            trained = msgspec.json.decode(path.read_bytes(), type=Settings) if path and path.exists() else Settings()
        except msgspec.DecodeError as error:
            raise RubricError(f"{path}: {error}; expected how the judge was trained. Remove or mend it.") from None
        return msgspec.structs.replace(trained, **given)

    def digest(self) -> str:
        """A short content address of the weights, the tokenizer, and how the model is asked. Raises RubricError."""
        if not self._digest:
            self._digest = self._hashed()
        return self._digest

    def _hashed(self) -> str:
        state = hashlib.sha256()
        for path in sorted(p for pattern in FILES for p in _folder(self.model).glob(pattern) if p.name != SETTINGS):
            state.update(f"{path.name}\0".encode())
            with path.open("rb") as file:
                state.update(hashlib.file_digest(file, "sha256").digest())
        how = [
            "local",
            self.settings.reason_tokens,
            self.settings.step_chars,
            self.transcript_chars,
            self.max_context,
        ]
        state.update(msgspec.json.encode(how))
        return state.hexdigest()[:16]

    def judge(
        self, transcript: Transcript, rubric: Rubric, questions: Sequence[Criterion], *, votes: int, first: int = 0
    ) -> Judgement:
        """One verdict for each question. A transcript that cannot be fitted into the context is the failure."""
        judgement = Judgement(verdicts=[])
        found: dict[str, Verdict] = {}
        for view, asked in by_view(rubric, questions).items():
            try:
                shown, job = self.fitted(transcript, view, asked)
                judgement.cut += shown.cut
                found |= self._known_or_asked(Keys(self.digest(), rubric, shown.text), shown, job, asked, judgement)
            except JudgeDown as error:
                judgement.failure = str(error)
                found |= {v.criterion: v for v in unknown(asked, f"the judge could not be asked: {error}", error.cause)}
        judgement.verdicts = [found[criterion.id] for criterion in questions]
        return judgement

    def _known_or_asked(
        self, keys: Keys, shown: Rendered, job: Asked, questions: Sequence[Criterion], judgement: Judgement
    ) -> dict[str, Verdict]:
        """The verdicts on a rendering: those that are known from before, and the model's on the others."""
        known = self.account.known([keys.of(criterion, 0) for criterion in questions])
        found = {c.id: known[keys.of(c, 0)] for c in questions if keys.of(c, 0) in known}
        judgement.cached += len(found)
        left = [number for number, criterion in enumerate(questions) if criterion.id not in found]
        if left:
            some = Asked(job.prefix, [job.questions[n] for n in left], [job.answers[n] for n in left], [])
            self.run(some)
            new = {
                c.id: verdict(c, r, shown.steps)
                for c, r in zip((questions[n] for n in left), some.replies, strict=True)
            }
            usage = Usage(
                calls=1,
                prompt_tokens=len(some.prefix) + sum(map(len, some.questions)),
                completion_tokens=sum(reply.tokens for reply in some.replies),
            )
            judgement.calls += 1
            judgement.prompt_tokens += usage.prompt_tokens
            judgement.completion_tokens += usage.completion_tokens
            self.account.book(
                self.digest(), usage, {keys.of(c, 0): new[c.id] for c in questions if c.id in new}, read=True
            )
            found |= new
        return found

    def fitted(self, transcript: Transcript, view: View, questions: Sequence[Criterion]) -> tuple[Rendered, Asked]:
        """The transcript as the model reads it, cut until it fits the context with any of the questions and its reply.

        Raises JudgeDown when it never fits, RubricError when the checkpoint cannot be read.
        """
        dialogue, context = self._dialogue()
        suffixes = [dialogue.question(criterion) for criterion in questions]
        choices = [[dialogue.text(f" {answer}") for answer in allowed(criterion)] for criterion in questions]
        longest = max(len(text) for texts in choices for text in texts)
        room = context - max(map(len, suffixes)) - self.settings.reason_tokens - len(dialogue.answer) - longest - 1
        chars = self.transcript_chars
        while True:
            shown = self.shown(transcript, view, chars)
            prefix = dialogue.transcript(shown.text)
            if len(prefix) <= room:
                return shown, Asked(prefix, suffixes, choices, [])
            if chars <= LEAST_CHARS:
                raise JudgeDown(
                    f"{self.model}: {len(prefix)} tokens of transcript do not fit the {room} that the model's context "
                    "leaves; expected room for a thousand characters"
                )
            chars = max(LEAST_CHARS, min(chars // 2, int(len(shown.text) * 0.9 * room / len(prefix))))

    def shown(self, transcript: Transcript, view: View, chars: int | None = None) -> Rendered:
        """The transcript as text of at most `chars` characters."""
        most = self.transcript_chars if chars is None else chars
        return render(transcript, view=view, step_chars=self.settings.step_chars, chars=most, style="quote")

    def run(self, asked: Asked) -> None:
        """Ask the model; fills `asked.replies`. Raises JudgeDown when it fails."""
        self._loaded().run(asked)

    def example(
        self, asked: Asked, replies: Sequence[tuple[str, Sequence[int], str]]
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """What the judge would read and write: the ids, and the spans of the replies among them.

        `replies` are the reason, the cited steps and the answer to each question. All follow the shared `asked.prefix`.
        """
        dialogue, _ = self._dialogue()
        ids = list(asked.prefix)
        spans = []
        for question, (reason, steps, answer) in zip(asked.questions, replies, strict=True):
            start = len(ids) + len(question)
            ids += [*question, *dialogue.reply(reason, steps, answer)]
            spans.append((start, len(ids)))
        return ids, spans

    def _dialogue(self) -> tuple[Dialogue, int]:
        """The tokenizer at work, and the tokens of the model's context."""
        with self._lock:
            if self._read is None:
                from transformers import AutoConfig, AutoTokenizer

                folder = _folder(self.model)
                with _blaming(self.model):
                    tokenizer = AutoTokenizer.from_pretrained(folder)
                    config = AutoConfig.from_pretrained(folder).get_text_config()
                self._read = (
                    Dialogue(tokenizer, f"model '{self.model}'"),
                    self.max_context or int(config.max_position_embeddings),
                )
            read: tuple[Dialogue, int] = self._read
            return read

    def _loaded(self) -> Together:
        dialogue, _ = self._dialogue()
        with self._lock:
            if self._together is None:
                self._together = Together(dialogue, self._reader(), self.settings.reason_tokens, self.concurrent)
            together: Together = self._together
            return together

    def _reader(self) -> Any:
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        from reward_models.judges.shared_prefix import Reader

        logging.disable_progress_bar()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        device = self.device if self.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        dtype = "float32" if self.dtype == "auto" and device == "cpu" else self.dtype
        folder = _folder(self.model)
        with _blaming(self.model):
            network = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype if dtype == "auto" else getattr(torch, dtype)
            )
            return Reader(network.to(device).eval())

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in _HELD}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= {**state, "account": Account(), "_lock": threading.Lock(), "_read": None, "_together": None}


def allowed(criterion: Criterion) -> list[str]:
    """The answers that a question may be given; the last one is *unknown*."""
    return [*(criterion.answers or ("yes", "no")), UNKNOWN]


def verdict(criterion: Criterion, reply: Reply, steps: Sequence[int]) -> Verdict:
    """What a reply says of a criterion. A step cited that was not shown makes it unknown, for that reason."""
    known, last = reply.chances[:-1], reply.chances[-1]
    answers = allowed(criterion)
    label = answers[max(range(len(known)), key=known.__getitem__)]
    try:
        cited, reason = read_reason(reply.reason)
    except ValueError as error:
        return Verdict(criterion=criterion.id, value=None, why=str(error), cause="unreadable")
    absent = [step for step in cited if step not in steps]
    if absent:
        why = f"the judge cited step {absent[0]}, which it was not shown"
        return Verdict(criterion=criterion.id, value=None, why=why, cause="citation")
    if last >= max(known):
        return Verdict(criterion=criterion.id, value=None, why=reason, cause="judge", steps=sorted(set(cited)))
    return Verdict(
        criterion=criterion.id,
        value=_value(criterion, known, label),
        label="" if criterion.kind == "binary" else label,
        steps=sorted(set(cited)),
        why=reason,
    )


def _value(criterion: Criterion, chances: list[float], label: str) -> float | None:
    """In [0, 1]; None of a class question that only labels."""
    if criterion.kind == "class":
        return float(label in criterion.met) if criterion.met else None
    total = sum(chances)
    if criterion.kind == "ordered":
        return sum(rank * chance for rank, chance in enumerate(chances)) / (len(chances) - 1) / total
    return chances[0] / total


@contextlib.contextmanager
def _blaming(model: str) -> Iterator[None]:
    """Whatever the libraries raise about a damaged checkpoint, in one line."""
    try:
        yield
    except Exception as error:
        problem = str(error).strip().split("\n")[0]
        raise RubricError(f"model '{model}' cannot be loaded ({problem}); expected a checkpoint.") from None


def _folder(model: str) -> Path:
    """Where a checkpoint lies; one of the hub is fetched. Raises RubricError."""
    if Path(model).is_dir():
        return Path(model)
    if model.startswith((".", "/", "~")):
        raise RubricError(f"model '{model}' is no directory; expected a checkpoint. Make it first.")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=list(FILES)))
    except Exception as error:  # the hub's client raises what its transport raises
        problem = str(error).strip().split("\n")[0]
        raise RubricError(f"model '{model}' is no directory and cannot be fetched ({problem}).") from None
