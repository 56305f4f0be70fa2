"""Small inline pictures: numbers in, SVG markup out. Colours are classes, so that the page decides on light or dark."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, 112.0, 14.0, 34.0


@dataclass(frozen=True, kw_only=True)
class Point:
    """One value with its interval; all in [0, 1]."""

    x: int
    value: float
    low: float
    high: float
    hollow: bool = False
    """Drawn as a ring: a policy that was not promoted."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A named run of points; `style` is a CSS class."""

    name: str
    style: str
    points: Sequence[Point]


def lines(series: Sequence[Line], *, title: str) -> Markup:
    """Rates over rounds: a band for the interval, a mark for the value, the name at the line's end."""
    drawn = [line for line in series if line.points]
    if not drawn:
        return Markup("")
    xs = sorted({point.x for line in drawn for point in line.points})
    top = _ceiling(max(point.high for line in drawn for point in line.points))

    def place(point: Point, value: float) -> tuple[float, float]:
        across = (point.x - xs[0]) / max(1, xs[-1] - xs[0])
        return _LEFT + 14 + across * (WIDTH - _LEFT - _RIGHT - 28), _up(value / top)

    parts = [_grid(top), _rounds(xs)]
    labels = _spread([place(line.points[-1], line.points[-1].value)[1] for line in drawn], 46.0)
    for line, label in zip(drawn, labels, strict=True):
        upper = [place(point, point.high) for point in line.points]
        lower = [place(point, point.low) for point in line.points]
        middle = [place(point, point.value) for point in line.points]
        parts.append(_element("polygon", points=_path([*upper, *reversed(lower)]), class_=f"band {line.style}"))
        parts += [
            _element("line", x1=x, x2=x, y1=high, y2=low, class_=f"whisker {line.style}")
            for (x, high), (_, low) in zip(upper, lower, strict=True)
        ]
        parts.append(_element("polyline", points=_path(middle), class_=f"line {line.style}"))
        for point, (x, y) in zip(line.points, middle, strict=True):
            parts.append(_mark(line, point, x, y))
        x, _ = middle[-1]
        value = f"{100 * line.points[-1].value:.0f} %"
        parts.append(_text(x + 14, label - 1, value, f"value {line.style}"))
        parts.append(_text(x + 14, label + 13, line.name[:18], "name"))
    return _svg(parts, WIDTH, HEIGHT, title)


def spark(points: Sequence[Point], *, style: str, title: str) -> Markup:
    """One behaviour over the rounds, the size of a word: the whole height is 0 to 100 %."""
    width, height, edge = 180.0, 76.0, 7.0
    if not points:
        return Markup("")
    first, last = points[0].x, points[-1].x

    def place(point: Point, value: float) -> tuple[float, float]:
        across = (point.x - first) / max(1, last - first)
        return edge + across * (width - 2 * edge), edge + (1 - value) * (height - 2 * edge)

    middle = [place(point, point.value) for point in points]
    outline = [place(point, point.high) for point in points] + [place(point, point.low) for point in reversed(points)]
    marks = [
        _element("circle", cx=x, cy=y, r=3.6 if number in (0, len(middle) - 1) else 2.0, class_=f"dot {style}")
        for number, (x, y) in enumerate(middle)
    ]
    frame = [_element("line", x1=0, x2=width, y1=y, y2=y, class_="grid") for y in (edge, height / 2, height - edge)]
    parts = [
        *frame,
        _element("polygon", points=_path(outline), class_=f"band {style}"),
        _element("polyline", points=_path(middle), class_=f"line {style}"),
        *marks,
    ]
    return _svg(parts, width, height, title)


