from unittest import TestCase

from digits import digit_sum, is_prime, divisors, luhn


class DigitSumTest(TestCase):
    def test_decimal(self):
        self.assertEqual(digit_sum(1234), 10)

    def test_binary(self):
        self.assertEqual(digit_sum(7, 2), 3)

    def test_with_zero(self):
        self.assertEqual(digit_sum(101), 2)

    def test_zero(self):
        self.assertEqual(digit_sum(0), 0)


class IsPrimeTest(TestCase):
    def test_small(self):
        self.assertIs(is_prime(2), True)
        self.assertIs(is_prime(3), True)

    def test_larger(self):
        self.assertIs(is_prime(29), True)

    def test_even(self):
        self.assertIs(is_prime(10), False)
        self.assertIs(is_prime(4), False)

    def test_square(self):
        self.assertIs(is_prime(49), False)

    def test_below_two(self):
        self.assertIs(is_prime(1), False)
        self.assertIs(is_prime(0), False)


class DivisorsTest(TestCase):
    def test_twelve(self):
        self.assertEqual(divisors(12), [1, 2, 3, 4, 6, 12])

    def test_prime(self):
        self.assertEqual(divisors(7), [1, 7])

    def test_square(self):
        self.assertEqual(divisors(16), [1, 2, 4, 8, 16])

    def test_one(self):
        self.assertEqual(divisors(1), [1])


class LuhnTest(TestCase):
    def test_good(self):
        self.assertIs(luhn("79927398713"), True)

    def test_wrong_digit(self):
        self.assertIs(luhn("79927398710"), False)

    def test_doubled(self):
        self.assertIs(luhn("18"), True)
        self.assertIs(luhn("59"), True)

    def test_short(self):
        self.assertIs(luhn("0"), True)
        self.assertIs(luhn("1"), False)
