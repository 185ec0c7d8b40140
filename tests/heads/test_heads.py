"""The table of heads, pooling, and the six heads on scikit-learn classifiers."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from pipeline.errors import HeadError
from pipeline.heads import HEADS, head_class, head_names, head_params, make_head, rows_on_demand
from pipeline.heads.logistic_svm_ridge import ridge_errors
from pipeline.heads.pooling import Pool
from pipeline.heads.shared_features import SharedFeatures

SMALL = {
    "logistic": {"C": 1.0, "n_jobs": 1},
    "svm": {"C": 1.0, "n_jobs": 1},
    "ridge": {},
    "knn": {"k": 3, "n_jobs": 1},
    "forest": {"n_estimators": 10, "n_jobs": 1},
    "mlp": {"units": (10,)},
}


def features(n=120, classes=2, shape=(2, 2, 16), seed=0):
    """Features that a head can tell apart, as a store hands them out."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    X = rng.normal(size=(n, *shape)) + 4 * np.eye(shape[-1])[y][:, None, None, :]
    return np.maximum(X, 0).astype(np.float16), y


class ReadRows:
    """Rows on demand that record which rows are read."""

    def __init__(self, X):
        self.X, self.shape, self.dtype, self.reads = X, X.shape, X.dtype, []

    def __len__(self):
        return len(self.X)

    def __getitem__(self, rows):
        self.reads.append(np.arange(len(self.X))[rows])
        return self.X[rows]


@parametrize_with_checks([make_head(name, **params) for name, params in SMALL.items()])
def test_heads_keep_the_contract_of_scikit_learn(estimator, check):
    check(estimator)


def test_importing_the_table_imports_neither_tensorflow_nor_scikit_learn():
    code = (
        "import sys, pipeline.heads as h; h.head_names(); print({'sklearn', 'keras', 'tensorflow'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_every_class_in_the_table_knows_its_name():
    assert [head_class(name).name for name in head_names()] == list(HEADS)


def test_every_random_head_is_seeded_by_default():
    states = {name: head_params(name).get("random_state", "none") for name in head_names()}
    assert states == dict.fromkeys(HEADS, 0) | {"ridge": "none"}


def test_an_unknown_head_is_refused_with_the_closest_name_first():
    with pytest.raises(HeadError, match="no head is called 'logstic'; there are logistic, dense, svm"):
        make_head("logstic")


def test_an_unknown_parameter_is_refused_with_the_closest_name_first():
    with pytest.raises(HeadError, match="forest has no parameter 'n_estimator'; it has n_estimators, max_depth"):
        make_head("forest", n_estimator=3)


@pytest.mark.parametrize("name", ["knn", "mlp"])
def test_heads_without_class_weights_say_so(name):
    with pytest.raises(HeadError, match=f"{name} takes no class weights"):
        make_head(name, class_weight="balanced")


@pytest.mark.parametrize("name", SMALL)
def test_heads_learn_from_a_read_only_float16_memory_map(name, tmp_path):
    X, y = features()
    np.save(tmp_path / "X.npy", X)
    stored = np.load(tmp_path / "X.npy", mmap_mode="r")
    head = make_head(name, **SMALL[name]).fit(stored[:80], y[:80])
    assert head.score(stored[80:], y[80:]) > 0.9
    assert (head.n_features_in_, head.feature_shape_) == (64, (2, 2, 16))


@pytest.mark.parametrize("name", SMALL)
def test_heads_take_labels_of_text_and_more_than_two_classes(name):
    X, y = features(classes=3)
    names = np.array(["ape", "bee", "cat"])
    head = make_head(name, **SMALL[name]).fit(X, names[y])
    assert head.classes_.tolist() == ["ape", "bee", "cat"]
    assert np.mean(head.predict(X) == names[y]) > 0.9


@pytest.mark.parametrize("name", ["logistic", "svm", "knn", "forest", "mlp"])
def test_the_same_random_state_gives_the_same_head(name):
    X, y = features()
    params = {param: value for param, value in SMALL[name].items() if param not in ("C", "k")}
    first, second = (make_head(name, **params).fit(X, y) for _ in range(2))
    scores = "predict_proba" if hasattr(first, "predict_proba") else "decision_function"
    np.testing.assert_array_equal(getattr(first, scores)(X), getattr(second, scores)(X))


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("logistic", {"predict_proba", "decision_function"}),
        ("svm", {"predict_proba", "decision_function"}),
        ("ridge", {"predict_proba", "decision_function"}),
        ("knn", {"predict_proba"}),
        ("forest", {"predict_proba"}),
        ("mlp", {"predict_proba"}),
    ],
)
def test_heads_have_the_score_methods_of_their_classifier(name, methods):
    assert {method for method in ("predict_proba", "decision_function") if hasattr(make_head(name), method)} == methods


