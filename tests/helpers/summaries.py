"""Summaries of runs that never took place."""

from distill.training.roles import STUDENT, TEACHER
from distill.training.summary import (  # fmt: skip
    DataInfo,
    EpochScores,
    RunSummary,
    Scores,
    StudentResult,
    TeacherResult,
    write,
)
from distill.utils.measurements import Hardware, Size, Speed

SIZE, SPEED = Size(400, 1000, 1600), Speed(3.0, 100.0, 64)


def teacher(name="big", val=0.8, test=0.8, **changes):
    """A teacher's entry with its accuracies."""
    scores = {"val": Scores(acc=val), "test": Scores(acc=test)}
    facts = {"name": name, "size": SIZE, "speed": SPEED, "origin": "trained", "path": None, **scores}
    return TeacherResult(**facts | changes)


def epoch(number=9, val=0.7, test=0.7, weights="student.safetensors", **more):
    """A student's entry "last" or "best"; ``more`` are metrics on the test split."""
    return EpochScores(number, weights, Scores(acc=val), Scores(acc=test, **more))


def kept(node):
    """The entry of a student in ``summary.json``, "best" or "last", whose weights the run kept."""
    return next(node[key] for key in ("best", "last") if node.get(key, {}).get("weights") == "student.safetensors")


def student(name="small", **changes):
    """A student's entry."""
    return StudentResult(**{"name": name, "size": SIZE, "speed": SPEED, "last": epoch(), **changes})


def summary(config=None, student=None, teacher=None, **changes):
    """A run with a student, a teacher, or both."""
    models = {role: model for role, model in ((TEACHER, teacher), (STUDENT, student)) if model is not None}
    facts = {
        "models": models, "seed": 0,
        "data": DataInfo("digits", 2, ["a", "b"], {}, 9, 9, 9, [], True, "0", channels=1, image_size=8),
        "precision": "32-true", "wall_s": 10.0, "resumed": False, "versions": {},
        "hardware": Hardware("cpu", "a processor", 2, 1, "Linux", "here", 1, None), "git_commit": None,
        "command": "python train.py", "config": config or {},
    }  # fmt: skip
    return RunSummary(**facts | changes)


def write_summary(folder, **settings):
    """``summary.json`` of :func:`summary`."""
    folder.mkdir(parents=True, exist_ok=True)
    write(summary(**settings), folder)
