from unittest import TestCase

from lexer import read_number, split_words, balanced, unquote


class ReadNumberTest(TestCase):
    def test_whole(self):
        self.assertEqual(read_number("42"), (42, 2))

    def test_stops(self):
        self.assertEqual(read_number("12ab"), (12, 2))

    def test_from_start(self):
        self.assertEqual(read_number("a7b", 1), (7, 2))

    def test_no_digit(self):
        self.assertIsNone(read_number("ab"))

    def test_at_end(self):
        self.assertIsNone(read_number("a", 1))


class SplitWordsTest(TestCase):
    def test_spaces(self):
        self.assertEqual(split_words("one two"), ["one", "two"])

    def test_underscore(self):
        self.assertEqual(split_words("a_b c"), ["a_b", "c"])

    def test_signs(self):
        self.assertEqual(split_words("x+=(y1)"), ["x", "y1"])

    def test_at_edges(self):
        self.assertEqual(split_words(" a "), ["a"])

    def test_empty(self):
        self.assertEqual(split_words(""), [])


class BalancedTest(TestCase):
    def test_nested(self):
        self.assertIs(balanced("([a])"), True)

    def test_crossed(self):
        self.assertIs(balanced("([)]"), False)

    def test_left_open(self):
        self.assertIs(balanced("((a)"), False)

    def test_closed_first(self):
        self.assertIs(balanced(")("), False)

    def test_own_pairs(self):
        self.assertIs(balanced("<a>", "<", ">"), True)
        self.assertIs(balanced("<a", "<", ">"), False)


class UnquoteTest(TestCase):
    def test_double(self):
        self.assertEqual(unquote('"ab"'), "ab")

    def test_single(self):
        self.assertEqual(unquote("'a'"), "a")

    def test_plain(self):
        self.assertEqual(unquote("abc"), "abc")
        self.assertEqual(unquote("a"), "a")

    def test_empty(self):
        self.assertEqual(unquote('""'), "")

    def test_newline(self):
        self.assertEqual(unquote('"a\\nb"'), "a\nb")

    def test_open_quote(self):
        with self.assertRaises(ValueError):
            unquote('"abc')
