"""The page, the picture and the table of a comparison, and its section in the report."""

import itertools
import re

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from pipeline import extract_features, scan_images, write_comparison, write_report
from pipeline.cli.display.comparison_table import comparison_table
from pipeline.comparison import Comparison, read_comparison
from pipeline.comparison.picture import draw_comparison, draw_picture
from pipeline.comparison.records import Records
from pipeline.comparison.result import write_comparison_file
from pipeline.comparison.row import ComparedRow
from tests.comparison.rows import row
from tests.fakes import SPEC, photo_folder

HOSTILE = "<script>alert(1)</script>_$a^"
ROWS = (
    row("first", 0.97, 9.0, is_pareto=True, parameters=410_208, test_accuracy=0.95, test_interval=(0.9, 0.97)),
    row("second", 0.95, 2.0, difference=-0.02, difference_interval=(-0.03, 0.001), is_pareto=True, is_recommended=True),
    row(HOSTILE, 0.5, 3.0, difference=-0.47, difference_interval=(-0.5, -0.4), random_weights=True),
    row("failed", None, None, problem="size 8x8 is <too> small"),
)


@pytest.fixture
def comparison(tmp_path):
    return Comparison(tmp_path, ROWS, ("Accuracy counts: first.", "Speed counts: second."), 700, 4000)


def test_a_comparison_is_read_as_it_was_written(comparison):
    write_comparison_file(comparison, Records())
    assert read_comparison(comparison.directory) == comparison


@pytest.mark.parametrize(
    "change",
    [{"accuracy": "0.9"}, {"accuracy_interval": [0.9]}, {"is_pareto": 1}, {"train_images": True}, {"name": None}],
)
def test_a_value_of_another_type_is_an_error(change):
    with pytest.raises(ValueError, match="of another type"):
        ComparedRow.from_json({**ROWS[0].to_json(), **change})
    with pytest.raises(ValueError, match="fields"):
        ComparedRow.from_json({**ROWS[0].to_json(), "more": 1})


def test_the_page_shows_rows_advice_and_picture_and_runs_nothing(comparison):
    write_comparison(comparison)
    page = (comparison.directory / "comparison.html").read_text()
    for words in (*comparison.advice, "410,208", "[-0.030, +0.001]", "RANDOM WEIGHTS", "size 8x8 is &lt;too&gt; small"):
        assert words in page
    assert "<script" not in page and "default-src 'none'" in page and page.count("<svg") == 1
    assert "700 of 4,000" in page and "~1m00s" in page
    assert (comparison.directory / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_drawn_is_left_out(monkeypatch, caplog):
    monkeypatch.setattr("pipeline.comparison.picture.draw_comparison", None)
    assert draw_picture(ROWS) == b"" and "cannot be drawn" in caplog.text


def test_numbers_do_not_cover_one_another():
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    near = [row(str(i), 0.9 + 0.001 * (i % 3), 2 + 0.05 * i) for i in range(9)]
    draw_comparison(axes, [*near, row("far", 0.7, 30.0)])
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 10 and [text.get_text() for text in axes.texts] == [str(i) for i in range(1, 11)]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_table_fits_into_the_window(comparison, width):
    console = Console(width=width, soft_wrap=True, highlight=False)
    with console.capture() as capture:
        console.print(comparison_table(comparison, width))
    assert max(map(len, capture.get().splitlines())) <= width
    for words in ("0.9700", "[0.950, 0.990]", "-0.0200", "9.0", "*P"):
        assert words in capture.get()


class TestReport:
    @pytest.fixture
    def store(self, comparison, fake_conv_base):
        images = scan_images(photo_folder(comparison.directory / "photos"))
        return extract_features(images, comparison.directory / "second", SPEC)

    def page(self, store):
        return write_report(store, store.directory / "report.html").read_text()

    def test_the_report_of_a_store_shows_the_comparison_that_it_is_part_of(self, comparison, store):
        assert 'id="comparison"' not in self.page(store)
        write_comparison_file(comparison, Records())
        page = self.page(store)
        assert 'id="comparison"' in page and "Speed counts: second." in page
        assert len(set(re.findall(r'aria-label="([^"]*)"', page))) == page.count("aria-label=")

    def test_another_one_or_a_damaged_one_is_left_out(self, comparison, store, caplog):
        write_comparison_file(Comparison(comparison.directory, ROWS[:1], (), 1, 1), Records())
        assert 'id="comparison"' not in self.page(store) and not caplog.records
        (comparison.directory / "comparison.json").write_text("{}")
        assert 'id="comparison"' not in self.page(store) and "comparison.json" in caplog.text
