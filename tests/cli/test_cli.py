"""The command line: what it prints, its exit statuses, and that nothing is lost."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from pipeline import text
from pipeline.cli.main import VERBS
from pipeline.text import COMMAND
from tests.fakes import FakeConvBase, photo, photo_folder

ROOT = Path(__file__).parent.parent.parent


def test_features_then_heads_then_info(run, photos, tmp_path):
    photo_folder(photos, 30)
    cache = tmp_path / "cache"
    status, out, _ = run("features", photos, "--cache", cache, "--size", "8")
    assert status == 0 and "60 forward passes made: 60 of 60 images" in out
    status, out, _ = run("features", photos, "--cache", cache, "--size", "8")
    assert status == 0 and "nothing to compute" in out and FakeConvBase.loads == 1
    status, out, _ = run("heads", cache, "--heads", "ridge,knn", "--set", "knn.k=1")
    assert status == 0 and "ridge" in out and "knn" in out
    metrics = json.loads((cache / "heads" / "ridge" / "metrics.json").read_text())
    assert {"accuracy", "balanced_accuracy", "classes", "fit_seconds"} <= set(metrics)
    assert (cache / "heads" / "ridge" / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
    status, out, _ = run("info", cache, "--json")
    document = json.loads(out)
    assert status == 0 and document["with_features"] == 60 and len(document["heads"]) == 2


def test_the_plan_is_printed_first(run, photos, tmp_path):
    _, out, _ = run("features", photos, "--cache", tmp_path / "cache", "--size", "8")
    words = ("images     20", "cats", "dogs", "train", "validation", "20 forward passes to make", "480 bytes to write")
    for word in words:
        assert word in out


def test_random_weights_are_warned_of(run, photos, tmp_path):
    status, _, err = run("features", photos, "--cache", tmp_path / "cache", "--size", "8", "--weights", "random")
    assert status == 0 and "RANDOM WEIGHTS" in err
    status, out, err = run("heads", tmp_path / "cache", "--heads", "ridge")
    assert status == 0 and "RANDOM WEIGHTS" in out and "RANDOM WEIGHTS" in err
    assert json.loads((tmp_path / "cache" / "manifest.json").read_text())["sources"]["weights"] == "random"


def test_fault_35_too_many_bad_images_stop_before_the_heads(run, photos, tmp_path):
    (photos / "cats" / "bad.jpg").write_bytes(b"")
    cache = tmp_path / "cache"
    status, _, err = run("features", photos, "--cache", cache, "--size", "8")
    assert status == 1 and "cats/bad.jpg" in err and "--max-bad" in err
    status, _, err = run("heads", cache, "--heads", "ridge")
    assert status == 1 and "cats/bad.jpg" in err
    assert run("features", photos, "--cache", cache, "--size", "8", "--max-bad", "0.1")[0] == 0
    assert run("heads", cache, "--heads", "ridge", "--max-bad", "0.1")[0] == 0


def one_line(err: str) -> str:
    """Return the last line of standard error, which must be the error."""
    assert "Traceback" not in err
    line = err.strip().splitlines()[-1]
    assert line.startswith(("pipeline: ", COMMAND))
    return line


@pytest.mark.parametrize(
    ("make", "errors"),
    [
        (lambda folder: folder / "nothing", "no such folder"),
        (lambda folder: folder / "cats" / "000.png", "is a file"),
        (lambda folder: folder / "cats", "no label in its name|one class only|no images"),
    ],
)
def test_bad_images_end_one_line_errors_and_status_2(run, photos, tmp_path, make, errors):
    status, _, err = run("features", make(photos), "--cache", tmp_path / "cache")
    assert status == 2
    assert any(words in one_line(err) for words in errors.split("|"))
    assert not (tmp_path / "cache").exists()


def test_a_store_made_with_another_spec_ends_one_line_errors_with_the_fields(run, photos, tmp_path):
    cache = tmp_path / "cache"
    run("features", photos, "--cache", cache, "--size", "8")
    status, _, err = run("features", photos, "--cache", cache, "--size", "10", "--store-dtype", "float32")
    assert status == 2
    line = one_line(err)
    assert "size: [8, 8] in the store, [10, 10] asked for" in line and "store_dtype" in line and "--rebuild" in line


def test_no_store_and_unknown_heads_end_one_line_errors(run, photos, tmp_path):
    status, _, err = run("heads", tmp_path / "none")
    assert status == 2 and "no store at" in one_line(err)
    run("features", photos, "--cache", tmp_path / "cache", "--size", "8")
    status, _, err = run("heads", tmp_path / "cache", "--heads", "logistik")
    assert status == 2 and "logistic" in one_line(err)
    status, _, err = run("heads", tmp_path / "cache", "--heads", "ridge", "--set", "knn.k=3")
    assert status == 2 and "knn" in one_line(err)


@pytest.mark.parametrize("option", [("--size", "0"), ("--size", "1x2x3"), ("--validation", "2"), ("--workers", "-1")])
def test_values_out_of_range_end_in_usage(run, photos, option):
    status, _, err = run("features", photos, "--cache", "x", *option)
    assert status == 2 and option[1] in one_line(err)


def test_fault_04_a_full_disk_is_one_line(run, photos, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    status, _, err = run("features", photos, "--cache", tmp_path / "cache", "--size", "8")
    assert status != 0 and "No space left on device" in one_line(err)


def test_control_characters_in_file_names_are_escaped(run, photos, tmp_path):
    (photos / "cats" / "bad\x1b[31m\nline.jpg").write_bytes(b"")
    (photos / "cats" / os.fsdecode(b"latin\xe9.jpg")).write_bytes(b"")
    _, _, err = run("features", photos, "--cache", tmp_path / "cache", "--size", "8")
    assert "\x1b" not in err and "bad\\x1b[31m" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_fault_02_a_signal_keeps_what_is_finished(photos, tmp_path, number):
    photo_folder(photos, 200)
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, time\n"
        "import pipeline.conv_base.load, pipeline.cli.console, pipeline.extraction.plan\n"
        "from tests.fakes import FakeConvBase\n"
        "class Slow(FakeConvBase):\n"
        "    def compute(self, batch):\n"
        "        time.sleep(0.1)\n"
        "        return super().compute(batch)\n"
        "pipeline.conv_base.load.load_conv_base = Slow\n"
        "pipeline.cli.console.start_tensorflow_quietly = lambda: None\n"
        "pipeline.extraction.plan.MAX_ROWS = 16\n"
        "from pipeline.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    cache = tmp_path / "cache"
    command = [sys.executable, script, "features", photos, "--cache", cache, "--size", "8", "--batch-size", "8"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    for _ in range(600):
        if len(list(cache.glob("shards/*.h5"))) >= 2:
            break
        time.sleep(0.05)
    process.send_signal(number)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "interrupted" in one_line(err) and "continues" in err
    from pipeline import open_features

    store = open_features(cache)
    assert 16 <= len(store.members()) < 400
    assert len(store.load()[0]) == len(store.members())


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help_text(run, verb):
    status, out, _ = run(verb, "--help")
    assert status == 0 and "--verbose" in out
    assert " ".join(VERBS[verb].__doc__.split()) in " ".join(out.split())
    assert " ".join(VERBS[verb].__doc__.split()) in " ".join(run("--help")[1].split())


@pytest.mark.parametrize("arguments", [["--help"], ["heads", "--help"], ["predict", "--help"]])
def test_help_imports_nothing_that_takes_time(arguments):
    code = "import sys; from pipeline.cli.main import main\ntry: main(sys.argv[1:])\nfinally: print(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    loaded = set(finished.stdout.split())
    assert finished.returncode == 0 and "pipeline.cli.heads" in loaded
    assert not loaded & {"numpy", "rich", "h5py", "tensorflow", "sklearn", "importlib.metadata"}


def test_help_shows_defaults_and_choices_of_the_spec_and_the_augmentation(run):
    _, out, _ = run("features", "--help")
    text = " ".join(out.split())
    for words in (
        "(default: vgg16)",
        "(default: 0.0)",
        "{bilinear,antialias}",
        "rotation=40.0",
        "horizontal_flip=true",
    ):
        assert words in text


def test_a_truncated_photo_is_named(run, photos, tmp_path):
    (photos / "cats" / "cut.jpg").write_bytes(photo(1, format="JPEG", size=(90, 90))[:2000])
    _, _, err = run("features", photos, "--cache", tmp_path / "cache", "--size", "8")
    assert "without features: cats/cut.jpg" in err


def test_changes_of_the_images_are_summed_up(run, photos, tmp_path):
    cache = tmp_path / "cache"
    run("features", photos, "--cache", cache, "--size", "8")
    (photos / "cats" / "000.png").unlink()
    (photos / "cats" / "001.png").write_bytes(photo(500))
    (photos / "cats" / "002.png").rename(photos / "dogs" / "moved.png")
    (photos / "dogs" / "new.png").write_bytes(photo(501))
    _, out, _ = run("features", photos, "--cache", cache, "--size", "8")
    assert "changes    +1 ~1 -1 moved 1" in out and "2 forward passes made" in out


def test_another_data_set_in_the_same_store_replaces_the_images_and_says_so(run, photos, tmp_path):
    cache, other = tmp_path / "cache", photo_folder(tmp_path / "other", 5)
    for i, path in enumerate(other.rglob("*.png")):
        path.write_bytes(photo(5000 + i))
    run("features", photos, "--cache", cache, "--size", "8")
    status, out, _ = run("features", other, "--cache", cache, "--size", "8")
    assert status == 0 and "10 of 10 images have features" in out
    assert "changes    +0 ~10 -10" in out


def test_the_time_for_views_is_estimated_from_computed_features_alone(run, photos, tmp_path):
    options = ("features", photos, "--cache", tmp_path / "cache", "--size", "8")
    assert ", about " in run(*options, "--views", "2")[1]
    status, out, _ = run(*options, "--views", "3")  # the features are cached: only files are read before the views
    assert status == 0 and "to write" in out and ", about " not in out


def test_augmentation_without_views_is_an_error(run, photos, tmp_path):
    status, _, err = run("features", photos, "--cache", tmp_path / "cache", "--size", "8", "--augment", "rotation=5")
    assert status == 2 and "views" in one_line(err)
    assert not (tmp_path / "cache").exists()


def log_and_warn(options):
    logging.getLogger("pipeline.room").warning("something is wrong,\n  it says")
    logging.getLogger("pipeline.room").info("a detail")
    logging.getLogger("elsewhere").warning("foreign")
    warnings.warn(f"verbose {options.verbose}", UserWarning, stacklevel=1)
    logging.getLogger("elsewhere").error("broken")
    return 0


def test_warnings_of_the_package_are_shown_and_other_records_only_with_verbose(run, monkeypatch):
    monkeypatch.setattr("pipeline.cli.info.run", log_and_warn)
    assert run("info", "store") == (0, "", "something is wrong, it says\nelsewhere: broken\n")
    err = run("info", "store", "--verbose")[2]
    for line in (
        "something is wrong, it says\n",
        "pipeline.room: a detail\n",
        "elsewhere: foreign\n",
        "UserWarning: verbose True",
    ):
        assert line in err


def test_main_leaves_logging_and_warnings_as_they_were(run, monkeypatch):
    def state():
        root, own = logging.getLogger(), logging.getLogger("pipeline")
        return root.level, list(root.handlers), own.level, list(own.handlers), warnings.showwarning

    before = state()
    monkeypatch.setattr("pipeline.cli.info.run", log_and_warn)
    run("info", "store", "--verbose")
    assert state() == before


def test_hints_call_the_python_below_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert text._python() == "python"
    monkeypatch.setattr(sys, "executable", str(Path.cwd() / ".venv/bin/python"))
    assert text._python() == str(Path(".venv/bin/python"))
