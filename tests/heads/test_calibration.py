"""Probabilities of the heads that only give scores."""

import logging

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import log_loss

from pipeline import HeadError, load_head, make_head, save_head

HEADS = [("svm", {"C": 0.01}), ("ridge", {})]


def blobs(labels: tuple[int, ...], rows: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Classes that overlap, as features of shape (2, 2, 5)."""
    rng = np.random.default_rng(seed)
    y = rng.choice(labels, rows)
    return (rng.normal(0, 2, (rows, 2, 2, 5)) + y[:, None, None, None]).astype(np.float32), y


@pytest.mark.parametrize(("name", "params"), HEADS)
@pytest.mark.parametrize("labels", [(0, 1), (0, 2), (0, 1, 2), (1, 3, 4)])
def test_the_most_probable_class_is_the_predicted_one_and_that_of_the_largest_score(name, params, labels):
    X, y = blobs(labels)
    head = make_head(name, **params).fit(X, y)
    probabilities, scores = head.predict_proba(X), head.decision_function(X)
    assert probabilities.shape == (len(X), len(labels)) and np.allclose(probabilities.sum(axis=1), 1, atol=1e-12)
    best = scores.argmax(axis=1) if len(labels) > 2 else (scores > 0).astype(int)
    np.testing.assert_array_equal(head.classes_, labels)
    np.testing.assert_array_equal(head.predict(X), head.classes_[best])
    np.testing.assert_array_equal(head.predict(X), head.classes_[probabilities.argmax(axis=1)])


@pytest.mark.parametrize(("name", "params"), HEADS)
def test_labels_with_a_gap_give_the_probabilities_of_labels_without(name, params):
    X, y = blobs((0, 1, 2))
    plain, gaps = make_head(name, **params).fit(X, y), make_head(name, **params).fit(X, np.array([0, 4, 9])[y])
    np.testing.assert_array_equal(gaps.predict_proba(X), plain.predict_proba(X))
    np.testing.assert_array_equal(gaps.predict(X), np.array([0, 4, 9])[plain.predict(X)])


@pytest.mark.parametrize(("name", "params"), HEADS)
def test_class_weights_by_label_reach_their_class_where_labels_have_a_gap(name, params):
    X, y = blobs((0, 1))
    plain = make_head(name, class_weight={0: 50.0, 1: 2.0}, **params).fit(X, y)
    gaps = make_head(name, class_weight={1: 50.0, 2: 2.0}, **params).fit(X, y + 1)
    np.testing.assert_array_equal(gaps.predict_proba(X), plain.predict_proba(X))
    with pytest.raises(HeadError, match="class_weight"):
        make_head(name, class_weight={0: 50.0}, **params).fit(X, y + 1)


@pytest.mark.parametrize(("name", "params"), HEADS)
def test_new_rows_have_a_lower_log_loss_than_at_half_or_double_the_temperature(name, params):
    X, y = blobs((0, 1), 2000)
    new, truth = blobs((0, 1), 2000, seed=1)
    head = make_head(name, **params).fit(X, y)
    scores = 2 * head.inverse_temperature_ * head.decision_function(new)
    losses = [log_loss(truth, 1 / (1 + np.exp(-scores * factor))) for factor in (0.5, 1.0, 2.0)]
    assert losses[1] == min(losses)
    assert losses[1] == pytest.approx(log_loss(truth, head.predict_proba(new)), rel=1e-5)


@pytest.mark.parametrize(("name", "params"), HEADS)
def test_a_class_with_a_single_image_gives_a_warning(name, params, caplog):
    X, y = blobs((0, 1), 40)
    y[:] = 0
    y[0] = 1
    with caplog.at_level(logging.WARNING):
        head = make_head(name, **params).fit(X, y)
    assert "overconfident" in caplog.text
    assert np.isfinite(head.predict_proba(X)).all()


@pytest.mark.parametrize(("name", "params"), HEADS)
def test_a_saved_head_keeps_its_probabilities(name, params, tmp_path):
    X, y = blobs((0, 2))
    head = make_head(name, **params).fit(X, y)
    save_head(head, tmp_path / name, classes=["a", "b", "c"], fingerprint="f" * 64)
    loaded = load_head(tmp_path / name)
    np.testing.assert_array_equal(loaded.predict_proba(X), head.predict_proba(X))
    np.testing.assert_array_equal(loaded.decision_function(X), head.decision_function(X))


class TestUntrustedFile:
    def load(self, head, tmp_path):
        save_head(head, tmp_path, classes=["a", "b"], fingerprint="f" * 64)
        return load_head(tmp_path)

    def test_another_classifier_inside_is_refused(self, tmp_path):
        X, y = blobs((0, 1))
        head = make_head("ridge").fit(X, y)
        forest = RandomForestClassifier(2).fit(X.mean(axis=(1, 2)), y)
        head.pipeline_["classify"].calibrated_classifiers_[0].estimator = forest
        with pytest.raises(HeadError, match="another classifier"):
            self.load(head, tmp_path)

    def test_several_classifiers_inside_are_refused(self, tmp_path):
        head = make_head("ridge").fit(*blobs((0, 1)))
        head.pipeline_["classify"].calibrated_classifiers_ *= 2
        with pytest.raises(HeadError, match="no model of a ridge head"):
            self.load(head, tmp_path)

    def test_a_head_without_calibration_is_to_be_trained_again(self, tmp_path):
        head = make_head("ridge").fit(*blobs((0, 1)))
        head.pipeline_.steps[-1] = ("classify", head.linear_)
        with pytest.raises(HeadError, match=r"without calibration.*train it again"):
            self.load(head, tmp_path)

    def test_the_folds_are_not_saved(self, tmp_path):
        head = make_head("svm", C=0.01).fit(*blobs((0, 1)))
        assert self.load(head, tmp_path).pipeline_["classify"].cv is None
