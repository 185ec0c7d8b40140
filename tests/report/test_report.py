"""The page: whole, harmless whatever is in it, and right about what it shows."""

from __future__ import annotations

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
from pipeline.report import calibration, data, detail, feature_map, material, scores, write_report
from pipeline.report.figures import Figures
from pipeline.report.html import VOID, Markup, join, tag
from pipeline.report.thumbnails import SIDE, thumbnails
from pipeline.training.saved_heads import OTHER_IMAGES, hash_data, list_saved_heads
from tests.fakes import FakeConvBase, photo, photo_folder

QUICK = {"logistic": {"C": 1.0}, "knn": {"k": 1}, "forest": {"n_estimators": 5}}
HOSTILE = ("<img src=x onerror=alert(1)>", "_$a^\u202e\"'&<script>")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def make_store(root: Path, classes=HOSTILE, per_class=20, weights="imagenet"):
    images = photo_folder(root / "photos", per_class, classes)
    extract_features(scan_images(images), root / "cache", ConvBaseSpec(size=8, weights=weights))
    return open_features(root / "cache")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A store of two classes with hostile names, equal images under both, and three heads."""
    root = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.conv_base.load.load_conv_base", FakeConvBase)
        photo_folder(root / "photos", 20, HOSTILE)
        (root / "photos" / HOSTILE[1] / "same.png").write_bytes(photo(3))
        store = make_store(root)
        train_heads(store, list(QUICK), params=QUICK)
        write_report(store, root / "page.html")
    return root


@pytest.fixture
def root(trained, tmp_path):
    """A copy to spoil; its images are where the store was filled."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


@pytest.fixture
def no_map(monkeypatch):
    """The map takes most of the time."""
    monkeypatch.setattr(material, "map_features", lambda store: None)


def page_of(root: Path, **options) -> str:
    return write_report(open_features(root / "cache"), root / "new.html", **options).read_text()


