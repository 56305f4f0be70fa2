"""Whole numbers and their digits."""


def digit_sum(number, base=10):
    total = 0
    while number > 0:
        total += number % base
        number //= base
    return total


def is_prime(number):
    if number < 2:
        return False
    for factor in range(2, number):
        if factor * factor > number:
            break
        if number % factor == 0:
            return False
    return True


def divisors(number):
    small, large = [], []
    for low in range(1, int(number ** 0.5) + 1):
        if number % low == 0:
            small.append(low)
            if low != number // low:
                large.insert(0, number // low)
    return small + large


def luhn(code):
    total = 0
    for place, digit in enumerate(reversed(code)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
