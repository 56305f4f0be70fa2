"""What each method makes small is what its paper says, computed row by row in plain torch, masks and weights too."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from training_cases import MAKERS, make_examples, make_graded, make_liked, make_pairs  # type: ignore[import-not-found]

from rft.errors import RecipeError, StageError
from rft.train.process import Spec
from rft.types import Example
from tests.conftest import write_records

torch = pytest.importorskip("torch")

FLOAT = {"bf16": False, "learning_rate": 1e-2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}


def spec_of(folder: Path, model: Path, method: str, examples: list[Example], **changes: Any) -> Spec:
    torch.set_num_threads(1)
    write_records(folder / "examples.jsonl", examples)
    made = Spec(
        model=str(model), examples=str(folder / "examples.jsonl"), folder=str(folder), seed=0, tokens=None, workers=1,
        deepspeed=None, lora=None, trl=FLOAT, resume=None, parent=0, method=method,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def trainer_of(spec: Spec) -> Any:
    from rft.train.training import build_trainer, method_of

    method = method_of(spec)
    return build_trainer(spec, method, method.rows())


def disturb(model: Any) -> None:
    """Away from the reference, so that ratios are not 1."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)


def logprobs(model: Any, ids: Sequence[int], spans: Sequence[tuple[int, int]], temperature: float = 1.0) -> Any:
    """Of the tokens in the spans, from a row that stands alone."""
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double() / temperature
    every = logits.log_softmax(-1)
    return torch.stack([every[place - 1, ids[place]] for start, end in spans for place in range(start, end)])


def rows_of(batch: dict[str, Any], examples: list[Example]) -> Iterator[Example]:
    """The examples of a batch, found by their tokens."""
    known = {tuple(example.ids): example for example in examples}
    mask = batch.get("attention_mask")
    for number, ids in enumerate(batch["input_ids"].tolist()):
        length = len(ids) if mask is None else int(mask[number].sum())
        yield known[tuple(ids[:length])]


def assert_same(trainer: Any, batch: dict[str, Any], expected: Any, count: Any = None) -> None:
    """Loss to 1e-5, and every gradient."""
    model = trainer.model.train()
    model.zero_grad()
    expected.backward()
    wanted = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    loss = trainer.compute_loss(model, dict(batch), num_items_in_batch=count)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
    for parameter, gradient in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-4)


def test_weights_multiply_the_loss_of_their_spans(tmp_path: Path, policy: Path) -> None:
    examples = [msgspec.structs.replace(e, weights=[0.25, 1.5]) for e in make_examples(6)]
    trainer = trainer_of(spec_of(tmp_path / "a", policy, "sft", examples))
    batch = next(iter(trainer.get_train_dataloader()))
    expected, count = 0.0, 0
    for example in rows_of(batch, examples):
        found = logprobs(trainer.model, example.ids, example.spans)
        weights = torch.tensor(
            [w for w, (a, b) in zip(example.weights, example.spans, strict=True) for _ in range(b - a)]
        )
        expected, count = expected - (found * weights).sum(), count + len(found)
    assert_same(trainer, batch, expected / count, torch.tensor(count))


@pytest.mark.parametrize("lora", [None, {"r": 4, "target_modules": "all-linear"}], ids=["full", "lora"])
def test_dpo_is_the_paper_s_and_starts_from_the_policy(tmp_path: Path, policy: Path, lora: Any) -> None:
    examples = [
        msgspec.structs.replace(side, spans=side.spans[: 1 + n % 2]) for n, side in enumerate(make_pairs(6))
    ]  # of every better side a step is masked
    trainer = trainer_of(spec_of(tmp_path / "a", policy, "dpo", examples, lora=lora))
    batch = next(iter(trainer.get_train_dataloader()))
    start = trainer.compute_loss(trainer.model.train(), dict(batch))
    assert float(start.detach()) == pytest.approx(math.log(2), abs=1e-6), "the reference is where training starts"
    if lora is not None:
        return
    reference = trainer.ref_model
    disturb(trainer.model)
    rows = list(rows_of(batch, examples))
    gains = []
    for row in rows:
        with torch.no_grad():
            before = logprobs(reference, row.ids, row.spans).sum()
        gains.append(logprobs(trainer.model, row.ids, row.spans).sum() - before)
    half = len(rows) // 2
    assert [row.good for row in rows] == [True] * half + [False] * half
    assert [row.pair for row in rows[:half]] == [row.pair for row in rows[half:]]
    losses = [-torch.nn.functional.logsigmoid(0.1 * (gains[i] - gains[half + i])) for i in range(half)]
    assert_same(trainer, batch, torch.stack(losses).mean())


