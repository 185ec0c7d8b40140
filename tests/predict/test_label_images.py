"""Labels of new images: their features, their order, bad images, unknown images."""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import (
    ConvBaseSpec,
    HeadError,
    ImagesError,
    StoreError,
    extract_features,
    load_head,
    make_head,
    open_features,
    predict_images,
    save_head,
    scan_images,
    train_heads,
)
from pipeline.extraction.run_conv_base import MAX_WAITING
from pipeline.heads import head_names
from pipeline.heads.load_head import read_metrics
from pipeline.images.unlabelled import check_sources, find_images
from pipeline.predict import unknown_images
from pipeline.predict.label_images import MAX_BLOCK_ROWS, Predictor
from pipeline.predict.unknown_images import K
from pipeline.store import NO_ROW
from tests.fakes import FakeConvBase, photo, photo_folder

ROOT = Path(__file__).parent.parent.parent
SPEC = ConvBaseSpec(size=8)
RED, CYAN = (200, 60, 60), (60, 200, 200)
QUICK = {
    "dense": {"epochs": 1},
    "logistic": {"C": 1.0},
    "svm": {"C": 1e-3},
    "knn": {"k": 3},
    "forest": {"n_estimators": 5},
    "mlp": {"epochs": 2},
}


@pytest.fixture
def cache(tmp_path, photos, fake_conv_base):
    """The directory of a store of twenty photos and a trained head."""
    extract_features(scan_images(photos), tmp_path / "cache", SPEC)
    train_heads(open_features(tmp_path / "cache"), ["logistic"], params={"logistic": QUICK["logistic"]})
    fake_conv_base.seen = fake_conv_base.loads = 0
    return tmp_path / "cache"


@pytest.fixture
def new(tmp_path):
    """Five photos that no store has."""
    folder = tmp_path / "new"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.png").write_bytes(photo(9000 + number))
    return folder


class Recorder:
    """A head that records the features it gets."""

    classes_ = np.array([0, 1])

    def __init__(self):
        self.given: list[np.ndarray] = []

    def predict_proba(self, features):
        self.given.append(features.rows)
        return np.tile([0.25, 0.75], (len(features.rows), 1))


