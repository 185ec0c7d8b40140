"""Fine-tuning from the cache: the same computation as end to end, interrupted or not."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline import ConvBaseSpec, extract_features, load_head, open_features, scan_images
from pipeline.cli.main import main
from pipeline.conv_base.keras_setup import run_isolated
from pipeline.conv_base.load import load_conv_base
from pipeline.conv_base.load_top_layers import load_top_layers
from pipeline.errors import HeadError, SpecError, StoreBusy, StoreError, StoreMismatch
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.files.lock import lock_directory
from pipeline.finetune import finetune_head
from pipeline.finetune.frozen_features import compute_frozen_features
from pipeline.finetune.tuning import Tuning
from pipeline.heads import batches, compiled_network, dense_network, head_names, make_head
from pipeline.heads.finetuned import TuningSetup
from pipeline.heads.load_head import read_metrics
from pipeline.heads.rows_on_demand import is_read_on_demand
from pipeline.training import hold_out
from pipeline.training.fit_and_score import open_splits
from scripts.finetune_speed import Ways, compare, write_images
from tests.fakes import Recorder, photo_folder
from tests.heads.test_saving import plant

MOBILENET = ConvBaseSpec(
    "mobilenet_v2",
    conv_base_args={"alpha": 0.35},
    weights="random",
    size=32,
    cut="top2",
    precision="float32",
    store_dtype="float32",
)
VGG = ConvBaseSpec("vgg16", weights="random", size=32, cut="top1", precision="float32", store_dtype="float32")
DENSE = {"units": (5,), "epochs": 2, "dropout": 0.3, "batch_size": 4}
TUNED = {"learning_rate": 1e-3, "epochs": 3, "batch_size": 4, "patience": 5}


def tiny_conv_base(path: Path) -> None:
    """Save a conv base of three small blocks, two of them with a connection that skips layers, and dropout."""
    layers, rng = keras.layers, np.random.default_rng(0)

    def conv_and_norm(x, block, strides=1):
        x = layers.Conv2D(4, 3, strides, padding="same", name=f"block_{block}_conv")(x)
        return layers.BatchNormalization(name=f"block_{block}_bn")(x)

    images = keras.Input((16, 16, 3), name="images")
    x = layers.Conv2D(4, 3, 2, padding="same", activation="relu", name="stem")(images)
    x = layers.Add(name="block_1_add")([x, conv_and_norm(x, 1)])
    shortcut = layers.Conv2D(4, 1, 2, name="block_2_shortcut")(x)
    x = layers.Add(name="block_2_add")([shortcut, conv_and_norm(x, 2, 2)])
    x = layers.Dropout(0.5, name="block_2_drop")(x)
    x = layers.ReLU(name="block_3_relu")(conv_and_norm(x, 3))
    model = keras.Model(images, x, name="tiny")
    model.set_weights([rng.uniform(0.1, 0.5, weight.shape) for weight in model.get_weights()])
    model.save(path)


def tiny_spec(folder: Path, cut: str | None = "top2") -> ConvBaseSpec:
    return ConvBaseSpec(
        str(folder / "tiny.keras"), preprocessing="tf", size=16, cut=cut, precision="float32", store_dtype="float32"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny conv base, twenty photos, and a store of them, cut below the two uppermost blocks."""
    folder = tmp_path_factory.mktemp("finetune")
    tiny_conv_base(folder / "tiny.keras")
    images = scan_images(photo_folder(folder / "photos"), validation=0.3)
    extract_features(images, folder / "store", tiny_spec(folder))
    return folder


@pytest.fixture
def store(folder: Path, tmp_path: Path):
    """A copy of the store in `folder`, without heads."""
    return open_features(shutil.copytree(folder / "store", tmp_path / "store"))


@pytest.fixture(scope="module")
def done(folder: Path):
    """The result of fine-tuning a copy of the store, and the copy."""
    store = open_features(shutil.copytree(folder / "store", folder / "tuned"))
    return tune(store), store


@pytest.fixture(scope="module")
def stopped(folder: Path) -> Path:
    """A copy of the store on which fine-tuning was interrupted after its first epoch."""
    store = open_features(shutil.copytree(folder / "store", folder / "stopped"))
    with pytest.raises(KeyboardInterrupt):
        tune(store, callbacks=Interrupting(after=1))
    assert not store.heads_directory.exists()
    return store.directory


@pytest.fixture
def interrupted(stopped: Path, tmp_path: Path):
    return open_features(shutil.copytree(stopped, tmp_path / "interrupted"))


