"""Saving and loading heads: complete, never half, and without running code."""

import json
import os
import pickle
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
import skops.io

from pipeline.errors import HeadError, StoreError, StoreMismatch
from pipeline.files.durable import read_json, sha256_of, write_json
from pipeline.heads import make_head
from pipeline.heads.load_head import load_head, read_metrics
from pipeline.heads.save_head import save_head

FINGERPRINT = "a" * 64
OTHER = "b" * 64
SMALL = {
    "dense": {"units": (5,), "epochs": 1, "dropout": 0.1},
    "logistic": {"C": 0.5, "n_jobs": 1},
    "svm": {"C": 0.5, "n_jobs": 1},
    "ridge": {"class_weight": "balanced"},
    "knn": {"k": 3, "n_jobs": 1},
    "forest": {"n_estimators": 5, "max_depth": 3, "n_jobs": 1},
    "mlp": {"units": (5,), "epochs": 5},
}


def features(seed=0, classes=2):
    y = np.arange(40) % classes
    X = np.random.default_rng(seed).normal(size=(40, 2, 2, 4)) + y[:, None, None, None]
    return X.astype(np.float16), y


def trained(name, seed=0, classes=2):
    return make_head(name, **SMALL[name]).fit(*features(seed, classes))


def save(head, directory, **changes):
    save_head(head, directory, **{"classes": ["cat", "dog"], "fingerprint": FINGERPRINT} | changes)


def plant(directory: Path, data: bytes) -> None:
    """Put `data` in place of the model file, with every hash and name as they should be."""
    record = read_json(directory / "head.json")
    (directory / record["model"]).unlink()
    digest = sha256_of(data)
    model = f"model-{digest[:12]}{Path(record['model']).suffix}"
    (directory / model).write_bytes(data)
    write_json(directory / "head.json", {**record, "model": model, "sha256": digest})


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", SMALL)
def test_a_loaded_head_is_the_one_that_was_saved(name, classes, tmp_path):
    head = trained(name, classes=classes)
    save(head, tmp_path / "new" / name, classes=["ape", "bee", "cat"][:classes])
    loaded = load_head(tmp_path / "new" / name, fingerprint=FINGERPRINT)
    X, _ = features(seed=5)
    scores = "predict_proba" if hasattr(head, "predict_proba") else "decision_function"
    np.testing.assert_array_equal(loaded.predict(X), head.predict(X))
    np.testing.assert_array_equal(getattr(loaded, scores)(X), getattr(head, scores)(X))
    assert type(loaded) is type(head)
    assert loaded.get_params() == head.get_params()
    assert loaded.count_parameters() == head.count_parameters()
    assert (loaded.n_features_in_, loaded.feature_shape_) == (16, (2, 2, 4))
    assert (loaded.class_names_, loaded.fingerprint_) == (["ape", "bee", "cat"][:classes], FINGERPRINT)


def test_a_class_that_was_missing_in_training_keeps_its_number(tmp_path):
    X, y = features()
    save(make_head("ridge").fit(X, 2 * y), tmp_path, classes=["ape", "bee", "cat"])
    head = load_head(tmp_path)
    assert head.classes_.tolist() == [0, 2]
    assert {head.class_names_[label] for label in head.predict(X)} == {"ape", "cat"}


