from unittest import TestCase

from grid import transpose, multiply, neighbours, trace


class TransposeTest(TestCase):
    def test_square(self):
        self.assertEqual(transpose([[1, 2], [3, 4]]), [[1, 3], [2, 4]])

    def test_wide(self):
        self.assertEqual(transpose([[1, 2, 3]]), [[1], [2], [3]])

    def test_tall(self):
        self.assertEqual(transpose([[1], [2]]), [[1, 2]])

    def test_empty(self):
        self.assertEqual(transpose([]), [])


class MultiplyTest(TestCase):
    def test_square(self):
        self.assertEqual(
            multiply([[1, 2], [3, 4]], [[5, 6], [7, 8]]),
            [[19, 22], [43, 50]],
        )

    def test_identity(self):
        self.assertEqual(
            multiply([[1, 0], [0, 1]], [[2, 3], [4, 5]]),
            [[2, 3], [4, 5]],
        )

    def test_row_column(self):
        self.assertEqual(multiply([[1, 2, 3]], [[4], [5], [6]]), [[32]])

    def test_column_row(self):
        self.assertEqual(multiply([[2], [3]], [[4, 5]]), [[8, 10], [12, 15]])


class NeighboursTest(TestCase):
    def test_middle(self):
        self.assertEqual(
            neighbours([[1, 2, 3], [4, 5, 6], [7, 8, 9]], 1, 1),
            [2, 4, 6, 8],
        )

    def test_top_left(self):
        self.assertEqual(neighbours([[1, 2], [3, 4]], 0, 0), [2, 3])

    def test_bottom_right(self):
        self.assertEqual(neighbours([[1, 2], [3, 4]], 1, 1), [2, 3])

    def test_wide(self):
        self.assertEqual(neighbours([[1, 2, 3]], 0, 1), [1, 3])

    def test_alone(self):
        self.assertEqual(neighbours([[1]], 0, 0), [])


class TraceTest(TestCase):
    def test_square(self):
        self.assertEqual(trace([[1, 2], [3, 4]]), 5)

    def test_three(self):
        self.assertEqual(trace([[1, 0, 0], [0, 2, 0], [0, 0, 4]]), 7)

    def test_wide(self):
        self.assertEqual(trace([[1, 2, 3], [4, 5, 6]]), 6)

    def test_tall(self):
        self.assertEqual(trace([[1], [2]]), 1)
