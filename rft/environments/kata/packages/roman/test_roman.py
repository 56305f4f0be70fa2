from unittest import TestCase

from roman import from_roman, to_roman, is_roman, outline


class FromRomanTest(TestCase):
    def test_adds(self):
        self.assertEqual(from_roman("VII"), 7)

    def test_subtracts(self):
        self.assertEqual(from_roman("IX"), 9)

    def test_mixed(self):
        self.assertEqual(from_roman("MCMXCIV"), 1994)

    def test_forty(self):
        self.assertEqual(from_roman("XLII"), 42)

    def test_repeated(self):
        self.assertEqual(from_roman("XXX"), 30)


class ToRomanTest(TestCase):
    def test_ones(self):
        self.assertEqual(to_roman(3), "III")

    def test_four(self):
        self.assertEqual(to_roman(4), "IV")

    def test_nine(self):
        self.assertEqual(to_roman(9), "IX")

    def test_tens(self):
        self.assertEqual(to_roman(27), "XXVII")

    def test_zero(self):
        self.assertEqual(to_roman(0), "")


class IsRomanTest(TestCase):
    def test_good(self):
        self.assertIs(is_roman("XIV"), True)
        self.assertIs(is_roman("MDCLXVI"), True)

    def test_strange_letter(self):
        self.assertIs(is_roman("XA"), False)

    def test_empty(self):
        self.assertIs(is_roman(""), False)

    def test_two_fives(self):
        self.assertIs(is_roman("VV"), False)
        self.assertIs(is_roman("DD"), False)
        self.assertIs(is_roman("LL"), False)

    def test_four_ones(self):
        self.assertIs(is_roman("IIII"), False)
        self.assertIs(is_roman("XXX"), True)
        self.assertIs(is_roman("XXXX"), False)


class OutlineTest(TestCase):
    def test_top(self):
        self.assertEqual(outline(0, 0), "I.")

    def test_second(self):
        self.assertEqual(outline(1, 0), "a)")
        self.assertEqual(outline(1, 2), "c)")

    def test_deep(self):
        self.assertEqual(outline(2, 0), "1:")

    def test_top_fourth(self):
        self.assertEqual(outline(0, 3), "IV.")
