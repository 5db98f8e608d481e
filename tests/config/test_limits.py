"""Arguments beyond what anybody means are one line before anything is read."""

import pytest

from distill.config import limits
from distill.utils.errors import UserError


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("kd.T=" + 300 * "[" + 300 * "]", r"kd\.T=\.\.\. is nested 300 deep; at most 40"),
        ("kd" + 60 * ".x" + "=1", "is nested 61 deep"),
        ("seed=" + 301 * "9", r"seed=\.\.\. has a number of 301 digits; at most 300"),
        ("seed=" + 300 * "9_" + "9", "has a number of 301 digits"),
        ("kd=" + 9_998 * "a", r"kd=\.\.\. has 10001 characters; at most 10000: .* --config-dir"),
        ("=1,2", "'=1,2' is no key=value"),
        ("++=x", r"'\+\+=x' is no key=value"),
    ],
)
def test_what_is_refused(argument, message):
    with pytest.raises(UserError, match=message):
        limits.check(["model=resnet8", argument])


def test_many_arguments_have_a_limit_together():
    with pytest.raises(UserError, match="the arguments have more characters; at most 20000"):
        limits.check(["kd=" + 3_997 * "a"] * 6)
    limits.check(["kd=" + 3_997 * "a"] * 5)
    with pytest.raises(UserError, match="more than 500 arguments"):
        limits.check(["seed=1"] * 501)
    limits.check(["seed=1"] * 500)


def test_what_passes():
    limits.check(["kd.T=" + 40 * "[" + 40 * "]", "seed=" + 300 * "9", "kd=" + 9_997 * "a", "-m", "x=", "data.root=a=b"])
    limits.check(["kd.T=" + 100 * "[]"])  # beside one another
