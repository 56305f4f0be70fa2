"""Version numbers such as 1.4.2."""


def parse(text):
    parts = text.lstrip("v").split("-")[0].split(".")
    numbers = [int(part) for part in parts]
    while len(numbers) < 3:
        numbers.append(0)
    return tuple(numbers[:3])


def compare(left, right):
    a, b = parse(left), parse(right)
    if a < b:
        return -1
    return 1 if a > b else 0


def bump(text, part="patch"):
    major, minor, patch = parse(text)
    if part == "major":
        return f"{major + 1}.0.0"
    if part == "minor":
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}"


def compatible(wanted, found):
    want, have = parse(wanted), parse(found)
    if want[0] != have[0]:
        return False
    if want[0] == 0 and want[1] != have[1]:
        return False
    return have >= want
