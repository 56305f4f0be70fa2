"""What every kind of sandbox promises: commands, files, patches, and that nothing is left."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rft.errors import SandboxError
from rft.sandboxes.limits import Limits, size
from rft.sandboxes.local import Local
from rft.sandboxes.session import Session
from rft.store import digest_path

Make = Callable[..., Session]
Git = Callable[..., str]


def processes_with(marker: str) -> list[int]:
    """Processes of this machine that have `marker` on their command line, this one and its shell aside."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if marker.encode() in line and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def test_a_command_gives_its_output_and_exit_code(sandbox: Session) -> None:
    done = sandbox.run("echo out; echo err >&2; cat sums.py; exit 3")
    assert done.output == "out\nerr\ndef add(a, b):\n    return a - b\n"
    assert (done.exit_code, done.timed_out, done.killed, done.truncated_bytes) == (3, False, "", 0)


def test_each_command_starts_afresh_but_files_stay(sandbox: Session) -> None:
    sandbox.run("export X=1; echo kept > made.txt; cd /tmp")
    assert sandbox.run('echo "$X"; cat made.txt').output == "\nkept\n"


def test_commands_see_nothing_of_the_host_s_environment(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret-of-the-host")
    output = make().run("env; cat /proc/self/environ").output
    assert "secret-of-the-host" not in output
    assert "PYTHONHASHSEED=0" in output


def test_python_is_there(sandbox: Session) -> None:
    assert (
        sandbox.run("python -c 'print(6*7)'; python3 -c 'import sqlite3, ssl, unittest; print(1)'").output == "42\n1\n"
    )


def test_standard_input_is_empty(sandbox: Session) -> None:
    assert sandbox.run("cat; read -r x; echo $?").output == "1\n"


def test_output_is_always_text_that_json_takes(sandbox: Session) -> None:
    done = sandbox.run(r"printf '\377\xed\xa0\x80 \0 \033[31m \r\n'")
    assert json.loads(json.dumps(done.output)) == done.output
    done.output.encode("utf-8")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=200))
def test_any_command_text_is_answered(sandbox: Session, text: str) -> None:
    done = sandbox.run(f": {text}\n" if text.isalnum() else f"cat <<'END-OF-TEXT'\n{text}\nEND-OF-TEXT\n", timeout=10)
    done.output.encode("utf-8")
    assert done.exit_code is not None


@pytest.mark.parametrize("command", ["echo \0", "echo " + "x" * 300_000, "\ud800", ""])
def test_commands_that_no_shell_can_take_are_answered(sandbox: Session, command: str) -> None:
    assert sandbox.run(command).exit_code is not None
    assert sandbox.run("echo fine").output == "fine\n"


def test_output_is_kept_at_both_ends(make: Make) -> None:
    done = make(output="1k").run("echo first; seq 100000; echo last")
    assert done.output.startswith("first\n1\n") and done.output.endswith("100000\nlast\n")
    assert f"[... {done.truncated_bytes} bytes left out ...]" in done.output
    assert done.truncated_bytes == len("first\nlast\n") + sum(len(f"{n}\n") for n in range(1, 100001)) - 1024


def test_what_runs_on_in_the_background_ends_with_its_command(sandbox: Session) -> None:
    done = sandbox.run("sleep 4711.25 & disown; setsid sleep 4711.25 & (setsid sleep 4711.25 &) ; echo started")
    assert done.output == "started\n" and done.seconds < 5
    assert processes_with("4711.25") == []


def test_files_go_in_and_out(sandbox: Session) -> None:
    data = bytes(range(256)) * 10
    sandbox.write("new/deep/file.bin", data)
    assert sandbox.read("new/deep/file.bin") == data
    assert sandbox.read("new/deep/file.bin", limit=7) == data[:7]
    assert sandbox.run("wc -c < new/deep/file.bin").output.strip() == "2560"


@pytest.mark.parametrize("path", ["absent", "pack", "README.md/x", "../x", "/etc/hostname", "", ".", "a\0b", "link"])
def test_what_is_not_a_file_of_the_working_directory_is_absent(sandbox: Session, path: str) -> None:
    with pytest.raises(FileNotFoundError):
        sandbox.read(path)


@pytest.mark.parametrize(
    "hostile",
    [
        "ln -s /etc target",
        "ln -s / target",
        "mkfifo target",
        "mkdir -p target/sub/sub2; chmod 000 target",
        "echo x > target",
        "ln -s target target",
        "mkdir target; echo x > target/sub; chmod 400 target/sub; chmod 500 target",
    ],
)
def test_a_written_file_is_there_whatever_stood_in_its_way(sandbox: Session, hostile: str) -> None:
    sandbox.run(hostile)
    sandbox.write("target/sub", b"graded")
    assert sandbox.read("target/sub") == b"graded"
    sandbox.run("rm -rf target; " + hostile)
    sandbox.write("target", b"graded")
    assert sandbox.read("target") == b"graded"
    assert not Path("/etc/sub").exists() and not Path("/sub").exists()


