"""Sums of money in whole cents."""


def parse_cents(text):
    sign = -1 if text.startswith("-") else 1
    whole, _, part = text.lstrip("-").partition(".")
    cents = int((part + "00")[:2])
    return sign * (int(whole) * 100 + cents)


def show_cents(cents, symbol="$"):
    sign = "-" if cents < 0 else ""
    whole, part = divmod(abs(cents), 100)
    return f"{sign}{symbol}{whole:,}.{part:02d}"


def split_bill(cents, people):
    share = cents // people
    extra = cents - share * people
    bill = []
    for person in range(people):
        bill.append(share + (1 if person < extra else 0))
    return bill


def add_tax(cents, percent, cap=None):
    tax = (cents * percent + 50) // 100
    if cap is not None and tax > cap:
        tax = cap
    return cents + tax


def make_change(cents, coins=(50, 20, 10, 5, 1)):
    used = {}
    for coin in coins:
        if cents >= coin:
            used[coin] = cents // coin
            cents = cents % coin
    return used
