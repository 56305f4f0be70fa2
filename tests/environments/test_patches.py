"""Patches as git writes them, with every name and content that git can hold."""

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rft.environments import patches

SLOW_PROCESSES = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda name: name not in (".", "..") and ".git" not in name.lower() and len(name.encode()) < 200)
LINES = st.sampled_from(
    [
        "a",
        "b = 1",
        "-- x",
        "++ y",
        "@@ -1 +1 @@",
        "diff --git a/x b/x",
        "--- a/x",
        "+++ b/x",
        "",
        "\r",
        "\f",
        "\x85",
        "é",
    ]
)
CONTENTS = st.one_of(
    st.tuples(st.lists(LINES, max_size=12), st.booleans()).map(
        lambda pair: ("\n".join(pair[0]) + "\n" * pair[1]).encode()
    ),
    st.binary(max_size=40),
)
TREES = st.dictionaries(NAMES, CONTENTS, max_size=4)


def git(folder: Path, *arguments: str, data: bytes = b"") -> bytes:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.invalid", *arguments]
    return subprocess.run(command, cwd=folder, input=data, capture_output=True, check=True).stdout


def commit(folder: Path, tree: dict[str, bytes]) -> None:
    for path in folder.iterdir():
        if path.name != ".git":
            path.unlink()
    for name, content in tree.items():
        (folder / name).write_bytes(content)
    git(folder, "add", "-A", "-f")
    git(folder, "commit", "-q", "--allow-empty", "-m", "x")


@SLOW_PROCESSES
@given(old=TREES, new=TREES, is_binary=st.booleans(), finds_renames=st.booleans())
def test_split_agrees_with_git(
    tmp_path_factory: pytest.TempPathFactory,
    old: dict[str, bytes],
    new: dict[str, bytes],
    is_binary: bool,
    finds_renames: bool,
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    git(folder, "init", "-q")
    git(folder, "config", "core.autocrlf", "false")
    commit(folder, old)
    commit(folder, new)
    options = ["--binary"] * is_binary + ["-M" if finds_renames else "--no-renames"]
    raw = git(folder, "diff", *options, "HEAD~", "HEAD")
    patch = raw.decode("utf-8", "surrogateescape")

    files = patches.split(patch)

    assert "".join(file.text for file in files) == patch
    told = git(folder, "diff", "-z", "--name-status", *options, "HEAD~", "HEAD").decode()
    assert {path for file in files for path in file.paths} == _names(told)
    numbers = git(folder, "diff", "--numstat", "--no-renames", "HEAD~", "HEAD")
    if not finds_renames and b"-\t-" not in numbers:
        counts = [line.split(b"\t")[:2] for line in numbers.splitlines() if line.count(b"\t") >= 2]
        assert sum(file.added for file in files) == sum(int(a) for a, _ in counts)
        assert sum(file.removed for file in files) == sum(int(r) for _, r in counts)
    if is_binary and not finds_renames:
        git(folder, "checkout", "-q", "HEAD~")
        for file in files:
            git(folder, "apply", "--whitespace=nowarn", data=file.text.encode("utf-8", "surrogateescape"))
        assert {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".git"} == new


def _names(told: str) -> set[str]:
    """The paths of `git diff -z --name-status`: a status, then one name, or two after R and C."""
    fields = iter(told.split("\0")[:-1])
    return {next(fields) for status in fields for _ in range(2 if status[0] in "RC" else 1)}


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(LINES | st.just("diff --git a/x b/x"), max_size=12).map("\n".join)))
def test_hostile_text_is_a_value_error_or_comes_back_whole(text: str) -> None:
    try:
        files = patches.split(text)
    except ValueError:
        return
    assert "".join(file.text for file in files) == text


@pytest.mark.parametrize(
    "text",
    [
        "hello\n",
        "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n",
        "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,3 +1 @@\n-a\n",
        "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\nnonsense\n",
        "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n-b\n",
        "diff --git x y z\n",
        'diff --git "a/\\q" "b/\\q"\n',
    ],
)
def test_what_is_no_whole_git_patch_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        patches.split(text)


def test_a_hunk_that_looks_like_a_header_stays_in_its_file() -> None:
    patch = patches.make("x.py", "-- a/test_x.py\nb\n", "++ b/test_x.py\nb\n")

    [file] = patches.split(patch)

    assert "--- a/test_x.py" in patch
    assert file.paths == ("x.py",)
    assert (file.added, file.removed) == (1, 1)


def test_both_names_of_a_rename_are_known() -> None:
    text = "diff --git a/a b.py b/c d.py\nsimilarity index 100%\nrename from a b.py\nrename to c d.py\n"
    assert patches.split(text)[0].paths == ("a b.py", "c d.py")


@pytest.mark.parametrize(
    ("path", "is_matched"),
    [
        ("test_a.py", True),
        ("deep/test_a.py", True),
        ("test_a/__init__.py", True),
        ("contest_a.py", False),
        ("a.py", False),
    ],
)
def test_patterns_name_a_path_or_any_part_of_it(path: str, is_matched: bool) -> None:
    assert patches.matches(path, ["test_*"]) is is_matched


@SLOW_PROCESSES
@given(old=st.lists(LINES, min_size=1, max_size=8), new=st.lists(LINES, min_size=1, max_size=8))
def test_a_made_patch_applies(tmp_path_factory: pytest.TempPathFactory, old: list[str], new: list[str]) -> None:
    folder = tmp_path_factory.mktemp("made")
    before, after = "\n".join(old) + "\n", "\n".join(new) + "\n"
    (folder / "f.py").write_bytes(before.encode())
    patch = patches.make("f.py", before, after)
    assert bool(patch) == (before != after)
    if patch:
        git(folder, "apply", "--whitespace=nowarn", data=patch.encode())
        assert (folder / "f.py").read_bytes() == after.encode()


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(LINES | st.just("diff --git a/x b/x"), max_size=12).map("\n".join)))
def test_what_can_be_mended_is_a_patch(text: str) -> None:
    try:
        files = patches.read(text)
    except ValueError:
        return
    mended = "".join(file.text for file in files)
    assert patches.split(mended) == patches.read(mended) == files


@settings(max_examples=100, deadline=None)
@given(
    old=st.lists(st.sampled_from(["a", "b", "", "c"]), max_size=9),
    new=st.lists(st.sampled_from(["a", "d", "", "e"]), max_size=9),
)
def test_mending_takes_nothing_from_a_patch_without_a_git_header(old: list[str], new: list[str]) -> None:
    patch = patches.make("f.py", "".join(f"{line}\n" for line in old), "".join(f"{line}\n" for line in new))
    if patch:
        [file] = patches.split(patch)
        [mended] = patches.read(patch.split("\n", 1)[1])
        assert (mended.text, mended.added, mended.removed) == (file.text, file.added, file.removed)
        [dos] = patches.read(patch.replace("\n", "\r\n"))
        assert dos.text == file.text


@pytest.mark.real
def test_patches_that_models_wrote_are_read() -> None:
    data = Path(__file__).parents[3] / "shared/data"
    if not data.is_dir():
        pytest.skip(f"{data} is not here")
    rows = (data / "swebench/agentless_patches/predictions_10samples.jsonl").read_text().splitlines()
    texts = [json.loads(row)["model_patch"] for row in rows]
    for file in (data / "trajectories").rglob("*.traj"):
        texts.append((json.loads(file.read_text()).get("info") or {}).get("submission") or "")
    texts = [text for text in texts if text]
    assert len(texts) > 300
    assert all(patches.read(text) for text in texts)
