"""Rows that branch teach what rows that stand alone would teach."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rft.errors import StageError
from rft.inference.fresh import TinyQwen3
from rft.store import Records
from rft.train.branches import positions, seen
from rft.train.rows import columns, read_rows
from rft.types import Example


def example(ids: list[int], spans: list[tuple[int, int]], shared: int) -> Example:
    return Example(id="a", trajectory_id="a", task_id="t", ids=ids, spans=spans, shared=shared, provenance="rendered")


def written(tmp_path: Path, made: Example) -> Path:
    path = tmp_path / "examples.jsonl"
    with Records(path, Example).writer() as write:
        write(made)
    return path


def test_a_branch_reads_the_shared_text_and_itself(tmp_path: Path) -> None:
    path = written(tmp_path, example([1, 2, 3, 4, 5, 6, 7], [(3, 5), (6, 7)], 2))
    [row] = columns(path)
    assert row["branches"].tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert [row.branching for row in read_rows(path)] == [True]
    branches = torch.tensor([[*row["branches"].tolist(), -1]])
    assert positions(branches).tolist() == [[0, 1, 2, 3, 4, 2, 3, 0]]
    assert seen(branches)[0, 6].tolist() == [True, True, False, False, False, True, True, False]


def test_logits_of_a_branch_are_those_of_a_row_of_its_own(tmp_path: Path) -> None:
    tiny = TinyQwen3(vocab_size=300, hidden_size=32, layers=2, heads=4, kv_heads=2, intermediate_size=64)
    tiny.make(tmp_path / "m", ["a text to learn from"] * 3, seed=1)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "m").eval()
    shared, one, two = [5, 9, 12, 40], [7, 8, 9], [30, 31]
    branches = torch.tensor([[0] * 4 + [1] * 3 + [2] * 2])
    with torch.inference_mode():
        together = model(
            input_ids=torch.tensor([[*shared, *one, *two]]),
            attention_mask=seen(branches)[:, None],
            position_ids=positions(branches),
        ).logits[0]
        for start, branch in ((4, one), (7, two)):
            alone = model(input_ids=torch.tensor([[*shared, *branch]])).logits[0, 4:]
            assert torch.allclose(together[start : start + len(branch)], alone, atol=1e-5)


@pytest.mark.parametrize(("spans", "shared"), [([(2, 4)], 3), ([(3, 5)], 2)])
def test_branches_that_do_not_cover_the_row_are_refused(
    tmp_path: Path, spans: list[tuple[int, int]], shared: int
) -> None:
    with pytest.raises(StageError, match="each branch to end with its span"):
        read_rows(written(tmp_path, example([1, 2, 3, 4, 5, 6], spans, shared)))
