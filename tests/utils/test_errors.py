"""The guesses at the end of an error line."""

import pytest

from distill.utils.errors import nearest

FEW, MANY = ["alpha", "beta"], [f"option{i}" for i in range(30)]


@pytest.mark.parametrize(
    ("name", "allowed", "end"),
    [
        ("alpah", FEW, "did you mean 'alpha'? Allowed: alpha, beta"),
        ("alpah", ["alpha"], "did you mean 'alpha'?"),
        ("alpha1", ["alpha2", "alpha3"], "did you mean 'alpha3' or 'alpha2'?"),
        ("zzz", FEW, "Allowed: alpha, beta"),
        ("zzz", [], "Allowed: none"),
        ("opton7", MANY, "did you mean 'option7' or 'option27' or 'option17'?"),
        (
            "zzz",
            MANY,
            "Allowed: option0, option1, option2, option3, option4, option5, option6, option7, ... (30 in all)",
        ),
    ],
)
def test_a_list_is_whole_or_says_that_it_is_not(name, allowed, end):
    """Where only the guesses fit, no list claims that nothing else is allowed."""
    assert nearest(name, allowed, shown=8) == end