@pytest.mark.parametrize("options", [{}, {"desirable_weight": 0.5, "undesirable_weight": 1.5, "beta": 0.3}])
def test_kto_is_the_paper_s(tmp_path: Path, policy: Path, options: dict[str, float]) -> None:
    examples = make_liked(8)
    trainer = trainer_of(spec_of(tmp_path / "a", policy, "kto", examples, trl=FLOAT | options))
    batch = next(iter(trainer.get_train_dataloader()))
    disturb(trainer.model)
    rows = list(rows_of(batch, examples))
    assert batch["label"].tolist() == [row.good for row in rows]

    def gain(ids: list[int], spans: list[tuple[int, int]]) -> Any:
        with torch.no_grad():
            before = logprobs(trainer.ref_model, ids, spans).sum()
        return logprobs(trainer.model, ids, spans).sum() - before

    crossed = []
    for row, other in zip(rows, [rows[-1], *rows[:-1]], strict=True):
        prompt, answer = row.spans[0][0], other.spans[0][0]
        spans = [(start - answer + prompt, end - answer + prompt) for start, end in other.spans]
        crossed.append(gain(row.ids[:prompt] + other.ids[answer:], spans).detach())
    point = torch.stack(crossed).mean().clamp(min=0)
    beta, *weights = (
        options.get(name, value) for name, value in (("beta", 0.1), ("undesirable_weight", 1), ("desirable_weight", 1))
    )
    losses = [
        weights[row.good] * (1 - torch.sigmoid(beta * ((gain(row.ids, row.spans) - point) * (1 if row.good else -1))))
        for row in rows
    ]
    assert_same(trainer, batch, torch.stack(losses).mean())


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_policy_gradient_is_the_clipped_surrogate(tmp_path: Path, policy: Path, temperature: float) -> None:
    examples = make_graded(6)
    trainer = trainer_of(spec_of(tmp_path / "a", policy, "grpo", examples, temperature=temperature, clip=(0.1, 0.3)))
    batch = next(iter(trainer.get_train_dataloader()))
    losses, clipped = [], 0
    for row in rows_of(batch, examples):
        now = logprobs(trainer.model, row.ids, row.spans, temperature)
        advantages = [a for a, (start, end) in zip(row.weights, row.spans, strict=True) for _ in range(end - start)]
        for logprob, drawn, advantage in zip(now, row.logprobs, advantages, strict=True):
            ratio = (logprob - drawn).exp()
            if (advantage > 0 and ratio > 1.3) or (advantage < 0 and ratio < 0.9):
                losses.append(-advantage * ratio.detach().clamp(0.9, 1.3))
                clipped += 1
            else:
                losses.append(-advantage * ratio)
    assert 0 < clipped < len(losses)
    assert_same(trainer, batch, torch.stack(losses).sum() / len(losses), torch.tensor(len(losses)))
    noted = trainer._metrics["train"]
    assert noted["ratio/clipped"] == [pytest.approx(clipped / len(losses))]
    assert noted["ratio/largest"][0] >= noted["ratio/difference"][0] > 0


@pytest.mark.parametrize(("method", "temperature"), [("sft", 1.0), ("grpo", 0.7)])
def test_logits_made_tile_by_tile_give_the_same_loss(
    tmp_path: Path, policy: Path, method: str, temperature: float
) -> None:
    """As on a GPU, where all logits of a long row fill the memory."""
    examples = [msgspec.structs.replace(e, weights=[0.25, 1.5]) for e in MAKERS[method](6)]
    trainer = trainer_of(spec_of(tmp_path / "a", policy, method, examples, temperature=temperature))
    batch = next(iter(trainer.get_train_dataloader()))
    count = torch.tensor(44)
    expected = trainer.compute_loss(trainer.model.train(), dict(batch), num_items_in_batch=count)
    trainer.tiled = True
    assert_same(trainer, batch, expected, count)


@pytest.mark.parametrize("method", MAKERS)
def test_rows_are_padded_to_what_the_recipe_says(tmp_path: Path, policy: Path, method: str) -> None:
    spec = spec_of(tmp_path / "a", policy, method, MAKERS[method](6), trl=FLOAT | {"pad_to_multiple_of": 64})
    for given in trainer_of(spec).get_train_dataloader():
        shapes = {name: tensor.shape for name, tensor in given.items() if tensor.dim() == 2}
        assert shapes and all(shape[1] % 64 == 0 for shape in shapes.values()), shapes


