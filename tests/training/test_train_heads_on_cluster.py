"""Stage two on a cluster saves the heads and the scores of the plain run, and leaves nothing in the store."""

import re
import shutil
import zipfile

import numpy as np
import pytest

from pipeline import ConvBaseSpec, extract_features, load_head, open_features, scan_images, train_heads
from pipeline.cli.main import main
from pipeline.errors import ClusterFailed, HeadError
from pipeline.extraction.callbacks import Callbacks
from pipeline.heads.load_head import read_metrics
from pipeline.training import head_task, on_cluster
from tests.fakes import photo_folder

QUICK = {
    "dense": {"units": (4,), "epochs": 2},
    "mlp": {"units": (4,), "epochs": 5},
    "forest": {"n_estimators": 5},
}
SEARCHES = ["logistic", "svm", "ridge", "knn"]


@pytest.fixture
def store(tmp_path, fake_conv_base, monkeypatch):
    """A complete store of 60 images in shards of 16 rows."""
    monkeypatch.setattr("pipeline.extraction.plan.MAX_ROWS", 16)
    extract_features(scan_images(photo_folder(tmp_path / "many", 30)), tmp_path / "cache", ConvBaseSpec(size=8))
    return open_features(tmp_path / "cache")


class Recorder(Callbacks):
    """Records the calls about heads."""

    def __init__(self):
        self.started, self.epochs, self.trained, self.failed = [], [], [], {}

    def head_started(self, name):
        self.started.append(name)

    def epoch_done(self, name, epoch, epochs, scores):
        self.epochs.append((name, epoch, epochs, sorted(scores)))

    def head_trained(self, name, accuracy, seconds):
        self.trained.append(name)

    def head_failed(self, name, reason):
        self.failed[name] = reason


def scratch_files(store):
    return [path.name for path in store.directory.iterdir() if path.name.startswith(".heads")]


def saved(store):
    """The content of the saved heads: arrays and structure of their models, and scores without seconds."""
    found = {}
    for directory in store.heads_directory.iterdir():
        scores = {**read_metrics(directory), "fit_seconds": None, "model_sha256": None}
        if directory.name == "dense":  # its file holds the time
            model = [weights.tobytes() for weights in load_head(directory).model_.get_weights()]
        else:
            (path,) = directory.glob("model-*")
            with zipfile.ZipFile(path) as file:  # names of arrays are addresses in memory
                model = sorted(file.read(name) for name in file.namelist() if name.endswith(".npy"))
                model.append(re.sub(rb"\d{9,}", b"", file.read("schema.json")))
        found[directory.name] = model, scores
    return found


def test_the_heads_are_those_of_the_plain_run(store, cluster):
    extract_features(store.images, store.directory, store.spec, views=3)
    store, names = open_features(store.directory), [*QUICK, *SEARCHES]
    plain = {head.name: head for head in train_heads(store, names, params=QUICK)}
    expected, callbacks = saved(store), Recorder()
    shutil.rmtree(store.heads_directory)
    trained = train_heads(store, names, params=QUICK, callbacks=callbacks, cluster=cluster)
    assert saved(store) == expected and set(expected) == set(names)
    assert [head.name for head in trained] == sorted(plain, key=lambda name: plain[name].rank())
    for head in trained:
        assert head.history == plain[head.name].history
        assert getattr(head.head, "search_", None) == getattr(plain[head.name].head, "search_", None)
    scores = ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert callbacks.epochs == [("dense", 1, 2, scores), ("dense", 2, 2, scores)]
    assert sorted(callbacks.started) == sorted(callbacks.trained) == sorted(names)
    assert scratch_files(store) == []


def test_each_value_and_fold_is_a_task(store, cluster, monkeypatch):
    tasks, run = [], on_cluster.Cluster.run
    monkeypatch.setattr(
        on_cluster.Cluster, "run", lambda cluster, function, some: run(cluster, function, noted(some, tasks))
    )
    train_heads(store, ["logistic", "knn", "forest"], repeats=2, params={"forest": QUICK["forest"]}, cluster=cluster)
    count = {name: sum(task.head.name == name for task in tasks) for name in ("logistic", "knn", "forest")}
    assert count == {"logistic": 2 * 6 * 5, "knn": 2 * 5, "forest": 2}


def noted(some, tasks):
    for task in some:
        tasks.append(task)
        yield task


