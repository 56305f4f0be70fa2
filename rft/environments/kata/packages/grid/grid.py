"""Matrices as lists of rows."""


def transpose(rows):
    flipped = []
    for column in range(len(rows[0]) if rows else 0):
        flipped.append([row[column] for row in rows])
    return flipped


def multiply(left, right):
    product = []
    for row in left:
        line = []
        for y in range(len(right[0])):
            terms = [a * r[y] for a, r in zip(row, right)]
            line.append(sum(terms))
        product.append(line)
    return product


def neighbours(rows, y, x):
    found = []
    for dy, dx in ((-1, 0), (0, -1), (0, 1), (1, 0)):
        if 0 <= y + dy < len(rows):
            if 0 <= x + dx < len(rows[0]):
                found.append(rows[y + dy][x + dx])
    return found


def trace(rows):
    total = 0
    size = min(len(rows), len(rows[0]))
    for step in range(size):
        total += rows[step][step]
    return total
