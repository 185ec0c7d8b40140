"""Stores made with `decode="scaled"`: every way to their features decodes alike, and the plan says when it pays."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pipeline
from pipeline import ConvBaseSpec, open_features, repair_store, scan_images, train_heads, verify_store
from pipeline.cli.display.callbacks import ConsoleCallbacks
from pipeline.errors import StoreMismatch
from pipeline.export.verify import _model_input
from pipeline.extraction import decode_speed
from pipeline.extraction.callbacks import Callbacks
from pipeline.images.augment import augment
from pipeline.predict.label_images import Predictor
from pipeline.store import open_views
from tests.fakes import FakeConvBase, photo_folder

EXACT = ConvBaseSpec(size=8, store_dtype="float32")
SCALED = replace(EXACT, decode="scaled")


def jpeg(path: Path, seed: int, side: int = 128) -> None:
    """Write a JPEG of random pixels, of which decoding at a smaller size gives other features."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "JPEG")


def features_of(pixels: np.ndarray) -> np.ndarray:
    return FakeConvBase(SCALED).compute(pixels[None])[0]


@pytest.fixture
def photos(tmp_path) -> Path:
    """Write twelve large JPEGs of two classes."""
    for i in range(12):
        jpeg(tmp_path / "photos" / ("cats", "dogs")[i % 2] / f"{i:02d}.jpg", i)
    return tmp_path / "photos"


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(photos, cache, fake_conv_base):
    """A scaled store of the photos, with one view of augmented copies."""
    return pipeline.extract_features(scan_images(photos), cache, SCALED, views=2)


def test_rows_and_augmented_copies_are_those_of_scaled_photos(store, photos):
    for row, id in zip(store.load()[0], store.ids(), strict=True):
        data = (photos / id).read_bytes()
        assert row == pytest.approx(features_of(SCALED.decode_image(data)), abs=1e-4)
        assert np.abs(row - features_of(EXACT.decode_image(data))).max() > 1
    (view,) = open_views(store)
    for member, row in zip(view.members().tolist(), view.load()[0], strict=True):
        pixels = SCALED.decode_image((photos / view.images.ids[member]).read_bytes())
        copy = augment(pixels, view.images.contents[member].tobytes(), view.spec.view)
        assert row == pytest.approx(features_of(copy), abs=1e-4)


def test_verify_and_repair_decode_as_the_store_says(store, cache):
    shards = {path: path.read_bytes() for path in cache.rglob("shards/*.h5")}
    assert len(shards) == 2 and verify_store(cache, recompute=100) == []
    for path in shards:
        path.unlink()
    assert repair_store(cache).rows == len(store.members()) + len(store.members("train"))
    assert {path: path.read_bytes() for path in cache.rglob("shards/*.h5")} == shards


def test_predict_decodes_as_the_store_says(store, tmp_path):
    jpeg(tmp_path / "new.jpg", 99)
    train_heads(store, ["ridge"])
    predictor, given = Predictor(store), []
    probabilities = predictor.head.predict_proba
    predictor.head.predict_proba = lambda features: given.append(features.rows) or probabilities(features)
    assert len(list(predictor.predict([str(tmp_path / "new.jpg")]))) == 1
    expected = features_of(SCALED.decode_image((tmp_path / "new.jpg").read_bytes()))
    assert given[0][0] == pytest.approx(expected, abs=1e-4)


def test_an_exported_model_is_compared_on_images_decoded_as_the_store_says(store, cache, photos, tmp_path):
    assert _model_input(store, 0, "image").shape == (16, 16, 3)
    exact = pipeline.extract_features(scan_images(photos), tmp_path / "exact", EXACT)
    assert _model_input(exact, 0, "image").shape == (128, 128, 3)


@pytest.mark.parametrize(("made", "asked"), [(EXACT, SCALED), (SCALED, EXACT)])
def test_exact_and_scaled_stores_refuse_each_other_by_name(made, asked, photos, cache, fake_conv_base):
    pipeline.extract_features(scan_images(photos), cache, made)
    message = rf"decode: {made.decode} in the store, {asked.decode} asked for; .*--rebuild"
    with pytest.raises(StoreMismatch, match=message) as caught:
        pipeline.extract_features(scan_images(photos), cache, asked)
    assert [difference.field for difference in caught.value.differences] == ["decode"]
    assert fake_conv_base.loads == 1
    rebuilt = pipeline.extract_features(scan_images(photos), cache, asked, rebuild=True)
    assert open_features(cache).spec.decode == rebuilt.spec.decode == asked.decode


class Heard(Callbacks):
    """Records what the plan says of decoding."""

    def __init__(self):
        self.measured: list[tuple[float, float]] = []

    def decoding_measured(self, exact: float, scaled: float) -> None:
        self.measured.append((exact, scaled))


@pytest.fixture
def heard(photos, cache, fake_conv_base, monkeypatch):
    """Fill a store and return what its plan says; decoding takes a second exactly and `scaled` seconds scaled."""
    seconds = {"exact": 1.0}
    monkeypatch.setattr(decode_speed, "_time_decoding", lambda spec, data: seconds[spec.decode])
    monkeypatch.setattr(decode_speed, "MIN_PENDING", 12)

    def fill(spec=EXACT, scaled=0.5, views=None):
        seconds["scaled"], callbacks = scaled, Heard()
        pipeline.extract_features(scan_images(photos), cache, spec, views=views, callbacks=callbacks)
        return callbacks.measured

    return fill


def test_the_plan_says_what_scaled_decoding_would_save_once(heard, photos):
    assert heard(views=2) == [(1.0, 0.5)]  # not again for the copies
    assert heard() == []  # nothing is pending


@pytest.mark.parametrize(("scaled", "said"), [(0.66, True), (0.67, False), (1.1, False)])
def test_a_small_saving_is_not_worth_a_word(heard, scaled, said):
    assert bool(heard(scaled=scaled)) == said


def test_nothing_is_said_of_a_scaled_store(heard):
    assert heard(SCALED) == []


def test_nothing_is_said_of_few_images(heard, monkeypatch):
    monkeypatch.setattr(decode_speed, "MIN_PENDING", 13)
    assert heard() == []


def test_nothing_is_said_if_half_of_the_first_images_are_small(heard, photos):
    photo_folder(photos, 6)
    assert heard() == []


def test_bad_images_are_passed_over(heard, photos):
    path = photos / "cats" / "00.jpg"
    path.write_bytes(path.read_bytes()[:3000])
    assert heard() == [(1.0, 0.5)]


def test_real_photos_are_measured(photos, cache, fake_conv_base, monkeypatch):
    monkeypatch.setattr(decode_speed, "MIN_PENDING", 12)
    monkeypatch.setattr(decode_speed, "MIN_GAIN", 0)  # this test does not depend on any speed
    callbacks = Heard()
    pipeline.extract_features(scan_images(photos), cache, EXACT, callbacks=callbacks)
    ((exact, scaled),) = callbacks.measured
    assert exact > 0 and scaled > 0


def test_the_console_shows_one_line(capsys):
    with ConsoleCallbacks() as callbacks:
        callbacks.decoding_measured(0.1084, 0.0338)
    assert capsys.readouterr().out == (
        "decode     exact, about 108 ms a photo; --decode scaled --rebuild would take 34 ms\n"
    )
