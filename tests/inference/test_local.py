"""The engine is held against transformers: the same tokens, the same probabilities, whoever else is answered."""

import json
import pickle
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from rft.errors import ContextFull, InferenceError, RecipeError
from rft.inference.local import Local
from rft.recipe import Sampling
from rft.types import Completion, Message, Task

GREEDY = Sampling(temperature=0, max_tokens=12)
SAMPLED = Sampling(temperature=1.0, max_tokens=12)
Loader = Callable[..., Local]


@pytest.fixture
def load(tiny: str) -> Iterator[Loader]:
    opened: list[Local] = []

    def make(sampling: Sampling, model: str = tiny, **options: Any) -> Local:
        local = Local(**({"dtype": "float32", "device": "cpu"} | options))
        opened.append(local)
        local.load(model, sampling)
        return local

    yield make
    for local in opened:
        local.close()


@pytest.fixture(scope="session")
def reference(tiny: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32).eval()


def soon(seconds: float = 60) -> float:
    return time.monotonic() + seconds


def converse(local: Local, task: Task, seed: int, turns: int = 3, pause: float = 0) -> list[Completion]:
    """A conversation of some turns, of a length that depends on the seed."""
    conversation = local.open(task, seed=seed)
    messages = [Message(role="system", content="Be good. " * (seed % 5)), Message(role="user", content=f"Task {seed}")]
    done = []
    for turn in range(turns):
        completion = conversation.reply(messages, deadline=soon())
        done.append(completion)
        seen = f"exit {turn}\n" * (1 + seed % 3)
        messages += [Message(role="assistant", content=completion.text), Message(role="user", content=seen)]
        time.sleep(pause)
    conversation.close()
    return done


