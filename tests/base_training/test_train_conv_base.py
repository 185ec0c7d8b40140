"""Training a conv base end to end: interrupted or not, and the file as the conv base of a store."""

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline import ConvBaseSpec, extract_features, finetune_head, scan_images, train_conv_base, train_heads
from pipeline.base_training import check_out, decoded_images, run_training
from pipeline.base_training.plan import check_space
from pipeline.base_training.train_images import MEMBER, read_train_images, scored_train_images
from pipeline.cli.main import main
from pipeline.conv_base.load import load_conv_base
from pipeline.conv_base.zoo import ZooModel
from pipeline.errors import HeadError, ImagesError, PipelineError, SpecError, StoreBusy, TooManyBadImages
from pipeline.extraction.callbacks import Callbacks
from pipeline.files.lock import lock_directory
from pipeline.images.augment import Augmentation
from pipeline.images.table import SPLITS, ImageTable
from pipeline.store import open_features
from pipeline.training import hold_out
from tests.fakes import photo_folder

QUICK = {"epochs": 3, "patience": 5, "batch_size": 4, "learning_rate": 1e-2}


class Events(Callbacks):
    """Records the calls; interrupts after an epoch, as Ctrl-C does."""

    def __init__(self, after: int | None = None):
        self.after, self.plans, self.scores, self.resumed, self.rejected, self.decoded = after, [], [], [], [], 0

    def base_training_planned(self, plan):
        self.plans.append(plan)

    def progress(self, step, done, total, unit):
        self.decoded += step == "decoding" and done > 0

    def image_rejected(self, id, reason):
        self.rejected.append(id)

    def finetune_resumed(self, epochs):
        self.resumed.append(epochs)

    def epoch_done(self, name, epoch, epochs, scores):
        self.scores.append(scores)
        if epoch == self.after:
            raise KeyboardInterrupt


def preprocess_input(images):
    """The preprocessing of `tiny`."""
    return images / 127.5 - 1


def tiny(include_top: bool, weights: str | None, input_shape: tuple[int, ...]):
    """A network with dropout and a normalisation, as a function of the zoo."""
    layers = keras.layers
    images = keras.Input(input_shape)
    x = layers.Conv2D(4, 3, 2, activation="relu", name="block1_conv")(images)
    x = layers.BatchNormalization(name="block1_norm")(layers.Dropout(0.2, name="block1_drop")(x))
    x = layers.Conv2D(4, 3, 2, name="block2_conv")(x)
    return keras.Model(images, x, name="tiny")


@pytest.fixture(scope="module", autouse=True)
def zoo():
    """Let the zoo hold `tiny` alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.conv_base.zoo._zoo", lambda: {"tiny": ZooModel("tiny", tiny)})
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty photos of two classes, and `tiny` as a file."""
    folder = tmp_path_factory.mktemp("base_training")
    photo_folder(folder / "photos", per_class=20)
    tiny(False, None, (16, 16, 3)).save(folder / "tiny.keras")
    return folder


@pytest.fixture(scope="module")
def images(folder: Path):
    return scan_images(folder / "photos", test=0.1)


@pytest.fixture(scope="module")
def spec() -> ConvBaseSpec:
    return ConvBaseSpec("tiny", weights="random", size=16)


@pytest.fixture(scope="module")
def trained(folder: Path, images, spec):
    """The result of three epochs."""
    return train_conv_base(images, spec, folder / "trained.keras", **QUICK)


def weights(file: Path) -> list[bytes]:
    return [array.tobytes() for array in keras.models.load_model(file).get_weights()]


def members(images: ImageTable, split: str) -> np.ndarray:
    return np.flatnonzero(images.splits == split)


