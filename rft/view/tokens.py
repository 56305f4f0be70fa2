"""`rft show RUN TRAJECTORY --tokens`: what the trainer sees of an attempt, every token in the colour of its part."""

from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from rft.errors import RecipeError
from rft.rundir import Run
from rft.store import Records
from rft.types import Example
from rft.view import data
from rft.view.terminal import console, learnt_colour
from rft.view.text import clean, line


def print_tokens(run: Run, identity: str) -> None:
    """The rows that are trained on of one attempt, to stdout, whole.

    Raises RecipeError when there is no such attempt, or nothing is learnt from it.
    """
    shown = data.find(run, identity)
    round = shown.trajectory.round
    every = Records(run.stage(round, "select").path / "examples.jsonl", Example)
    examples = [example for example in every if example.trajectory_id == identity] if shown.learnt else []
    if not examples:
        decision = shown.decision
        why = f"dropped by {decision.rule}: {decision.reason}" if decision and not decision.keep else "not selected"
        raise RecipeError(f"{identity}: nothing is learnt from it ({line(why)}); expected one that was kept.")
    from transformers import AutoTokenizer

    to: Console = console()
    to.print(rows(examples, AutoTokenizer.from_pretrained(run.policy(round))))


def rows(examples: list[Example], tokenizer: Any) -> RenderableType:
    """Each row: what is only read is dim, what is learnt has the colour of its weight and its step before it."""
    return Group(*(part for example in examples for part in (_title(example), row(example, tokenizer), "")))


def _title(example: Example) -> Text:
    learnt = sum(end - start for start, end in example.spans)
    side = {True: ", to become likelier", False: ", to become less likely", None: ""}[example.good]
    where = f"{line(example.id)}: {learnt:,} of {len(example.ids):,} tokens are learnt{side} ({example.provenance})"
    return Text(where, style="bold")


def row(example: Example, tokenizer: Any) -> Text:
    """One row as text."""
    text, read = Text(), 0
    signs = [-1.0 if example.good is False else 1.0] * len(example.spans)
    for place, (start, end) in enumerate(example.spans):
        weight = example.weights[place] if example.weights else signs[place]
        text.append(clean(tokenizer.decode(example.ids[read:start])), style="dim")
        step = f"step {example.steps[place]}" if example.steps else "learnt"
        text.append(f"‹{step}{'' if abs(weight) == 1 else f' × {weight:.2f}'}›", style="bold")
        text.append(clean(tokenizer.decode(example.ids[start:end])), style=learnt_colour(weight))
        read = end
    text.append(clean(tokenizer.decode(example.ids[read:])), style="dim")
    return text