@pytest.mark.parametrize("name", ["logistic", "svm", "ridge", "forest"])
def test_balanced_class_weights_find_more_of_the_rare_class(name):
    rng = np.random.default_rng(0)
    y = (np.arange(400) % 10 == 0).astype(int)
    X = rng.normal(size=(400, 1, 1, 4)) + 0.7 * y[:, None, None, None]
    params = SMALL[name] | ({"min_samples_leaf": 20} if name == "forest" else {})
    plain, weighted = (make_head(name, class_weight=weight, **params).fit(X, y) for weight in (None, "balanced"))
    assert weighted.predict(X)[y == 1].mean() > plain.predict(X)[y == 1].mean() + 0.2


def test_heads_count_what_they_learned():
    X, y = features(n=60)  # 16 numbers a row after pooling, 32 in the scaler
    counts = {name: make_head(name, **params).fit(X, y).count_parameters() for name, params in SMALL.items()}
    nodes = counts.pop("forest")
    assert counts == {
        "logistic": 32 + 16 + 1,
        "svm": 32 + 16 + 1 + 1,
        "ridge": 32 + 16 + 1 + 1,
        "knn": 32 + 60 * 16 + 60,
        "mlp": 32 + 16 * 10 + 10 + 10 + 1,
    }
    assert nodes >= 3 * 10


class TestSearch:
    @pytest.mark.parametrize(("name", "param"), [("logistic", "C"), ("svm", "C"), ("ridge", "alpha"), ("knn", "k")])
    def test_a_parameter_left_open_is_the_best_of_those_tried(self, name, param):
        X, y = features()
        head = make_head(name).fit(X, y)
        best = max(head.search_, key=lambda tried: tried["score"])
        classifier = getattr(head, "linear_", head.pipeline_["classify"])
        assert len(head.search_) > 3
        assert getattr(classifier, {"k": "n_neighbors"}.get(param, param)) == best[param]

    def test_features_are_pooled_once_and_not_in_every_fold(self, monkeypatch):
        calls = []
        transform = Pool.transform
        monkeypatch.setattr(Pool, "transform", lambda pool, X: calls.append(len(X)) or transform(pool, X))
        make_head("logistic", n_jobs=1).fit(*features(n=50))
        assert calls == [50]

    def test_features_are_scaled_once_and_not_in_every_fold(self, monkeypatch):
        fits = []
        partial_fit = StandardScaler.partial_fit
        monkeypatch.setattr(
            StandardScaler, "partial_fit", lambda scaler, X: fits.append(len(X)) or partial_fit(scaler, X)
        )
        make_head("svm").fit(*features(n=50))
        assert fits == [50]

    def test_a_given_parameter_is_not_searched(self):
        head = make_head("logistic", C=0.25).fit(*features())
        assert (head.search_, head.pipeline_["classify"].C) == ([], 0.25)

    def test_threads_choose_the_same_as_one_thread(self):
        X, y = features(n=60, classes=3)
        serial, parallel = (make_head("logistic", n_jobs=jobs).fit(X, y) for jobs in (1, 2))
        assert parallel.search_ == serial.search_
        np.testing.assert_array_equal(parallel.predict_proba(X), serial.predict_proba(X))

    def test_there_are_fewer_folds_where_a_class_is_small(self, monkeypatch):
        from sklearn.model_selection import StratifiedKFold

        folds = []
        split = StratifiedKFold.split
        monkeypatch.setattr(
            StratifiedKFold, "split", lambda cv, *a, **k: folds.append(cv.n_splits) or split(cv, *a, **k)
        )
        X, _ = features(n=23)
        make_head("knn", n_jobs=1).fit(X, np.arange(23) < 3)
        assert set(folds) == {3}

    @pytest.mark.parametrize(("name", "value"), [("logistic", "C=1"), ("knn", "k=1")])
    def test_a_class_of_one_image_leaves_the_default_with_a_warning(self, name, value, caplog):
        X, _ = features(n=20)
        y = np.arange(20) == 3
        head = make_head(name, n_jobs=1).fit(X, y)
        assert head.search_ == []
        assert f"{name}: no two folds (cv=5) have images of every class, so {value} is used" in caplog.text

    def test_knn_tries_no_more_neighbours_than_a_fold_has_rows(self):
        head = make_head("knn", cv=2, n_jobs=1).fit(*features(n=20))
        assert [tried["k"] for tried in head.search_] == [9, 5, 3, 1]

    def test_balanced_weights_are_searched_by_balanced_accuracy(self):
        X, y = features(n=60)
        X[:] = 1  # nothing to learn: whatever C, half the recall and most of the accuracy
        y[:] = np.arange(60) < 12
        (score,) = {tried["score"] for tried in make_head("svm", class_weight="balanced", n_jobs=1).fit(X, y).search_}
        assert score == 0.5


