"""Which samples a student places otherwise than its teacher."""

import pytest
import torch
from scipy.stats import spearmanr

from distill.evaluation.embeddings import misplaced, nearest, reference, row_spearman, samples
from distill.tasks.similarity import cosines
from distill.training.roles import BASELINE, STUDENT, TEACHER, Role, RoleKind


def test_rho_of_each_sample_is_scipys():
    torch.manual_seed(0)
    student, teacher = torch.randn(20, 5), torch.randn(20, 7)
    student[3:6] = student[2]  # equal cosines share their mean rank
    found = row_spearman(student, teacher)
    for row in range(20):
        others = [i for i in range(20) if i != row]
        expected = spearmanr(cosines(student)[row, others], cosines(teacher)[row, others]).statistic
        assert float(found[row]) == pytest.approx(expected)


def test_the_nearest_is_another_sample():
    rows, values = nearest(torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0]]))
    assert rows.tolist() == [1, 0, 1]
    assert float(values[0]) == pytest.approx(2 / (4 + 0.01) ** 0.5)


def test_the_sample_that_was_moved_comes_first():
    angle = torch.linspace(0, 1.5, 12)
    teacher = torch.stack([angle.cos(), angle.sin()], 1)
    student = teacher.clone()
    student[3] = -teacher[3]
    among = torch.arange(1, 11)
    found = misplaced({TEACHER: teacher, STUDENT: student}, among, shown=4)
    assert found.positions[0] == 3
    assert found.spearman == sorted(found.spearman)
    assert found.nearest[TEACHER][0][0] in (2, 4)
    assert found.nearest[STUDENT][0][0] == 10
    first = samples(found, lambda position: {"index": 100 + position})[0]
    assert first["index"] == 103
    assert first["student"]["nearest"] == {"index": 110}


def test_few_samples_have_no_neighbourhood():
    one = torch.eye(3)
    assert misplaced({TEACHER: one, STUDENT: one}, torch.arange(3), 5).positions == []


def test_the_last_teacher_is_the_reference():
    assistant = Role(RoleKind.ASSISTANT, 1)
    assert reference({TEACHER: 0, assistant: 0, STUDENT: 0, BASELINE: 0}) == assistant
