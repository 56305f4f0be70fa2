"""The report of a run: true, self-contained, and closed to what models and tools wrote."""

import html.parser
import re
import shutil
from pathlib import Path

import fabricated
import msgspec

from rft.rundir import Run
from rft.view import data, report
from rft.view.page import render
from rft.view.text import percent

HOSTILE_ID = "spans-000/02/02"


class Page(html.parser.HTMLParser):
    """Tags, attributes and text of a page; fails on a tag that is closed before it is opened."""

    VOID = {"meta", "link", "br"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def check_closed(page: Page, text: str) -> None:
    """Nothing runs, nothing is loaded, nothing steers the display."""
    assert not {"script", "iframe", "img", "object", "embed", "base", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    links = [value for name, value in page.attributes if name in ("href", "src", "action", "xlink:href")]
    assert links == ["data:,"]
    assert "url(" not in text and "@import" not in text
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e]", text)


def written(run: Run) -> tuple[str, str, Page]:
    text, page = (path.read_text(encoding="utf-8") for path in report.write(run))
    return text, page, Page(page)


def test_the_page_says_what_was_found_and_loads_nothing(finished: Run) -> None:
    text, source, page = written(finished)
    check_closed(page, source)
    resolved = [one.splits["heldout"].metrics["resolved"].value or 0 for one in data.gather(finished).evaluations]
    sentence = f"from {100 * resolved[0]:.0f} % to {100 * resolved[-1]:.0f} %"
    assert sentence in page.text.replace("\u00a0", " ") and sentence in text
    for part in ("Encouraged behaviours", "Discouraged behaviours", "What was learnt from", "Best of those kept"):
        assert part in page.text
    assert page.tags.count("svg") == 2 + len(data.gather(finished).criteria)
    assert "rounds: 2" in page.text
    assert len(source) < 400_000


def test_markdown_tables_line_up(finished: Run) -> None:
    text, _, _ = written(finished)
    tables = re.findall(r"(?:^\|.*\|$\n)+", text, re.MULTILINE)
    assert len(tables) == 3
    for table in tables:
        assert len({len(line) for line in table.splitlines()}) == 1


def test_half_finished_and_untouched_runs_have_a_report(halfway: Run, untouched: Run) -> None:
    text, source, page = written(halfway)
    check_closed(page, source)
    assert "round 2: collect, score, select, train, evaluate missing" in text
    assert "1 of 2 rounds" in page.text
    _, source, page = written(untouched)
    check_closed(page, source)
    assert "nothing has been evaluated yet" in page.text


def test_hostile_attempts_are_text_cut_to_size(finished: Run) -> None:
    selection = data.selection(finished, 2)
    selection.samples = [(fabricated.HOSTILE, data.find(finished, HOSTILE_ID))]
    source = report.as_html(finished, data.gather(finished), selection)
    page = Page(source)
    check_closed(page, source)
    assert "<script>alert('owned')</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert page.tags.count("details") == 2
    assert "characters left out" in page.text
    assert len(source) < 300_000


def test_hostile_names_of_splits_criteria_and_rules_are_text(finished: Run) -> None:
    gathered = data.gather(finished)
    evil = fabricated.HOSTILE
    source = report.as_html(finished, gathered, None)
    count = Page(source).tags.count("svg")
    for round in gathered.rounds:
        assert round.evaluation is not None
        round.evaluation.criteria[evil] = "discourage"
        for split in round.evaluation.splits.values():
            split.metrics[f"criterion/{evil}"] = split.metrics["criterion/verified"]
        round.evaluation.splits[evil] = round.evaluation.splits.pop("heldout")
    source = report.as_html(finished, gathered, None)
    page = Page(source)
    check_closed(page, source)
    assert page.tags.count("svg") == count + 1
    assert "\x1b" not in report.as_markdown(gathered)


def test_a_run_can_be_moved_and_its_secrets_stay(finished: Run, tmp_path: Path) -> None:
    shutil.copytree(finished.path, tmp_path / "quickstart")
    moved = Run(fabricated.recipe(tmp_path, rounds=2))
    moved.recipe.score.judge = {"use": "endpoint", "api_key": "sk-hunter2", "key_variable": "JUDGE_KEY"}
    text, source, _ = written(moved)
    assert "sk-hunter2" not in source + text
    assert "JUDGE_KEY" in source


def test_samples_are_chosen_the_same_way_every_time_and_each_once(finished: Run) -> None:
    first, second = data.selection(finished, 2), data.selection(finished, 2)
    names = [shown.trajectory.id for _, shown in first.samples]
    assert names == [shown.trajectory.id for _, shown in second.samples]
    assert len(set(names)) == len(names) == 4
    titles = [title for title, _ in first.samples]
    assert titles[0] == "Best of those kept" and titles[-1] == "Broke down"
    assert len(first.kept) + len(first.dropped) + first.unscored == 48


def test_every_value_of_a_template_is_escaped_once(finished: Run) -> None:
    source = render("page.html.jinja", title="<b>&amp;</b>\x1b")
    assert "<title>&lt;b&gt;&amp;amp;&lt;/b&gt;␛</title>" in source


def test_tables_for_trackers_hold_every_estimate_and_rule(finished: Run) -> None:
    tables = data.tables(data.gather(finished))
    columns, rows = tables["funnel"]
    assert columns == ["round", "rule", "before", "dropped", "after"]
    assert [1, "broke_down", 48, 1, 47] in rows
    columns, rows = tables["evaluations"]
    criteria = data.gather(finished).criteria
    assert len(rows) == 3 * 2 * (3 + len(criteria))
    assert all(len(row) == len(columns) for row in rows)


def test_the_headline_speaks_of_the_newest_promoted_policy(finished: Run) -> None:
    gathered = data.gather(finished)
    rounds = [round for round in gathered.rounds if round.evaluation is not None]
    last = rounds[-1]
    assert last.evaluation is not None and last.number > 1
    last.evaluation = msgspec.structs.replace(last.evaluation, promoted=False)
    earlier = gathered.result
    assert earlier is not None and earlier.round < last.number
    title, _ = report.headline(gathered)
    now = data.metric(earlier, gathered.splits[0], "resolved")
    assert now is not None and percent(now.value) in title
    for round in rounds:
        assert round.evaluation is not None
        round.evaluation = msgspec.structs.replace(round.evaluation, promoted=round.number == 0)
    assert report.headline(gathered)[0].startswith("The starting policy resolves")
