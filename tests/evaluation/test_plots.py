"""The PNG files beside a saved head."""

import logging
import warnings

import numpy as np
import pytest
from PIL import Image

from pipeline import ConvBaseSpec, extract_features, open_features, scan_images, train_heads
from pipeline.evaluation import Evaluation, plots
from pipeline.training.saved_heads import list_saved_heads
from tests.fakes import photo_folder

MATH = ("a$b$", "$x^$", r"$\frac$")  # class names that matplotlib takes for formulas; the last two are wrong ones
HISTORY = {"loss": [1.0, 0.5], "val_loss": [1.1, 0.7], "accuracy": [0.5, 0.9], "val_accuracy": [0.4, 0.8]}


def evaluation_of(classes):
    k = len(classes)
    per_class = [{"class": name, "precision": 1.0, "recall": 1.0, "f1": 1.0, "n": 3} for name in classes]
    return Evaluation(1.0, 1.0, None, 3 * k, tuple(classes), per_class, np.diag(np.full(k, 3)))


@pytest.mark.parametrize("classes", [MATH, ("cat", "d" * 300), [f"$_{i}^$" for i in range(30)]])
def test_any_class_names_can_be_drawn(classes, tmp_path):
    plots.save_plots(evaluation_of(classes), HISTORY, tmp_path, title=f"dense on {classes[0]}")
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["confusion_matrix.png", "training_curve.png"]
    for file in files:
        with Image.open(file) as picture:
            assert min(picture.size) > 200


def test_characters_without_a_glyph_cause_no_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.save_plots(evaluation_of(["猫", "\U0001f415"]), None, tmp_path, title="dense")
    assert list(tmp_path.iterdir()) == [tmp_path / "confusion_matrix.png"]  # a warning would leave it out


def test_an_error_while_plotting_is_logged_and_not_raised(tmp_path, monkeypatch, caplog):
    def fail(*arguments):
        raise RuntimeError("no font")

    monkeypatch.setattr(plots, "confusion_figure", fail)
    with caplog.at_level(logging.WARNING):
        plots.save_plots(evaluation_of(MATH), HISTORY, tmp_path, title="dense")
    assert list(tmp_path.iterdir()) == [tmp_path / "training_curve.png"]
    assert "confusion_matrix.png" in caplog.text and "no font" in caplog.text


def test_a_full_disk_is_raised(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plots, "write_durably", fail)
    with pytest.raises(OSError, match="No space left"):
        plots.save_plots(evaluation_of(MATH), HISTORY, tmp_path, title="dense")


def test_heads_are_trained_and_listed_although_a_plot_fails(tmp_path, fake_conv_base, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no font")

    extract_features(scan_images(photo_folder(tmp_path / "photos", 12, MATH)), tmp_path / "cache", ConvBaseSpec(size=8))
    store = open_features(tmp_path / "cache")
    train_heads(store, ["ridge"])
    assert (store.heads_directory / "ridge" / "confusion_matrix.png").is_file()
    monkeypatch.setattr(plots, "confusion_figure", fail)
    train_heads(store, ["knn", "logistic"])
    assert {head.name for head in list_saved_heads(store)} == {"ridge", "knn", "logistic"}
