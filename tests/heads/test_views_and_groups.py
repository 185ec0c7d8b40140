"""Heads trained on views and on groups: neither is separated by a split, and images alone are scored on."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neural_network import MLPClassifier

from pipeline import ConvBaseSpec, StoreError, extract_features, load_head, make_head, scan_images, train_heads
from pipeline.errors import HeadError
from pipeline.heads.batches import draw_views, shuffle_rows
from pipeline.heads.folds import check_groups, make_folds
from pipeline.heads.load_head import read_metrics
from pipeline.training.memory import memory_needed
from tests.fakes import photo_folder

VIEWS = 4


def views_of_images(images: int = 40, width: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of images whose labels are noise, and near copies of them: view 0 of all, then view 1, ..."""
    rng = np.random.default_rng(seed)
    clean, y = rng.normal(size=(images, width)).astype(np.float32), np.arange(images) % 2
    X = np.concatenate([clean, *(clean + 0.01 * rng.normal(size=clean.shape) for _ in range(VIEWS - 1))])
    return X.astype(np.float32), np.tile(y, VIEWS), np.tile(np.arange(images), VIEWS)


class TestFolds:
    @pytest.mark.parametrize("score_views", [False, True])
    def test_no_fold_separates_the_views_of_an_image_and_folds_are_those_of_the_images(self, score_views):
        _, y, images = views_of_images()
        folds = make_folds(5, y, check_groups(None, images, y), 3, score_views=score_views)
        of_images = StratifiedKFold(5, shuffle=True, random_state=3).split(y[:40], y[:40])
        for (train, test), (train_images, test_images) in zip(folds, of_images, strict=True):
            assert not set(images[train]) & set(images[test])
            assert sorted(set(images[train])) == train_images.tolist() and len(train) == VIEWS * len(train_images)
            assert sorted(set(images[test])) == test_images.tolist()
            assert len(test) == (VIEWS if score_views else 1) * len(test_images)
            assert score_views or test.tolist() == test_images.tolist()  # the images, none of their copies

    def test_without_groups_folds_are_those_of_scikit_learn(self):
        _, y, _ = views_of_images()
        expected = list(StratifiedKFold(5, shuffle=True, random_state=3).split(y, y))
        for groups in (None, np.arange(len(y)) + 7):
            folds = make_folds(5, y, check_groups(groups, None, y), 3)
            for fold, other in zip(folds, expected, strict=True):
                assert all(np.array_equal(a, b) for a, b in zip(fold, other, strict=True))

    def test_no_fold_separates_a_group_of_images_or_its_views(self):
        _, y, images = views_of_images()
        scenes = images // 4  # both classes in each
        folds = make_folds(5, y, check_groups(scenes, images, y), 0)
        assert len(folds) == 5
        for train, test in folds:
            assert not set(scenes[train]) & set(scenes[test])
            assert (test < 40).all()  # the images, none of their copies
        assert sorted(np.concatenate([test for _, test in folds])) == list(range(40))

    def test_views_are_in_the_group_of_the_image_itself(self):
        rows = check_groups(["b", "b", "a", "c", "b"], [7, 1, 2, 1, 2], np.zeros(5))
        assert rows.groups.tolist() == [0, 0, 1, 0, 1]
        assert rows.is_image.tolist() == [True, True, True, False, False]

    def test_every_class_is_on_each_training_side(self):
        y, groups = np.array([0] * 8 + [1] * 4), np.array([0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 8, 8])
        for seed in range(20):
            for train, _ in make_folds(5, y, check_groups(groups, None, y), seed):
                assert set(y[train]) == {0, 1}

    def test_a_class_in_a_single_group_leaves_no_folds(self):
        y, groups = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 3, 3, 3])
        assert make_folds(5, y, check_groups(groups, None, y), 0) == []

    @pytest.mark.parametrize("arguments", [([1, 2], None), (None, [1, 2])])
    def test_groups_and_labels_must_be_as_many(self, arguments):
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            check_groups(*arguments, np.zeros(4))