def histogram(above: Sequence[float], below: Sequence[float], *, names: tuple[str, str], title: str) -> Markup:
    """Two sets of scores in [0, 1] back to back: `above` grows up, `below` grows down.

    A bar that towers over all others is cut, and its count is written on it.
    """
    bins, height = 20, 260.0
    up, down = _binned(above, bins), _binned(below, bins)
    if not any(up) and not any(down):
        return Markup("")
    tallest_up, tallest_down = _peak(up), _peak(down)
    unit = (height - _TOP - _BOTTOM) / (tallest_up + tallest_down)
    base = _TOP + unit * tallest_up
    step = (WIDTH - _LEFT - 20) / bins
    parts = []
    for counts, peak, style, name in ((up, tallest_up, "kept", names[0]), (down, tallest_down, "dropped", names[1])):
        for number, count in enumerate(counts):
            x, tall = _LEFT + number * step + 1.5, min(count, peak) * unit
            y = base - tall if style == "kept" else base
            tip = f"{count} {name}, score {number / bins:.2f} to {(number + 1) / bins:.2f}"
            if count:
                box = _open("rect", x=x, y=y, width=step - 3, height=tall, rx=1.5, class_=f"bar {style}")
                parts.append(box + Markup("<title>{}</title></rect>").format(tip))
            if count > peak:
                inside = y + 17 if style == "kept" else y + tall - 8
                parts.append(_text(x + (step - 3) / 2, inside, str(count), "cut", anchor="middle"))
    parts.append(_element("line", x1=_LEFT, x2=WIDTH - 20, y1=base, y2=base, class_="axis"))
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(_text(_LEFT + tick * step * bins, height - 14, f"{tick:g}", "tick", anchor="middle"))
    for y, text in ((_TOP + 4, str(tallest_up)), (base + 4, "0"), (height - _BOTTOM, str(tallest_down))):
        parts.append(_text(_LEFT - 8, y, text, "tick", anchor="end"))
    parts.append(_text((WIDTH + _LEFT) / 2, height - 1, "score", "tick", anchor="middle"))
    return _svg(parts, WIDTH, height, title)


