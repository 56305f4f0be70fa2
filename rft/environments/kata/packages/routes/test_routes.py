from unittest import TestCase

from routes import clean, suffix, shared, matches


class CleanTest(TestCase):
    def test_plain(self):
        self.assertEqual(clean("a/b"), "a/b")

    def test_double_slash(self):
        self.assertEqual(clean("a//b/"), "a/b")

    def test_dot(self):
        self.assertEqual(clean("./a/./b"), "a/b")

    def test_up(self):
        self.assertEqual(clean("a/../b"), "b")

    def test_up_too_far(self):
        self.assertEqual(clean("../a"), "a")


class SuffixTest(TestCase):
    def test_plain(self):
        self.assertEqual(suffix("a/b.txt"), "txt")

    def test_upper(self):
        self.assertEqual(suffix("X.PNG"), "png")

    def test_last_dot(self):
        self.assertEqual(suffix("a.tar.gz"), "gz")

    def test_hidden(self):
        self.assertEqual(suffix(".env"), "")

    def test_none(self):
        self.assertEqual(suffix("a.b/c"), "")


class SharedTest(TestCase):
    def test_folder(self):
        self.assertEqual(shared("a/b/c", "a/b/d"), "a/b")

    def test_same(self):
        self.assertEqual(shared("a/b", "a/b"), "a/b")

    def test_nothing(self):
        self.assertEqual(shared("a/b", "c/b"), "")

    def test_shorter(self):
        self.assertEqual(shared("a", "a/b"), "a")


class MatchesTest(TestCase):
    def test_equal(self):
        self.assertIs(matches("a/b", "a/b"), True)

    def test_star(self):
        self.assertIs(matches("a/b", "a/*"), True)

    def test_other(self):
        self.assertIs(matches("a/b", "a/c"), False)

    def test_one_wrong(self):
        self.assertIs(matches("x/b", "a/*"), False)

    def test_length(self):
        self.assertIs(matches("a/b", "a"), False)
        self.assertIs(matches("a", "a/*"), False)
