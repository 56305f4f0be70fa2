"""Cutting source text into tokens."""


def read_number(text, start=0):
    end = start
    while end < len(text) and text[end].isdigit():
        end += 1
    if end == start:
        return None
    return int(text[start:end]), end


def split_words(text):
    words = [""]
    for char in text:
        if char.isalnum() or char == "_":
            words[-1] += char
        elif words[-1]:
            words.append("")
    return [word for word in words if word]


def balanced(text, opening="([", closing=")]"):
    stack = []
    for char in text:
        if char in opening:
            stack.append(opening.index(char))
        elif char in closing:
            if not stack or closing[stack.pop()] != char:
                return False
    return not stack


def unquote(text):
    if len(text) < 2 or text[0] not in "'\"":
        return text
    if text[0] != text[-1]:
        raise ValueError("open quote")
    return text[1:-1].replace("\\n", "\n")
