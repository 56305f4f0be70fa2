from unittest import TestCase

from queues import push, rotate, batches, round_robin


class PushTest(TestCase):
    def test_room(self):
        self.assertEqual(push([1], 2), [1, 2])

    def test_full(self):
        self.assertEqual(push([1, 2, 3], 4), [2, 3, 4])

    def test_almost_full(self):
        self.assertEqual(push([1, 2], 3), [1, 2, 3])

    def test_own_limit(self):
        self.assertEqual(push([1], 2, 1), [2])

    def test_original_kept(self):
        queue = [1, 2, 3]
        push(queue, 4)
        self.assertEqual(queue, [1, 2, 3])


class RotateTest(TestCase):
    def test_one(self):
        self.assertEqual(rotate([1, 2, 3], 1), [2, 3, 1])

    def test_back(self):
        self.assertEqual(rotate([1, 2, 3], -1), [3, 1, 2])

    def test_around(self):
        self.assertEqual(rotate([1, 2, 3], 5), [3, 1, 2])

    def test_empty(self):
        self.assertEqual(rotate([], 2), [])


class BatchesTest(TestCase):
    def test_even(self):
        self.assertEqual(batches([1, 2, 3, 4], 2), [[1, 2], [3, 4]])

    def test_rest(self):
        self.assertEqual(batches([1, 2, 3], 2), [[1, 2], [3]])

    def test_single(self):
        self.assertEqual(batches("ab", 1), ["a", "b"])

    def test_empty(self):
        self.assertEqual(batches([], 3), [])


class RoundRobinTest(TestCase):
    def test_equal(self):
        self.assertEqual(round_robin([[1, 2], [3, 4]]), [1, 3, 2, 4])

    def test_uneven(self):
        self.assertEqual(round_robin([[1], [2, 3, 4]]), [1, 2, 3, 4])

    def test_with_empty(self):
        self.assertEqual(round_robin([[], [5]]), [5])

    def test_nothing(self):
        self.assertEqual(round_robin([]), [])