def test_a_draw_takes_one_view_of_each_image_and_any_of_them():
    _, _, images = views_of_images()
    rng = np.random.default_rng(0)
    draws = np.array([draw_views(images, rng) for _ in range(400)])
    assert (draws.reshape(400, VIEWS, 40).sum(axis=1) == 1).all()
    share = draws.mean(axis=0)
    assert 0.15 < share.min() and share.max() < 0.35  # noqa: SIM300


@pytest.mark.parametrize("keyword", ["images", "groups"])
@pytest.mark.parametrize("name", ["logistic", "svm", "knn", "ridge"])
def test_a_search_does_not_score_on_copies_of_training_rows(name, keyword):
    X, y, groups = views_of_images()
    separated, together = make_head(name).fit(X, y), make_head(name).fit(X, y, **{keyword: groups})
    score = {head: max(tried["score"] for tried in head.search_) for head in (separated, together)}
    if name == "ridge":  # minus the squared error of labels -1 and 1
        assert score[separated] > score[together] and score[together] < -0.8
    else:
        assert score[separated] > 0.6 and score[together] < score[separated]
    if name == "knn":  # the nearest neighbour of a row is a copy of it
        assert score[separated] == 1.0 and score[together] < 0.75


@pytest.mark.parametrize("name", ["ridge", "svm"])
def test_probabilities_are_calibrated_on_groups_that_a_classifier_has_not_seen(name):
    X, y, groups = views_of_images(width=60)  # labels are noise: a classifier that saw a copy is sure and right
    separated = make_head(name, **FIXED[name]).fit(X, y)
    together = make_head(name, **FIXED[name]).fit(X, y, groups=groups)
    assert together.inverse_temperature_ < separated.inverse_temperature_ / 2


FIXED = {"ridge": {"alpha": 0.1}, "svm": {"C": 1.0}}


@pytest.mark.parametrize("name", ["logistic", "svm", "knn", "ridge", "forest", "mlp"])
def test_groups_of_one_row_change_nothing(name):
    X, y, _ = views_of_images(60)
    params = {"forest": {"n_estimators": 5}, "mlp": {"epochs": 12}}.get(name, {})
    plain = make_head(name, **params).fit(X, y).predict_proba(X)
    alone = np.arange(len(y))
    grouped = make_head(name, **params).fit(X, y, groups=alone, images=alone)
    np.testing.assert_array_equal(grouped.predict_proba(X), plain)


@pytest.mark.parametrize("keyword", ["images", "groups"])
def test_the_perceptron_holds_out_groups_as_a_whole(keyword, monkeypatch):
    _, y, groups = views_of_images(100)
    X = np.random.default_rng(0).normal(size=(100, 6)).astype(np.float32)[groups]  # copies are the same numbers
    seen: dict[str, list[set[bytes]]] = {"partial_fit": [], "score": []}
    for name, rows in seen.items():
        method = getattr(MLPClassifier, name)

        def watch(classifier, X, y, method=method, rows=rows, **options):
            rows.append({row.tobytes() for row in X})
            return method(classifier, X, y, **options)

        monkeypatch.setattr(MLPClassifier, name, watch)
    head = make_head("mlp", random_state=1).fit(X, y, **{keyword: groups})
    (trained,), (held_out,) = ({frozenset(rows) for rows in seen[name]} for name in ("partial_fit", "score"))
    assert len(trained) == 90 and len(held_out) == 10 and not trained & held_out
    assert 10 < len(seen["score"]) < 200  # it stopped early
    classifier = head.pipeline_["classify"]
    assert classifier.early_stopping and classifier.random_state == 1


def test_the_perceptron_refuses_no_epochs_with_groups_too():
    X, y, images = views_of_images()
    with pytest.raises(HeadError, match="epochs == 0, must be >= 1"):
        make_head("mlp", epochs=0).fit(X, y, images=images)


