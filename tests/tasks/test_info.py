"""Names and directions of metrics."""

from dataclasses import asdict
from math import nan

import pytest

from distill.tasks.info import CLASSIFICATION, Metric, TaskInfo

RMSE, ACC = Metric("rmse", "RMSE", "min", "number"), Metric("acc", "top-1")


def test_a_metric_knows_which_value_is_better():
    assert RMSE.is_better(1.0, 2.0)
    assert not RMSE.is_better(2.0, 1.0)
    assert ACC.is_better(0.9, 0.8)
    assert ACC.is_better(0.1, nan)
    assert not RMSE.is_better(nan, 3.0)


def test_shares_are_shown_in_percent_and_numbers_are_not():
    assert (ACC.display(0.5), RMSE.display(12.34567), RMSE.display(None)) == ("50.00 %", "12.35", "")
    assert (ACC.difference(0.5, 0.25), RMSE.difference(1.0, 1.5)) == ("+25.00 points", "-0.5")


def test_info_of_a_summary():
    assert TaskInfo.from_json(asdict(CLASSIFICATION)) == CLASSIFICATION
    with pytest.raises(ValueError, match="no metric 'f1'"):
        TaskInfo.from_json({**asdict(CLASSIFICATION), "score": "f1"})