def tune(store, *, callbacks=SILENT, views=None, **changes):
    return finetune_head(store, params=TUNED | changes, dense=DENSE, views=views, callbacks=callbacks)


def tune_identity(store) -> str:
    tuning = Tuning(store, open_splits(store, 1), 1, load_top_layers(store.spec), SILENT)
    return tuning.hash_training(make_head("dense"))


class Interrupting(Callbacks):
    """Interrupts after an epoch, as Ctrl-C does; records after how many epochs a run resumed."""

    def __init__(self, after: int):
        self.after, self.resumed_after = after, None

    def finetune_resumed(self, epochs):
        self.resumed_after = epochs

    def epoch_done(self, name, epoch, epochs, scores):
        if name == "finetuned" and epoch == self.after:
            raise KeyboardInterrupt


class Sgd:
    """Plain gradient descent in place of Adam."""

    def __init__(self, weights, learning_rate):
        self.weights, self.rate, self.state = [weight.value for weight in weights], learning_rate, []

    def step(self, gradients):
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.assign_sub(self.rate * gradient)


def end_to_end(spec: ConvBaseSpec, cut: str, head: keras.Sequential) -> keras.Model:
    """The whole conv base and a head, as Keras' guide sets it up: frozen up to the cut, normalisations frozen."""
    whole = load_conv_base(ConvBaseSpec(**{**vars(spec), "cut": None})).model
    whole.trainable = True
    inner = whole.layers[-1]
    above = False
    for layer in inner.layers:
        layer.trainable = above and not isinstance(layer, keras.layers.BatchNormalization)
        above = above or layer.name == cut
    copy = keras.Sequential.from_config(head.get_config())
    copy.set_weights(head.get_weights())
    return keras.Sequential([whole, copy])


class TestEqualToTrainingEndToEnd:
    @pytest.mark.parametrize("spec", [VGG, MOBILENET], ids=["vgg16", "mobilenet_v2"])
    def test_steps_of_gradient_descent_give_the_weights_of_training_end_to_end(self, spec, monkeypatch):
        monkeypatch.setattr(compiled_network, "Adam", Sgd)
        rate, rng = 0.05, np.random.default_rng(0)
        images = rng.uniform(0, 255, (12, 32, 32, 3)).astype(np.float32)
        y = np.arange(12) % 2
        lower = load_conv_base(spec)
        maps, top_layers = lower.compute(images), load_top_layers(lower.spec)
        dense = make_head("dense", units=(5,), epochs=1).fit(dense_network.predict_outputs(top_layers, maps), y)
        reference = end_to_end(spec, lower.spec.cut, dense.model_)
        before = [weight.numpy() for weight in reference.trainable_weights]

        head = make_head("finetuned", learning_rate=rate, epochs=1, batch_size=4)
        head.fit(maps, y, setup=TuningSetup(top_layers, dense))

        reference.compile(keras.optimizers.SGD(rate), "binary_crossentropy")
        seed = np.random.RandomState(0).randint(2**31 - 1)
        order = np.random.default_rng(seed).permutation(12)
        for start in range(0, 12, 4):
            rows = order[start : start + 4]
            reference.train_on_batch(images[rows], y[rows, None].astype(np.float32))
        tuned = head.model_.trainable_weights
        assert len(tuned) == len(before) > 4
        moved = 0
        for ours, theirs, old in zip(tuned, reference.trainable_weights, before, strict=True):
            assert np.linalg.norm(ours.numpy() - theirs.numpy()) <= 1e-4 * np.linalg.norm(theirs.numpy())
            moved += np.linalg.norm(theirs.numpy() - old) > 1e-3 * np.linalg.norm(old)
        assert moved >= 2  # or the test would say nothing

    def test_the_maps_and_the_layers_above_give_the_features_of_the_whole_conv_base(self, folder):
        images = np.random.default_rng(1).uniform(0, 255, (4, 16, 16, 3)).astype(np.float32)
        lower, whole = load_conv_base(tiny_spec(folder)), load_conv_base(tiny_spec(folder, None))
        through = load_top_layers(lower.spec)(lower.compute(images), training=False).numpy()
        np.testing.assert_allclose(through, whole.compute(images), rtol=1e-5, atol=1e-6)

    def test_the_script_that_times_both_ways_has_them_compute_the_same(self, folder, tmp_path):
        pixels = write_images(tmp_path / "noise", 12, 16)
        ways = Ways(tmp_path / "noise", pixels, tiny_spec(folder), 4, tmp_path / "store")
        cached, whole = (network.run("train", data)["loss"] for network, data in ways.networks.values())
        assert cached == pytest.approx(whole, rel=1e-4)
        assert {len(seconds) for seconds in compare(ways, rounds=1).values()} == {1}


