"""Colours as (red, green, blue) from 0 to 255."""


def from_hex(text):
    text = text.lstrip("#")
    if len(text) == 3:
        text = "".join(char * 2 for char in text)
    parts = text[0:2], text[2:4], text[4:6]
    return tuple(int(part, 16) for part in parts)


def blend(first, second, weight=50):
    mixed = []
    for a, b in zip(first, second):
        value = a * (100 - weight) + b * weight
        mixed.append(value // 100)
    return tuple(mixed)


def brighten(colour, amount):
    bright = []
    for part in colour:
        bright.append(min(255, max(0, part + amount)))
    return tuple(bright)


def is_dark(colour, limit=128):
    red, green, blue = colour
    light = 299 * red + 587 * green + 114 * blue
    return light < limit * 1000
