"""The training itself, in this process: what is in the loss, and what comes out."""

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from training_cases import make_examples  # type: ignore[import-not-found]

from rft.errors import StageError
from rft.train.process import Result, Spec
from rft.train.rows import IGNORED, Row, columns
from tests.conftest import write_records

torch = pytest.importorskip("torch")


@pytest.fixture
def spec(tmp_path: Path, policy: Path) -> Spec:
    torch.set_num_threads(1)
    file = write_records(tmp_path / "examples.jsonl", make_examples(24))
    folder = tmp_path / "4_train"
    folder.mkdir()
    trl = {"num_train_epochs": 1, "learning_rate": 1e-2}
    return Spec(
        model=str(policy), examples=str(file), folder=str(folder), seed=0, tokens=None, workers=1,
        deepspeed=None, lora=None, trl=trl, resume=None, parent=0,
    )  # fmt: skip


def trainer_of(spec: Spec, **trl: Any) -> tuple[Any, list[Row]]:
    from rft.train.training import build_trainer, method_of

    spec = msgspec.structs.replace(spec, trl={**spec.trl, **trl})
    method = method_of(spec)
    rows = method.rows()
    return build_trainer(spec, method, rows), rows


PACKED = {"packing": True, "per_device_train_batch_size": 1}


@pytest.mark.parametrize("batch", [{}, PACKED], ids=["padded", "packed"])
def test_the_loss_sees_exactly_the_learnt_tokens(spec: Spec, batch: dict[str, Any]) -> None:
    trainer, _ = trainer_of(spec, **batch)
    seen: Counter[tuple[int, int]] = Counter()
    for given in trainer.get_train_dataloader():
        before, after = given["input_ids"][:, :-1], given["labels"][:, 1:]
        seen.update(zip(before[after != IGNORED].tolist(), after[after != IGNORED].tolist(), strict=True))
    expected = Counter(
        (int(row["input_ids"][place - 1]), int(row["input_ids"][place]))
        for row in columns(Path(spec.examples))
        for place in (row["labels"] != IGNORED).nonzero()[0]
    )
    assert seen == expected


def test_preparation_that_loses_tokens_is_noticed(spec: Spec) -> None:
    from rft.train.sft import check_prepared

    trainer, rows = trainer_of(spec)
    check_prepared(rows, trainer.train_dataset)
    with pytest.raises(StageError, match="TRL prepared 24 rows with 264 learnt tokens; expected 23 with 253"):
        check_prepared(rows[1:], trainer.train_dataset)


@pytest.mark.parametrize("batch", [{}, PACKED], ids=["padded", "packed"])
def test_loss_and_gradients_equal_those_of_trl(spec: Spec, batch: dict[str, Any]) -> None:
    from trl import SFTTrainer

    trainer, _ = trainer_of(spec, bf16=False, **batch)
    given = next(iter(trainer.get_train_dataloader()))
    count = (given["labels"] != IGNORED).sum()
    found = []
    assert type(trainer).compute_loss is not SFTTrainer.compute_loss
    for kind in (type(trainer), SFTTrainer):
        trainer.model.train()
        trainer.model.zero_grad()
        loss = kind.compute_loss(trainer, trainer.model, dict(given), num_items_in_batch=count)
        loss.backward()
        found.append((loss.detach(), [p.grad.clone() for p in trainer.model.parameters()]))
    (ours, our_gradients), (theirs, their_gradients) = found
    assert float(ours) == pytest.approx(float(theirs), abs=1e-5)
    for one, other in zip(our_gradients, their_gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_the_order_of_rows_follows_seed_and_epoch_and_wastes_little() -> None:
    import random

    from rft.train.order import LengthGrouped

    lengths = [random.Random(number).randrange(100, 300) for number in range(203)]
    epoch = 0.0
    order = LengthGrouped(lengths, 8, 0, lambda: epoch)
    first = list(order)
    assert sorted(first) == list(range(203))
    assert first == list(order)
    assert lengths[first[0]] == max(lengths)
    epoch = 0.5  # gone on with in the middle
    assert list(order) == first
    epoch = 0.9999999
    assert list(order) != first
    batches = [[lengths[row] for row in first[start : start + 8]] for start in range(0, 203, 8)]
    assert sum(lengths) / sum(len(batch) * max(batch) for batch in batches) > 0.9


def test_packed_rows_do_not_see_each_other(spec: Spec) -> None:
    trainer, _ = trainer_of(spec, bf16=False, **PACKED)
    model = trainer.model.eval()
    given = trainer.data_collator([trainer.train_dataset[0]])
    starts = (given["position_ids"][0] == 0).nonzero().flatten().tolist()
    assert len(starts) > 2
    packed = model(input_ids=given["input_ids"], position_ids=given["position_ids"], use_cache=False).logits[0]
    for start, end in zip(starts, [*starts[1:], given["input_ids"].shape[1]], strict=True):
        alone = model(input_ids=given["input_ids"][:, start:end], use_cache=False).logits[0]
        torch.testing.assert_close(packed[start:end], alone, atol=1e-5, rtol=1e-5)


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


def test_the_same_seed_gives_the_same_weights(spec: Spec, tmp_path: Path) -> None:
    from rft.train.training import train

    trained = []
    for seed in (0, 0, 1):
        folder = tmp_path / f"run-{len(trained)}"
        folder.mkdir()
        train(msgspec.structs.replace(spec, folder=str(folder), seed=seed, tokens=500, trl={"learning_rate": 1e-2}))
        trained.append(weights(folder / "checkpoint"))
    first, again, other = trained
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    result = msgspec.json.decode((tmp_path / "run-0" / "result.json").read_bytes(), type=Result)
    assert 500 <= result.learnt_tokens < 511


def test_lora_leaves_a_plain_model_that_has_learnt(spec: Spec, policy: Path) -> None:
    from transformers import AutoModelForCausalLM

    from rft.train.training import train

    train(msgspec.structs.replace(spec, lora={"r": 4, "target_modules": "all-linear"}))
    checkpoint = Path(spec.folder) / "checkpoint"
    before, after = weights(policy), weights(checkpoint)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("_proj" in name for name in changed)
    _, report = AutoModelForCausalLM.from_pretrained(checkpoint, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]

    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, Path(spec.folder) / "adapter")
    merged = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    ids = torch.arange(3, 40)[None]
    torch.testing.assert_close(adapted(ids).logits, merged(ids).logits, atol=1e-4, rtol=1e-4)
    names = {path.name for path in (Path(spec.folder) / "adapter").iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors"}, "what vLLM reads, and nothing else"


def test_a_loss_that_is_no_number_ends_the_training(spec: Spec) -> None:
    trainer, _ = trainer_of(spec)
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(float("nan"))
    with pytest.raises(StageError, match="the loss is nan at step 1"):
        trainer.train()


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx2": True, "avx512_bf16": False}, False),
        ({"avx2": True, "avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"architecture": "aarch64", "bf16": True}, True),
        ({}, False),
    ],
)
def test_bfloat16_is_used_only_where_the_processor_has_it(capabilities: dict[str, bool], expected: bool) -> None:
    from rft.train.training import computes_bfloat16

    assert computes_bfloat16(capabilities) is expected
