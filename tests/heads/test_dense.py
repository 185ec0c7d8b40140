"""The dense head: the network of the slides, its training, and global state that stays unchanged."""

import pickle
import random
import signal
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator

from pipeline.errors import HeadError
from pipeline.heads import batches, make_head, rows_on_demand
from pipeline.heads.batches import LabelledRows, read_batches, shuffle_rows
from tests.heads.test_heads import ReadRows

# Each fit traces a network for half a second. These checks are left out, because they test the input
# handling that all heads share, and run on the others, or what a test below tests more closely.
LEFT_OUT = {
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
    if check.func.__name__ not in LEFT_OUT and not check.keywords.keys() & {"readonly_memmap", "X_dtype"}
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
    first, same, other = (small(dropout=0.2, random_state=state).fit(X, y).model_.get_weights() for state in (3, 3, 4))
    for a, b, c in zip(first, same, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_global_random_states_stay_as_they_were():
    X, y = features()
    np.random.seed(7)  # noqa: NPY002 - the legacy state is what must not change
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    small(dropout=0.2).fit(X, y).predict(X)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


class TestLikeKeras:
    """The results of `model.fit` on the same network, batches and order."""

    EPOCHS = 3

    @pytest.mark.parametrize(
        ("classes", "rows", "dropout", "weighted"),
        [(2, 160, 0.0, False), (2, 150, 0.0, True), (3, 150, 0.0, False), (3, 160, 0.0, True), (2, 150, 0.3, False)],
    )
    def test_losses_are_those_of_fit_to_four_digits(self, classes, rows, dropout, weighted):
        import keras

        from pipeline.heads.compiled_network import CompiledNetwork
        from pipeline.heads.dense_network import build_network
        from pipeline.heads.epoch_loop import EpochLoop

        X, y = features(n=200, classes=classes)
        targets = y[:, None].astype(np.float32) if classes == 2 else y
        weights = (np.random.default_rng(3).uniform(0.2, 3, 200) if weighted else np.ones(200)).astype(np.float32)

        def start():
            rng = np.random.default_rng(5)
            return build_network(X.shape[1:], classes, (8, 5), dropout, rng), rng

        model, rng = start()
        held_out = np.arange(rows, 200)
        loop = EpochLoop(CompiledNetwork(model, 0.01, batch_size=32), None, rng)
        loop.run(
            LabelledRows(X[:rows], np.arange(rows), targets[:rows], weights[:rows]),
            LabelledRows(X, held_out, targets, np.ones(200, np.float32)),
            self.EPOCHS,
        )
        theirs, rng = start()
        loss = "binary_crossentropy" if classes == 2 else "sparse_categorical_crossentropy"
        theirs.compile(keras.optimizers.Adam(0.01), loss=loss, metrics=["accuracy"])
        for epoch in range(self.EPOCHS):
            order = rng.permutation(rows)
            history = theirs.fit(
                X[order].astype(np.float32),
                targets[order],
                sample_weight=weights[order],
                validation_data=(X[held_out].astype(np.float32), targets[held_out]),
                batch_size=32,
                shuffle=False,
                verbose=0,
            ).history
            assert {name: values[epoch] for name, values in loop.history.items()} == {
                name: pytest.approx(value, rel=1e-4) for name, (value,) in history.items()
            }
        for ours, keras_weights in zip(model.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_allclose(ours, keras_weights, atol=2e-4)


def test_a_whole_training_traces_once(monkeypatch):
    from pipeline.heads import compiled_network

    traced, called = [], []
    step, read = compiled_network.Adam.step, compiled_network.read_batches
    monkeypatch.setattr(
        compiled_network.Adam, "step", lambda adam, gradients: traced.append(1) or step(adam, gradients)
    )
    monkeypatch.setattr(compiled_network, "read_batches", lambda *a: (called.append(1) or call for call in read(*a)))
    monkeypatch.setattr(batches, "MAX_STEPS", 2)
    X, y = features()
    small(batch_size=32).fit(X[:150], y[:150], validation_data=(X[150:], y[150:]))
    assert (len(traced), len(called)) == (1, 3 * (3 + 1))  # 64, 64 and 22 rows, then 50 to validate on


def test_ctrl_c_stops_within_an_epoch(monkeypatch):
    monkeypatch.setattr(batches, "READ_BYTES", 1)  # one batch of 32 rows per reading
    X, y = features()
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores SIGINT

    class Interrupted(ReadRows):
        def __getitem__(self, rows):
            if len(self.reads) == 1:
                signal.raise_signal(signal.SIGINT)
            return super().__getitem__(rows)

    read = Interrupted(X)
    try:
        with pytest.raises(KeyboardInterrupt):
            small().fit(read, y)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert len(read.reads) < 6


class TestOrder:
    def test_rows_of_an_array_come_in_any_order_each_epoch_and_each_once(self):
        X, rng = np.zeros((50, 3)), np.random.default_rng(0)
        first, second = (shuffle_rows(X, 4, rng).tolist() for _ in range(2))
        assert sorted(first) == sorted(second) == list(range(50))
        assert first != second != list(range(50))

    def test_rows_on_disk_come_in_runs_shuffled_among_themselves(self, monkeypatch):
        X = np.zeros((50, 3), dtype=np.float16)
        self.limit_readings(monkeypatch, X, n_batches=3)
        rng = np.random.default_rng(0)
        first, second = (shuffle_rows(ReadRows(X), 4, rng) for _ in range(2))
        assert sorted(first) == sorted(second) == list(range(50))
        assert first.tolist() != second.tolist()
        readings = [np.sort(first[start : start + 12]) for start in range(0, 50, 12)]
        for reading in readings:  # 12 rows lie in 4 runs of 3, or in 6 where one is cut at either end
            assert len(np.unique(reading // 3)) <= 6
        assert any(np.diff(reading).max() > 3 for reading in readings)  # from all parts of the store

    def test_a_call_takes_whole_batches_and_one_reading_is_read_ahead(self, monkeypatch):
        X = np.arange(150, dtype=np.float16).reshape(50, 3)
        self.limit_readings(monkeypatch, X, n_batches=3)
        monkeypatch.setattr(batches, "MAX_STEPS", 2)
        read, order = ReadRows(X), np.random.default_rng(0).permutation(50)
        sizes = []
        for rows, block in read_batches(read, order, 4):
            np.testing.assert_array_equal(block, X[rows])
            sizes.append(len(rows))
            assert len(np.concatenate(read.reads)) <= sum(sizes) + 2 * 12
        assert sizes == [8, 4, 8, 4, 8, 4, 8, 4, 2]
        np.testing.assert_array_equal(np.concatenate(read.reads), order)

    @staticmethod
    def limit_readings(monkeypatch, X, n_batches):
        """Read batches of 4 rows `n_batches` at a time, and runs of 3 rows."""
        monkeypatch.setattr(batches, "READ_BYTES", n_batches * 4 * X[0].nbytes)
        monkeypatch.setattr(batches, "RUN_BYTES", 3 * X[0].nbytes)


def test_rows_read_on_demand_train_the_same_head_again():
    X, y = features()
    read = small().fit(ReadRows(X[:150]), y[:150], validation_data=(ReadRows(X[150:]), y[150:]))
    assert read.score(ReadRows(X[150:]), y[150:]) > 0.9
    again = small().fit(ReadRows(X[:150]), y[:150])
    np.testing.assert_array_equal(again.predict_proba(X), read.predict_proba(X))


@pytest.mark.parametrize(
    ("param", "value", "message"),
    [
        ("epochs", 0, "epochs == 0, must be >= 1"),
        ("batch_size", 0, "batch_size == 0, must be >= 1"),
        ("learning_rate", 0.0, "learning_rate == 0.0, must be > 0"),
        ("patience", 0, "patience == 0, must be >= 1"),
        ("units", (-3,), "-3"),
        ("dropout", 2.0, "2.0"),
        ("class_weight", "heavy", "heavy"),
    ],
)
def test_a_parameter_out_of_range_is_a_head_error_that_names_it(param, value, message):
    with pytest.raises(HeadError, match=f"dense cannot be trained: .*{message}"):
        small(**{param: value}).fit(*features())


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError])
def test_an_error_of_a_callback_passes_through_unchanged(error):
    def on_epoch(epoch, scores):
        raise error("mine")

    with pytest.raises(error, match="mine"):
        small().fit(*features(), on_epoch=on_epoch)


def test_a_diverging_training_is_an_error_that_names_the_remedy():
    head = small(learning_rate=1e38, epochs=9)
    with pytest.raises(HeadError, match=r"diverged: (val_)?loss is nan after epoch \d; lower learning_rate"):
        head.fit(*features(), validation_data=features(seed=1))
    assert not hasattr(head, "model_")


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


def test_a_float16_array_is_never_copied_as_a_whole(monkeypatch):

    monkeypatch.setattr(batches, "CALL_BYTES", 2**20)
    monkeypatch.setattr(rows_on_demand, "BLOCK", 2**19)
    X = np.zeros((8000, 4, 4, 64), dtype=np.float16)  # 16 MB, and tracing takes 5
    small(epochs=1).fit(X[:4], [0, 1, 0, 1])  # what Keras allocates once
    tracemalloc.start()
    try:
        small(epochs=1, batch_size=100).fit(X, np.arange(8000) % 2).predict(X)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < X.nbytes


@pytest.mark.parametrize("views", [1, 2])
def test_held_out_rows_choose_the_epoch_and_are_not_trained_on(views):
    X, y = features()
    held_out = np.arange(200) % 10 < 2
    y = np.where(np.arange(200) % 20 == 0, 1 - y, y)  # wrong labels, all of them held out: their loss rises
    expected = small(epochs=20, patience=2).fit(X[~held_out], y[~held_out], validation_data=(X[held_out], y[held_out]))
    X, y, held_out = (np.concatenate([rows] * views) for rows in (X, y, held_out))
    head = small(epochs=20, patience=2)
    head.fit(X, y, held_out=held_out, images=np.tile(np.arange(200), views) if views > 1 else None)
    assert (head.epoch_chosen_on_, expected.epoch_chosen_on_) == ("train", "validation")
    assert len(head.history_["held_out_loss"]) < 20
    if views == 1:
        assert head.history_["held_out_loss"] == expected.history_["val_loss"]
        np.testing.assert_array_equal(head.predict_proba(X), expected.predict_proba(X))


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


def test_training_and_predicting_print_nothing(capfd):
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