class TestTraining:
    def test_training_lowers_the_loss_and_reports_the_kept_epoch(self, trained):
        assert trained.epochs == 3 and trained.kept_epoch >= 1
        assert min(trained.history["loss"][1:]) < trained.history["loss"][0]
        assert trained.accuracy == trained.history["val_accuracy"][trained.kept_epoch - 1]
        assert trained.chosen_on == "validation"  # a tenth of the train images is fewer than twenty
        assert not trained.file.with_name("trained.keras.training").exists()

    def test_a_tenth_of_the_train_images_chooses_the_epoch(self, folder, images, spec, monkeypatch):
        monkeypatch.setattr(hold_out, "MIN_IMAGES", 1)
        events = Events()
        result = train_conv_base(images, spec, folder / "held.keras", **QUICK, callbacks=events)
        n_train = int((images.splits == "train").sum())
        assert result.chosen_on == "held-out" and 0 < events.plans[0].held_out < n_train / 5
        assert events.plans[0].train + events.plans[0].held_out == n_train
        losses = result.history["held_out_loss"]
        assert result.kept_epoch == 1 + int(np.argmin(losses))

    def test_an_interrupted_training_ends_with_the_same_bytes(self, tmp_path, images, spec, trained):
        events = Events(after=1)
        with pytest.raises(KeyboardInterrupt):
            train_conv_base(images, spec, tmp_path / "it.keras", **QUICK, callbacks=events)
        assert events.decoded == events.plans[0].train + events.plans[0].validation
        assert not (tmp_path / "it.keras").exists()
        events = Events()
        result = train_conv_base(images, spec, tmp_path / "it.keras", **QUICK, callbacks=events)
        assert events.resumed == [1] and len(events.scores) == 2 and not events.decoded
        assert weights(result.file) == weights(trained.file)
        assert result.history == trained.history

    def test_another_seed_starts_again_and_says_so(self, tmp_path, images, spec, trained, caplog):
        with pytest.raises(KeyboardInterrupt):
            train_conv_base(images, spec, tmp_path / "it.keras", **QUICK, callbacks=Events(after=1))
        events = Events()
        result = train_conv_base(images, spec, tmp_path / "it.keras", **QUICK, seed=1, callbacks=events)
        assert "is of a training with other images or settings" in caplog.text and len(events.scores) == 3
        assert weights(result.file) != weights(trained.file)

    def test_test_images_are_not_read(self, tmp_path, images, spec, monkeypatch):
        read = []
        tasks = decoded_images._tasks
        monkeypatch.setattr(
            decoded_images, "_tasks", lambda *call: (read.append(task.id) or task for task in tasks(*call))
        )
        train_conv_base(images, spec, tmp_path / "it.keras", **QUICK | {"epochs": 1})
        of_test = {images.ids[i] for i in np.flatnonzero(images.split_codes == SPLITS.index("test"))}
        assert of_test and len(read) == len(images) - len(of_test) and not of_test & set(read)

    def test_random_weights_depend_on_the_seed_alone(self, spec):
        def draw(seed: int) -> list[bytes]:
            settings = run_training.Settings(1, 1, 1e-3, 8, Augmentation(), seed, 0.0, None)
            _, base, _ = run_training._build(spec, 2, settings)
            return [array.tobytes() for array in base.get_weights()]

        assert draw(0) == draw(0) != draw(1)

    def test_random_normalisations_are_trained_and_pretrained_ones_keep_their_weights(
        self, folder, tmp_path, images, trained
    ):
        def normalisation(file: Path) -> list[bytes]:
            return [array.tobytes() for array in keras.models.load_model(file).get_layer("block1_norm").get_weights()]

        spec = ConvBaseSpec(str(folder / "tiny.keras"), preprocessing="tf", size=16)
        further = train_conv_base(images, spec, tmp_path / "further.keras", **QUICK | {"epochs": 1})
        initial = normalisation(folder / "tiny.keras")
        assert normalisation(further.file) == initial
        assert not set(normalisation(trained.file)) & set(initial)

    def test_the_default_learning_rate_is_lower_for_pretrained_weights(self, tmp_path, images, spec, monkeypatch):
        rates = []

        def stop(images, spec, directory, settings, callbacks):
            rates.append(settings.learning_rate)
            raise KeyboardInterrupt

        monkeypatch.setattr("pipeline.base_training.train_base.run_training", stop)
        for weights in ("random", "imagenet"):
            with pytest.raises(KeyboardInterrupt):
                train_conv_base(images, ConvBaseSpec(weights=weights), tmp_path / "it.keras")
        assert rates == [1e-3, 1e-4]

    def test_the_learning_rate_is_halved_where_the_loss_stays(self):
        assert run_training.reduced_rate(1.0, [3, 2, 2, 2, 2]) == 1
        assert run_training.reduced_rate(1.0, [3, 2, 2, 2, 2, 2]) == 0.5
        assert run_training.reduced_rate(1.0, [3, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1]) == 0.25


