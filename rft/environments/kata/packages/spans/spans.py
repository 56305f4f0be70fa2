"""Intervals of whole numbers, each a (start, end) pair."""


def merge(spans):
    merged = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            last = merged.pop()
            start, end = last[0], max(last[1], end)
        merged.append((start, end))
    return merged


def overlap(left, right):
    start = max(left[0], right[0])
    end = min(left[1], right[1])
    if start >= end:
        return None
    return (start, end)


def gaps(spans, low, high):
    holes = []
    for start, end in sorted(spans):
        if start > low:
            holes.append((low, start))
        low = max(low, end)
    if low < high:
        holes.append((low, high))
    return holes


def covered(spans):
    total = 0
    reach = 0
    for start, end in sorted(spans):
        total += max(0, end - max(start, reach))
        reach = max(reach, end)
    return total
