"""The report: complete, harmless whatever names it contains, and correct."""

import html
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import ConvBaseSpec, HeadError, StoreError, extract_features, open_features, scan_images, train_heads
from pipeline.cli.main import main
from pipeline.duplicates import Duplicates
from pipeline.duplicates.pairs import Pair
from pipeline.evaluation import Repeats
from pipeline.extraction.callbacks import SILENT
from pipeline.files.durable import read_json, write_json
from pipeline.images.decode import decode_image
from pipeline.report import collect, feature_map, figures, predictions, store_facts, svg, write_report
from pipeline.report.calibration import measure_calibration
from pipeline.report.mistakes import choose_galleries, frequent_confusions
from pipeline.report.thumbnails import MAX_SIDE, make_thumbnails, thumbnail_size
from pipeline.text import COMMAND
from pipeline.training.saved_heads import OTHER_IMAGES, hash_data, list_saved_heads
from tests.fakes import FakeConvBase, Recorder, photo, photo_folder

QUICK = {"logistic": {"C": 1.0}, "knn": {"k": 1}, "forest": {"n_estimators": 5}}
UNTRUSTED = ("<img src=x onerror=alert(1)>", "_$a^\u202e\"'&<script>")
VOID_ELEMENTS = {"br", "img", "link", "meta"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def make_store(root: Path, classes=UNTRUSTED, per_class=20, weights="imagenet"):
    images = photo_folder(root / "photos", per_class, classes)
    extract_features(scan_images(images), root / "cache", ConvBaseSpec(size=8, weights=weights))
    return open_features(root / "cache")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A store of two classes with untrusted names, an image under both labels, and three heads."""
    root = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.conv_base.load.load_conv_base", FakeConvBase)
        photo_folder(root / "photos", 20, UNTRUSTED)
        (root / "photos" / UNTRUSTED[1] / "same.png").write_bytes(photo(3))
        store = make_store(root)
        train_heads(store, list(QUICK), params=QUICK)
        write_report(store, root / "page.html")
    return root


@pytest.fixture
def root(trained, tmp_path):
    """A copy that a test may damage; its images are where the store was filled."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


@pytest.fixture
def no_map(monkeypatch):
    """Leave out the feature map, which takes most of the time."""
    monkeypatch.setattr(collect, "map_features", lambda store: None)


def page_of(root: Path, **options) -> str:
    return write_report(open_features(root / "cache"), root / "new.html", **options).read_text()


class Page(HTMLParser):
    """The parsed elements and text of a page; parsing fails if an element is not closed."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, name, attributes):
        assert len(dict(attributes)) == len(attributes)
        self.elements.append((name, dict(attributes)))
        if name not in VOID_ELEMENTS:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name in names]


@pytest.fixture(scope="module")
def page(trained):
    """The page of that store, with all its sections."""
    return Page((trained / "page.html").read_text())


class TestWholePage:
    def test_names_are_shown_and_escaped(self, page):
        assert UNTRUSTED[0] in page.text
        assert "\u202e" not in page.text and "\\u202e" in page.text
        assert not page.all("script", "iframe", "object", "embed", "base", "form")
        assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
        assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]

    def test_nothing_is_loaded_from_elsewhere(self, page, trained):
        for _, attributes in page.elements:
            for key in ("src", "href", "action", "srcset", "data"):
                assert attributes.get(key, "#").startswith(("#", "data:"))
        assert not re.search(r"@import|url\((?!#)", (trained / "page.html").read_text())
        (policy,) = (meta["content"] for meta in page.all("meta") if meta.get("http-equiv"))
        assert policy.startswith("default-src 'none'")

    def test_ids_are_unique_and_every_link_has_its_target(self, page):
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        links = [attributes["href"] for attributes in page.all("a", "use")]
        assert len(ids) == len(set(ids))
        assert len(links) > 10 and {link[1:] for link in links} <= set(ids)
        assert not [id for id in ids if re.search(r"\s", id)]

    def test_it_is_accessible(self, page):
        levels = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
        assert levels[0] == 1 and levels.count(1) == 1
        assert max(np.diff(levels)) == 1
        assert page.all("img") and all(image["alt"] for image in page.all("img"))
        assert page.all("th") and all(cell["scope"] in ("row", "col") for cell in page.all("th"))
        for figure in page.all("svg"):
            assert figure.get("aria-label") or figure.get("aria-hidden") == "true"

    def test_it_has_all_sections(self, page):
        for words in (
            "Leaderboard",
            "Duplicates",
            "two labels",
            "ROC and precision-recall",
            "Reliability",
            "Most wrong",
        ):
            assert words in page.text
        for words in ("Least certain", "Map of the features", "What the store holds", "always "):
            assert words in page.text
        assert "RANDOM WEIGHTS" not in page.text
        assert all(name in page.text for name in QUICK)


class TestMissingParts:
    def test_random_weights_are_announced_first(self, tmp_path, fake_conv_base, no_map):
        store = make_store(tmp_path, weights="random")
        text = Page(page_of(tmp_path)).text
        assert store.random_weights
        assert text.index("RANDOM WEIGHTS") < text.index("Leaderboard")

    def test_a_page_without_heads_says_how_to_train_them(self, tmp_path, fake_conv_base, no_map):
        make_store(tmp_path)
        assert f"No head has been trained yet: {COMMAND} heads" in Page(page_of(tmp_path)).text

    def test_a_damaged_head_is_listed_and_the_others_are_shown(self, root, no_map):
        (model,) = (root / "cache/heads/knn").glob("model-*")
        model.write_bytes(b"no model")
        text = page_of(root)
        assert re.search(r"knn</b>: .../cache/heads/knn/model\S+ was changed or damaged", text)
        assert "Most wrong" in text
        with pytest.raises(HeadError, match=r"knn cannot be shown: .*damaged"):
            page_of(root, head="knn")

    def test_invalid_metrics_are_listed_and_escaped(self, root, no_map):
        path = root / "cache/heads/knn/metrics.json"
        write_json(path, {**read_json(path), "accuracy": "<b>best</b>"})
        text = page_of(root)
        assert "&lt;b&gt;best&lt;/b&gt;" in text and "<b>best" not in text
        assert "not as this version writes it" in Page(text).text

    def test_a_stale_head_is_flagged_and_has_no_curves(self, root, no_map):
        path = root / "cache/heads/forest/metrics.json"
        assert OTHER_IMAGES not in page_of(root)
        write_json(path, {**read_json(path), "data_sha256": "of others"})
        text = Page(page_of(root)).text
        assert f"forest: {OTHER_IMAGES}; train it with {COMMAND} heads .../cache" in text.replace("`", "")
        assert "forest see below" in text and "knn see below" not in text
        assert "There are no photos to look at, because" in Page(page_of(root, head="forest")).text

    def test_a_store_without_validation_images_has_a_page(self, root, no_map):
        table = open_features(root / "cache").images
        only_train = replace(table, split_codes=np.zeros(len(table), np.int8))
        extract_features(only_train, root / "cache", ConvBaseSpec(size=8))
        text = Page(page_of(root)).text
        assert "The store has no validation images now" in text and "there are no validation images." in text
        assert all(name in text for name in QUICK) and "What the store holds" in text and OTHER_IMAGES in text
        assert not re.search("always |nan|Most wrong|Calibration on", text)

    @pytest.mark.parametrize("split", [0, 1])
    def test_validation_images_of_one_class_have_a_page(self, root, no_map, split):
        table = open_features(root / "cache").images
        one_class = replace(table, split_codes=(table.labels == split).astype(np.int8))
        store = extract_features(one_class, root / "cache", ConvBaseSpec(size=8))
        for path in (root / "cache/heads").glob("*/metrics.json"):  # as of heads that were scored on these
            write_json(path, {**read_json(path), "data_sha256": hash_data(store)})
        text = Page(page_of(root)).text
        assert "Calibration on" in text and "ROC and precision-recall" not in text

    def test_heads_with_and_without_intervals_and_repeats_share_a_table(self, root, no_map):
        repeats = {
            "knn": Repeats((), (0.5,)),
            "forest": Repeats((0, 1), (0.5, 0.75)),
        }
        for name, repeated in repeats.items():
            path = root / f"cache/heads/{name}/metrics.json"
            metrics = {**read_json(path), "repeats": repeated.to_json()}
            del metrics["accuracy_interval"]
            write_json(path, metrics)
        text = Page(page_of(root)).text
        assert "no spread" in text and "0.6250 ± 0.1768 (0.500-0.750)" in text and "(0)" not in text

    @pytest.mark.parametrize(
        "more",
        [
            {"repeats": {"seeds": [0, 1], "accuracies": []}},
            {"repeats": {"seeds": [], "accuracies": ["<b>"]}},
            {"history": {"loss": [1.0, 2.0], "val_loss": [1.0]}},
            {"history": {"loss": 1.0}},
            {"history": [1.0]},
            {"test": [1.0]},
        ],
    )
    def test_metrics_of_a_wrong_shape_are_listed(self, root, no_map, more):
        path = root / "cache/heads/knn/metrics.json"
        write_json(path, {**read_json(path), **more})
        assert re.search("knn: its metrics.json is not as this version writes it", Page(page_of(root)).text)

    def test_a_head_whose_epoch_was_chosen_on_the_validation_images_is_called_optimistic(self, root, no_map):
        path = root / "cache/heads/forest/metrics.json"
        assert "optimistic" not in Page(page_of(root)).text
        write_json(path, {**read_json(path), "epoch_chosen_on": "validation"})
        text = Page(page_of(root)).text
        assert text.count("The epoch of forest was chosen on the validation images") == 2  # leaderboard and details

    def test_a_head_without_probabilities_still_has_curves(self, root, no_map, monkeypatch):
        class Scorer:
            def __init__(self, directory, **how):
                self.classes_ = np.array([0, 1])

            def decision_function(self, features):
                return features.pooled("avg")[:, 0]

        monkeypatch.setattr(predictions, "load_head", Scorer)
        text = Page(page_of(root)).text
        assert "the head gives no probabilities" in text and "ROC and precision-recall" in text
        assert "Most wrong" not in text and "Reliability" not in text

    def test_a_missing_or_changed_image_has_a_placeholder_with_the_reason(self, tmp_path, fake_conv_base):
        store = make_store(tmp_path)
        gone, changed, whole = (Path(store.images.paths[i]) for i in range(3))
        gone.unlink()
        changed.write_bytes(photo(7777))
        shown = list(make_thumbnails(store, [0, 1, 2, 1], SILENT).values())
        assert whole.is_file() and len(shown) == 3
        assert "its image is gone" in shown[0].reason and "was changed after it was scanned" in shown[1].reason
        assert not shown[0].uri and not shown[1].uri and shown[2].uri.startswith("data:image/jpeg;base64,")

    @pytest.mark.parametrize("colour", [0, 255])
    def test_images_with_the_same_features_have_no_map(self, tmp_path, fake_conv_base, colour):
        for i in range(24):  # different files with the same colour
            (tmp_path / "photos" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8 + i, 8), (colour,) * 3).save(tmp_path / "photos" / "ab"[i % 2] / f"{i}.png")
        make_store(tmp_path, ("a", "b"), 0)
        assert feature_map.map_features(open_features(tmp_path / "cache")) is None
        assert "too few images" in page_of(tmp_path)


class TestTitle:
    def title_of(self, source, cache) -> str:
        return store_facts.report_title(extract_features(scan_images(source), cache, ConvBaseSpec(size=8)))

    def test_it_is_the_folder_of_the_photos_also_if_a_csv_file_elsewhere_lists_them(self, tmp_path, fake_conv_base):
        photo_folder(tmp_path / "project" / "photos", 5, ("cats", "dogs"))
        assert self.title_of(tmp_path / "project" / "photos", tmp_path / "cache") == "photos"
        lines = [f"photos/{name}/{i:03d}.png,{name}" for name in ("cats", "dogs") for i in range(5)]
        (tmp_path / "project" / "list.csv").write_text("\n".join(["path,label", *lines]))
        assert self.title_of(tmp_path / "project" / "list.csv", tmp_path / "cache") == "photos"
        (tmp_path / "lists").mkdir()
        lines = [f"../project/{line}" for line in lines]
        (tmp_path / "lists" / "list.csv").write_text("\n".join(["path,label", *lines]))
        assert self.title_of(tmp_path / "lists" / "list.csv", tmp_path / "cache") == "photos"

    def test_the_folder_of_a_split_is_no_title(self, tmp_path, fake_conv_base):
        photo_folder(tmp_path / "photos" / "train", 5, ("cats", "dogs"))
        assert self.title_of(tmp_path / "photos", tmp_path / "cache") == "photos"

    def test_a_store_opened_as_the_current_directory_has_a_name(self, root, no_map, monkeypatch):
        monkeypatch.chdir(root / "cache")
        next(Path("heads/knn").glob("model-*")).write_bytes(b"no model")
        text = Page(write_report(open_features("."), "page.html").read_text()).text
        assert "store cache of " in text and "pipeline duplicates .../cache" in text
        assert re.search(r"knn: heads/knn/model-\S+\.skops was changed or damaged", text)


class TestDuplicates:
    def page(self, root, monkeypatch, *pairs, threshold=0.9) -> str:
        monkeypatch.setattr(collect, "known_duplicates", lambda store: Duplicates(pairs, 40, 40, threshold))
        return Page(page_of(root)).text

    def test_pairs_across_splits_are_a_warning(self, root, no_map, monkeypatch):
        first, second = open_features(root / "cache").images.ids[:2]
        pair = Pair((first, second), ("train", "validation"), ("a", "a"), "near", 0.97, 0.99)
        text = self.page(root, monkeypatch, pair)
        assert "Heads are scored on pictures that they were trained on" in text
        assert "similarity 0.970: two splits" in text and "1 pair of images shows the same picture" in text
        assert "One of two labels" not in text and "pipeline duplicates" not in text

    def test_the_search_for_near_duplicates_is_suggested(self, root, no_map, monkeypatch):
        text = self.page(root, monkeypatch, threshold=None)
        assert "Duplicates" not in text  # a section without any pair
        assert "No two images show the same picture" in self.page(root, monkeypatch)
        monkeypatch.undo()
        monkeypatch.setattr(collect, "map_features", lambda store: None)
        assert f"{COMMAND} duplicates .../cache" in Page(page_of(root)).text

    def test_of_many_pairs_the_first_have_pictures(self, root, no_map, monkeypatch):
        first, second = open_features(root / "cache").images.ids[:2]
        pair = Pair((first, second), ("train", "train"), ("a", "a"), "exact", 1, None)
        assert "... and 3 pairs more" in self.page(root, monkeypatch, *[pair] * (collect.MAX_PAIRS + 3))


class TestWriting:
    def test_an_interrupted_report_keeps_the_old_file(self, root, no_map, monkeypatch):
        def interrupted(*what):
            raise KeyboardInterrupt

        before = (root / "page.html").read_bytes()
        monkeypatch.setattr(collect, "make_thumbnails", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_report(open_features(root / "cache"), root / "page.html")
        assert (root / "page.html").read_bytes() == before
        assert sorted(path.name for path in root.iterdir()) == ["cache", "page.html", "photos"]

    def test_the_same_store_gives_the_same_page(self, trained, tmp_path):
        def undated(path):
            return re.sub(r"on \d\d \w+ \d{4}, \d\d:\d\d UTC", "", path.read_text())

        again = write_report(open_features(trained / "cache"), tmp_path / "again.html")
        assert undated(again) == undated(trained / "page.html")

    def test_only_a_report_is_replaced(self, trained, tmp_path):
        store = open_features(trained / "cache")
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(StoreError, match="exists and is no report"):
            write_report(store, tmp_path / "notes.txt")
        assert (tmp_path / "notes.txt").read_text() == "mine"
        with pytest.raises(StoreError, match="is a directory"):
            write_report(store, trained)
        with pytest.raises(StoreError, match="is no directory; make it"):
            write_report(store, trained / "missing" / "page.html")

    def test_a_large_validation_split_is_sampled(self, root, no_map, monkeypatch):
        monkeypatch.setattr(predictions, "MAX_IMAGES", 3)
        assert "a random sample of 3 of " in Page(page_of(root)).text

    def test_predictions_do_not_depend_on_the_size_of_a_block(self, trained, monkeypatch):
        store, calls = open_features(trained / "cache"), []
        whole = predictions.predict_validation(store, ["logistic"], SILENT)
        monkeypatch.setattr(predictions, "MAX_BLOCK_BYTES", 3 * store.bytes_per_row)
        parts = predictions.predict_validation(store, ["logistic"], Recorder(calls))
        assert calls[0][1] == 3 and calls[-1][1] == len(whole.y) > 3
        np.testing.assert_allclose(parts.probabilities["logistic"], whole.probabilities["logistic"], rtol=1e-5)
        right = whole.probabilities["logistic"].argmax(axis=1) == whole.y
        (logistic,) = (head.trained for head in list_saved_heads(store) if head.name == "logistic")
        assert right.mean() == logistic.evaluation.accuracy


class TestCommandLine:
    def test_it_writes_the_page_into_the_store_and_prints_its_path(self, root, no_map, capsys):
        assert main(["report", str(root / "cache"), "--head", "knn"]) == 0
        assert f"wrote {root / 'cache' / 'report.html'}" in capsys.readouterr().out
        assert ": knn" in Page((root / "cache/report.html").read_text()).text

    def test_an_unknown_head_is_an_error_that_lists_the_known_ones(self, trained, capsys):
        assert main(["report", str(trained / "cache"), "--head", "oracle"]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "no head 'oracle'" in line and all(name in line for name in QUICK)


class TestScores:
    Y = np.array([0, 0, 1, 1, 1])
    P = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3], [0.05, 0.95]], np.float32)

    def test_most_wrong_and_least_certain(self):
        galleries = choose_galleries(self.Y, self.P)
        assert galleries.wrong.tolist() == [1, 3]
        assert galleries.uncertain.tolist() == [2, 3, 1, 0, 4]

    def test_calibration_of_two_classes_is_that_of_the_second(self):
        calibration = measure_calibration(self.Y, self.P)
        assert calibration.mean_probability == pytest.approx([0.1, 0.3, 0.6, 0.8, 0.95])
        assert calibration.share.tolist() == [0, 1, 1, 0, 1]
        assert calibration.counts.tolist() == [1, 0, 0, 1, 0, 1, 0, 1, 0, 1] or calibration.counts.sum() == 5
        assert calibration.brier_score == pytest.approx(np.mean((self.P[:, 1] - self.Y) ** 2))
        assert calibration.error == pytest.approx((0.1 + 0.8 + 0.4 + 0.7 + 0.05) / 5)

    def test_calibration_of_three_classes_is_that_of_the_predicted_class(self):
        p = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
        calibration = measure_calibration(np.array([1, 2]), p)
        assert calibration.mean_probability.tolist() == [0.5, 0.8] and calibration.share.tolist() == [0, 1]
        by_hand = (0.5**2 + 0.7**2 + 0.2**2 + 0.1**2 + 0.1**2 + 0.2**2) / 2
        assert calibration.brier_score == pytest.approx(by_hand)

    def test_probabilities_rounded_to_more_than_1_have_a_calibration(self):
        p = np.array([[0, np.nextafter(np.float32(1), 2)], [1, 0]], np.float32)
        assert measure_calibration(np.array([1, 0]), p).brier_score == pytest.approx(0)

    def test_confusions_are_listed_by_frequency(self):
        confusion = np.diag(np.full(8, 9))
        confusion[3, 4], confusion[5, 6] = 2, 7
        assert frequent_confusions(confusion, "abcdefgh") == [("f", "g", 7), ("d", "e", 2)]

    def test_many_classes_have_a_list_of_mistakes_instead_of_a_matrix(self, tmp_path, fake_conv_base, no_map):
        names = tuple(f"class {i:02d}" for i in range(21))
        train_heads(make_store(tmp_path, names, 6), ["knn"], params={"knn": {"k": 1}})
        page = Page(page_of(tmp_path))
        assert "The most frequent mistakes" in page.text and "Rows are true classes" not in page.text


class TestDrawing:
    def test_ids_and_colours_of_a_figure_fit_the_page(self):
        history = {"loss": [1.0, float("nan"), 0.5], "val_loss": [1.2, 1.1, 1.0]}
        first, second = (Page(figures.draw_history(history, "loss", head)) for head in ("dense", "mlp <&"))
        ids = [{attributes["id"] for _, attributes in page.elements if "id" in attributes} for page in (first, second)]
        assert ids[0] and not ids[0] & ids[1]
        styles = " ".join(attributes.get("style") or "" for _, attributes in first.elements)
        assert "var(--c0)" in styles and "var(--c1)" in styles and "currentColor" in styles
        assert not re.search("#[0-9a-f]{6}", styles)
        assert "mlp <&" in second.all("svg")[0]["aria-label"]

    def test_the_style_sheet_has_all_colours(self):
        css = (Path(svg.__file__).parent / "templates/style.css").read_text()
        assert all(css.count(f"--c{i}: ") == 2 for i in range(svg.N_COLOURS))  # for light and dark

    def test_a_figure_that_cannot_be_drawn_leaves_a_page_without_it(self, root, no_map, monkeypatch, caplog):
        def fail(*arguments, **options):
            raise RuntimeError("no font")

        monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
        text = Page(page_of(root)).text
        assert "could not be drawn" in text and "Most wrong" in text and "no font" in caplog.text

    def test_a_thumbnail_keeps_proportions_and_is_upright(self):
        file, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = 6  # rotated by 90 degrees
        Image.new("RGB", (400, 200), "red").save(file, "JPEG", exif=exif)
        assert decode_image(file.getvalue(), thumbnail_size).shape == (MAX_SIDE, MAX_SIDE // 2, 3)


class TestInABrowser:
    """The page as Chrome or Chromium shows it, if one is installed."""

    # The page allows no scripts, so a copy without its policy reports what the browser shows. It is
    # loaded into a frame, because the window of a browser has a minimum width.
    FRAME = """<iframe style="width: {}px; height: 900px; border: 0" srcdoc="{}"></iframe><script>
        addEventListener("load", () => {{ document.body.dataset.seen = frames[0].document.body.dataset.seen }})
    </script>"""
    PROBE = """<script>addEventListener("load", () => { document.body.dataset.seen = JSON.stringify({
        width: innerWidth, needed: document.documentElement.scrollWidth,
        broken: [...document.images].filter(image => !image.naturalWidth).length, images: document.images.length,
        scrolls: [...document.querySelectorAll("table.wide")].map(t => t.scrollWidth > t.parentNode.clientWidth),
        requested: performance.getEntriesByType("resource").map(entry => entry.name).filter(n => !/^data:/.test(n)),
    })})</script>"""

    @pytest.fixture
    def browse(self, tmp_path):
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        if browser is None:
            pytest.skip(f"no browser on PATH: none of {', '.join(BROWSERS)}")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]
        flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]

        def run(file: Path, *options: str) -> str:
            home = f"--user-data-dir={tmp_path / 'browser'}"
            command = [browser, *flags, home, *options, file.as_uri()]
            return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout

        return run

    @pytest.fixture
    def inspect(self, browse, tmp_path):
        def run(text: str, width: int) -> dict[str, Any]:
            probe = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', self.PROBE, text)
            (tmp_path / "frame.html").write_text(self.FRAME.format(width, html.escape(probe)))
            dumped = Page(browse(tmp_path / "frame.html", "--window-size=1400,1000", "--dump-dom"))
            (seen,) = (json.loads(body["data-seen"]) for body in dumped.all("body"))
            return seen

        return run

    def test_the_leaderboard_with_all_columns_fits_a_wide_window(self, root, no_map, inspect):
        for path in (root / "cache/heads").glob("*/metrics.json"):
            more = {"test": read_json(path), "repeats": Repeats((0, 1), (0.5, 0.75)).to_json()}
            write_json(path, {**read_json(path), **more, "fit_seconds": 1234.5, "parameters": 3_137_351})
        assert inspect(page_of(root), 1200)["scrolls"] == [False]

    @pytest.mark.parametrize("width", [1280, 390])
    def test_it_fits_the_window_shows_all_pictures_and_makes_no_requests(self, trained, inspect, width):
        seen = inspect((trained / "page.html").read_text(), width)
        assert seen["width"] == width and seen["needed"] <= width
        assert seen["images"] > 5 and seen["broken"] == 0
        assert seen["requested"] == []

    def test_a_screenshot_is_not_blank(self, trained, browse, tmp_path):
        browse(trained / "page.html", "--window-size=800,1200", f"--screenshot={tmp_path / 'page.png'}")
        with Image.open(tmp_path / "page.png") as picture:
            assert picture.size == (800, 1200)
            assert len(set(picture.convert("L").resize((80, 120)).tobytes())) > 30
