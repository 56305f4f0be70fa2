"""Times of day and durations in minutes."""


def to_minutes(text):
    hours, _, minutes = text.partition(":")
    value = int(hours) * 60 + int(minutes or 0)
    if not 0 <= value < 1440:
        raise ValueError(text)
    return value


def later(text, minutes):
    total = to_minutes(text) + minutes
    hours = (total // 60) % 24
    return f"{hours:02d}:{total % 60:02d}"


def duration(minutes):
    if minutes < 60:
        return f"{minutes}m"
    hours, rest = divmod(minutes, 60)
    if rest == 0:
        return f"{hours}h"
    return f"{hours}h {rest}m"


def is_open(now, opens, closes):
    now = to_minutes(now)
    opens, closes = to_minutes(opens), to_minutes(closes)
    if opens <= closes:
        return opens <= now < closes
    return now >= opens or now < closes
