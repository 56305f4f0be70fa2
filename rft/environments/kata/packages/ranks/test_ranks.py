from unittest import TestCase

from ranks import position, zip_sorted, places, top


class PositionTest(TestCase):
    def test_inside(self):
        self.assertEqual(position([1, 3, 5], 3), 1)

    def test_between(self):
        self.assertEqual(position([1, 3, 5], 4), 2)

    def test_before(self):
        self.assertEqual(position([2, 4], 1), 0)

    def test_after(self):
        self.assertEqual(position([2, 4], 9), 2)

    def test_repeated(self):
        self.assertEqual(position([1, 2, 2, 2, 3], 2), 1)


class ZipSortedTest(TestCase):
    def test_mixed(self):
        self.assertEqual(zip_sorted([1, 4], [2, 3]), [1, 2, 3, 4])

    def test_left_first(self):
        self.assertEqual(zip_sorted([1, 2], [3]), [1, 2, 3])

    def test_right_first(self):
        self.assertEqual(zip_sorted([5], [1, 2]), [1, 2, 5])

    def test_one_empty(self):
        self.assertEqual(zip_sorted([], [1]), [1])
        self.assertEqual(zip_sorted([1], []), [1])

    def test_ties_left(self):
        self.assertEqual(zip_sorted([1], [1.0]), [1, 1.0])
        self.assertEqual(str(zip_sorted([1], [1.0])), "[1, 1.0]")


class PlacesTest(TestCase):
    def test_plain(self):
        self.assertEqual(places([10, 30, 20]), [3, 1, 2])

    def test_tie(self):
        self.assertEqual(places([5, 9, 5]), [2, 1, 2])

    def test_after_tie(self):
        self.assertEqual(places([9, 9, 1]), [1, 1, 3])

    def test_empty(self):
        self.assertEqual(places([]), [])


class TopTest(TestCase):
    def test_largest(self):
        self.assertEqual(top({"a": 1, "b": 3, "c": 2}), ["b", "c"])

    def test_tie_by_name(self):
        self.assertEqual(top({"b": 1, "a": 1, "c": 1}), ["a", "b"])

    def test_own_size(self):
        self.assertEqual(top({"a": 1, "b": 3}, 1), ["b"])

    def test_none(self):
        self.assertEqual(top({"a": 1}, 0), [])

    def test_negative(self):
        with self.assertRaises(ValueError):
            top({"a": 1}, -1)
