"""`rft launch`: every target renders, mistakes are one line, and no value ever breaks out of its quotes."""

import json
import os
import re
import shutil
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rft import cli
from rft import recipe as recipes
from rft.errors import RecipeError
from rft.launch import label, launch, load_target, sh, targets, yaml_scalar

NEEDED = {
    "local": [],
    "ray": ["address=http://head:8265", "storage=/data/my runs"],
    "slurm": [],
    "kuberay": ["image=registry/rft:1", "claim=work"],
    "docker": [],
}
PLAIN = st.text(st.characters(codec="utf-8", categories=["L", "M", "N", "P", "S", "Zs"]), min_size=1, max_size=30)
"""What prints; other characters are refused before they reach a template."""
NASTY = st.text(alphabet="'\"\\$`;|&<>(){}[]#!~*?:%@,- \u00e9\U0001f600ab01", min_size=1, max_size=20)
ANY = (PLAIN | NASTY).filter(str.isprintable)


def template(folder: Path, body: str, variables: str = "v: {text: a value}") -> str:
    path = folder / "mine.sh.jinja"
    path.write_text(f"{{#-\ndescription: Mine.\nvariables:\n  {variables}\n-#}}\n{body}")
    return str(path)


def test_all_targets_are_tried_here() -> None:
    assert set(targets()) == set(NEEDED)


@pytest.mark.parametrize("target", ["local", "ray", "slurm"])
@pytest.mark.parametrize("extra", [[], ["folder=/a b'c", "collect.samples=2"], ["gpus=8", "nodes=4", "activate=x y"]])
def test_scripts_are_clean_shell(target: str, extra: list[str], tmp_path: Path) -> None:
    extra = [one for one in extra if one.partition("=")[0] in {*load_target(target).variables, "collect.samples"}]
    script = tmp_path / "script.sh"
    script.write_text(launch(target, "quickstart", [*NEEDED[target], *extra]))
    subprocess.run(["bash", "-n", script], check=True)
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if shellcheck:
        done = subprocess.run([shellcheck, "--exclude=SC1091", script], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@settings(max_examples=10, deadline=None)
@given(folder=ANY, target=st.sampled_from(["local", "ray", "slurm"]))
def test_the_shell_reads_a_value_as_it_was_given(target: str, folder: str) -> None:
    script = launch(target, "quickstart", [*NEEDED[target], f"folder={folder}"])
    shown = 'cd() { printf "%s\\0" "$@"; exit; }\n'
    done = subprocess.run(["bash", "-c", shown + script], capture_output=True)
    assert done.stdout.decode() == f"{folder}\0"


@settings(max_examples=40, deadline=None)
@given(words=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")) | NASTY, min_size=1))
def test_a_command_keeps_its_words(words: list[str]) -> None:
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {sh(words)}"], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == words


@settings(max_examples=4, deadline=None)
@given(image=ANY, claim=ANY, secret=ANY)
def test_yaml_reads_a_value_as_it_was_given(image: str, claim: str, secret: str) -> None:
    secrets = [one.strip() for one in secret.split(",") if one.strip()]
    given_ = [f"image={image}", f"claim={claim}", f"secrets={secret}", "collect.samples=3"]
    config, job = yaml.safe_load_all(launch("kuberay", "quickstart", given_))
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        container = pod["containers"][0]
        assert container["image"] == image
        assert [one["secretRef"]["name"] for one in container["envFrom"]] == secrets
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim
    assert yaml.safe_load(config["data"]["recipe.yaml"])["collect"]["samples"] == 3


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])) | st.integers() | st.lists(st.text(string.printable)))
def test_yaml_values_are_one_flow_scalar(value: Any) -> None:
    text = yaml_scalar(value)
    assert "\n" not in text
    assert yaml.safe_load(f"{{a: {text}, b: [1, {text}]}}") == {"a": value, "b": [1, value]}


@settings(max_examples=50, deadline=None)
@given(ANY.filter(lambda text: re.search("[A-Za-z0-9]", text)))
def test_labels_are_what_kubernetes_takes(text: str) -> None:
    assert re.fullmatch(r"[a-z]([a-z0-9-]{0,45}[a-z0-9])?", label(text))


def test_the_embedded_recipe_is_read_back(tmp_path: Path) -> None:
    given_ = [*NEEDED["kuberay"], "rounds=7", "gpus=4", "head_gpus=8"]
    config, job = yaml.safe_load_all(launch("kuberay", "quickstart", given_))
    (tmp_path / "recipe.yaml").write_text(config["data"]["recipe.yaml"])
    assert recipes.load(str(tmp_path / "recipe.yaml")) == recipes.load("quickstart", ["rounds=7"])
    cluster = job["spec"]["rayClusterSpec"]
    worker = cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    head = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 4
    assert head["resources"]["limits"]["nvidia.com/gpu"] == 8
    assert worker["volumeMounts"] == head["volumeMounts"]


RAY = """#!/bin/bash
while [[ $1 != -- ]]; do shift; done
shift
printf '%s\\n' "$*" > "$FOLDER/submitted"
printf '%q ' "$@" > "$FOLDER/entrypoint"
"""
RFT = """#!/bin/bash
printf '%s in %s\\n' "$*" "$(cat "$FOLDER/place")" >> "$FOLDER/ran"
"""