def test_a_pipe_does_not_hold_up_a_reader(sandbox: Session) -> None:
    sandbox.run("mkfifo pipe; ln -s /dev/zero zero; ln -s /proc/self/environ environ")
    for name in ("pipe", "zero", "environ"):
        with pytest.raises(FileNotFoundError):
            sandbox.read(name)


def test_the_patch_holds_every_change_and_applies(make: Make, start_state: Path, tmp_path: Path, git: Git) -> None:
    sandbox = make()
    sandbox.run(
        """
        sed -i 's/a - b/a + b/' sums.py; rm README.md; chmod +x pack/inner.py; printf '\\0\\1' >> data.bin
        mkdir -p 'new dir'; printf 'no newline' > 'new dir/ä"quoted".txt'; printf x > $'new\\nline\\ttab'
        ln -sf sums.py link; echo x > debug.log; mkdir build; echo x > build/out; : > empty
        rm run.sh; mkdir run.sh; echo in > run.sh/inside
        """
    )
    patch = sandbox.diff()
    assert "return a + b" in patch and "debug.log" not in patch and "build" not in patch
    git(tmp_path, "clone", "-q", str(start_state), "copy")
    (tmp_path / "patch").write_text(patch)
    git(tmp_path / "copy", "apply", "--index", str(tmp_path / "patch"))
    listing = "find . -path ./.git -prune -o -type f -printf '%P %m\\n' -exec md5sum {} + -o -type l -printf '%P %l\\n'"
    sandbox.run("rm -rf debug.log build; chmod -R go-w .")
    here = subprocess.run(["bash", "-c", listing], cwd=tmp_path / "copy", capture_output=True, text=True, check=True)
    assert sorted(sandbox.run(listing).output.splitlines()) == sorted(here.stdout.splitlines())


def test_an_untouched_working_directory_has_no_patch(sandbox: Session) -> None:
    assert sandbox.diff() == ""
    sandbox.run("touch sums.py; git status; cp sums.py x; mv x sums.py; chmod 600 sums.py; echo x > a.log")
    assert sandbox.diff() == ""


def test_a_patch_beyond_the_limit_is_a_sandbox_error(make: Make) -> None:
    sandbox = make(patch="10k")
    sandbox.run("seq 100000 > big.txt")
    with pytest.raises(SandboxError, match=r"patch has .* limit of 10240"):
        sandbox.diff()
    sandbox.run("rm big.txt; truncate -s 100m big.txt")
    with pytest.raises(SandboxError, match="more than a patch may cover"):
        sandbox.diff()
    sandbox.run("rm big.txt; echo x > small.txt")
    assert "small.txt" in sandbox.diff()


METADATA = {
    "hooks": "printf '#!/bin/sh\\ntouch /tmp/hooked' > .git/hooks/pre-commit; chmod +x .git/hooks/*",
    "fsmonitor": "git config core.fsmonitor 'touch hooked; false'; git config core.fsmonitorHookVersion 2",
    "external diff": "git config diff.external 'sh -c \"touch hooked\"'; git config core.pager 'touch hooked'",
    "attributes drop content": "echo '* -diff -text binary' > .git/info/attributes",
    "attributes in the tree": "printf '*.py -diff filter=evil\\n' > .gitattributes;"
    " git config filter.evil.clean 'touch hooked; echo'",
    "worktree elsewhere": "git config core.worktree /tmp",
    "bare": "git config core.bare true",
    "assume unchanged": "git update-index --assume-unchanged sums.py; git update-index --skip-worktree sums.py",
    "committed away": "git -c user.name=a -c user.email=a@b commit -qam done",
    "no metadata": "rm -rf .git",
    "metadata is a file": "rm -rf .git; echo 'gitdir: /tmp/x' > .git",
    "metadata is a link": "rm -rf .git; ln -s /tmp .git",
    "corrupt": "echo garbage > .git/HEAD; echo garbage > .git/index; echo '[' > .git/config",
    "hidden by ignore rules": "echo '*' > .gitignore; echo '*' > .git/info/exclude",
    "a repository inside": "git init -q pack; git init -q nested; git -C nested init -q",
    "replaced objects": "git replace -f HEAD:sums.py $(echo forged | git hash-object -w --stdin)",
    "an index lock": "touch .git/index.lock",
    "unreadable": "chmod 000 .git pack nested-folder 2>/dev/null; chmod 000 sums.py",
    "include": "git config include.path /proc/self/environ; git config core.hooksPath /testbed",
}


