"""`rft doctor`: what is there, what a recipe lacks, and exit code 1 when it lacks something."""

import http.server
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rft import cli
from rft.recipe import Recipe, load, shipped_content
from rft.train import estimate

RECIPE = """
name: small
policy: {model: kata-base, inference: {use: scripted, replies: ["```bash\\nsubmit\\n```"]}}
environment: {use: kata, modules: [spans]}
sandbox: {use: local}
collect: {tasks: 4, samples: 2}
evaluate: {tasks: 3, samples: 1}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "small.yaml").write_text(RECIPE)
    return "small.yaml"


class Models(http.server.BaseHTTPRequestHandler):
    """Knows one key."""

    def do_GET(self) -> None:
        known = self.headers.get("Authorization") == "Bearer sesame" and self.path == "/v1/models"
        self.send_response(200 if known else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Models) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{one.server_port}/v1"
        one.shutdown()


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, tuple[str, bool]], str]:
    code = cli.main(["doctor", *arguments, "--json"])
    captured = capsys.readouterr()
    found = {one["what"]: (one["how"], one["missing"]) for one in json.loads(captured.out)}
    return code, found, captured.err


def test_a_recipe_that_lacks_nothing(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, found, err = doctor(capsys, recipe)
    assert code == 0 and not err and not any(missing for _, missing in found.values())
    assert found["local"] == ("works here", False) and "2." in found["torch"][0]
    assert found["attempts in all"][0].startswith("14 over 1 rounds")
    assert "rows an update" in found["training batch"][0] and "GiB" in found["disk"][0]


def test_nothing_is_said_twice(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    served = "policy.inference={use: vllm, command: sh, gpus: 0}"
    cli.main(["doctor", recipe, "train.trl={max_length: 512}", served, "--json"])
    found = [one for one in json.loads(capsys.readouterr().out) if one["area"] in ("recipe", "need")]
    assert len({one["what"] for one in found}) == len(found)
    memory = next(one["how"] for one in found if one["what"] == "training memory")
    assert "512 tokens (train.trl.max_length)" in memory and "are free" in memory


@pytest.mark.parametrize(("workers", "ray", "missing"), [(1, "null", False), (4, "null", True), (4, "{}", False)])
def test_training_has_a_gpu_for_each_worker(
    workers: int, ray: str, missing: bool, recipe: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    driver = tmp_path / "bin/nvidia-smi"
    driver.parent.mkdir()
    driver.write_text("#!/bin/sh\necho 'H200, 140000'\necho 'H200, 140000'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{driver.parent}:{os.environ['PATH']}")
    cli.main(["doctor", recipe, f"train.workers={workers}", f"train.ray={ray}", "--json"])
    found = {one["what"]: one for one in json.loads(capsys.readouterr().out) if one["area"] == "need"}
    if ray == "{}":
        assert "training's GPUs" not in found and "are free" not in found["training memory"]["how"]
    else:
        assert found["training's GPUs"]["how"] == f"train.workers is {workers}, one on each; 2 are here"
        assert found["training's GPUs"]["missing"] == missing
        assert "136.7 GiB are free" in found["training memory"]["how"]


def test_a_probe_says_what_a_run_will_take_and_leaves_nothing(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", recipe, "--probe", "4"]) == 0
    out = capsys.readouterr().out
    assert "4 attempts in" in out and "1.0 steps each" in out and "for all 14" in out
    assert not Path("runs").exists()
    Path("runs/mine").mkdir(parents=True)
    assert cli.main(["check", recipe, "--probe", "1"]) == 0
    assert [path.name for path in Path("runs").iterdir()] == ["mine"]
    broken = "policy.inference={use: endpoint, url: 'http://127.0.0.1:9/v1', tries: 1}"
    assert cli.main(["check", recipe, broken, "--probe", "2"]) == 0
    assert "2 broke down (inference)" in capsys.readouterr().out, "breakdowns are what a probe is to find"
    assert cli.main(["check", recipe, "rounds=0", "--probe", "2"]) == 2
    assert cli.main(["check", recipe, "--probe", "0"]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_what_is_missing_is_named_and_the_exit_code_is_1(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, found, err = doctor(capsys, recipe, "collect.pool={use: ray, workers: 4, gpus: 99}")
    assert code == 1 and found["GPUs"][1] and err.count("\n") == 1
    assert "collect.pool reserves 396" in err


def test_servers_that_stages_start_are_looked_for(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, found, err = doctor(capsys, recipe, "policy.inference={use: vllm, command: /no/vllm, replicas: 2, gpus: 99}")
    assert code == 1 and found["policy's servers"] == (
        "no program '/no/vllm' here; give `command` the path of one, such as /opt/vllm/bin/vllm",
        True,
    )
    assert "its replicas reserve 198" in found["GPUs of policy's servers"][0] and "198" in err
    here = doctor(capsys, recipe, "policy.inference={use: vllm, command: sh, gpus: 0}")
    assert here[0] == 0 and "sh serve CHECKPOINT --served-model-name policy" in here[1]["policy's servers"][0]


def test_a_server_of_others_is_said_to_keep_its_weights(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    section = "policy.inference={use: endpoint, url: 'http://127.0.0.1:9/v1', model: mine}"
    assert cli.main(["check", recipe, section]) == 0
    assert "asked for 'mine' in every round" in " ".join(capsys.readouterr().out.split())
    assert cli.main(["check", recipe, section, "rounds=0"]) == 0
    assert "in every round" not in capsys.readouterr().out


def test_servers_are_asked_and_keys_never_shown(
    recipe: str, server: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    section = f"policy.inference={{use: endpoint, url: '{server}', key_variable: MY_KEY}}"
    monkeypatch.setenv("MY_KEY", "sesame")
    assert doctor(capsys, recipe, section)[0] == 0
    monkeypatch.setenv("MY_KEY", "wrong-secret")
    code, found, err = doctor(capsys, recipe, section)
    assert code == 1 and "refuses the key" in found["policy.inference"][0]
    assert "wrong-secret" not in err + json.dumps(found)
    monkeypatch.delenv("MY_KEY")
    assert "MY_KEY is not set" in doctor(capsys, recipe, section)[2]
    gone = "policy.inference={use: endpoint, url: 'http://127.0.0.1:9/v1'}"
    assert "does not answer" in doctor(capsys, recipe, gone)[2]


def test_a_wrong_recipe_is_exit_code_2(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", recipe, "agent.use=bsh"]) == 2
    assert "Did you mean" in capsys.readouterr().err


def with_(path: str, *overrides: str) -> Recipe:
    return load(path, list(overrides))


def test_memory_follows_the_way_of_training(recipe: str) -> None:
    kata = shipped_content("recipes") / "models" / "kata-base"
    size = (kata / "model.safetensors").stat().st_size
    plain = estimate.memory(with_(recipe, "train.trl={max_length: 1}"))
    assert plain is not None and plain > size  # weights, gradients and two moments of at least as many bytes
    split = estimate.memory(with_(recipe, "train.trl={max_length: 1}", "train.workers=4", "train.deepspeed=zero3"))
    lora = estimate.memory(with_(recipe, "train.trl={max_length: 1}", "train.lora={r: 8}"))
    longer = estimate.memory(with_(recipe, "train.trl={max_length: 4000}"))
    assert split is not None and lora is not None and longer is not None
    assert split == pytest.approx(plain / 4, rel=0.05) and lora < plain / 3 and longer > plain
    assert estimate.memory(with_(recipe, "policy.model=somebody/on-the-hub")) is None


def test_a_model_of_the_hub_is_known_once_it_is_downloaded(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    there = with_(recipe, "policy.model=somebody/kata")
    rows = dict(estimate.rows(there, attempts=10))
    assert rows["training memory"] == "known once the policy's weights are here: hf download somebody/kata"
    assert rows["disk"].endswith("checkpoints not counted")
    model = tmp_path / "hub/models--somebody--kata"
    shutil.copytree(shipped_content("recipes") / "models" / "kata-base", model / "snapshots/0123")
    (model / "refs").mkdir()
    (model / "refs/main").write_text("0123")
    assert estimate.rows(there, attempts=10) == estimate.rows(with_(recipe), attempts=10)


def test_memory_counts_the_reference_and_weights_in_few_bits(recipe: str) -> None:
    def of(*changes: str) -> float:
        return estimate.memory(with_(recipe, "train.trl={max_length: 1}", *changes)) or 0

    lora, dpo = "train.lora={r: 8}", "train.method=dpo"
    assert of(dpo) == pytest.approx(of() * 5 / 4, rel=0.05), "weights, gradients, two moments, and a reference"
    assert of(dpo, lora) == of(lora), "the reference is the policy without its adapter"
    assert of(dpo, "train.trl.precompute_ref_log_probs=true") == of()
    assert of(lora, "train.quantization={load_in_4bit: true}") < of(lora) / 3
    gpus = "train.ray={use_gpu: true}"
    whole, less, least = (of(gpus, f"train.deepspeed={name}") for name in ("zero3", "zero2_offload", "zero3_offload"))
    assert whole > less > least > 0, "what lies in the machine's memory takes none of a GPU's"


def test_memory_counts_no_logits_where_they_are_made_in_tiles(recipe: str) -> None:
    def of_a_token(*changes: str) -> float:
        alike = "train.trl.gradient_checkpointing=false"
        one, two = (estimate.memory(with_(recipe, f"train.trl.max_length={n}", alike, *changes)) for n in (1, 2))
        return (two or 0) - (one or 0)

    vocabulary = json.loads((shipped_content("recipes") / "models/kata-base/config.json").read_text())["vocab_size"]
    assert of_a_token() - of_a_token("train.ray={use_gpu: true}") == estimate.LOGIT * vocabulary


def test_rules_that_leave_nothing_worse_are_told_to_methods_that_want_it(recipe: str) -> None:
    rules = "select.rules=[{use: finished}, {use: resolved}, {use: best_of_group}]"
    labels = [rules, "train.method=kto", "select.teach={use: labels}"]
    assert "(resolved, best_of_group); kto learns" in dict(estimate.rows(with_(recipe, *labels), attempts=9))["select"]
    assert "select" not in dict(estimate.rows(with_(recipe, rules), attempts=9))
    assert "select" not in dict(estimate.rows(with_(recipe, *labels, "select.rules=[{use: finished}]"), attempts=9))


def test_the_batch_is_what_the_recipe_says(recipe: str) -> None:
    given = "train.trl={per_device_train_batch_size: 2, gradient_accumulation_steps: 8}"
    rows = dict(estimate.rows(with_(recipe, given, "train.workers=4"), attempts=10))
    assert rows["training batch"] == "2 rows x 8 steps x 4 processes = 64 rows an update"
