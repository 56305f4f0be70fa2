from unittest import TestCase

from days import is_leap, month_days, day_of_year, next_day, weekday


class IsLeapTest(TestCase):
    def test_fourth(self):
        self.assertIs(is_leap(2024), True)

    def test_common(self):
        self.assertIs(is_leap(2023), False)
        self.assertIs(is_leap(2022), False)

    def test_century(self):
        self.assertIs(is_leap(1900), False)

    def test_fourth_century(self):
        self.assertIs(is_leap(2000), True)


class MonthDaysTest(TestCase):
    def test_february(self):
        self.assertEqual(month_days(2023, 2), 28)

    def test_leap_february(self):
        self.assertEqual(month_days(2024, 2), 29)

    def test_thirty(self):
        self.assertEqual(month_days(2023, 4), 30)
        self.assertEqual(month_days(2023, 6), 30)
        self.assertEqual(month_days(2023, 9), 30)
        self.assertEqual(month_days(2023, 11), 30)

    def test_thirty_one(self):
        self.assertEqual(month_days(2023, 1), 31)
        self.assertEqual(month_days(2023, 12), 31)


class DayOfYearTest(TestCase):
    def test_first(self):
        self.assertEqual(day_of_year(2023, 1, 1), 1)

    def test_march(self):
        self.assertEqual(day_of_year(2023, 3, 1), 60)

    def test_leap_march(self):
        self.assertEqual(day_of_year(2024, 3, 1), 61)

    def test_last(self):
        self.assertEqual(day_of_year(2023, 12, 31), 365)


class NextDayTest(TestCase):
    def test_plain(self):
        self.assertEqual(next_day(2023, 5, 10), (2023, 5, 11))

    def test_month_end(self):
        self.assertEqual(next_day(2023, 4, 30), (2023, 5, 1))

    def test_leap_day(self):
        self.assertEqual(next_day(2024, 2, 28), (2024, 2, 29))

    def test_year_end(self):
        self.assertEqual(next_day(2023, 12, 31), (2024, 1, 1))

    def test_november(self):
        self.assertEqual(next_day(2023, 11, 30), (2023, 12, 1))


class WeekdayTest(TestCase):
    def test_saturday(self):
        self.assertEqual(weekday(2023, 7, 1), 0)

    def test_sunday(self):
        self.assertEqual(weekday(2023, 1, 1), 1)

    def test_leap_day(self):
        self.assertEqual(weekday(2024, 2, 29), 5)

    def test_march(self):
        self.assertEqual(weekday(2021, 3, 1), 2)

    def test_old(self):
        self.assertEqual(weekday(1969, 7, 20), 1)
