"""Sorted lists: finding, inserting, merging, ranking."""


def position(items, wanted):
    low, high = 0, len(items)
    while low < high:
        middle = (low + high) // 2
        if items[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


def zip_sorted(left, right):
    out, i = [], 0
    for item in left:
        while i < len(right) and right[i] < item:
            out.append(right[i])
            i += 1
        out.append(item)
    return out + right[i:]


def places(scores):
    table = {}
    ordered = sorted(scores, reverse=True)
    for place, score in enumerate(ordered):
        table.setdefault(score, place + 1)
    return [table[score] for score in scores]


def top(counts, size=2):
    names = sorted(counts, key=lambda n: (-counts[n], n))
    if size < 0:
        raise ValueError("negative size")
    return names[:size]