class TestRows:
    @pytest.mark.parametrize("store_dtype", ["float16", "float32"])
    def test_features_are_those_of_stage_one(self, tmp_path, photos, new, cache, store_dtype):
        spec = ConvBaseSpec(size=8, store_dtype=store_dtype)
        small = extract_features(scan_images(photos), tmp_path / "small", spec)
        train_heads(small, ["ridge"])
        predictor = Predictor(small)
        predictor.head = Recorder()
        paths = [str(new / f"{n}.png") for n in (3, 1, 4)]
        assert len(list(predictor.predict(paths))) == 3
        for path in paths:
            shutil.copy(path, photos / "cats" / f"new-{Path(path).name}")
        whole = extract_features(scan_images(photos), tmp_path / "whole", spec)
        members = [whole.images.ids.index(f"cats/new-{Path(path).name}") for path in paths]
        expected = whole.read_rows(whole.index.rows[members])
        (given,) = predictor.head.given
        assert given.dtype == expected.dtype == np.dtype(store_dtype)
        np.testing.assert_array_equal(given, expected)

    def test_cached_images_cost_no_forward_pass_whatever_their_names(self, tmp_path, photos, cache):
        shutil.copytree(photos, tmp_path / "elsewhere" / "deep")
        predictions = list(predict_images(cache, tmp_path / "elsewhere"))
        assert len(predictions) == 20 and FakeConvBase.loads == FakeConvBase.seen == 0
        store, head = open_features(cache), load_head(cache / "heads" / "logistic")
        X, _ = store.load()
        by_name = dict(zip(store.ids(), head.predict_proba(X), strict=True))
        for prediction in predictions:
            key = Path(prediction.path).relative_to(tmp_path / "elsewhere" / "deep").as_posix()
            np.testing.assert_array_equal(list(prediction.probabilities.values()), by_name[key])

    def test_only_new_images_go_through_the_conv_base(self, photos, new, cache):
        assert len(list(predict_images(cache, [photos, new], batch_size=2))) == 25
        assert FakeConvBase.seen == 5 and FakeConvBase.loads == 1

    def test_an_image_whose_row_is_bad_is_tried_again(self, tmp_path, photos, new, fake_conv_base):
        bad = photos / "cats" / "bad.png"
        bad.write_bytes(b"no picture")
        store = extract_features(scan_images(photos), tmp_path / "bad", SPEC)
        content = store.index.contents[store.index.rows[store.images.ids.index("cats/bad.png")]].tobytes()
        assert store.rows_by_content()(content) == NO_ROW

    def test_every_content_is_found_in_its_row_and_no_other(self, cache):
        store = open_features(cache)
        row_of = store.rows_by_content()
        assert [row_of(content.tobytes()) for content in store.index.contents] == list(range(20))
        first = store.index.contents[0].tobytes()
        assert row_of(first[:-1] + bytes([first[-1] ^ 1])) == row_of(bytes(32)) == row_of(b"\xff" * 32) == NO_ROW

    @pytest.mark.parametrize("batch_size", [1, 3, 7])
    def test_the_batch_size_changes_nothing(self, photos, new, cache, batch_size):
        sources = [new / "0.png", photos, new, photos / "cats"]
        assert list(predict_images(cache, sources, batch_size=batch_size)) == list(predict_images(cache, sources))

    def test_cached_images_do_not_import_tensorflow(self, photos, cache):
        code = "import sys\nfrom pipeline.cli.main import main\nstatus = main(sys.argv[1:])\n"
        code += "sys.exit(status or 9 * ('tensorflow' in sys.modules or 'keras' in sys.modules))"
        command = [sys.executable, "-c", code, "predict", str(cache), str(photos)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 21


class TestOrderAndBadImages:
    def test_predictions_keep_the_order_and_a_bad_image_does_not_stop_them(self, tmp_path, photos, new, cache):
        cut = tmp_path / "cut.jpg"
        cut.write_bytes(photo(1, format="JPEG", size=(90, 90))[:2000])
        sources = [new / "4.png", cut, photos / "dogs" / "003.png", tmp_path / "gone.png", new / "0.png"]
        predictions = list(predict_images(cache, sources, batch_size=2))
        assert [prediction.path for prediction in predictions] == [str(source) for source in sources]
        assert [bool(prediction.error) for prediction in predictions] == [False, True, False, True, False]
        assert "cut short" in predictions[1].error and predictions[3].error == "no such file"
        assert (
            predictions[1].label is None and predictions[1].probability is None and predictions[1].probabilities == {}
        )
        for prediction in (predictions[0], predictions[2], predictions[4]):
            assert (
                list(prediction.probabilities) == ["cats", "dogs"]
                and prediction.probabilities[prediction.label] == prediction.probability
            )
            assert sum(prediction.probabilities.values()) == pytest.approx(1) and prediction.probability >= 0.5

    def test_a_path_that_is_no_regular_file_is_a_bad_image(self, tmp_path, cache):
        os.mkfifo(tmp_path / "pipe.png")
        table = tmp_path / "table.csv"
        table.write_text("path,n\npipe.png,1\nnew\0line.png,2\ncache,3\n")
        errors = [prediction.error for prediction in predict_images(cache, table)]
        assert errors[0] == "is not a regular file" and "null" in errors[1] and errors[2] == "is not a regular file"

    @pytest.mark.parametrize("name", ["cached", "new", "bad"])
    def test_the_first_prediction_does_not_wait_for_the_last_path(self, tmp_path, photos, new, cache, name):
        bad = tmp_path / "bad.png"
        bad.write_bytes(b"")
        path = {"cached": photos / "cats" / "000.png", "new": new / "0.png", "bad": bad}[name]
        asked = itertools.count()
        endless = (str(path) for _ in asked)
        predictions = predict_images(cache, endless, batch_size=2)
        assert next(predictions).path == str(path)
        ahead = 2 * 2 + 2 * MAX_WAITING
        assert next(asked) <= ahead + (2 if name == "new" else MAX_BLOCK_ROWS)
        predictions.close()

    def test_no_images_give_no_predictions(self, cache):
        assert list(predict_images(cache, [])) == []


class TestHeads:
    @pytest.mark.parametrize("name", head_names())
    def test_every_head_labels_as_it_predicts(self, photos, new, cache, name):
        train_heads(open_features(cache), [name], params={name: QUICK.get(name, {})})
        predictions = list(predict_images(cache, [photos, new], name))
        store, head = open_features(cache), load_head(cache / "heads" / name)
        X, _ = store.load()
        assert [prediction.label for prediction in predictions[:20]] == [
            store.classes[label] for label in head.predict(X)
        ]
        expected = head.predict_proba(X)
        np.testing.assert_allclose(
            [list(prediction.probabilities.values()) for prediction in predictions[:20]], expected, atol=1e-6
        )

    def test_the_best_head_is_used_unless_a_head_is_named(self, photos, cache):
        store = open_features(cache)
        head = load_head(cache / "heads" / "logistic")
        about = {"classes": store.classes, "fingerprint": store.fingerprint}
        scored = read_metrics(cache / "heads" / "logistic")
        save_head(head, cache / "heads" / "good", metrics={**scored, "accuracy": 1.0}, **about)
        save_head(head, cache / "heads" / "worse", metrics={**scored, "accuracy": 0.1}, **about)
        save_head(head, cache / "heads" / "unscored", **about)
        stale = {**about, "fingerprint": "0" * 64}
        save_head(head, cache / "heads" / "stale", metrics={**scored, "accuracy": 1.0}, **stale)
        assert Predictor(store).head_name == "good"
        assert Predictor(store, "unscored").head_name == "unscored"
        with pytest.raises(
            HeadError, match=r"no head 'knn' is saved in .*heads; there are good, logistic, stale, unscored, worse"
        ):
            predict_images(cache, photos, "knn")

    def test_a_store_without_heads_is_an_error_at_the_call(self, tmp_path, photos, cache):
        shutil.rmtree(cache / "heads")
        with pytest.raises(HeadError, match=r"no trained head.*train"):
            predict_images(cache, photos)
        with pytest.raises(HeadError, match="there are none"):
            predict_images(cache, photos, "../../heads/logistic")
        with pytest.raises(StoreError, match="no store at"):
            predict_images(tmp_path / "none", photos)

    def test_a_class_without_train_images_has_probability_0(self, tmp_path, cache):
        lines = ["path,label,split"]
        for label, split in (("ants", "validation"), ("cats", "train"), ("dogs", "train")):
            folder = photo_folder(tmp_path / "three", 6, (label,)) / label
            lines += [f"three/{label}/{path.name},{label},{split}" for path in sorted(folder.iterdir())]
        lines += [f"photos/{label}/00{n}.png,{label},validation" for label in ("cats", "dogs") for n in (1, 2)]
        (tmp_path / "three.csv").write_text("\n".join(lines))
        store = extract_features(scan_images(tmp_path / "three.csv"), tmp_path / "c3", SPEC)
        train_heads(store, ["logistic"], params={"logistic": QUICK["logistic"]})
        head = load_head(store.heads_directory / "logistic")
        assert head.classes_.tolist() == [1, 2]
        X, _ = store.load()
        for prediction, (cats, dogs) in zip(
            predict_images(tmp_path / "c3", [store.images.root / id for id in store.ids()]),
            head.predict_proba(X).tolist(),
            strict=True,
        ):
            assert prediction.probabilities == {"ants": 0.0, "cats": cats, "dogs": dogs}

    def test_a_head_older_than_a_class_gives_it_probability_0(self, photos, cache):
        before = {
            Path(prediction.path).name: prediction.probabilities
            for prediction in predict_images(cache, photos / "dogs")
        }
        photo_folder(photos, 4, ("ants",))
        extract_features(scan_images(photos), cache, SPEC)
        for prediction in predict_images(cache, photos / "dogs"):
            assert prediction.probabilities == {"ants": 0.0, **before[Path(prediction.path).name]}


class TestFindImages:
    def test_all_images_below_a_folder_are_found(self, tmp_path, photos):
        (photos / "top.png").write_bytes(photo(1))
        (photos / "cats" / "deep").mkdir()
        (photos / "cats" / "deep" / "noextension").write_bytes(photo(2))
        (photos / "cats" / "bad.jpg").write_bytes(b"")
        (photos / "notes.txt").write_text("hello")
        (photos / ".hidden.png").write_bytes(photo(3))
        (photos / "dangling.png").symlink_to(tmp_path / "nowhere")
        skipped = []
        paths = list(find_images([photos], skipped.append))
        assert len(paths) == 23 and paths == [str(Path(path)) for path in paths] and str(photos / "top.png") == paths[0]
        assert {"noextension", "bad.jpg"} <= {Path(path).name for path in paths}
        assert {(Path(path).name, reason) for path, reason in skipped} == {
            ("notes.txt", "is no image"),
            ("dangling.png", "is a link that leads nowhere"),
        }

    def test_paths_of_a_csv_file_are_relative_to_it_and_need_no_label(self, tmp_path, photos):
        table = photos / "table.CSV"
        table.write_text('note,path\nx,cats/001.png\n"a,b",gone.png\n')
        image = photos / "dogs" / "000.png"
        paths = [str(image), str(photos / "cats" / "001.png"), str(photos / "gone.png")]
        assert list(find_images([image, table])) == paths

    def test_an_error_in_a_csv_file_names_the_line(self, tmp_path):
        table = tmp_path / "t.csv"
        table.write_text("file,label\na.png,x\n")
        with pytest.raises(ImagesError, match=r"t.csv line 1: no column 'path'; there is file, label"):
            list(find_images([table]))
        table.write_text("path,label\n,x\n")
        with pytest.raises(ImagesError, match=r"t.csv line 2: no path"):
            list(find_images([table]))
        with pytest.raises(ImagesError, match=r"none.csv cannot be read: No such file"):
            list(find_images([tmp_path / "none.csv"]))

    def test_sources_must_exist(self, tmp_path, photos):
        os.mkfifo(tmp_path / "pipe")
        check_sources([photos, photos / "cats" / "000.png"])
        for source in (tmp_path / "nothing", "", tmp_path / "pipe"):
            with pytest.raises(ImagesError, match=r"no such image, folder or CSV file|neither a file nor a folder"):
                check_sources([photos, source])


class TestUnknown:
    @pytest.fixture
    def tinted(self, tmp_path, fake_conv_base):
        """A store of sixty images, red or cyan."""
        for label, colour in (("cyan", CYAN), ("red", RED)):
            folder = tmp_path / "tinted" / label
            folder.mkdir(parents=True)
            for number in range(30):
                save_tinted(folder / f"{number}.png", colour, number)
        store = extract_features(scan_images(tmp_path / "tinted"), tmp_path / "tints", SPEC)
        train_heads(store, ["ridge"])
        return store

    def test_a_distance_is_the_mean_over_the_nearest_other_training_rows(self, tinted):
        rows = np.unique(tinted.index.rows[tinted.members("train")])
        pooled = tinted.read_rows(rows).astype(np.float64).mean(axis=(1, 2))
        unit = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        cosine = 1 - unit @ unit.T
        np.fill_diagonal(cosine, np.inf)
        own = dict(zip(rows.tolist(), np.sort(cosine, axis=1)[:, :K].mean(axis=1), strict=True))
        predictor = Predictor(tinted, unknown=0.9)
        assert predictor.threshold == pytest.approx(np.quantile(list(own.values()), 0.9), rel=1e-2, abs=1e-6)
        members = tinted.members("train")
        paths = [str(tinted.images.root / tinted.images.ids[member]) for member in members]
        predictions = list(predictor.predict(paths))
        expected = [own[row] for row in tinted.index.rows[members].tolist()]
        np.testing.assert_allclose([prediction.distance for prediction in predictions], expected, rtol=1e-2, atol=1e-6)
        flagged = np.mean([prediction.unknown for prediction in predictions])
        assert 0.05 <= flagged <= 0.15

    def test_an_image_of_another_colour_is_unknown(self, tmp_path, tinted):
        odd = tmp_path / "odd.png"
        save_tinted(odd, (200, 200, 200), 0)
        save_tinted(tmp_path / "like.png", RED, 77)
        (tmp_path / "bad.png").write_bytes(b"")
        paths = [tmp_path / name for name in ("odd.png", "like.png", "bad.png")]
        odd, like, bad = predict_images(tinted.directory, paths, unknown=0.99)
        assert odd.unknown is True and like.unknown is False and odd.distance > like.distance
        assert bad.unknown is None and bad.distance is None
        assert next(predict_images(tinted.directory, paths)).unknown is None

    def test_the_sample_of_the_training_images_is_fixed(self, tinted, monkeypatch):
        monkeypatch.setattr(unknown_images, "MAX_ROWS", 12)
        monkeypatch.setattr(unknown_images, "MAX_MEASURED", 7)
        thresholds = {Predictor(tinted, unknown=0.99).threshold for _ in range(2)}
        assert len(thresholds) == 1
        assert unknown_images.detector_memory(tinted) == (12, 12 * 3 * 4)

    def test_a_wrong_quantile_and_too_little_memory_are_errors_at_the_call(self, photos, tinted, monkeypatch):
        with pytest.raises(StoreError, match=r"quantile of unknown images is 1.5"):
            predict_images(tinted.directory, photos, unknown=1.5)
        monkeypatch.setattr(unknown_images, "available_memory", lambda: 100)
        with pytest.raises(StoreError, match=r"comparing images with [0-9]+ train images takes"):
            predict_images(tinted.directory, photos, unknown=0.99)


def save_tinted(path: Path, colour: tuple[int, int, int], seed: int) -> None:
    """Save an image whose pixels vary around `colour`."""
    noise = np.random.default_rng([*colour, seed]).integers(-40, 40, (16, 16, 3))
    Image.fromarray((np.array(colour) + noise).astype(np.uint8)).save(path)


def test_a_head_without_probabilities_is_an_error(photos, cache, monkeypatch):
    monkeypatch.setattr("pipeline.predict.label_images.load_head", lambda *args, **kwargs: make_head("logistic"))
    monkeypatch.delattr("pipeline.heads.pipeline_head.PipelineHead.predict_proba")
    with pytest.raises(HeadError, match="has no probabilities; train it with"):
        predict_images(cache, photos)