def together(local: Local, task: Task, seeds: range) -> dict[int, list[Completion]]:
    """Many conversations at the same time."""
    done: dict[int, list[Completion]] = {}

    def run(seed: int) -> None:
        done[seed] = converse(local, task, seed, pause=0.003 * (seed % 4))

    threads = [threading.Thread(target=run, args=(seed,)) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


def largest_difference(reference: Any, completion: Completion, temperature: float = 1.0) -> float:
    """Between the recorded log-probabilities and those of one forward pass over everything."""
    assert completion.prompt_ids is not None
    assert completion.ids is not None
    start = len(completion.prompt_ids)
    ids = torch.tensor([completion.prompt_ids + completion.ids])
    with torch.no_grad():
        logprobs = (reference(ids).logits[0, start - 1 : -1] / temperature).log_softmax(-1)
    expected = logprobs[torch.arange(len(completion.ids)), torch.tensor(completion.ids)]
    return float((expected - torch.tensor(completion.logprobs)).abs().max())


def test_greedy_answers_equal_generate_token_for_token(load: Loader, reference: Any, task: Task) -> None:
    for completions in together(load(GREEDY, max_batch=5), task, range(12)).values():
        for completion in completions:
            ids = torch.tensor([completion.prompt_ids])
            out = reference.generate(ids, max_new_tokens=12, do_sample=False)
            assert out[0, ids.shape[1] :].tolist() == completion.ids


def test_logprobs_equal_a_full_forward(load: Loader, reference: Any, task: Task) -> None:
    warm = Sampling(temperature=0.7, max_tokens=30)
    for completions in together(load(warm), task, range(8)).values():
        for completion in completions:
            assert largest_difference(reference, completion, 0.7) < 1e-4


def test_each_turn_reads_all_tokens_before(load: Loader, task: Task) -> None:
    local = load(SAMPLED)
    for seed in range(6):
        before: list[int] = []
        for completion in converse(local, task, seed, turns=4):
            assert completion.prompt_ids is not None
            assert completion.ids is not None
            assert completion.prompt_ids[: len(before)] == before
            assert completion.prompt_tokens == len(completion.prompt_ids)
            assert completion.completion_tokens == len(completion.ids) == len(completion.logprobs or [])
            before = completion.prompt_ids + completion.ids


def test_a_conversation_does_not_depend_on_its_neighbours(load: Loader, task: Task) -> None:
    crowd = together(load(SAMPLED, max_batch=8), task, range(17))
    alone = load(SAMPLED, max_batch=1)
    for seed in (0, 3, 16):
        assert [c.ids for c in converse(alone, task, seed)] == [c.ids for c in crowd[seed]]


def test_seeds_differ_and_repeat(load: Loader, task: Task) -> None:
    local = load(SAMPLED)
    one, again, other = (converse(local, task, seed) for seed in (5, 5, 10))
    assert [c.ids for c in one] == [c.ids for c in again]
    assert [c.ids for c in one] != [c.ids for c in other]
    assert one[0].ids != one[1].ids


def test_what_was_dropped_is_read_again(load: Loader, task: Task) -> None:
    keeping, dropping = load(SAMPLED), load(SAMPLED, kept_mb=0)
    for seed in (1, 2):
        assert [c.ids for c in converse(keeping, task, seed)] == [c.ids for c in converse(dropping, task, seed)]


def test_only_new_tokens_are_read(load: Loader, task: Task) -> None:
    local = load(SAMPLED)
    read: list[int] = []
    forward = local.engine._forward
    local.engine._forward = lambda ids, *rest: (read.append(len(ids)), forward(ids, *rest))[1]
    first, second = converse(local, task, seed=4, turns=2)
    assert read[0] == first.prompt_tokens
    news = second.prompt_tokens - first.prompt_tokens - first.completion_tokens
    assert max(read[1:]) == news + 1  # the last token of the answer was drawn but not read


def test_a_closed_conversation_keeps_nothing(load: Loader, task: Task) -> None:
    local = load(SAMPLED)
    converse(local, task, 1)
    converse(local, task, 2, turns=1)  # the engine forgets before it answers again
    assert all(key.seed == 2 for key in local.engine.kept.entries)


def test_kept_memory_stays_under_its_limit(load: Loader, task: Task) -> None:
    local = load(SAMPLED, kept_mb=1)
    conversations = [local.open(task, seed=n) for n in range(12)]
    for conversation in conversations:
        conversation.reply([Message(role="user", content="word " * 150)], deadline=soon())
        assert local.engine.kept.bytes <= 2**20
    kept = set(local.engine.kept.entries)
    assert conversations[-1] in kept
    assert conversations[0] not in kept


@pytest.mark.parametrize("piece", [1, 7, 50])
def test_a_long_prompt_is_read_in_pieces(
    piece: int, load: Loader, reference: Any, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The piece is a constant of the engine, so a small one has to be set from outside."""
    whole = together(load(SAMPLED), task, range(5))
    monkeypatch.setattr("rft.inference.engine.READ_AT_ONCE", piece)
    pieces = together(load(SAMPLED), task, range(5))
    assert {s: [c.ids for c in cs] for s, cs in whole.items()} == {s: [c.ids for c in cs] for s, cs in pieces.items()}
    assert all(largest_difference(reference, c) < 1e-4 for completions in pieces.values() for c in completions)


def test_the_same_question_again_reads_one_token(load: Loader, reference: Any, task: Task) -> None:
    """Such as after a deadline; its one new token is a prompt's, not an answer's."""
    local = load(SAMPLED)
    question = [Message(role="user", content="again and again")]
    conversations = [local.open(task, seed=seed) for seed in range(6)]
    done: list[Completion] = []

    def ask(conversation: Any) -> None:
        done.extend(conversation.reply(question, deadline=soon()) for _ in range(4))

    threads = [threading.Thread(target=ask, args=(conversation,)) for conversation in conversations]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 24
    assert all(largest_difference(reference, completion) < 1e-4 for completion in done)


def test_a_full_context_is_told_apart(load: Loader, task: Task) -> None:
    local = load(SAMPLED, max_context=64)
    conversation = local.open(task, seed=1)
    cut = conversation.reply([Message(role="user", content="ab " * 15)], deadline=soon())
    assert cut.prompt_tokens + cut.completion_tokens <= 64
    with pytest.raises(ContextFull, match="64"):
        conversation.reply([Message(role="user", content="word " * 200)], deadline=soon())


def test_an_answer_fills_the_context_and_no_more(load: Loader, task: Task) -> None:
    local = load(Sampling(max_tokens=500), max_context=80)
    completion = local.open(task, seed=1).reply([Message(role="user", content="x")], deadline=soon())
    assert completion.finish_reason == "stop" or completion.prompt_tokens + completion.completion_tokens == 80


def test_a_deadline_ends_the_waiting_and_frees_the_row(load: Loader, task: Task) -> None:
    local = load(Sampling(max_tokens=900))
    conversation = local.open(task, seed=1)
    began = time.monotonic()
    with pytest.raises(InferenceError, match="time"):
        conversation.reply([Message(role="user", content="x")], deadline=began + 0.02)
    assert time.monotonic() - began < 5
    assert len(converse(local, task, 2, turns=1)) == 1
    assert local.engine.active == []


def test_a_failing_model_reaches_everyone_who_waits(load: Loader, task: Task) -> None:
    local = load(SAMPLED)
    gate = threading.Event()

    def fail(*arguments: Any) -> None:
        gate.wait(10)
        raise RuntimeError("out of memory\nand much more")

    local.engine._forward = fail
    caught: list[str] = []

    def ask(seed: int) -> None:
        try:
            converse(local, task, seed)
        except InferenceError as error:
            caught.append(str(error))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(10)
    assert len(caught) == 4
    assert all("out of memory" in line and "\n" not in line for line in caught)
    with pytest.raises(InferenceError, match="out of memory"):
        converse(local, task, 9)


def test_closing_tells_those_who_wait(load: Loader, task: Task) -> None:
    local = load(Sampling(max_tokens=900))
    caught: list[InferenceError] = []

    def ask() -> None:
        try:
            local.open(task, seed=1).reply([Message(role="user", content="x")], deadline=soon())
        except InferenceError as error:
            caught.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.05)
    local.close()
    local.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(caught) <= 1  # an early end of turn beats the closing


def test_infinite_logits_are_a_failure_of_that_answer(load: Loader, task: Task) -> None:
    local = load(SAMPLED)
    with torch.no_grad():
        local.engine.model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(InferenceError, match="not finite"):
        converse(local, task, 1)


def test_bfloat16_answers(load: Loader, task: Task) -> None:
    for completions in together(load(SAMPLED, dtype="bfloat16"), task, range(4)).values():
        assert all(c.logprobs is not None and max(c.logprobs) <= 0 for c in completions)


@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_other_architectures_equal_generate(kind: str, tiny: str, tmp_path: Path, load: Loader, task: Task) -> None:
    """Llama has other projections and norms, Mistral a sliding window of 16 tokens."""
    from transformers import AutoConfig, AutoModelForCausalLM

    shutil.copytree(tiny, tmp_path / "model")
    extra = {"sliding_window": 16} if kind == "mistral" else {}
    shape = AutoConfig.for_model(
        kind, vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, eos_token_id=2, pad_token_id=0, bos_token_id=None, **extra,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(shape).save_pretrained(tmp_path / "model")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    for completions in together(load(GREEDY, str(tmp_path / "model")), task, range(3)).values():
        for completion in completions:
            ids = torch.tensor([completion.prompt_ids])
            out = plain.generate(ids, max_new_tokens=12, do_sample=False)
            assert out[0, ids.shape[1] :].tolist() == completion.ids


def test_a_plug_in_travels_to_a_worker_before_it_is_loaded() -> None:
    assert pickle.loads(pickle.dumps(Local(max_batch=3))).max_batch == 3  # noqa: S301 - our own bytes


def broken(tiny: str, path: Path, damage: str) -> str:
    shutil.copytree(tiny, path)
    if damage == "weights":
        (path / "model.safetensors").write_bytes(b"\x00" * 100)
    elif damage == "config":
        (path / "config.json").write_text("{")
    elif damage == "tokenizer":
        (path / "tokenizer.json").write_text("[]")
    elif damage == "template":
        (path / "chat_template.jinja").unlink()
    elif damage == "kind":
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(config | {"model_type": "no_such_kind"}))
    return str(path)


@pytest.mark.parametrize("damage", ["weights", "config", "tokenizer", "template", "kind"])
def test_a_broken_checkpoint_is_one_line(damage: str, tiny: str, tmp_path: Path, load: Loader) -> None:
    with pytest.raises(RecipeError, match=r"^policy\.model") as caught:
        load(SAMPLED, broken(tiny, tmp_path / "model", damage))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["./absent", "/absent/model", "absent/model"])
def test_an_absent_checkpoint_is_one_line(name: str, load: Loader) -> None:
    with pytest.raises(RecipeError, match=r"^policy\.model: '[./a-z]+'") as caught:
        load(SAMPLED, name)
    assert "\n" not in str(caught.value)
