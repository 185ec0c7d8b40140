"""Scores of a head, compared with scores worked out by hand."""

import json
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import HeadError
from pipeline.evaluation import Evaluation, evaluate


class IdentityHead:
    """A head whose predictions are X itself."""

    def __init__(self, classes=(0, 1), names=None):
        self.classes_ = np.array(classes)
        if names:
            self.class_names_ = list(names)

    def predict(self, X):
        return np.asarray(X)


class ProbabilityHead(IdentityHead):
    """A head of two classes; X is the probability of the second one."""

    def predict(self, X):
        return self.classes_[(np.asarray(X) > 0.5).astype(int)]

    def predict_proba(self, X):
        return np.stack([1 - X, X], axis=1)


Y = np.array([0, 0, 0, 1, 1, 1, 1, 1])
PREDICTED = np.array([0, 0, 1, 1, 1, 1, 1, 0])


def test_scores_agree_with_scores_worked_out_by_hand():
    evaluation = evaluate(IdentityHead(names=["cat", "dog"]), PREDICTED, Y)
    assert evaluation.confusion.tolist() == [[2, 1], [1, 4]]
    assert evaluation.accuracy == 6 / 8
    assert evaluation.balanced_accuracy == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert evaluation.auc is None
    assert (evaluation.n, evaluation.classes) == (8, ("cat", "dog"))
    cat, dog = evaluation.per_class
    assert cat == {
        "class": "cat",
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(2 / 3),
        "n": 3,
    }
    assert dog == {"class": "dog", "precision": 4 / 5, "recall": 4 / 5, "f1": pytest.approx(4 / 5), "n": 5}


def test_auc_is_the_share_of_pairs_in_the_right_order():
    evaluation = evaluate(ProbabilityHead(), np.array([0.1, 0.4, 0.6, 0.3, 0.9]), np.array([0, 0, 0, 1, 1]))
    assert evaluation.auc == pytest.approx(4 / 6)


def test_auc_uses_the_decision_function_if_the_head_has_one():
    head = ProbabilityHead()
    head.decision_function = lambda X: -X
    assert evaluate(head, np.array([0.1, 0.9]), np.array([0, 1])).auc == 0


def test_scores_lie_within_their_intervals():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=400)
    evaluation = evaluate(ProbabilityHead(), np.clip(rng.normal(0.3 + 0.4 * y, 0.3), 0, 1), y)
    for score, (low, high) in (
        (evaluation.accuracy, evaluation.accuracy_interval),
        (evaluation.auc, evaluation.auc_interval),
    ):
        assert low < score < high
        assert 0.02 < high - low < 0.12


def test_repeated_rows_of_a_group_do_not_narrow_the_intervals():
    X, y = np.array([0.1, 0.9, 0.2, 0.8, 0.6, 0.7]), np.array([0, 1, 0, 1, 0, 1])
    groups = np.repeat(np.arange(6), 50)
    once, often = evaluate(ProbabilityHead(), X, y), evaluate(ProbabilityHead(), X[groups], y[groups], groups=groups)
    assert once.accuracy_interval == pytest.approx(often.accuracy_interval)
    assert once.auc_interval == pytest.approx(often.auc_interval)


def test_auc_interval_is_none_without_an_auc():
    evaluation = evaluate(IdentityHead(names=["cat", "dog"]), PREDICTED, Y)
    assert evaluation.auc_interval is None
    assert evaluation.accuracy_interval is not None


def test_auc_is_none_for_one_class_and_for_three():
    assert evaluate(ProbabilityHead(), np.array([0.1, 0.9]), np.array([1, 1])).auc is None
    assert evaluate(ProbabilityHead(), np.array([0.1, 0.9]), np.array([0, 1]), classes=["a", "b", "c"]).auc is None


