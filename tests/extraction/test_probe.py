"""The probe tells whether two machines compute the same numbers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import open_features, scan_images
from pipeline.extraction import probe
from pipeline.extraction.probe import compute_probe, probe_difference, read_probe
from pipeline.files.durable import sha256_of
from pipeline.images.augment import Augmentation, View
from pipeline.store import StoreLayout
from tests.fakes import SPEC, FakeConvBase, extract_features

IMAGES = probe.IMAGES


@pytest.fixture(autouse=True)
def images(fake_conv_base: type[FakeConvBase], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "IMAGES", IMAGES)


@pytest.fixture
def layout(photos: Path, tmp_path: Path) -> StoreLayout:
    return extract_features(scan_images(photos), tmp_path / "cache", plan_only=True)


class Scaled:
    def __init__(self, factor: float):
        self.factor = factor

    def compute(self, batch: np.ndarray) -> np.ndarray:
        return FakeConvBase(SPEC).compute(batch) * np.float32(self.factor)


def test_the_images_are_a_jpeg_and_synthetic_pictures():
    assert len(IMAGES) == 3 and [Image.open(path).format for path in IMAGES].count("JPEG") == 1
    assert all(np.asarray(Image.open(path)).std() > 10 for path in IMAGES)


def test_the_numerics_are_the_sha256_of_the_probe_that_the_store_keeps(layout):
    stored = read_probe(layout)
    assert layout.manifest.numerics == sha256_of(stored) == sha256_of(compute_probe(Scaled(1), layout, 4))
    assert layout.manifest.numerics != sha256_of(compute_probe(Scaled(1 + 1e-6), layout, 4))


def test_the_last_bit_of_one_value_changes_the_numerics(layout):
    class Off(Scaled):
        def compute(self, batch):
            features = super().compute(batch)
            features[0, 0, 0, 0] = np.nextafter(features[0, 0, 0, 0], np.float32(np.inf))
            return features

    assert sha256_of(compute_probe(Off(1), layout, 4)) != layout.manifest.numerics


def test_the_difference_is_the_relative_l2_error(layout):
    mine = read_probe(layout)
    assert probe_difference(mine, mine) == 0
    assert probe_difference(compute_probe(Scaled(1.25), layout, 4), mine) == pytest.approx(0.25)


def test_the_difference_from_something_else_is_infinite(layout):
    mine = read_probe(layout)
    other = StoreLayout(layout.directory, replace(layout.manifest, feature_shape=(2, 2, 2)))

    class Narrow(Scaled):
        def compute(self, batch):
            return super().compute(batch)[..., :2]

    assert probe_difference(mine, b"") == probe_difference(b"", mine) == np.inf
    assert probe_difference(compute_probe(Narrow(1), other, 4), mine) == np.inf


def test_a_view_has_numerics_of_its_own(layout):
    view = View(1, Augmentation())
    identity = replace(layout.spec, view=view).identity()
    of_view = StoreLayout(layout.directory, replace(layout.manifest, spec=identity))
    assert compute_probe(Scaled(1), of_view, 4) != compute_probe(Scaled(1), layout, 4)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"\0" * 3000)])
def test_a_probe_that_is_lost_or_was_changed_is_not_used(layout, damage):
    (path,) = (
        path for path in layout.directory.glob("*") if path.is_file() and path.read_bytes() == read_probe(layout)
    )
    damage(path)
    assert read_probe(open_features(layout.directory)) == b""


def test_a_plain_store_has_no_numerics(photos, tmp_path):
    store = extract_features(scan_images(photos), tmp_path / "plain")
    assert store.manifest.numerics == "" and read_probe(store) == b""
    assert FakeConvBase.seen == 20  # none of the probe
