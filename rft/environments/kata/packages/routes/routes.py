"""File paths with forward slashes."""


def clean(path):
    kept = []
    for part in path.split("/"):
        if part == ".." and kept:
            kept.pop()
        elif part not in ("", ".", ".."):
            kept.append(part)
    return "/".join(kept)


def suffix(path):
    name = path.split("/")[-1]
    dot = name.rfind(".")
    if dot <= 0:
        return ""
    return name[dot + 1:].lower()


def shared(first, second):
    common = []
    for a, b in zip(first.split("/"), second.split("/")):
        if a != b:
            break
        common.append(a)
    return "/".join(common)


def matches(path, pattern):
    parts, wanted = path.split("/"), pattern.split("/")
    if len(parts) != len(wanted):
        return False
    pairs = zip(parts, wanted)
    return all(w == "*" or p == w for p, w in pairs)
