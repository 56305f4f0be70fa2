from unittest import TestCase

from margins import wrap, shorten, centre, dedent


class WrapTest(TestCase):
    def test_fits(self):
        self.assertEqual(wrap("a bc", 10), ["a bc"])

    def test_breaks(self):
        self.assertEqual(wrap("one two six", 8), ["one two", "six"])

    def test_exact(self):
        self.assertEqual(wrap("abc def", 7), ["abc def"])

    def test_too_narrow(self):
        self.assertEqual(wrap("abc def", 6), ["abc", "def"])

    def test_long_word(self):
        self.assertEqual(wrap("a abcdefgh b", 4), ["a", "abcdefgh", "b"])

    def test_default_width(self):
        self.assertEqual(
            wrap("aaaaa bbbbb ccccc ddddd"),
            ["aaaaa bbbbb ccccc", "ddddd"],
        )
        self.assertEqual(wrap("123456789 1234567890"), ["123456789 1234567890"])
        self.assertEqual(
            wrap("1234567890 1234567890"),
            ["1234567890", "1234567890"],
        )


class ShortenTest(TestCase):
    def test_fits(self):
        self.assertEqual(shorten("abcdef", 6), "abcdef")

    def test_cut(self):
        self.assertEqual(shorten("abcdefgh", 6), "abcd..")

    def test_cut_at_space(self):
        self.assertEqual(shorten("abc defgh", 6), "abc..")

    def test_own_mark(self):
        self.assertEqual(shorten("abcdef", 4, "*"), "abc*")


class CentreTest(TestCase):
    def test_even(self):
        self.assertEqual(centre("ab", 6), "  ab  ")

    def test_odd(self):
        self.assertEqual(centre("ab", 5), " ab  ")

    def test_fill(self):
        self.assertEqual(centre("x", 3, "-"), "-x-")

    def test_full(self):
        self.assertEqual(centre("abc", 3), "abc")

    def test_too_long(self):
        self.assertEqual(centre("abcd", 2, "-"), "abcd")


class DedentTest(TestCase):
    def test_common(self):
        self.assertEqual(dedent(["  a", "  b"]), ["a", "b"])

    def test_deeper(self):
        self.assertEqual(dedent(["  a", "    b"]), ["a", "  b"])

    def test_blank_rows(self):
        self.assertEqual(dedent(["  a", "", "   b"]), ["a", "", " b"])

    def test_empty(self):
        self.assertEqual(dedent([]), [])
        self.assertEqual(dedent([""]), [""])
