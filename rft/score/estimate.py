"""What scoring a round will take: calls, tokens and money, before anything is asked."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from reward_models.cache import Usage
from reward_models.judges import Generative
from reward_models.rubric import applicable
from reward_models.types import Transcript, TranscriptStep
from rft.errors import StoreError
from rft.recipe import Recipe
from rft.score.stage import Scorer
from rft.store import Records
from rft.transcript import to_transcript
from rft.types import Trajectory

ASSUMED_STEPS, ASSUMED_CHARS = 12, 1_500
"""Of an attempt that is still to be made: steps, and characters of each."""
SAMPLE = 200
"""Attempts that are looked at where there are some."""


def rows(recipe: Recipe, scorer: Scorer, attempts: int, trajectories: Path) -> list[tuple[str, str]]:
    """(what, how much) of judging so many attempts; nothing where no model is asked.

    The length of an attempt is that of the round's own, where `trajectories` holds some, else an assumption.
    """
    judge = scorer.judge
    questions = [criterion for criterion in scorer.rubric.criteria if criterion.question]
    if not isinstance(judge, Generative) or not questions or not attempts:
        return []
    seen = list(_seen(trajectories))
    basis = f"{len(seen)} attempts" if seen else f"{ASSUMED_STEPS} steps of {ASSUMED_CHARS:,} characters"
    samples = seen or [_assumed()]
    each = [_usage(judge, scorer, transcript) for transcript in samples]
    total = sum(each, Usage())
    calls, prompt, completion = (
        round(value * attempts / len(samples)) for value in (total.calls, total.prompt_tokens, total.completion_tokens)
    )
    facts = f"{calls:,} calls, {prompt:,} tokens read and {completion:,} written"
    money = total.money * attempts / len(samples)
    price = f", {money:.2f} at the judge's price" if money else ""
    return [("judging a round", f"about {facts}{price} (going by {basis}; nothing known from before)")]


def _seen(trajectories: Path) -> Iterator[Transcript]:
    with suppress(StoreError):  # a stage that was killed may end in half a line
        for one in islice(Records(trajectories, Trajectory), SAMPLE):
            if one.failure is None:
                yield to_transcript(one)


def _usage(judge: Generative, scorer: Scorer, transcript: Transcript) -> Usage:
    asked = [criterion for criterion in applicable(scorer.rubric, transcript).criteria if criterion.question]
    return judge.estimate(transcript, scorer.rubric, asked, scorer.section.votes)


def _assumed() -> Transcript:
    text = "x" * (ASSUMED_CHARS // 2)
    steps = [TranscriptStep(index=n, text=text, command="", output=text) for n in range(1, ASSUMED_STEPS + 1)]
    return Transcript(id="assumed", statement=text, steps=steps, patch=text, stop="submitted")
