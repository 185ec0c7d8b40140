"""Stale heads, whose scores are of other images than the store holds, and the choice of a head."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from pipeline import StoreMismatch, extract_features, open_features, scan_images, train_heads
from pipeline.cli.main import main
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.errors import HeadError
from pipeline.files.durable import read_json, write_json
from pipeline.images.status import Status
from pipeline.predict.label_images import Predictor
from pipeline.text import COMMAND
from pipeline.training.best_head import choose_head
from pipeline.training.saved_heads import OTHER_IMAGES, hash_data, list_saved_heads
from tests.fakes import photo, photo_folder

SPEC = ConvBaseSpec("vgg16", weights="random", size=32)


@pytest.fixture
def images(tmp_path, fake_conv_base):
    return scan_images(photo_folder(tmp_path / "photos", per_class=20), validation=0.3)


@pytest.fixture
def store(images, tmp_path):
    store = extract_features(images, tmp_path / "store", SPEC)
    train_heads(store, ["ridge", "knn"])
    return store


def names_and_problems(store):
    return {head.name: head.problem for head in list_saved_heads(store)}


class TestStaleHeads:
    def test_heads_just_trained_have_no_problem(self, store):
        assert names_and_problems(store) == {"ridge": None, "knn": None}

    def test_a_new_image_makes_heads_stale(self, store, images):
        (images.root / "cats" / "new.png").write_bytes(photo(99))
        assert names_and_problems(
            extract_features(scan_images(images.root, validation=0.3), store.directory, SPEC)
        ) == {"ridge": OTHER_IMAGES, "knn": OTHER_IMAGES}

    @pytest.mark.parametrize("column", ["labels", "split_codes"])
    def test_another_label_or_split_makes_heads_stale(self, store, images, column):
        changed = getattr(images, column).copy()
        changed[[0, -1]] = changed[[-1, 0]] if column == "labels" else 1 - changed[[0, -1]]
        after = extract_features(replace(images, **{column: changed}), store.directory, SPEC)
        assert set(names_and_problems(after).values()) == {OTHER_IMAGES}

    def test_a_renamed_image_does_not_make_heads_stale(self, store, images):
        (images.root / "cats" / "000.png").rename(images.root / "cats" / "zzz.png")
        after = extract_features(scan_images(images.root, validation=0.3), store.directory, SPEC)
        assert hash_data(after) == hash_data(store)
        assert names_and_problems(after) == {"ridge": None, "knn": None}

    def test_the_hash_of_a_store_without_features(self, store):
        empty = open_features(store.directory)
        empty.status = np.full(len(empty.images), Status.UNDECODABLE, np.uint8)
        assert hash_data(empty) != hash_data(store)

    def test_heads_of_other_features_have_no_scores(self, store, images):
        after = extract_features(images, store.directory, replace(SPEC, preprocessing="tf"), rebuild=True)
        assert all("other features" in head.problem and head.trained is None for head in list_saved_heads(after))

    def test_heads_of_other_classes_have_no_scores(self, store, images):
        (images.root / "birds").mkdir()
        for number in range(8):
            (images.root / "birds" / f"{number}.png").write_bytes(photo(200 + number))
        after = extract_features(scan_images(images.root, validation=0.3), store.directory, SPEC)
        assert all("other classes" in head.problem and head.trained is None for head in list_saved_heads(after))

    @pytest.mark.parametrize(
        ("field", "value"), [("accuracy", "x"), ("accuracy", None), ("confusion", [[1]]), ("repeats", 3), ("test", 7)]
    )
    def test_metrics_of_another_kind_are_a_problem_of_that_head_alone(self, store, field, value):
        file = store.heads_directory / "knn" / "metrics.json"
        write_json(file, {**read_json(file), field: value})
        assert [head.name for head in list_saved_heads(store) if head.trained] == ["ridge"]
        assert "metrics.json is not as this version writes it" in names_and_problems(store)["knn"]

    def test_damaged_metrics_are_a_problem_of_that_head_alone(self, store):
        (store.heads_directory / "knn" / "metrics.json").write_text("{")
        assert [head.name for head in list_saved_heads(store) if head.trained] == ["ridge"]


class TestChooseHead:
    def test_the_best_head_is_chosen(self, store):
        accuracies = {head.name: head.trained.evaluation.accuracy for head in list_saved_heads(store)}
        assert choose_head(store).trained.evaluation.accuracy == max(accuracies.values())

    def test_a_stale_head_is_chosen_last_though_its_scores_are_better(self, store):
        file = store.heads_directory / "knn" / "metrics.json"
        write_json(file, {**read_json(file), "accuracy": 1.0, "data_sha256": "of others"})
        other = store.heads_directory / "ridge" / "metrics.json"
        write_json(other, {**read_json(other), "accuracy": 0.1})
        assert choose_head(store).name == "ridge"
        assert choose_head(store, among=["knn"]).problem == OTHER_IMAGES

    def test_a_stale_head_is_chosen_with_a_warning_if_there_is_no_other(self, store, images, caplog):
        after = extract_features(scan_images(images.root, validation=0.1), store.directory, SPEC)
        with caplog.at_level(logging.WARNING, "pipeline"):
            chosen = choose_head(after)
        assert chosen.problem == OTHER_IMAGES
        assert OTHER_IMAGES in caplog.text
        assert f"heads {store.directory}" in caplog.text

    def test_a_head_of_other_features_is_never_chosen(self, store, images):
        after = extract_features(images, store.directory, replace(SPEC, preprocessing="tf"), rebuild=True)
        with pytest.raises(HeadError, match="no trained head"):
            choose_head(after)
        with pytest.raises(StoreMismatch):
            Predictor(after, "knn")

    def test_an_unknown_name_is_an_error_that_lists_the_saved_heads(self, store):
        with pytest.raises(HeadError, match=r"no head 'forest' is saved in .* there are knn, ridge"):
            choose_head(store, "forest")


class TestCommands:
    @pytest.fixture
    def stale(self, store, images):
        extract_features(scan_images(images.root, validation=0.1), store.directory, SPEC)
        return str(store.directory)

    def test_info_names_the_stale_heads(self, stale, capsys):
        assert main(["info", stale]) == 0
        shown = " ".join(capsys.readouterr().err.split())
        assert OTHER_IMAGES in shown
        assert f"train again with `{COMMAND} heads {stale}`" in shown

    def test_info_gives_the_problem_of_each_head_as_json(self, stale, capsys):
        assert main(["info", stale, "--json"]) == 0
        heads = json.loads(capsys.readouterr().out)["heads"]
        assert {head["head"]: head["problem"] for head in heads} == {"ridge": OTHER_IMAGES, "knn": OTHER_IMAGES}

    def test_predict_warns(self, stale, images, capsys):
        assert main(["predict", stale, str(images.root / "cats")]) == 0
        assert OTHER_IMAGES in " ".join(capsys.readouterr().err.split())

    def test_the_report_names_stale_heads_and_computes_no_predictions_of_them(self, stale, tmp_path):
        assert main(["report", stale, "--out", str(tmp_path / "page.html")]) == 0
        page = (tmp_path / "page.html").read_text()
        assert f"knn, ridge</b>: {OTHER_IMAGES}" in page
        assert "At every threshold" not in page
        assert "Most wrong" not in page

    def test_equal_accuracies_are_ranked_by_auc_then_by_parameters(self, store, capsys):
        for name, auc, parameters in (("ridge", 0.7, 9), ("knn", 0.8, 99)):
            file = store.heads_directory / name / "metrics.json"
            write_json(file, {**read_json(file), "accuracy": 0.9, "auc": auc, "parameters": parameters})
        assert [head.name for head in list_saved_heads(store)] == ["knn", "ridge"]
        file = store.heads_directory / "knn" / "metrics.json"
        write_json(file, {**read_json(file), "auc": 0.7})
        assert [head.name for head in list_saved_heads(store)] == ["ridge", "knn"]