@pytest.mark.parametrize("name", ["ridge", "dense"])
def test_a_second_head_replaces_the_first_and_its_files(name, tmp_path):
    save(trained(name), tmp_path)
    (tmp_path / ".tmp-model-of-a-killed-save").write_bytes(b"half")
    second = trained(name, seed=1)
    save(second, tmp_path)
    X, _ = features(seed=5)
    np.testing.assert_array_equal(load_head(tmp_path).predict(X), second.predict(X))
    suffix = {"ridge": ".skops", "dense": ".keras"}[name]
    shown = [path.suffix for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert sorted(shown) == sorted([".json", suffix])


def test_a_saved_network_carries_no_optimiser(tmp_path):
    head = trained("dense")
    save(head, tmp_path)
    (model,) = tmp_path.glob("model-*.keras")
    assert zipfile.is_zipfile(model)
    assert getattr(load_head(tmp_path).model_, "optimizer", None) is None


class TestMetrics:
    def test_saved_metrics_are_read(self, tmp_path):
        save(trained("ridge"), tmp_path, metrics={"accuracy": 0.75, "per_class": {0: [1, 2], 10: [], 9: []}})
        assert read_metrics(tmp_path) == {"accuracy": 0.75, "per_class": {"0": [1, 2], "10": [], "9": []}}

    def test_metrics_of_another_model_are_not_read(self, tmp_path):
        save(trained("ridge"), tmp_path, metrics={"accuracy": 0.75})
        save(trained("ridge", seed=1), tmp_path)
        assert (tmp_path / "metrics.json").exists()
        assert read_metrics(tmp_path) is None

    def test_without_metrics_there_are_none(self, tmp_path):
        assert read_metrics(tmp_path) is None
        save(trained("ridge"), tmp_path)
        assert read_metrics(tmp_path) is None

    def test_damaged_metrics_are_an_error(self, tmp_path):
        save(trained("ridge"), tmp_path, metrics={"accuracy": 0.75})
        text = (tmp_path / "metrics.json").read_text()
        (tmp_path / "metrics.json").write_text(text.replace("0.75", "0.95"))
        with pytest.raises(HeadError, match=r"metrics\.json was changed or damaged"):
            read_metrics(tmp_path)

    def test_metrics_that_json_cannot_hold_are_an_error_before_anything_is_written(self, tmp_path):
        with pytest.raises(HeadError, match=r"metrics .* are not fit for JSON"):
            save(trained("ridge"), tmp_path / "new", metrics={"auc": float("nan")})
        assert not (tmp_path / "new").exists()


class TestFault11:
    """A save that is interrupted at any step leaves a head that loads."""

    STEPS = ("open", "write", "fsync", "replace")

    @staticmethod
    def counted(real, left, act):
        def call(*args, **kwargs):
            left[0] -= 1
            return act() if left[0] == 0 else real(*args, **kwargs)

        return call

    @staticmethod
    def fail_at(patch, step, act):
        """Let the `step`-th call that changes the disk do `act` instead."""
        left = [step]
        for name in TestFault11.STEPS:
            patch.setattr(os, name, TestFault11.counted(getattr(os, name), left, act))
        return left

    @staticmethod
    def check(directory, old, new):
        X, _ = features(seed=5)
        scores = load_head(directory).decision_function(X)
        is_old = np.array_equal(scores, old.decision_function(X))
        assert is_old or np.array_equal(scores, new.decision_function(X))
        assert read_metrics(directory) in (({"accuracy": 0.1}, None) if is_old else ({"accuracy": 0.2},))
        return is_old

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
    def test_fault_11_killed_at_any_step_the_old_head_still_loads(self, tmp_path, monkeypatch):
        old, new = trained("ridge"), trained("ridge", seed=1)
        outcomes, step, killed = [], 0, True
        while killed:
            step += 1
            directory = tmp_path / str(step)
            save(old, directory, metrics={"accuracy": 0.1})
            child = os.fork()
            if not child:
                self.fail_at(monkeypatch, step, lambda: os._exit(9))
                save(new, directory, metrics={"accuracy": 0.2})
                os._exit(0)
            killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
            outcomes.append(self.check(directory, old, new))
        assert outcomes == sorted(outcomes, reverse=True)  # old up to some step, new from then on
        assert outcomes.count(True) >= 10
        assert outcomes[-1] is False

    def test_fault_4_a_disk_that_fails_at_any_step_leaves_the_old_head(self, tmp_path):
        old, new = trained("ridge"), trained("ridge", seed=1)

        def full():
            raise OSError(28, "No space left on device")

        step, failures, left = 0, 0, [0]
        while left[0] <= 0:
            step += 1
            save(old, tmp_path, metrics={"accuracy": 0.1})
            with pytest.MonkeyPatch.context() as patch:
                left = self.fail_at(patch, step, full)
                try:
                    save(new, tmp_path, metrics={"accuracy": 0.2})
                except (OSError, StoreError):  # the lock is the first thing that needs the disk
                    failures += 1  # not for each step: directories above the head need not be synced
            self.check(tmp_path, old, new)
            assert not list(tmp_path.glob(".tmp-*"))
        assert failures >= 10
        assert self.check(tmp_path, old, new) is False

    def test_an_old_model_that_cannot_be_removed_does_not_undo_a_save(self, tmp_path, monkeypatch):
        save(trained("ridge"), tmp_path)

        def refuse(path, **kwargs):
            raise OSError(13, "Permission denied")

        monkeypatch.setattr(Path, "unlink", refuse)
        new = trained("ridge", seed=1)
        save(new, tmp_path)
        X, _ = features(seed=5)
        np.testing.assert_array_equal(load_head(tmp_path).decision_function(X), new.decision_function(X))


class TestWhatCannotBeSaved:
    def test_an_untrained_head(self, tmp_path):
        with pytest.raises(HeadError, match="the svm head is not trained yet"):
            save(make_head("svm"), tmp_path)

    def test_another_classifier(self, tmp_path):
        from sklearn.dummy import DummyClassifier

        with pytest.raises(HeadError, match="a DummyClassifier cannot be saved"):
            save(DummyClassifier().fit([[0], [1]], [0, 1]), tmp_path)

    @pytest.mark.parametrize("labels", [("cat", "dog"), (0, 2), (-1, 0)])
    def test_labels_that_are_no_indices_of_the_classes(self, labels, tmp_path):
        X, y = features()
        with pytest.raises(HeadError, match="are not indices of the 2 classes"):
            save(make_head("ridge").fit(X, np.array(labels)[y]), tmp_path)

    @pytest.mark.parametrize("params", [{"class_weight": {0: 1.0, 1: 2.0}}, {"random_state": np.random.RandomState(0)}])
    def test_parameters_that_json_would_change(self, params, tmp_path):
        with pytest.raises(HeadError, match="JSON"):
            save(make_head("logistic", C=1.0, **params).fit(*features()), tmp_path)


class TestDamage:
    def test_no_head(self, tmp_path):
        with pytest.raises(HeadError, match=r"no trained head in .*none; train one with `.* heads DIR`"):
            load_head(tmp_path / "none")

    @pytest.mark.parametrize("name", ["ridge", "dense"])
    def test_one_changed_byte_of_the_model_is_seen(self, name, tmp_path):
        save(trained(name), tmp_path)
        (model,) = tmp_path.glob("model-*")
        data = bytearray(model.read_bytes())
        data[len(data) // 2] ^= 1
        model.write_bytes(data)
        with pytest.raises(HeadError, match=rf"{model.name} was changed or damaged.*train it again"):
            load_head(tmp_path)

    def test_a_missing_model_is_named(self, tmp_path):
        save(trained("ridge"), tmp_path)
        (model,) = tmp_path.glob("model-*")
        model.unlink()
        with pytest.raises(HeadError, match=rf"{model.name} cannot be read \(No such file"):
            load_head(tmp_path)

    def test_one_changed_byte_of_the_record_is_seen(self, tmp_path):
        save(trained("ridge"), tmp_path)
        text = (tmp_path / "head.json").read_text()
        (tmp_path / "head.json").write_text(text.replace('"cat"', '"cow"'))
        with pytest.raises(HeadError, match=r"head\.json was changed or damaged"):
            load_head(tmp_path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"format": 2}, "has format 2, this version reads 1"),
            ({"params": None}, r"head\.json does not describe a head"),
            ({"feature_shape": ["wide"]}, r"head\.json does not describe a head"),
            ({"feature_shape": [2, 2, 5]}, "no model of a dense head .*it maps"),
            ({"label_classes": [0, 1, 2]}, r"labels \[0, 1, 2\] are not indices of 2 classes"),
            ({"label_classes": [0, 1, 2], "classes": ["a", "b", "c"]}, "no model of a dense head .*it maps"),
            ({"label_classes": [0, 7]}, r"labels \[0, 7\] are not indices of 2 classes"),
            ({"label_classes": [1, 0]}, r"labels \[1, 0\] are not indices of 2 classes"),
            ({"head": "denser"}, "no head is called 'denser'"),
            ({"head": ["dense"]}, r"head\.json does not describe a head"),
            ({"params": {"depth": 3}}, "dense has no parameter 'depth'"),
            ({"head": "ridge", "params": {}}, "was changed or damaged"),
            ({"model": "../../model.keras"}, "cannot be read"),
            ({"model": 3}, r"head\.json does not describe a head"),
            ({"fingerprint": None}, r"head\.json does not describe a head"),
        ],
    )
    def test_a_record_with_wrong_values_is_refused(self, change, message, tmp_path):
        save(trained("dense"), tmp_path)
        write_json(tmp_path / "head.json", read_json(tmp_path / "head.json") | change)
        with pytest.raises(HeadError, match=message):
            load_head(tmp_path, fingerprint=FINGERPRINT)

    def test_a_model_of_another_head_or_other_classes_is_refused(self, tmp_path):
        save(trained("ridge"), tmp_path)
        plant(tmp_path, skops.io.dumps(trained("logistic").pipeline_))
        with pytest.raises(HeadError, match="it holds a classifier without calibration"):
            load_head(tmp_path)
        plant(tmp_path, skops.io.dumps(trained("svm").pipeline_["classify"]))
        with pytest.raises(HeadError, match="it holds other steps"):
            load_head(tmp_path)
        plant(tmp_path, skops.io.dumps(trained("svm").pipeline_))
        with pytest.raises(HeadError, match="it holds another classifier"):
            load_head(tmp_path)
        plant(tmp_path, skops.io.dumps(trained("ridge", classes=3).pipeline_))
        with pytest.raises(HeadError, match="it holds other classes"):
            load_head(tmp_path)


