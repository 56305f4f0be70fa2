"""`rft rubric label`: a real server on loopback, asked by a real client, with hostile transcripts and strangers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from rft import cli
from rft.errors import StoreError
from rft.rundir import Run
from rft.store import Records
from rft.workbench.label import Session, labelling
from rft.workbench.labels import Label, read
from rft.workbench.scored import Scored, find_round
from rft.workbench.server import MAX_FORM, Server

SAMPLE = 79
ALL = {"looked": "yes", "twin": "no", "claimed": "unknown", "always": "yes", "wordy": "no", "shaky": "yes",
       "depth": "some", "area": "io"}  # fmt: skip


@pytest.fixture
def scored(run: Run, tmp_path: Path) -> Scored:
    """A copy of the run, without labels."""
    shutil.copytree(run.path, tmp_path / "bench", ignore=shutil.ignore_patterns("labels"))
    return find_round(str(tmp_path / "bench"))


@pytest.fixture
def session(scored: Scored) -> Iterator[Session]:
    with labelling(scored, "first", SAMPLE) as session:
        yield session


@pytest.fixture
def server(session: Session) -> Iterator[Server]:
    with Server(session) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Page(HTMLParser):
    """The elements of a page, and the values of its radio buttons."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.radios: dict[str, list[str]] = {}
        self.checked: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        given = dict(attrs)
        if given.get("type") == "radio":
            self.radios.setdefault(str(given["name"]), []).append(str(given["value"]))
            if "checked" in given:
                self.checked[str(given["name"])] = str(given["value"])


def test_answers_are_on_disk_before_the_next_page_and_are_shown_again(server: Server) -> None:
    first = httpx.get(server.url)
    page = Page(first.text)
    assert first.status_code == 200 and page.radios["looked"] == ["yes", "no", "unknown"] and not page.checked
    assert page.radios["depth"] == ["deep", "some", "none", "unknown"] and "solved" not in page.radios
    done = httpx.post(f"{server.url}?attempt=1", data=ALL)
    assert done.status_code == 303 and done.headers["Location"].endswith("/?attempt=2")
    identity = server.session.order[0]
    stored = {label.criterion: label for label in read([server.session.path])}
    assert stored["looked"].value == 1.0 and stored["twin"].value == 0.0 and stored["claimed"].value is None
    assert (stored["depth"].value, stored["depth"].label) == (0.5, "some") and stored["area"].label == "io"
    assert {label.trajectory for label in stored.values()} == {identity}
    assert Page(httpx.get(f"{server.url}?attempt=1").text).checked == ALL
    assert "1 of 79 done" in httpx.get(server.url).text


def test_half_an_answer_is_kept_and_the_rest_is_asked_for(server: Server) -> None:
    answer = httpx.post(f"{server.url}?attempt=3", data={"looked": "no"})
    assert answer.headers["Location"].endswith("?attempt=3")
    again = httpx.get(f"{server.url}?attempt=3")
    assert "still open" in again.text and Page(again.text).checked == {"looked": "no"}
    httpx.post(f"{server.url}?attempt=3", data={"looked": "yes"})
    assert [label.value for label in Records(server.session.path, Label)] == [0.0, 1.0], "nothing is overwritten"
    assert [label.value for label in read([server.session.path])] == [1.0], "and the last answer counts"


def test_what_would_sway_the_person_is_not_shown(server: Server, scored: Scored) -> None:
    reports = {report.id: report for report in scored.reports()}
    for number, identity in enumerate(server.session.order[:10], 1):
        text = httpx.get(f"{server.url}?attempt={number}").text.partition("</style>")[2]
        assert "cannot be told" in text and f"{reports[identity].score:.2f}" not in text
        assert not any(word in text for word in ("resolved", "verdict", "dropped", "voted"))


def test_a_hostile_transcript_is_text(server: Server) -> None:
    number = server.session.order.index("task-00/01/00") + 1
    answer = httpx.get(f"{server.url}?attempt={number}")
    page = Page(answer.text)
    assert "script" not in page.tags and "img" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "&lt;script&gt;" in answer.text and "{{ 7 * 7 }}" in answer.text and "\x1b" not in answer.text
    assert "\u202e" not in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src" not in policy and "frame-ancestors 'none'" in policy
    external = [value for name, value in page.attributes if name in ("src", "href") and value and "//" in value]
    assert external == []