class TestTraining:
    def test_normalisations_do_not_change_and_other_weights_do(self, done):
        result, store = done
        before = {weight.path: weight.numpy() for weight in load_top_layers(store.spec).weights}
        top_layers = result.head.model_.get_layer("upper")
        after = {weight.path: weight.numpy() for weight in top_layers.weights}
        assert before.keys() == after.keys()
        still = {path for path in before if np.array_equal(before[path], after[path])}
        assert sum("bn" in path for path in before) == 8
        assert {path for path in before if "bn" in path} <= still
        assert {path for path in before if path.endswith("kernel")}.isdisjoint(still)

    def test_the_dropout_of_the_conv_base_is_off(self, store):
        X, y = store.load("train")
        losses = []
        for rate in (0.0, 0.99):
            top_layers = load_top_layers(store.spec)
            top_layers.get_layer("block_2_drop").rate = rate
            dense = make_head("dense", units=(3,), epochs=1).fit(dense_network.predict_outputs(top_layers, X), y)
            head = make_head("finetuned", epochs=2, learning_rate=0.1)
            losses.append(head.fit(X, y, setup=TuningSetup(top_layers, dense)).history_["loss"])
        assert losses[0] == losses[1]

    def test_the_best_weights_are_kept(self, store):
        result = tune(store, learning_rate=0.01, epochs=4)
        history = result.head.history_["val_loss"]
        X, y = store.load("validation")
        p = np.clip(result.head.predict_proba(X)[np.arange(len(y)), y], 1e-7, 1)
        kept = [result.kept_epoch] if result.kept_epoch else []
        assert all(history[epoch - 1] == min(history) for epoch in kept)
        assert -np.log(p).mean() <= min(history) * (1 + 1e-5)

    def test_weights_of_an_epoch_that_is_worse_are_not_kept(self, store):
        result = tune(store, learning_rate=5.0, patience=1)
        assert result.kept_epoch == 0
        assert len(result.head.history_["loss"]) == 1
        assert result.evaluation.accuracy == result.frozen["accuracy"]

    def test_frozen_features_are_the_same_on_disk_as_in_memory(self, store, tmp_path):
        top_layers, maps = load_top_layers(store.spec), {"train": open_splits(store, 1)["train"]}
        counts = []
        store.finetuning_directory.mkdir()

        def features(on_disk):
            return compute_frozen_features(
                top_layers, store, maps, on_disk=on_disk, on_rows=lambda *done: counts.append(done)
            )

        with features(False) as in_memory, features(True) as on_disk:
            X, y, *_ = on_disk["train"]
            assert is_read_on_demand(X)
            np.testing.assert_array_equal(X[np.arange(len(y))[::-1]], in_memory["train"][0][::-1])
        assert counts == 2 * [(len(y), len(y))]
        assert not list(store.finetuning_directory.iterdir())

    def test_free_memory_changes_only_where_features_are_stored(self, folder, tmp_path, monkeypatch):
        monkeypatch.setattr(batches, "RUN_BYTES", 256)  # of more than one row, and fewer than all
        plans, weights = [], []
        watch = Callbacks()
        watch.finetune_planned = lambda plan, store: plans.append(plan)
        for free in (10**9, 0):
            monkeypatch.setattr("pipeline.finetune.plan.available_memory", lambda free=free: free)
            store = open_features(shutil.copytree(folder / "store", tmp_path / str(free)))
            weights.append(tune(store, epochs=1, callbacks=watch).head.model_.get_weights())
        assert [plan.on_disk for plan in plans] == [False, True]
        for one, two in zip(*weights, strict=True):
            np.testing.assert_array_equal(one, two)

    def test_maps_go_through_the_top_layers_in_small_batches(self, store, monkeypatch):
        top_layers, maps = load_top_layers(store.spec), {"train": open_splits(store, 1)["train"]}
        with compute_frozen_features(top_layers, store, maps, on_disk=False, on_rows=lambda *done: None) as features:
            expected = features["train"][0][:]
        monkeypatch.setattr(dense_network, "MAX_BYTES", 5 * 4 * np.prod(store.feature_shape))
        counts = []
        with compute_frozen_features(
            top_layers, store, maps, on_disk=False, on_rows=lambda *done: counts.append(done)
        ) as features:
            np.testing.assert_allclose(features["train"][0][:], expected, rtol=1e-5)
        assert counts == [(5, 15), (10, 15), (15, 15)]

    def test_features_that_are_not_finite_are_an_error_that_names_the_store(self, store):
        top_layers = load_top_layers(store.spec)
        top_layers.get_layer("block_3_conv").kernel.assign(np.full((3, 3, 4, 4), np.inf))
        maps = {"train": open_splits(store, 1)["train"]}
        with (
            pytest.raises(
                StoreError, match=r"store: above block_1_add, features of 15 of 15 consecutive train images are not"
            ),
            compute_frozen_features(top_layers, store, maps, on_disk=False, on_rows=lambda *done: None),
        ):
            pass

    @pytest.mark.parametrize("views", [1, 3])
    def test_the_epoch_is_chosen_on_held_out_train_images_if_there_are_enough(
        self, folder, tmp_path, monkeypatch, views
    ):
        monkeypatch.setattr(hold_out, "MIN_IMAGES", 2)
        images = scan_images(folder / "photos", validation=0.3)
        store = extract_features(images, tmp_path / "store", tiny_spec(folder), views=views)
        calls = []
        result = tune(store, epochs=2, callbacks=Recorder(calls))
        n = 2 * (len(store.members("train")) - 2)
        assert [call for call in calls if call[0] == "tuning"][-1] == ("tuning", n, n, "images")
        assert len(result.history["held_out_loss"]) == 2
        assert read_metrics(store.heads_directory / "finetuned")["epoch_chosen_on"] == "train"

    def test_an_epoch_takes_one_view_of_each_image(self, folder, tmp_path):
        images = scan_images(folder / "photos", validation=0.3)
        store = extract_features(images, tmp_path / "store", tiny_spec(folder), views=3)
        seen = []
        watch = Recorder(seen)
        result = tune(store, epochs=2, callbacks=watch)
        n = 2 * len(store.members("train"))
        assert [call for call in seen if call[0] == "tuning"][-1] == ("tuning", n, n, "images")
        assert read_metrics(store.heads_directory / "finetuned")["views"] == 3
        weights, alone = result.head.model_.get_weights(), tune(store, epochs=2, views=1).head.model_.get_weights()
        assert not all(np.array_equal(a, b) for a, b in zip(weights, alone, strict=True))

    def test_it_learns_three_classes(self, folder, tmp_path):
        images = scan_images(photo_folder(tmp_path / "photos", 8, ("ape", "bee", "cat")), validation=0.3)
        result = tune(extract_features(images, tmp_path / "store", tiny_spec(folder)), epochs=1)
        assert result.head.model_.output_shape == (None, 3)
        assert result.evaluation.classes == ("ape", "bee", "cat")


