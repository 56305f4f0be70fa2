"""The worked example of recipes/METHODS.md, computed by the code that the page is about."""

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from reward_models.types import Report, Verdict
from rft.plugins import build
from rft.select.candidate import Candidate
from rft.select.teaching import Taught
from rft.train.options import CONFIGS, TAUGHT
from rft.types import Example, Outcome, Step
from tests.conftest import make_trajectory

PAGE = (Path(__file__).parent.parent / "recipes" / "METHODS.md").read_text()
GROUP = {"a": (True, 0.9, []), "b": (True, 0.6, [2]), "c": (True, 0.5, []), "d": (False, 0.0, [])}
"""Attempt to whether its tests pass, its score, and its steps that repeat themselves."""
KEPT = [{"use": "resolved"}, {"use": "best_of_group", "keep": 2}]
STEPS = {"repeats_itself": -0.2}


def group() -> list[Candidate]:
    return [_candidate(name, *facts) for name, facts in GROUP.items()]


def _candidate(name: str, resolved: bool, score: float, repeats: list[int]) -> Candidate:
    steps = [Step(index=n, reply="r", command="c", observation="") for n in (1, 2, 3)]
    example = Example(
        id=f"{name}/0", trajectory_id=name, task_id="t", ids=list(range(12)), spans=[(2, 4), (6, 8), (10, 12)],
        steps=[1, 2, 3], logprobs=[-1.0] * 6, provenance="recorded",
    )  # fmt: skip
    verdicts = [Verdict(criterion="repeats_itself", value=float(bool(repeats)), steps=repeats)]
    trajectory = replace(make_trajectory(name, steps=steps), outcome=Outcome(resolved=resolved))
    report = Report(id=name, task_id="t", rubric="r", judge="", verdicts=verdicts, score=score)
    return Candidate(trajectory=trajectory, report=report, examples=[example], seed=0)


def taught(teach: dict[str, Any], rules: list[dict[str, Any]] | None = None) -> tuple[Taught, dict[str, str]]:
    """What the group teaches, and who was dropped, by a rule or by the teaching."""
    inside, dropped = group(), {}
    for number, section in enumerate(rules or []):
        rule = build("rule", section, f"select.rules.{number}")
        dropped |= rule(inside)
        inside = [c for c in inside if c.id not in dropped]
    found: Taught = build("teaching", teach, "select.teach")(inside)
    return found, dropped | found.dropped


def column(teach: dict[str, Any], rules: list[dict[str, Any]] | None = None) -> list[str]:
    """What becomes of each attempt, in words."""
    found, dropped = taught(teach, rules)
    words = {e.trajectory_id: _words(e) for e in found.examples}
    return [words.get(name) or f"*{dropped[name]}*" for name in GROUP]


def _words(example: Example) -> str:
    if example.pair:
        return "the better side" if example.good else "the worse side"
    if example.good is not None:
        return "likelier" if example.good else "less likely"
    if example.logprobs:  # only a policy gradient asks for them
        return f"advantage {example.weights[0]:+.2f}"
    return f"likelier, × {example.weights[0] if example.weights else 1:g}"


def table(header: list[str], columns: list[list[str]]) -> str:
    """Markdown."""
    title, *rows = (f"| {' | '.join(row)} |" for row in (header, *zip(*columns, strict=True)))
    return "\n".join([title, "|---" * len(header) + "|", *rows])


def test_the_group_on_the_page_is_the_one_that_is_computed() -> None:
    columns = [
        list(GROUP),
        ["pass" if resolved else "fail" for resolved, _, _ in GROUP.values()],
        [f"{score:g}" for _, score, _ in GROUP.values()],
        ["yes" if repeats else "no" for _, _, repeats in GROUP.values()],
    ]
    assert table(["attempt", "tests", "score", "step 2 of 3 repeats a command"], columns) in PAGE


def test_what_each_method_makes_of_the_group() -> None:
    header = ["attempt", "`imitate`", "`imitate`, `weight: score`", "`pairs`", "`labels`", "`advantages`"]
    columns = [
        list(GROUP),
        column({"use": "imitate"}, KEPT),
        column({"use": "imitate", "weight": "score"}, KEPT),
        column({"use": "pairs", "margin": 0.2}),
        column({"use": "labels", "good": 0.6, "bad": 0.3}),
        column({"use": "advantages"}),
    ]
    assert table(header, columns) in PAGE, table(header, columns)


def test_advantages_of_two_objectives_and_of_steps() -> None:
    objectives = {"resolved": 1.0, "score": 1.0}
    plain = taught({"use": "advantages", "objectives": objectives})[0].examples
    priced = taught({"use": "advantages", "objectives": objectives, "step_rewards": STEPS})[0].examples
    header = ["attempt", "without a price", "step 1", "step 2", "step 3"]
    columns = [list(GROUP), [f"{e.weights[0]:+.2f}" for e in plain]]
    columns += [[f"{e.weights[place]:+.2f}" for e in priced] for place in range(3)]
    assert table(header, columns) in PAGE, table(header, columns)


def test_when_a_ratio_is_clipped() -> None:
    torch = pytest.importorskip("torch")
    from rft.train.losses import clipped_gradient

    columns: list[list[str]] = [[], [], [], []]
    for advantage in (1.0, -1.0):
        for ratio in (0.5, 1.0, 1.5):
            now = torch.tensor([ratio]).log().requires_grad_()
            loss = clipped_gradient(now, torch.zeros(1), torch.tensor([advantage]), 0.2, 0.28)
            loss.sum().backward()
            effect = "likelier" if now.grad < 0 else "less likely" if now.grad > 0 else "nothing: clipped"
            row = (f"{advantage:+g}", f"{ratio:g}", f"{loss.item():+.2f}", effect)
            for place, word in enumerate(row):
                columns[place].append(word)
    header = ["advantage", "ratio", "loss", "what the update makes of it"]
    assert table(header, columns) in PAGE, table(header, columns)


def test_every_method_and_teaching_has_its_place_and_rates_are_trl_s() -> None:
    trl = pytest.importorskip("trl")
    rates = {}
    for method, teachings in TAUGHT.items():
        assert f"\n## {method}: " in PAGE
        assert all(f"`{name}`" in PAGE for name in teachings)
        defaults = {field.name: field.default for field in fields(getattr(trl, CONFIGS[method]))}
        rates[method] = f"{defaults['learning_rate']:.0e}".replace("e-0", "e-")
    assert rates == {"sft": "2e-5", "dpo": "1e-6", "kto": "1e-6", "grpo": "2e-5"}
    assert f"the margin is 0.3 and the loss {math.log1p(math.exp(-0.3)):.3f}" in PAGE
    assert "| when the key is left out (TRL) | 2e-5 | 1e-6 | 1e-6 | 2e-5: always set it |" in PAGE