class TestBadImages:
    @pytest.fixture
    def one_bad(self, tmp_path):
        photos = photo_folder(tmp_path / "photos", per_class=6)
        bad = photos / "cats/000.png"
        bad.write_bytes(bad.read_bytes()[:60])
        return scan_images(photos, validation=0.3)

    def test_a_bad_image_is_left_out(self, tmp_path, one_bad, spec):
        events = Events()
        train_conv_base(one_bad, spec, tmp_path / "it.keras", **QUICK | {"epochs": 1}, max_bad=0.2, callbacks=events)
        assert events.rejected == ["cats/000.png"]

    def test_too_many_bad_images_are_an_error_also_when_decoded_already(self, tmp_path, one_bad, spec):
        for _ in range(2):
            with pytest.raises(TooManyBadImages, match=r"1 of 12 images cannot be used, more than 1\.0%"):
                train_conv_base(one_bad, spec, tmp_path / "it.keras", **QUICK)


class TestErrors:
    def test_a_file_that_is_no_keras_file_is_not_replaced(self, tmp_path):
        (tmp_path / "notes.keras").write_text("notes")
        with pytest.raises(PipelineError, match="exists and is not a keras model"):
            check_out(tmp_path / "notes.keras")
        with pytest.raises(PipelineError, match=r"ends in \.keras"):
            check_out(tmp_path / "it.h5")

    def test_a_full_disk_is_an_error_before_decoding(self, tmp_path):
        with pytest.raises(PipelineError, match="make room"):
            check_space(tmp_path, 10**18)

    def test_one_class_in_train_is_an_error(self, tmp_path, images, spec):
        images = images.take(np.flatnonzero(images.labels == 0))
        with pytest.raises(ImagesError, match="fewer than two classes"):
            train_conv_base(images, spec, tmp_path / "it.keras")

    def test_a_loss_that_is_not_finite_is_an_error(self, tmp_path, images, spec):
        with pytest.raises(HeadError, match="lower learning_rate"):
            train_conv_base(images, spec, tmp_path / "it.keras", **QUICK | {"learning_rate": 1e30})

    def test_a_second_training_for_the_same_file_is_an_error(self, tmp_path, images, spec):
        with lock_directory(tmp_path / "it.keras.training"), pytest.raises(StoreBusy):
            train_conv_base(images, spec, tmp_path / "it.keras", **QUICK)

    @pytest.mark.parametrize("setting", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0}])
    def test_a_setting_out_of_range_is_an_error(self, tmp_path, images, spec, setting):
        with pytest.raises(PipelineError, match=next(iter(setting))):
            train_conv_base(images, spec, tmp_path / "it.keras", **setting)


class TestFile:
    def test_the_file_preprocesses_its_images(self, trained):
        rgb = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype(np.float32)
        conv_base = load_conv_base(ConvBaseSpec(str(trained.file), size=16, precision="float32"))
        model = tiny(False, None, (16, 16, 3))
        model.set_weights(keras.models.load_model(trained.file).get_weights())
        expected = model(preprocess_input(rgb)).numpy()
        np.testing.assert_allclose(conv_base.compute(rgb), expected, rtol=1e-4, atol=1e-4)
        assert trained.spec.preprocessing == "own"

    def test_another_preprocessing_is_refused_and_none_is_the_same(self, trained):
        rgb = np.random.default_rng(0).uniform(0, 255, (1, 16, 16, 3)).astype(np.float32)
        spec = {"conv_base": str(trained.file), "size": 16, "precision": "float32"}
        with pytest.raises(SpecError, match="contains its preprocessing: omit --preprocessing tf"):
            load_conv_base(ConvBaseSpec(**spec, preprocessing="tf"))
        computed = [load_conv_base(ConvBaseSpec(**spec, preprocessing=p)).compute(rgb) for p in ("own", "none")]
        np.testing.assert_array_equal(*computed)

    def test_a_store_heads_and_fine_tuning_use_it(self, tmp_path, images, trained):
        spec = ConvBaseSpec(str(trained.file), size=16, cut="top1", precision="float32")
        store = extract_features(images, tmp_path / "store", spec)
        assert store.spec.cut == "block1_norm" and store.feature_shape == (7, 7, 4)
        result = finetune_head(store, params={"epochs": 1, "batch_size": 8}, dense={"epochs": 1, "units": (3,)})
        assert result.name == "finetuned"
        assert train_heads(store, ["ridge"])[0].name == "ridge"

    def test_it_is_trained_further(self, tmp_path, images, trained):
        result = train_conv_base(images, trained.spec, tmp_path / "further.keras", **QUICK | {"epochs": 1})
        names = [keras.models.load_model(file).inputs[0].name for file in (trained.file, result.file)]
        assert names[0] == names[1] and weights(result.file) != weights(trained.file)
        with zipfile.ZipFile(result.file) as archive:
            assert b"augmentation" not in archive.read("config.json")