def test_each_seed_is_a_task_and_the_head_of_the_first_is_saved(store, cluster):
    params = {"forest": {"n_estimators": 1, "max_depth": 1}}
    (plain,) = train_heads(store, ["forest"], params=params, repeats=4)
    expected, callbacks = saved(store), Recorder()
    (trained,) = train_heads(store, ["forest"], params=params, repeats=4, callbacks=callbacks, cluster=cluster)
    assert trained.repeats == plain.repeats and len(set(plain.repeats.accuracies)) > 1
    assert saved(store) == expected
    assert callbacks.started == ["forest", *(f"forest with seed {seed}" for seed in (1, 2, 3))]


def test_a_head_that_cannot_be_trained_does_not_stop_the_others(store, cluster):
    params, callbacks = {"logistic": {"C": -1.0}, "knn": {"cv": 0}, "svm": {"cv": "five"}}, Recorder()
    trained = train_heads(
        store, ["logistic", "svm", "knn", "ridge"], params=params, callbacks=callbacks, cluster=cluster
    )
    plain = Recorder()
    assert len(train_heads(store, ["logistic", "svm", "knn", "ridge"], params=params, callbacks=plain)) == len(trained)
    assert callbacks.failed == plain.failed and list(callbacks.failed) != []
    with pytest.raises(HeadError, match="logistic cannot be trained: "):
        train_heads(store, ["logistic"], params={"logistic": {"C": -1.0}}, cluster=cluster)
    assert scratch_files(store) == []


def test_heads_are_saved_as_they_are_finished(store, cluster, monkeypatch):
    """The second head is lost on every worker; the first one is saved."""
    run_head_task = head_task.run_head_task

    def fail(task):
        if task.head.name == "forest":
            raise OSError("no disk")
        return run_head_task(task)

    monkeypatch.setattr(on_cluster, "run_head_task", fail)
    with pytest.raises(ClusterFailed, match=r"^forest could not be computed on the cluster: OSError: no disk"):
        train_heads(store, ["ridge", "forest"], cluster=cluster)
    assert [path.name for path in store.heads_directory.iterdir()] == ["ridge"]
    assert scratch_files(store) == []


def test_an_interruption_keeps_the_finished_heads_and_removes_the_files(store, cluster):
    class Interrupt(Callbacks):
        def head_trained(self, name, accuracy, seconds):
            assert scratch_files(store)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_heads(store, ["forest", "logistic"], callbacks=Interrupt(), cluster=cluster)
    assert [path.name for path in store.heads_directory.iterdir()] == ["forest"]
    assert scratch_files(store) == []


def test_a_worker_that_does_not_see_the_store_gets_no_tasks(store, cluster, monkeypatch):
    from distributed import get_worker

    blind = list(cluster._client.scheduler_info()["workers"])[1]
    run_head_task = head_task.run_head_task

    def run(task):
        if get_worker().address == blind:
            return head_task.NotMounted(task.job.store)
        return run_head_task(task)

    monkeypatch.setattr(on_cluster, "run_head_task", run)
    assert len(train_heads(store, ["ridge", "logistic"], cluster=cluster)) == 2
    assert cluster._refused == {blind: f"it cannot read {store.directory}: is the store mounted there?"}


def test_the_pooled_files_hold_what_heads_would_compute(store, tmp_path):
    from pipeline.heads.pooled_files import map_array, write_pooled, write_scaled
    from pipeline.heads.shared_features import SharedFeatures

    X, _ = store.on_demand("train")
    for how in ("avg", "max", "flatten"):
        shared, read = SharedFeatures(X), []
        pooled = write_pooled(tmp_path / f"{how}.npy", X, how, read.append)
        scaler, scaled = shared.scaled(how)
        written = write_scaled(tmp_path / f"{how}-scaled.npy", pooled)
        np.testing.assert_array_equal(pooled, shared.pooled(how))
        np.testing.assert_array_equal(map_array(tmp_path / f"{how}-scaled.npy"), scaled)
        np.testing.assert_array_equal([written.mean_, written.scale_], [scaler.mean_, scaler.scale_])
        assert sum(read) == len(X) and type(map_array(tmp_path / f"{how}-scaled.npy")) is np.ndarray


def test_the_command_says_that_it_is_not_worth_it_and_does_it_with_real_processes(store, capsys):
    command = ["heads", str(store.directory), "--heads", "dense,knn", "--epochs", "2"]
    assert main(command) == 0
    plain, expected = capsys.readouterr().out.splitlines(), saved(store)
    shutil.rmtree(store.heads_directory)
    assert main([*command, "--on", "local:2"]) == 0
    output = capsys.readouterr()
    assert saved(store) == expected
    assert "--on is not worth it for 60 rows: below 500,000 one process is as fast" in " ".join(output.err.split())
    assert "cluster    2 workers on 1 host of local:2" in output.out.splitlines()
    assert [line.split()[:2] for line in output.out.splitlines()][-4:] == [line.split()[:2] for line in plain][-4:]
