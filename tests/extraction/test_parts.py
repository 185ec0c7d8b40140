"""A plan that is computed in parts, by processes without the lock of the store."""

import itertools
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import StoreError, StoreMismatch, compute_part, open_features, scan_images
from pipeline.cli import option_types
from pipeline.errors import SpecError
from pipeline.extraction import probe, shard_task
from pipeline.extraction.callbacks import Callbacks
from pipeline.images.status import Status
from pipeline.store import list_staged, open_for_writing, open_views
from tests.fakes import SPEC, FakeConvBase, extract_features, photo_folder
from tests.store.small_stores import contents_of

pytestmark = pytest.mark.usefixtures("small_shards")
PROBE_IMAGES = probe.IMAGES


@pytest.fixture(autouse=True)
def no_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_task, "start_tensorflow_quietly", lambda: None)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eighty photos, for ten shards."""
    return photo_folder(tmp_path / "photos", 40)


@pytest.fixture
def planned(photos: Path, tmp_path: Path) -> Path:
    """A store with a plan."""
    extract_features(scan_images(photos), tmp_path / "cache", plan_only=True)
    FakeConvBase.seen = FakeConvBase.loads = 0
    return tmp_path / "cache"


@pytest.fixture
def plain(photos: Path, planned: Path, tmp_path: Path) -> dict[str, bytes]:
    """The shards that a plain run makes."""
    extract_features(scan_images(photos), tmp_path / "plain")
    FakeConvBase.seen = FakeConvBase.loads = 0
    return shards_of(tmp_path / "plain")


def shards_of(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((cache / "shards").iterdir())}


def part(cache: Path, number: int, parts: int, **options: Any) -> int:
    return compute_part(cache, number, parts, options.pop("spec", SPEC), batch_size=4, **options)


def test_a_plan_is_written_and_nothing_is_computed(photos, tmp_path):
    store = extract_features(scan_images(photos), tmp_path / "cache", plan_only=True)
    assert store.pending == 80 and shards_of(tmp_path / "cache") == {} and len(store.index.ranges) == 10
    assert store.manifest.numerics
    before = contents_of(tmp_path / "cache")
    extract_features(scan_images(photos), tmp_path / "cache", plan_only=True)
    assert contents_of(tmp_path / "cache") == before


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
def test_parts_in_any_order_make_the_shards_of_a_plain_run(photos, planned, plain, order):
    before = contents_of(planned)
    rows = {number: part(planned, number, 3) for number in order}
    assert sorted(rows.values()) == [24, 24, 32] and FakeConvBase.seen == 80
    assert before.items() <= contents_of(planned).items()  # nothing else was changed
    assert open_features(planned).pending == 80
    FakeConvBase.seen = FakeConvBase.loads = 0
    store = extract_features(scan_images(photos), planned)
    assert store.pending == 0 and shards_of(planned) == plain and FakeConvBase.seen == 0
    assert store.manifest.later_makers == ()


def test_a_part_that_is_started_again_computes_what_is_missing(planned, monkeypatch):
    class Killed(Callbacks):
        def progress(self, step, done, total, unit):
            if done == 20:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        part(planned, 1, 2, callbacks=Killed())
    assert len(list(list_staged(planned))) == 2
    FakeConvBase.seen = 0
    assert part(planned, 1, 2) == 24 and FakeConvBase.seen == 24
    assert part(planned, 1, 2) == 0 and FakeConvBase.seen == 24


def test_parts_of_another_number_and_a_plain_run_do_the_rest(photos, planned, plain):
    assert part(planned, 1, 2) == 40
    assert part(planned, 2, 5) == 8  # of its 16 rows
    FakeConvBase.seen = 0
    extract_features(scan_images(photos), planned)
    assert FakeConvBase.seen == 32 and shards_of(planned) == plain
    FakeConvBase.loads = 0
    assert part(planned, 1, 1) == 0 and FakeConvBase.loads == 0


def test_parts_and_the_same_part_twice_at_the_same_time(photos, planned, plain):
    errors, start = [], threading.Barrier(4)

    def run(number):
        try:
            start.wait(10)
            part(planned, number, 2)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in (1, 2, 1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and len(list(list_staged(planned))) >= 10
    FakeConvBase.seen = 0
    extract_features(scan_images(photos), planned)
    assert FakeConvBase.seen == 0 and shards_of(planned) == plain


def test_a_part_needs_no_lock(planned):
    with open_for_writing(planned):
        assert part(planned, 1, 5) == 16


def test_a_torn_file_of_a_part_is_computed_again(photos, planned, plain):
    part(planned, 1, 1)
    (staged, *_) = list_staged(planned)
    staged.path.write_bytes(staged.path.read_bytes()[:1000])
    FakeConvBase.seen = 0
    extract_features(scan_images(photos), planned)
    assert FakeConvBase.seen == 8 and shards_of(planned) == plain


def test_parts_of_images_that_were_replaced_meanwhile_are_not_used(photos, planned):
    part(planned, 1, 1)
    photo_folder(photos, 41)  # another plan
    store = extract_features(scan_images(photos), planned)
    assert store.pending == 0 and len(store.members()) == 82 and store.bad == []
    assert not list(list_staged(planned))


def test_a_part_on_a_host_without_images_loses_no_row(photos, planned, plain, tmp_path, caplog):
    photos.rename(tmp_path / "elsewhere")
    log: list[str] = []

    class Log(Callbacks):
        def image_rejected(self, id, reason):
            log.append(reason)

    assert part(planned, 1, 2, callbacks=Log()) == 0
    assert len(log) == 40 and not list(list_staged(planned))
    assert "40 images could not be read" in caplog.messages[-1]
    (tmp_path / "elsewhere").rename(photos)
    part(planned, 2, 2)
    FakeConvBase.seen = 0
    store = extract_features(scan_images(photos), planned)
    assert store.bad == [] and FakeConvBase.seen == 40 and shards_of(planned) == plain


def test_an_undecodable_image_is_known_after_the_last_run(photos, tmp_path):
    (photos / "cats" / "004.png").write_bytes((photos / "cats" / "004.png").read_bytes()[:100])
    cache = tmp_path / "cache"
    extract_features(scan_images(photos), cache, plan_only=True)
    part(cache, 1, 1)
    FakeConvBase.seen = 0
    (bad,) = extract_features(scan_images(photos), cache).bad
    assert (bad.id, bad.status) == ("cats/004.png", Status.UNDECODABLE) and FakeConvBase.seen == 0


def test_views_are_planned_once_the_images_have_features_and_computed_in_parts(photos, planned, tmp_path):
    images = scan_images(photos)
    part(planned, 1, 1)
    extract_features(images, planned, views=2, plan_only=True)
    (view,) = open_views(open_features(planned))
    assert view.pending and open_features(planned).pending == 0
    FakeConvBase.loads = 0
    assert part(planned, 1, 2) + part(planned, 2, 2) == view.pending and FakeConvBase.loads == 2
    FakeConvBase.seen = 0
    extract_features(images, planned)
    extract_features(images, tmp_path / "plain", views=2)
    assert FakeConvBase.seen == 80 + view.pending  # of the plain run
    (expected,) = open_views(open_features(tmp_path / "plain"))
    assert shards_of(view.directory) == shards_of(expected.directory)


def test_another_spec_is_refused_by_name(planned):
    with pytest.raises(StoreMismatch, match="size"):
        part(planned, 1, 2, spec=replace(SPEC, size=(16, 16)))
    with pytest.raises(StoreMismatch, match="weights"):
        part(planned, 1, 2, spec=replace(SPEC, weights="random"))
    assert not list(list_staged(planned))


def test_weights_that_changed_are_refused(photos, tmp_path):
    weights = tmp_path / "weights"
    weights.write_text("abc")
    spec = replace(SPEC, weights=str(weights))
    extract_features(scan_images(photos), tmp_path / "cache", spec, plan_only=True)
    weights.write_text("abd")
    with pytest.raises((StoreMismatch, SpecError), match="weights"):
        part(tmp_path / "cache", 1, 2, spec=spec)


def test_a_store_without_a_plan_for_machines_is_one_line(photos, tmp_path):
    class Stop(Callbacks):
        def progress(self, step, done, total, unit):
            if done == 20:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_features(scan_images(photos), tmp_path / "cache", callbacks=Stop())
    with pytest.raises(StoreError, match="run `features` with --plan first"):
        part(tmp_path / "cache", 1, 2)
    extract_features(scan_images(photos), tmp_path / "cache", plan_only=True)
    assert part(tmp_path / "cache", 1, 2) > 0


def test_no_store_is_one_line(tmp_path):
    with pytest.raises(StoreError, match="cache"):
        part(tmp_path / "cache", 1, 2)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("number", "parts"), [(0, 3), (4, 3), (-1, 3), (1, 0)])
def test_a_part_that_does_not_exist_is_an_error(planned, number, parts):
    with pytest.raises(ValueError, match="parts are counted from 1"):
        part(planned, number, parts)


class TestNumerics:
    """A part on a machine that rounds differently."""

    @pytest.fixture(autouse=True)
    def probed(self, fake_conv_base: type[FakeConvBase], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(probe, "IMAGES", PROBE_IMAGES)

    @pytest.fixture
    def rounds_like(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        real = FakeConvBase.compute

        def patch(factor: float) -> None:
            monkeypatch.setattr(FakeConvBase, "compute", lambda self, batch: real(self, batch) * factor)

        return patch

    def test_it_is_refused_by_name(self, planned, rounds_like):
        rounds_like(1 + 1e-6)
        with pytest.raises(
            StoreMismatch, match=r"cache.*: this machine computes other numbers than .*--mixed admits it"
        ):
            part(planned, 1, 2)
        rounds_like(1.01)
        with pytest.raises(StoreMismatch, match=r"relative L2 difference 1\.0e-02; --mixed admits no more than 1e-04"):
            part(planned, 1, 2, mixed=True)
        assert not list(list_staged(planned))

    def test_it_is_admitted_with_mixed_and_its_shards_are_known(self, photos, planned, rounds_like, caplog):
        part(planned, 1, 2)
        rounds_like(1 + 1e-6)
        part(planned, 2, 2, mixed=True)
        assert caplog.messages[-1].endswith("rounds differently from the one that made the store, and is admitted")
        rounds_like(1)
        store = extract_features(scan_images(photos), planned)
        odd = ["numerics" in store.manifest.makers[entry.maker] for entry in store.manifest.shards]
        assert odd == [False, True] * 5


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/3", "1/0", "1/", "/", "-1/3", "1/3/5", "1.0/3", ""])
def test_wrong_values_of_part(text):
    with pytest.raises(option_types.argparse.ArgumentTypeError, match="is not I/N with I from 1 to N"):
        option_types.part(text)
