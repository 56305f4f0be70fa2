"""Dates of the Gregorian calendar as plain numbers."""


def is_leap(year):
    if year % 400 == 0:
        return True
    if year % 100 == 0:
        return False
    return year % 4 == 0


def month_days(year, month):
    if month == 2:
        return 29 if is_leap(year) else 28
    if month in (4, 6, 9, 11):
        return 30
    return 31


def day_of_year(year, month, day):
    count = day
    for earlier in range(1, month):
        count += month_days(year, earlier)
    return count


def next_day(year, month, day):
    if day < month_days(year, month):
        return (year, month, day + 1)
    if month < 12:
        return (year, month + 1, 1)
    return (year + 1, 1, 1)


def weekday(year, month, day):
    if month < 3:
        year, month = year - 1, month + 12
    century, year = divmod(year, 100)
    shift = (13 * (month + 1)) // 5 + year + year // 4
    return (day + shift + century // 4 + 5 * century) % 7