def test_mlp_runs_enough_epochs_to_learn_a_small_set():
    X, y = features(n=60)
    assert make_head("mlp", units=(10,)).fit(X, y).score(X, y) > 0.8


def test_mlp_trains_without_holding_out_where_rows_are_few(caplog):
    X, y = features(n=12)
    head = make_head("mlp").fit(X, y)
    assert head.pipeline_["classify"].early_stopping is False
    assert "too few to hold a tenth out" in caplog.text


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("logistic", {"C": -1.0}),
        ("svm", {"C": 0.0}),
        ("ridge", {"alpha": -2.0}),
        ("knn", {"k": 0}),
        ("knn", {"k": 500}),
        ("forest", {"n_estimators": "many"}),
        ("mlp", {"learning_rate": 0.0}),
        ("logistic", {"class_weight": {7: 2.0}}),
        ("forest", {"random_state": "seed"}),
    ],
)
def test_a_parameter_out_of_range_is_a_head_error_in_the_words_of_scikit_learn(name, params):
    with pytest.raises(HeadError, match=f"{name} cannot be trained: ") as caught:
        make_head(name, **params).fit(*features())
    assert isinstance(caught.value.__cause__, ValueError | TypeError)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["forest", "ridge"])
def test_features_that_are_not_finite_are_refused(name, bad):
    X, y = features()
    head = make_head(name, **SMALL[name]).fit(X, y)
    X[70, 1, 0, 3] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        make_head(name, **SMALL[name]).fit(X, y)
    with pytest.raises(ValueError, match="NaN or infinity"):
        head.predict(X)


def test_rows_of_another_shape_are_refused_with_both_shapes():
    X, y = features()
    head = make_head("ridge").fit(X, y)
    with pytest.raises(ValueError, match=r"rows of shape \(4, 1, 16\).*fitted on \(2, 2, 16\)"):
        head.predict(X.reshape(-1, 4, 1, 16))
    with pytest.raises(ValueError, match=r"rows of shape \(64,\)"):
        head.predict(X.reshape(-1, 64))


def test_fault_37_one_class_is_refused():
    X, _ = features()
    with pytest.raises(ValueError, match="all 120 labels are of one class, 1; a head needs two"):
        make_head("ridge").fit(X, np.ones(120, dtype=int))


def test_a_clone_keeps_every_parameter():
    head = make_head("forest", n_estimators=7, max_depth=2, pool="max", class_weight="balanced", n_jobs=1)
    assert clone(head).get_params() == head.get_params()


class TestSharedFeatures:
    @pytest.mark.parametrize("how", ["avg", "max", "flatten"])
    def test_heads_trained_together_are_those_trained_alone(self, how):
        X, y = features(n=60)
        shared, scored = SharedFeatures(X[:40]), SharedFeatures(X[40:])
        for name, params in SMALL.items():
            together = make_head(name, **params, pool=how).fit(shared, y[:40])
            alone = make_head(name, **params, pool=how).fit(X[:40], y[:40])
            scores = "predict_proba" if hasattr(alone, "predict_proba") else "decision_function"
            np.testing.assert_array_equal(getattr(together, scores)(X[40:]), getattr(alone, scores)(X[40:]))
            np.testing.assert_array_equal(together.predict(scored), alone.predict(X[40:]))

    def test_several_heads_read_and_scale_them_once(self, monkeypatch):
        monkeypatch.setattr(rows_on_demand, "BLOCK", 64 * 7)
        X, y = features(n=50)
        read = ReadRows(X)
        shared = SharedFeatures(read)
        first, *others = [make_head("logistic", C=C).fit(shared, y).pipeline_["scale"] for C in (0.1, 1.0, 10.0)]
        make_head("forest", n_estimators=3).fit(shared, y)
        assert all(other is first for other in others)
        assert np.concatenate(read.reads).tolist() == list(range(50))

    def test_scaling_leaves_the_callers_array_alone(self):
        X = np.random.default_rng(0).normal(5, 3, size=(40, 3)).astype(np.float32)
        before = X.copy()
        scaler, scaled = SharedFeatures(X).scaled("avg")
        np.testing.assert_array_equal(X, before)
        np.testing.assert_allclose(scaled, StandardScaler().fit_transform(X), atol=1e-5)
        np.testing.assert_allclose(scaler.transform(X), scaled, atol=1e-6)

    def test_what_was_pooled_stays_as_it_was_when_it_is_scaled(self):
        shared = SharedFeatures(features(n=30)[0])
        pooled = shared.pooled("avg").copy()
        shared.scaled("avg")
        np.testing.assert_array_equal(shared.pooled("avg"), pooled)

    @pytest.mark.parametrize("name", SMALL)
    def test_rows_read_on_demand_make_the_same_head(self, name):
        X, y = features(n=60)
        read, whole = (make_head(name, **SMALL[name]).fit(given, y) for given in (ReadRows(X), X))
        np.testing.assert_array_equal(read.predict(ReadRows(X)), whole.predict(X))
        assert read.feature_shape_ == whole.feature_shape_

    def test_rows_and_labels_must_have_one_length(self):
        X, y = features(n=30)
        with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[30, 29\]"):
            make_head("ridge").fit(ReadRows(X), y[1:])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(30, 5), (12, 20)])