def _peak(counts: Sequence[int]) -> int:
    """Where a side of the histogram ends: at its tallest bar, unless that one towers over the next."""
    *_, second, first = sorted(counts)
    return max(1, first if first <= 3 * max(second, 1) else 2 * second, 4 if first >= 4 else 1)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One row of a dot plot: a value with its interval on a shared scale."""

    name: str
    style: str
    value: float
    low: float
    high: float
    label: str


def dots(
    rows: Sequence[Bar], *, title: str, least: float = 0.0, most: float = 1.0, shares: bool = True, names: int = 16
) -> Markup:
    """A row for each name: its interval as a bar and its value as a dot, for comparing arms or criteria.

    The scale goes from `least` to `most`, written in percent when the values are `shares`; there is room for `names`
    characters of a name.
    """
    if not rows:
        return Markup("")
    tall, left, right = 38.0, 12 + 7.0 * names, 164.0
    height = tall * len(rows) + 26
    span = WIDTH - left - right

    def across(value: float) -> float:
        return left + span * min(1.0, max(0.0, (value - least) / (most - least)))

    parts = []
    for number in range(5):
        value = least + (most - least) * number / 4
        x = across(value)
        style = "axis" if least < 0 and abs(value) < 1e-9 else "grid"
        parts.append(_element("line", x1=x, x2=x, y1=2, y2=height - 24, class_=style))
        written = f"{100 * value:.0f} %" if shares else f"{value:g}"
        parts.append(_text(x, height - 6, written, "tick", anchor="middle"))
    for number, row in enumerate(rows):
        y = tall * number + tall / 2
        parts.append(_text(left - 12, y + 4, row.name[:names], "name", anchor="end"))
        low, high = across(row.low), across(row.high)
        parts.append(_element("line", x1=low, x2=high, y1=y, y2=y, class_=f"span {row.style}"))
        parts.append(_element("circle", cx=across(row.value), cy=y, r=5.5, class_=f"dot {row.style}"))
        parts.append(_text(left + span + 14, y + 4, row.label[:20], f"value {row.style}"))
    return _svg(parts, WIDTH, height, title)


def curves(series: Sequence[tuple[str, str, Sequence[tuple[float, float]]]], *, title: str, x_title: str) -> Markup:
    """Shares over a number in [0, 1]: a line for each (name, CSS class, points)."""
    drawn = [(name, style, points) for name, style, points in series if points]
    if not drawn:
        return Markup("")
    span = WIDTH - _LEFT - _RIGHT
    parts = [_grid(1.0)]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(_text(_LEFT + tick * span, HEIGHT - 18, f"{tick:g}", "tick", anchor="middle"))
    parts.append(_text(_LEFT + span / 2, HEIGHT - 2, x_title, "tick", anchor="middle"))
    placed = [[(_LEFT + x * span, _up(y)) for x, y in points] for _, _, points in drawn]
    for (name, style, _), points, label in zip(drawn, placed, _spread([p[-1][1] for p in placed], 18.0), strict=True):
        parts.append(_element("polyline", points=_path(points), class_=f"line {style}"))
        parts.append(_text(_LEFT + span + 12, label + 4, name[:14], f"value {style}"))
    return _svg(parts, WIDTH, HEIGHT, title)


def _grid(top: float) -> Markup:
    parts = []
    for number in range(5):
        y = _up(number / 4)
        parts.append(_element("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y, class_="axis" if not number else "grid"))
        parts.append(_text(_LEFT - 8, y + 4, f"{100 * top * number / 4:.3g} %", "tick", anchor="end"))
    return Markup("").join(parts)


def _rounds(xs: list[int]) -> Markup:
    """Every round, or as many as there is room for, the last one always."""
    every = math.ceil(len(xs) / 12)
    parts = []
    for number, x in enumerate(xs):
        if number % every == 0 or x == xs[-1]:
            place = _LEFT + 14 + (x - xs[0]) / max(1, xs[-1] - xs[0]) * (WIDTH - _LEFT - _RIGHT - 28)
            parts.append(_text(place, HEIGHT - 14, f"round {x}" if number == 0 else str(x), "tick", anchor="middle"))
    return Markup("").join(parts)


def _mark(line: Line, point: Point, x: float, y: float) -> Markup:
    tip = f"{line.name}, {point.x}: {100 * point.value:.1f} % [{100 * point.low:.1f}, {100 * point.high:.1f}]"
    style = f"{'ring' if point.hollow else 'dot'} {line.style}"
    return _open("circle", cx=x, cy=y, r=5, class_=style) + Markup("<title>{}</title></circle>").format(tip)


def _up(share: float) -> float:
    return _TOP + (1 - share) * (HEIGHT - _TOP - _BOTTOM)


def _ceiling(value: float) -> float:
    """The top of an axis of shares: the next of a few round numbers."""
    return next((top for top in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0) if value <= top), 1.0)


def _spread(places: list[float], least: float) -> list[float]:
    """Label positions near `places`, at least `least` apart."""
    moved = list(places)
    order = sorted(range(len(places)), key=lambda index: places[index])
    for before, after in itertools.pairwise(order):
        moved[after] = max(moved[after], moved[before] + least)
    over = max([0.0, *(place - (HEIGHT - _BOTTOM - 12) for place in moved)])
    return [place - over for place in moved]


def _binned(values: Sequence[float], bins: int) -> list[int]:
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, max(0, int(value * bins)))] += 1
    return counts


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _open(name: str, **attributes: object) -> Markup:
    written = [
        Markup('{}="{}"').format(
            key.rstrip("_").replace("_", "-"), f"{value:.1f}" if isinstance(value, float) else value
        )
        for key, value in attributes.items()
    ]
    return Markup("<{} {}>").format(Markup(name), Markup(" ").join(written))


def _element(name: str, **attributes: object) -> Markup:
    return _open(name, **attributes) + Markup("</{}>").format(Markup(name))


def _text(x: float, y: float, text: str, style: str, *, anchor: str = "start") -> Markup:
    return _open("text", x=x, y=y, class_=style, text_anchor=anchor) + escape(text) + Markup("</text>")


def _svg(parts: Sequence[Markup], width: float, height: float, title: str) -> Markup:
    size = "wide" if width >= WIDTH else "small"
    head = Markup('<svg class="{}" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">')
    head = head.format(size, width, height, title)
    return head + Markup("").join(parts) + Markup("</svg>")
