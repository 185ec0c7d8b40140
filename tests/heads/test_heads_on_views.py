"""Heads trained on views: copies stay with their image, and the images themselves are what is scored."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier

from pipeline import ConvBaseSpec, StoreError, extract_features, load_head, make_head, scan_images, train_heads
from pipeline.heads.grouping import check_groups, first_rows, folds, one_of_each
from pipeline.heads.linear import leave_one_out_errors
from pipeline.heads.metrics import read_metrics
from pipeline.training.memory import memory_needed
from tests.fakes import photo_folder

VIEWS = 4


def views_of_images(images: int = 40, width: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of images whose labels are noise, and near copies of them: view 0 of all, then view 1, ..."""
    rng = np.random.default_rng(seed)
    clean, y = rng.normal(size=(images, width)).astype(np.float32), np.arange(images) % 2
    X = np.concatenate([clean, *(clean + 0.01 * rng.normal(size=clean.shape) for _ in range(VIEWS - 1))])
    return X.astype(np.float32), np.tile(y, VIEWS), np.tile(np.arange(images), VIEWS)


def test_groups_are_numbered_as_they_first_appear():
    assert check_groups(["b", "a", "b", "c"], np.zeros(4)).tolist() == [0, 1, 0, 2]
    assert first_rows(np.array([0, 1, 0, 2]), 4).tolist() == [0, 1, 3]
    assert check_groups(None, np.zeros(4)) is None and first_rows(None, 3).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        check_groups([1, 2], np.zeros(4))


@pytest.mark.parametrize("partition", [False, True])
def test_no_fold_tears_an_image_apart_and_all_are_those_of_the_images_alone(partition):
    _, y, groups = views_of_images()
    alone = StratifiedKFold(5, shuffle=True, random_state=3).split(y[:40], y[:40])
    for (train, test), (images, held_out) in zip(folds(5, y, groups, 3, partition=partition), alone, strict=True):
        assert not set(groups[train]) & set(groups[test])
        assert sorted(set(groups[train])) == images.tolist() and len(train) == VIEWS * len(images)
        assert sorted(set(groups[test])) == held_out.tolist()
        assert len(test) == (VIEWS if partition else 1) * len(held_out)
        assert partition or test.tolist() == held_out.tolist()  # the images, none of their copies


def test_a_draw_takes_one_row_of_each_group_and_any_of_them():
    _, _, groups = views_of_images()
    rng = np.random.default_rng(0)
    draws = np.array([one_of_each(groups, rng) for _ in range(400)])
    assert (draws.reshape(400, VIEWS, 40).sum(axis=1) == 1).all()
    share = draws.mean(axis=0)
    assert 0.15 < share.min() and share.max() < 0.35  # noqa: SIM300


@pytest.mark.parametrize("name", ["logistic", "svm", "knn", "ridge"])
def test_a_search_does_not_learn_the_copies_by_heart(name):
    X, y, groups = views_of_images()
    torn, whole = make_head(name).fit(X, y), make_head(name).fit(X, y, groups=groups)
    score = {head: max(tried["score"] for tried in head.search_) for head in (torn, whole)}
    if name == "ridge":  # minus the squared error of labels -1 and 1
        assert score[torn] > score[whole] and score[whole] < -0.8
    else:
        assert score[torn] > 0.6 and score[whole] < score[torn]
    if name == "knn":  # the nearest neighbour of a row is a copy of it
        assert score[torn] == 1.0 and score[whole] < 0.75


@pytest.mark.parametrize("sizes", [[4] * 10, [1, 3, 4, 4, 2, 4, 1, 4, 4, 3]])
@pytest.mark.parametrize("width", [5, 60])
def test_leaving_out_a_group_in_closed_form_is_leaving_it_out(sizes, width):
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    n = len(groups)
    X, targets, weights = rng.normal(size=(n, width)), rng.normal(size=(n, 2)), rng.uniform(0.5, 2, n)
    groups = check_groups(groups, targets[:, 0])
    found = leave_one_out_errors(X, targets, weights, (0.5, 20.0), groups)
    mean, goal = np.average(X, axis=0, weights=weights), np.average(targets, axis=0, weights=weights)
    for alpha, error in zip((0.5, 20.0), found, strict=True):
        expected = []
        for row in first_rows(groups, n):
            rest = groups != groups[row]
            # The closed form keeps the means of all rows, as the closed form without groups does.
            model = Ridge(alpha=alpha, fit_intercept=True).fit(X[rest] - mean, targets[rest] - goal, weights[rest])
            expected.append(weights[row] * (targets[row] - goal - model.predict(X[row : row + 1] - mean)[0]) ** 2)
        assert error == pytest.approx(np.mean(expected), rel=1e-6)