class TestInterruptions:
    def test_a_resumed_training_gives_the_result_of_one_without_interruption(self, done, interrupted):
        whole, watch = done[0].head, Interrupting(after=99)
        resumed = tune(interrupted, callbacks=watch).head
        assert watch.resumed_after == 1
        for one, two in zip(whole.model_.get_weights(), resumed.model_.get_weights(), strict=True):
            np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-7)
        assert resumed.history_["loss"] == pytest.approx(whole.history_["loss"], rel=1e-5)
        assert not list(interrupted.finetuning_directory.glob("*.npz"))

    def test_another_learning_rate_reuses_the_head_on_frozen_features(self, done, interrupted, monkeypatch):
        monkeypatch.setattr("pipeline.finetune.tuning.compute_frozen_features", None)
        watch = Interrupting(after=99)
        result = tune(interrupted, learning_rate=1e-4, epochs=1, callbacks=watch)
        assert watch.resumed_after is None
        assert result.frozen["accuracy"] == done[0].frozen["accuracy"]

    def test_other_labels_are_another_training(self, interrupted):
        before = tune_identity(interrupted)
        interrupted.images.labels[0] ^= 1
        assert tune_identity(interrupted) != before

    def test_a_training_is_resumed_with_another_number_of_epochs(self, interrupted):
        watch = Interrupting(after=99)
        assert len(tune(interrupted, epochs=2, callbacks=watch).head.history_["loss"]) == 2
        assert watch.resumed_after == 1

    @pytest.mark.parametrize(
        "rate", [1e-3, 5.0], ids=["the last epoch is the best", "no epoch is better than the start"]
    )
    def test_fewer_epochs_than_are_done_give_the_result_of_that_many(self, folder, tmp_path, rate):
        once, twice = (open_features(shutil.copytree(folder / "store", tmp_path / name)) for name in ("one", "two"))
        with pytest.raises(KeyboardInterrupt):
            tune(twice, learning_rate=rate, callbacks=Interrupting(after=3))
        fewer = tune(twice, learning_rate=rate, epochs=2)
        expected = tune(once, learning_rate=rate, epochs=2)
        assert fewer.head.history_ == expected.head.history_
        assert fewer.kept_epoch == expected.kept_epoch
        for one, two in zip(expected.head.model_.get_weights(), fewer.head.model_.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)

    def test_a_damaged_checkpoint_is_ignored(self, interrupted, caplog):
        path = interrupted.finetuning_directory / "checkpoint.npz"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        watch = Interrupting(after=99)
        tune(interrupted, epochs=1, callbacks=watch)
        assert watch.resumed_after is None
        assert "damaged" in caplog.text

    @pytest.mark.parametrize("method", ["finetune_resumed", "progress", "epoch_done"])
    @pytest.mark.parametrize("error", [ValueError, TypeError])
    def test_an_error_of_a_callback_is_not_one_of_the_head(self, interrupted, method, error):
        def fail(*arguments):
            raise error("mine")

        callbacks = Callbacks()
        setattr(callbacks, method, fail)
        with pytest.raises(error, match=r"^mine$"):
            tune(interrupted, callbacks=callbacks)

    def test_two_runs_at_a_time_are_an_error(self, store):
        with lock_directory(store.finetuning_directory), pytest.raises(StoreBusy):
            tune(store)


