from unittest import TestCase

from versions import parse, compare, bump, compatible


class ParseTest(TestCase):
    def test_three(self):
        self.assertEqual(parse("1.4.2"), (1, 4, 2))

    def test_short(self):
        self.assertEqual(parse("2.1"), (2, 1, 0))

    def test_prefix(self):
        self.assertEqual(parse("v3.0.1"), (3, 0, 1))

    def test_suffix(self):
        self.assertEqual(parse("1.2.3-rc1"), (1, 2, 3))

    def test_too_long(self):
        self.assertEqual(parse("1.2.3.4"), (1, 2, 3))


class CompareTest(TestCase):
    def test_older(self):
        self.assertEqual(compare("1.2", "1.10"), -1)

    def test_newer(self):
        self.assertEqual(compare("2.0", "1.9.9"), 1)

    def test_equal(self):
        self.assertEqual(compare("1.0", "1.0.0"), 0)

    def test_patch(self):
        self.assertEqual(compare("1.0.1", "1.0.2"), -1)


class BumpTest(TestCase):
    def test_patch(self):
        self.assertEqual(bump("1.2.3"), "1.2.4")

    def test_minor(self):
        self.assertEqual(bump("1.2.3", "minor"), "1.3.0")

    def test_major(self):
        self.assertEqual(bump("1.2.3", "major"), "2.0.0")

    def test_from_short(self):
        self.assertEqual(bump("4", "minor"), "4.1.0")


class CompatibleTest(TestCase):
    def test_same(self):
        self.assertIs(compatible("1.2", "1.2.0"), True)

    def test_newer_minor(self):
        self.assertIs(compatible("1.2", "1.5"), True)

    def test_older(self):
        self.assertIs(compatible("1.5", "1.2"), False)

    def test_other_major(self):
        self.assertIs(compatible("1.2", "2.3"), False)

    def test_zero_major(self):
        self.assertIs(compatible("0.2", "0.3"), False)
        self.assertIs(compatible("0.2", "0.2.5"), True)