def test_every_group_of_one_row_is_leaving_out_rows():
    X, y, _ = views_of_images()
    arguments = X, y[:, None] * 2.0 - 1, np.ones(len(y)), (0.1, 10.0)
    assert leave_one_out_errors(*arguments, np.arange(len(y))) == pytest.approx(leave_one_out_errors(*arguments))


@pytest.mark.parametrize("name", ["logistic", "svm", "knn", "ridge", "forest", "mlp"])
def test_groups_of_one_row_change_nothing(name):
    X, y, _ = views_of_images(60)
    params = {"forest": {"n_estimators": 5}, "mlp": {"epochs": 12}}.get(name, {})
    plain = make_head(name, **params).fit(X, y).predict_proba(X)
    grouped = make_head(name, **params).fit(X, y, groups=np.arange(len(y))).predict_proba(X)
    assert grouped == pytest.approx(plain, abs=0.1 if name == "mlp" else 1e-6)


def test_the_perceptron_holds_out_images_with_all_their_copies(monkeypatch):
    _, y, groups = views_of_images(100)
    X = np.random.default_rng(0).normal(size=(100, 6)).astype(np.float32)[groups]  # copies are the same numbers
    seen: dict[str, list[set[bytes]]] = {"partial_fit": [], "score": []}
    for name, rows in seen.items():
        method = getattr(MLPClassifier, name)

        def watch(classifier, X, y, method=method, rows=rows, **options):
            rows.append({row.tobytes() for row in X})
            return method(classifier, X, y, **options)

        monkeypatch.setattr(MLPClassifier, name, watch)
    head = make_head("mlp", random_state=1).fit(X, y, groups=groups)
    (trained,), (held_out,) = ({frozenset(rows) for rows in seen[name]} for name in ("partial_fit", "score"))
    assert len(trained) == 90 and len(held_out) == 10 and not trained & held_out
    assert 10 < len(seen["score"]) < 200  # it stopped early
    classifier = head.pipeline_["classify"]
    assert classifier.early_stopping and classifier.random_state == 1


def test_the_perceptron_goes_back_to_its_best_epoch(monkeypatch):
    X, y, groups = views_of_images(100)
    found = []
    score = MLPClassifier.score

    def watch(classifier, X, y):
        found.append((score(classifier, X, y), [weights.copy() for weights in classifier.coefs_]))
        return found[-1][0]

    monkeypatch.setattr(MLPClassifier, "score", watch)
    head = make_head("mlp", random_state=2).fit(X, y, groups=groups)
    best = max(range(len(found)), key=lambda epoch: found[epoch][0])
    assert best < len(found) - 1  # so that going back is something
    for one, other in zip(head.pipeline_["classify"].coefs_, found[best][1], strict=True):
        assert np.array_equal(one, other)


class TestDense:
    PARAMS = {"epochs": 3, "units": (4,), "batch_size": 8}  # noqa: RUF012

    def fit(self, X, y, **options):
        return make_head("dense", **self.PARAMS).fit(X, y, **options).model_.get_weights()

    def test_groups_of_one_row_change_no_weight(self):
        X, y, _ = views_of_images()
        # The draw takes numbers from the generator, so compare two runs that both draw.
        for one, other in zip(
            self.fit(X, y, groups=np.arange(len(y))), self.fit(X, y, groups=np.arange(len(y)) + 7), strict=True
        ):
            assert np.array_equal(one, other)

    def test_each_epoch_draws_anew_and_a_seed_draws_the_same(self, monkeypatch):
        from pipeline.heads import training

        X, y, groups = views_of_images()
        drawn = []
        run = training.Network.run

        def watch(network, what, data, *rest):
            drawn.append(np.sort(data.rows))
            return run(network, what, data, *rest)

        monkeypatch.setattr(training.Network, "run", watch)
        one, other = self.fit(X, y, groups=groups), self.fit(X, y, groups=groups)
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
        assert all(sorted(groups[rows]) == list(range(40)) for rows in drawn) and len(drawn) == 6
        assert not np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[1], drawn[2])
        assert all(np.array_equal(a, b) for a, b in zip(drawn[:3], drawn[3:], strict=True))
        assert any((rows < 40).any() for rows in drawn) and any((rows >= 40).any() for rows in drawn)

    def test_an_order_of_rows_on_disk_holds_the_drawn_ones(self):
        from pipeline.heads.training import epoch_order

        class OnDisk:
            shape, dtype = (160, 100), np.dtype(np.float32)

            def __len__(self):
                return 160

        _, _, groups = views_of_images()
        rng = np.random.default_rng(0)
        drawn = one_of_each(groups, rng)
        assert np.array_equal(np.sort(epoch_order(OnDisk(), 8, rng, drawn)), np.flatnonzero(drawn))


