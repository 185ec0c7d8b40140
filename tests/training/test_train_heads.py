"""Stage two on a store: which rows are read, how often, how much memory it takes, which heads are saved."""

from typing import ClassVar

import numpy as np
import pytest

from pipeline import ConvBaseSpec, extract_features, load_head, make_head, open_features, scan_images, train_heads
from pipeline.cli.main import main
from pipeline.errors import HeadError, StoreDamaged
from pipeline.extraction.callbacks import Callbacks
from pipeline.heads import batches
from pipeline.heads.load_head import read_metrics
from pipeline.heads.shared_features import SharedFeatures
from pipeline.store import read_rows
from pipeline.training import hold_out
from pipeline.training import memory as training_memory
from pipeline.training.memory import memory_needed
from tests.fakes import photo_folder

QUICK = {
    "dense": {"units": (4,), "epochs": 2},
    "logistic": {"C": 1.0},
    "ridge": {},
    "knn": {"k": 1},
    "forest": {"n_estimators": 5},
}


@pytest.fixture
def store(tmp_path, fake_conv_base, monkeypatch):
    """A complete store of 60 images in shards of 16 rows."""
    monkeypatch.setattr("pipeline.extraction.plan.MAX_ROWS", 16)
    images = scan_images(photo_folder(tmp_path / "many", 30))
    extract_features(images, tmp_path / "cache", ConvBaseSpec(size=8))
    return open_features(tmp_path / "cache")


@pytest.fixture
def read(monkeypatch):
    """The number of rows of each read from a store."""
    sizes = []
    getitem = read_rows.FeatureRows.__getitem__

    def counted(rows, some):
        features = getitem(rows, some)
        sizes.append(len(features))
        return features

    monkeypatch.setattr(read_rows.FeatureRows, "__getitem__", counted)
    return sizes


@pytest.fixture
def little_memory(monkeypatch):
    """So little free memory that the features of the store do not fit, but a few pooled ones do."""
    monkeypatch.setattr(training_memory, "available_memory", lambda: 2500)


class FailedHeads(Callbacks):
    """Records the heads that could not be trained, with the reason."""

    def __init__(self):
        self.reasons = {}

    def head_failed(self, name, reason):
        self.reasons[name] = reason


def quick(*names):
    """Parameters with which the heads called `names` are trained fast."""
    return {name: QUICK[name] for name in names}


class TestRowsOnDemand:
    def test_rows_in_any_order_equal_those_of_load(self, store):
        X, y = store.load("train")
        rows, labels = store.on_demand("train")
        order = np.random.default_rng(0).permutation(len(X))[:20]
        assert (rows.shape, rows.dtype, len(rows)) == (X.shape, X.dtype, len(X))
        np.testing.assert_array_equal(labels, y)
        np.testing.assert_array_equal(rows[order], X[order])
        np.testing.assert_array_equal(rows[3:21], X[3:21])
        assert rows[:0].shape == (0, *X.shape[1:])

    def test_each_shard_is_checked_once_when_it_is_first_read(self, store, monkeypatch):
        from pipeline.store import shard_file

        checked = []
        digest = shard_file.sha256_of_file
        monkeypatch.setattr(shard_file, "sha256_of_file", lambda path: checked.append(path.name) or digest(path))
        rows, _ = store.on_demand()
        rows[:5]
        assert len(checked) == 1
        for _ in range(3):
            rows[:]
        assert len(checked) == len(set(checked)) == len(store.manifest.shards) > 2

    def test_fault_09_a_flipped_bit_is_named_and_no_head_is_saved(self, store):
        path = store.shards.path(store.manifest.shards[1])
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(data)
        with pytest.raises(StoreDamaged, match=rf"{path.name} is not what was written.*repair"):
            train_heads(store, ["ridge"])
        assert not store.heads_directory.exists()

    def test_a_row_of_no_finished_shard_is_an_error(self, store):
        with pytest.raises(StoreDamaged, match="2 of 3 rows are in no finished shard"):
            store.rows_on_demand(np.array([0, 60, 10**6]))


def test_scikit_learn_heads_of_a_call_read_each_row_once(store, read):
    names = ["logistic", "ridge", "knn", "forest"]
    assert len(train_heads(store, names, params=quick(*names))) == 4
    assert sum(read) == len(store.members())


def test_heads_trained_together_are_those_trained_alone(store):
    X, y = store.load("train")
    for trained in train_heads(store, ["logistic", "ridge", "dense"], params=quick("logistic", "ridge", "dense")):
        alone = make_head(trained.name, **QUICK[trained.name]).fit(X, y)
        np.testing.assert_array_equal(trained.head.predict(X), alone.predict(X))


def test_a_store_larger_than_memory_trains_the_dense_head_from_disk(store, read, little_memory, monkeypatch):
    row = store.bytes_per_row
    monkeypatch.setattr(batches, "READ_BYTES", 8 * row)
    monkeypatch.setattr(batches, "RUN_BYTES", 2 * row)
    (trained,) = train_heads(store, ["dense"], params={"dense": QUICK["dense"] | {"batch_size": 4}})
    epochs = 2 * len(store.members())  # each row of train and validation once an epoch
    assert len(trained.head.history_["val_loss"]) == 2
    assert sum(read) >= epochs
    assert max(read) <= 10  # the validation images, when they are scored


