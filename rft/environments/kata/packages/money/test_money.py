from unittest import TestCase

from money import parse_cents, show_cents, split_bill, add_tax, make_change


class ParseCentsTest(TestCase):
    def test_whole(self):
        self.assertEqual(parse_cents("12"), 1200)

    def test_cents(self):
        self.assertEqual(parse_cents("3.45"), 345)

    def test_one_place(self):
        self.assertEqual(parse_cents("0.5"), 50)

    def test_negative(self):
        self.assertEqual(parse_cents("-2.25"), -225)

    def test_third_place(self):
        self.assertEqual(parse_cents("1.239"), 123)


class ShowCentsTest(TestCase):
    def test_small(self):
        self.assertEqual(show_cents(105), "$1.05")

    def test_thousands(self):
        self.assertEqual(show_cents(1234567), "$12,345.67")

    def test_negative(self):
        self.assertEqual(show_cents(-250), "-$2.50")

    def test_own_symbol(self):
        self.assertEqual(show_cents(99, "E"), "E0.99")

    def test_zero(self):
        self.assertEqual(show_cents(0), "$0.00")


class SplitBillTest(TestCase):
    def test_even(self):
        self.assertEqual(split_bill(90, 3), [30, 30, 30])

    def test_one_over(self):
        self.assertEqual(split_bill(100, 3), [34, 33, 33])

    def test_two_over(self):
        self.assertEqual(split_bill(101, 3), [34, 34, 33])

    def test_alone(self):
        self.assertEqual(split_bill(7, 1), [7])


class AddTaxTest(TestCase):
    def test_plain(self):
        self.assertEqual(add_tax(1000, 10), 1100)

    def test_rounds_up(self):
        self.assertEqual(add_tax(105, 10), 116)

    def test_rounds_down(self):
        self.assertEqual(add_tax(104, 10), 114)

    def test_capped(self):
        self.assertEqual(add_tax(1000, 20, 150), 1150)

    def test_below_cap(self):
        self.assertEqual(add_tax(1000, 10, 150), 1100)


class MakeChangeTest(TestCase):
    def test_mixed(self):
        self.assertEqual(make_change(75), {50: 1, 20: 1, 5: 1})

    def test_several(self):
        self.assertEqual(make_change(43), {20: 2, 1: 3})

    def test_exact(self):
        self.assertEqual(make_change(50), {50: 1})
        self.assertEqual(make_change(10), {10: 1})

    def test_own_coins(self):
        self.assertEqual(make_change(9, (4, 1)), {4: 2, 1: 1})

    def test_nothing(self):
        self.assertEqual(make_change(0), {})
