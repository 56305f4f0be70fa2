"""Options of other libraries go through as they are, and a wrong one is named before anything runs."""

from pathlib import Path
from typing import Any

import pytest

from rft.errors import RecipeError
from rft.recipe import Judging, Policy, Recipe, Sampling, Select, Train, shipped_content
from rft.train import check, estimate
from rft.train.options import batch, check_deepspeed, deepspeed_path, on_gpu


def recipe(**train: Any) -> Recipe:
    return Recipe(name="small", policy=Policy(model="m"), environment={"use": "kata"}, train=Train(**train))


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"trl": {"learning_rat": 1e-5}}, r"train.trl.learning_rat: .* Did you mean 'learning_rate'"),
        ({"trl": {"output_dir": "x"}}, "train.trl.output_dir: cannot be set"),
        ({"trl": {"assistant_only_loss": True}}, "examples say exactly what is learnt"),
        ({"trl": {"logging_strategy": "no"}}, "train.trl.logging_strategy: cannot be set, every update is logged"),
        ({"trl": {"seed": 7}}, "train.trl.seed: cannot be set, set seed"),
        ({"trl": {"save_only_model": True}}, "an interrupted training goes on to the same weights"),
        ({"trl": {"auto_find_batch_size": True}}, "set train.batch_tokens"),
        ({"trl": {"packing": True, "packing_strategy": "wrapped"}}, "cuts examples in pieces"),
        ({"trl": {"model_init_kwargs": {"revision": "v2"}}}, r"revision: cannot be set, .* set policy.model"),
        ({"trl": {"num_train_epochs": 0}}, r"num_train_epochs: is 0; expected more than 0"),
        ({"trl": {"num_train_epochs": 2}, "tokens": 100}, "train.tokens decides how long"),
        ({"tokens": 0}, "train.tokens: is 0"),
        ({"lora": {"rank": 4}}, "train.lora.rank"),
        ({"lora": {"r": 4, "target_modules": "all-linear", "layers_pattern": "x"}}, "train.lora: "),
        ({"quantization": {"load_in_4bit": True}}, "only an adapter learns on weights in few bits"),
        ({"quantization": {"load_4bit": True}, "lora": {"r": 4}}, r"quantization.load_4bit: .*Did you mean"),
        ({"quantization": {"load_in_4bit": True}, "lora": {"r": 4}}, r"bitsandbytes is not installed.*rft\[qlora\]"),
        ({"deepspeed": "zero9"}, r"expected one of zero1, zero2, zero2_offload, zero3, zero3_offload.*Did you"),
    ],
)
def test_a_wrong_option_is_one_line_that_names_it(train: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        check(recipe(**train))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "teach", "words"),
    [
        (
            "dpo",
            "imitate",
            r"dpo learns nothing from select.teach 'imitate'; expected \{use: pairs\} or \{use: step_pairs\}",
        ),
        ("sft", "pairs", "sft learns nothing from select.teach 'pairs'"),
        ("kto", "labels", "train.trl.train_sampling_strategy: cannot be set, kto compares neighbours"),
        ("grpo", "advantages", "policy.sampling: temperature 1, top_p 0.9; grpo needs"),
    ],
)
def test_a_method_and_what_it_learns_from_go_together(method: Any, teach: str, words: str) -> None:
    made = recipe(method=method, trl={"train_sampling_strategy": "random"})
    made.select = Select(teach={"use": teach})
    made.policy.sampling = Sampling(top_p=0.9)
    with pytest.raises(RecipeError, match=words):
        check(made)


@pytest.mark.parametrize(
    ("select", "train", "judging", "words"),
    [
        (
            {"mask_steps": ["x"]},
            {"learn": "everything"},
            None,
            "select.mask_steps: masks nothing, since train.learn is",
        ),
        (
            {"mask_steps": ["x"]},
            {},
            Judging(rubric="r"),
            "select.mask_steps: masks nothing, since a policy that judges",
        ),
        ({"teach": {"use": "imitate", "weight": "score"}}, {}, Judging(rubric="r"), "select.teach.weight: weighs noth"),
    ],
)
def test_steps_set_apart_where_that_changes_nothing_are_refused(
    select: dict[str, Any], train: dict[str, Any], judging: Any, words: str
) -> None:
    made = recipe(**train)
    made.select, made.policy.judging = Select(**select), judging
    with pytest.raises(RecipeError, match=words):
        check(made)


