"""Small statistics over lists of numbers."""


def median(values):
    ordered = sorted(values)
    half = len(ordered) // 2
    if len(ordered) % 2 == 1:
        return ordered[half]
    return (ordered[half - 1] + ordered[half]) / 2


def histogram(values, width):
    bars = {}
    for value in values:
        low = value - value % width
        bars[low] = bars.get(low, 0) + 1
    return bars


def moving_sum(values, window=2):
    sums = []
    for end in range(window, len(values) + 1):
        sums.append(sum(values[end - window:end]))
    return sums


def streak(values):
    best = length = 0
    last = None
    for value in values:
        rises = last is not None and value > last
        length = length + 1 if rises else 1
        best = max(best, length)
        last = value
    return best
