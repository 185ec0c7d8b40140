"""The verb `predict`: its CSV file, its messages, and how it resumes after an interruption."""

import csv
import io
import os
import sys
from pathlib import Path

import pytest

from pipeline import ConvBaseSpec, extract_features, predict_images, scan_images, train_heads
from pipeline.cli.main import main
from pipeline.errors import PipelineError
from pipeline.files.durable import sha256_of
from pipeline.predict import Prediction
from pipeline.predict.predictions_file import PredictionsFile, columns, csv_line
from tests.cli.test_cli import one_line
from tests.fakes import FakeConvBase, photo, photo_folder

SPEC = ConvBaseSpec(size=8)
CAT = Prediction("a", "cats", 1.0, {"cats": 1.0, "dogs": 0.0})
HEADER = ["path", "label", "probability", "p_cats", "p_dogs", "error"]


@pytest.fixture
def cache(tmp_path, photos, fake_conv_base):
    """The directory of a store of twenty photos and two trained heads."""
    store = extract_features(scan_images(photos), tmp_path / "cache", SPEC)
    train_heads(store, ["knn", "ridge"], params={"knn": {"k": 3}})
    fake_conv_base.seen = fake_conv_base.loads = 0
    return tmp_path / "cache"


@pytest.fixture
def new(tmp_path):
    """Thirty photos that no store has."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number:03d}.png").write_bytes(photo(7000 + number))
    return folder


@pytest.fixture
def run(capfdbinary, fake_conv_base):
    """Run `predict`; return the exit status, the bytes of standard output, and standard error."""

    def call(*arguments) -> tuple[int, bytes, str]:
        try:
            status = main(["predict", *map(str, arguments)])
        except SystemExit as exit:
            status = exit.code
        out, err = capfdbinary.readouterr()
        return status, out, err.decode()

    return call


def read_csv(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")))


def test_standard_output_holds_only_csv(run, cache, photos, new):
    status, out, err = run(cache, new / "003.png", photos, "--head", "knn")
    rows = read_csv(out)
    assert status == 0 and list(rows[0]) == HEADER and len(rows) == 21
    assert rows[0]["path"] == str(new / "003.png")
    for row, prediction in zip(rows, predict_images(cache, [new / "003.png", photos], "knn"), strict=True):
        assert (row["path"], row["label"], row["error"]) == (prediction.path, prediction.label, "")
        assert float(row["p_cats"]) == pytest.approx(prediction.probabilities["cats"], rel=1e-6)
        assert row["probability"] == row[f"p_{row['label']}"]
    assert "head       knn" in err and "labelled 21 of 21 images" in err


def test_a_bad_image_has_its_reason_in_its_line_and_the_status_is_1(run, tmp_path, cache, new):
    (new / "010.png").write_bytes(b"<html>")
    status, out, err = run(cache, new, "--out", tmp_path / "labels.csv")
    rows = read_csv((tmp_path / "labels.csv").read_bytes())
    assert status == 1 and [row["path"] for row in rows] == sorted(map(str, new.iterdir()))
    bad = rows.pop(10)
    assert bad.pop("path").endswith("010.png") and "HTML" in bad.pop("error") and set(bad.values()) == {""}
    assert all(row["label"] for row in rows) and "010.png: not an image" in err
    assert b"labelled 29 of 30 images" in out and not list(tmp_path.glob("*.partial*"))


def test_fault_32_odd_names_are_read_back_from_the_csv(run, tmp_path, cache, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["new\nline.png", "carriage\rreturn.png", 'co,mma".png', "smile \U0001f600.png", " spaces .png"]
    names += [os.fsdecode(b"latin\xe9.png")]
    formulas = ["=cmd|calc.png", "+1.png", "-1.png", "@sum.png"]
    for number, name in enumerate([*names, *formulas]):
        Path(name).write_bytes(photo(700 + number))
    status, out, _ = run(cache, *names, *(f"./{name}" for name in formulas))
    assert status == 0 and [row["path"] for row in read_csv(out)] == [*names, *(f"./{name}" for name in formulas)]
    Path("list.csv").write_text("path\n" + "\n".join(formulas))
    assert run(cache, *names, "list.csv", "--out", "labels.csv")[0] == 0 and Path("labels.csv").read_bytes() == out
    paths = [row["path"] for row in read_csv(run(cache, "list.csv")[1])]
    assert paths == [f"./{name}" for name in formulas] and all(Path(path).is_file() for path in paths)


def test_cells_are_quoted_and_a_line_ends_in_a_bare_newline():
    assert csv_line(["a", "b,c", 'd"e', "f\rg", "h\ni"]) == b'a,"b,c","d""e","f\rg","h\ni"\n'


def test_unknown_adds_two_columns(run, cache, photos):
    status, out, err = run(cache, photos, "--unknown")
    rows = read_csv(out)
    assert status == 0 and list(rows[0])[-3:] == ["distance", "unknown", "error"]
    assert {row["unknown"] for row in rows} <= {"True", "False"}
    assert all(0 <= float(row["distance"]) <= 2 for row in rows)
    assert "is decided by" in err and "of memory" in err
    assert columns(["b"], distances=True) == ["path", "label", "probability", "p_b", "distance", "unknown", "error"]


def test_paths_may_come_from_standard_input(run, cache, photos, new, monkeypatch):
    lines = f"{new}/001.png\n\n{photos}/cats\n{new}/gone.png\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    status, out, _ = run(cache, "-", new / "002.png")
    rows = read_csv(out)
    assert status == 1 and len(rows) == 13 and rows[0]["path"] == f"{new}/001.png"
    assert rows[-2]["error"] == "no such file" and rows[-1]["path"].endswith("002.png")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["{cache}", "{photos}/nothing.png"], "no such image, folder or CSV file: "),
        (["{cache}", "{photos}", "--head", "svm"], "no head 'svm' is saved in"),
        (["{cache}", "{photos}", "--out", "{photos}/none/x.csv"], "cannot be written: there is no folder"),
        (["{cache}", "{photos}", "--out", "{photos}"], "cannot be written: it is a folder"),
        (["{cache}", "{photos}", "--out", "{photos}/cats/000.png"], "is no CSV file of predictions; give another"),
        (["{cache}", "{photos}", "--out", "{photos}/t.csv"], "is no CSV file of predictions; give another"),
        (["{cache}", "{photos}", "--unknown", "2"], "not a fraction"),
        (["--unknown", "{cache}", "{photos}"], "put --unknown last, or a number behind it: --unknown 0.99"),
        (["{photos}", "{photos}"], "no store at"),
        (["{cache}", "{photos}/empty"], "no images in"),
        (["{cache}", "{photos}/t.csv"], "no column 'path'"),
    ],
)
def test_a_wrong_request_is_one_line_and_status_2(run, cache, photos, arguments, complaint):
    (photos / "empty").mkdir()
    (photos / "t.csv").write_text("a,b\n")
    status, out, err = run(*(argument.format(cache=cache, photos=photos) for argument in arguments))
    assert status == 2 and out == b"" and complaint in one_line(err)
    assert FakeConvBase.loads == 0


def test_another_file_is_not_overwritten_and_no_head_is_loaded(run, cache, photos, monkeypatch):
    monkeypatch.setattr("pipeline.predict.label_images.Predictor", None)
    photo_bytes = (photos / "cats/000.png").read_bytes()
    status, _, err = run(cache, photos, "--out", photos / "cats/000.png")
    assert status == 2 and "000.png exists" in one_line(err)
    assert (photos / "cats/000.png").read_bytes() == photo_bytes


@pytest.mark.parametrize("old", [b"", b'path,label,probability,"p_a,b",error\n'])
def test_an_empty_file_and_older_predictions_are_replaced(run, tmp_path, cache, photos, old):
    (tmp_path / "labels.csv").write_bytes(old)
    assert run(cache, photos, "--out", tmp_path / "labels.csv")[0] == 0
    assert list(read_csv((tmp_path / "labels.csv").read_bytes())[0]) == HEADER


def test_random_weights_and_the_chosen_head_are_shown(run, tmp_path, photos, fake_conv_base):
    store = extract_features(scan_images(photos), tmp_path / "random", ConvBaseSpec(size=8, weights="random"))
    train_heads(store, ["knn"], params={"knn": {"k": 3}})
    _, _, err = run(tmp_path / "random", photos)
    assert "RANDOM WEIGHTS" in err and "knn, validation accuracy" in err and "the best saved head" in err


def test_a_head_from_before_a_class_was_added_gives_a_warning(run, cache, photos):
    photo_folder(photos, 4, ("ants",))
    extract_features(scan_images(photos), cache, SPEC)
    status, out, err = run(cache, photos / "dogs")
    assert status == 0 and "other classes" in err and {row["p_ants"] for row in read_csv(out)} == {"0"}


class Interrupted(FakeConvBase):
    """Computes two batches and is then interrupted, as by Ctrl-C."""

    def compute(self, batch):
        if FakeConvBase.seen >= 8:
            raise KeyboardInterrupt
        return super().compute(batch)


class TestInterruption:
    @pytest.fixture
    def interrupted(self, run, tmp_path, cache, new, monkeypatch):
        """The arguments and the partial file of a run that was interrupted after eight of thirty images."""
        arguments = (cache, new, "--batch-size", "4", "--out", tmp_path / "labels.csv")
        with monkeypatch.context() as patch:
            patch.setattr("pipeline.conv_base.load.load_conv_base", Interrupted)
            status, _, err = run(*arguments)
        (partial,) = tmp_path.glob("labels.csv.partial-*")
        assert status == 130 and "8 images are labelled in" in err and str(partial) in err
        assert "continues from there" in one_line(err) and not (tmp_path / "labels.csv").exists()
        FakeConvBase.seen = 0
        return arguments, partial

    def whole(self, cache, new):
        return [(prediction.path, prediction.label or "") for prediction in predict_images(cache, new)]

    def check(self, tmp_path, cache, new):
        rows = read_csv((tmp_path / "labels.csv").read_bytes())
        assert not list(tmp_path.glob("*partial*"))
        assert [(row["path"], row["label"]) for row in rows] == self.whole(cache, new)

    def test_the_same_command_resumes(self, run, tmp_path, cache, new, interrupted):
        arguments, partial = interrupted
        assert len(read_csv(partial.read_bytes())) == 8
        status, _, err = run(*arguments)
        assert status == 0 and FakeConvBase.seen == 22 and "8 images were labelled before" in err
        self.check(tmp_path, cache, new)

    def test_a_user_s_file_with_a_similar_name_is_not_removed(self, run, tmp_path, cache, new, interrupted):
        arguments, _ = interrupted
        notes = tmp_path / "labels.csv.partial-notes.txt"
        notes.write_text("mine")
        assert run(*arguments)[0] == 0 and notes.read_text() == "mine"

    def test_a_line_that_was_cut_off_is_labelled_again(self, run, tmp_path, cache, new, interrupted):
        arguments, partial = interrupted
        partial.write_bytes(partial.read_bytes()[:-5])
        assert run(*arguments)[0] == 0 and FakeConvBase.seen == 23
        self.check(tmp_path, cache, new)

    @pytest.mark.parametrize("seconds", [-1, 1], ids=["before the last line", "after the last line"])
    def test_an_edited_image_is_labelled_again_with_all_after_it(self, run, tmp_path, cache, new, interrupted, seconds):
        arguments, partial = interrupted
        (new / "005.png").write_bytes(photo(31))
        edited = (new / "005.png").stat().st_ctime_ns
        os.utime(partial, ns=(edited - seconds * 10**9, edited - seconds * 10**9))
        assert run(*arguments)[0] == 0 and FakeConvBase.seen == 25
        self.check(tmp_path, cache, new)

    def test_an_added_image_is_labelled_with_all_after_it(self, run, tmp_path, cache, new, interrupted):
        arguments, _ = interrupted
        (new / "004b.png").write_bytes(photo(31))
        assert run(*arguments)[0] == 0 and FakeConvBase.seen == 26
        self.check(tmp_path, cache, new)

    def test_an_image_that_was_only_touched_keeps_its_line(self, run, tmp_path, cache, new, interrupted):
        arguments, _ = interrupted
        os.utime(new / "005.png")
        assert run(*arguments)[0] == 0 and FakeConvBase.seen == 22
        self.check(tmp_path, cache, new)

    def test_an_older_file_that_replaces_an_image_is_labelled(self, run, tmp_path, cache, new, interrupted):
        arguments, _ = interrupted
        (tmp_path / "older.png").write_bytes(photo(31))
        os.utime(tmp_path / "older.png", (10**9, 10**9))
        (tmp_path / "older.png").replace(new / "005.png")
        assert run(*arguments)[0] == 0 and FakeConvBase.seen == 25
        self.check(tmp_path, cache, new)

    def test_a_second_run_into_the_same_file_is_an_error_and_removes_nothing(self, run, tmp_path, cache, new):
        first = PredictionsFile(tmp_path / "labels.csv", HEADER, ["the first"])
        list(first.resume(["a"], pytest.fail))
        for made_by in (["the first"], ["another"]):
            with pytest.raises(PipelineError, match="is being written to by another process"):
                PredictionsFile(tmp_path / "labels.csv", HEADER, made_by)
        assert run(cache, new, "--out", tmp_path / "labels.csv")[0] == 2
        assert list(tmp_path.glob("*.partial-*")) == [first.partial]
        first.write(CAT)
        first.finish()
        assert len(read_csv((tmp_path / "labels.csv").read_bytes())) == 1
        assert not list(tmp_path.glob("*.lock")) and run(cache, new, "--out", tmp_path / "labels.csv")[0] == 0

    def test_another_head_starts_again_and_removes_the_old_partial_file(self, run, tmp_path, cache, new, interrupted):
        arguments, _ = interrupted
        default = "knn" if "knn" in run(cache, new / "000.png")[2] else "ridge"
        other = {"knn": "ridge", "ridge": "knn"}[default]
        FakeConvBase.seen = 0
        assert run(*arguments, "--head", other)[0] == 0 and FakeConvBase.seen == 30
        assert not list(tmp_path.glob("*partial*"))

    @pytest.mark.parametrize("is_repaired", [False, True])
    def test_a_bad_image_before_the_interruption_counts_unless_it_is_repaired(
        self, run, tmp_path, cache, new, monkeypatch, is_repaired
    ):
        (new / "002.png").write_bytes(b"")
        arguments = (cache, new, "--batch-size", "4", "--out", tmp_path / "labels.csv")
        with monkeypatch.context() as patch:
            patch.setattr("pipeline.conv_base.load.load_conv_base", Interrupted)
            assert run(*arguments)[0] == 130
        if is_repaired:
            (new / "002.png").write_bytes(photo(31))
        status, out, err = run(*arguments)
        assert (status, "002.png: an empty file" in err) == ((0, False) if is_repaired else (1, True))
        assert b"labelled %d of 30 images" % (30 if is_repaired else 29) in out
        self.check(tmp_path, cache, new)

    def test_the_old_file_stays_until_the_new_one_is_complete(self, run, tmp_path, cache, new, monkeypatch):
        old = "path,label,probability,p_cats,error\n"
        (tmp_path / "labels.csv").write_text(old)
        monkeypatch.setattr("pipeline.conv_base.load.load_conv_base", Interrupted)
        assert run(cache, new, "--batch-size", "4", "--out", tmp_path / "labels.csv")[0] == 130
        assert (tmp_path / "labels.csv").read_text() == old

    def test_a_run_without_a_finished_line_leaves_no_file(self, run, tmp_path, cache, new, monkeypatch):
        monkeypatch.setattr(FakeConvBase, "seen", 8)
        monkeypatch.setattr("pipeline.conv_base.load.load_conv_base", Interrupted)
        assert run(cache, new, "--out", tmp_path / "labels.csv")[0] == 130
        assert not list(tmp_path.glob("labels.csv*"))

    def test_lines_can_be_read_before_the_file_is_finished(self, tmp_path):
        file = PredictionsFile(tmp_path / "x.csv", HEADER, [])
        assert list(file.resume(["a", "b"], pytest.fail)) == ["a", "b"]
        file.write(CAT)
        assert read_csv(file.partial.read_bytes())[0]["label"] == "cats"
        file.finish()
        assert len(read_csv((tmp_path / "x.csv").read_bytes())) == 1

    def test_the_line_of_an_image_that_is_gone_is_kept_with_those_after_it(self, tmp_path):
        paths = [str(tmp_path / name) for name in ("a", "gone", "b")]
        for path in paths[::2]:
            Path(path).write_bytes(b"image")
        file = PredictionsFile(tmp_path / "x.csv", HEADER, [])
        list(file.resume(paths, pytest.fail))
        for path, sha256 in zip(paths, (sha256_of(b"image"), "", sha256_of(b"image")), strict=True):
            file.write(Prediction(path, None, None, {}, "no such file", sha256=sha256))
        file.close()
        lines = []
        assert list(PredictionsFile(tmp_path / "x.csv", HEADER, []).resume([*paths, "c"], lines.append)) == ["c"]
        assert [line[0] for line in lines] == paths

    def test_a_partial_file_with_another_header_is_written_again(self, tmp_path):
        file = PredictionsFile(tmp_path / "x.csv", HEADER, [])
        file.partial.write_bytes(b'no header\n"unclosed,\n')
        assert list(file.resume(["a"], pytest.fail)) == ["a"]
        file.finish()
        assert (tmp_path / "x.csv").read_bytes() == csv_line(HEADER)