def test_kuberays_submitter_submits_all_of_the_entrypoint_and_runs_none_of_it(tmp_path: Path) -> None:
    """KubeRay puts it as it is behind `ray job submit … --` in a script; Ray's client quotes its words for the head."""
    for name, text in (("ray", RAY), ("rft", RFT)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    _, job = yaml.safe_load_all(launch("kuberay", "quickstart", NEEDED["kuberay"]))
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "FOLDER": str(tmp_path)}
    script = f"if true ; then ray job submit --address x --no-wait -- {job['spec']['entrypoint']} ; fi ; true"
    subprocess.run(["bash", "-ce", script], env=environment, cwd=tmp_path, check=True)
    assert not (tmp_path / "ran").exists(), "the submitter's pod has neither the recipe nor the volume"
    # the head's shell, with a `cd` that says where it was told to go
    cd = 'cd() { printf "%s" "$1" > "$FOLDER/place"; }; export -f cd; '
    subprocess.run(["bash", "-c", cd + (tmp_path / "entrypoint").read_text()], env=environment, check=True)
    assert (tmp_path / "ran").read_text() == "run /etc/rft/recipe.yaml in /workspace\n"


def test_a_recipe_may_be_called_what_yaml_takes_for_something_else() -> None:
    config, job = yaml.safe_load_all(launch("kuberay", "quickstart", [*NEEDED["kuberay"], "name=yes", "secrets=a, b"]))
    assert job["metadata"]["name"] == "true" and config["metadata"]["name"] == "true-recipe"
    container = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert [one["secretRef"]["name"] for one in container["envFrom"]] == ["a", "b"]


@pytest.mark.skipif("RFT_KUBERAY_CRD" not in os.environ, reason="RFT_KUBERAY_CRD names no ray.io_rayjobs.yaml")
@pytest.mark.parametrize("extra", [[], ["gpus=4", "head_gpus=8", "secrets=hf,wandb", "privileged=1"]])
def test_the_manifest_meets_the_published_schema(extra: list[str]) -> None:
    import jsonschema

    with Path(os.environ["RFT_KUBERAY_CRD"]).open() as file:
        definition = yaml.load(file, Loader=yaml.CSafeLoader)
    version = next(one for one in definition["spec"]["versions"] if one["name"] == "v1")
    schema = json.loads(json.dumps(version["schema"]["openAPIV3Schema"]), object_hook=_closed)
    _, job = yaml.safe_load_all(launch("kuberay", "quickstart", [*NEEDED["kuberay"], *extra]))
    jsonschema.validate(job, schema)


def _closed(node: dict[str, Any]) -> dict[str, Any]:
    """What the API server does besides: unknown fields are wrong, int-or-string is both."""
    if node.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if isinstance(node.get("properties"), dict) and node.get("type") == "object" and "additionalProperties" not in node:
        return node | {"additionalProperties": node["properties"].keys() == {"apiVersion", "kind", "metadata"}}
    return node


def test_the_image_starts_with_the_recipe() -> None:
    text = launch("docker", "quickstart", ['name=a"b$(id)'[:6], "index=https://download.pytorch.org/whl/cpu"])
    assert json.loads(text.splitlines()[-1].removeprefix("CMD ")) == ["rft", "run", "quickstart", "name=a"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["slrum", "quickstart"], "Did you mean 'slurm'"),
        (["slurm", "quickstrat"], "Did you mean 'quickstart'"),
        (["slurm", "quickstart", "nods=3"], "Did you mean 'nodes'"),
        (["slurm", "quickstart", "nodes=three"], "expected a whole number"),
        (["slurm", "quickstart", "partition=a b"], "cannot stand in this place"),
        (["slurm", "quickstart", "partition=a\n#SBATCH --wrap=x"], "does not print"),
        (["slurm", "quickstart", "colect.samples=3"], "Did you mean"),
        (["slurm", "quickstart", "collect.smples=3"], "Did you mean 'samples'"),
        (["docker", "quickstart", "source=. && id"], "cannot stand in this place"),
        (["ray", "quickstart", "address=x"], "storage=… (A folder that every node"),
        (["kuberay", "quickstart"], "image=… (The container image"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["launch", *arguments]) == 2
    captured = capsys.readouterr()
    assert expected in captured.err and captured.err.count("\n") == 1 and not captured.out


def test_a_dropped_template_is_a_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "launch").mkdir()
    template(tmp_path / "launch", "qsub -l {{ v | word }} -- {{ recipe.command | sh }}\n")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["launch", "mine", "quickstart", "v=gpu"]) == 0
    assert capsys.readouterr().out == "qsub -l gpu -- rft run quickstart\n"


@pytest.mark.parametrize(
    ("body", "variables", "expected"),
    [
        ("echo {{ v }}", "v: {text: a}", "expected a filter behind it"),
        ("echo {{ v | sh | upper }}", "v: {text: a}", "expected a filter behind it"),
        ("echo {{ w | sh }}", "v: {text: a}", "'w' is undefined"),
        ("echo {{ v", "v: {text: a}", "line 6"),
        ("echo", "v: a", "is not described"),
        ("echo", "seed: {text: a}", "also a key of recipes"),
        ("{{ ''.__class__.__mro__ | sh }}", "v: {text: a}", "unsafe"),
    ],
)
def test_a_template_that_is_wrong_says_where(tmp_path: Path, body: str, variables: str, expected: str) -> None:
    path = template(tmp_path, body, variables)
    with pytest.raises(RecipeError, match=re.escape(expected)):
        launch(path, "quickstart", ["v=1"])