class Page(HTMLParser):
    """What a page holds; it fails where an element is not closed."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name, attributes):
        assert len(dict(attributes)) == len(attributes)
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
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
    """The page of that store, with all its parts."""
    return Page((trained / "page.html").read_text())


class TestThePageIsWhole:
    def test_names_are_shown_and_are_no_html(self, page):
        assert HOSTILE[0] in page.text
        assert "\u202e" not in page.text and "\\u202e" in page.text
        assert not page.all("script", "iframe", "object", "embed", "base", "form")
        assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
        assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]

    def test_nothing_comes_from_elsewhere(self, page, trained):
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

    def test_it_can_be_heard_as_well_as_seen(self, page):
        levels = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
        assert levels[0] == 1 and levels.count(1) == 1
        assert max(np.diff(levels)) == 1
        assert page.all("img") and all(image["alt"] for image in page.all("img"))
        assert page.all("th") and all(cell["scope"] in ("row", "col") for cell in page.all("th"))
        for svg in page.all("svg"):
            assert svg.get("aria-label") or svg.get("aria-hidden") == "true"

    def test_it_has_every_part(self, page):
        for words in ("Leaderboard", "Duplicates", "two labels", "At every threshold", "Reliability", "Most wrong"):
            assert words in page.text
        for words in ("Least sure", "Map of the features", "What the store holds", "always "):
            assert words in page.text
        assert "RANDOM WEIGHTS" not in page.text
        assert all(name in page.text for name in QUICK)


class TestWhatIsMissing:
    def test_random_weights_are_said_first(self, tmp_path, fake_conv_base, no_map):
        store = make_store(tmp_path, weights="random")
        text = Page(page_of(tmp_path)).text
        assert store.random_weights
        assert text.index("RANDOM WEIGHTS") < text.index("Leaderboard")

    def test_a_store_without_heads_has_a_page_that_says_how_to_train_some(self, tmp_path, fake_conv_base, no_map):
        make_store(tmp_path)
        assert "No head has been trained yet: python -m pipeline heads" in Page(page_of(tmp_path)).text

    def test_a_damaged_head_is_listed_and_the_others_are_shown(self, root, no_map):
        (model,) = (root / "cache/heads/knn").glob("model-*")
        model.write_bytes(b"no model")
        text = page_of(root)
        assert re.search(r"knn</b>: .../cache/heads/knn/model\S+ was changed or damaged", text)
        assert "Most wrong" in text
        with pytest.raises(HeadError, match=r"knn cannot be shown: .*damaged"):
            page_of(root, head="knn")

    def test_metrics_that_are_no_numbers_are_listed_and_escaped(self, root, no_map):
        path = root / "cache/heads/knn/metrics.json"
        write_json(path, {**read_json(path), "accuracy": "<b>best</b>"})
        text = page_of(root)
        assert "&lt;b&gt;best&lt;/b&gt;" in text and "<b>best" not in text
        assert "not as this version writes it" in Page(text).text

    def test_scores_of_other_images_are_called_so_and_nothing_is_drawn_of_them(self, root, no_map):
        path = root / "cache/heads/forest/metrics.json"
        assert OTHER_IMAGES not in page_of(root)
        write_json(path, {**read_json(path), "data_sha256": "of others"})
        text = Page(page_of(root)).text
        assert f"forest: {OTHER_IMAGES}; train it with python -m pipeline heads .../cache" in text.replace("`", "")
        assert "forest see below" in text and "knn see below" not in text
        assert "there are no photos" in Page(page_of(root, head="forest")).text

    def test_without_validation_images_there_is_a_page_that_says_so(self, root, no_map):
        table = open_features(root / "cache").images
        only_train = replace(table, split_codes=np.zeros(len(table), np.int8))
        extract_features(only_train, root / "cache", ConvBaseSpec(size=8))
        text = Page(page_of(root)).text
        assert "The store has no validation images now" in text and "are no validation images, so there are no" in text
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
        assert "Calibration on" in text and "At every threshold" not in text

    def test_heads_with_and_without_intervals_and_seeds_stand_together(self, root, no_map):
        repeats = {
            "knn": Repeats((), (0.5,)),
            "forest": Repeats((0, 1), (0.5, 0.75)),
        }
        for name, found in repeats.items():
            path = root / f"cache/heads/{name}/metrics.json"
            metrics = {**read_json(path), "repeats": found.to_json()}
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
    def test_metrics_of_another_shape_are_listed(self, root, no_map, more):
        path = root / "cache/heads/knn/metrics.json"
        write_json(path, {**read_json(path), **more})
        assert re.search("knn: its metrics.json is not as this version writes it", Page(page_of(root)).text)

    def test_a_head_without_probabilities_still_has_curves(self, root, no_map, monkeypatch):
        class Scorer:
            def __init__(self, directory, **how):
                self.classes_ = np.array([0, 1])

            def decision_function(self, features):
                return features.pooled("avg")[:, 0]

        monkeypatch.setattr(scores, "load_head", Scorer)
        text = Page(page_of(root)).text
        assert "It gives no probabilities" in text and "At every threshold" in text
        assert "Most wrong" not in text and "Reliability" not in text

    def test_an_image_that_is_gone_or_changed_leaves_a_placeholder_that_says_so(self, tmp_path, fake_conv_base):
        store = make_store(tmp_path)
        gone, changed, whole = (Path(store.images.paths[at]) for at in range(3))
        gone.unlink()
        changed.write_bytes(photo(7777))
        shown = thumbnails(store, [0, 1, 2, 1], SILENT)
        assert whole.is_file() and list(shown) == [0, 1, 2]
        assert "its image is gone" in shown[0] and "was changed after it was scanned" in shown[1]
        assert "<img" not in shown[0] + shown[1] and shown[2].startswith("<img src=")

    @pytest.mark.parametrize("colour", [0, 255])
    def test_images_with_the_same_features_have_no_map(self, tmp_path, fake_conv_base, colour):
        for at in range(24):  # of one colour, and different files
            (tmp_path / "photos" / "ab"[at % 2]).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8 + at, 8), (colour,) * 3).save(tmp_path / "photos" / "ab"[at % 2] / f"{at}.png")
        make_store(tmp_path, ("a", "b"), 0)
        assert feature_map.map_features(open_features(tmp_path / "cache")) is None
        assert "too few images" in page_of(tmp_path)


class TestTheTitle:
    def format_title(self, source, cache) -> str:
        return data.title_of(extract_features(scan_images(source), cache, ConvBaseSpec(size=8)))

    def test_it_is_the_folder_of_the_photos_also_of_a_list_that_is_elsewhere(self, tmp_path, fake_conv_base):
        photo_folder(tmp_path / "work" / "photos", 5, ("cats", "dogs"))
        assert self.format_title(tmp_path / "work" / "photos", tmp_path / "cache") == "photos"
        lines = [f"photos/{name}/{at:03d}.png,{name}" for name in ("cats", "dogs") for at in range(5)]
        (tmp_path / "work" / "list.csv").write_text("\n".join(["path,label", *lines]))
        assert self.format_title(tmp_path / "work" / "list.csv", tmp_path / "cache") == "photos"
        (tmp_path / "lists").mkdir()
        lines = [f"../work/{line}" for line in lines]
        (tmp_path / "lists" / "list.csv").write_text("\n".join(["path,label", *lines]))
        assert self.format_title(tmp_path / "lists" / "list.csv", tmp_path / "cache") == "photos"

    def test_a_folder_of_train_images_alone_is_no_title(self, tmp_path, fake_conv_base):
        photo_folder(tmp_path / "photos" / "train", 5, ("cats", "dogs"))
        assert self.format_title(tmp_path / "photos", tmp_path / "cache") == "photos"

    def test_a_store_that_is_the_current_directory_has_its_name(self, root, no_map, monkeypatch):
        monkeypatch.chdir(root / "cache")
        next(Path("heads/knn").glob("model-*")).write_bytes(b"no model")
        text = Page(write_report(open_features("."), "page.html").read_text()).text
        assert "store cache of " in text and "pipeline duplicates .../cache" in text
        assert re.search(r"knn: heads/knn/model-\S+\.skops was changed or damaged", text)


def test_pairs_across_splits_are_said_to_be_a_leak():
    pair = Pair(("a/1.png", "a/2.png"), ("train", "validation"), ("a", "a"), "near", 0.97, 0.99)
    shown = [(pair, tag("img", src="data:,1", alt="1"), tag("img", src="data:,2", alt="2"))]
    leak = Page(data.duplicates(Duplicates((pair,), 9, 9, 0.9), shown, "cache")).text
    assert "Heads are scored on pictures that they were trained on" in leak and "similarity 0.970: two splits" in leak
    assert "One of two labels" not in leak and "pipeline duplicates" not in leak
    assert "python -m pipeline duplicates cache" in Page(data.duplicates(Duplicates((), 9), [], "cache")).text


class TestWriting:
    def test_an_interruption_leaves_the_old_page(self, root, no_map, monkeypatch):
        def interrupted(*what):
            raise KeyboardInterrupt

        before = (root / "page.html").read_bytes()
        monkeypatch.setattr(material, "thumbnails", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_report(open_features(root / "cache"), root / "page.html")
        assert (root / "page.html").read_bytes() == before
        assert sorted(path.name for path in root.iterdir()) == ["cache", "page.html", "photos"]

    def test_the_same_store_gives_the_same_page(self, trained, tmp_path):
        def undated(path):
            return re.sub(r"on \d\d \w+ \d{4}, \d\d:\d\d UTC", "", path.read_text())

        again = write_report(open_features(trained / "cache"), tmp_path / "again.html")
        assert undated(again) == undated(trained / "page.html")

    def test_a_place_that_is_no_file_or_holds_something_else_is_refused(self, trained, tmp_path):
        store = open_features(trained / "cache")
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(StoreError, match="exists and is no report"):
            write_report(store, tmp_path / "notes.txt")
        assert (tmp_path / "notes.txt").read_text() == "mine"
        with pytest.raises(StoreError, match="is a directory"):
            write_report(store, trained)
        with pytest.raises(StoreError, match="make it first"):
            write_report(store, trained / "missing" / "page.html")

    def test_of_many_validation_images_a_sample_is_asked_about(self, root, no_map, monkeypatch):
        monkeypatch.setattr(scores, "MAX_SCORED", 3)
        assert "a random sample of 3 of " in Page(page_of(root)).text

    def test_features_are_read_by_the_block_and_heads_say_the_same(self, trained, monkeypatch):
        store, done = open_features(trained / "cache"), []
        whole = scores.predict_validation(store, ["logistic"], SILENT)
        monkeypatch.setattr(scores, "BLOCK_BYTES", 3 * store.bytes_per_row)
        parts = scores.predict_validation(store, ["logistic"], lambda what, n, total: done.append(n))
        assert done[0] == 3 and done[-1] == len(whole.y)
        np.testing.assert_allclose(parts.probabilities["logistic"], whole.probabilities["logistic"], rtol=1e-5)
        right = whole.probabilities["logistic"].argmax(axis=1) == whole.y
        (logistic,) = (one.trained for one in list_saved_heads(store) if one.name == "logistic")
        assert right.mean() == logistic.accuracy


class TestCommandLine:
    def test_it_writes_the_page_into_the_store_and_says_where(self, root, no_map, capsys):
        assert main(["report", str(root / "cache"), "--head", "knn"]) == 0
        assert f"wrote {root / 'cache' / 'report.html'}" in capsys.readouterr().out
        assert ": knn" in Page((root / "cache/report.html").read_text()).text

    def test_an_unknown_head_is_refused_with_those_there_are(self, trained, capsys):
        assert main(["report", str(trained / "cache"), "--head", "oracle"]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "no head 'oracle'" in line and all(name in line for name in QUICK)


class TestScores:
    Y = np.array([0, 0, 1, 1, 1])
    P = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3], [0.05, 0.95]], np.float32)

    def test_most_wrong_and_least_sure(self):
        wrong, unsure = detail.gallery_of(self.Y, self.P)
        assert wrong.tolist() == [1, 3]
        assert unsure.tolist() == [2, 3, 1, 0, 4]

    def test_calibration_of_two_classes(self):
        from sklearn.metrics import brier_score_loss

        happened, probability = calibration.reliability_pairs(self.Y, self.P)
        assert happened.tolist() == [False, False, True, True, True]
        assert probability == pytest.approx([0.1, 0.8, 0.6, 0.3, 0.95])
        assert calibration.mean_brier_score(self.Y, self.P) == pytest.approx(brier_score_loss(self.Y, self.P[:, 1]))
        by_hand = (0.1 + 0.8 + 0.4 + 0.7 + 0.05) / 5  # each in a bin of its own
        assert calibration.expected_calibration_error(happened, probability) == pytest.approx(by_hand)

    def test_calibration_of_three_classes_is_of_the_one_that_is_named(self):
        p = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
        happened, probability = calibration.reliability_pairs(np.array([1, 2]), p)
        assert happened.tolist() == [False, True] and probability.tolist() == [0.5, 0.8]
        by_hand = (0.5**2 + 0.7**2 + 0.2**2 + 0.1**2 + 0.1**2 + 0.2**2) / 2
        assert calibration.mean_brier_score(np.array([1, 2]), p) == pytest.approx(by_hand)

    def test_of_many_classes_the_most_frequent_mistakes_are_listed(self):
        k = detail.MAX_IN_MATRIX + 1
        confusion = np.diag(np.full(k, 9))
        confusion[3, 4], confusion[5, 6] = 2, 7
        names = [f"class {at}" for at in range(k)]
        text = Page(detail._confusion(confusion, names)).text
        assert text.endswith("class 5class 67class 3class 42")
        assert len(Page(detail._confusion(confusion[:5, :5], names[:5])).all("td")) == 25


class TestDrawing:
    def test_text_is_escaped_and_markup_is_not(self):
        assert tag("p", "<&\"'", Markup("<br>"), None, ["a", 1]) == "<p>&lt;&amp;&quot;&#x27;<br>a1</p>"
        assert (
            tag("i", class_="x", aria_label='"', hidden=True, id=None) == '<i class="x" aria-label="&quot;" hidden></i>'
        )
        assert join("\ud800\x07") == "\\ud800\\x07"

    def test_ids_and_colours_of_a_figure_are_the_pages(self):
        figures = Figures()
        history = {"loss": [1.0, float("nan"), 0.5], "val_loss": [1.2, 1.1, 1.0]}
        first, second = (Page(figures.curves(history, "loss")) for _ in range(2))
        ids = [{attributes["id"] for _, attributes in page.elements if "id" in attributes} for page in (first, second)]
        assert ids[0] and not ids[0] & ids[1]
        styles = " ".join(attributes.get("style") or "" for _, attributes in first.elements)
        assert "var(--c0)" in styles and "var(--c1)" in styles and "currentColor" in styles
        assert not re.search("#[0-9a-f]{6}", styles)

    def test_a_thumbnail_keeps_proportions_and_is_upright(self):
        file, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = 6  # lies on its side
        Image.new("RGB", (400, 200), "red").save(file, "JPEG", exif=exif)
        asked = []
        pixels = decode_image(file.getvalue(), lambda height, width: asked.append((height, width)) or (SIDE, SIDE // 2))
        assert asked == [(400, 200)] and pixels.shape == (SIDE, SIDE // 2, 3)


class TestInABrowser:
    """Chrome or Chromium, if there is one."""

    # The page allows no scripts; a copy without its policy says what the browser made of it. It is
    # looked at in a frame, because a browser's window has a least width.
    FRAME = """<iframe style="width: {}px; height: 900px; border: 0" srcdoc="{}"></iframe><script>
        addEventListener("load", () => {{ document.body.dataset.seen = frames[0].document.body.dataset.seen }})
    </script>"""
    PROBE = """<script>addEventListener("load", () => { document.body.dataset.seen = JSON.stringify({
        width: innerWidth, needed: document.documentElement.scrollWidth,
        broken: [...document.images].filter(image => !image.naturalWidth).length, images: document.images.length,
        scrolls: [...document.querySelectorAll("table.wide")].map(one => one.scrollWidth > one.parentNode.clientWidth),
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
    def look(self, browse, tmp_path):
        def run(text: str, width: int) -> dict[str, Any]:
            probe = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', self.PROBE, text)
            (tmp_path / "frame.html").write_text(self.FRAME.format(width, html.escape(probe)))
            dumped = Page(browse(tmp_path / "frame.html", "--window-size=1400,1000", "--dump-dom"))
            (seen,) = (json.loads(body["data-seen"]) for body in dumped.all("body"))
            return seen

        return run

    def test_the_leaderboard_with_every_column_fits_a_wide_window(self, root, no_map, look):
        for path in (root / "cache/heads").glob("*/metrics.json"):
            more = {"test": read_json(path), "repeats": Repeats((0, 1), (0.5, 0.75)).to_json()}
            write_json(path, {**read_json(path), **more, "fit_seconds": 1234.5, "parameters": 3_137_351})
        assert look(page_of(root), 1200)["scrolls"] == [False]

    @pytest.mark.parametrize("width", [1280, 390])
    def test_it_fits_the_window_shows_every_picture_and_asks_the_network_for_nothing(self, trained, look, width):
        seen = look((trained / "page.html").read_text(), width)
        assert seen["width"] == width and seen["needed"] <= width
        assert seen["images"] > 5 and seen["broken"] == 0
        assert seen["requested"] == []

    def test_it_can_be_looked_at(self, trained, browse, tmp_path):
        browse(trained / "page.html", "--window-size=800,1200", f"--screenshot={tmp_path / 'page.png'}")
        with Image.open(tmp_path / "page.png") as picture:
            assert picture.size == (800, 1200)
            assert len(set(picture.convert("L").resize((80, 120)).tobytes())) > 30
