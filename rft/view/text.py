"""Text that models and tools wrote, made safe and short enough to be looked at."""

_PICTURES = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"} | {127: "\u2421"}
_FORBIDDEN = {
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),
    **dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd"),
    **dict.fromkeys([0x2028, 0x2029], "\n"),
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
    **dict.fromkeys([0xFEFF, 0xFFFE, 0xFFFF], "\ufffd"),
}
_TABLE = _PICTURES | _FORBIDDEN


def clean(text: str) -> str:
    """`text` with control characters as pictures and reordering marks replaced, so that it cannot steer a display."""
    return text.replace("\r\n", "\n").translate(_TABLE)


def cut(text: str, limit: int) -> str:
    """At most about `limit` characters: the start and the end, and how many lie between."""
    if len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit // 3
    return f"{text[:head]}\n… {len(text) - head - tail:,} characters left out …\n{text[-tail:]}"


def line(text: str, limit: int = 200) -> str:
    """One clean line, cut at its end."""
    flat = " ".join(clean(text[: 4 * limit]).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def percent(value: float | None, digits: int = 0) -> str:
    """`37 %`, or a dash for what is unknown."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def points(value: float | None) -> str:
    """A difference of shares in percentage points, `+12`; a dash for what is unknown."""
    if value is None:
        return "–"
    rounded = round(100 * value)
    return "±0" if rounded == 0 else f"{rounded:+d}".replace("-", "−")


def duration(seconds: float) -> str:
    """`48 s`, `6 min` or `2.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def count(number: float | None) -> str:
    """`12,345`, or a dash for what is unknown."""
    return "–" if number is None else f"{number:,.0f}"
