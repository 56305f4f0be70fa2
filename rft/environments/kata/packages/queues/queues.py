"""Lists used as queues; the front is at index 0."""


def push(queue, item, limit=3):
    kept = list(queue)
    if len(kept) >= limit:
        kept.pop(0)
    kept.append(item)
    return kept


def rotate(queue, steps):
    if not queue:
        return []
    steps = steps % len(queue)
    return queue[steps:] + queue[:steps]


def batches(items, size):
    groups = []
    for start in range(0, len(items), size):
        groups.append(items[start:start + size])
    return groups


def round_robin(queues):
    order = []
    turn = 0
    while any(turn < len(queue) for queue in queues):
        for queue in queues:
            if turn < len(queue):
                order.append(queue[turn])
        turn += 1
    return order
