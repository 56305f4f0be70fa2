from unittest import TestCase

from clock import to_minutes, later, duration, is_open


class ToMinutesTest(TestCase):
    def test_morning(self):
        self.assertEqual(to_minutes("1:30"), 90)

    def test_midnight(self):
        self.assertEqual(to_minutes("0:00"), 0)

    def test_last(self):
        self.assertEqual(to_minutes("23:59"), 1439)

    def test_hour_only(self):
        self.assertEqual(to_minutes("7"), 420)

    def test_too_late(self):
        with self.assertRaises(ValueError):
            to_minutes("24:00")


class LaterTest(TestCase):
    def test_same_hour(self):
        self.assertEqual(later("9:10", 20), "09:30")

    def test_next_hour(self):
        self.assertEqual(later("9:50", 20), "10:10")

    def test_past_midnight(self):
        self.assertEqual(later("23:30", 45), "00:15")

    def test_earlier(self):
        self.assertEqual(later("10:00", -30), "09:30")


class DurationTest(TestCase):
    def test_minutes(self):
        self.assertEqual(duration(45), "45m")
        self.assertEqual(duration(59), "59m")

    def test_one_hour(self):
        self.assertEqual(duration(60), "1h")

    def test_both(self):
        self.assertEqual(duration(95), "1h 35m")

    def test_hours(self):
        self.assertEqual(duration(180), "3h")


class IsOpenTest(TestCase):
    def test_inside(self):
        self.assertIs(is_open("10:00", "9:00", "17:00"), True)

    def test_outside(self):
        self.assertIs(is_open("8:59", "9:00", "17:00"), False)

    def test_opening(self):
        self.assertIs(is_open("9:00", "9:00", "17:00"), True)

    def test_closing(self):
        self.assertIs(is_open("17:00", "9:00", "17:00"), False)

    def test_overnight(self):
        self.assertIs(is_open("1:00", "22:00", "3:00"), True)
        self.assertIs(is_open("23:00", "22:00", "3:00"), True)

    def test_overnight_edges(self):
        self.assertIs(is_open("3:00", "22:00", "3:00"), False)
        self.assertIs(is_open("22:00", "22:00", "3:00"), True)
