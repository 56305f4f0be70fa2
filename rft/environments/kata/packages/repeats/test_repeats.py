from unittest import TestCase

from repeats import encode, decode, longest_run, squeeze


class EncodeTest(TestCase):
    def test_repeats(self):
        self.assertEqual(encode("aab"), [("a", 2), ("b", 1)])

    def test_single(self):
        self.assertEqual(encode("abc"), [("a", 1), ("b", 1), ("c", 1)])

    def test_comes_back(self):
        self.assertEqual(encode("aba"), [("a", 1), ("b", 1), ("a", 1)])

    def test_long(self):
        self.assertEqual(encode("zzzz"), [("z", 4)])

    def test_empty(self):
        self.assertEqual(encode(""), [])


class DecodeTest(TestCase):
    def test_counts(self):
        self.assertEqual(decode("3a2b"), "aaabb")

    def test_no_count(self):
        self.assertEqual(decode("ab"), "ab")

    def test_two_digits(self):
        self.assertEqual(decode("12x"), "x" * 12)

    def test_after_count(self):
        self.assertEqual(decode("2ab"), "aab")


class LongestRunTest(TestCase):
    def test_middle(self):
        self.assertEqual(longest_run([1, 2, 2, 2, 3, 3]), 3)

    def test_at_end(self):
        self.assertEqual(longest_run([1, 2, 2]), 2)

    def test_all_same(self):
        self.assertEqual(longest_run([7, 7, 7, 7]), 4)

    def test_wraps_not(self):
        self.assertEqual(longest_run([5, 1, 5]), 1)

    def test_empty(self):
        self.assertEqual(longest_run([]), 0)


class SqueezeTest(TestCase):
    def test_spaces(self):
        self.assertEqual(squeeze("a   b"), "a b")

    def test_letters_kept(self):
        self.assertEqual(squeeze("aabb"), "aabb")

    def test_own_char(self):
        self.assertEqual(squeeze("a--b--", "-"), "a-b-")

    def test_at_start(self):
        self.assertEqual(squeeze("  a"), " a")
