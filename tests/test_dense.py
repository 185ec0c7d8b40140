"""The dense head: the slides' network, its training, and what it leaves alone."""

import pickle
import random
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator

from pipeline.heads import make_head

# Each fit traces a network for half a second: these checks are of input handling that all heads share,
# and run on the others, or of what a test below looks at more closely.
ELSEWHERE = {
    "check_classifiers_classes",
    "check_fit_idempotent",
    "check_classifier_data_not_an_array",
    "check_dtype_object",
    "check_estimators_dtypes",
    "check_estimators_nan_inf",
    "check_estimators_overwrite_params",
    "check_f_contiguous_array_estimator",
    "check_fit2d_1feature",
    "check_n_features_in",
    "check_pipeline_consistency",
    "check_positive_only_tag_during_fit",
    "check_supervised_y_2d",
}
CHECKS = [
    check
    for _, check in estimator_checks_generator(make_head("dense"))
    if check.func.__name__ not in ELSEWHERE and not check.keywords.keys() & {"readonly_memmap", "X_dtype"}
]


def features(n=200, classes=2, shape=(2, 2, 8), seed=0, scale=1.0):
    """Features that a head can tell apart, as a store hands them out."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    X = rng.normal(size=(n, *shape)) + 3 * np.eye(shape[-1])[y][:, None, None, :]
    return (scale * np.maximum(X, 0)).astype(np.float16), y


def small(**params):
    return make_head("dense", **{"units": (8,), "epochs": 3, "learning_rate": 0.05} | params)


@pytest.fixture(scope="module")
def fitted():
    X, y = features()
    return small().fit(X[:150], y[:150], validation_data=(X[150:], y[150:]))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.func.__name__)
def test_dense_keeps_the_contract_of_scikit_learn(check):
    check(make_head("dense", units=(8,), epochs=5, learning_rate=0.05))


def test_making_a_dense_head_does_not_import_tensorflow():
    code = "import sys; from pipeline.heads import make_head; make_head('dense'); print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_the_head_of_the_slides_to_the_last_weight():
    X = np.zeros((2, 4, 4, 512), dtype=np.float16)
    head = make_head("dense", epochs=1).fit(X, [0, 1])
    counts = {layer.name: layer.count_params() for layer in head.model_.layers}
    assert counts == {"flatten": 0, "dense_1": 409_650, "dense_2": 1_275, "probability": 26}
    assert head.count_parameters() == 410_951
    assert [layer.activation.__name__ for layer in head.model_.layers[1:]] == ["relu", "relu", "sigmoid"]


def test_it_learns_and_keeps_a_history(fitted):
    X, y = features(seed=1)
    assert fitted.score(X, y) > 0.9
    assert {name: len(values) for name, values in fitted.history_.items()} == {
        "loss": 3,
        "accuracy": 3,
        "val_loss": 3,
        "val_accuracy": 3,
    }
    assert fitted.history_["loss"][2] < fitted.history_["loss"][0]


def test_the_sigmoid_is_the_probability_of_the_second_class(fitted):
    X, y = features()
    probabilities = fitted.predict_proba(X)
    np.testing.assert_allclose(probabilities[:, 1:], fitted.model_(X.astype(np.float32)).numpy(), rtol=1e-5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert probabilities[y == 1, 1].mean() > probabilities[y == 0, 1].mean() + 0.3


def test_more_classes_get_a_softmax():
    X, y = features(classes=3)
    names = np.array(["ape", "bee", "cat"])[y]
    head = small(epochs=8).fit(X, names)
    assert head.model_.layers[-1].activation.__name__ == "softmax"
    assert head.predict_proba(X).shape == (200, 3)
    assert np.mean(head.predict(X) == names) > 0.9


def test_the_same_random_state_gives_identical_weights():
    X, y = features()
    one, same, other = (small(dropout=0.2, random_state=state).fit(X, y).model_.get_weights() for state in (3, 3, 4))
    for a, b, c in zip(one, same, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_global_random_states_stay_as_they_were():
    X, y = features()
    np.random.seed(7)  # noqa: NPY002 - the legacy state is what must not change
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    small(dropout=0.2).fit(X, y).predict(X)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


def test_rows_come_in_a_new_order_each_epoch_and_each_once():
    from pipeline.heads.network import Batches

    batches = Batches(np.arange(10.0)[:, None], np.arange(10), batch_size=4, rng=np.random.default_rng(0))
    epochs = []
    for _ in range(2):
        batches.on_epoch_end()
        epochs.append([int(row) for index in range(len(batches)) for row in batches[index][1]])
    assert [len(batches[index][0]) for index in range(3)] == [4, 4, 2]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert epochs[0] != epochs[1]


def test_a_row_gets_the_same_numbers_whatever_stands_beside_it(fitted):
    X, _ = features(n=300)
    whole = fitted.predict_proba(X)
    np.testing.assert_array_equal(fitted.predict_proba(X[137:138]), whole[137:138])
    np.testing.assert_array_equal(fitted.predict_proba(X[::-1]), whole[::-1])


def test_predicting_any_number_of_rows_traces_once(fitted):
    X, _ = features(n=300)
    for n in (1, 7, 128, 300):
        fitted.predict(X[:n])
    assert fitted.model_.predict_function.experimental_get_tracing_count() == 1


def test_a_float16_array_is_never_copied_as_a_whole():
    X = np.zeros((2000, 4, 4, 64), dtype=np.float16)  # 4 MB
    small(epochs=1).fit(X[:4], [0, 1, 0, 1])  # what Keras allocates once
    tracemalloc.start()
    try:
        small(epochs=1, batch_size=100).fit(X, np.arange(2000) % 2).predict(X)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < X.nbytes


@pytest.mark.parametrize("validated", [True, False])
def test_patience_goes_back_to_the_best_epoch(validated):
    X, y = features()
    noise = np.random.default_rng(0).integers(0, 2, 100)
    head = small(epochs=60, patience=2, learning_rate=0.05)
    head.fit(X[:100], noise, validation_data=(X[100:], y[100:]) if validated else None)
    losses = head.history_["val_loss" if validated else "loss"]
    assert len(losses) == int(np.argmin(losses)) + 3 < 60
    if validated:
        of_truth = np.clip(head.predict_proba(X[100:])[np.arange(100), y[100:]], 1e-7, 1)
        assert -np.log(of_truth).mean() == pytest.approx(min(losses), rel=1e-3)


def test_every_epoch_is_reported():
    X, y = features()
    reports = []
    head = small().fit(X, y, on_epoch=lambda epoch, scores: reports.append((epoch, scores)))
    assert [epoch for epoch, _ in reports] == [1, 2, 3]
    assert [scores["loss"] for _, scores in reports] == head.history_["loss"]


def test_validation_rows_of_an_unknown_class_are_left_out_with_a_warning(caplog):
    X, y = features()
    y_validation = np.where(np.arange(50) < 10, 2, y[150:])
    head = small(epochs=1).fit(X[:150], y[:150], validation_data=(X[150:], y_validation))
    alone = small(epochs=1).fit(X[:150], y[:150], validation_data=(X[160:], y[160:]))
    assert head.history_ == alone.history_
    assert "10 validation rows are of classes that were not trained on" in caplog.text


def test_balanced_class_weights_find_more_of_the_rare_class():
    y = (np.arange(400) % 10 == 0).astype(int)
    X = np.random.default_rng(0).normal(size=(400, 1, 1, 4)) + 0.7 * y[:, None, None, None]
    plain, weighted = (small(class_weight=weight, epochs=10).fit(X, y) for weight in (None, "balanced"))
    assert weighted.predict(X)[y == 1].mean() > plain.predict(X)[y == 1].mean() + 0.2


@pytest.mark.parametrize("scale", [0.01, 100.0, 5000.0])
def test_features_of_any_usual_size_are_learned_without_scaling(scale):
    X, y = features(n=600, scale=scale)
    head = make_head("dense", epochs=20, learning_rate=1e-3).fit(X, y)
    assert np.isfinite(head.history_["loss"]).all()
    assert head.score(X, y) > 0.9


def test_it_says_nothing(capfd):
    X, y = features()
    capfd.readouterr()
    small().fit(X, y).predict(X)
    assert capfd.readouterr().out == ""


def test_a_clone_keeps_every_parameter():
    head = make_head("dense", units=(7, 3), dropout=0.1, epochs=2, patience=1, class_weight="balanced", random_state=5)
    assert clone(head).get_params() == head.get_params()


def test_a_pickled_head_predicts_the_same(fitted):
    X, _ = features()
    copy = pickle.loads(pickle.dumps(fitted))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(copy.predict_proba(X), fitted.predict_proba(X))
