import json

import pytest
from rich.console import Console

from distill.training.summary import ratios, table, write

SPEED = {"parameters": 400, "macs": 1000, "bytes": 1600, "latency_ms": 3.0, "throughput": 100.0, "batch": 64}
TEACHER = {"name": "big", "test": {"acc": 0.8, "top5": 0.99}, **SPEED}
STUDENT = {
    "name": "small",
    "last": {"epoch": 9, "test": {"acc": 0.76, "top5": 0.98, "agreement": 0.85}},
    "best": {"epoch": 7, "test": {"acc": 0.77, "agreement": 0.86}},
    **{**SPEED, "parameters": 100, "macs": 250, "bytes": 800, "latency_ms": 1.0, "throughput": 250.0},
}


def report(**roles):
    return {
        **roles,
        "ratios": ratios(roles),
        "data": {"name": "digits"},
        "seed": 0,
        "precision": "32-true",
        "hardware": {"device": "cpu"},
    }


def shown(**roles):
    console = Console(width=140, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(table(report(**roles)))
    return console.export_text()


def test_ratios():
    assert ratios({"teacher": TEACHER, "student": STUDENT}) == pytest.approx(
        {"accuracy_kept": 0.95, "parameters": 4, "macs": 4, "bytes": 2, "latency": 3, "throughput": 2.5}
    )
    assert ratios({"student": STUDENT}) is None


def test_table_shows_both_side_by_side():
    text = shown(teacher=TEACHER, student=STUDENT)
    for part in ("big", "small", "80.00 %", "76.00 %", "95.00 % kept", "77.00 %", "(7 of 9)", "85.00 %", "4.00 x",
                 "3.00 x faster", "throughput, batch 64"):  # fmt: skip
        assert part in text


def test_table_of_one():
    assert "teacher" not in shown(student=STUDENT)
    assert "student" not in shown(teacher=TEACHER)


def test_write_is_whole(tmp_path):
    write(report(student=STUDENT), tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text())["student"]["name"] == "small"
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]
