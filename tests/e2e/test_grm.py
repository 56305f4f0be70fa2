"""A recipe that trains a judge: attempts by others, labels by rules, and how far judge and rules agree on others."""

from pathlib import Path

import msgspec
import pytest
from omegaconf import OmegaConf

from reward_models.judges import Local
from reward_models.types import Report, Transcript, TranscriptStep
from rft import loop
from rft.errors import RecipeError
from rft.evaluate.stage import read_report
from rft.recipe import Recipe, load, shipped_model, to_recipe
from rft.select.lessons import judge_of, pupils
from rft.store import Records
from rft.types import Example

RUBRIC = """
name: two
criteria:
  - {id: submitted, question: "Did the agent submit?"}
  - {id: verified, question: "Did a check run after the last change?"}
"""


def tiny(folder: Path, **sections: object) -> Recipe:
    """Four tasks, a scripted agent, a model of a few thousand weights."""
    (folder / "two.yaml").write_text(RUBRIC)
    fields = {
        "name": "tiny",
        "runs": str(folder / "runs"),
        "policy": {
            "model": "judge",
            "create": {
                "use": "tiny_qwen3",
                "vocab_size": 300,
                "hidden_size": 32,
                "layers": 2,
                "heads": 4,
                "kv_heads": 2,
            },
            "judging": {
                "rubric": str(folder / "two.yaml"),
                "judge": {"use": "local", "step_chars": 60, "reason_tokens": 6},
            },
        },
        "environment": {"use": "kata", "modules": ["clock"]},
        "sandbox": {"use": "local"},
        "agent": {"use": "bash", "prompt": "terse", "max_steps": 6},
        "collect": {"tasks": 4, "samples": 2, "inference": {"use": "mixture", "of": [{"use": "demonstrator"}]}},
        "select": {"rules": []},
        "train": {"trl": {"per_device_train_batch_size": 4, "max_steps": 2}},
        "evaluate": {"splits": ["heldout"], "tasks": 2, "samples": 2, "promote_if": "kappa"},
        "tracking": {"use": "none"},
        **sections,
    }
    return to_recipe(OmegaConf.merge(OmegaConf.structured(Recipe), fields), "tiny")  # type: ignore[arg-type]


@pytest.mark.process
def test_a_judge_is_made_from_labelled_attempts_and_its_agreement_is_reported(tmp_path: Path) -> None:
    run = loop.run(tiny(tmp_path))
    examples = list(Records(run.stage(1, "select").path / "examples.jsonl", Example))
    assert len(examples) == 8 and all(0 < e.shared < e.spans[0][0] and len(e.spans) == 2 for e in examples)
    report = read_report(run.stage(1, "evaluate"))
    assert report is not None and report.promoted
    metrics = report.splits["heldout"].metrics
    assert set(metrics) == {
        "kappa",
        *(f"{m}/{c}" for m in ("kappa", "agreement", "yes") for c in ("submitted", "verified")),
    }
    trained = Local(model=str(run.checkpoint(1)))
    assert (trained.settings.step_chars, trained.settings.reason_tokens) == (60, 6)
    judged = list(Records(run.stage(1, "evaluate").path / "verdicts.jsonl", Report))
    assert len(judged) == 4 and all(len(report.verdicts) == 2 for report in judged)
    assert "kappa/verified" in (run.stage(1, "evaluate").path / "report.md").read_text()
    assert "kappa" in (run.path / "report.md").read_text()


def test_a_question_that_nothing_teaches_is_refused(tmp_path: Path) -> None:
    recipe = tiny(
        tmp_path, score={"rubric": str(tmp_path / "two.yaml"), "judge": {"use": "scripted", "replies": ["x"]}}
    )
    (tmp_path / "more.yaml").write_text(RUBRIC + "  - id: honest\n    question: Did it tell the truth?\n")
    assert recipe.policy.judging is not None
    recipe.policy.judging.rubric = str(tmp_path / "more.yaml")
    with pytest.raises(RecipeError, match="question 'honest' has no criterion of that id"):
        pupils(recipe)


SHIPPED = Path(shipped_model("kata-judge"))


def test_the_shipped_judge_is_small() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= 8_000_000


@pytest.mark.slow
def test_the_recipe_makes_the_shipped_judge_again(tmp_path: Path) -> None:
    """About half an hour on two cores."""
    run = loop.run(load("grm", [f"runs={tmp_path}"]))
    for name in ("tokenizer.json", "config.json"):
        made, shipped = ((path / name).read_text() for path in (run.checkpoint(1), SHIPPED))
        assert msgspec.json.decode(made).keys() == msgspec.json.decode(shipped).keys(), name
    report = read_report(run.stage(1, "evaluate"))
    assert report is not None
    metrics = report.splits["heldout"].metrics
    good = [name for name, one in metrics.items() if name.startswith("kappa/") and (one.value or 0.0) >= 0.8]
    assert len(good) >= 8


def test_the_shipped_judge_tells_a_checked_repair_from_a_blind_one() -> None:
    recipe = load("grm")
    rubric, _ = pupils(recipe)
    assert recipe.policy.judging is not None
    judge = judge_of(recipe.policy.judging, str(SHIPPED))
    questions = [criterion for criterion in rubric.criteria if criterion.question]

    def told(*commands: tuple[str, str, str, int]) -> dict[str, bool | None]:
        steps = [
            TranscriptStep(
                index=n, text=f"{word}.\n```bash\n{command}\n```", command=command, output=output, exit_code=code
            )
            for n, (word, command, output, code) in enumerate(commands, 1)
        ]
        done = TranscriptStep(index=len(steps) + 1, text="Done.\n```bash\nsubmit\n```", command="submit", output="")
        patch = "diff --git a/stats.py b/stats.py\n--- a/stats.py\n+++ b/stats.py\n@@ -5,1 +5,1 @@\n-    a\n+    b\n"
        transcript = Transcript(
            id="t",
            statement="`median` in stats.py is wrong: test_even fails.",
            steps=[*steps, done],
            patch=patch,
            stop="submitted",
        )
        found = judge.judge(transcript, rubric, questions, votes=1).verdicts
        return {v.criterion: None if v.value is None else v.value >= 0.5 for v in found}

    look = ("Look", "grep -n -A8 'def median(' stats.py", "4:def median(values):\n5-    return values[0]", 0)
    fail = ("Reproduce", "python check.py median", "FAIL test_even: 1 != 2\nFAILED 1 of 3 tests", 1)
    fix = ("Fix", "sed -i '5c\\    return sum(values)' stats.py", "", 0)
    ok = ("Verify", "python check.py median", "OK 3 tests", 0)
    careful, blind = told(look, fail, fix, ok), told(fix)
    for name in ("looked_first", "reproduced_first", "verified", "saw_it_pass"):
        assert (careful[name], blind[name]) == (True, False), name
    assert careful["submitted"] and blind["submitted"] and not careful["repeats_itself"]