def test_branches_need_attention_that_takes_a_mask(tmp_path: Path, policy: Path) -> None:
    examples = [
        msgspec.structs.replace(e, shared=12, spans=[(15, 20), (len(e.ids) - 4, len(e.ids))]) for e in make_examples(4)
    ]
    trl = FLOAT | {"model_init_kwargs": {"attn_implementation": "flex_attention"}}
    with pytest.raises(RecipeError, match="attn_implementation is flex_attention, which knows no branches"):
        trainer_of(spec_of(tmp_path / "a", policy, "sft", examples, trl=trl))


def test_memory_that_runs_out_names_the_longest_row(tmp_path: Path, policy: Path) -> None:
    from rft.train.training import method_of, naming_the_longest

    examples = make_examples(6)
    rows = method_of(spec_of(tmp_path / "a", policy, "sft", examples)).rows()
    longest = max(examples, key=lambda e: len(e.ids))
    words = rf"{longest.id}, has {len(longest.ids)} tokens .*batch_tokens"
    with pytest.raises(StageError, match=words) as caught, naming_the_longest(rows):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore")
    assert "\n" not in str(caught.value)


def test_the_policy_gradient_improves_a_toy_policy(tmp_path: Path, policy: Path) -> None:
    from transformers import AutoModelForCausalLM

    from rft.select.advantages import normalised
    from rft.train.training import train

    torch.manual_seed(0)
    prompt, good = [5, 9, 40], range(100, 200)

    def next_token(path: Path) -> Any:
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        with torch.inference_mode():
            return model(input_ids=torch.tensor([prompt])).logits[0, -1].log_softmax(-1)

    before = next_token(policy)
    drawn = torch.multinomial(before.exp(), 512, replacement=True).tolist()
    advantages = normalised([float(token in good) for token in drawn])
    examples = [
        Example(
            id=f"{n}", trajectory_id=f"{n}", task_id="t", ids=[*prompt, token], spans=[(3, 4)], steps=[1],
            weights=[advantages[n]], logprobs=[float(before[token])], provenance="recorded",
        )
        for n, token in enumerate(drawn)
    ]  # fmt: skip
    trl = {**FLOAT, "per_device_train_batch_size": 128, "num_train_epochs": 3, "learning_rate": 3e-3}
    spec = spec_of(tmp_path / "a", policy, "grpo", examples, trl=trl, clip=(0.5, 1.0))
    train(spec)
    after = next_token(Path(spec.folder) / "checkpoint")
    chance = [float(found.exp()[list(good)].sum()) for found in (before, after)]
    assert chance[1] > chance[0] + 0.05
    log = [msgspec.json.decode(line) for line in (Path(spec.folder) / "log.jsonl").read_bytes().splitlines()]
    assert log[0]["ratio/mean"] == pytest.approx(1, abs=1e-4), "the engine's and the trainer's probabilities agree"
    assert log[-1]["ratio/difference"] > 1e-3, "later updates are corrected for what the earlier ones did"


def test_a_round_of_dpo_after_a_round_of_sft_goes_on_from_it(tmp_path: Path, policy: Path) -> None:
    from transformers import AutoModelForCausalLM

    from rft.train.training import train

    lora = {"r": 4, "target_modules": "all-linear"}
    first = spec_of(tmp_path / "1", policy, "sft", make_examples(8), lora=lora)
    train(first)
    start = Path(first.folder) / "checkpoint"
    second = spec_of(tmp_path / "2", start, "dpo", make_pairs(8), lora=lora, trl={**FLOAT, "num_train_epochs": 6})
    train(second)
    log = [msgspec.json.decode(line) for line in (Path(second.folder) / "log.jsonl").read_bytes().splitlines()]
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert log[0]["rewards/margins"] == pytest.approx(0, abs=1e-5)
    assert log[-1]["rewards/margins"] > 0
    _, report = AutoModelForCausalLM.from_pretrained(Path(second.folder) / "checkpoint", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    config = msgspec.json.decode((Path(second.folder) / "adapter" / "adapter_config.json").read_bytes())
    assert config["base_model_name_or_path"] == str(start), "the adapter goes on top of the round's start"


EMPTY: dict[str, dict[str, Any]] = {"sft": {}, "kto": {"good": True}, "grpo": {}}
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("sft", {"good": False, "pair": "p"}, "there to become less likely"),
    ("sft", {"weights": [1.0, -0.5]}, r"weight -0\.5"),
    ("dpo", {}, "not followed by the worse side of its pair"),
    ("dpo", {"good": True, "pair": "p"}, "not followed by the worse side of its pair"),
    ("kto", {}, "has no label"),
    ("kto", {"good": True}, "all 1 examples are good"),
    ("kto", {"good": True, "weights": [0.5, 0.5]}, "kto learns every token alike"),
    ("grpo", {"logprobs": [-1.0] * 11}, "has no advantages"),
    ("grpo", {"weights": [1.0, -1.0]}, "has 0 log-probabilities of 11"),
    ("dpo", {"good": True, "pair": "p", "spans": []}, "not followed"),
    *((method, {"spans": [], "steps": []} | own, "no token of it is learnt") for method, own in EMPTY.items()),
]


