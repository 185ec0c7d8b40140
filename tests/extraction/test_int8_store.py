"""Stores made with `precision="int8"`: one quantised conv base, kept in the store, makes every feature."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import ConvBaseSpec, extract_features, open_features, repair_store, scan_images, train_heads, verify_store
from pipeline.cli.main import main
from pipeline.conv_base.fingerprint import hash_identity
from pipeline.errors import SpecError, StoreMismatch
from pipeline.extraction import quantize_conv_base
from pipeline.extraction.callbacks import Callbacks
from pipeline.files.durable import sha256_of, sha256_of_file
from pipeline.images.augment import augment
from pipeline.predict.label_images import Predictor
from pipeline.store import NO_ROW, count_views, open_views
from tests.clusters import cluster_of_threads
from tests.exporting import conv_base_file
from tests.fakes import Recorder, photo, photo_folder
from tests.store.small_stores import contents_of

ROWS = 8  # in a shard
OPTIONS = ["--preprocessing", "rescale", "--size", "24x20", "--precision", "int8"]


class Made:
    """Photos of two classes, a tiny conv base, and an int8 store of them with one augmented view."""

    def __init__(self, root: Path):
        self.root, self.photos = root, photo_folder(root / "photos")
        self.conv_base = conv_base_file(root / "tiny.keras")
        self.spec = ConvBaseSpec(str(self.conv_base), preprocessing="rescale", size=(24, 20), precision="int8")
        self.cache = root / "cache"
        self.images = scan_images(self.photos, validation=0.3)
        extract_features(self.images, self.cache, self.spec, views=2)
        self.model = (self.cache / "conv_base.tflite").read_bytes()

    def copy(self, directory: Path) -> Path:
        return Path(shutil.copytree(self.cache, directory))

    def fill(self, directory: Path, spec: ConvBaseSpec | None = None, **options: Any):
        return extract_features(options.pop("images", self.images), directory, spec or self.spec, **options)


@pytest.fixture(scope="module", autouse=True)
def small_and_quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.extraction.plan.MAX_ROWS", ROWS)
        patch.setattr("pipeline.conv_base.int8.MIN_SECONDS", 0.01)
        yield


@pytest.fixture(scope="module")
def made(small_and_quick: None, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("int8"))


@pytest.fixture
def never_quantised(monkeypatch: pytest.MonkeyPatch) -> None:
    def quantize(model: Any, images: Any) -> bytes:
        raise AssertionError("the conv base is quantised again")

    monkeypatch.setattr(quantize_conv_base, "quantize", quantize)


@pytest.fixture
def no_float_conv_base(made: Made, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take the file of the conv base and its weights away, and fail if one is loaded."""

    def load(spec: ConvBaseSpec) -> None:
        raise AssertionError("the conv base in floats is loaded")

    monkeypatch.setattr("pipeline.conv_base.load.load_conv_base", load)
    away = made.conv_base.with_suffix(".away")
    made.conv_base.rename(away)
    yield
    away.rename(made.conv_base)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return call


def shards_of(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("shards/*"))}


