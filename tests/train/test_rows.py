"""What is trained on: exactly the spans, nothing cut, and budgets that are met."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_cases import make_examples  # type: ignore[import-not-found]

from rft.errors import StageError
from rft.train.rows import IGNORED, Row, check_lengths, columns, lay_out, read_rows, to_budget
from rft.types import Example
from tests.conftest import write_records


def write(path: Path, **changes: Any) -> Path:
    shape = {"ids": [7, 8, 9, 10], "spans": [(1, 2), (3, 4)], "provenance": "recorded", **changes}
    return write_records(path, [Example(id="a/1/0/0", trajectory_id="a/1/0", task_id="a", **shape)])


def test_labels_are_the_spans_and_nothing_else(tmp_path: Path) -> None:
    file = write(tmp_path / "examples.jsonl")
    (row,) = columns(file)
    assert row["input_ids"].tolist() == [7, 8, 9, 10]
    assert row["labels"].tolist() == [IGNORED, 8, IGNORED, 10]
    assert [(row.length, row.learnt) for row in read_rows(file)] == [(4, 2)]


def test_everything_but_the_first_token_can_be_learnt(tmp_path: Path) -> None:
    file = write(tmp_path / "examples.jsonl", spans=[])
    (row,) = columns(file, "everything")
    assert row["labels"].tolist() == [IGNORED, 8, 9, 10]
    assert [row.learnt for row in read_rows(file, "everything")] == [3]


def test_the_trainer_s_data_set_repeats_rows_as_the_budget_says(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    made = make_examples(5)
    file = write_records(tmp_path / "examples.jsonl", made)
    chosen = to_budget(read_rows(file), 200, seed=3)
    assert len(chosen) > len(made)
    rows = lay_out(columns(file), chosen, {"input_ids": "int32", "labels": "int32"}, tmp_path / "rows.arrow")
    assert rows.column_names == ["input_ids", "labels"]
    assert [row["input_ids"] for row in rows] == [made[row.number].ids for row in chosen]
    assert [sum(label != IGNORED for label in row["labels"]) for row in rows] == [row.learnt for row in chosen]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spans": []}, "no token of it is learnt"),
        ({"spans": [(0, 2)]}, "claims to learn"),
        ({"spans": [(2, 9)]}, "claims to learn"),
        ({"spans": [(2, 2)]}, "claims to learn"),
        ({"weights": [0.5]}, r"has weights \[0.5\] for 2 spans"),
        ({"weights": [0.0, 0.0]}, "every weight of it is 0"),
    ],
)
def test_rows_that_cannot_be_learnt_exactly_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(StageError, match=words):
        read_rows(write(tmp_path / "examples.jsonl", **changes))


def test_a_row_that_is_too_long_is_refused_with_the_rule_that_drops_it(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path / "examples.jsonl"))
    check_lengths(rows, 4, "the model's context")
    with pytest.raises(StageError, match=r"1 of 1 examples are longer than the model's context of 3 .*max_tokens"):
        check_lengths(rows, 3, "the model's context")


@given(learnt=st.lists(st.integers(1, 50), min_size=1, max_size=12), tokens=st.integers(1, 400), seed=st.integers(0, 9))
def test_a_budget_is_reached_and_passed_by_less_than_a_row(learnt: list[int], tokens: int, seed: int) -> None:
    rows = [
        Row(id=str(number), number=number, length=count, learnt=count, tokens=count)
        for number, count in enumerate(learnt)
    ]
    chosen = to_budget(rows, tokens, seed)
    total = sum(row.learnt for row in chosen)
    assert tokens <= total < tokens + chosen[-1].learnt
    assert [row.id for row in chosen] == [row.id for row in to_budget(rows, tokens, seed)]
    uses = [sum(row.id == other.id for other in chosen) for row in rows]
    assert max(uses) - min(uses) <= 1  # every row is used before any is used again


def test_a_budget_s_order_follows_the_seed(tmp_path: Path) -> None:
    rows = read_rows(write_records(tmp_path / "examples.jsonl", make_examples(20)))
    orders = {tuple(row.id for row in to_budget(rows, 220, seed)) for seed in range(4)}
    assert len(orders) == 4
