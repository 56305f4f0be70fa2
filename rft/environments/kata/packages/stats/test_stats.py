from unittest import TestCase

from stats import median, histogram, moving_sum, streak


class MedianTest(TestCase):
    def test_odd(self):
        self.assertEqual(median([3, 1, 2]), 2)

    def test_even(self):
        self.assertEqual(median([4, 1, 3, 2]), 2.5)

    def test_single(self):
        self.assertEqual(median([7]), 7)

    def test_two(self):
        self.assertEqual(median([1, 4]), 2.5)


class HistogramTest(TestCase):
    def test_groups(self):
        self.assertEqual(histogram([1, 2, 11], 10), {0: 2, 10: 1})

    def test_edge(self):
        self.assertEqual(histogram([9, 10], 10), {0: 1, 10: 1})

    def test_narrow(self):
        self.assertEqual(histogram([3, 3, 4], 1), {3: 2, 4: 1})

    def test_empty(self):
        self.assertEqual(histogram([], 5), {})


class MovingSumTest(TestCase):
    def test_pairs(self):
        self.assertEqual(moving_sum([1, 2, 3]), [3, 5])

    def test_three(self):
        self.assertEqual(moving_sum([1, 2, 3, 4], 3), [6, 9])

    def test_whole(self):
        self.assertEqual(moving_sum([1, 2], 2), [3])

    def test_too_short(self):
        self.assertEqual(moving_sum([1], 2), [])


class StreakTest(TestCase):
    def test_rising(self):
        self.assertEqual(streak([1, 2, 3]), 3)

    def test_falling(self):
        self.assertEqual(streak([3, 2, 1]), 1)

    def test_later_one(self):
        self.assertEqual(streak([5, 1, 2, 4, 3]), 3)

    def test_equal(self):
        self.assertEqual(streak([2, 2, 3]), 2)

    def test_empty(self):
        self.assertEqual(streak([]), 0)
