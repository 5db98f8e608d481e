"""Other data's targets by the outputs of a run."""

from types import SimpleNamespace

import pytest
import torch

from distill.evaluation.match_outputs import match_outputs
from distill.utils.errors import UserError


def matched(labels, names, outputs, targets="classes", needs_all=False):
    dataset = SimpleNamespace(labels=torch.tensor(labels))
    found = match_outputs(dataset, names, outputs, targets, "mine", needs_all)
    assert dataset.labels.tolist() == labels  # the source's own object stays as it is
    return found.labels.tolist()


def test_the_same_name_is_the_same_class():
    assert matched([0, 1, 1], ["dog", "cat"], ["cat", "dog"]) == [1, 0, 0]
    assert matched([0, 2], ["bird", "cat", "dog"], ["dog", "bird"]) == [1, 0]  # no sample is a cat
    assert matched([1, 0], ["a", "b"], ["a", "b"]) == [1, 0]


def test_tags_of_words():
    dataset = SimpleNamespace(tags=torch.tensor([0, 1, 0]), labels=torch.zeros(1))
    found = match_outputs(dataset, ["O", "B-X"], ["O", "B-Y", "B-X"], "tokens", "mine", False)
    assert found.tags.tolist() == [0, 2, 0]
    with pytest.raises(UserError, match=r"the tags of data=mine \(2\) are not .*only there: B-X; only in the run: B-Z"):
        match_outputs(dataset, ["O", "B-X"], ["O", "B-Z"], "tokens", "mine", False)


def test_columns_of_labels_and_numbers():
    assert matched([[1.0, 0.0], [0.0, 1.0]], ["a", "b"], ["b", "c", "a"], "multilabel") == [[0, 0, 1], [1, 0, 0]]
    assert matched([[1.5, 2.5]], ["age", "size"], ["size", "age"], "numbers", True) == [[2.5, 1.5]]
    with pytest.raises(UserError, match=r"the labels of data=mine \(2\) .*only there: none; only in the run: c"):
        matched([[1.0, 0.0]], ["a", "b"], ["b", "c", "a"], "multilabel", True)
    with pytest.raises(
        UserError, match=r"the numbers of data=mine \(1\) are not those of the run \(1\): only there: age"
    ):
        matched([[0.0]], ["age"], ["size"], "numbers", True)


def test_what_the_run_does_not_know():
    outputs = [f"known {i}" for i in range(7)]
    with pytest.raises(UserError, match=r"only there: bird; only in the run: known 0, .*, known 4, \.\.\.") as caught:
        matched([0], ["bird"], outputs)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="have one name twice: rename one"):
        matched([0], ["a", "a"], ["b", "a"])
