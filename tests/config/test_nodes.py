"""What Hydra reads beside ``_target_``."""

import pytest

from distill.config import schema
from distill.config.validation import check
from distill.utils.errors import UserError
from jobs import composed


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer._partial_=null", "optimizer._partial_ must be true or false, got None"),
        ("+model._recursive_=3", "model._recursive_ must be true or false, got 3"),
        ("+model._convert_=some", "model._convert_=some is unknown"),
        ("+model._args_=1", "model._args_ must be a list, got 1"),
        ("kd.flow=NONE", r"kd.flow must be null or \{_target_: .*got 'NONE'"),
        ("kd.ensemble=mean", "kd.ensemble must be null or .*got 'mean'"),
        ("kd.ensemble={T:1}", "kd.ensemble must be null or"),
        ("+callbacks.x.foo=1", r"callbacks.x must be null or \{_target_: .*got \{'foo': 1\}"),
        ("+callbacks.x=5", "callbacks.x must be null or .*got 5"),
        ("+logger.x=[1]", r"logger.x must be null or .*got \[1\]"),
        ("trainer.max_epochs=1" + 30 * "0", r"trainer.max_epochs must be a whole number of at most 2\^53"),
    ],
)
def test_a_wrong_value_is_named(override, message):
    with pytest.raises(UserError, match=message):
        check(schema.typed(composed(override)))


def test_right_ones_pass():
    check(
        schema.typed(composed("+model._convert_=all", "+model._args_=[]", "kd.flow=null", "trainer.max_epochs=1000000"))
    )