def test_the_perceptron_goes_back_to_its_best_epoch(monkeypatch):
    X, y, groups = views_of_images(100)
    epochs = []
    score = MLPClassifier.score

    def watch(classifier, X, y):
        epochs.append((score(classifier, X, y), [weights.copy() for weights in classifier.coefs_]))
        return epochs[-1][0]

    monkeypatch.setattr(MLPClassifier, "score", watch)
    head = make_head("mlp", random_state=2).fit(X, y, images=groups)
    best = max(range(len(epochs)), key=lambda epoch: epochs[epoch][0])
    assert best < len(epochs) - 1  # otherwise it need not go back
    for first, second in zip(head.pipeline_["classify"].coefs_, epochs[best][1], strict=True):
        assert np.array_equal(first, second)


class TestDense:
    PARAMS = {"epochs": 3, "units": (4,), "batch_size": 8}  # noqa: RUF012

    def fit(self, X, y, **options):
        return make_head("dense", **self.PARAMS).fit(X, y, **options).model_.get_weights()

    def test_groups_of_one_row_change_no_weight(self):
        X, y, _ = views_of_images()
        # The draw takes numbers from the generator, so compare two runs that both draw.
        for first, second in zip(
            self.fit(X, y, images=np.arange(len(y))), self.fit(X, y, images=np.arange(len(y)) + 7), strict=True
        ):
            assert np.array_equal(first, second)

    def test_each_epoch_draws_anew_and_a_seed_draws_the_same(self, monkeypatch):
        from pipeline.heads.compiled_network import CompiledNetwork

        X, y, groups = views_of_images()
        drawn = []
        run = CompiledNetwork.run

        def watch(network, what, data, *rest):
            drawn.append(np.sort(data.rows))
            return run(network, what, data, *rest)

        monkeypatch.setattr(CompiledNetwork, "run", watch)
        first, second = self.fit(X, y, images=groups), self.fit(X, y, images=groups)
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
        assert all(sorted(groups[rows]) == list(range(40)) for rows in drawn) and len(drawn) == 6
        assert not np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[1], drawn[2])
        assert all(np.array_equal(a, b) for a, b in zip(drawn[:3], drawn[3:], strict=True))
        assert any((rows < 40).any() for rows in drawn) and any((rows >= 40).any() for rows in drawn)

    def test_an_order_of_rows_on_disk_holds_the_drawn_ones(self):
        class OnDisk:
            shape, dtype = (160, 100), np.dtype(np.float32)

            def __len__(self):
                return 160

        _, _, groups = views_of_images()
        rng = np.random.default_rng(0)
        drawn = draw_views(groups, rng)
        assert np.array_equal(np.sort(shuffle_rows(OnDisk(), 8, rng, drawn)), np.flatnonzero(drawn))


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
            fitted[head.name] = (len(X), options["images"], options.get("validation_data"))
            return fit(head, X, y, *rest, **options)

        monkeypatch.setattr(kind, "fit", watch)
    trained = train_heads(store, ["logistic", "dense"], params={name: PARAMS[name] for name in ("logistic", "dense")})
    n, n_validation = len(store.members("train")), len(store.members("validation"))
    for result in trained:
        rows, images, validation = fitted[result.name]
        assert rows == 3 * n and np.array_equal(images, np.tile(np.arange(n), 3))
        assert validation is None or len(validation[0]) == n_validation
        assert result.views == 3 and result.evaluation.n == n_validation
        metrics = read_metrics(store.heads_directory / result.name)
        assert metrics["views"] == 3 and metrics["train_images"] == n


@pytest.mark.parametrize("views", [1, 3])
def test_images_of_one_group_of_the_user_stay_on_one_side_of_every_fold(store, views, monkeypatch):
    splits = []
    fit = GridSearchCV.fit
    monkeypatch.setattr(GridSearchCV, "fit", lambda search, X, y: splits.extend(search.cv) or fit(search, X, y))
    members = store.members("train")
    store.images.groups[members] = np.arange(len(members)) // 4
    train_heads(store, ["logistic"], views=views)
    groups = np.tile(np.arange(len(members)) // 4, views)
    assert len(splits) == 5
    assert not any(set(groups[train]) & set(groups[test]) for train, test in splits)


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


def test_more_views_than_the_store_has_are_an_error(store):
    with pytest.raises(StoreError, match="has 3 of 8 views"):
        train_heads(store, ["ridge"], views=8)
