import io
import json

import pytest
from rich.console import Console

from distill.training import summary as summaries
from distill.training.closing_table import table
from distill.training.roles import Role
from distill.training.summary import Scores
from distill.utils.errors import UserError
from distill.utils.measurements import Size, Speed
from summaries import epoch, student, summary, teacher, write_summary

SMALL = {"size": Size(100, 250, 800), "speed": Speed(1.0, 250.0, 64)}
TEACHER = teacher("big", test=0.8)
STUDENT = student(
    last=epoch(9, test=0.76, agreement=0.85), best=epoch(7, test=0.77, weights="student-best.safetensors"), **SMALL
)


def shown(**models):
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(table(summary(**models)))
    return console.export_text()


def test_ratios():
    assert vars(summary(teacher=TEACHER, student=STUDENT).ratios) == pytest.approx(
        {"score_relative_to_teacher": 0.95, "parameters": 4, "macs": 4, "bytes": 2, "latency": 3, "throughput": 2.5}
    )
    assert summary(student=STUDENT).ratios is None


def test_table_shows_both_side_by_side():
    text = shown(teacher=TEACHER, student=STUDENT)
    for part in ("big", "small", "80.00 %", "76.00 %", "95.00 %", "77.00 %", "last epoch (9)",
                 "best epoch (7 of 9)", "85.00 %", "4.00 x",
                 "3.00 x faster", "throughput, batch 64"):  # fmt: skip
        assert part in text


def test_the_best_epoch_is_the_result_where_its_weights_were_kept():
    both = student(last=epoch(9, test=0.76, weights="student-last.safetensors"), best=epoch(7, test=0.77), **SMALL)
    assert (both.kept, both.test["acc"], summary(teacher=TEACHER, student=both).ratios.score_relative_to_teacher) == (
        both.best, 0.77, 0.77 / 0.8)  # fmt: skip
    rows = [line for line in shown(teacher=TEACHER, student=both).splitlines() if "test top-1" in line]
    for part in ("best epoch (7 of 9)", "80.00 %", "77.00 %", "96.25 %"):
        assert part in rows[0]
    assert "last epoch (9)" in rows[1]
    assert "76.00 %" in rows[1]
    assert "80.00 %" not in rows[1]


def test_large_ratios_are_whole_numbers():
    tiny = student(size=Size(100, 250, 800), speed=Speed(0.002, 1e6, 64))
    text = shown(teacher=TEACHER, student=tiny)
    assert "1,500 x faster" in text
    assert "10,000 x faster" in text
    assert "4.00 x smaller" in text


def test_table_of_one():
    assert "teacher" not in shown(student=STUDENT)
    assert "student" not in shown(teacher=TEACHER)


def test_write_is_whole(tmp_path):
    write_summary(tmp_path, student=STUDENT)
    assert json.loads((tmp_path / "summary.json").read_text())["student"]["name"] == "small"
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_what_is_written_is_read(tmp_path):
    int8 = {split: Scores(acc=0.5) for split in ("val", "test")}
    last = summaries.EpochScores(9, "student.safetensors", Scores(acc=0.7), Scores(acc=0.6, top5=0.9), int8)
    full = student(last=last, best=last, train=Scores(loss=1.0), partial_train=True, teacher_cache=({"found": 1},))
    models = {Role.parse(name): student(name) for name in ("assistant_1", "peer_1", "peer_2")}
    models |= {Role.parse("teacher"): TEACHER, Role.parse("teacher_2"): TEACHER, Role.parse("student"): full}
    written = summary(config={"kd": {"terms": None}}, models=models)
    summaries.write(written, tmp_path)
    found = summaries.read(tmp_path)
    assert found == written
    assert [str(role) for role in found.models] == [
        "teacher",
        "teacher_2",
        "assistant_1",
        "student",
        "peer_1",
        "peer_2",
    ]
    assert found.student.test.get("top5") == 0.9
    assert found.student.test.get("agreement") is None


def test_a_student_says_only_what_it_has():
    node = summary(student=student()).as_json()
    assert set(node["student"]) == {"last", "name", *vars(Size(1, 1, 1)), *vars(Speed(1, 1, 1))}
    assert set(node["student"]["last"]) == {"epoch", "weights", "val", "test"}
    assert (node["schema_version"], node["ratios"]) == (1, None)


def test_a_summary_without_a_version_is_read(tmp_path):
    config = {"kd": {"terms": {"ft": {"preparation": {"epochs": 1}}, "kd": {"preparation": None}}}}
    node = summary(teacher=TEACHER, student=STUDENT, config=config).as_json()
    del node["schema_version"]
    (tmp_path / "summary.json").write_text(json.dumps(node))
    terms = summaries.read(tmp_path).config["kd"]["terms"]
    assert terms == {"ft": {"pretraining": {"epochs": 1}}, "kd": {"pretraining": None}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"student": {"last"', "is not what a run of this version wrote: "),
        ("[]", "is not what a run of this version wrote: "),
        ("\xff", "is not what a run of this version wrote: "),
        ('{"mine": 1}', "it holds no model"),
        ('{"student": {"last": {"epoch": 1}}}', "missing"),
        ('{"schema_version": 2}', "its schema_version is 2, and this version reads up to 1"),
        ('{"schema_version": "new"}', "its schema_version is new"),
    ],
)
def test_other_files_are_refused_in_one_line(text, message, tmp_path):
    (tmp_path / "summary.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=message) as caught:
        summaries.read(tmp_path)
    assert str(tmp_path / "summary.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_summary_that_lacks_something_is_refused(tmp_path):
    whole = summary(teacher=TEACHER, student=STUDENT).as_json()
    for path in (("seed",), ("config",), ("data", "fingerprint"), ("student", "last", "weights"), ("teacher", "macs")):
        node = json.loads(json.dumps(whole))
        *above, key = path
        inner = node
        for each in above:
            inner = inner[each]
        del inner[key]
        (tmp_path / "summary.json").write_text(json.dumps(node))
        with pytest.raises(UserError, match=f"is not what a run of this version wrote: .*'{key}'"):
            summaries.read(tmp_path)
