from unittest import TestCase

from colours import from_hex, blend, brighten, is_dark


class FromHexTest(TestCase):
    def test_long(self):
        self.assertEqual(from_hex("#ff8000"), (255, 128, 0))

    def test_short(self):
        self.assertEqual(from_hex("#f80"), (255, 136, 0))

    def test_no_hash(self):
        self.assertEqual(from_hex("102030"), (16, 32, 48))

    def test_black(self):
        self.assertEqual(from_hex("#000"), (0, 0, 0))


class BlendTest(TestCase):
    def test_half(self):
        self.assertEqual(blend((0, 100, 200), (100, 100, 0)), (50, 100, 100))

    def test_first_only(self):
        self.assertEqual(blend((10, 20, 30), (90, 90, 90), 0), (10, 20, 30))

    def test_second_only(self):
        self.assertEqual(blend((1, 2, 3), (40, 50, 60), 100), (40, 50, 60))

    def test_quarter(self):
        self.assertEqual(blend((0, 0, 0), (200, 100, 4), 25), (50, 25, 1))


class BrightenTest(TestCase):
    def test_plain(self):
        self.assertEqual(brighten((10, 20, 30), 5), (15, 25, 35))

    def test_upper_end(self):
        self.assertEqual(brighten((250, 255, 0), 10), (255, 255, 10))

    def test_lower_end(self):
        self.assertEqual(brighten((5, 0, 100), -10), (0, 0, 90))

    def test_nothing(self):
        self.assertEqual(brighten((0, 1, 255), 0), (0, 1, 255))


class IsDarkTest(TestCase):
    def test_black(self):
        self.assertIs(is_dark((0, 0, 0)), True)

    def test_white(self):
        self.assertIs(is_dark((255, 255, 255)), False)

    def test_at_limit(self):
        self.assertIs(is_dark((128, 128, 128)), False)
        self.assertIs(is_dark((127, 127, 127)), True)

    def test_own_limit(self):
        self.assertIs(is_dark((50, 50, 50), 40), False)

    def test_weights(self):
        self.assertIs(is_dark((255, 0, 255)), True)
        self.assertIs(is_dark((0, 255, 0)), False)

    def test_red(self):
        self.assertIs(is_dark((255, 100, 0)), False)
        self.assertIs(is_dark((255, 80, 0)), True)
