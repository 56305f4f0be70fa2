import math

import pytest
import torch

from rft.inference.draw import draw, uniform


def test_uniform_numbers_are_uniform_and_follow_from_seed_and_count() -> None:
    drawn = [uniform(seed, count) for seed in range(50) for count in range(50)]
    assert uniform(7, 3) == uniform(7, 3)
    assert len(set(drawn)) == len(drawn)
    assert all(0 <= u < 1 for u in drawn)
    assert abs(sum(drawn) / len(drawn) - 0.5) < 0.02


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.6)])
def test_tokens_come_as_often_as_their_probability_says(temperature: float, top_p: float) -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, float("-inf")])
    expected = (logits / temperature).softmax(-1)
    if top_p < 1:
        expected = torch.where(expected >= expected[0], expected, 0.0)  # 0.64 alone holds 0.6
        expected /= expected.sum()
    count = 20_000
    ids, logprobs = draw(logits.expand(count, -1), [(i + 0.5) / count for i in range(count)], temperature, top_p)
    shares = torch.bincount(ids, minlength=5) / count
    assert torch.allclose(shares, expected, atol=1e-3)
    assert torch.allclose(logprobs.exp(), expected[ids], atol=1e-5)


def test_a_nucleus_keeps_the_token_that_reaches_it() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
    ids = {int(draw(logits, [u / 100], 1.0, 0.6)[0]) for u in range(100)}
    assert ids == {0, 1}


def test_greedy_tells_the_models_own_probability() -> None:
    ids, logprobs = draw(torch.tensor([[0.0, 1.0]]), [0.0], 0.0, 0.5)
    assert ids.tolist() == [1]
    assert math.isclose(float(logprobs), math.log(math.e / (1 + math.e)), rel_tol=1e-6)


def test_the_ends_of_the_interval_are_tokens_with_probability() -> None:
    logits = torch.tensor([[float("-inf"), 0.0, 0.0, float("-inf")]])
    assert [int(draw(logits, [u], 1.0, 1.0)[0]) for u in (0.0, 1 - 2**-53)] == [1, 2]