@pytest.mark.parametrize(("method", "changes", "words"), REFUSED)
def test_what_a_method_cannot_learn_from_is_refused(
    tmp_path: Path, policy: Path, method: str, changes: dict[str, Any], words: str
) -> None:
    from rft.train.training import method_of

    (example,) = make_examples(1)
    spec = spec_of(tmp_path / "a", policy, method, [msgspec.structs.replace(example, **changes)])
    with pytest.raises(StageError, match=words) as caught:
        method_of(spec).rows()
    assert "\n" not in str(caught.value)


def test_a_pair_with_a_side_of_which_nothing_is_learnt_is_refused(tmp_path: Path, policy: Path) -> None:
    from rft.train.training import method_of

    better, worse = make_pairs(1)
    spec = spec_of(tmp_path / "a", policy, "dpo", [better, msgspec.structs.replace(worse, spans=[])])
    with pytest.raises(StageError, match="no token of it is learnt"):
        method_of(spec).rows()


def test_weights_in_few_bits_are_refused_where_there_is_no_gpu(tmp_path: Path, policy: Path) -> None:
    from rft.train.training import train

    if torch.cuda.is_available():
        pytest.skip("there is one")
    spec = spec_of(tmp_path / "a", policy, "sft", make_examples(4), lora={"r": 4}, quantization={"load_in_4bit": True})
    with pytest.raises(RecipeError, match=r"^train\.quantization: needs a CUDA GPU"):
        train(spec)


def test_a_pair_s_budget_and_length_count_both_sides(tmp_path: Path, policy: Path) -> None:
    from rft.train.training import method_of

    sides = make_pairs(3)
    rows = method_of(spec_of(tmp_path / "a", policy, "dpo", sides)).rows()
    assert [row.tokens for row in rows] == [
        len(a.ids) + len(b.ids) for a, b in zip(sides[::2], sides[1::2], strict=True)
    ]
    assert [row.length for row in rows] == [
        max(len(a.ids), len(b.ids)) for a, b in zip(sides[::2], sides[1::2], strict=True)
    ]
    assert {row.learnt for row in rows} == {22}


@pytest.mark.parametrize("method", MAKERS)
def test_the_batch_that_is_printed_is_the_trainer_s(tmp_path: Path, policy: Path, method: str) -> None:
    from rft.recipe import Policy, Recipe, Train
    from rft.train import estimate

    for number, given in enumerate(({}, {"per_device_train_batch_size": 2}, {"gradient_accumulation_steps": 4})):
        made = Recipe(name="r", policy=Policy(model=str(policy)), train=Train(method=method, trl=given))  # type: ignore[arg-type]
        printed = dict(estimate.rows(made, attempts=1))["training batch"]
        examples = MAKERS[method](12)
        args = trainer_of(spec_of(tmp_path / str(number), policy, method, examples, trl=given)).args
        what = "pairs" if method == "dpo" else "rows"
        rows, steps = args.per_device_train_batch_size, args.gradient_accumulation_steps
        assert printed.startswith(f"{rows} {what} x {steps} steps x 1 processes = {rows * steps} ")


@pytest.mark.parametrize(("rows", "workers", "expected"), [(24, 2, 0), (21, 2, 3), (21, 1, 0), (5, 4, 11)])
def test_rows_that_are_read_twice_to_fill_every_process_are_counted(
    tmp_path: Path, policy: Path, rows: int, workers: int, expected: int
) -> None:
    from types import SimpleNamespace

    from accelerate.data_loader import BatchSamplerShard
    from torch.utils.data import BatchSampler

    from rft.train.training import method_of, result_of

    spec = spec_of(tmp_path / "a", policy, "sft", make_examples(rows), workers=workers)
    done = SimpleNamespace(
        state=SimpleNamespace(epoch=1.0, global_step=6),
        args=SimpleNamespace(train_batch_size=4),
        accelerator=SimpleNamespace(num_processes=workers),
        train_dataset=range(rows),
    )
    assert result_of(spec, method_of(spec).rows(), done, 1.0).repeated == expected
    read = [list(BatchSamplerShard(BatchSampler(range(rows), 4, False), workers, rank)) for rank in range(workers)]
    if workers > 1:
        assert sum(len(batch) for rank in read for batch in rank) == rows + expected, "what the library does"