class TestTheResult:
    def test_a_loaded_head_predicts_what_the_trained_one_did(self, done):
        result, store = done
        loaded = load_head(store.heads_directory / "finetuned", fingerprint=store.fingerprint)
        X, _ = store.load("validation")
        np.testing.assert_array_equal(loaded.predict_proba(X), result.head.predict_proba(X))
        assert loaded.count_parameters() == result.parameters
        assert type(loaded) is type(result.head)

    def test_the_metrics_hold_the_time_and_the_scores_before_tuning(self, done):
        result, store = done
        metrics = read_metrics(store.heads_directory / "finetuned")
        assert metrics["way"] == "fine-tuned"
        assert metrics["cut"] == "block_1_add"
        assert metrics["epoch_chosen_on"] == "validation"
        assert metrics["accuracy"] == result.evaluation.accuracy
        assert metrics["frozen"]["accuracy"] == result.frozen["accuracy"]
        assert metrics["seconds_per_epoch"] > 0
        assert len(metrics["history"]["val_loss"]) == 3

    def test_an_untrusted_file_in_its_place_is_an_error(self, done, tmp_path):
        _, store = done
        directory = shutil.copytree(store.heads_directory / "finetuned", tmp_path / "finetuned")
        maps = keras.Input(store.feature_shape)
        flat = keras.layers.Flatten()(keras.layers.Lambda(lambda x: x + 0.0)(maps))
        keras.Model(maps, keras.layers.Dense(1)(flat)).save(tmp_path / "untrusted.keras")
        plant(directory, (tmp_path / "untrusted.keras").read_bytes())
        with pytest.raises(HeadError, match="Lambda"):
            load_head(directory)

    def test_a_head_for_other_maps_in_its_place_is_an_error(self, done, tmp_path):
        _, store = done
        directory = shutil.copytree(store.heads_directory / "finetuned", tmp_path / "finetuned")
        keras.Sequential([keras.Input((3, 3, 8)), keras.layers.Flatten(), keras.layers.Dense(1)]).save(
            tmp_path / "other.keras"
        )
        plant(directory, (tmp_path / "other.keras").read_bytes())
        with pytest.raises(HeadError, match=r"maps \(3, 3, 8\)"):
            load_head(directory)

    def test_as_layers_it_gives_the_same_probabilities(self, done):
        from pipeline.heads.keras_layers import head_layers

        head, store = done[0].head, done[1]
        X, _ = store.load("validation")
        outputs = tf.constant(X)
        for layer in head_layers(head, store.classes):
            outputs = layer(outputs)
        np.testing.assert_allclose(outputs.numpy()[:, 0], head.predict_proba(X)[:, 1], rtol=1e-4, atol=1e-6)

    def test_it_cannot_be_trained_on_features(self, store):
        assert "finetuned" not in head_names()
        with pytest.raises(HeadError, match="finetune"):
            make_head("finetuned").fit(*store.load("train"))