def test_fault_21_a_head_of_other_features_is_refused_with_both_fingerprints(tmp_path):
    save(trained("ridge"), tmp_path)
    with pytest.raises(StoreMismatch, match=f"on features {'a' * 12}, these are {'b' * 12};") as caught:
        load_head(tmp_path, fingerprint=OTHER)
    assert caught.value.differences == [("fingerprint", FINGERPRINT, OTHER)]


class TestFault38:
    """An untrusted file in place of the model: nothing in it runs."""

    @pytest.mark.parametrize("name", ["ridge", "dense"])
    @pytest.mark.parametrize("form", ["pickle", "joblib", "npy"])
    def test_fault_38_a_pickle_does_not_run(self, name, form, tmp_path):
        save(trained(name), tmp_path / "head")
        hostile, ran = tmp_path / "hostile", tmp_path / "ran"
        if form == "pickle":
            hostile.write_bytes(pickle.dumps(Payload(ran)))
        elif form == "joblib":
            joblib.dump(Payload(ran), hostile)
        else:
            with open(hostile, "wb") as file:
                np.save(file, np.array([Payload(ran)], dtype=object), allow_pickle=True)
        plant(tmp_path / "head", hostile.read_bytes())
        with pytest.raises(HeadError, match=f"is no model of a {name} head"):
            load_head(tmp_path / "head")
        assert not ran.exists()

    def test_fault_38_a_skops_file_of_other_types_is_refused_by_name(self, tmp_path):
        from sklearn.preprocessing import FunctionTransformer

        head = trained("ridge")
        head.pipeline_.steps[1] = ("scale", FunctionTransformer(os.system))
        save(head, tmp_path)
        with pytest.raises(HeadError, match=r"types that are not trusted: .*system"):
            load_head(tmp_path)

    def test_fault_38_a_lambda_in_a_network_does_not_run(self, tmp_path):
        import keras

        save(trained("dense"), tmp_path / "head")
        ran = tmp_path / "ran"
        path = str(ran)
        run = keras.layers.Lambda(lambda x: (__import__("pathlib").Path(path).mkdir(exist_ok=True), x)[1])
        hostile = keras.Sequential([keras.Input((2, 2, 4)), run, keras.layers.Flatten(), keras.layers.Dense(1)])
        ran.rmdir()  # building it ran it
        hostile.save(tmp_path / "hostile.keras")
        plant(tmp_path / "head", (tmp_path / "hostile.keras").read_bytes())
        with pytest.raises(HeadError, match="is no model of a dense head"):
            load_head(tmp_path / "head")
        assert not ran.exists()

    @pytest.mark.parametrize(("side", "child"), [("left", 10**9), ("right", 10**9), ("left", 0)])
    def test_fault_38_a_tree_with_wrong_children_is_refused(self, side, child, tmp_path):
        forest = trained("forest")
        tree = forest.pipeline_["classify"].estimators_[0].tree_
        getattr(tree, f"children_{side}")[0] = child
        save(forest, tmp_path)
        with pytest.raises(HeadError, match="a tree of its forest is malformed"):
            load_head(tmp_path)

    def test_fault_38_a_tree_that_reads_beyond_a_row_is_refused(self, tmp_path):
        forest = trained("forest")
        forest.pipeline_["classify"].estimators_[0].tree_.feature[0] = 4
        save(forest, tmp_path)
        with pytest.raises(HeadError, match="a tree of its forest is malformed"):
            load_head(tmp_path)


def test_the_record_says_what_the_head_is(tmp_path):
    save(trained("dense"), tmp_path)
    record = json.loads((tmp_path / "head.json").read_text())
    assert record["head"] == "dense"
    assert record["params"] == trained("dense").get_params() | {"units": [5]}
    assert (record["classes"], record["label_classes"]) == (["cat", "dog"], [0, 1])
    assert (record["format"], record["fingerprint"], record["feature_shape"]) == (1, FINGERPRINT, [2, 2, 4])
    assert record["model"] == f"model-{record['sha256'][:12]}.keras"
    assert set(record["versions"]) == {"python", "numpy", "sklearn", "keras", "tensorflow"}