class TestTrainImages:
    def test_scored_images_that_the_conv_base_was_trained_on_are_warned_of(
        self, tmp_path, folder, images, trained, capsys
    ):
        store = extract_features(images, tmp_path / "same", replace(trained.spec, precision="float32"))
        assert scored_train_images(store, "validation") == scored_train_images(store, "test") == []
        train = {images.ids[i] for i in members(images, "train")}
        command = ["features", str(folder / "photos"), "--conv-base", str(trained.file), "--size", "16"]
        command += ["--precision", "float32", "--validation", "0.7", "--cache", str(tmp_path / "other")]
        assert main(command) == 0
        store = open_features(tmp_path / "other")
        both = train & {store.images.ids[i] for i in members(store.images, "validation")}
        assert both and set(scored_train_images(store, "validation")) == both
        assert f"the conv base was trained on {len(both)} validation images" in capsys.readouterr().err
        assert main(["heads", str(tmp_path / "other"), "--heads", "ridge"]) == 0
        assert f"the conv base was trained on {len(both)} validation images" in capsys.readouterr().err

    def test_a_file_that_is_another_one_now_tells_nothing(self, tmp_path, images, trained):
        file = Path(shutil.copy(trained.file, tmp_path / "it.keras"))
        spec = replace(trained.spec, conv_base=str(file), precision="float32")
        store = extract_features(images, tmp_path / "store", spec)
        assert len(scored_train_images(store, "train")) == len(store.members("train"))
        with zipfile.ZipFile(file, "a") as archive:
            archive.comment = b"another training"
        assert scored_train_images(store, "train") == []

    def test_training_further_keeps_the_images_of_the_first_training(self, tmp_path, images, trained):
        rows = np.sort(np.concatenate([members(images, split)[:8] for split in ("validation", "test")]))
        others = replace(images.take(rows), split_codes=np.zeros(len(rows), images.split_codes.dtype))
        further = train_conv_base(others, trained.spec, tmp_path / "further.keras", **QUICK | {"epochs": 1})
        first, both = read_train_images(trained.file), read_train_images(further.file)
        assert len(first) == len(members(images, "train")) and len(both) == len(first) + len(rows)

    def test_a_list_that_is_compressed_or_damaged_is_none(self, tmp_path):
        for number, (data, kind) in enumerate([(b"1234567", zipfile.ZIP_STORED), (bytes(8), zipfile.ZIP_DEFLATED)]):
            with zipfile.ZipFile(tmp_path / f"{number}.keras", "w", kind) as archive:
                archive.writestr(MEMBER, data)
            assert len(read_train_images(tmp_path / f"{number}.keras")) == 0


class TestCommand:
    def test_train_base_then_features(self, tmp_path, folder, capsys, trained):
        out = tmp_path / "it.keras"
        options = ["--conv-base", str(trained.file), "--size", "16", "--out", str(out), "--epochs", "1", "--augment"]
        assert main(["train-base", str(folder / "photos"), *options, "rotation=20"]) == 0
        printed = capsys.readouterr()
        assert f"features {folder}/photos --cache DIR --conv-base {out} --size 16`" in printed.out
        assert "rotation 20, width shift 0.1" in printed.out and "epoch 1/1: loss" in printed.err
        assert "accuracy   0." in printed.out

    def test_the_store_gets_the_splits_of_the_training(self, tmp_path, folder, capsys, trained):
        options = ["--conv-base", str(trained.file), "--size", "16", "--out", str(tmp_path / "it.keras")]
        assert main(["train-base", str(folder / "photos"), *options, "--epochs", "1", "--test", "0.2"]) == 0
        assert "--size 16 --test 0.2`" in capsys.readouterr().out

    def test_an_interruption_is_status_130_and_the_hint(self, tmp_path, folder, capsys, trained, monkeypatch):
        def interrupt(*call, **options):
            raise KeyboardInterrupt

        monkeypatch.setattr("pipeline.cli.display.callbacks.ConsoleCallbacks.epoch_done", interrupt)
        options = ["--conv-base", str(trained.file), "--size", "16", "--out", str(tmp_path / "it.keras")]
        assert main(["train-base", str(folder / "photos"), *options]) == 130
        assert "the same command continues from there" in capsys.readouterr().err
        assert (tmp_path / "it.keras.training/checkpoint.npz").exists()
