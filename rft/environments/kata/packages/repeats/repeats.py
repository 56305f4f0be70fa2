"""Run-length coding of strings and lists."""


def encode(text):
    pairs = []
    for char in text:
        if pairs and pairs[-1][0] == char:
            pairs[-1] = (char, pairs[-1][1] + 1)
        else:
            pairs.append((char, 1))
    return pairs


def decode(code):
    text, count = "", 0
    for char in code:
        if char.isdigit():
            count = count * 10 + int(char)
        else:
            text += char * (count or 1)
            count = 0
    return text


def longest_run(items):
    best = size = 0
    for index, item in enumerate(items):
        if index > 0 and item == items[index - 1]:
            size += 1
        else:
            size = 1
        best = max(best, size)
    return best


def squeeze(text, char=" "):
    out = ""
    for letter in text:
        if letter != char or not out.endswith(char):
            out += letter
    return out
