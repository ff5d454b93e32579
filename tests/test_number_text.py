"""Numbers in words: short where they can be, never rounded."""

import math

import pytest

from nearsight._description import text
from nearsight.storage import number_text, rounded


@pytest.mark.parametrize(
    ("x", "text"),
    [(1.0, "1"), (-3.5, "-3.5"), (1e-6, "1e-06"), (0.1 + 0.2, "0.30000000000000004"), (7, "7"), (math.nan, "nan")],
)
def test_numbers_are_as_short_as_they_can_be(x, text):
    assert number_text(x) == text


def test_every_number_reads_back_as_itself():
    for x in (math.pi, 1 / 3, 1e300 / 7, 5e-324, -math.inf, 1 - 2**-53, 12345678.0):
        assert float(number_text(x)) == x


def test_several_numbers_stand_in_parentheses():
    assert text((2.0,)) == "2" and text((1, 0, -0.85)) == "(1, 0, -0.85)"


@pytest.mark.parametrize(
    ("x", "text"),
    [(1000.0, "1000"), (5000, "5000"), (116.0, "116"), (116.27, "116"), (0.012345, "0.0123")],
)
def test_numbers_for_the_eye_have_three_digits_and_no_needless_exponent(x, text):
    assert rounded(x) == text
