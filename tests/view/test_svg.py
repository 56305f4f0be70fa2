"""Pictures are well-formed, stay inside their frame, and carry hostile names as text."""

import itertools
import xml.etree.ElementTree as ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from rft.view import svg
from rft.view.text import clean, cut, line

shares = st.floats(0, 1)
names = st.text(max_size=30).map(clean)


@st.composite
def points(draw: st.DrawFn) -> svg.Point:
    low, value, high = sorted([draw(shares), draw(shares), draw(shares)])
    return svg.Point(x=draw(st.integers(0, 40)), value=value, low=low, high=high, hollow=draw(st.booleans()))


def ordered(found: list[svg.Point]) -> list[svg.Point]:
    return sorted({point.x: point for point in found}.values(), key=lambda point: point.x)


def inside(picture: Markup) -> ElementTree.Element | None:
    """The parsed picture, every coordinate within its frame and a margin for text."""
    if not picture:
        return None
    root = ElementTree.fromstring(picture)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for element in root.iter():
        for name in ("x", "x1", "x2", "cx"):
            assert -1 <= float(element.attrib.get(name, 0)) <= width + 1
        for name in ("y", "y1", "y2", "cy"):
            assert -25 <= float(element.attrib.get(name, 0)) <= height + 1
        for pair in element.attrib.get("points", "").split():
            x, y = map(float, pair.split(","))
            assert -1 <= x <= width + 1 and -1 <= y <= height + 1
    return root


@settings(max_examples=50)
@given(st.lists(st.tuples(names, st.lists(points(), max_size=8)), max_size=3))
def test_lines(series: list[tuple[str, list[svg.Point]]]) -> None:
    drawn = [svg.Line(name=name, style="first", points=ordered(found)) for name, found in series]
    root = inside(svg.lines(drawn, title='<&">'))
    if root is not None:
        assert root.attrib["aria-label"] == '<&">'
        assert len(root.findall("circle")) == sum(len(one.points) for one in drawn)


@settings(max_examples=30)
@given(st.lists(points(), max_size=8), names)
def test_spark(found: list[svg.Point], name: str) -> None:
    inside(svg.spark(ordered(found), style="good", title=name))


@settings(max_examples=50)
@given(st.lists(shares, max_size=60), st.lists(shares, max_size=60))
def test_histogram_counts_everything(above: list[float], below: list[float]) -> None:
    root = inside(svg.histogram(above, below, names=("kept", "dropped"), title="scores"))
    if root is not None:
        tips = [title.text or "" for title in root.iter("title")]
        assert sum(int(tip.split()[0]) for tip in tips if " kept" in tip) == len(above)
        assert sum(int(tip.split()[0]) for tip in tips if " dropped" in tip) == len(below)


def test_a_towering_bar_is_cut_and_says_its_count() -> None:
    root = inside(svg.histogram([0.9, 0.8, 0.85], [0.0] * 500 + [0.5], names=("kept", "dropped"), title="scores"))
    assert root is not None
    assert "500" in [text.text for text in root.iter("text")]


@settings(max_examples=30)
@given(st.lists(st.tuples(names, points()), max_size=5))
def test_dots(rows: list[tuple[str, svg.Point]]) -> None:
    bars = [svg.Bar(name=name, style="first", value=p.value, low=p.low, high=p.high, label="1 %") for name, p in rows]
    root = inside(svg.dots(bars, title="arms"))
    assert (root is None) == (not rows)


def test_labels_of_equal_lines_do_not_lie_on_each_other() -> None:
    same = [svg.Point(x=0, value=0.02, low=0.01, high=0.03)]
    root = inside(svg.lines([svg.Line(name=name, style="first", points=same) for name in "abc"], title="x"))
    assert root is not None
    heights = sorted(float(text.attrib["y"]) for text in root.iter("text") if text.attrib["class"] == "name")
    assert all(after - before >= 45.9 for before, after in itertools.pairwise(heights))


@given(st.text())
def test_clean_text_cannot_steer_a_display(text: str) -> None:
    cleaned = clean(text)
    assert not [c for c in cleaned if c not in "\n\t" and (ord(c) < 32 or 127 <= ord(c) < 160)]
    assert not [c for c in cleaned if 0x202A <= ord(c) <= 0x202E or 0x2066 <= ord(c) <= 0x2069]
    assert clean(cleaned) == cleaned
    assert "\n" not in line(text)


@given(st.text(max_size=300), st.integers(10, 100))
def test_cut_keeps_both_ends(text: str, limit: int) -> None:
    short = cut(text, limit)
    assert short == text if len(text) <= limit else short.startswith(text[:6]) and short.endswith(text[-3:])
    assert len(short) <= limit + 60
