"""Roman numerals."""

VALUES = {"M": 1000, "D": 500, "C": 100, "L": 50,
          "X": 10, "V": 5, "I": 1}
TENS = ((10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))


def from_roman(text):
    total = 0
    highest = 0
    for letter in reversed(text):
        value = VALUES[letter]
        total += value if value >= highest else -value
        highest = max(highest, value)
    return total


def to_roman(number):
    text = ""
    for value, letters in TENS:
        while number >= value:
            text += letters
            number -= value
    return text


def is_roman(text):
    if not text or set(text) - set(VALUES):
        return False
    for letter in "VLD":
        if text.count(letter) > 1:
            return False
    return all(four * 4 not in text for four in "IXCM")


def outline(depth, index):
    if depth == 0:
        return to_roman(index + 1) + "."
    if depth == 1:
        return chr(ord("a") + index) + ")"
    return f"{index + 1}:"