def test_the_history_of_the_dense_head_is_saved_with_its_scores(store):
    (trained,) = train_heads(store, ["dense"], params=quick("dense"))
    metrics = read_metrics(store.heads_directory / "dense")
    assert metrics["history"] == trained.head.history_ and len(metrics["history"]["val_loss"]) == 2


def test_the_dense_head_of_a_store_that_fits_reads_it_once(store, read):
    train_heads(store, ["dense"], params=quick("dense"))
    assert sum(read) == len(store.members())


def test_with_views_each_row_is_read_once(store, read):
    views = 3
    extract_features(store.images, store.directory, store.spec, views=views)
    train_heads(open_features(store.directory), ["dense"], params=quick("dense"))
    assert sum(read) == views * len(store.members("train")) + len(store.members("validation"))


class TestFailedHeads:
    PARAMS: ClassVar = {"logistic": {"C": -1.0}}

    def test_a_head_that_cannot_be_trained_does_not_stop_the_others(self, store):
        callbacks = FailedHeads()
        trained = train_heads(store, ["logistic", "ridge"], params=self.PARAMS, callbacks=callbacks)
        assert [head.name for head in trained] == ["ridge"]
        assert [path.name for path in store.heads_directory.iterdir()] == ["ridge"]
        assert list(callbacks.reasons) == ["logistic"]
        assert "logistic cannot be trained: " in callbacks.reasons["logistic"]

    def test_without_callbacks_a_warning_names_the_head_and_the_reason(self, store, caplog):
        train_heads(store, ["logistic", "ridge"], params=self.PARAMS)
        assert "logistic cannot be trained: " in caplog.text

    def test_it_is_an_error_if_no_head_can_be_trained(self, store):
        with pytest.raises(HeadError, match=r"logistic cannot be trained: .*; knn cannot be trained: "):
            train_heads(store, ["logistic", "knn"], params={**self.PARAMS, "knn": {"k": 0}})

    def test_the_command_lists_it_and_exits_with_status_1(self, store, capsys):
        options = ["--heads", "logistic,ridge", "--set", "logistic.C=-1"]
        assert main(["heads", str(store.directory), *options]) == 1
        output = capsys.readouterr()
        messages = " ".join(output.err.split())
        assert "logistic cannot be trained: " in messages and "not trained: logistic; " in messages
        assert "ridge" in output.out and "logistic" not in output.out

    @pytest.mark.parametrize("error", [ValueError, TypeError])
    def test_an_error_of_a_callback_is_not_one_of_the_head(self, store, error):
        def fail(name, epoch, epochs, scores):
            raise error("mine")

        callbacks = FailedHeads()
        callbacks.epoch_done = fail
        with pytest.raises(error, match=r"^mine$"):
            train_heads(store, ["dense", "ridge"], params=quick("dense"), callbacks=callbacks)
        assert callbacks.reasons == {}


class TestUnknownNames:
    @pytest.mark.parametrize(
        ("heads", "params", "message"),
        [
            (["ridge"], {"logistc": {"C": 1}}, "no head is called 'logistc'; there are logistic, "),
            (["ridge"], {"logistic": {"C": 1}}, r"'logistic', which is not among the heads to train \(ridge\)"),
            (["ridge", "logistic"], {"logistic": {"njobs": 1}}, "logistic has no parameter 'njobs'; it has n_jobs, "),
            (["rigde"], {}, "no head is called 'rigde'; there are ridge, "),
        ],
    )
    def test_they_are_errors_before_anything_is_trained(self, store, read, heads, params, message):
        for function in (train_heads, memory_needed):
            with pytest.raises(HeadError, match=message):
                function(store, heads, params=params)
        assert read == []


@pytest.mark.parametrize(("patience", "chosen_on"), [(None, None), (2, "validation")])
def test_the_metrics_say_on_which_images_the_epoch_was_chosen(store, patience, chosen_on):
    train_heads(store, ["dense"], params={"dense": {**QUICK["dense"], "patience": patience}})
    assert read_metrics(store.heads_directory / "dense")["epoch_chosen_on"] == chosen_on


@pytest.mark.parametrize("views", [1, 3])
def test_the_epoch_is_chosen_on_held_out_train_images_if_there_are_enough(store, monkeypatch, views):
    monkeypatch.setattr(hold_out, "MIN_IMAGES", 2)
    extract_features(store.images, store.directory, store.spec, views=views)
    (trained,) = train_heads(store, ["dense"], params={"dense": {**QUICK["dense"], "patience": 2}})
    assert read_metrics(store.heads_directory / "dense")["epoch_chosen_on"] == "train"
    assert len(trained.history["held_out_loss"]) == len(trained.history["val_loss"]) == 2


