import pytest

from distill.training.roles import BASELINE, STUDENT, TEACHER, TEACHERS, Role, RoleKind

NAMES = ["teacher", "teacher_2", "teacher_10", "teachers", "assistant_1", "generation_1", "student", "peer_1", "alone"]


def test_every_spelling_comes_back():
    assert [str(Role.parse(name)) for name in NAMES] == NAMES


def test_the_order_of_columns():
    assert [str(role) for role in sorted(map(Role.parse, reversed(NAMES)))] == NAMES


def test_labels():
    assert [role.label for role in (TEACHER, Role(RoleKind.TEACHER, 2), TEACHERS, Role(RoleKind.PEER), STUDENT)] == [
        "teacher", "teacher 2", "teachers", "peer 1", "student",
    ]  # fmt: skip
    assert BASELINE.label == "student without distillation"


@pytest.mark.parametrize("name", ["", "data", "teacher_x", "Student"])
def test_other_words_are_no_roles(name):
    with pytest.raises(ValueError, match=r"."):
        Role.parse(name)