@pytest.mark.parametrize("missing_in", ["training", "validation", "predictions"])
def test_a_missing_class_keeps_its_row_and_column(missing_in):
    names = ["ape", "bee", "cat"]
    head = IdentityHead(classes=(0, 2) if missing_in == "training" else (0, 1, 2), names=names)
    y = np.array([0, 2, 2]) if missing_in == "validation" else np.array([0, 1, 2, 2])
    predicted = np.array([0, 1, 2]) if missing_in == "validation" else np.array([0, 0, 2, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluation = evaluate(head, predicted, y)
    assert evaluation.classes == ("ape", "bee", "cat")
    if missing_in == "validation":
        assert evaluation.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 1]]
        assert evaluation.balanced_accuracy == pytest.approx((1 + 1 / 2) / 2)
    else:
        assert evaluation.confusion.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 2]]
        assert evaluation.balanced_accuracy == pytest.approx(2 / 3)


def test_labels_serve_as_names_if_there_are_no_class_names():
    evaluation = evaluate(
        IdentityHead(("cat", "dog")), np.array(["cat", "dog", "dog"]), np.array(["cat", "cat", "eel"])
    )
    assert evaluation.classes == ("cat", "dog", "eel")
    assert evaluation.confusion.tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0]]


def test_given_names_override_those_of_the_head():
    assert evaluate(IdentityHead(names=["cat", "dog"]), PREDICTED, Y, classes=["chat", "chien"]).classes == (
        "chat",
        "chien",
    )


def test_a_label_that_is_no_index_of_a_class_is_an_error():
    with pytest.raises(HeadError, match=r"labels \[2\] are not indices of the 2 classes"):
        evaluate(IdentityHead(names=["cat", "dog"]), np.array([0, 1, 1]), np.array([0, 1, 2]))


def test_no_rows_are_an_error():
    with pytest.raises(HeadError, match="no rows"):
        evaluate(IdentityHead(), np.zeros(0), np.zeros(0))


def test_to_json_holds_all_attributes():
    evaluation = evaluate(ProbabilityHead(names=["cat", "dog"]), np.array([0.1, 0.9]), np.array([0, 1]))
    assert json.loads(json.dumps(evaluation.to_json())) == {
        "accuracy": 1.0,
        "accuracy_interval": [1.0, 1.0],
        "balanced_accuracy": 1.0,
        "auc": 1.0,
        "auc_interval": [1.0, 1.0],
        "n": 2,
        "classes": ["cat", "dog"],
        "per_class": [
            {"class": "cat", "precision": 1.0, "recall": 1.0, "f1": 1.0, "n": 1},
            {"class": "dog", "precision": 1.0, "recall": 1.0, "f1": 1.0, "n": 1},
        ],
        "confusion": [[1, 0], [0, 1]],
    }


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.5, "high", None, [1]])
def test_from_json_accepts_scores_only(value):
    document = evaluate(ProbabilityHead(names=["cat", "dog"]), np.array([0.1, 0.9]), np.array([0, 1])).to_json()
    assert Evaluation.from_json(document).to_json() == document
    with pytest.raises((TypeError, ValueError)):
        Evaluation.from_json({**document, "accuracy": value})
    with pytest.raises((TypeError, ValueError)):
        Evaluation.from_json({**document, "accuracy_interval": [0, value]})


def test_str_is_a_table_of_all_scores():
    X = np.repeat([0.1, 0.9, 0.2, 0.8], [900, 100, 50, 950])
    y = np.repeat([0, 1], 1000)
    evaluation = replace(evaluate(ProbabilityHead(names=["cat", "wolfhound"]), X, y), auc_interval=(0.88149, 0.91851))
    low, high = evaluation.accuracy_interval
    assert str(evaluation).splitlines() == [
        f"2,000 images: accuracy 0.9250 [{low:.3f}, {high:.3f}], balanced 0.9250, AUC 0.9000 [0.881, 0.919]",
        "class      precision  recall      f1  images",
        "cat           0.9474  0.9000  0.9231   1,000",
        "wolfhound     0.9048  0.9500  0.9268   1,000",
        "true \\ predicted  cat  wolfhound",
        "cat               900        100",
        "wolfhound          50        950",
    ]


def test_str_omits_the_confusion_matrix_of_many_classes():
    y = np.arange(13)
    text = str(evaluate(IdentityHead(y, names=[f"class{n}" for n in y]), y, y))
    assert len(text.splitlines()) == 1 + 1 + 13


def test_importing_it_imports_neither_tensorflow_nor_scikit_learn():
    code = "import sys, pipeline.evaluation; print({'sklearn', 'keras', 'tensorflow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