def run_litert(model: bytes, pixels: np.ndarray) -> np.ndarray:
    """Run a model on one image with nothing of this package."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels[None])
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]


# A new store


def test_the_model_lies_beside_the_manifest_and_its_sha256_is_in_spec_and_fingerprint(made):
    store = open_features(made.cache)
    spec = store.manifest.spec
    assert spec["precision"] == "int8" and spec["int8_sha256"] == sha256_of(made.model)
    assert store.fingerprint == hash_identity(spec) != hash_identity({**spec, "int8_sha256": "0" * 64})
    assert list(made.cache.rglob("*.tflite")) == [made.cache / "conv_base.tflite"]  # none in the views
    error = store.manifest.precision_error
    rates = {"images_per_second", "float32_images_per_second"}
    assert set(error) == {"relative_l2", "cosine", "images", "calibrated", *rates}
    assert 0 < error["relative_l2"] < 0.05 and 0.99 < error["cosine"] <= 1
    assert error["images"] == 8 and error["calibrated"] == len(store.members("train"))
    assert min(error[name] for name in rates) > 0


def test_features_are_what_an_interpreter_gives_rounded_to_float16(made):
    store = open_features(made.cache)
    for id, row in zip(store.ids(), store.load()[0], strict=True):
        pixels = made.spec.decode_image((made.photos / id).read_bytes())
        assert row.dtype == np.float16 and row.tobytes() == run_litert(made.model, pixels).astype(np.float16).tobytes()
    (view,) = open_views(store)
    for member, row in zip(view.members().tolist(), view.load()[0], strict=True):
        pixels = made.spec.decode_image((made.photos / view.images.ids[member]).read_bytes())
        copy = augment(pixels, view.images.contents[member].tobytes(), view.spec.view)
        assert row.tobytes() == run_litert(made.model, copy).astype(np.float16).tobytes()


def test_equal_images_give_equal_model_bytes_under_any_names(made, tmp_path):
    for path in made.photos.rglob("*.png"):
        other = tmp_path / "other" / path.parent.name / f"{999 - int(path.stem):04d}.png"
        other.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, other)
    store = made.fill(tmp_path / "cache", images=scan_images(tmp_path / "other", validation=0.3), workers=3)
    assert store.int8_model.read_bytes() == made.model


@pytest.mark.parametrize("options", [{"batch_size": 1, "workers": 3}, {"batch_size": 5, "workers": 1}])
def test_batch_size_and_workers_change_no_byte(made, tmp_path, options):
    made.fill(tmp_path / "cache", views=2, **options)
    assert shards_of(tmp_path / "cache") == shards_of(made.cache)
    assert (tmp_path / "cache" / "conv_base.tflite").read_bytes() == made.model


def test_a_cluster_makes_the_same_model_and_the_same_bytes(made, tmp_path):
    with cluster_of_threads() as cluster:
        store = made.fill(tmp_path / "other", views=2, cluster=cluster)
    assert store.pending == 0 and (tmp_path / "other" / "conv_base.tflite").read_bytes() == made.model
    assert shards_of(tmp_path / "other") == shards_of(made.cache)
    assert shards_of(tmp_path / "other/views/001") == shards_of(made.cache / "views/001")


@pytest.fixture
def calibrated_on(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Record the images of each calibration."""
    real, seen = quantize_conv_base.quantize, []

    def quantize(model: Any, images: np.ndarray) -> bytes:
        seen.extend(images)
        return real(model, images)

    monkeypatch.setattr(quantize_conv_base, "quantize", quantize)
    return seen


def bad_photo_before(first: bytes) -> bytes:
    """Return a file that is no image, although it starts as one, and whose sha256 comes before `first`."""
    files = (photo(0)[:100] + str(number).encode() for number in range(10_000))
    return next(data for data in files if bytes.fromhex(sha256_of(data)) < first)


def test_calibration_takes_the_train_images_with_the_smallest_sha256_that_can_be_decoded(
    made, tmp_path, calibrated_on, monkeypatch
):
    monkeypatch.setattr(quantize_conv_base, "CALIBRATED", 5)
    for split in ("train", "validation", "test"):
        for i in range(8):
            path = tmp_path / "photos" / split / ("cats", "dogs")[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photo(len(split) * 100 + i))
    train = sorted((tmp_path / "photos/train").rglob("*.png"), key=sha256_of_file)
    bad = tmp_path / "photos/train/cats/bad.png"
    bad.write_bytes(bad_photo_before(bytes.fromhex(sha256_of_file(train[0]))))
    store = made.fill(tmp_path / "cache", images=scan_images(tmp_path / "photos"))
    expected = np.stack([made.spec.decode_image(path.read_bytes()) for path in train[:5]])
    assert np.array_equal(calibrated_on, expected)
    assert store.manifest.precision_error["calibrated"] == 5 and [image.id for image in store.bad] == [
        "train/cats/bad.png"
    ]


def test_without_a_train_image_that_can_be_decoded_there_is_one_line_and_no_store(made, tmp_path, command):
    for i in range(6):
        path = tmp_path / "photos" / ("cats", "dogs")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(i)[:100])
    arguments = ("features", tmp_path / "photos", "--cache", tmp_path / "a" / "b", "--conv-base", made.conv_base)
    status, _, said = command(*arguments, *OPTIONS)
    assert status == 2 and said.splitlines()[-1].startswith("pipeline: int8 is calibrated on train images, and none")
    assert not (tmp_path / "a").exists()


# Later runs


