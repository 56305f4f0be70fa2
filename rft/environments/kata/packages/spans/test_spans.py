from unittest import TestCase

from spans import merge, overlap, gaps, covered


class MergeTest(TestCase):
    def test_touching(self):
        self.assertEqual(merge([(1, 3), (3, 5)]), [(1, 5)])

    def test_apart(self):
        self.assertEqual(merge([(1, 2), (3, 4)]), [(1, 2), (3, 4)])

    def test_nested(self):
        self.assertEqual(merge([(1, 9), (2, 5)]), [(1, 9)])

    def test_unsorted(self):
        self.assertEqual(merge([(4, 8), (1, 5)]), [(1, 8)])

    def test_empty(self):
        self.assertEqual(merge([]), [])


class OverlapTest(TestCase):
    def test_partial(self):
        self.assertEqual(overlap((1, 5), (3, 9)), (3, 5))

    def test_inside(self):
        self.assertEqual(overlap((0, 9), (2, 4)), (2, 4))

    def test_touching(self):
        self.assertIsNone(overlap((1, 3), (3, 5)))

    def test_apart(self):
        self.assertIsNone(overlap((6, 9), (1, 2)))


class GapsTest(TestCase):
    def test_between(self):
        self.assertEqual(gaps([(2, 4), (6, 8)], 2, 8), [(4, 6)])

    def test_at_edges(self):
        self.assertEqual(gaps([(3, 5)], 0, 9), [(0, 3), (5, 9)])

    def test_none_left(self):
        self.assertEqual(gaps([(0, 9)], 0, 9), [])

    def test_nested(self):
        self.assertEqual(gaps([(0, 7), (1, 3)], 0, 9), [(7, 9)])

    def test_empty(self):
        self.assertEqual(gaps([], 1, 2), [(1, 2)])


class CoveredTest(TestCase):
    def test_single(self):
        self.assertEqual(covered([(2, 5)]), 3)

    def test_apart(self):
        self.assertEqual(covered([(5, 9), (1, 3)]), 6)

    def test_overlapping(self):
        self.assertEqual(covered([(1, 5), (3, 8)]), 7)

    def test_nested(self):
        self.assertEqual(covered([(1, 9), (2, 4), (5, 12)]), 11)

    def test_empty(self):
        self.assertEqual(covered([]), 0)
