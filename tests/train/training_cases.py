"""Examples made by code, for the tests of training."""

import random
from collections.abc import Callable

from msgspec.structs import replace

from rft.recipe import Recipe
from rft.rundir import Run
from rft.types import Example

WORDS = ["alpha", "beta", "gamma", "delta", "open", "close", "read", "write", "test", "fail", "pass", "fix"]
MakeRun = Callable[..., tuple[Recipe, Run]]


def make_examples(count: int, *, seed: int = 0, length: int = 60) -> list[Example]:
    """Rows with two learnt spans and a lot of context between them."""
    draw = random.Random(seed)
    examples = []
    for number in range(count):
        ids = [draw.randrange(3, 250) for _ in range(draw.randrange(length // 2, length))]
        half = len(ids) // 2
        spans = [(4, 9), (half, half + 6)]
        identity = f"task-{number}/1/0"
        examples.append(
            Example(
                id=f"{identity}/0",
                trajectory_id=identity,
                task_id=f"task-{number}",
                ids=ids,
                spans=spans,
                provenance="recorded",
            )
        )
    return examples


def make_pairs(count: int) -> list[Example]:
    """Pairs with one prompt of four tokens, better side first."""
    better, worse = make_examples(count, seed=1), make_examples(count, seed=2, length=80)
    sides = []
    for one, other in zip(better, worse, strict=True):
        pair = f"{one.id} > other"
        sides.append(replace(one, good=True, pair=pair))
        sides.append(replace(other, id=f"{one.id}/other", ids=one.ids[:4] + other.ids[4:], good=False, pair=pair))
    return sides


def make_graded(count: int) -> list[Example]:
    """Examples with an advantage for each span, and log-probabilities as they are drawn at random."""
    draw = random.Random(3)
    return [
        replace(
            example,
            weights=[1.0 - number % 3, -0.5 * (number % 2) + 0.125],
            logprobs=[-5.7 + 0.3 * draw.gauss(0, 1) for _ in range(11)],
        )
        for number, example in enumerate(make_examples(count))
    ]


def make_liked(count: int) -> list[Example]:
    """Two of three are to become likelier."""
    return [replace(example, good=number % 3 > 0) for number, example in enumerate(make_examples(count))]


MAKERS: dict[str, Callable[[int], list[Example]]] = {
    "sft": make_examples,
    "dpo": make_pairs,
    "kto": make_liked,
    "grpo": make_graded,
}
"""`train.method` to what makes that many rows of the kind that it learns from."""
