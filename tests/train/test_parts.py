"""A batch that is read in parts gives the update of the whole one, and no part is larger than was said."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_methods import FLOAT, spec_of, trainer_of  # type: ignore[import-not-found]
from training_cases import MAKERS, make_examples  # type: ignore[import-not-found]

from rft.errors import RecipeError
from rft.recipe import Policy, Recipe, Train
from rft.train.options import check_parts

torch = pytest.importorskip("torch")

LIMIT = 200


@given(st.lists(st.integers(1, 90), min_size=1, max_size=20), st.integers(1, 200), st.integers(1, 25))
def test_parts_hold_every_row_once_within_the_limit(lengths: list[int], limit: int, count: int) -> None:
    from rft.train.parts import at_least, parts_of

    parts = parts_of(lengths, limit)
    assert all(len(part) == 1 or len(part) * max(lengths[row] for row in part) <= limit for part in parts)
    more = at_least(parts, count)
    for made in (parts, more):
        assert sorted(row for part in made for row in part) == list(range(len(lengths)))
    assert len(more) == max(len(parts), min(count, len(lengths)))


def branching() -> list[Any]:
    """Two branches behind a shared text."""
    return [
        msgspec.structs.replace(e, shared=12, spans=[(15, 20), (len(e.ids) - 4, len(e.ids))]) for e in make_examples(8)
    ]


@pytest.mark.parametrize("kind", ["sft", "weighted", "branching", "dpo", "grpo"])
def test_the_update_is_that_of_the_whole_batch(tmp_path: Path, policy: Path, kind: str) -> None:
    method = kind if kind in MAKERS else "sft"
    examples = branching() if kind == "branching" else MAKERS[method](8)
    if kind == "weighted":
        examples = [msgspec.structs.replace(e, weights=[0.25, 1.5]) for e in examples]
    found = []
    for limit in (None, LIMIT):
        trl = FLOAT | {"per_device_train_batch_size": 8}
        spec = spec_of(tmp_path / str(limit), policy, method, examples, batch_tokens=limit, trl=trl)
        trainer = trainer_of(spec)
        batch = next(iter(trainer.get_train_dataloader()))
        read: list[int] = []
        trainer.model.register_forward_pre_hook(
            lambda _, __, given, read=read: read.append(given["input_ids"].numel()), with_kwargs=True
        )
        trainer.current_gradient_accumulation_steps = 1
        count = (batch["labels"][:, 1:] != -100).sum() if "labels" in batch else None
        loss = trainer.training_step(trainer.model, batch, count)
        found.append((loss, [p.grad.clone() for p in trainer.model.parameters()], read))
    (whole, expected, _), (parts, gradients, read) = found
    assert len(read) > 2 and max(read) <= LIMIT
    assert float(whole) == pytest.approx(float(parts), abs=1e-6)
    for gradient, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"method": "kto", "batch_tokens": 9}, "kto compares the rows of a batch"),
        ({"batch_tokens": 0}, "is 0; expected at least 1"),
        ({"method": "dpo", "batch_tokens": 9, "trl": {"loss_type": ["sigmoid", "sft"]}}, "sft compares the pairs of"),
        ({"batch_tokens": 9, "trl": {"packing": True}}, "packed rows have one length"),
    ],
)
def test_what_cannot_be_read_in_parts_is_refused(train: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        check_parts(Recipe(name="r", policy=Policy(model="m"), train=Train(**train)).train)
    assert "\n" not in str(caught.value)