class TestErrors:
    def test_a_store_without_a_cut_names_the_command_that_makes_one_with_a_cut(self, photos, tmp_path, fake_conv_base):
        store = extract_features(scan_images(photos), tmp_path / "store", ConvBaseSpec(size=8))
        with pytest.raises(StoreError, match="--cut top1"):
            finetune_head(store)

    def test_a_cut_that_a_connection_skips_lists_the_other_cuts(self, folder):
        spec = load_conv_base(tiny_spec(folder, "block_2_conv")).spec
        with pytest.raises(
            SpecError, match="from the top: block_3_bn, block_3_conv, block_2_drop, block_2_add, block_1"
        ):
            load_top_layers(spec)

    def test_other_weights_than_those_of_the_store(self, folder):
        spec = load_conv_base(tiny_spec(folder)).spec
        with pytest.raises(StoreMismatch, match="sha256"):
            load_top_layers(ConvBaseSpec(**{**vars(spec), "weights_sha256": "0" * 64}))

    @pytest.mark.parametrize("wrong", [{"learning_rate": 0}, {"epochs": 0}, {"patience": 0}, {"patience": None}])
    def test_parameters_out_of_range(self, store, wrong):
        with pytest.raises(HeadError, match=next(iter(wrong))):
            tune(store, **wrong)


class TestTheCommand:
    def test_it_prints_the_scores_before_and_after_tuning(self, store, capfd):
        options = ["--epochs", "1", "--head-epochs", "1", "--units", "5", "--batch-size", "8"]
        assert main(["finetune", str(store.directory), *options]) == 0
        output = capfd.readouterr().out
        assert "finetuned" in output
        assert "before tuning" in output
        assert "block_1_add" in output
        assert "finetuned, before tuning: the epoch was chosen on the validation images" in output

    def test_the_store_is_up_to_date_for_the_number_of_blocks_too(self, folder, store, monkeypatch):
        monkeypatch.setattr("pipeline.conv_base.load.load_conv_base", None)
        images = open_features(store.directory).images
        again = extract_features(images, store.directory, tiny_spec(folder))
        assert again.spec.cut == "block_1_add"


# The input of the uppermost block of one conv base of each family.
CUTS = {
    "vgg16": "block4_pool",
    "mobilenet": "conv_pw_12_relu",
    "mobilenet_v2": "block_15_add",
    "mobilenet_v3_small": "expanded_conv_9_add",
    "resnet50": "conv4_block6_out",
    "resnet50_v2": "conv4_block6_out",
    "densenet121": "pool4_pool",
    "efficientnet_b0": "block6d_add",
    "efficientnet_v2_b0": "block5e_add",
    "inception_v3": "mixed9",
    "inception_resnet_v2": "mixed_7a",
    "xception": "add_11",
    "convnext_tiny": "convnext_tiny_downsampling_block_2",
}


def uppermost(name: str, cut: str = "top1") -> str:
    from pipeline.conv_base.cuts import find_cut, single_cuts
    from pipeline.conv_base.zoo import build, find_zoo_model

    def look() -> str:
        with keras.StatelessScope(initialize_variables=False):  # the graph alone: weights would take most of the time
            model = build(find_zoo_model(name), ConvBaseSpec(name, size=96))
        found = find_cut(model, cut, name)
        assert found in single_cuts(model)[:-1]
        return found

    return run_isolated(look)


class TestCuts:
    @pytest.mark.parametrize("name", CUTS)
    def test_the_uppermost_block_follows_this_layer(self, name):
        assert uppermost(name) == CUTS[name]

    def test_blocks_are_counted_from_the_top(self):
        assert [uppermost("vgg16", f"top{n}") for n in (2, 4)] == ["block3_pool", "block1_pool"]

    def test_more_blocks_than_there_are_is_an_error(self):
        with pytest.raises(SpecError, match="vgg16 has 4 blocks that can be cut off, not 5"):
            uppermost("vgg16", "top5")

    def test_cells_that_skip_one_another_are_an_error_that_lists_the_layers(self):
        with pytest.raises(SpecError, match=r"nasnet_mobile has no blocks known by name.*normal_concat_12"):
            uppermost("nasnet_mobile")

    def test_a_number_of_blocks_means_the_same_features_as_the_layer(self):
        asked, named = load_conv_base(VGG), load_conv_base(ConvBaseSpec(**{**vars(VGG), "cut": "block4_pool"}))
        assert (asked.spec.cut, asked.sources["cut"]) == ("block4_pool", "top1")
        assert asked.spec.identity() == named.spec.identity()