class TestMemoryNeeded:
    def test_it_counts_features_as_stored_and_each_way_of_pooling_once(self, store):
        rows, validation = len(store.members("train")), len(store.members("validation"))
        dense = 12 * 2 * (rows + validation)
        pooled = 3 * 4 * (rows + validation)
        params = quick("logistic", "knn")
        copy = 3 * 4 * rows
        assert memory_needed(store, ["dense"]) == dense
        assert memory_needed(store, ["knn"], quick("knn")) == pooled + 2 * copy
        assert memory_needed(store, ["dense", "logistic", "knn"], params) == dense + pooled + 2 * copy
        flat = params | {"logistic": {"C": 1.0, "pool": "flatten"}}
        assert memory_needed(store, ["logistic", "knn"], flat) == 5 * pooled + 4 * copy

    def test_each_thread_of_a_search_counts(self, store):
        one, two = (memory_needed(store, ["svm"], {"svm": {"n_jobs": jobs}}) for jobs in (1, 2))
        assert one < two < 2 * one

    def test_a_dense_head_that_reads_from_disk_needs_no_more_for_more_images(self, store, little_memory, monkeypatch):
        monkeypatch.setattr(training_memory, "MAX_READ_BYTES", 100)
        assert memory_needed(store, ["dense"]) == 100

    def test_heads_that_do_not_fit_are_an_error_before_anything_is_read(self, store, read, little_memory):
        with pytest.raises(HeadError, match=r"logistic with pool=flatten need .* GB are free; take pool=avg") as caught:
            train_heads(store, ["logistic"], params={"logistic": {"pool": "flatten", "C": 1.0}})
        assert "\n" not in str(caught.value)
        assert read == []
        assert train_heads(store, ["logistic"], params={"logistic": {"C": 1.0}})


class TestRepeats:
    SEEDS = (0, 1, 2)

    def test_each_seed_is_trained_and_the_head_of_the_first_is_saved(self, store):
        params = {"forest": {"n_estimators": 1, "max_depth": 1}}
        started = []
        callbacks = Callbacks()
        callbacks.head_started = started.append
        (trained,) = train_heads(store, ["forest"], params=params, repeats=3, callbacks=callbacks)
        assert started == ["forest", "forest with seed 1", "forest with seed 2"]
        X, y = store.load("validation")
        alone = [
            make_head("forest", **params["forest"], random_state=seed).fit(*store.load("train")) for seed in self.SEEDS
        ]
        assert trained.repeats.seeds == self.SEEDS
        assert trained.repeats.accuracies == tuple(head.score(X, y) for head in alone)
        assert trained.evaluation.accuracy == trained.repeats.accuracies[0]
        saved = load_head(store.heads_directory / "forest")
        np.testing.assert_array_equal(saved.predict_proba(X), alone[0].predict_proba(X))

    def test_the_spread_is_saved_with_the_scores(self, store):
        train_heads(store, ["forest"], params=quick("forest"), repeats=3)
        metrics = read_metrics(store.heads_directory / "forest")
        accuracies = metrics["repeats"]["accuracies"]
        assert metrics["repeats"] == {
            "seeds": [0, 1, 2],
            "accuracies": accuracies,
            "mean": pytest.approx(np.mean(accuracies)),
            "std": pytest.approx(np.std(accuracies, ddof=1)),
            "min": min(accuracies),
            "max": max(accuracies),
        }

    def test_a_head_that_no_seed_changes_is_trained_once(self, store):
        names = ["logistic", "ridge", "knn"]
        for head in train_heads(store, names, params=quick(*names), repeats=5):
            assert head.repeats.seeds == ()
            assert head.repeats.accuracies == (head.evaluation.accuracy,)
            assert head.metrics()["repeats"]["std"] == 0

    def test_a_search_depends_on_the_seed_of_its_folds(self, store):
        (trained,) = train_heads(store, ["knn"], params={"knn": {"random_state": 7}}, repeats=2)
        assert trained.repeats.seeds == (7, 8)

    def test_without_repeats_there_is_no_spread(self, store):
        (trained,) = train_heads(store, ["forest"], params=quick("forest"))
        assert (trained.repeats, trained.metrics()["repeats"]) == (None, None)


def test_images_of_one_group_of_the_user_are_resampled_together(store):
    members = store.members("validation")
    alone = store.resampling_groups("validation")
    np.testing.assert_array_equal(alone, store.index.rows[members])
    (before,) = train_heads(store, ["ridge"])
    store.images.groups[members[:-1]] = 7
    groups = store.resampling_groups("validation")
    assert len(set(groups[:-1])) == 1 and groups[0] not in alone and groups[-1] == alone[-1]
    (after,) = train_heads(store, ["ridge"])
    assert after.evaluation.accuracy == before.evaluation.accuracy
    assert after.evaluation.accuracy_interval != before.evaluation.accuracy_interval


def test_shared_features_of_a_store_serve_a_sweep(store, read):
    rows, y = store.on_demand("train")
    shared = SharedFeatures(rows)
    heads = [make_head("logistic", C=C).fit(shared, y) for C in (0.01, 0.1, 1.0)]
    assert [head.pipeline_["classify"].C for head in heads] == [0.01, 0.1, 1.0]
    assert sum(read) == len(rows)