@pytest.mark.parametrize("left", ["nothing", "a temporary file", "another model", "model and index"])
def test_what_a_kill_leaves_before_the_manifest_is_not_used(made, tmp_path, left):
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / ".lock").touch()
    if left == "a temporary file":
        (cache / ".tmp-conv_base.tflite-0123abcd").write_bytes(made.model[:500])
    elif left != "nothing":
        (cache / "conv_base.tflite").write_bytes(b"half" if left == "another model" else made.model)
    if left == "model and index":
        (cache / "index-0123456789ab.h5").write_bytes(b"half")
    made.fill(cache, views=2)
    assert shards_of(cache) == shards_of(made.cache)
    assert {path.name for path in cache.iterdir()} == {path.name for path in made.cache.iterdir()}
    assert (cache / "conv_base.tflite").read_bytes() == made.model


def test_the_model_that_a_killed_run_left_does_not_stay_in_a_float_store(made, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "conv_base.tflite").write_bytes(made.model)
    made.fill(tmp_path / "cache", replace(made.spec, precision="float32"))
    assert not (tmp_path / "cache" / "conv_base.tflite").exists()


class Stop(Callbacks):
    """Interrupts a run after some images."""

    def __init__(self, images: int):
        self.images = images

    def progress(self, step: str, done: int, total: int, unit: str) -> None:
        if step == "features" and done >= self.images:
            raise KeyboardInterrupt


@pytest.mark.parametrize("precision", ["int8", "auto"])
def test_an_interrupted_run_continues_with_the_model_of_the_store(made, tmp_path, precision, request):
    cache = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        made.fill(cache, callbacks=Stop(ROWS + 2))
    assert len(shards_of(cache)) == 1
    for fixture in ("never_quantised", "no_float_conv_base"):
        request.getfixturevalue(fixture)
    made.fill(cache, replace(made.spec, precision=precision), views=2)
    assert shards_of(cache) == shards_of(made.cache)


def test_lost_shards_new_images_views_and_recomputing_use_the_model_of_the_store(
    made, tmp_path, never_quantised, no_float_conv_base
):
    cache, whole = made.copy(tmp_path / "cache"), shards_of(made.cache)
    lost = sorted(cache.rglob("shards/*"))[::2]
    for path in lost:
        path.unlink()
    assert repair_store(cache).rows > 0 and shards_of(cache) == whole
    for path in lost:
        path.unlink()
    made.fill(cache, ConvBaseSpec(made.spec.conv_base, preprocessing="rescale", size=(24, 20)))
    assert shards_of(cache) == whole
    recomputed: list[tuple[int, float]] = []
    assert verify_store(cache, full=True, recompute=100, callbacks=Recorder([], recomputed)) == []
    assert recomputed == [(20, 0.0), (len(open_features(cache).members("train")), 0.0)]
    photos = Path(shutil.copytree(made.photos, tmp_path / "more"))
    (photos / "cats" / "new.png").write_bytes(photo(5000))
    store = made.fill(cache, images=scan_images(photos, validation=0.3), views=3)
    assert len(store.members()) == 21 and count_views(cache) == 3
    assert {name: shards_of(cache)[name] for name in whole if "0000000016-" not in name}.items() <= whole.items()
    assert store.int8_model.read_bytes() == made.model
    assert list(cache.rglob("*.tflite")) == [store.int8_model]
    pixels = made.spec.decode_image(photo(5000))
    row = store.read_rows(store.index.rows[[store.images.ids.index("cats/new.png")]])[0]
    assert row.tobytes() == run_litert(made.model, pixels).astype(np.float16).tobytes()


def test_a_view_opened_on_its_own_finds_the_model_of_its_store(made, monkeypatch):
    monkeypatch.chdir(made.cache / "views" / "001")
    assert open_features(".").int8_model == made.cache / "conv_base.tflite"
    monkeypatch.chdir(made.cache)
    assert open_features(".").int8_model.resolve() == open_views(open_features("."))[0].int8_model.resolve()


# Another spec


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_another_precision_is_refused_by_name(made, tmp_path, precision):
    before = contents_of(made.cache)
    with pytest.raises(StoreMismatch, match=f"precision: int8 in the store, {precision} asked for") as caught:
        made.fill(made.cache, replace(made.spec, precision=precision))
    assert [difference.field for difference in caught.value.differences] == ["precision"]
    assert contents_of(made.cache) == before


def test_a_float_store_refuses_int8_by_name(made, tmp_path):
    made.fill(tmp_path / "cache", replace(made.spec, precision="float32"))
    with pytest.raises(StoreMismatch, match="precision: float32 in the store, int8 asked for") as caught:
        made.fill(tmp_path / "cache")
    assert [difference.field for difference in caught.value.differences] == ["precision"]