@pytest.mark.parametrize(
    ("method", "teach", "option"),
    [
        ("dpo", "pairs", {"padding_free": True}),
        ("dpo", "pairs", {"sync_ref_model": True}),
        ("kto", "labels", {"precompute_ref_batch_size": 8}),
        ("grpo", "advantages", {"loss_type": "dft"}),
        ("grpo", "advantages", {"packing": True}),
    ],
)
def test_an_option_that_a_method_has_no_use_for_is_refused(method: Any, teach: str, option: dict[str, Any]) -> None:
    made = recipe(method=method, trl=option)
    made.select = Select(teach={"use": teach})
    with pytest.raises(RecipeError, match=rf"^train\.trl\.{next(iter(option))}: cannot be set, "):
        check(made)


def test_right_options_pass() -> None:
    for method, teach in (("dpo", "step_pairs"), ("kto", "labels"), ("grpo", "advantages"), ("dpo", "my.team:pairs")):
        made = recipe(method=method, trl={"learning_rate": 1e-4} if method == "grpo" else {"beta": 0.2})
        made.select = Select(teach={"use": teach})
        check(made)
    check(recipe(trl={"learning_rate": 1e-4, "num_train_epochs": 2}, lora={"r": 4, "target_modules": "all-linear"}))
    check(recipe(tokens=100, deepspeed="zero2"))


def test_deepspeed_is_a_shipped_name_or_a_path(tmp_path: Path) -> None:
    assert deepspeed_path("zero2") == (shipped_content("launch") / "deepspeed" / "zero2.json").resolve()
    own = tmp_path / "own.json"
    own.write_text('{"zero_optimization": {"stage": 2}}')
    assert deepspeed_path(str(own)) == own
    own.write_text("{")
    with pytest.raises(RecipeError, match="is not JSON"):
        deepspeed_path(str(own))
    own.write_text("[]")
    with pytest.raises(RecipeError, match="holds no object"):
        deepspeed_path(str(own))


def test_a_deepspeed_configuration_names_the_recipe_s_batches_or_none(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text(
        '{"train_micro_batch_size_per_gpu": 4, "train_batch_size": 16, "gradient_accumulation_steps": "auto"}'
    )
    check_deepspeed(recipe(deepspeed=str(own), workers=2, method="kto"), gpu=False)
    with pytest.raises(RecipeError, match=r"train_micro_batch_size_per_gpu is 4, .* makes it 8 \(8 rows x 1 steps x 2"):
        check_deepspeed(recipe(deepspeed=str(own), workers=2), gpu=False)
    with pytest.raises(RecipeError, match=r"train_batch_size is 16, .* makes it 8"):
        check_deepspeed(recipe(deepspeed=str(own), method="kto"), gpu=False)


def test_a_configuration_that_leaves_no_weights_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text('{"zero_optimization": {"stage": 3}}')
    with pytest.raises(RecipeError, match=r"does not gather them .* expected \"stage3_gather_16bit.*Add it"):
        check_deepspeed(recipe(deepspeed=str(own)), gpu=False)
    for shipped in (shipped_content("launch") / "deepspeed").glob("*.json"):
        check_deepspeed(recipe(deepspeed=shipped.stem), gpu=True)


@pytest.mark.parametrize(
    ("train", "gpu", "expected"),
    [
        ({"workers": 1}, False, (8, 8)),
        ({"workers": 8}, False, (8, 1)),
        ({"workers": 8}, True, (1, 8)),
        ({"workers": 16, "method": "kto"}, True, (4, 1)),
        ({"workers": 32, "method": "kto"}, True, (2, 1)),
        ({"workers": 2, "trl": {"per_device_train_batch_size": 4}}, True, (4, 8)),
    ],
)
def test_an_update_is_the_same_on_however_many_workers(
    train: dict[str, Any], gpu: bool, expected: tuple[int, int]
) -> None:
    made = recipe(update=64, **train).train
    assert batch(made, gpu=gpu) == expected and expected[0] * expected[1] * made.workers == 64


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"update": 64, "workers": 3}, "64 rows cannot be shared by 3 workers; .* multiple of 3\\."),
        ({"update": 4, "workers": 8}, "train.update: 4 rows cannot be shared by 8 workers"),
        ({"update": 6, "trl": {"per_device_train_batch_size": 4}}, "expected a multiple of 4"),
        ({"update": 8, "trl": {"gradient_accumulation_steps": 4}}, "follows from train.update"),
        ({"update": 7, "method": "kto"}, "7 rows cannot be shared by 1 workers that read 2 at once"),
    ],
)
def test_an_update_that_cannot_be_shared_out_is_refused(train: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        batch(recipe(**train).train, gpu=False)


def test_workers_on_a_cluster_have_the_gpus_that_they_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # as on a head that has none
    assert [on_gpu(recipe(ray=given).train) for given in (None, {}, {"use_gpu": True})] == [False, False, True]
    made = recipe(ray={"use_gpu": True}, workers=8)
    assert dict(estimate.rows(made, attempts=1))["training batch"].startswith("1 rows x 8 steps x 8 processes")