@pytest.mark.parametrize("trick", METADATA)
def test_what_the_agent_does_to_git_never_changes_the_patch(sandbox: Session, trick: str) -> None:
    sandbox.run("sed -i 's/a - b/a + b/' sums.py; mkdir -p nested; echo hidden > nested/file.txt; mkdir nested-folder")
    sandbox.run(METADATA[trick])
    patch = sandbox.diff()
    assert "-    return a - b\n+    return a + b\n" in patch
    assert "+++ b/nested/file.txt\n@@ -0,0 +1 @@\n+hidden\n" in patch
    assert "hooked" not in sandbox.run("ls -R . /tmp 2>/dev/null | grep hooked").output
    assert ".git/" not in patch


def test_the_start_state_is_never_changed(make: Make, start_state: Path) -> None:
    before = digest_path(start_state)
    sandbox = make()
    sandbox.run("rm -rf .git * ; echo x > y; chmod -R 777 .")
    sandbox.diff()
    sandbox.close()
    assert digest_path(start_state) == before


def test_sandboxes_do_not_see_each_other(make: Make) -> None:
    one, two = make(), make()
    one.run("echo mine > file; echo mine > sums.py")
    assert two.run("ls file; cat sums.py").output.endswith("def add(a, b):\n    return a - b\n")


def test_a_closed_sandbox_says_so(make: Make) -> None:
    sandbox = make()
    sandbox.close()
    sandbox.close()
    with pytest.raises(SandboxError, match="closed"):
        sandbox.run("true")


def test_a_dead_supervisor_is_a_sandbox_error(make: Make) -> None:
    sandbox = make()
    if sandbox.kind == "swe_rex":
        pytest.skip("its supervisor is no child of this process; see test_remote.py")
    sandbox.process.kill()
    with pytest.raises(SandboxError, match="supervisor is gone"):
        sandbox.run("true")
    with pytest.raises(SandboxError):
        sandbox.diff()
    sandbox.close()


def test_a_boot_that_takes_too_long_is_a_sandbox_error(make: Make) -> None:
    with pytest.raises(SandboxError, match=r"boot took longer than 0\.001 s"):
        make(boot=0.001)


def test_many_at_once(make: Make) -> None:
    failures: list[str] = []

    def work(number: int) -> None:
        try:
            sandbox = make()
            done = sandbox.run(f"echo {number} > me; cat me", timeout=60)
            if done.output != f"{number}\n" or f"+{number}\n" not in sandbox.diff():
                failures.append(repr(done))
            sandbox.close()
        except Exception as error:  # a thread's failure must reach the test
            failures.append(repr(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_sandbox_outlives_the_thread_that_opened_it(make: Make) -> None:
    opened: list[Session] = []
    thread = threading.Thread(target=lambda: opened.append(make()))
    thread.start()
    thread.join()
    time.sleep(0.1)
    assert opened[0].run("echo alive").output == "alive\n"


def test_nothing_is_left_after_close(make: Make, start_state: Path) -> None:
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    sandbox = make()
    sandbox.run("echo x > y")
    sandbox.close()
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 1  # bubblewrap keeps one user namespace for all
    assert list(Path("/sys/fs/cgroup").glob(f"*/rft-*-{os.getpid()}-*")) == []
    assert list(Path("/tmp").glob(f"rft-{os.getpid()}-*")) == []
    assert not threading._dangling or all(t.name != "sandbox" for t in threading.enumerate())


@pytest.mark.parametrize("text", ["0", "", "1x", "-5", "1.5g", "g"])
def test_sizes_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size such as"):
        Limits(memory=text)


def test_sizes() -> None:
    assert [size("memory", text) for text in ("7", "64k", "256M", "1g", "2GiB")] == [
        7,
        65536,
        268435456,
        1 << 30,
        2 << 30,
    ]


def test_local_says_what_it_is_not(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rft.sandboxes.local._warned", [])
    assert Local().missing() == "" and Local().missing() == ""
    assert [record.message for record in caplog.records if "no security boundary" in record.message].__len__() == 1


def test_software_is_shown_at_its_own_path_and_leads_path(make: Make, start_state: Path, tmp_path: Path) -> None:
    program = tmp_path / "tools" / "bin" / "greet"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "bin").mkdir()
    sandbox = make(software=(tmp_path / "tools", tmp_path / "other"))
    done = sandbox.run(f"greet; command -v greet; ls -d {tmp_path}/other; touch {tmp_path}/tools/mine && echo wrote")
    assert done.output.startswith(f"hello\n{program}\n{tmp_path}/other\n")
    assert ("wrote" in done.output) == (sandbox.kind != "bubblewrap")