def test_another_conv_base_is_refused_by_name(made, tmp_path, never_quantised):
    import keras

    model = keras.saving.load_model(made.conv_base)
    model.set_weights([weights * 1.5 for weights in model.get_weights()])
    model.save(tmp_path / "other.keras")
    with pytest.raises(StoreMismatch) as caught:
        made.fill(made.cache, replace(made.spec, conv_base=str(tmp_path / "other.keras")))
    assert [difference.field for difference in caught.value.differences] == ["conv_base_sha256", "weights_sha256"]


def test_other_weights_are_refused_by_name(made, tmp_path):
    from pipeline.conv_base.zoo import build, find_zoo_model

    spec = replace(made.spec, conv_base="mobilenet_v2", conv_base_args={"alpha": 0.35}, weights="random", size=32)
    store = made.fill(tmp_path / "cache", replace(spec, cut="Conv1_relu"))
    before, weights = contents_of(store.directory), tmp_path / "other.weights.h5"
    build(find_zoo_model("mobilenet_v2"), spec, None).save_weights(weights)
    with pytest.raises(StoreMismatch) as caught:
        made.fill(store.directory, replace(spec, cut="Conv1_relu", weights=str(weights)))
    assert [difference.field for difference in caught.value.differences] == ["weights_sha256"]
    assert contents_of(store.directory) == before


def test_a_conv_base_that_is_gone_is_not_needed_under_its_own_path_only(
    made, tmp_path, no_float_conv_base, monkeypatch
):
    cache = made.copy(tmp_path / "cache")
    next(cache.glob("shards/*")).unlink()
    monkeypatch.chdir(made.root)
    made.fill(cache, replace(made.spec, conv_base="tiny.keras"))
    assert shards_of(cache) == shards_of(made.cache)
    with pytest.raises(AssertionError, match="in floats is loaded"):
        made.fill(cache, replace(made.spec, conv_base="other.keras"))


def test_a_float_store_needs_its_conv_base(made, tmp_path, no_float_conv_base):
    with pytest.raises(AssertionError, match="in floats is loaded"):
        made.fill(tmp_path / "cache", replace(made.spec, precision="float32"))