def test_the_errors_of_ridge_are_those_of_a_fit_per_fold_and_alpha(shape, weighted):
    rng = np.random.default_rng(0)
    X, targets = rng.normal(2, 1, size=shape), rng.choice([-1.0, 1.0], size=(shape[0], 2))
    weights = rng.uniform(0.5, 2, size=shape[0]) if weighted else np.ones(shape[0])
    splits = list(StratifiedKFold(3).split(X, targets[:, 0]))
    alphas = (100.0, 1.0, 0.1)
    expected = []
    for alpha in alphas:
        errors = []
        for train, test in splits:
            ridge = Ridge(alpha=alpha).fit(X[train], targets[train], sample_weight=weights[train])
            squares = (targets[test] - ridge.predict(X[test])) ** 2
            errors.append(np.average(squares.mean(axis=1), weights=weights[test]))
        expected.append(np.mean(errors))
    np.testing.assert_allclose(ridge_errors(X, targets, weights, alphas, splits), expected, rtol=1e-8)


class TestPool:
    @pytest.mark.parametrize("how", ["avg", "max"])
    def test_one_number_a_channel_in_float32(self, how, monkeypatch):
        monkeypatch.setattr(rows_on_demand, "BLOCK", 64 * 7)  # blocks of 7 rows, the last one of 1
        X, _ = features(n=50)
        pooled = Pool(how).fit_transform(X)
        expected = X.astype(np.float64)
        expected = expected.mean(axis=(1, 2)) if how == "avg" else expected.max(axis=(1, 2))
        assert pooled.dtype == np.float32
        np.testing.assert_allclose(pooled, expected, rtol=1e-6)

    def test_flatten_keeps_all_numbers(self):
        X, _ = features(n=5)
        flat = Pool("flatten").fit_transform(X)
        assert (flat.shape, flat.dtype) == ((5, 64), np.float32)
        np.testing.assert_array_equal(flat, X.reshape(5, 64))

    @pytest.mark.parametrize("how", ["avg", "max", "flatten"])
    def test_rows_read_on_demand_are_pooled_like_an_array(self, how, monkeypatch):
        monkeypatch.setattr(rows_on_demand, "BLOCK", 64 * 7)
        X, _ = features(n=20)
        read = ReadRows(X)
        np.testing.assert_array_equal(Pool(how).fit_transform(read), Pool(how).fit_transform(X))
        assert [len(block) for block in read.reads] == [7, 7, 6]

    def test_flat_features_pass_through(self):
        X = np.arange(6.0).reshape(2, 3)
        assert Pool("avg").fit_transform(X) is X

    def test_flat_float16_becomes_float32(self):
        assert Pool("avg").fit_transform(np.ones((2, 3), dtype=np.float16)).dtype == np.float32

    @pytest.mark.parametrize("how", ["avg", "max"])
    def test_a_float16_array_is_never_copied_as_a_whole(self, how, monkeypatch):
        monkeypatch.setattr(rows_on_demand, "BLOCK", 2**16)
        X = np.zeros((1000, 4, 4, 128), dtype=np.float16)  # 4 MB
        tracemalloc.start()
        try:
            Pool(how).fit_transform(X)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < X.nbytes / 2

    def test_an_unknown_way_of_pooling_is_an_error(self):
        with pytest.raises(HeadError, match="pool 'sum' is not one of avg, max, flatten"):
            make_head("ridge", pool="sum").fit(*features())