def test_strangers_are_refused(server: Server) -> None:
    own = f"http://127.0.0.1:{server.server_port}"
    for path in (
        "/",
        "/favicon.ico",
        "/wrong/",
        f"/{server.token[:-1]}/",
        f"/{server.token}/../",
        f"/{server.token}/x",
    ):
        assert httpx.get(own + path).status_code == 404, path
    assert httpx.post(f"{own}/wrong/?attempt=1", data=ALL).status_code == 404
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
        assert httpx.post(f"{server.url}?attempt=1", data=ALL, headers=headers).status_code == 403
        assert httpx.get(server.url, headers=headers).status_code == 403
    assert httpx.post(f"{server.url}?attempt=1", data={}, headers={"Origin": own}).status_code == 303
    assert list(Records(server.session.path, Label)) == []


@pytest.mark.parametrize(
    ("query", "data", "status"),
    [
        ("?attempt=0", ALL, 404),
        ("?attempt=80", ALL, 404),
        ("?attempt=-1", ALL, 404),
        ("?attempt=99999999999999999999", ALL, 404),
        ("?attempt=²", ALL, 404),
        ("?attempt=1", {"looked": "maybe"}, 400),
        ("?attempt=1", {"area": "kitchen"}, 400),
        ("?attempt=1", {"solved": "yes"}, 400),
        ("?attempt=1", {"<script>": "yes"}, 400),
        ("?attempt=1", {"looked": "yes", "twin": "maybe"}, 400),
    ],
)
def test_what_is_no_answer_changes_nothing(server: Server, query: str, data: dict[str, str], status: int) -> None:
    assert httpx.post(server.url + query, data=data).status_code == status
    assert list(Records(server.session.path, Label)) == []


def test_forms_of_any_size_and_shape(server: Server) -> None:
    assert httpx.post(f"{server.url}?attempt=1", content=b"x" * (MAX_FORM + 1)).status_code == 413
    for body in (b"\xff\xfe", b"=&=&", b"looked", b"%ff=%ff"):
        assert httpx.post(f"{server.url}?attempt=1", content=body).status_code == 400
    assert httpx.put(server.url).status_code == 501
    assert httpx.get(server.url).status_code == 200


def test_a_session_goes_on_where_it_was_left_even_after_half_a_line(scored: Scored) -> None:
    with labelling(scored, "first", 5) as session:
        session.take(0, ALL)
        session.take(1, {"looked": "yes"})
        order = session.order
    path = session.path
    path.write_bytes(path.read_bytes() + b'{"trajectory":"tor')
    with labelling(scored, "first", 5) as again:
        assert again.order == order and again.done() == 1 and again.following() == 1
        assert [asked.given for asked in again.asked(again.transcript(1))][:2] == ["yes", ""]
        again.take(1, ALL)
        assert again.done() == 2
    with labelling(scored, "second", 5) as other:
        assert sorted(other.order) == sorted(order) and other.order != order and other.done() == 0
    with labelling(scored, "first", 9) as larger:
        assert set(larger.order) > set(order) and larger.done() == 2


def test_one_rater_has_one_writer(session: Session, scored: Scored) -> None:
    with pytest.raises(StoreError, match="another process"), labelling(scored, "first", 5):
        pass


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["--rater", "../x"], "names a file"), (["--sample", "0"], "at least 1"), (["--port", "99999"], "cannot be used")],
)
def test_wrong_arguments_are_one_line(
    capsys: pytest.CaptureFixture[str], scored: Scored, arguments: list[str], expected: str
) -> None:
    assert cli.main(["rubric", "label", str(scored.run.path), *arguments]) == 2
    err = capsys.readouterr().err
    assert expected in err.splitlines()[-1]


@pytest.mark.process
def test_labels_survive_a_kill_and_feed_calibrate(capsys: pytest.CaptureFixture[str], scored: Scored) -> None:
    command = [sys.executable, "-m", "rft.cli", "rubric", "label", str(scored.run.path), "--sample", "6"]
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    assert process.stdout is not None
    url = process.stdout.readline().split()[1]
    for number in range(1, 7):
        assert httpx.post(f"{url}?attempt={number}", data=ALL).status_code == 303
    assert "All 6 attempts are labelled" in httpx.get(url).text
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert cli.main(["rubric", "calibrate", str(scored.run.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["attempts"] == 6 and found["raters"] == ["someone"] and found["labels"] == 6 * len(ALL)