# A model that is not what was written


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def make_huge(path: Path) -> None:
    with open(path, "r+b") as file:
        file.truncate(1 << 40)


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (Path.unlink, "is missing"),
    "flipped": (flip, "is not what was written"),
    "garbage": (lambda path: path.write_bytes(b"\x00garbage" * 1000), "is not what was written"),
    "empty": (lambda path: path.write_bytes(b""), "is not what was written"),
    "huge": (make_huge, "is no model of TensorFlow Lite"),
    "fifo": (replace_by_fifo, "is no model of TensorFlow Lite"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_one_line_that_names_the_file(made, tmp_path, damage, command, never_quantised):
    cache = made.copy(tmp_path / "cache")
    train_heads(open_features(cache), ["ridge"])
    harm, problem = DAMAGES[damage]
    harm(cache / "conv_base.tflite")
    (tmp_path / "new.png").write_bytes(photo(77))
    next(cache.glob("shards/*")).unlink()
    before = shards_of(cache)
    features = ("features", made.photos, "--cache", cache, "--conv-base", made.conv_base, "--validation", 0.3, *OPTIONS)
    for arguments in (features, ("predict", cache, tmp_path / "new.png"), ("repair", cache)):
        status, _, said = command(*arguments)
        assert status == 2 and "Traceback" not in said
        assert f"pipeline: {cache}/conv_base.tflite, the int8 conv base, {problem}" in said.splitlines()[-1]
        assert said.count("conv_base.tflite") == 1
    status, out, said = command("verify", cache)
    assert status == 1 and f"conv_base.tflite: {problem}" in out + said
    assert shards_of(cache) == before


def test_rebuilding_leaves_no_model_behind(made, tmp_path):
    cache, in_float32 = made.copy(tmp_path / "cache"), replace(made.spec, precision="float32")
    assert made.fill(cache, in_float32, rebuild=True, views=2).spec.int8_sha256 is None
    assert not list(cache.rglob("*.tflite")) and verify_store(cache, full=True, recompute=100) == []
    made.fill(cache, rebuild=True, views=2)
    assert shards_of(cache) == shards_of(made.cache)
    assert list(cache.rglob("*.tflite")) == [cache / "conv_base.tflite"]


# What is made of a store


def test_a_copy_predicts_without_the_conv_base_as_the_store_would(made, tmp_path, no_float_conv_base):
    moved = made.copy(tmp_path / "a" / "b")
    train_heads(open_features(moved), ["ridge"])
    predictor, given = Predictor(open_features(moved), workers=3), []
    probabilities = predictor.head.predict_proba
    predictor.head.predict_proba = lambda features: given.append(features.rows) or probabilities(features)
    predictor.store.rows_by_content = lambda: lambda content: NO_ROW  # so that everything is computed
    store = open_features(made.cache)
    assert len(list(predictor.predict([str(made.photos / id) for id in store.ids()]))) == 20
    assert np.concatenate([np.asarray(rows[:]) for rows in given]).tobytes() == store.load()[0].tobytes()


def test_a_cut_store_can_be_fine_tuned_and_its_head_labels_as_the_store_would(made, tmp_path, command):
    from tests.finetune.test_finetune import tiny_conv_base

    tiny_conv_base(tmp_path / "tiny.keras")
    cache, photos = tmp_path / "cache", made.photos
    options = ["--preprocessing", "tf", "--size", "16", "--precision", "int8", "--cut", "top2", "--validation", "0.3"]
    status, out, _ = command("features", photos, "--cache", cache, "--conv-base", tmp_path / "tiny.keras", *options)
    assert status == 0 and "cut at block_1_add, 16x16, int8" in out
    status, out, said = command("finetune", cache, "--epochs", 2, "--head-epochs", 2)
    assert status == 0 and "weights above the cut to tune in float32" in out and "in int8" in out, said
    store = open_features(cache)
    paths = [str(photos / id) for id in store.ids()]
    stored = list(Predictor(store, "finetuned").predict(paths))
    predictor = Predictor(store, "finetuned")
    predictor.store.rows_by_content = lambda: lambda content: NO_ROW
    computed = list(predictor.predict(paths))
    for one, other in zip(stored, computed, strict=True):
        assert one.label == other.label and one.probability == pytest.approx(other.probability, abs=1e-6)
    status, out, said = command("export", cache, tmp_path / "model.keras")
    assert status == 0 and "0 other labels" in out, said
    assert "computes the conv base in float32, the store in int8" in " ".join(out.split())
    assert command("verify", cache, "--model", tmp_path / "model.keras")[0] == 0
    (tmp_path / "tiny.keras").unlink()
    assert command("export", cache, tmp_path / "model.tflite")[0] == 0
    assert command("verify", cache, "--model", tmp_path / "model.tflite")[0] == 0


@pytest.mark.parametrize("when", ["converting", "running"])
def test_a_conv_base_that_cannot_be_quantised_is_one_line_and_leaves_nothing(
    made, tmp_path, when, command, monkeypatch
):
    def fail(*arguments: Any) -> None:
        raise RuntimeError("no such\noperation")

    where = "quantize._convert" if when == "converting" else "int8.Interpreter.run"
    monkeypatch.setattr(f"pipeline.conv_base.{where}", fail)
    cache = tmp_path / "a" / "cache"
    status, _, said = command("features", made.photos, "--cache", cache, "--conv-base", made.conv_base, *OPTIONS)
    assert status == 2 and "cannot be computed in int8: no such operation" in said.splitlines()[-1]
    assert said.count("pipeline: ") == 1 and not cache.parent.exists()


@pytest.mark.parametrize("moment", ["reading", "calibrating", "measuring"])
def test_ctrl_c_while_quantising_ends_with_130_and_leaves_nothing(made, tmp_path, moment, command, monkeypatch):
    def interrupting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            os.kill(os.getpid(), signal.SIGINT)
            return function(*arguments, **options)

        return call

    class Calibration(list):
        def __iter__(self) -> Iterator[np.ndarray]:
            yield self[0]
            os.kill(os.getpid(), signal.SIGINT)
            yield self[1]

    real = quantize_conv_base.quantize
    if moment == "calibrating":
        monkeypatch.setattr(quantize_conv_base, "quantize", lambda model, images: real(model, Calibration(images)))
    else:
        name = "decode_ahead" if moment == "reading" else "float_images_per_second"
        monkeypatch.setattr(quantize_conv_base, name, interrupting(getattr(quantize_conv_base, name)))
    cache = tmp_path / "a" / "cache"
    status, _, said = command("features", made.photos, "--cache", cache, "--conv-base", made.conv_base, *OPTIONS)
    assert status == 130 and said.splitlines()[-1].startswith("pipeline: interrupted")
    assert not cache.parent.exists()


class Heard(Callbacks):
    def __init__(self) -> None:
        self.seconds: list[tuple[float, float]] = []

    def int8_recommended(self, seconds: float, float_seconds: float) -> None:
        self.seconds.append((seconds, float_seconds))


@pytest.mark.parametrize(
    ("images", "seconds", "rate", "heard"),
    [(20, 5.0, 40.0, True), (21, 5.0, 40.0, False), (20, 60.0, 40.0, False), (20, 5.0, 2.2, False)],
)
def test_int8_is_recommended_for_long_plans_that_it_makes_much_shorter(
    made, tmp_path, images, seconds, rate, heard, monkeypatch
):
    monkeypatch.setattr(quantize_conv_base, "MIN_IMAGES", images)
    monkeypatch.setattr(quantize_conv_base, "MIN_SECONDS", seconds)
    monkeypatch.setattr(quantize_conv_base, "float_images_per_second", lambda conv_base: 2.0)
    monkeypatch.setattr("pipeline.conv_base.int8.Int8ConvBase.images_per_second", lambda self, image: rate)
    callbacks = Heard()
    store = made.fill(tmp_path / "cache", replace(made.spec, precision="auto"), callbacks=callbacks, views=2)
    assert len(callbacks.seconds) == heard  # not again for the views
    for in_int8, in_floats in callbacks.seconds:
        assert (in_int8, in_floats) == (pytest.approx(0.5, abs=0.3), pytest.approx(10, abs=0.3))
    assert store.spec.precision != "int8" and not list(store.directory.rglob("*.tflite"))


def test_nothing_is_recommended_for_a_conv_base_that_cannot_be_quantised(made, tmp_path, monkeypatch):
    def quantize(model: Any, images: Any) -> bytes:
        raise SpecError("no such operation")

    monkeypatch.setattr(quantize_conv_base, "MIN_IMAGES", 1)
    monkeypatch.setattr(quantize_conv_base, "MIN_SECONDS", 0)
    monkeypatch.setattr(quantize_conv_base, "quantize", quantize)
    callbacks = Heard()
    assert len(made.fill(tmp_path / "cache", replace(made.spec, precision="auto"), callbacks=callbacks).members()) == 20
    assert callbacks.seconds == []


def test_a_whole_run_prints_no_line_of_native_libraries_and_makes_the_same_bytes(made, tmp_path):
    cache, new = tmp_path / "cache", tmp_path / "new.png"
    new.write_bytes(photo(77))
    features = ["features", made.photos, "--cache", cache, "--conv-base", made.conv_base, "--views", 2, *OPTIONS]
    verbs = [[*features, "--validation", 0.3], ["heads", cache, "--heads", "ridge"], ["predict", cache, new, new]]
    code = (
        "import sys, pipeline.extraction.plan as plan\nfrom pipeline.cli.main import main\n"
        f"plan.MAX_ROWS = {ROWS}\nsys.exit(max(main(verb) for verb in {[[str(a) for a in verb] for verb in verbs]}))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    ours = ("loading ", "quantising ", "features ", "views ", "training ", "trained ", "head ", "labelled ", "reading ")
    assert [line for line in done.stderr.splitlines() if not line.startswith(ours)] == []
    assert "INFO" not in done.stdout and "fully_quantize" not in done.stdout
    assert (cache / "conv_base.tflite").read_bytes() == made.model and shards_of(cache) == shards_of(made.cache)


def test_info_leaderboard_and_report_say_int8(made, tmp_path, command):
    cache = made.copy(tmp_path / "cache")
    status, out, _ = command("heads", cache, "--heads", "ridge")
    assert status == 0 and "validation images on tiny in int8, 2 views" in out
    status, out, _ = command("info", cache)
    assert status == 0 and f"conv base   {made.conv_base} at 24x20, int8" in out and "precision   int8: relative" in out
    status, _, _ = command("report", cache)
    assert status == 0 and "int8; relative L2 error" in (cache / "report.html").read_text()


def test_a_bad_quantisation_is_a_warning(capsys, made):
    from pipeline.cli.display.callbacks import ConsoleCallbacks
    from pipeline.extraction.plan import plan_update

    store = open_features(made.cache)
    for cosine, warned in ((0.99, False), (0.5, True)):
        error = {**store.manifest.precision_error, "cosine": cosine}
        store.manifest = replace(store.manifest, precision_error=error)
        with ConsoleCallbacks() as callbacks:
            callbacks.extraction_planned(plan_update(made.images, store), store)
        assert ("int8 suits this conv base badly" in capsys.readouterr().err) == warned