@pytest.fixture
def store(tmp_path, fake_conv_base):
    photos = photo_folder(tmp_path / "photos", 30)
    spec = ConvBaseSpec(size=(8, 8), store_dtype="float32")
    return extract_features(scan_images(photos), tmp_path / "cache", spec, views=3)


PARAMS = {"logistic": {"C": 0.1}, "ridge": {}, "dense": {"epochs": 2, "units": (4,)}}


def test_a_store_s_views_are_trained_on_and_view_0_is_scored(store, monkeypatch):
    fitted = {}
    for name in ("logistic", "dense"):
        kind = type(make_head(name))
        fit = kind.fit

        def watch(head, X, y, *rest, fit=fit, **options):
            fitted[head.name] = (len(X), options["groups"], options.get("validation_data"))
            return fit(head, X, y, *rest, **options)

        monkeypatch.setattr(kind, "fit", watch)
    trained = train_heads(store, ["logistic", "dense"], params={name: PARAMS[name] for name in ("logistic", "dense")})
    n, n_validation = len(store.members("train")), len(store.members("validation"))
    for one in trained:
        rows, groups, validation = fitted[one.name]
        assert rows == 3 * n and np.array_equal(groups, np.tile(np.arange(n), 3))
        assert validation is None or len(validation[0]) == n_validation
        assert one.views == 3 and one.evaluation.n == n_validation
        metrics = read_metrics(store.heads_directory / one.name)
        assert metrics["views"] == 3 and metrics["train_images"] == n


@pytest.mark.parametrize("name", ["mlp", "ridge", "svm"])
def test_a_head_trained_on_views_is_saved_and_loaded(store, name):
    (trained,) = train_heads(store, [name], params={name: {"epochs": 5} if name == "mlp" else {}})
    loaded = load_head(store.heads_directory / name, fingerprint=store.fingerprint)
    X = store.load("validation")[0]
    assert np.array_equal(loaded.predict_proba(X), trained.head.predict_proba(X))


def test_one_view_is_training_without_views(store, tmp_path):
    plain = extract_features(store.images, tmp_path / "plain", ConvBaseSpec(size=(8, 8), store_dtype="float32"))
    for name in ("dense", "logistic", "ridge"):
        (with_one,) = train_heads(store, [name], params={name: PARAMS[name]}, views=1)
        (without,) = train_heads(plain, [name], params={name: PARAMS[name]})
        X = store.load("validation")[0]
        assert with_one.views == without.views == 1
        assert np.array_equal(with_one.head.predict_proba(X), without.head.predict_proba(X))


def test_views_are_read_from_disk_where_memory_is_short(store, monkeypatch):
    params = {"dense": PARAMS["dense"]}
    (whole,) = train_heads(store, ["dense"], params=params)
    monkeypatch.setattr("pipeline.training.train_heads.fits_in_memory", lambda store, views: False)
    (read,) = train_heads(store, ["dense"], params=params)
    assert read.views == 3 and read.head.history_.keys() == whole.head.history_.keys()


def test_memory_counts_the_views(store):
    n, rest = len(store.members("train")), len(store.members("validation"))
    assert memory_needed(store, ["dense"]) == (3 * n + rest) * store.bytes_per_row
    assert memory_needed(store, ["dense"], views=1) == (n + rest) * store.bytes_per_row


def test_more_views_than_the_store_has_are_refused(store):
    with pytest.raises(StoreError, match="has 3 of 8 views"):
        train_heads(store, ["ridge"], views=8)
